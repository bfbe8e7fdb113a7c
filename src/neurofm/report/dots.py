"""Scores of every recording against the baselines, as dots with intervals."""

import math
from typing import Any

from neurofm.report.figures import (
    FAINT,
    GREEN,
    INK,
    MODEL_BLUE,
    OTHER,
    Drawn,
    finish,
    label,
    labels,
    sheet,
    styled,
)
from neurofm.report.scores import MEAN, MODEL, Scores
from neurofm.report.tables import interval, score_grid

OTHER_MARKERS = "s^vPXp*h<>"


@styled
def score_dots(s: Scores) -> Drawn:
    """One row a recording: model and best baseline with intervals, the others as small marks."""
    n = len(s.rows)
    figure = sheet(1.15 + n * (0.34 if n <= 12 else 0.26))
    axes = figure.subplots()
    low, high = _limits(s)
    for at, predictor in enumerate(s.predictors):
        _marks(axes, s, predictor, at, (low, high))
    _frame(axes, s, n)
    axes.set_xlim(low, high)
    figure.legend(loc="outside upper left", ncols=min(len(s.predictors), 5), handletextpad=0.3,
                  columnspacing=1.4)  # fmt: skip
    return finish(figure, _alt(s), score_grid(s))


def _marks(axes: Any, s: Scores, predictor: str, at: int, limits: tuple[float, float]) -> None:
    """The dots of one predictor; what lies off the scale becomes an arrow at its edge."""
    look: dict[str, Any]
    if predictor == MODEL:
        look = {"color": MODEL_BLUE, "fmt": "o", "ms": 6.5, "offset": -0.14, "bars": 1.6}
    elif predictor == s.best:
        look = {"color": INK, "fmt": "D", "ms": 5, "offset": 0.14, "bars": 1.2}
    elif predictor in s.baselines:
        marker = OTHER_MARKERS[(s.baselines.index(predictor) - 1) % len(OTHER_MARKERS)]
        look = {"color": OTHER, "fmt": marker, "ms": 4.5, "offset": 0.14, "bars": 0.0}
    else:
        filled = predictor == s.predictors[-1]
        look = {
            "color": GREEN,
            "fmt": "d" if filled else "|",
            "ms": 6.5 if filled else 9,
            "offset": 0.0,
            "bars": 0.0,
        }
    name = f"{label(predictor)} (best baseline)" if predictor == s.best else label(predictor)
    axes.plot([], [], look["fmt"], color=look["color"], ms=look["ms"], label=name)
    for row, recording in enumerate(s.rows):
        r = s.cells.get((recording, predictor))
        if r is None or not math.isfinite(r.value):
            continue
        y, x = row + look["offset"], min(max(r.value, limits[0]), limits[1])
        if x != r.value:
            marker = "<" if r.value < x else ">"
            axes.plot(x, y, marker, color=look["color"], ms=5, clip_on=False)
            continue
        if look["bars"] and math.isfinite(r.low) and math.isfinite(r.high):
            axes.plot([r.low, r.high], [y, y], color=look["color"], lw=look["bars"], zorder=3)
        axes.plot(x, y, look["fmt"], color=look["color"], ms=look["ms"], zorder=5 - at / 100)


def _frame(axes: Any, s: Scores, n: int) -> None:
    names = [name for name in s.rows if name != MEAN]
    ticks = labels(names, 26) + ["mean"] * (MEAN in s.rows)
    axes.set_yticks(range(n), ticks)
    axes.set_ylim(n - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=FAINT, lw=0.6)
    if _origin(s) == 0:
        axes.axvline(0, color="#555555", lw=0.9)
    if MEAN in s.rows:
        axes.axhline(n - 1.5, color=INK, lw=0.8)
        axes.get_yticklabels()[-1].set_fontweight("bold")
    for chance in sorted({r.chance for r in s.cells.values() if r.chance is not None}):
        axes.axvline(chance, color="#555555", lw=0.9, ls=":")
    axes.set_xlabel(f"{label(s.label, 60)}   (right is better)")


def _origin(s: Scores) -> float:
    """Where scoring begins: chance where it is stated, else zero, the score of the null."""
    return min((r.chance for r in s.cells.values() if r.chance is not None), default=0.0)


def _limits(s: Scores) -> tuple[float, float]:
    """The range of origin, model, best baseline and ceilings; others widen it, up to a limit."""
    first: list[float] = [_origin(s)]
    rest: list[float] = []
    for (_, predictor), r in s.cells.items():
        key = predictor not in s.baselines or predictor == s.best
        ends = (r.value, r.low, r.high) if key else (r.value,)
        (first if key else rest).extend(v for v in ends if math.isfinite(v))
    low, high = min(first), max(first)
    span = max(high - low, 1e-3)
    near = [v for v in rest if low - 0.6 * span <= v <= high + 0.6 * span]
    low, high = min([low, *near]), max([high, *near])
    return low - 0.03 * span, high + 0.04 * span


def _alt(s: Scores) -> str:
    """Model and best baseline in words, for every recording."""
    rivals = [p for p in s.predictors if p in (MODEL, s.best)]
    rows = []
    for recording in s.rows:
        found = [f"{p} {interval(s.cells.get((recording, p)))}" for p in rivals]
        rows.append(f"{recording}: {', '.join(found)}")
    return f"Dot plot of {s.label} in {s.task}, {s.split} side. {'; '.join(rows)}."
