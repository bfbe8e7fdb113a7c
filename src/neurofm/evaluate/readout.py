"""What decoders of signals share: pieces of activity with targets, and ridge on lagged features."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError
from neurofm.evaluate import regression, streams
from neurofm.evaluate.regression import Design
from neurofm.evaluate.streams import Groups, Matrix, Scale

Counts = NDArray[Any]
MOST_FEATURES = 2100
N_FOLDS = 4


@dataclass(frozen=True)
class Stretch:
    """Contiguous bins: `counts` (T, C), `wanted` (T, k) targets, NaN where unknown.

    `scale`: how its counts are standardised, where not as all of the training stretches.
    """

    counts: Counts
    wanted: Matrix
    scale: Scale | None = None


class Decodes(Protocol):
    """Fitted on stretches, then asked about counts; never handed the answers of the test side.

    `fit` chooses its settings on `valid`; where that is empty, on contiguous parts of `train`.
    """

    def fit(self, train: Sequence[Stretch], valid: Sequence[Stretch]) -> None: ...

    def predict(self, pieces: Sequence[Counts]) -> list[Matrix]: ...


class SignalDecoder(Decodes, Protocol):
    """One whose last layer is linear: `features` are what that reads, (T, F) a piece."""

    def features(self, pieces: Sequence[Counts]) -> list[Matrix]: ...


@dataclass(frozen=True)
class Line:
    """A ridge solution: targets = y_mean + (x - x_mean) @ weights."""

    fitted: Design
    weights: Matrix
    power: float

    def __call__(self, x: Matrix) -> Matrix:
        """(n, F) features -> (n, k)."""
        return np.asarray(self.fitted.project(x) @ self.weights + self.fitted.y_mean)


Rows = tuple[Matrix, Matrix]  # features (n, F) and targets (n, k)


def known(x: Matrix, y: Matrix) -> Rows:
    """The rows of which every target is known."""
    there = np.isfinite(y).all(axis=1)
    return x[there], y[there]


def line(train: Sequence[Rows], power: float) -> Line:
    """Ridge with penalty 10**power, relative to the features; raises InputError without a row."""
    fitted = regression.design([(x, y) for x, y in train if len(x)])
    return Line(fitted, regression.ridge(fitted, 10.0**power), power)


def tuned_line(train: Sequence[Rows], valid: Sequence[Rows]) -> tuple[Line, float]:
    """The ridge solution whose penalty predicts best, and how well: minus the mean squared error.

    Without validation rows, each of four contiguous parts of the training rows is predicted from
    the others. Targets are taken to be on one scale.
    """
    pairs = [(list(train), list(valid))] if any(len(x) for x, _ in valid) else _folds(train)
    designs = [(regression.design([r for r in fit if len(r[0])]), check) for fit, check in pairs]
    known: dict[float, float] = {}

    def quality(power: float) -> float:
        if power not in known:
            errors = [_error(Line(d, regression.ridge(d, 10.0**power), power), check)
                      for d, check in designs]  # fmt: skip
            lost, n = np.sum(errors, axis=0)
            known[power] = -lost / max(n, 1)
        return known[power]

    power = regression.climb(quality, -1.0, step=0.5, n_most=14)
    whole = designs[0][0] if len(designs) == 1 else None
    best = Line(whole, regression.ridge(whole, 10.0**power), power) if whole else line(train, power)
    return best, quality(power)


def _error(fitted: Line, rows: Sequence[Rows]) -> tuple[float, int]:
    lost = sum(float(((fitted(x) - y) ** 2).sum()) for x, y in rows if len(x))
    return lost, sum(y.size for _, y in rows)


def _folds(train: Sequence[Rows]) -> list[tuple[list[Rows], list[Rows]]]:
    """(rest, part) for contiguous parts of the rows in order; raises InputError if there are few."""
    x = np.concatenate([x for x, _ in train]) if train else np.empty((0, 1), np.float32)
    y = np.concatenate([y for _, y in train]) if train else np.empty((0, 1), np.float32)
    if len(x) < 2 * N_FOLDS:
        raise InputError(f"A decoder found {len(x)} bins with a target to learn from; too few.")
    edges = np.linspace(0, len(x), N_FOLDS + 1).astype(int)
    out = []
    for a, b in itertools.pairwise(edges):
        rest = [(x[:a], y[:a]), (x[b:], y[b:])]
        out.append((rest, [(x[a:b], y[a:b])]))
    return out


def last_fifth(train: Sequence[Stretch]) -> tuple[list[Stretch], list[Stretch]]:
    """(train, valid) where there is no validation side; raises InputError if no stretch has 10 bins."""
    long = [s for s in train if len(s.counts) >= 10]
    if not long:
        raise InputError("A decoder needs a stretch of 10 bins to learn from.")
    cuts = [(s, 4 * len(s.counts) // 5) for s in long]
    return ([Stretch(s.counts[:a], s.wanted[:a]) for s, a in cuts],
            [Stretch(s.counts[a:], s.wanted[a:]) for s, a in cuts])  # fmt: skip


@dataclass(frozen=True)
class Lagged:
    """Features: root counts, standardised on training, smoothed by a Gaussian, at groups of lags."""

    sigma_bins: float
    groups: Groups

    def __call__(self, counts: Counts, scale: Scale) -> Matrix:
        """(T, C) counts of one piece -> (T, len(groups) * C); nothing comes from outside it."""
        values = scale(counts)
        if self.sigma_bins > 0:
            regression.solvers()  # a clear sentence where scipy is missing
            from scipy.ndimage import gaussian_filter1d

            values = gaussian_filter1d(values, self.sigma_bins, axis=0, mode="nearest")
        return streams.lagged(values, self.groups, np.arange(len(values)))


class LagRidge:
    """Ridge on the best of several kinds of lagged features; a kind too wide is passed over."""

    def __init__(self, candidates: Callable[[], list[Lagged]]) -> None:
        self.candidates = candidates

    def fit(self, train: Sequence[Stretch], valid: Sequence[Stretch]) -> None:
        """Chooses the features and the penalty."""
        n_channels = train[0].counts.shape[1]
        self.scale = Scale.of([s.counts for s in train], np.arange(n_channels))
        every = self.candidates()
        small = [c for c in every if len(c.groups) * n_channels <= MOST_FEATURES] or every[:1]
        best: tuple[float, Lagged, Line] | None = None
        for candidate in small:
            solved, quality = tuned_line(self._rows(train, candidate), self._rows(valid, candidate))
            if best is None or quality > best[0]:
                best = quality, candidate, solved
        assert best is not None
        _, self.chosen, self.line = best

    def _rows(self, stretches: Sequence[Stretch], kind: Lagged) -> list[Rows]:
        return [known(kind(s.counts, s.scale or self.scale), s.wanted) for s in stretches]

    def features(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, F) lagged features a piece."""
        return [self.chosen(counts, self.scale) for counts in pieces]

    def predict(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, k) a piece."""
        return [self.line(x) for x in self.features(pieces)]
