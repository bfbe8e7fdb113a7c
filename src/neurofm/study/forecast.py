"""Forecasts from a study: a score at n, the n for a score, each with an interval or a refusal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurofm.study.holdout import HeldOut, held_out
from neurofm.study.laws import FORMS, POWER_LAW, Fit, Floats, Law, PowerLaw
from neurofm.study.points import Points
from neurofm.study.uncertainty import drawn_laws

KEPT_WITHIN = 1.5  # a form stays in the intervals unless its held-out error is this much the best's


@dataclass(frozen=True)
class Estimate:
    """A number with its 95% interval; `high` is infinite where nothing bounds it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Limits:
    """What a forecast asks of the runs it is made from.

    `n_runs`, `n_levels`: the fewest, of the main axis. `factor`: its largest over its smallest
    size. `beyond`: a forecast reaches at most this many times the largest size.
    """

    n_runs: int = 8
    n_levels: int = 4
    factor: float = 8.0
    beyond: float = 4.0


@dataclass(frozen=True)
class Study:
    """Fits of every form to the same points, their bootstrap, and the form chosen.

    `chosen`: the form of the least held-out error, the power law where nothing could be held out.
    """

    points: Points
    fits: Mapping[str, Fit]
    draws: Mapping[str, Sequence[Law]]
    held_out: HeldOut
    chosen: str

    @property
    def kept(self) -> tuple[str, ...]:
        """Forms whose draws make the intervals: the power law, and what was as good held out."""
        error = self.held_out.error
        most = KEPT_WITHIN * min(error.values(), default=0.0)
        return tuple(f for f in FORMS if f in (POWER_LAW, self.chosen) or error.get(f, 1e9) <= most)

    def value_at(self, size: float, form: str | None = None) -> Estimate:
        """The score at a size of the main axis, the others at their largest; of one form, or kept."""
        x = self._at(np.array([size]))
        value = float(self.fits[form or self.chosen].law(x)[0])
        found = [float(law(x)[0]) for law in self._laws(form)]
        return Estimate(value, *_bounds(found))

    def band(self, sizes: Floats) -> tuple[Floats, Floats, Floats]:
        """(values, low, high) of the kept forms at many sizes of the main axis."""
        x = self._at(sizes)
        found = np.array([law(x) for law in self._laws(None)])
        low, high = np.percentile(found, [2.5, 97.5], axis=0)
        return self.fits[self.chosen].law(x), low, high

    def needed(self, target: float, form: str | None = None) -> Estimate:
        """The size of the main axis that reaches a score; infinite where the law never does."""
        rest = self.points.largest[1:].tolist()
        value = self.fits[form or self.chosen].law.needed(target, rest)
        return Estimate(value, *_bounds([law.needed(target, rest) for law in self._laws(form)]))

    def limit(self) -> Estimate:
        """The power law's floor or ceiling along all axes."""
        laws = [law.floor for law in self.draws[POWER_LAW] if isinstance(law, PowerLaw)]
        law = self.fits[POWER_LAW].law
        assert isinstance(law, PowerLaw)
        return Estimate(law.floor, *_bounds(laws))

    def gain(self) -> Estimate:
        """The chosen law at the largest size less that at the smallest; better is positive."""
        ends = self._at(self.points.levels[[0, -1]])
        sign = 1.0 if self.points.rises else -1.0
        found = [sign * float(np.diff(law(ends))[0]) for law in self._laws(None)]
        value = sign * float(np.diff(self.fits[self.chosen].law(ends))[0])
        return Estimate(value, *_bounds(found))

    def _laws(self, form: str | None) -> list[Law]:
        return [law for name in ([form] if form else self.kept) for law in self.draws[name]]

    def _at(self, sizes: Floats) -> Floats:
        x = np.tile(self.points.largest, (len(sizes), 1))
        x[:, 0] = sizes
        return x


