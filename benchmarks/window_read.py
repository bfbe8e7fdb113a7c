"""A random 1 s window of an hour of 300 units, binned at 20 ms, from a store.

Prints CPU milliseconds a window and the ratio to a reference in the same process: searchsorted
and bincount on the same spikes held in memory. Exit code 3 if a window costs 0.3 ms or more.
"""

import json
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import numpy as np

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Channels, Events, Recording
from neurofm.data.store import create_store

HOUR_S, N_UNITS, N_SPIKES, RATE, BIN_S = 3600, 300, 4_800_000, 30_000, 0.02
N_BINS, LIMIT_MS = 50, 0.3


def hour() -> Recording:
    rng = np.random.default_rng(0)
    ticks = np.sort(rng.integers(0, HOUR_S * RATE, N_SPIKES))
    row = rng.integers(0, N_UNITS, N_SPIKES).astype(np.uint16)
    return Recording("hour", "m", (0.0, HOUR_S), Intervals.of([(0, HOUR_S)]),
                     Channels.of([f"u{i}" for i in range(N_UNITS)]),
                     Events.of(ticks, row, Fraction(RATE)))  # fmt: skip


def reference(ticks, row, first):
    low, high = np.searchsorted(ticks, [first * 600, (first + N_BINS) * 600])
    flat = (ticks[low:high] // 600 - first) * N_UNITS + row[low:high]
    return np.bincount(flat, minlength=N_BINS * N_UNITS).reshape(N_BINS, N_UNITS).astype(np.uint8)


def cost_ms(read, starts):
    """The cheapest of five rounds, in CPU milliseconds a window."""
    rounds = []
    for _ in range(5):
        began = time.process_time()
        for first in starts:
            read(first)
        rounds.append((time.process_time() - began) / len(starts) * 1000)
    return min(rounds)


def measure() -> dict[str, float]:
    recording = hour()
    ticks, row = recording.activity.ticks, recording.activity.row.astype(np.int64)
    starts = np.random.default_rng(1).integers(0, HOUR_S * 50 - N_BINS, 400).tolist()
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(Path(folder) / "store")
        store.write(recording)
        stored = store.open("hour")
        for first in starts[:50]:
            mine = binning.activity(stored, first, first + N_BINS, BIN_S)
            assert np.array_equal(mine, reference(ticks, row, first))
        ours = cost_ms(lambda f: binning.activity(stored, f, f + N_BINS, BIN_S), starts)
        theirs = cost_ms(lambda f: reference(ticks, row, f), starts)
    return {"window_ms": ours, "reference_ms": theirs, "ratio": ours / theirs}


if __name__ == "__main__":
    found = measure()
    print(json.dumps(found))
    sys.exit(0 if found["window_ms"] < LIMIT_MS else 3)
