"""Activity and signals on a grid of bins: the only place that bins.

Bin b covers [b, b + 1) * bin_s from the recording's start. Event binning is integer arithmetic on
ticks; binned counts are only ever summed over whole bins, never split.
"""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.plain import exact_seconds
from neurofm.data.recording import Composite, Events, Labelled, Recording, Samples, Signal
from neurofm.errors import InputError

EDGE = 1e-6  # of a bin: how far a float edge may lie from the bin edge that it means


def n_bins(recording: Recording, bin_s: float) -> int:
    """Whole bins from the session's start to the end of the recording's span."""
    return int(np.floor(recording.span[1] / bin_s + EDGE))


def pieces(intervals: Intervals, bin_s: float) -> list[tuple[int, int]]:
    """[first, stop) bins that lie wholly inside each interval; empty ones are left out."""
    first = np.ceil(intervals.start / bin_s - EDGE).astype(int)
    stop = np.floor(intervals.end / bin_s + EDGE).astype(int)
    return [(int(a), int(b)) for a, b in zip(first, stop, strict=True) if b > a]


def activity(recording: Recording, first: int, stop: int, bin_s: float) -> NDArray[Any]:
    """Activity of bins [first, stop), shape (stop - first, C).

    Counts are unsigned integers (uint8 where they fit, else uint16); traces are float32 means; where
    other nodes are channels too, all is float32, NaN where nothing was recorded. Raises InputError
    if the bins are finer than binned data or not a multiple of its step.
    """
    step = exact_seconds(bin_s, "bin_s")
    source = recording.activity
    if isinstance(source, Composite):
        own = _binned(recording.id, source.base, source.n_base, first, stop, step)
        parts = [_column(one, first, stop, bin_s) for one in source.further]
        return np.concatenate([own.astype(np.float32), *parts], axis=1)
    return _binned(recording.id, source, len(recording.channels), first, stop, step)


def _binned(
    id: str, source: Events | Samples, n: int, first: int, stop: int, bin_s: Fraction
) -> NDArray[Any]:
    if isinstance(source, Events):
        return _bin_events(source, first, stop, bin_s, n)
    return _bin_samples(id, source, first, stop, bin_s)


def _column(source: Signal | Labelled, first: int, stop: int, bin_s: float) -> NDArray[np.float32]:
    if isinstance(source, Signal):
        return signal(source, first, stop, bin_s)
    return _labels(source, first, stop, bin_s)


def _labels(source: Labelled, first: int, stop: int, bin_s: float) -> NDArray[np.float32]:
    """(stop - first, n_labels): the bins wholly inside a piece; NaN elsewhere."""
    out = np.full((stop - first, source.n_labels), np.nan, dtype=np.float32)
    start = np.ceil(source.start_s / bin_s - EDGE).astype(np.int64)
    end = np.floor(source.stop_s / bin_s + EDGE).astype(np.int64)
    for i in np.flatnonzero((end > first) & (start < stop) & (end > start)):
        rows = slice(max(start[i] - first, 0), end[i] - first)
        out[rows] = 0.0
        out[rows, source.code[i]] = 1.0
    return out


def _bin_events(events: Events, first: int, stop: int, bin_s: Fraction, n: int) -> NDArray[Any]:
    ticks, row = events.between(float(first * bin_s), float(stop * bin_s))
    at = _bin_of(ticks, bin_s * events.ticks_per_s, first, stop) - first
    inside = (at >= 0) & (at < stop - first)
    flat = at[inside] * n + row[inside]
    counts = np.bincount(flat, minlength=(stop - first) * n).reshape(stop - first, n)
    return _smallest(counts)