def study(points: Points, *, n_boot: int = 400, seed: int = 0, delta: float | None = None) -> Study:
    """Fit every form, resample, hold out the largest runs, and choose.

    Raises InputError if the extra `eval` is not installed or a size or loss is not positive.
    """
    fits = {
        f: fit(points.x, points.mean, rises=points.rises, delta=delta) for f, fit in FORMS.items()
    }
    draws = {
        form: drawn_laws(points, form, fit, n_boot=n_boot, seed=seed, delta=delta)
        for form, fit in fits.items()
    }
    held = held_out(points, delta=delta)
    return Study(points, fits, draws, held, held.best or POWER_LAW)


def too_small(points: Points, limits: Limits) -> str | None:
    """Why no forecast can be made from these points: one sentence, or None."""
    axis, levels = points.axes[0], points.levels
    factor = levels[-1] / levels[0]
    if len(points) < limits.n_runs:
        return (
            f"No forecast: {len(points)} runs are fewer than {limits.n_runs}; add draws or {axis}."
        )
    if len(levels) < limits.n_levels:
        return (
            f"No forecast: {len(levels)} different numbers of {axis} are fewer than "
            f"{limits.n_levels}; add some in between."
        )
    if factor < limits.factor:
        return (
            f"No forecast: {axis} range over a factor of {factor:.3g}, from {levels[0]:g} to "
            f"{levels[-1]:g}, and a law is not told from its rivals below {limits.factor:g}."
        )
    return None


def refusal(
    made: Study, *, size: float | None = None, target: float | None = None,
    limits: Limits | None = None,
) -> str | None:  # fmt: skip
    """Why a forecast at `size`, or of the size for `target`, is refused: one sentence, or None."""
    limits = limits or Limits()
    axis, largest = made.points.axes[0], made.points.levels[-1]
    if reason := too_small(made.points, limits):
        return reason
    if made.gain().low <= 0:
        return (
            f"No forecast: from {made.points.levels[0]:g} to {largest:g} {axis} no gain is shown "
            f"({text(made.gain())} {made.points.metric})."
        )
    if size is not None and size > limits.beyond * largest:
        return (
            f"No forecast: {size:g} {axis} are more than {limits.beyond:g} times the {largest:g} "
            "that were run."
        )
    return None if target is None else _unreachable(made, target, limits)


def _unreachable(made: Study, target: float, limits: Limits) -> str | None:
    axis, largest = made.points.axes[0], made.points.levels[-1]
    needed, metric = made.needed(target), made.points.metric
    if not np.isfinite(needed.value):
        limit = "ceiling" if made.points.rises else "floor"
        return (
            f"No forecast: {target:g} {metric} lies beyond the {limit} that more {axis} lead to, "
            f"{text(made.limit())}."
        )
    if needed.value > limits.beyond * largest:
        return (
            f"No forecast: {target:g} {metric} would need more than {limits.beyond:g} times the "
            f"{largest:g} {axis} that were run, too far to say how many."
        )
    return None


def sentence(made: Study, target: float, limits: Limits | None = None) -> str:
    """The forecast of what a target needs, in one sentence, or the refusal."""
    if reason := refusal(made, target=target, limits=limits):
        return reason
    needed, axis = made.needed(target), made.points.axes[0]
    smallest, largest = made.points.levels[[0, -1]]
    if needed.value < smallest:
        return f"{target:g} {made.points.metric} is reached below the smallest size run, {smallest:g} {axis}."
    where = "inside" if needed.value <= largest else "beyond"
    bound = f"{needed.high:.3g}" if needed.high <= (limits or Limits()).beyond * largest else (
        "no upper bound that these runs support"
    )  # fmt: skip
    return (
        f"{target:g} {made.points.metric} needs about {needed.value:.3g} {axis} "
        f"(95% interval {needed.low:.3g} to {bound}), {where} the range of {smallest:g} to {largest:g}."
    )


def text(estimate: Estimate) -> str:
    """0.312 [0.290, 0.334]."""
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _bounds(found: Sequence[float]) -> tuple[float, float]:
    """The 2.5% and 97.5% points, each an outward one of the draws, since some may be infinite."""
    if not found:
        return float("nan"), float("nan")
    ordered = np.sort(np.asarray(found, dtype=np.float64))
    n = len(ordered)
    low, high = int(np.floor(0.025 * (n - 1))), int(np.ceil(0.975 * (n - 1)))
    return float(ordered[low]), float(ordered[high])
