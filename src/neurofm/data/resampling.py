"""Traces of one step as traces of another, so that recordings of several steps share a grid.

A sample stands for all of its step, so the mean of those in a longer bin is weighted by how much of
them lies in it. One that ends after the bin's end is left out: it was not known by then.
"""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.binning import EDGE, pieces
from neurofm.data.intervals import Intervals
from neurofm.data.plain import exact_seconds
from neurofm.data.recording import Recording, Samples, Signal
from neurofm.errors import InputError


def resampled(recording: Recording, step_s: float) -> Recording:
    """The recording with its traces in steps of `step_s`, its own or longer, and a note of it.

    Step k is the mean of the samples in [k, k + 1) * step_s that have ended by its end and lie in
    `valid`, by their overlap; steps without one are no longer valid. Signals on the grid of the
    traces go with them; others keep their own. Raises InputError for events, counts and a step
    shorter than the recording's own.
    """
    samples, step = recording.stored, exact_seconds(step_s, "step_s")
    if not isinstance(samples, Samples) or (recording.channels.kind != "real").any():
        raise InputError(
            f"{recording.id}: step_s is for traces, and it holds spikes or counts, which are summed "
            "over bins of any multiple of their step; choose bin_s instead."
        )
    own = samples.step_s
    if step / own < 1 - EDGE:
        raise InputError(f"{recording.id}: step_s {step_s:g} is shorter than the data's own step "
                         f"{float(own):g} s; choose the longest step of all recordings, or more.")  # fmt: skip
    if step / own < 1 + EDGE:
        return recording
    n = int(len(samples.values) / float(step / own) + EDGE)
    values = np.asarray(samples.values[:], dtype=np.float64)
    means = _means(np.where(_whole(recording, samples)[:, None], values, np.nan), own, step, n)
    lost = np.flatnonzero(np.isnan(means).all(axis=1))
    end_s = min(recording.span[1], float(n * step))
    note = f"repair: activity: samples of {float(own):g} s were averaged over steps of {step_s:g} s"
    return replace(
        recording,
        span=(recording.span[0], end_s),
        valid=recording.valid.clip(0.0, end_s).subtract(
            Intervals.of(np.stack([lost, lost + 1], axis=1) * float(step))
        ),
        activity=Samples(means, step),
        signals={k: _signal(v, samples, step, n) for k, v in recording.signals.items()},
        provenance=replace(recording.provenance, notes=(*recording.provenance.notes, note)),
    )


def _whole(recording: Recording, samples: Samples) -> NDArray[np.bool_]:
    """(T,) samples that lie wholly in valid time."""
    out = np.zeros(len(samples.values), dtype=bool)
    for first, stop in pieces(recording.valid, float(samples.step_s)):
        out[first:stop] = True
    return out


def _means(
    values: NDArray[np.float64], own: Fraction, step: Fraction, n: int
) -> NDArray[np.float32]:
    """(n, C) means of (T, C) over steps, by overlap, of samples that have ended; NaN is left out."""
    ratio = float(step / own)
    ratio = round(ratio) if abs(ratio - round(ratio)) < EDGE else ratio
    low, high = np.arange(n) * ratio, np.arange(1, n + 1) * ratio  # edges, in samples
    first, stop = np.floor(low + EDGE).astype(int), np.floor(high + EDGE).astype(int)
    total = np.zeros((n, values.shape[1]))
    weight = np.zeros_like(total)
    for k in range(int((stop - first).max(initial=0))):
        at = first + k
        share = np.where(at < stop, np.minimum(at + 1, high) - np.maximum(at, low), 0.0)
        seen = values[np.minimum(at, len(values) - 1)]
        known = np.isfinite(seen) & (share > EDGE)[:, None]
        total += np.where(known, seen * share[:, None], 0.0)
        weight += np.where(known, share[:, None], 0.0)
    out = np.full(total.shape, np.nan)
    np.divide(total, weight, out=out, where=weight > 0)
    return out.astype(np.float32)


def _signal(signal: Signal, samples: Samples, step: Fraction, n: int) -> Signal:
    """The signal on the new grid, if it was on that of the traces."""
    own: Any = samples.step_s
    same = len(signal.values) == len(samples.values) and abs(signal.step_s / own - 1) < EDGE
    if signal.times_s is not None or signal.start_s != 0 or not same:
        return signal
    values = np.asarray(signal.values[:], dtype=np.float64)
    return replace(signal, values=_means(values, samples.step_s, step, n), step_s=float(step))
