"""Scores of people who were left out: a table of methods, and a figure of people."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurofm.report import tables
from neurofm.report.figures import CATEGORIES, FAINT, INK, MARKERS, Drawn, finish, sheet, styled
from neurofm.report.scores import MEAN
from neurofm.report.tables import Grid
from neurofm.results import Result

METRIC = "balanced_accuracy"
TRIALS = f"{METRIC}_of_trials"


def people_grid(results: Sequence[Result]) -> Grid:
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
    return Grid(
        ("method", "a window", "a trial", "worst person", "less the linear one"), tuple(rows)
    )


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


def _each(results: Sequence[Result], method: str) -> dict[str, float]:
    """{person: score of windows}."""
    return {r.recording: r.value for r in results
            if (r.predictor, r.metric) == (method, METRIC) and r.recording != MEAN}  # fmt: skip
