"""Scaling laws and their robust fits: a power law with a floor, and a line in log size.

A falling metric (a loss, positive) is fitted on its logarithm, as Hoffmann et al. (2022) do. A
rising one (bits per spike) is a logarithm already and may be negative, so it is fitted as it is.
Both take the Huber loss of Hoffmann et al., *summed* and solved from many starts to tight
tolerances: minimising a mean from one start stops early (Besiroglu et al. 2024).
Shapes: N runs, K axes (sessions, minutes, ...), P parameters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError

Floats = NDArray[np.float64]
EXPONENTS = (0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0)  # starts: their product over the axes
LEAST_EXPONENT, MOST_EXPONENT = 0.01, 4.0
DELTA_LOG = 1e-3  # Hoffmann et al. (2022), on the logarithm of a loss
DELTA_SCORE = 0.02  # bits: about the spread of two runs that differ in their seed alone


@dataclass(frozen=True)
class PowerLaw:
    """`floor` + Σ `amplitudes`_k n_k^-`exponents`_k; for a rising metric `floor` − Σ ..., its ceiling.

    `amplitudes` and `exponents` are positive, (K,) each.
    """

    floor: float
    amplitudes: tuple[float, ...]
    exponents: tuple[float, ...]
    rises: bool

    def __call__(self, x: ArrayLike) -> Floats:
        """Values (N,) at sizes (N, K), or (N,) where there is one axis."""
        size = _columns(x, len(self.exponents))
        gap = (np.array(self.amplitudes) * size ** -np.array(self.exponents)).sum(axis=1)
        return np.asarray(self.floor - gap if self.rises else self.floor + gap)

    def needed(self, target: float, rest: Sequence[float] = ()) -> float:
        """Size of the first axis at which the law reaches `target`, the other axes at `rest`.

        Infinite where the target lies at or beyond the limit.
        """
        terms = zip(self.amplitudes[1:], self.exponents[1:], rest, strict=True)
        other = sum(a * r**-b for a, b, r in terms)
        left = (self.floor - target if self.rises else target - self.floor) - other
        if left <= 0:
            return float("inf")
        with np.errstate(over="ignore"):
            return float(np.exp(np.log(self.amplitudes[0] / left) / self.exponents[0]))


@dataclass(frozen=True)
class LogLinear:
    """`intercept` + Σ `slopes`_k ln n_k: a description inside the range, without any limit."""

    intercept: float
    slopes: tuple[float, ...]
    rises: bool

    def __call__(self, x: ArrayLike) -> Floats:
        """Values (N,) at sizes (N, K), or (N,) where there is one axis."""
        size = _columns(x, len(self.slopes))
        return np.asarray(self.intercept + np.log(size) @ np.array(self.slopes))

    def needed(self, target: float, rest: Sequence[float] = ()) -> float:
        """Size of the first axis at which the line reaches `target`; infinite if it never does."""
        other = sum(b * np.log(r) for b, r in zip(self.slopes[1:], rest, strict=True))
        if self.slopes[0] == 0 or (self.slopes[0] > 0) != self.rises:
            return float("inf")
        with np.errstate(over="ignore"):
            return float(np.exp((target - self.intercept - other) / self.slopes[0]))


Law = PowerLaw | LogLinear


@dataclass(frozen=True)
class Fit:
    """A law with what its bootstrap needs.

    `residuals` (N,): measured less fitted, on the logarithm where the fit was (`on_logs`).
    `leverage` (N,): how far each run pulls its own fitted value, 0 to 1. `theta`: (P,), a start
    for refits. `loss`: the Huber loss in units of delta², summed.
    """

    law: Law
    residuals: Floats
    leverage: Floats
    theta: Floats
    loss: float
    on_logs: bool


def fit_power_law(
    x: ArrayLike,
    y: ArrayLike,
    *,
    rises: bool,
    delta: float | None = None,
    exponents: Sequence[float] = EXPONENTS,
    near: Floats | None = None,
) -> Fit:
    """The power law with floor (falling) or ceiling (rising) of the least summed Huber loss.

    `x` (N, K) positive, `y` (N,), positive if falling. `near`: parameters of a fit to similar
    values, taken as one more start. Raises InputError for sizes or losses that are not positive.
    """
    u, centre, values = _checked(x, y, positive=not rises)
    delta = delta or (DELTA_SCORE if rises else DELTA_LOG)
    terms = _rising_terms if rises else _falling_terms
    starts = [_start(u, values, np.array(e), rises) for e in product(exponents, repeat=u.shape[1])]
    starts += [] if near is None else [near]
    n_axes = u.shape[1]
    limits = [(None, None) if rises else (-60.0, 60.0)]
    limits += [(-60.0, 60.0)] * n_axes + [(LEAST_EXPONENT, MOST_EXPONENT)] * n_axes
    wanted = values if rises else np.log(values)
    theta, loss = _least(lambda t: terms(t, u), wanted, delta, starts, limits)
    fitted, slopes = terms(theta, u)
    law = _law_of(theta, centre, rises)
    return Fit(law, wanted - fitted, _leverage(slopes), theta, loss, not rises)


def fit_log_linear(
    x: ArrayLike,
    y: ArrayLike,
    *,
    rises: bool,
    delta: float | None = None,
    exponents: Sequence[float] = EXPONENTS,  # noqa: ARG001  the loss is convex: one start
    near: Floats | None = None,
) -> Fit:
    """The line in log size of the least summed Huber loss, on the values themselves."""
    u, centre, values = _checked(x, y, positive=not rises)
    delta = delta or (DELTA_SCORE if rises else DELTA_LOG * float(np.median(values)))
    design = np.column_stack([np.ones(len(u)), u])
    solved = np.asarray(np.linalg.lstsq(design, values, rcond=None)[0], dtype=np.float64)
    first = solved if near is None else near
    free = [(None, None)] * design.shape[1]
    theta, loss = _least(lambda t: (design @ t, design), values, delta, [first], free)
    intercept = float(theta[0] - theta[1:] @ centre)
    law = LogLinear(intercept, tuple(map(float, theta[1:])), rises)
    return Fit(law, values - design @ theta, _leverage(design), theta, loss, False)


POWER_LAW, LOG_LINEAR = "power law", "log-linear"
FORMS: dict[str, Callable[..., Fit]] = {POWER_LAW: fit_power_law, LOG_LINEAR: fit_log_linear}


def _law_of(theta: Floats, centre: Floats, rises: bool) -> PowerLaw:
    """The law in sizes, from the solver's parameters on centred logarithms."""
    k = len(centre)
    b = theta[k + 1 :]
    amplitudes = np.exp(theta[1 : k + 1]) / (b if rises else 1.0)
    floor = theta[0] + amplitudes.sum() if rises else np.exp(theta[0])
    sizes = amplitudes * np.exp(b * centre)
    return PowerLaw(float(floor), tuple(map(float, sizes)), tuple(map(float, b)), rises)


