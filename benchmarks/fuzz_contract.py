"""What a recording must be for the rest of the package to use it, whatever file it came from."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from neurofm.data import binning
from neurofm.data.quality import check
from neurofm.data.recording import NODES, Events, Recording, Samples, Signal

NAME = 4096  # characters


def faults(recording: Recording) -> list[str]:
    """What is wrong with a recording; an empty list is a valid one. Reads every column."""
    found = [*_names(recording), *_time(recording), *_activity(recording)]
    for name, signal in recording.signals.items():
        found += [f"signal {name[:40]!r}: {fault}" for fault in _signal(signal)]
    for name, table in {"trials": recording.trials, **recording.tables}.items():
        columns = table.columns
        if columns and not {"start_s", "stop_s"} <= set(columns):
            found.append(f"table {name[:40]!r} has no start_s or stop_s")
        found += [
            f"table {name[:40]!r}: {k!r} is {c.dtype}" for k, c in columns.items() if not _plain(c)
        ]
    return found or _usable(recording)


def _plain(column: Any) -> bool:
    """Numbers or text of this machine's byte order, of at most eight bytes a number."""
    kind, dtype = column.dtype.kind, column.dtype
    return dtype.isnative and (kind in "USM" or (kind in "biuf" and dtype.itemsize <= 8))


def _names(recording: Recording) -> list[str]:
    channels, found = recording.channels, []
    for what, text in (("id", recording.id), ("subject", recording.subject)):
        if not isinstance(text, str) or len(text) > NAME:
            found.append(f"{what} is no text of at most {NAME} characters")
    for column in ("id", "region", "subject", "node", "kind"):
        values = getattr(channels, column)
        if values.dtype.kind != "U" or values.ndim != 1 or values.dtype.itemsize > 4 * NAME:
            found.append(f"channels.{column} is {values.dtype} of shape {values.shape}")
    found += [f"channels.{k!r} is {c.dtype}" for k, c in channels.quality.items() if not _plain(c)]
    names = [
        recording.id,
        recording.subject,
        *recording.signals,
        *recording.tables,
        *channels.quality,
    ]
    texts = [*names, json.dumps(asdict(recording.provenance), ensure_ascii=False)]
    for column in (channels.id, channels.region, channels.subject):
        texts += column.tolist()
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        found.append("a text is no Unicode")
    return found


def _time(recording: Recording) -> list[str]:
    low, high = recording.span
    found = []
    if not (np.isfinite([low, high]).all() and 0 <= low < high < 1e8):
        return [f"span is {recording.span}"]
    pairs = recording.valid.pairs
    if len(pairs) and (pairs.min() < low - 1e-6 or pairs.max() > high + 1e-6):
        found.append(f"valid reaches outside {recording.span}")
    return found


def _activity(recording: Recording) -> list[str]:
    source, n = recording.activity, len(recording.channels)
    if n < 1:
        return ["no channel"]
    if isinstance(source, Samples):
        values = np.asarray(source.values[:])
        good = (
            values.ndim == 2 and values.shape[1] == n and len(values) and values.dtype.kind in "uf"
        )
        if not good or not _plain(values):
            return [f"samples are {values.dtype} of shape {values.shape} for {n} channels"]
        return [] if 0 < source.step_s <= 86_400 else [f"step is {source.step_s}"]
    return _events(source, n, recording.span[1])


def _events(source: Events, n: int, end_s: float) -> list[str]:
    ticks, row = np.asarray(source.ticks[:]), np.asarray(source.row[:])
    if (
        ticks.shape != row.shape
        or ticks.ndim != 1
        or ticks.dtype.kind != "i"
        or row.dtype.kind not in "iu"
    ):
        return ["ticks and rows are not flat integers of one length"]
    if not 0 < source.ticks_per_s < 1e12:
        return [f"{source.ticks_per_s} ticks a second"]
    found = []
    if len(ticks) and (ticks[0] < 0 or (np.diff(ticks) < 0).any()):
        found.append("ticks are not sorted")
    if len(ticks) and float(ticks[-1] / source.ticks_per_s) > end_s + 1:
        found.append("a spike lies after the end")
    if len(row) and (row.min() < 0 or row.max() >= n):
        found.append("a row points outside the channels")
    index = source.seconds_index
    if (np.diff(index) < 0).any() or (len(index) and (index[0] < 0 or index[-1] > len(ticks))):
        found.append("the index of seconds is wrong")
    return found


def _signal(signal: Signal) -> list[str]:
    values, found = np.asarray(signal.values[:]), []
    if values.ndim != 2 or values.dtype.kind != "f" or not _plain(values):
        found.append(f"is {values.dtype} of shape {values.shape}")
    if signal.node not in NODES:
        found.append(f"node is {signal.node!r}")
    times = signal.times_s
    if times is None and not (np.isfinite(signal.start_s) and 0 < signal.step_s < 1e8):
        found.append(f"starts at {signal.start_s} in steps of {signal.step_s}")
    if times is not None:
        at = np.asarray(times[:])
        if len(at) != len(values) or not np.isfinite(at).all() or (np.diff(at) < 0).any():
            found.append("times are not sorted, finite and one a value")
    return found


def _usable(recording: Recording) -> list[str]:
    """Whether the checks run and the first bins can be read, as training would."""
    check(recording)
    source = recording.activity
    bin_s = float(source.step_s) if isinstance(source, Samples) else 0.02
    n = min(binning.n_bins(recording, bin_s), 50)
    if n and binning.activity(recording, 0, n, bin_s).shape != (n, len(recording.channels)):
        return ["the first bins have another shape than the channels"]
    for signal in recording.signals.values():
        binning.signal(signal, 0, max(n, 1), bin_s)
    return []
