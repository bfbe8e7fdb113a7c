"""Repairs of a recording that a quality configuration asks for, each said in a flag."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.montage import match
from neurofm.data.quality import Flag, QualityConfig, is_real, repeats, some, totals
from neurofm.data.recording import Events, Recording, Samples, Table
from neurofm.data.resampling import resampled


def repair(recording: Recording, config: QualityConfig) -> tuple[Recording, list[Flag]]:
    """The recording with the repairs that the configuration asks for, and what they changed."""
    flags: list[Flag] = []
    for one in (_match, _repair_duplicates, _repair_finite, _drop_channels, _fill_stops, _resample):
        recording, more = one(recording, config)
        flags += more
    return recording, flags


def _match(recording: Recording, config: QualityConfig) -> tuple[Recording, list[Flag]]:
    wanted = config.montage.channels
    if not wanted:
        return recording, []
    matched = match(recording, wanted, config.montage.rename)
    absent = matched.channels.id[matched.channels.quality["absent"]]
    n_left = len(recording.channels) - len(wanted) + len(absent)
    message = f"matched to {len(wanted)}; {len(absent)} absent: {some(absent)}; {n_left} left out"
    return matched, [Flag("repair", "channels", message)]


def _repair_duplicates(recording: Recording, config: QualityConfig) -> tuple[Recording, list[Flag]]:
    events = recording.activity
    if not config.drop_duplicate_spikes or not isinstance(events, Events):
        return recording, []
    again = repeats(events)
    if not again.any():
        return recording, []
    kept = Events.of(events.ticks[:][~again], events.row[:][~again], events.ticks_per_s)
    flag = Flag("repair", "activity.ticks", f"{int(again.sum())} repeated spikes were dropped")
    return replace(recording, activity=kept), [flag]


def _repair_finite(recording: Recording, config: QualityConfig) -> tuple[Recording, list[Flag]]:
    """Rows that are not finite in every channel were not recorded; other losses are a channel's."""
    samples = recording.activity
    wanted = config.cut_not_finite and is_real(recording)
    if not isinstance(samples, Samples) or not wanted:
        return recording, []
    bad = ~np.isfinite(np.asarray(samples.values[:])).any(axis=1)
    if not bad.any() or bad.all():
        return recording, []
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(np.int8), [0]])))
    lost = Intervals.of(edges.reshape(-1, 2) * float(samples.step_s))
    valid = recording.valid.subtract(lost)
    if np.isclose(valid.total_s, recording.valid.total_s):
        return recording, []
    message = f"{int(bad.sum())} samples without a finite value were taken out of the valid time"
    return replace(recording, valid=valid), [Flag("repair", "valid", message)]


def _drop_channels(recording: Recording, config: QualityConfig) -> tuple[Recording, list[Flag]]:
    if not (config.drop_silent or config.drop_below_floor or config.drop_bad):
        return recording, []
    total = totals(recording)
    drop = (total == 0) & (config.drop_silent or config.drop_below_floor)
    if config.drop_below_floor and not is_real(recording):
        drop |= total / max(recording.valid.total_s, 1e-9) < config.rate_floor_hz
    if config.drop_bad:
        drop |= recording.channels.quality.get("bad", np.zeros(len(total), dtype=bool)).astype(bool)
    if not drop.any() or drop.all():
        return recording, []
    ids = recording.channels.id[drop]
    flag = Flag("repair", "channels", f"{len(ids)} were left out: {some(ids)}")
    return take_channels(recording, np.flatnonzero(~drop)), [flag]


def _fill_stops(recording: Recording, config: QualityConfig) -> tuple[Recording, list[Flag]]:
    columns = dict(recording.trials.columns)
    if config.missing_stop == "keep" or not {"start_s", "stop_s"} <= set(columns):
        return recording, []
    start = np.asarray(columns["start_s"], dtype=float)
    stop = np.asarray(columns["stop_s"], dtype=float)
    missing = np.isnan(stop) & np.isfinite(start)
    if not missing.any():
        return recording, []
    starts = np.sort(start[np.isfinite(start)])
    after = np.append(starts, recording.span[1])[np.searchsorted(starts, start, side="right")]
    columns["stop_s"] = np.where(missing, np.maximum(after, start), stop)
    flag = Flag("repair", "trials.stop_s",
                f"{int(missing.sum())} missing stops were set to the next trial's start")  # fmt: skip
    return replace(recording, trials=Table(columns)), [flag]


def _resample(recording: Recording, config: QualityConfig) -> tuple[Recording, list[Flag]]:
    if config.step_s is None:
        return recording, []
    new = resampled(recording, config.step_s)
    n_before = len(recording.provenance.notes)
    return new, [Flag.parse(note) for note in new.provenance.notes[n_before:]]


def take_channels(recording: Recording, rows: NDArray[np.int64]) -> Recording:
    """The recording with the given channels alone, in that order; `rows` (n,) indices."""
    channels = recording.channels.take(rows)
    if isinstance(recording.activity, Samples):
        values = np.ascontiguousarray(np.asarray(recording.activity.values[:])[:, rows])
        return replace(recording, channels=channels,
                       activity=Samples(values, recording.activity.step_s))  # fmt: skip
    events = recording.stored
    assert isinstance(events, Events)
    new_row = np.full(len(recording.channels), -1, dtype=np.int64)
    new_row[rows] = np.arange(len(rows))
    row = new_row[np.asarray(events.row[:], dtype=np.int64)]
    kept = Events.of(np.asarray(events.ticks[:])[row >= 0], row[row >= 0], events.ticks_per_s)
    return replace(recording, channels=channels, activity=kept)
