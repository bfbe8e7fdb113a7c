"""How units move together: covariances of block means, from which every coupling is read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording

Array = NDArray[np.float64]
Counts = Sequence[NDArray[np.generic]]

FAST_S, SLOW_S = 0.1, 1.0
GAIN = 3.0  # correlations of single units with the others are around 0.1 to 0.5
SPREAD_FLOOR = 0.05  # added to the spread of root counts, as in the model's own standardisation
CELLS = 1 << 22  # of a block of float32 at once


def counts_of(
    recording: Recording, intervals: Intervals, bin_s: float
) -> list[NDArray[np.generic]]:
    """Activity of the whole bins in each interval, (T, C) each, as it is stored."""
    whole = binning.pieces(intervals, bin_s)
    return [binning.activity(recording, first, stop, bin_s) for first, stop in whole]


def block_means(counts: Counts, bin_s: float, width_s: float) -> NDArray[np.float32]:
    """(n, C) means of standardised root counts over blocks of about `width_s`, all pieces in a row.

    A piece shorter than a block is one block. Traces are standardised as they are.
    """
    mean, spread = _root_moments(counts)
    out = []
    for piece in counts:
        n = max(int(len(piece) * bin_s / width_s + 1e-6), 1)
        edges = np.linspace(0, len(piece), n + 1).astype(np.int64)
        rows = max(CELLS // (piece.shape[1] * max(len(piece) // n, 1)), 1)
        for low in range(0, n, rows):
            part = edges[low : low + rows + 1]
            z = (_root(piece[part[0] : part[-1]]) - mean) / spread
            sums = np.add.reduceat(z, part[:-1] - part[0], axis=0)
            out.append(sums / np.diff(part)[:, None].astype(np.float32))
    return np.concatenate(out)


def _root(piece: NDArray[np.generic]) -> NDArray[np.float32]:
    if piece.dtype.kind == "f":
        return np.nan_to_num(piece.astype(np.float32))
    return np.asarray(np.sqrt(piece, dtype=np.float32))


def _root_moments(counts: Counts) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    n = sum(len(piece) for piece in counts)
    total, square = np.zeros(counts[0].shape[1]), np.zeros(counts[0].shape[1])
    for piece in counts:
        rows = max(CELLS // piece.shape[1], 1)
        for low in range(0, len(piece), rows):
            root = _root(piece[low : low + rows])
            total += root.sum(axis=0, dtype=np.float64)
            square += np.square(root).sum(axis=0, dtype=np.float64)
    mean = total / n
    spread = np.sqrt(np.maximum(square / n - np.square(mean), 0.0)) + SPREAD_FLOOR
    return mean.astype(np.float32), spread.astype(np.float32)


def covariance(blocks: NDArray[np.float32]) -> Array:
    """(C, C) covariance of the columns."""
    centred = blocks - blocks.mean(axis=0)
    return np.asarray((centred.T @ centred).astype(np.float64) / max(len(blocks), 1))


def coupling(counts: Counts, bin_s: float, region: NDArray[np.str_]) -> tuple[list[str], Array]:
    """Correlations with means of other channels, each channel itself left out, (C, 8).

    With all others, with the others of its region, and with other regions (the greatest and the
    mean); at 0.1 s and at 1 s. 0 where there is nothing to correlate with.
    """
    names, columns = [], []
    member = (region[:, None] == np.unique(region)).astype(np.float64)  # (C, regions)
    for width in (FAST_S, SLOW_S):
        s = covariance(block_means(counts, bin_s, width))
        to_all = _with_others(s, np.ones((len(s), 1)))[:, 0]
        to_region = _with_others(s, member)
        own = member > 0
        elsewhere = np.where(own, -np.inf, to_region).max(axis=1)
        n_others = max(member.shape[1] - 1, 1)
        columns += [to_all, to_region[own], np.where(np.isfinite(elsewhere), elsewhere, 0.0),
                    np.where(own, 0.0, to_region).sum(axis=1) / n_others]  # fmt: skip
        names += [f"coupling_{what}_{width:g}s" for what in (
            "all", "region_own", "region_greatest", "region_mean")]  # fmt: skip
    return names, GAIN * np.stack(columns, axis=1)


def _with_others(s: Array, member: Array) -> Array:
    """(C, G) correlation of each channel with the sum of a group's channels but itself."""
    variance = np.diag(s)[:, None]
    with_sum = s @ member  # (C, G) covariance of a channel with the sum of the group
    of_sum = np.einsum("ig,ig->g", member, with_sum)
    own = member * variance
    shared = with_sum - own
    of_others = of_sum - 2 * member * with_sum + own
    size = np.sqrt(np.maximum(variance * of_others, 0.0))
    enough = size > 1e-9 * (1 + variance)
    out = np.zeros_like(shared)
    return np.asarray(np.divide(shared, size, out=out, where=enough).clip(-1, 1))
