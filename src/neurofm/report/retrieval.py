"""Scores of retrieval: a table of trainings and what they were given, and a figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from neurofm.report import tables
from neurofm.report.figures import CATEGORIES, INK, MARKERS, Drawn, finish, sheet, styled
from neurofm.report.tables import Grid
from neurofm.results import Result

EEG = "eeg"


def retrieval_grid(results: Sequence[Result]) -> Grid:
    """A row for each training and what its encoder was given; controls of the longest training alone."""
    metrics = list(dict.fromkeys(r.metric for r in results))
    cells = {(_hours(r), *_names(r), r.metric): r for r in results}
    rows = [
        (way, hours, given, *(tables.interval(cells[hours, way, given, m]) for m in metrics))
        for hours, way, given in dict.fromkeys(key[:3] for key in cells)
        if given == EEG or hours == _longest(results)
    ]
    return Grid(
        ("training", "hours", "given", *(m.replace("_", " ") for m in metrics)), tuple(rows)
    )


def retrieval_table(results: Sequence[Result]) -> str:
    """The grid as text, with what it shows."""
    r = results[0]
    chance = {one.metric.replace("_", " "): one.chance for one in results}
    title = (
        f"{r.task}; {r.split.partition('|')[0]}. 95% interval over {r.n} {r.unit_of_n}; chance "
        + ", ".join(f"{name} {tables.number(value)}" for name, value in chance.items())
        + f"; seed {r.seed}."
    )
    return f"{title}\n{tables.plain(retrieval_grid(results))}"


@styled
def retrieval_figure(results: Sequence[Result]) -> Drawn:
    """Left: what each training retrieves of what it is given. Right: EEG by hours of training."""
    metric = results[-1].metric
    kept = [r for r in results if r.metric == metric]
    ways = list(dict.fromkeys(_names(r)[0] for r in kept))
    ladder = len({_hours(r) for r in kept}) > 1
    figure = sheet(3.4)
    panels = figure.subplots(1, 1 + ladder, squeeze=False, width_ratios=[3, 2][: 1 + ladder])[0]
    last = [r for r in kept if _hours(r) == _longest(results)]
    given = list(dict.fromkeys(_names(r)[1] for r in last))
    for at, way in enumerate(ways):
        mine = [r for r in last if _names(r)[0] == way]
        y = [given.index(_names(r)[1]) + 0.22 * (at - (len(ways) - 1) / 2) for r in mine]
        panels[0].errorbar(
            [r.value for r in mine], y, xerr=_spread(mine), ls="", label=way, **_look(at)
        )
        if ladder:
            own = [r for r in kept if _names(r) == (way, EEG)]
            panels[1].errorbar(range(len(own)), [r.value for r in own], _spread(own), **_look(at))
            panels[1].set_xticks(range(len(own)), [_hours(r) for r in own])
    chance = float(np.mean([r.chance for r in last if r.chance is not None]))
    panels[0].axvline(chance, color=INK, lw=0.8, ls=":", label=f"chance {chance:.3f}")
    panels[0].set_yticks(range(len(given)), given)
    panels[0].invert_yaxis()
    panels[0].set_xlabel(f"{metric.replace('_', ' ')}, trained on {_longest(results)} of the hours")
    panels[0].set_ylabel("given in place of EEG")
    if ladder:
        panels[1].axhline(chance, color=INK, lw=0.8, ls=":")
        panels[1].set_xlabel("training")
        panels[1].set_ylabel(f"{metric.replace('_', ' ')} from EEG")
    figure.legend(loc="outside upper left", ncols=4)
    return finish(figure, retrieval_table(results), retrieval_grid(results))


def _look(at: int) -> dict[str, Any]:
    return {"color": CATEGORIES[at % len(CATEGORIES)], "marker": MARKERS[at % len(MARKERS)],
            "ms": 5, "elinewidth": 1.2}  # fmt: skip


def _spread(rows: Sequence[Result]) -> list[list[float]] | None:
    """Lengths of the intervals below and above; None where there are none."""
    out = [[r.value - r.low for r in rows], [r.high - r.value for r in rows]]
    return None if np.isnan(out).any() else out


def _names(r: Result) -> tuple[str, str]:
    """(the training, what was given)."""
    way, _, given = r.predictor.partition(": ")
    return way, given


def _hours(r: Result) -> str:
    return r.split.partition("|")[2]


def _longest(results: Sequence[Result]) -> str:
    """Trainings come from the shortest to the longest."""
    return _hours(results[-1])
