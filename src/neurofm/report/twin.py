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
    OTHER,
    Drawn,
    finish,
    label,
    labels,
    sheet,
    styled,
)
from neurofm.report.tables import Grid, interval, number
from neurofm.results import Result

Floats = NDArray[np.float64]
MODEL, MEAN_OF = "model", ", mean of "
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
    alike = ""
    if np.isfinite(c.alike).any():
        alike = (f" r: correlation with what was recorded on the test side, mean over units {np.nanmean(c.alike):.2f}; the "
                 f"curve recorded on the training side has {np.nanmean(c.before):.2f}.")  # fmt: skip
    title = (f"Tuning to {c.name}{c.beside}, {len(c.unit)} units, the most changing first, {c.what}; "
             f"{said_of(c.rates.n)}.{alike}")  # fmt: skip
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
