"""Scores as a function of the minutes of a new recording's data: a table and a figure."""

from collections.abc import Iterable, Sequence
from typing import Any

from neurofm.report import tables
from neurofm.report.figures import (
    CATEGORIES,
    INK,
    MARKERS,
    OTHER,
    Drawn,
    finish,
    sheet,
    styled,
)
from neurofm.report.scores import MEAN
from neurofm.report.tables import Grid
from neurofm.results import Result

METRIC = "bps_pooled"


def split_name(minutes: float | None) -> str:
    """The `split` of results after so many minutes: `test|2min`, or `test|all`."""
    return "test|all" if minutes is None else f"test|{minutes:g}min"


def minutes_of(split: str) -> float | None:
    """Minutes of such a split; None for `all`."""
    text = split.partition("|")[2]
    return float(text.removesuffix("min")) if text.endswith("min") else None


def over_minutes(results: Iterable[Result]) -> list[tuple[str, Grid]]:
    """For each task, predictors by minutes: pooled bits per spike, mean over recordings.

    Where there is one recording alone, its own score.
    """
    kept = [r for r in results if r.metric == METRIC and "|" in r.split]
    out = []
    for task in dict.fromkeys(r.task for r in kept):
        cells = _cells([r for r in kept if r.task == task])
        splits = _ordered({split for _, split in cells})
        names = dict.fromkeys(name for name, _ in cells)
        rows = tuple(
            (name, *(tables.interval(cells.get((name, split))) for split in splits))
            for name in names
        )
        out.append((task, Grid((task, *(s.partition("|")[2] for s in splits)), rows)))
    return out


def minutes_table(results: Iterable[Result]) -> str:
    """The grids of `over_minutes` as plain text."""
    blocks = []
    for _, grid in over_minutes(results):
        widths = [max(map(len, column)) for column in zip(grid.header, *grid.rows, strict=True)]
        lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
                 for row in (grid.header, *grid.rows)]  # fmt: skip
        blocks.append("\n".join(lines))
    title = "Pooled bits per spike on the test part, 95% interval, by minutes of new data."
    return "\n\n".join([title, *blocks])


@styled
def minutes_figure(results: Sequence[Result], all_minutes: float) -> Drawn:
    """One panel a task: pooled bits per spike against minutes, with 95% intervals.

    `all_minutes`: how many minutes `all` is, on average.
    """
    tasks = over_minutes(results)
    figure = sheet(3.2)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axes, (task, _) in zip(panels, tasks, strict=True):
        cells = _cells([r for r in results if r.task == task and r.metric == METRIC])
        names = list(dict.fromkeys(name for name, _ in cells))
        for at, name in enumerate(names):
            own = {s: r for (n, s), r in cells.items() if n == name}
            splits = _ordered(set(own))
            x = [all_minutes if minutes_of(s) is None else minutes_of(s) for s in splits]
            y = [own[s].value for s in splits]
            spans = [[y_ - own[s].low for y_, s in zip(y, splits, strict=True)],
                     [own[s].high - y_ for y_, s in zip(y, splits, strict=True)]]  # fmt: skip
            ours = name.startswith("model")
            axes.errorbar(x, y, spans, fmt="-" if ours else "--", lw=1.4, ms=5, elinewidth=0.8,
                          marker=MARKERS[at % len(MARKERS)], label=name,
                          color=CATEGORIES[at % len(CATEGORIES)] if ours else OTHER)  # fmt: skip
        axes.axhline(0, color=INK, lw=0.6)
        _minute_axis(axes, {s for _, s in cells}, all_minutes)
        axes.set_title(task)
        axes.set_xlabel("minutes of the new recordings")
    panels[0].set_ylabel("bits per spike (pooled)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4)
    text = minutes_table(results)
    return finish(figure, text, tasks[0][1])


def _minute_axis(axes: Any, splits: set[str], all_minutes: float) -> None:
    """A logarithmic axis with a tick at every number of minutes, and no others."""
    ordered = _ordered(splits)
    at = [minutes_of(split) or all_minutes for split in ordered]
    names = [split.partition("|")[2].removesuffix("min") for split in ordered]
    axes.set_xscale("log")
    axes.set_xticks(at, names)
    axes.set_xticks([], minor=True)


def _cells(results: Iterable[Result]) -> dict[tuple[str, str], Result]:
    """{(predictor, split): the mean over recordings, or the only recording's}."""
    cells: dict[tuple[str, str], Result] = {}
    for r in results:
        key = r.predictor, r.split
        if r.recording == MEAN or key not in cells:
            cells[key] = r
    return cells


def _ordered(splits: set[str]) -> list[str]:
    return sorted(splits, key=lambda s: minutes_of(s) or float("inf"))
