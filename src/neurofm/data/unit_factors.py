"""How every unit goes with the leading directions of its population, and what those are like.

Two sessions have different units, and so different directions in no common order. What a direction is
like can be compared: its strength, its time course, its skew. Everything here is a number of one
unit and one direction; sums over units, weighted by how a unit is read in, are the direction's own.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning, unit_coupling
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.unit_features import principal_axes
from neurofm.errors import InputError

N_FACTORS = 12
LAGS_S = (0.02, 0.06, 0.16, 0.4, 1.0)
PRECISE, LOADINGS, SLOPES, SQUARE = 0, 1, 2, 3
N_COLUMNS = 4 + len(LAGS_S)
FLOOR = 0.65  # of the strength found by chance: a doubtful direction costs less than a missing one
N_SHIFTS = 5
GOLDEN = 0.6180339887498949
MEMORY_S = 0.5  # factors are slow: what is read in is averaged over about so long
LEAST_PRIVATE = 0.2  # of a channel's variance a bin; less is an estimate gone wrong
FLOOR_COUNTS = 0.5  # spikes of a channel that was silent
CELLS = 1 << 22  # of a block of float32 at once


def unit_factors(
    recording: Recording, intervals: Intervals, bin_s: float, n: int = N_FACTORS
) -> NDArray[np.float32]:
    """(C, n, N_COLUMNS): factor analysis of standardised root counts x, unit by direction.

    As in `population_loadings`, L are principal axes of what root counts share over 0.1 s, strongest
    first; but a direction is kept already if it has 0.65 of the strength of what is found where every
    channel is shifted in time by its own amount (parallel analysis, Horn 1965): a prediction loses
    less by a doubtful direction than by a missing one. With loadings L, private variances psi = 1 - |L|^2 and m the bins of `MEMORY_S`, the mean of
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
    loadings = _loadings(recording, inside, bin_s, order, n)
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


def _loadings(
    recording: Recording, intervals: Intervals, bin_s: float, order: NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """(C, n) loadings, channels in the given order; 0 beyond the directions that are kept."""
    counts = [c[:, order] for c in unit_coupling.counts_of(recording, intervals, bin_s)]
    if not counts:
        raise InputError(
            f"{recording.id}: the intervals hold no whole bin of {bin_s:g} s; give longer ones."
        )
    blocks = unit_coupling.block_means(counts, bin_s, unit_coupling.FAST_S)
    out = np.zeros((len(order), n))
    n_fitted = min(n, len(order) - 1)
    if n_fitted < 1:
        return out
    shared = unit_coupling.covariance(blocks)
    variance, _ = principal_axes(shared, n_fitted)
    n_kept = int((variance > FLOOR * _greatest_by_chance(blocks, n_fitted) + 1e-9).sum())
    if n_kept:
        variance, axes = principal_axes(shared, n_kept)
        signs = np.where((axes**3).sum(axis=0) < 0, -1.0, 1.0)
        out[:, :n_kept] = axes * np.sqrt(variance) * signs
    return out


def _greatest_by_chance(blocks: NDArray[np.float32], n: int) -> float:
    """The strongest direction when every channel is rolled in time by an amount of its own."""
    n_blocks, n_channels = blocks.shape
    greatest = 0.0
    for shift in range(N_SHIFTS):
        share = (GOLDEN * (np.arange(n_channels) + 1) * (shift + 1) + 0.1 * shift) % 1.0
        by = (share * n_blocks).astype(np.int64)
        rolled = np.stack([np.roll(blocks[:, i], by[i]) for i in range(n_channels)], axis=1)
        greatest = max(greatest, float(principal_axes(unit_coupling.covariance(rolled), n)[0][0]))
    return greatest


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
