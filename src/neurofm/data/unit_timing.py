"""What the times of a unit's own spikes say: rate, variability, intervals, autocorrelation.

Every measure is scaled by fixed numbers to about one, and drawn to what a Poisson unit gives (mostly
zero) where few spikes were seen, so that units of different sessions can be compared.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Events, Recording, Samples

Array = NDArray[np.float64]
Counts = Sequence[NDArray[np.generic]]

WIDTHS_S = 0.02 * 2.0 ** np.arange(10)  # blocks of time, 20 ms to 10.24 s
FANO_LEVELS = (2, 5, 8)  # of them: 0.08, 0.64 and 5.12 s
COUNT_NAMES = (
    "rate",
    *(f"fano_{WIDTHS_S[level]:g}s" for level in FANO_LEVELS),
    *(f"autocorrelation_{width:g}s" for width in WIDTHS_S),
)
ISI_EDGES_S = np.geomspace(1e-3, 10.0, 13)
FEWEST = 10.0  # intervals at which a mean over them counts half
CHUNK = 1 << 16  # rows of binned data looked at in one go


def count_features(counts: Counts, bin_s: float) -> tuple[list[str], Array]:
    """Log rate (0 at 5 Hz), log Fano factors (0 for Poisson), autocorrelation, (C, 14).

    `counts`: (T, C) pieces. The autocorrelation is the covariance of neighbouring blocks of time
    over the squared mean count, in logs. Lag zero is in none of them, so independent noise has no
    part; the same fluctuation of the rate gives the same value at any rate. With few spikes the
    noise floor of a Poisson unit is added to the squared mean, which draws the ratio to 0. Widths
    finer than a bin are 0.
    """
    n = sum(len(piece) for piece in counts)
    total = np.sum([piece.sum(axis=0, dtype=np.float64) for piece in counts], axis=0)
    columns = [(np.log(total / (n * bin_s) + 0.05) - np.log(5.0)) / 1.5]
    levels = _levels(counts, bin_s)
    for n_blocks, mean, variance, _ in (levels[level] for level in FANO_LEVELS):
        columns.append(np.log((n_blocks * variance + 1) / (n_blocks * mean + 1)) / 1.5)
    for n_blocks, mean, _, following in levels:
        floor = np.square(mean) + 2 * mean / np.sqrt(max(n_blocks, 1))
        ratio = np.divide(following, floor, out=np.zeros_like(floor), where=floor > 0)
        columns.append(np.sign(ratio) * np.log1p(np.abs(ratio)))
    return [*COUNT_NAMES], np.stack(columns, axis=1)


def _levels(counts: Counts, bin_s: float) -> list[tuple[int, Array, Array, Array]]:
    """For each of WIDTHS_S: blocks, their mean and variance, covariance of one with the next."""
    n_channels = counts[0].shape[1]
    zero = np.zeros(n_channels)
    out: list[tuple[int, Array, Array, Array]] = []
    pieces: list[NDArray[np.float32]] = []
    for width in WIDTHS_S:
        if width < 0.7 * bin_s:
            out.append((0, zero, zero, zero))
            continue
        if not pieces:
            pieces = [_sums(piece, max(round(width / bin_s), 1)) for piece in counts]
        else:
            pieces = [_sums(piece, 2) for piece in pieces]
        out.append(_moments(pieces, n_channels))
    return out


def _sums(piece: NDArray[np.generic], factor: int) -> NDArray[np.float32]:
    n = len(piece) // factor
    blocks = piece[: n * factor].reshape(n, factor, piece.shape[1])
    return np.asarray(blocks.sum(axis=1, dtype=np.float32))


def _moments(pieces: list[NDArray[np.float32]], n: int) -> tuple[int, Array, Array, Array]:
    n_blocks = sum(map(len, pieces))
    n_pairs = sum(max(len(piece) - 1, 0) for piece in pieces)
    total, square, product, ends = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((2, n))
    for piece in pieces:
        one = piece.sum(axis=0, dtype=np.float64)
        total += one
        square += np.square(piece).sum(axis=0, dtype=np.float64)
        if len(piece) > 1:
            product += (piece[1:] * piece[:-1]).sum(axis=0, dtype=np.float64)
            ends += np.stack([one - piece[-1], one - piece[0]])
    mean = total / max(n_blocks, 1)
    variance = np.maximum(square / max(n_blocks, 1) - np.square(mean), 0.0)
    first, second = ends / max(n_pairs, 1)
    following = product / max(n_pairs, 1) - mean * (first + second) + np.square(mean)
    return n_blocks, mean, variance, following if n_pairs else np.zeros(n)


def interval_features(recording: Recording, intervals: Intervals) -> tuple[list[str], Array]:
    """Histogram of the intervals between spikes, CV2 and local variation, (C, 14).

    Of binned counts, the intervals between bins that are not empty, on the data's own grid. The
    histogram is twice the square root of the shares, whose distances are Hellinger's. CV2 (Holt et
    al. 1996, J Neurophysiol 75:1806, eq. 3) and LV (Shinomoto et al. 2003, Neural Comput 15:2823,
    eq. 2.2) are less 1, which a Poisson unit has.
    """
    n, n_shapes = len(recording.channels), len(ISI_EDGES_S) - 1
    histogram, local, n_pairs = np.zeros((n, n_shapes)), np.zeros((2, n)), np.zeros(n)
    for times_s, row in _spikes(recording, intervals):
        order = np.argsort(row, kind="stable")
        who = row[order]
        isi, same = np.diff(times_s[order]), np.diff(who) == 0
        at = np.searchsorted(ISI_EDGES_S, isi[same] * (1 + 1e-9), side="right") - 1
        flat = who[1:][same] * n_shapes + at.clip(0, n_shapes - 1)
        histogram += np.bincount(flat, minlength=n * n_shapes).reshape(n, n_shapes)
        both = same[1:] & same[:-1] & (isi[1:] + isi[:-1] > 0)
        change = (isi[1:] - isi[:-1])[both] / (isi[1:] + isi[:-1])[both]
        unit = who[2:][both]
        local[0] += np.bincount(unit, 2 * np.abs(change), minlength=n)
        local[1] += np.bincount(unit, 3 * np.square(change), minlength=n)
        n_pairs += np.bincount(unit, minlength=n)
    shares = histogram / np.maximum(histogram.sum(axis=1, keepdims=True), 1)
    less_one = (local - n_pairs) / (n_pairs + FEWEST)
    names = [f"isi_{low:.3g}s" for low in ISI_EDGES_S[:-1]]
    return [*names, "cv2", "lv"], np.column_stack([2 * np.sqrt(shares), less_one.T])


def _spikes(
    recording: Recording, intervals: Intervals
) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    """(times, rows) of the events in each interval, in order of time; none of traces."""
    source = recording.stored
    if isinstance(source, Events):
        for start, end in intervals:
            ticks, row = source.between(start, end)
            times = ticks.astype(np.float64) * float(1 / source.ticks_per_s)
            inside = (times >= start) & (times < end)
            yield times[inside], row[inside]
    elif source.values.dtype.kind == "u":
        yield from _filled_bins(recording, source, intervals)


def _filled_bins(
    recording: Recording, source: Samples, intervals: Intervals
) -> Iterator[tuple[Array, NDArray[np.int64]]]:
    step = float(source.step_s)
    for begin, end in binning.pieces(intervals, step):
        for first in range(begin, end, CHUNK):
            values = binning.activity(recording, first, min(first + CHUNK, end), step)
            at, row = np.nonzero(values)
            yield (first + at).astype(np.float64) * step, row.astype(np.int64)
