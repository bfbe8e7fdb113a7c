"""Lesions and repeats of a twin as figures and tables, from their results."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.report.figures import (
    FAINT,
    INK,
    MODEL_BLUE,
    OTHER,
    Drawn,
    finish,
    labels,
    sheet,
    styled,
)
from neurofm.report.tables import Grid, interval, number
from neurofm.report.twin import Floats, said_of
from neurofm.results import Result

MODEL, MEAN_OF = "model", ", mean of "


@styled
def lesion_figure(results: Sequence[Result]) -> Drawn:
    """What is lost without each part, task by task: a mark a model, and their mean."""
    lost = [r for r in results if r.metric.endswith("_gain") and r.null.startswith("without ")]
    lines = list(dict.fromkeys((r.task, r.null) for r in lost))
    figure = sheet(0.42 * len(lines) + 1.5)
    axes = figure.subplots()
    for row, line in enumerate(lines):
        mine = [r for r in lost if (r.task, r.null) == line]
        mean = [r for r in mine if MEAN_OF in r.predictor]
        each = [r for r in mine if MEAN_OF not in r.predictor]
        for at, r in enumerate(each):
            y = row + 0.3 * ((at + 0.5) / len(each) - 0.5)
            _dot(axes, r, y, OTHER if mean else MODEL_BLUE, 4)
        for r in mean:
            _dot(axes, r, row + 0.3, MODEL_BLUE, 6)
    axes.axvline(0, color=INK, lw=0.8)
    axes.plot([], [], "o", color=OTHER, ms=4, label="a model, 95% over blocks or trials")
    axes.plot([], [], "o", color=MODEL_BLUE, ms=6, label="mean, 95% over models")
    names = [f"{task}, {null}" for task, null in lines]
    axes.set_yticks(range(len(lines)), labels(names, 52))
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("score lost (bits per spike, R² or balanced accuracy)")
    figure.legend(loc="outside upper left", ncols=2)
    n = len({r.seed for r in lost})
    return finish(figure, f"What is lost without parts of what a model sees; {said_of(n)}.",
                  _lesion_grid(results, lines))  # fmt: skip


def _lesion_grid(results: Sequence[Result], lines: Sequence[tuple[str, str]]) -> Grid:
    table = {(r.task, r.predictor, r.metric, r.null): r for r in results}
    last = [r for r in results if MEAN_OF in r.predictor] or list(results)
    model = next(r.predictor for r in last if r.predictor.startswith(MODEL))
    suffix, rows = model.removeprefix(MODEL), []
    for task, null in lines:
        lost = next(r for k, r in table.items() if (k[0], k[1], k[3]) == (task, model, null))
        metric = lost.metric.removesuffix("_gain")
        whole, cut = (next(r for k, r in table.items() if k[:3] == (task, f"{who}{suffix}", metric))
                      for who in (MODEL, null))  # fmt: skip
        rows.append(
            (task, null, metric, number(whole.value), number(cut.value), interval(lost, "+"))
        )
    return Grid(("task", "lesion", "score", "intact", "lesioned", "lost"), tuple(rows))


def _dot(axes: Any, r: Result, y: float, colour: str, size: float) -> None:
    if np.isfinite([r.low, r.high]).all():
        axes.plot([r.low, r.high], [y, y], color=colour, lw=1.4)
    axes.plot(r.value, y, "o", color=colour, ms=size)


REPEAT_SCORES = ("feve_pooled", "feve", "normalised_correlation", "correlation_to_average")
POOLED = REPEAT_SCORES[0]


@styled
def repeats_figure(results: Sequence[Result], recorded: Floats, told: Floats,
                   kept: NDArray[np.bool_]) -> Drawn:  # fmt: skip
    """Left: explained share of explainable variance. Middle: correlation and its ceiling. Right: conditions.

    `recorded`, `told` (S, C) of all units, of which `kept` (C,) are scored.
    """
    who = _answering(results)
    figure = sheet(0.32 * len(who) + 2.4)
    feve, corr, dots = figure.subplots(1, 3, width_ratios=[1.3, 1.1, 1.0])
    scores = {(r.predictor, r.metric, r.seed): r for r in results if not r.null}
    for axis, metric in ((feve, POOLED), (corr, "correlation_to_average")):
        for row, name in enumerate(who):
            mine = [r for k, r in scores.items() if k[:2] == (name, metric)]
            for at, r in enumerate(mine):
                y = row + 0.5 * ((at + 0.5) / len(mine) - 0.5)
                _dot(axis, r, y, MODEL_BLUE if name == who[0] else OTHER, 5)
        axis.set_yticks(range(len(who)), labels(who, 24) if axis is feve else [""] * len(who))
        axis.set_ylim(len(who) - 0.4, -0.6)
        axis.axvline(0, color=INK, lw=0.8)
        axis.grid(axis="x", color=FAINT, lw=0.6)
        axis.set_axisbelow(True)
    feve.axvline(1, color=INK, lw=0.8, ls=":")
    low, high = feve.get_xlim()
    feve.set_xlim(max(low, -1.0), min(high, 1.6))  # intervals of few conditions reach far
    feve.set_xlabel("explained of explainable variance, pooled")
    ceiling = next(r for r in results if r.metric == "ceiling")
    corr.axvline(ceiling.value, color=INK, lw=0.8, ls=":", label=f"ceiling {ceiling.value:.2f}")
    if np.isfinite([ceiling.low, ceiling.high]).all():
        corr.axvspan(ceiling.low, ceiling.high, color=FAINT, alpha=0.6, lw=0)
    corr.set_xlabel("correlation to the average")
    corr.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize=7.5)
    x, y = (v[:, kept] - v[:, kept].mean(axis=0) for v in (told, recorded))
    size = y.std(axis=0)
    dots.plot((x / size).ravel(), (y / size).ravel(), ".", ms=3, color=MODEL_BLUE, alpha=0.4)
    dots.axline((0, 0), slope=1, color=INK, lw=0.8, ls=":")
    dots.set_xlabel("told, SD of the recorded")
    dots.set_ylabel("recorded, a condition and unit")
    first = next(r for r in results if r.metric == "feve")
    return finish(figure, _repeats_title(results, first), _repeats_grid(results, who))


def _answering(results: Sequence[Result]) -> list[str]:
    """Who answered, the mean over models first."""
    names = list(dict.fromkeys(r.predictor for r in results if r.metric == "feve"))
    return sorted(names, key=lambda name: (not name.startswith(MODEL), MEAN_OF not in name))


def _repeats_title(results: Sequence[Result], first: Result) -> str:
    of_data = {
        r.metric: r for r in results if r.metric in ("explainable", "ceiling", "channels_left_out")
    }
    left = of_data["channels_left_out"]
    n = len({r.seed for r in results if r.run})
    return (f"{first.recording}, {first.task}, {first.split}; {first.n} conditions. Explainable share of single-trial "
            f"variance {interval(of_data['explainable'])}, ceiling of correlation {interval(of_data['ceiling'])}; "
            f"{left.value:.0f} of {left.n} units explain too little and are not scored. Brackets: 95% over conditions; "
            f"of a mean over models, over models ({said_of(n).split(',')[0]}).")  # fmt: skip


def _repeats_grid(results: Sequence[Result], who: Sequence[str]) -> Grid:
    rows = []
    for name in who:
        mine = [r for r in results if r.predictor == name]
        for seed in dict.fromkeys(r.seed for r in mine if r.metric == "feve"):
            cells = {r.metric: r for r in mine if r.seed == seed and not r.null}
            less = [r for r in mine if r.seed == seed and r.metric == f"{POOLED}_gain"]
            best = min(less, key=lambda r: r.value, default=None)
            gain = "-" if best is None else f"{interval(best, '+')} ({best.null})"
            called = f"{name}, seed {seed}" if name == MODEL else name
            rows.append((called, *(interval(cells.get(m)) for m in REPEAT_SCORES), gain))
    return Grid(("told by", "FEVE, pooled", "mean FEVE", "normalised correlation", "correlation to average",
                 "pooled, less the best rival's"), tuple(rows))  # fmt: skip
