"""Scores of people who were left out: tables of methods, and figures of people, sizes and seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurofm.report import tables
from neurofm.report.figures import CATEGORIES, FAINT, INK, MARKERS, Drawn, finish, sheet, styled
from neurofm.report.growth import words
from neurofm.report.scores import MEAN
from neurofm.report.tables import Grid
from neurofm.results import Result

METRIC = "balanced_accuracy"
TRIALS = f"{METRIC}_of_trials"


def size_of(r: Result) -> int:
    """Training people of a result from a draw of them."""
    return int(r.split.split("|")[1])


def seconds_said(r: Result) -> str:
    """The person's own seconds of a result, as `35 s`."""
    return r.split.partition("|")[2]


def people_grid(results: Sequence[Result], rival: str = "the linear one") -> Grid:
    """One row a method: mean over people by window and by trial, the worst person, the paired gain."""
    mean = {(r.predictor, r.metric): r for r in results if r.recording == MEAN}
    rows = []
    for method in dict.fromkeys(r.predictor for r in results):
        each = _each(results, method)
        worst = min(each, key=lambda who: each[who])
        gain = mean.get((method, f"{METRIC}_gain"))
        rows.append((
            method, tables.interval(mean[method, METRIC]), tables.interval(mean[method, TRIALS]),
            f"{each[worst]:.3f} ({worst})",
            tables.interval(gain, "+") if gain else "-",
        ))  # fmt: skip
    return Grid(("method", "a window", "a trial", "worst person", f"less {rival}"), tuple(rows))


def sizes_table(studies: Sequence[dict[str, Any]]) -> str:
    """Means over the draws of each size, the lowest and highest beside them, and a sentence a method."""
    n_anchors = studies[0]["points"][0]["n_anchors"]
    title = f"balanced accuracy of a window, mean of {n_anchors} people held out (lowest to highest draw)"
    of: dict[str, list[str]] = {}
    for study in studies:
        of.setdefault(words(study), []).append(study["task"])
    says = [f"{', '.join(methods)}: {sentence}" for sentence, methods in of.items()]
    return "\n".join([title, tables.plain(sizes_grid(studies)), *says])


def sizes_grid(studies: Sequence[dict[str, Any]]) -> Grid:
    """One row a method, a column a number of training people, and the limit of its law."""
    sizes = sorted({row["x"][0] for row in studies[0]["points"]})
    rows = []
    for study in studies:
        cells = []
        for n in sizes:
            found = [row["value"] for row in study["points"] if row["x"][0] == n]
            spread = f" ({min(found):.3f} to {max(found):.3f})" if len(found) > 1 else ""
            cells.append(f"{np.mean(found):.3f}{spread}")
        rows.append((study["task"], *cells, _limit(study)))
    return Grid(
        ("method", *(f"from {n:g} people" for n in sizes), "limit of the power law"), tuple(rows)
    )


def _limit(study: dict[str, Any]) -> str:
    """Of the power law, where a forecast is made of it; no score is above 1."""
    if study["refusal"] or study["limit"]["value"] is None:
        return "-"
    value, low, high = (study["limit"][k] for k in ("value", "low", "high"))
    top = "-" if high is None or high >= 1 else tables.number(high)
    return f"{tables.number(value) if value < 1 else 'none below 1'} [{tables.number(low)}, {top}]"


def seconds_table(results: Sequence[Result]) -> str:
    """The grid of each amount of a person's own seconds, as text."""
    parts = []
    for said in dict.fromkeys(map(seconds_said, results)):
        mine = [r for r in results if seconds_said(r) == said]
        n = next(r.n for r in mine if r.recording == MEAN)
        head = f"after {said} of their own labels, {n} people, later windows"
        parts.append(f"{head}\n{tables.plain(people_grid(mine, 'own data alone'))}")
    return "\n".join(parts)


def people_table(results: Sequence[Result]) -> str:
    """The grid as text, with what it shows."""
    one = next(r for r in results if (r.recording, r.metric) == (MEAN, METRIC))
    title = (
        f"{one.task}: balanced accuracy, mean of {one.n} people who were left out, 95% interval over "
        f"people; chance {tables.number(one.chance)}; seed {one.seed}."
    )
    return f"{title}\n{tables.plain(people_grid(results))}"


