"""How every unit goes with the leading directions of its population, and what those are like.

Two sessions have different units, and so different directions in no common order. What a direction is
like can be compared: its strength, its time course, its skew. Everything here is a number of one
unit and one direction; sums over units, weighted by how a unit is read in, are the direction's own.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.unit_features import population_loadings

N_FACTORS = 12
LAGS_S = (0.02, 0.06, 0.16, 0.4, 1.0)
PRECISE, LOADINGS, SLOPES, SQUARE = 0, 1, 2, 3
N_COLUMNS = 4 + len(LAGS_S)
FLOOR = 0.5  # of the strength found by chance: a weak direction costs less than a missing one
MEMORY_S = 0.5  # factors are slow: what is read in is averaged over about so long
LEAST_PRIVATE = 0.2  # of a channel's variance a bin; less is an estimate gone wrong
FLOOR_COUNTS = 0.5  # spikes of a channel that was silent
CELLS = 1 << 22  # of a block of float32 at once


def unit_factors(
    recording: Recording, intervals: Intervals, bin_s: float, n: int = N_FACTORS
) -> NDArray[np.float32]:
    """(C, n, N_COLUMNS): factor analysis of standardised root counts x, unit by direction.

    With loadings L, private variances psi = 1 - |L|^2 and m the bins of `MEMORY_S`, the mean of
    x @ psi^-1 L (I / m + L' psi^-1 L)^-1 over m bins is the posterior mean f of factors that are constant over
    them (Bartholomew 1987, eq. 3.7). The columns are

    - `PRECISE`: psi^-1 L;
    - `LOADINGS`: L, so that f @ loadings' is what is expected of x;
    - `SLOPES`: the change of the expected count with f, in units of the mean count;
    - `SQUARE`: mean of x f^2, of which the weighted sum is the factor's third moment;
    - the covariance of x with f, `LAGS_S` later.

    Columns of directions beyond those found are 0. The order of channels changes only the order of
    the rows. Raises InputError if the intervals hold no whole bin.
    """
    inside = intervals.intersect(recording.valid)
    order = np.argsort(recording.channels.id, kind="stable")  # sums in one order, whatever is given
    loadings = population_loadings(recording, inside, bin_s, n, FLOOR)[order].astype(np.float64)
    private = np.maximum(1 - np.square(loadings).sum(axis=1), LEAST_PRIVATE)
    precise = loadings / private[:, None]
    n_bins = max(MEMORY_S / bin_s, 1.0)
    weights = precise @ np.linalg.inv(np.eye(n) / n_bins + precise.T @ loadings)
    scale = _Scale.of(recording, inside, bin_s, order)
    out = np.zeros((len(loadings), n, N_COLUMNS))
    out[:, :, PRECISE], out[:, :, LOADINGS] = precise, loadings
    out[:, :, SLOPES] = loadings * scale.slope[:, None]
    lags = [max(round(lag / bin_s), 1) for lag in LAGS_S]
    out[:, :, SQUARE:] = _moments(scale.chunks(recording, inside, bin_s, order), weights, lags)
    return out[np.argsort(order, kind="stable")].astype(np.float32)


class _Scale:
    """Mean and spread of root counts, and how a count changes with its standardised root."""

    def __init__(self, mean: NDArray[np.float64], spread: NDArray[np.float64],
                 slope: NDArray[np.float64]) -> None:  # fmt: skip
        self.mean, self.spread, self.slope = mean, spread, slope

    @classmethod
    def of(
        cls, recording: Recording, intervals: Intervals, bin_s: float, order: NDArray[np.int64]
    ) -> "_Scale":
        sums, n = np.zeros((4, len(order))), 0
        for counts in _chunks(recording, intervals, bin_s, order):
            root = np.sqrt(counts)
            sums += [counts.sum(0), root.sum(0), (root * counts).sum(0), np.square(root).sum(0)]
            n += len(counts)
        count, root, product, square = sums / max(n, 1)
        variance = np.maximum(square - np.square(root), 0.0)
        spread = np.sqrt(variance) + 0.05  # as in the model's own standardisation
        change = (product - root * count) / np.maximum(variance, 1e-9)
        return cls(root, spread, change * spread / np.maximum(count, FLOOR_COUNTS / max(n, 1)))

    def chunks(
        self, recording: Recording, intervals: Intervals, bin_s: float, order: NDArray[np.int64]
    ) -> Iterator[NDArray[np.float64]]:
        """Standardised root counts, channels in the given order."""
        for counts in _chunks(recording, intervals, bin_s, order):
            yield (np.sqrt(counts) - self.mean) / self.spread


def _chunks(
    recording: Recording, intervals: Intervals, bin_s: float, order: NDArray[np.int64]
) -> Iterator[NDArray[np.float64]]:
    rows = max(CELLS // max(len(order), 1), 1)
    for begin, end in binning.pieces(intervals, bin_s):
        for first in range(begin, end, rows):
            stop = min(first + rows, end)
            yield binning.activity(recording, first, stop, bin_s)[:, order].astype(np.float64)


def _moments(
    chunks: Iterator[NDArray[np.float64]], weights: NDArray[np.float64], lags: list[int]
) -> NDArray[np.float64]:
    """(C, n, 1 + lags): the mean of x f^2, and of x with f at each lag (within a chunk)."""
    total = np.zeros((*weights.shape, 1 + len(lags)))
    n = np.zeros(1 + len(lags))
    for x in chunks:
        f = x @ weights
        total[:, :, 0] += x.T @ np.square(f)
        n[0] += len(x)
        for at, lag in enumerate(lags, 1):
            total[:, :, at] += x[: len(x) - lag].T @ f[lag:] if lag < len(x) else 0.0
            n[at] += max(len(x) - lag, 0)
    return total / np.maximum(n, 1)