def _bin_of(
    ticks: NDArray[np.int64], per_bin: Fraction, first: int, stop: int
) -> NDArray[np.int64]:
    """The bin of each sorted tick, exactly; outside [first, stop) any bin outside it."""
    p, q = per_bin.numerator, per_bin.denominator
    latest = int(ticks[-1]) if len(ticks) else 0
    if max(p, latest * q) < 2**63:
        return ticks * q // p
    # A width such as 0.736727757 s has a denominator near 2**53: edges in Python's whole numbers.
    edges = np.array([-(-b * p // q) for b in range(first, stop + 1)], dtype=np.int64)
    return np.asarray(np.searchsorted(edges, ticks, side="right") - 1 + first, dtype=np.int64)


def refuse_odd_bins(recording: Recording, bin_s: float) -> None:
    """Raises InputError if bins are finer than binned activity or not a multiple of its step."""
    if isinstance(recording.activity, Samples):
        _factor(recording.id, recording.activity, exact_seconds(bin_s, "bin_s"))


def _factor(id: str, samples: Samples, bin_s: Fraction) -> int:
    """How many samples a bin holds."""
    ratio = bin_s / samples.step_s
    factor = round(ratio)
    if factor < 1 or abs(float(ratio) - factor) > EDGE:
        traces = samples.values.dtype.kind == "f" and ratio > 1
        more = f", or ingest all with --set step_s={float(bin_s):g}" if traces else ""
        raise InputError(
            f"{id}: bin_s {float(bin_s):g} is not a whole multiple of the data's own step "
            f"{float(samples.step_s):g} s; choose bin_s from its multiples{more}."
        )
    return factor


def _bin_samples(id: str, samples: Samples, first: int, stop: int, bin_s: Fraction) -> NDArray[Any]:
    factor = _factor(id, samples, bin_s)
    values = samples.values[max(first, 0) * factor : stop * factor]
    if len(values) < (stop - first) * factor:
        raise InputError(f"{id}: bins [{first}, {stop}) reach past the end of the recording.")
    if factor == 1:
        return values
    grouped = values.reshape(stop - first, factor, -1)
    if values.dtype.kind == "u":
        return _smallest(grouped.sum(axis=1, dtype=np.int64))
    return np.asarray(grouped.mean(axis=1, dtype=np.float64).astype(np.float32))


def _smallest(counts: NDArray[np.int64]) -> NDArray[Any]:
    most = int(counts.max(initial=0))
    dtype = np.uint8 if most < 256 else np.uint16 if most < 65_536 else np.uint32
    return counts.astype(dtype)


def signal(source: Signal, first: int, stop: int, bin_s: float) -> NDArray[np.float32]:
    """A signal on bins [first, stop), shape (stop - first, k).

    The mean of the samples in each bin; where the signal is slower than the bins, the last sample
    at or before the bin's start (never a later one), for at most 1.5 of its steps; otherwise NaN.
    """
    regular = source.times_s is None
    source = _nearby(source, first, stop, bin_s)
    times = source.sample_times_s()
    values = np.asarray(source.values[:], dtype=np.float64)
    at = np.floor(times / bin_s + EDGE).astype(int) - first
    inside = (at >= 0) & (at < stop - first)
    known = np.isfinite(values) & inside[:, None]
    total = np.zeros((stop - first, values.shape[1]))
    count = np.zeros_like(total)
    index = np.where(inside, at, 0)
    np.add.at(total, index, np.where(known, values, 0.0))
    np.add.at(count, index, known.astype(float))
    out = np.full(total.shape, np.nan)
    np.divide(total, count, out=out, where=count > 0)
    step = source.step_s if regular else float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return _hold(out, times, values, first, bin_s, step).astype(np.float32)


def _nearby(source: Signal, first: int, stop: int, bin_s: float) -> Signal:
    """A regular signal around these bins alone, so that a window reads no more than it needs."""
    if source.times_s is not None or not source.step_s > 0:
        return source
    begin = int((first * bin_s - source.start_s) / source.step_s) - 3
    end = int((stop * bin_s - source.start_s) / source.step_s) + 3
    low = min(max(begin, 0), max(len(source.values) - 1, 0))
    high = min(max(end, low + 1), len(source.values))
    times = source.start_s + np.arange(low, high) * source.step_s  # the very floats of the whole
    return replace(source, values=source.values[low:high], times_s=times)


def _hold(
    out: NDArray[np.float64],
    times: NDArray[np.float64],
    values: NDArray[np.float64],
    first: int,
    bin_s: float,
    step: float,
) -> NDArray[np.float64]:
    if step <= bin_s:
        return out
    starts = (first + np.arange(len(out))) * bin_s
    before = np.searchsorted(times, starts + EDGE * bin_s, side="right") - 1
    fresh = (before >= 0) & (starts - times[np.maximum(before, 0)] <= 1.5 * step)
    held = np.where(fresh[:, None], values[np.maximum(before, 0)], np.nan)
    return np.where(np.isnan(out), held, out)