def _columns(x: ArrayLike, n_axes: int) -> Floats:
    return np.asarray(x, dtype=np.float64).reshape(-1, n_axes)


def _checked(x: ArrayLike, y: ArrayLike, positive: bool) -> tuple[Floats, Floats, Floats]:
    """(centred logarithms of the sizes, their centre, values); centring keeps the solver well."""
    values = np.asarray(y, dtype=np.float64)
    size = np.asarray(x, dtype=np.float64).reshape(len(values), -1)
    if not (np.isfinite(size).all() and (size > 0).all()):
        raise InputError("the sizes of a scaling law must be positive numbers.")
    if not np.isfinite(values).all() or (positive and (values <= 0).any()):
        raise InputError("the values of a scaling law must be finite, and positive for a loss.")
    logs = np.log(size)
    centre = logs.mean(axis=0)
    return logs - centre, centre, values


def _falling_terms(theta: Floats, u: Floats) -> tuple[Floats, Floats]:
    """ln(e^θ0 + Σ e^(a − b u)) by log-sum-exp: (N,), and its slopes (N, P)."""
    k = u.shape[1]
    parts = np.column_stack([np.full(len(u), theta[0]), theta[1 : k + 1] - theta[k + 1 :] * u])
    top = parts.max(axis=1)
    total = top + np.log(np.exp(parts - top[:, None]).sum(axis=1))
    share = np.exp(parts - total[:, None])
    return total, np.column_stack([share, -share[:, 1:] * u])


