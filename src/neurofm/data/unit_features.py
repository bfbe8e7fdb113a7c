"""What a unit's own data say about it: the same columns for every unit of every session.

They feed rows that are computed instead of learnt, and tell a unit's region. Nothing here looks at
another session, and a channel's region is not among the columns (couplings named `..._region_...`
know which channels share one, and nothing more).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.data import unit_coupling, unit_timing
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Channels, Events, Recording
from neurofm.errors import InputError

Array = NDArray[np.float64]

DEPTHS = ("depth", "depths", "rel_depth")
WAVEFORM = {
    "duration": ("waveform_duration", "peak_to_trough", "peakToTrough", "trough_to_peak", "spike_width"),
    "halfwidth": ("waveform_halfwidth", "halfwidth", "half_width"),
    "ratio": ("PT_ratio", "peak_trough_ratio", "pt_ratio"),
    "amplitude": ("amplitude", "waveform_amplitude", "median_spike_amplitude_uV", "amp_median"),
    "spread": ("spread", "waveform_spread"),
}  # fmt: skip
LARGEST = 6.0  # no feature is further from zero
N_PIECES = 10  # of each half of the time, to see whether a direction comes back
N_STRETCHES = 5  # of time from all over the recording make up one of them
FEWEST_PIECES = 9  # in which it does, of the half that it was not fitted on
N_FITS = 15  # alternations of loadings and private variances


@dataclass(frozen=True)
class UnitFeatures:
    """`values`: (C, F) float32, finite and about of unit scale, one column for each of `names`."""

    names: tuple[str, ...]
    values: NDArray[np.float32]

    def where(self, wanted: Callable[[str], bool]) -> "UnitFeatures":
        """The columns of which the name is wanted."""
        at = [i for i, name in enumerate(self.names) if wanted(name)]
        return UnitFeatures(tuple(self.names[i] for i in at), self.values[:, at])


def unit_features(recording: Recording, intervals: Intervals, bin_s: float) -> UnitFeatures:
    """Timing, coupling, place and waveform of every channel, from the intervals alone.

    Channels in another order give the same rows in that order, exactly. What is not known (places
    and waveforms that no reader found, anything but couplings of traces) is 0.
    Raises InputError if the intervals hold no whole bin or `bin_s` does not fit binned data.
    """
    order = _order(recording.channels)
    counts = _counts(recording, intervals, bin_s, order)
    n = len(recording.channels)
    if isinstance(recording.activity, Events) or counts[0].dtype.kind == "u":
        first = unit_timing.count_features(counts, bin_s)
    else:
        first = [*unit_timing.COUNT_NAMES], np.zeros((n, len(unit_timing.COUNT_NAMES)))
    together = unit_coupling.coupling(counts, bin_s, recording.channels.region[order])
    isi = unit_timing.interval_features(recording, intervals.intersect(recording.valid))
    parts = [(first[0], first[1][_back(order)]), isi, (together[0], together[1][_back(order)]),
             _place(recording.channels), _waveform(recording.channels)]  # fmt: skip
    values = np.concatenate([values for _, values in parts], axis=1)
    values = np.nan_to_num(values).clip(-LARGEST, LARGEST).astype(np.float32)
    return UnitFeatures(tuple(name for names, _ in parts for name in names), values)


def population_loadings(
    recording: Recording, intervals: Intervals, bin_s: float, n: int
) -> NDArray[np.float32]:
    """(C, n) loadings on the leading directions that channels share, strongest first.

    Factor analysis of root counts, standardised a bin and averaged over 0.1 s, by principal axes
    (Thomson 1934): `loadings @ loadings.T` approaches their covariance off the diagonal, so noise of a
    channel's own, whatever its time course, has no loading. Kept are the leading directions that
    come back in pieces of time on which they were not fitted (it takes 20 s of data to see that);
    further columns are 0. Each column's cubes have a positive sum. Channels in another order give
    the same rows in that order.

    Raises InputError if the intervals hold no whole bin or `bin_s` does not fit binned data.
    """
    order = _order(recording.channels)
    counts = _counts(recording, intervals, bin_s, order)
    blocks = unit_coupling.block_means(counts, bin_s, unit_coupling.FAST_S)
    n_fitted = min(n, blocks.shape[1] - 1)
    out = np.zeros((blocks.shape[1], n), dtype=np.float32)
    if n_fitted < 1:
        return out
    shared = unit_coupling.covariance(blocks)
    n_kept = _n_shared(blocks, n_fitted)
    if n_kept:
        variance, axes = principal_axes(shared, n_kept)
        loadings = axes * np.sqrt(variance)
        loadings *= np.where((loadings**3).sum(axis=0) < 0, -1.0, 1.0)
        out[:, :n_kept] = loadings
    return out[_back(order)]


def _order(channels: Channels) -> NDArray[np.int64]:
    """By id: sums in one order, so that the order of channels cannot change a rounding."""
    return np.argsort(channels.id, kind="stable")


def _back(order: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.argsort(order, kind="stable")


def _counts(
    recording: Recording, intervals: Intervals, bin_s: float, order: NDArray[np.int64]
) -> list[NDArray[np.generic]]:
    inside = intervals.intersect(recording.valid)
    counts = [c[:, order] for c in unit_coupling.counts_of(recording, inside, bin_s)]
    if not counts:
        raise InputError(
            f"{recording.id}: the intervals hold no whole bin of {bin_s:g} s; give longer ones."
        )
    return counts


def principal_axes(s: Array, n: int) -> tuple[Array, Array]:
    """(variances (n,), axes (C, n)) of what is shared, private variances fitted by alternation."""
    total = np.diag(s).copy()
    communality = np.abs(s - np.diag(total)).max(axis=0, initial=0.0).clip(0, total)
    variance, axes = np.zeros(n), np.zeros((len(s), n))
    for _ in range(N_FITS):
        reduced = s + np.diag(communality - total)
        values, vectors = np.linalg.eigh(reduced)
        variance, axes = values[::-1][:n].clip(0.0), vectors[:, ::-1][:, :n]
        before, communality = communality, (np.square(axes) @ variance).clip(0, total)
        if np.abs(communality - before).max() < 1e-4 * max(total.max(), 1e-12):
            break
    return variance, axes


def _n_shared(blocks: NDArray[np.float32], n: int) -> int:
    """How many directions come back in time that they were not fitted on, both ways round.

    Stretches of time are dealt out to the pieces of two halves in turn. Each is centred, so that slow
    drifts of single channels, which look alike in neighbouring stretches, are no part of it.
    """
    n_stretches = 2 * N_PIECES * N_STRETCHES
    if len(blocks) < 2 * n_stretches:
        return 0
    parts = [part - part.mean(axis=0) for part in np.array_split(blocks, n_stretches)]
    pieces = [np.concatenate(parts[i :: 2 * N_PIECES]) for i in range(2 * N_PIECES)]
    first, second = pieces[::2], pieces[1::2]
    return min(_n_coming_back(first, second, n), _n_coming_back(second, first, n))


def _n_coming_back(
    seen: list[NDArray[np.float32]], others: list[NDArray[np.float32]], n: int
) -> int:
    _, axes = principal_axes(unit_coupling.covariance(np.concatenate(seen)), n)
    found = np.stack(
        [
            np.square(p @ axes).mean(axis=0) - np.square(p).mean(axis=0) @ np.square(axes)
            for p in others
        ]
    )  # (pieces, n) variance along each axis, but for what each channel has of its own
    # Signs alone: what is shared may be large in one piece of time and small in another.
    return int(np.cumprod((found > 1e-9).sum(axis=0) >= FEWEST_PIECES).sum())


def _place(channels: Channels) -> tuple[list[str], Array]:
    """Signed logs of the coordinates and the depth, in whatever unit the file has, with flags."""
    where = np.column_stack([channels.coordinates.astype(np.float64), _column(channels, DEPTHS)])
    known = np.column_stack([np.isfinite(where[:, :3]).any(axis=1), np.isfinite(where[:, 3])])
    names = ["place_x", "place_y", "place_z", "place_depth", "place_known", "place_depth_known"]
    return names, np.column_stack([_signed_log(where) / 5, known])


def _waveform(channels: Channels) -> tuple[list[str], Array]:
    """Signed logs of what is known of the waveform; durations in ms, also where the file has seconds."""
    columns = np.column_stack([_column(channels, names) for names in WAVEFORM.values()])
    for i, name in enumerate(WAVEFORM):
        finite = np.abs(columns[np.isfinite(columns[:, i]), i])
        if name in ("duration", "halfwidth") and len(finite) and np.median(finite) < 0.02:
            columns[:, i] *= 1000  # no spike lasts 0.02 ms: these are seconds
    known = np.isfinite(columns).any(axis=1)
    return [*(f"waveform_{name}" for name in WAVEFORM), "waveform_known"], np.column_stack(
        [_signed_log(columns), known]
    )


def _column(channels: Channels, names: tuple[str, ...]) -> Array:
    for name in names:
        column = channels.quality.get(name)
        if column is not None and column.ndim == 1 and column.dtype.kind in "fiu":
            return column.astype(np.float64)
    return np.full(len(channels), np.nan)


def _signed_log(values: Array) -> Array:
    finite = np.where(np.isfinite(values), values, 0.0)
    return np.asarray(np.sign(finite) * np.log1p(np.abs(finite)))
