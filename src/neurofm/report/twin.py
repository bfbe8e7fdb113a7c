"""Experiments on a twin as figures and tables: intervals are over models of different seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.report.figures import (
    CATEGORIES,
    FAINT,
    INK,
    MARKERS,
    MODEL_BLUE,
    Drawn,
    finish,
    label,
    labels,
    sheet,
    styled,
)
from neurofm.report.tables import Grid

Floats = NDArray[np.float64]
N_SHOWN = 6  # units that are drawn
A_ROW = 3


@dataclass(frozen=True)
class Spread:
    """Mean over `n` models and its 95% interval (Student's t), any one shape; NaN bounds of one model."""

    mean: Floats
    low: Floats
    high: Floats
    n: int


@dataclass(frozen=True)
class Curve:
    """Tuning over V values of one name: `rates` (V, U), `recorded` (V, U) with NaN, `depth` (U,).

    `alike` (U,): correlation of told and recorded; `before` (U,) that of what the training side had. `beside` says what was held. `text` (V,) says the `value` (V,), which is NaN of labels.
    """

    name: str
    beside: str
    text: tuple[str, ...]
    value: Floats
    unit: NDArray[np.str_]
    region: NDArray[np.str_]
    rates: Spread
    recorded: Floats
    depth: Spread
    alike: Floats
    before: Floats
    counts: bool

    @property
    def what(self) -> str:
        """What a number is."""
        return "spikes/s" if self.counts else "value"


@dataclass(frozen=True)
class Course:
    """What `names` do to excite a unit: `course` (T, k) in standard deviations at `time_s` (T,).

    `rates` (models, 2) spikes/s at the channels' means and at its best; `others` (models,) the mean of what the other
    models say of a model's course, empty with one; `agreement` of the models' courses.
    """

    unit: str
    names: tuple[str, ...]
    time_s: Floats
    course: Spread
    rates: Floats
    others: Floats
    agreement: float


def said_of(n: int) -> str:
    """What brackets hold."""
    if n < 2:
        return "one model, so no interval over models"
    return f"mean of {n} models, in brackets its 95% interval over their seeds (Student's t)"


@styled
def tuning_figure(c: Curve) -> Drawn:
    """The units that change most, with what was recorded on the test side.

    Of counts that is the difference of square roots, in which a Poisson count has one spread at every rate: by the depth of
    modulation, units that hardly fire come first.
    """
    size = np.sqrt(np.maximum(c.rates.mean, 0)) if c.counts else c.rates.mean
    order = np.argsort(-np.ptp(size, axis=0), kind="stable")
    shown = order[:N_SHOWN]
    rows = -(-len(shown) // A_ROW)
    figure = sheet(2.0 * rows + 0.9)
    axes = figure.subplots(rows, A_ROW, squeeze=False)
    numbers = bool(np.isfinite(c.value).all())
    x = c.value if numbers else np.arange(len(c.text), dtype=float)
    for axis, unit, name in zip(axes.flat, shown, labels(c.unit[shown].tolist()), strict=False):
        _line(axis, x, c.rates, unit, numbers, "models" if c.rates.n > 1 else "model")
        axis.plot(
            x, c.recorded[:, unit], "o", ms=4.5, mfc="none", color=INK, label="recorded, test side"
        )
        axis.set_title(name)
        axis.set_ylim(bottom=0 if c.counts else None)
        if not numbers:
            axis.set_xticks(x, labels(list(c.text), 10))
            axis.set_xlim(-0.5, len(x) - 0.5)
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel(label(c.name, 30))
    for axis in axes[:, 0]:
        axis.set_ylabel(c.what)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    alike, before = (v[np.isfinite(v)] for v in (c.alike, c.before))
    said = ""
    if len(alike) and len(before):
        said = (f" r: correlation with what was recorded on the test side, mean over units {alike.mean():.2f}; the curve "
                f"recorded on the training side has {before.mean():.2f}.")  # fmt: skip
    title = (f"Tuning to {c.name}{c.beside}, {len(c.unit)} units, the most changing first, {c.what}; "
             f"{said_of(c.rates.n)}.{said}")  # fmt: skip
    return finish(figure, title, _tuning_grid(c, order))


def _line(axis: Any, x: Floats, s: Spread, unit: int, numbers: bool, name: str) -> None:
    mean, low, high = (v[:, unit] for v in (s.mean, s.low, s.high))
    if numbers:
        axis.plot(x, mean, color=MODEL_BLUE, label=name)
        if s.n > 1:
            axis.fill_between(
                x, low, high, color=MODEL_BLUE, alpha=0.25, lw=0, label="95% over models"
            )
        return
    bars = [mean - low, high - mean] if s.n > 1 else None
    axis.errorbar(x, mean, bars, ls="", marker="s", ms=5, capsize=3, color=MODEL_BLUE,
                  label=f"{name}, 95%" if s.n > 1 else name)  # fmt: skip


def _tuning_grid(c: Curve, order: NDArray[np.intp]) -> Grid:
    rows = []
    for unit in order.tolist():
        most, least = (int(f(c.rates.mean[:, unit])) for f in (np.argmax, np.argmin))
        rows.append((str(c.unit[unit]), str(c.region[unit]), c.text[most], _span(c.rates, (most, unit)),
                     c.text[least], _span(c.rates, (least, unit)), _span(c.depth, unit),
                     f"{c.alike[unit]:.2f}" if np.isfinite(c.alike[unit]) else "-"))  # fmt: skip
    return Grid(
        ("unit", "region", "most at", c.what, "least at", f"{c.what} there", "modulation", "r"),
        tuple(rows),
    )


def _span(s: Spread, at: Any) -> str:
    if s.n < 2:
        return f"{s.mean[at]:.3g}"
    return f"{s.mean[at]:.3g} [{s.low[at]:.3g}, {s.high[at]:.3g}]"


@styled
def course_figure(courses: Sequence[Course]) -> Drawn:
    """A panel a unit: what each channel does about the bin that is told."""
    shown = courses[:N_SHOWN]
    rows, across = -(-len(shown) // A_ROW), min(len(shown), A_ROW)
    figure = sheet(2.2 * rows + 0.9)
    axes = figure.subplots(rows, across, squeeze=False, sharey=True)
    for axis, c, name in zip(axes.flat, shown, labels([c.unit for c in shown]), strict=False):
        strong = np.argsort(-np.abs(c.course.mean).max(axis=0))[: len(CATEGORIES)]
        for at, k in enumerate(sorted(strong.tolist())):
            colour = CATEGORIES[at]
            axis.plot(c.time_s, c.course.mean[:, k], color=colour, marker=MARKERS[at], ms=3,
                      markevery=4, lw=1.2, label=label(c.names[k]))  # fmt: skip
            if c.course.n > 1:
                axis.fill_between(c.time_s, c.course.low[:, k], c.course.high[:, k], color=colour,
                                  alpha=0.2, lw=0)  # fmt: skip
        axis.axvline(0, color=FAINT, lw=1, zorder=0)
        axis.set_title(f"{name}: {c.rates[:, 0].mean():.3g} to {c.rates[:, 1].mean():.3g} spikes/s")
    for axis in axes.flat[len(shown) :]:
        axis.set_visible(False)
    reach = 1.8 * max(float(np.abs(c.course.mean).max()) for c in shown)
    axes[0, 0].set_ylim(-reach, reach)  # bands of two or three models reach far
    for axis in axes[-1]:
        axis.set_xlabel("seconds from the bin that is told")
    for axis in axes[:, 0]:
        axis.set_ylabel("standard deviations")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    said = (f"What excites a unit most, by gradient ascent within a size; {said_of(courses[0].course.n)}. "
            "On others' courses: what models say of the courses that the other models found.")  # fmt: skip
    return finish(figure, said, _course_grid(courses))


def _course_grid(courses: Sequence[Course]) -> Grid:
    rows = []
    for c in courses:
        null, best = c.rates.mean(axis=0)
        others = f"{c.others.mean():.3g}" if len(c.others) else "-"
        alike = f"{c.agreement:.2f}" if np.isfinite(c.agreement) else "-"
        each = ", ".join(f"{b / a:.2f}" for a, b in c.rates.tolist())
        rows.append((c.unit, f"{null:.3g}", f"{best:.3g}", each, others, alike))
    return Grid(("unit", "spikes/s at means", "at its best", "ratio, each model", "on others' courses",
                 "correlation of courses"), tuple(rows))  # fmt: skip