def _rising_terms(theta: Floats, u: Floats) -> tuple[Floats, Floats]:
    """θ0 + Σ e^a (1 − e^(−b u)) / b: (N,), and its slopes (N, P).

    The ceiling less a power law, written so that it becomes the line in u as b goes to zero: the
    solver stays well where data cannot tell the two apart (the transform of Box and Cox 1964).
    """
    k = u.shape[1]
    slope, b = np.exp(np.clip(theta[1 : k + 1], -60.0, 60.0)), theta[k + 1 :]
    decay = np.exp(np.clip(-b * u, -80.0, 80.0))
    parts = slope * (1 - decay) / b
    bend = slope * ((b * u + 1) * decay - 1) / b**2
    return theta[0] + parts.sum(axis=1), np.column_stack([np.ones(len(u)), parts, bend])


def _start(u: Floats, values: Floats, exponents: Floats, rises: bool) -> Floats:
    """Floor (or level) and amplitudes (or slopes) by least squares for given exponents."""
    decay = np.exp(-exponents * u)
    weight = np.ones(len(values)) if rises else 1 / values
    columns = (1 - decay) / exponents if rises else decay
    design = np.column_stack([np.ones(len(u)), columns]) * weight[:, None]
    solved = np.linalg.lstsq(design, values * weight, rcond=None)[0]
    least = 1e-3 * (np.ptp(values) + 1e-9)
    amplitudes = np.log(np.maximum(solved[1:], least))
    floor = solved[0] if rises else np.log(max(solved[0], least))
    return np.array([floor, *amplitudes, *exponents])


def _least(
    terms: Callable[[Floats], tuple[Floats, Floats]],
    wanted: Floats,
    delta: float,
    starts: Sequence[Floats],
    limits: Sequence[tuple[float | None, float | None]],
) -> tuple[Floats, float]:
    """(parameters, summed Huber loss in units of delta²) of the best of all starts."""
    minimise = _solver()

    def summed(theta: Floats) -> tuple[float, Floats]:
        fitted, slopes = terms(theta)
        r = (fitted - wanted) / delta
        far = np.abs(r)
        loss = np.where(far <= 1, 0.5 * r * r, far - 0.5).sum()
        return float(loss), (np.clip(r, -1, 1) @ slopes) / delta

    found = [
        minimise(summed, start, jac=True, method="L-BFGS-B", bounds=limits,
                 options={"maxiter": 2000, "ftol": 1e-13, "gtol": 1e-8})
        for start in starts
    ]  # fmt: skip
    best = min(found, key=lambda one: float(one.fun))
    return np.asarray(best.x, dtype=np.float64), float(best.fun)


def _solver() -> Callable[..., Any]:
    try:
        from scipy.optimize import minimize
    except ImportError:
        raise InputError(
            "Fits of scaling laws need scipy, which is not installed; run "
            "`pip install 'neurofm[eval]'`."
        ) from None
    solver: Callable[..., Any] = minimize
    return solver


def _leverage(slopes: Floats) -> Floats:
    """Diagonal of the hat matrix: (N,)."""
    left, sizes, _ = np.linalg.svd(slopes, full_matrices=False)
    kept = left[:, sizes > 1e-10 * sizes[0]]
    return np.asarray((kept**2).sum(axis=1))
