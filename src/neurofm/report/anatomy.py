"""How well a unit's region is told from what the model holds of it, and what is taken for what."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from neurofm.report import scores
from neurofm.report.figures import (
    FAINT,
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
from neurofm.report.records import Anatomy
from neurofm.report.scores import MODEL, Scores
from neurofm.report.tables import Grid, interval, number, percent
from neurofm.results import Result

TASK = "anatomy"
MOST_WRITTEN = 12  # regions up to which the shares are written into the squares


def asks_anatomy(result: Result) -> bool:
    """Whether a result is about regions, which have a part of the page to themselves."""
    return result.task.partition(":")[0] == TASK


def anatomy_scores(results: Iterable[Result]) -> list[Scores]:
    """The scores about regions: all rows of the model together first, then table by table."""
    return scores.arrange(r for r in results if asks_anatomy(r))


@styled
def anatomy_figure(a: Anatomy, found: list[Scores]) -> Drawn:
    """Scores of every set of features with chance; confusions of the model and the best baseline."""
    figure = sheet(max(3.3, 0.3 * sum(len(s.predictors) for s in found) + 1.2))
    shown = [name for name in (MODEL, _best(found)) if name in a.predictor.tolist()]
    axes = figure.subplots(1, 1 + len(shown), width_ratios=[1.25, *[1] * len(shown)])
    several = np.atleast_1d(axes)
    _dots(several[0], found)
    for place, name in zip(several[1:], shown, strict=True):
        title = "the model's rows" if name == MODEL else name
        _confusion(place, a, name, f"Told from {title}")
    return finish(figure, _alt(a, found), _grid(a, found))


def _best(found: list[Scores]) -> str:
    return (found[0].best or "") if found else ""


def _lines(found: list[Scores]) -> list[tuple[str, str, Result]]:
    """(what to call it, predictor, result), the tables of the model after everything else."""
    out = []
    for s in found:
        by_table = s.task != TASK
        for name in s.predictors:
            for recording in s.recordings:
                r = s.cells.get((recording, name))
                if r is not None:
                    called = f"its {name} alone" if by_table else name
                    out.append((called, MODEL if by_table else name, r))
    return out


def _dots(axes: Any, found: list[Scores]) -> None:
    lines = _lines(found)
    for row, (_, predictor, r) in enumerate(lines):
        colour = MODEL_BLUE if predictor == MODEL else INK if predictor == _best(found) else OTHER
        if np.isfinite([r.low, r.high]).all():
            axes.plot([r.low, r.high], [row, row], color=colour, lw=1.6)
        axes.plot(r.value, row, "o", color=colour, ms=6)
        if r.chance is not None:
            axes.plot(r.chance, row, "|", color=INK, ms=11)
    axes.plot([], [], "|", color=INK, ms=9, label="chance")
    axes.set_yticks(range(len(lines)), labels([name for name, _, _ in lines], 20))
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("macro-F1, held-out animals")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=7.5)


def _confusion(axes: Any, a: Anatomy, predictor: str, title: str) -> None:
    shares = a.shares(predictor)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = labels([str(name) for name in a.region], 10)
    n = len(names)
    size = min(9.0, max(100 / n, 3.0))
    axes.set_xticks(range(n), names, rotation=90 if n > 4 else 0, fontsize=size)
    axes.set_yticks(range(n), names, fontsize=size)
    axes.set_xlabel("told")
    axes.set_ylabel("recorded in")
    axes.set_title(label(title, 34))
    if n > MOST_WRITTEN:
        return
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.6 else INK
        axes.text(column, row, f"{share:.2f}", ha="center", va="center", color=colour, fontsize=7)


def _alt(a: Anatomy, found: list[Scores]) -> str:
    scored = "; ".join(f"{name} {interval(r)}, chance {number(r.chance)}"
                       for name, _, r in _lines(found))  # fmt: skip
    rows = a.shares(MODEL).diagonal() if MODEL in a.predictor.tolist() else np.empty(0)
    right = ", ".join(f"{region} {percent(float(share))}"
                      for region, share in zip(a.region.tolist(), rows, strict=False))  # fmt: skip
    return (
        f"Macro-F1 of the region of a unit, told in {a.n_animals} animals, each held out in turn: "
        f"{scored}. Told rightly from the model's rows, by region: {right or 'not scored'}."
    )


def _grid(a: Anatomy, found: list[Scores]) -> Grid:
    header = ("told from", "macro-F1", "chance", "n", *(f"as {name}" for name in a.region.tolist()))
    scored = [
        (name, interval(r), number(r.chance), f"{r.n} {r.unit_of_n}", *[""] * len(a.region))
        for name, _, r in _lines(found)
    ]
    counted = [
        (f"{predictor}: units of {region}", "", "", str(int(row.sum())), *map(str, row.tolist()))
        for predictor, table in zip(a.predictor.tolist(), a.confusion, strict=True)
        for region, row in zip(a.region.tolist(), table, strict=True)
    ]
    return Grid(header, tuple(scored + counted))
