"""How units follow recorded signals, in numbers that mean the same in every animal."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError

WIDTH_S = 0.1
LAGS_S = (-0.5, -0.2, 0.0, 0.2, 0.5)  # activity behind the signal where positive


def common_signals(recordings: Iterable[Recording]) -> tuple[str, ...]:
    """Names of the signals that all recordings have, with as many columns in each."""
    held = [{(n, s.values.shape[1]) for n, s in r.signals.items()} for r in recordings]
    return tuple(sorted(name for name, _ in set.intersection(*held))) if held else ()


def tuning(
    recording: Recording, intervals: Intervals, signals: Sequence[str], bin_s: float
) -> NDArray[np.float32]:
    """(C, signal columns x 5 lags) absolute correlations of root counts in 0.1 s with signals.

    The sign is left out: units of one region go either way. 0 for what never changes.
    Raises InputError if no bin has all signals.
    """
    width_s = bin_s * max(round(WIDTH_S / bin_s), 1)
    lags = [round(lag / width_s) for lag in LAGS_S]
    far, n = max(lags), binning.n_bins(recording, width_s)
    grid = np.concatenate(
        [binning.signal(recording.signals[name], 0, n, width_s) for name in signals], axis=1
    ).astype(np.float64)
    roots, values = [], []
    for first, stop in binning.pieces(intervals.intersect(recording.valid), width_s):
        if stop - first > 2 * far:
            counts = binning.activity(recording, first + far, stop - far, width_s)
            roots.append(np.sqrt(counts.astype(np.float64)))
            at = np.arange(first + far, stop - far)
            values.append(np.concatenate([grid[at - lag] for lag in lags], axis=1))
    known = np.isfinite(np.concatenate(values)).all(axis=1) if values else np.zeros(0, dtype=bool)
    if not known.any():
        raise InputError(f"{recording.id}: no bin has all of the signals {', '.join(signals)}.")
    y, x = _standard(np.concatenate(roots)[known]), _standard(np.concatenate(values)[known])
    return np.abs(y.T @ x / len(x)).astype(np.float32)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    deviation = values.std(axis=0)
    whole = np.where(deviation > 1e-9, deviation, np.inf)
    return np.asarray((values - values.mean(axis=0)) / whole)