@styled
def people_figure(results: Sequence[Result]) -> Drawn:
    """People from worst to best by the last method, a mark for each method; means at the right."""
    methods = list(dict.fromkeys(r.predictor for r in results))
    last = _each(results, methods[-1])
    people = sorted(last, key=lambda who: last[who])
    figure = sheet(3.6)
    axes = figure.subplots()
    chance = next(r.chance for r in results if r.metric == METRIC and r.recording == MEAN)
    for at, method in enumerate(methods):
        look: dict[str, Any] = {"color": CATEGORIES[at % len(CATEGORIES)],
                                "marker": MARKERS[at % len(MARKERS)]}  # fmt: skip
        each = _each(results, method)
        axes.plot([each[who] for who in people], ls="", ms=4, label=method, alpha=0.8, **look)
        mean = next(
            r for r in results if (r.predictor, r.recording, r.metric) == (method, MEAN, METRIC)
        )
        x = len(people) + 0.6 + 0.7 * at
        spread = [[mean.value - mean.low], [mean.high - mean.value]]
        axes.errorbar([x], [mean.value], None if np.isnan(spread).any() else spread, ms=6,
                      elinewidth=1.2, **look)  # fmt: skip
    if chance is not None:
        axes.axhline(chance, color=INK, lw=0.8, ls=":", label=f"chance {chance:.3f}")
    axes.axvline(len(people) - 0.2, color=FAINT, lw=0.8)
    step = max(len(people) // 20, 1)
    axes.set_xticks(range(0, len(people), step), [tables.shorten(p, 10) for p in people[::step]],
                    rotation=90 if len(people) > 12 else 0)  # fmt: skip
    axes.set_xlabel(
        f"person who was left out, worst to best by {methods[-1]}; means with 95% intervals at the right"
    )
    axes.set_ylabel("balanced accuracy, a window")
    figure.legend(loc="outside upper left", ncols=4)
    return finish(figure, people_table(results), people_grid(results))


@styled
def sizes_figure(studies: Sequence[dict[str, Any]]) -> Drawn:
    """A panel a method: a mark a draw, the law that was chosen, its band, and chance."""
    n_columns = min(len(studies), 4)
    n_rows = -(-len(studies) // n_columns)
    figure = sheet(0.6 + 2.2 * n_rows)
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).ravel()
    sizes = sorted({row["x"][0] for row in studies[0]["points"]})
    for at, axes in enumerate(panels):
        if at >= len(studies):
            axes.axis("off")
        else:
            _grown(axes, studies[at], sizes)
    figure.supxlabel(
        f"{studies[0]['axes'][0]} (logarithmic); a mark a draw, lines: laws with 95% intervals",
        fontsize=9,
    )
    figure.supylabel("balanced accuracy, a window", fontsize=9)
    return finish(figure, sizes_table(studies), sizes_grid(studies))


def _grown(axes: Any, study: dict[str, Any], sizes: Sequence[float]) -> None:
    points = study["points"]
    axes.plot([row["x"][0] for row in points], [row["value"] for row in points], "o",
              color=CATEGORIES[0], ms=4)  # fmt: skip
    if "curve" in study:
        curve = {name: np.array(values) for name, values in study["curve"].items()}
        axes.plot(curve["x"], curve["value"], color=INK, lw=1.2)
        axes.fill_between(
            curve["x"], curve["low"], curve["high"], color=CATEGORIES[0], alpha=0.15, lw=0
        )
    axes.axhline(study["chance"], color=INK, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{n:g}" for n in sizes])
    axes.minorticks_off()
    axes.set_ylim(0, 1.02)
    axes.set_title(study["task"])


@styled
def seconds_figure(results: Sequence[Result]) -> Drawn:
    """Each method against the person's own labelled seconds; people as dots, means with intervals."""
    said = list(dict.fromkeys(map(seconds_said, results)))
    methods = list(dict.fromkeys(r.predictor for r in results))
    figure = sheet(3.4)
    axes = figure.subplots()
    for at, method in enumerate(methods):
        look: dict[str, Any] = {"color": CATEGORIES[at], "marker": MARKERS[at]}
        mine = [r for r in results if (r.predictor, r.metric) == (method, METRIC)]
        mean = [r for r in mine if r.recording == MEAN]
        x = np.arange(len(said)) + 0.16 * (at - (len(methods) - 1) / 2)
        spread = np.array([[r.value - r.low for r in mean], [r.high - r.value for r in mean]])
        axes.errorbar(x, [r.value for r in mean], None if np.isnan(spread).any() else spread, ls="",
                      ms=6, elinewidth=1.2, label=method, **look)  # fmt: skip
        each = [r for r in mine if r.recording != MEAN]
        axes.plot([x[said.index(seconds_said(r))] + 0.05 for r in each], [r.value for r in each], ".",
                  color=CATEGORIES[at], ms=3, alpha=0.5)  # fmt: skip
    axes.set_xticks(range(len(said)), said)
    axes.set_xlabel("labels of the person's own; small dots are people")
    axes.set_ylabel("balanced accuracy, later windows")
    figure.legend(loc="outside upper left", ncols=4)
    return finish(figure, seconds_table(results), people_grid(results, "own data alone"))


def _each(results: Sequence[Result], method: str) -> dict[str, float]:
    """{person: score of windows}."""
    return {r.recording: r.value for r in results
            if (r.predictor, r.metric) == (method, METRIC) and r.recording != MEAN}  # fmt: skip
