"""Exponential smoothing: of the population (hidden channels) or of a unit's own past (forward)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import streams
from neurofm.evaluate.lagged import Sides, shaped
from neurofm.evaluate.regression import fit_quality, floored, solvers
from neurofm.evaluate.streams import Bins, Matrix, Pattern
from neurofm.evaluate.task import Example, Question

TAUS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # bins


@dataclass
class Smoothing:
    """rate = mean + gain * (smoothed − its mean), a gain for each unit by least squares.

    Hidden channels: what is smoothed, on both sides, is the mean standardised activity of the
    visible channels. Forward: each unit's own counts before the horizon. The time constant is
    chosen on `valid`.
    """

    name: str = "smoothing"
    chosen: dict[str, float] = field(default_factory=dict)
    sides: Sides | None = field(default=None, repr=False)
    gain: Matrix | None = field(default=None, repr=False)
    centre: Matrix | None = field(default=None, repr=False)
    intercept: Matrix | None = field(default=None, repr=False)
    mean: Matrix | None = field(default=None, repr=False)
    n: int = 0

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Try every time constant; keep the one with the best likelihood on `valid`."""
        self.sides = sides = Sides.of(train, valid)
        best = -np.inf
        for tau in TAUS:
            x, y = _samples(sides, sides.train, tau)
            x_valid, y_valid = _samples(sides, sides.valid, tau)
            centre = x.mean(axis=0, dtype=np.float64).astype(np.float32)
            y_mean = y.mean(axis=0, dtype=np.float64).astype(np.float32)
            gain = _gains(x - centre, y - y_mean, sides.pattern)
            for intercept in (options := shaped(y_mean, sides.pattern)):
                rates = _rates(x_valid - centre, gain, intercept, options[0], len(y))
                quality = fit_quality(y_valid, rates)
                if quality > best:
                    best, self.chosen = quality, {"tau": tau}
                    self.gain, self.centre = gain, centre
                    self.intercept, self.mean, self.n = intercept, options[0], len(y)

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.sides is not None, "fit comes before predict"
        assert self.gain is not None and self.centre is not None  # noqa: PT018
        assert self.intercept is not None and self.mean is not None  # noqa: PT018
        pattern = self.sides.pattern
        out = []
        for question in questions:
            at = streams.asked_at(question, pattern)
            x = _smoothed(self.sides, question.visible, at, self.chosen["tau"]) - self.centre
            rates = _rates(x, self.gain, self.intercept, self.mean, self.n)
            out.append(streams.answer(rates, question, pattern))
        return out


def _samples(sides: Sides, pieces: list[NDArray[Any]], tau: float) -> tuple[Matrix, Matrix]:
    """Smoothed (n, 1 or S) and targets (n, M) of all pieces."""
    xs, ys = [], []
    for piece in pieces:
        at = sides.pattern.sites(len(piece))
        if len(at):
            xs.append(_smoothed(sides, piece, at, tau))
            ys.append(streams.targets(piece, sides.pattern, at))
    return np.concatenate(xs), np.concatenate(ys)


def _smoothed(sides: Sides, counts: NDArray[Any], at: Bins, tau: float) -> Matrix:
    """(n, 1): the population around `at`; or (n, S): each scored unit's counts before `at`."""
    pattern = sides.pattern
    if not pattern.n_horizon:
        values = sides.scale(counts[:, pattern.visible]).mean(axis=1, keepdims=True)
        both = [_summed(v, tau) for v in (values, np.ones_like(values))]
        back = [_summed(v[::-1], tau)[::-1] for v in (values, np.ones_like(values))]
        smooth = (both[0] + back[0] - values) / (both[1] + back[1] - 1)
        return np.asarray(smooth[at], dtype=np.float32)
    values = counts[:, pattern.scored].astype(np.float32)
    total, weight = (_before(_summed(v, tau), at, pattern.n_context, tau) for v in
                     (values, np.ones((len(values), 1), np.float32)))  # fmt: skip
    return np.asarray(total / weight, dtype=np.float32)


def _summed(values: Matrix, tau: float) -> NDArray[np.float64]:
    """Sums over all earlier bins and this one, with weights exp(-bins / tau)."""
    solvers()  # a clear sentence where scipy is missing
    from scipy.signal import lfilter

    return np.asarray(lfilter([1.0], [1.0, -np.exp(-1 / tau)], values.astype(np.float64), axis=0))


def _before(summed: NDArray[np.float64], at: Bins, n: int, tau: float) -> NDArray[np.float64]:
    """The same sums over just the `n` bins before `at`, what a window shows of its past."""
    earlier = at - 1 - n
    beyond = np.where((earlier >= 0)[:, None], summed[np.maximum(earlier, 0)], 0.0)
    return np.asarray(summed[at - 1] - np.exp(-n / tau) * beyond)


def _gains(x: Matrix, y: Matrix, pattern: Pattern) -> Matrix:
    """(S,) least-squares gains, pooled over the horizon; forward gains are within [0, 1]."""
    y = y.reshape(len(y), pattern.n_ahead, -1).mean(axis=1)
    gain = (x * y).sum(axis=0) / np.maximum((x * x).sum(axis=0), 1e-12)
    return np.asarray(np.clip(gain, 0, 1) if pattern.n_horizon else gain, dtype=np.float32)


def _rates(x: Matrix, gain: Matrix, intercept: Matrix, mean: Matrix, n: int) -> Matrix:
    change = x * gain
    n_ahead = len(intercept) // len(gain)
    return floored(np.tile(change, n_ahead) + intercept, mean, n)
