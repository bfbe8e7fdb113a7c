"""NWB files over plain h5py: units or ROI traces, trials and other tables, series, regions.

Read are `units` with spike times (else one RoiResponseSeries), `intervals/*` and `events/*`, the
time series under `processing`, `acquisition` and `stimulus/presentation`, electrodes, subject and
lab. Raw voltage and images are not read, and links into other files are not followed; notes say so.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeGuard

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.data import clock, hdf5
from neurofm.data.intervals import Intervals
from neurofm.data.plain import usable_name
from neurofm.data.quality import Flag
from neurofm.data.readers._nwb_series import (
    Series,
    find_series,
    plane_location,
    roi_activity,
    to_signal,
)
from neurofm.data.readers._nwb_units import read_spikes
from neurofm.data.recording import Channels, Events, Provenance, Recording, Samples, Table
from neurofm.errors import InputError, clean
from neurofm.files import sha256

PROSE = ("experiment_description", "notes", "protocol", "data_collection")
TIMES = {"start_time": "start_s", "stop_time": "stop_s", "timestamp": "start_s"}


def read(path: Path, *, trials: str = "trials", **_: Any) -> Iterator[Recording]:
    """The one recording of a file; `trials` names the interval table to take as its trials.

    Raises InputError that names the file, the field and the remedy.
    """
    with hdf5.opened(path) as file:
        try:
            recording = _recording(path, file, trials)
        except InputError as error:
            raise InputError(_naming(path, str(error))) from None
    yield recording


def _naming(path: Path, sentence: str) -> str:
    return sentence if sentence.startswith(clean(path)) else f"{path}: {sentence}"


def _recording(path: Path, file: h5py.File, trials: str) -> Recording:
    flags: list[Flag] = []
    name = _name(path, file)
    tables = _tables(file, flags)
    series = find_series(file, flags)
    units = hdf5.child(file, "units")
    activity: Events | Samples
    if isinstance(units, h5py.Group) and hdf5.child(units, "spike_times") is not None:
        activity, channels, origin, near = read_spikes(file, units, name, flags)
    else:
        series, (activity, channels, origin) = _traces(file, series, name, flags)
        near = origin
    flags += clock.moved(origin)
    signals = _signals(series, origin, near, flags, tables)
    tables = {key: _moved(table, origin) for key, table in tables.items()}
    start, end = _extent(activity, signals, tables, near - origin)
    valid = _observed(units, activity, origin, flags, Intervals.of([(start, end)]))
    return Recording(
        id=name,
        subject=hdf5.text_at(file, "general/subject/subject_id"),
        span=(0.0, end),
        valid=valid,
        channels=channels,
        activity=activity,
        signals=signals,
        trials=tables.pop(trials, Table({})),
        tables=tables,
        provenance=_provenance(path, file, flags),
    )


def _name(path: Path, file: h5py.File) -> str:
    """The session's id: its identifier, or the file's name where that is a bare UUID or empty."""
    stated = hdf5.text_at(file, "identifier")
    bare = re.fullmatch(r"[0-9a-fA-F-]{32,}|", stated)
    return usable_name(path.stem if bare else stated, "identifier")


def _traces(
    file: h5py.File, series: list[Series], id: str, flags: list[Flag]
) -> tuple[list[Series], tuple[Samples, Channels, float]]:
    chosen, samples, origin = roi_activity(series, flags)
    n = samples.values.shape[1]
    channels = Channels.of(
        [f"{id}/roi{i}" for i in range(n)],
        region=[plane_location(chosen)] * n,
        subject=hdf5.text_at(file, "general/subject/subject_id"),
        kind="real",
    )
    return [one for one in series if one is not chosen], (samples, channels, origin)


def _tables(file: h5py.File, flags: list[Flag]) -> dict[str, Table]:
    """Tables of intervals and of events by name, on the file's clock, in order of start."""
    out: dict[str, Table] = {}
    for home, start in (("intervals", "start_time"), ("events", "timestamp")):
        group = hdf5.child(file, home)
        for name in group if isinstance(group, h5py.Group) else ():
            table = _table(hdf5.child(group, name), start, f"{home}/{name}", flags)
            if table is not None:
                out[name if name not in out else f"{home}.{name}"] = table
    return out


def _table(group: Any, start: str, field: str, flags: list[Flag]) -> Table | None:
    """A table with `start_s` and `stop_s`; an event without a duration stops when it starts."""
    times = hdf5.child(group, start) if isinstance(group, h5py.Group) else None
    if not isinstance(times, h5py.Dataset) or times.ndim != 1 or times.dtype.kind not in "iuf":
        flags.append(Flag("note", field, f"not read: it has no {start}"))
        return None
    kept = [
        k for k in group if k != "id" and hdf5.is_table_column(hdf5.child(group, k), len(times))
    ]
    columns = {TIMES.get(k, k): hdf5.array(group[k]) for k in kept}
    left = sorted(set(group) - set(kept) - {"id"})
    if left:
        flags.append(Flag("note", field, f"not read: {', '.join(left)}"))
    first = columns["start_s"].astype(np.float64)
    stop = columns.get("stop_s")
    if start == "timestamp":
        lasting = columns.get("duration")
        stop = first + np.nan_to_num(lasting) if _is_number(lasting) else first
    columns["start_s"] = first
    columns["stop_s"] = stop.astype(float) if _is_number(stop) else np.full(len(first), np.nan)
    order = np.argsort(first, kind="stable")
    if (np.diff(order) != 1).any():
        flags.append(Flag("repair", field, f"rows were sorted by {start}"))
    return Table({k: columns[k][order] for k in ("start_s", "stop_s", *columns)})


def _is_number(column: NDArray[Any] | None) -> TypeGuard[NDArray[Any]]:
    return column is not None and column.dtype.kind in "iuf"


def _moved(table: Table, origin: float) -> Table:
    times = {k: table[k] - origin for k in ("start_s", "stop_s")} if origin else {}
    return Table({**table.columns, **times})


def _signals(
    series: list[Series],
    origin: float,
    near: float,
    flags: list[Flag],
    tables: dict[str, Table],
) -> dict[str, Any]:
    """Series as signals; behavioural events become tables, on the file's clock like the others."""
    out = {}
    for one in series:
        found = to_signal(one, origin, near, flags)
        if isinstance(found, Table):
            tables[one.name] = found
        elif found is not None:
            out[one.name] = found
    return out


def _extent(
    activity: Events | Samples, signals: dict[str, Any], tables: dict[str, Table], near: float
) -> tuple[float, float]:
    """[first, last) second of which anything in the file gives evidence, from 0 on."""
    if isinstance(activity, Samples):
        return 0.0, float(len(activity.values) * activity.step_s)
    ticks = activity.ticks[:]
    rate = float(activity.ticks_per_s)
    marks = [float(ticks[0]) / rate, float(ticks[-1] + 1) / rate]
    for signal in signals.values():
        if signal.times_s is None:
            marks += [signal.start_s, signal.start_s + len(signal.values) * signal.step_s]
        elif len(signal.times_s):
            marks += [float(signal.times_s[:1][0]), float(signal.times_s[-1:][0])]
    for table in tables.values():
        times = np.concatenate([table["start_s"], table["stop_s"]])
        times = times[np.abs(np.nan_to_num(times, nan=np.inf) - near) <= clock.LONGEST_S]
        marks += [float(times.min()), float(times.max())] if len(times) else []
    return max(min(marks), 0.0), max(marks)


def _observed(
    units: Any, activity: Events | Samples, origin: float, flags: list[Flag], whole: Intervals
) -> Intervals:
    """Where the units say that they were observed (`obs_intervals`), else the whole extent."""
    dataset = hdf5.child(units, "obs_intervals") if isinstance(units, h5py.Group) else None
    if isinstance(activity, Samples) or not isinstance(dataset, h5py.Dataset):
        return whole
    if dataset.ndim != 2 or dataset.shape[1] != 2 or dataset.dtype.kind not in "iuf":
        flags.append(Flag("warning", "units/obs_intervals", "is not (n, 2) numbers; not read"))
        return whole
    pairs = hdf5.array(dataset).astype(np.float64) - origin
    pairs = np.unique(pairs[np.isfinite(pairs).all(axis=1) & (pairs[:, 1] > pairs[:, 0])], axis=0)
    merged: list[list[float]] = []
    for start, end in pairs.tolist():
        if merged and start < merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    message = f"{len(merged)} observed intervals of the units are the valid time"
    flags.append(Flag("note", "units/obs_intervals", message))
    return Intervals.of(merged).intersect(whole) if merged else whole


def _stated(file: h5py.File, pattern: str) -> str:
    """What the file says of a term: a field of that name under general, or a clause with it."""
    general = hdf5.child(file, "general")
    for name in general if isinstance(general, h5py.Group) else ():
        node = hdf5.child(general, name)
        if isinstance(node, h5py.Dataset) and re.search(pattern, name, re.IGNORECASE):
            return hdf5.text(node)
    prose = [hdf5.text_at(file, f"general/{k}") for k in PROSE]
    clauses = [one.strip() for text in prose for one in re.split(r"[;\n]|\. ", text)]
    found = [one for one in clauses if re.search(pattern, one, re.IGNORECASE)]
    return "; ".join(re.sub(rf"^({pattern})\W+", "", one, flags=re.I) for one in found)[:300]


def _provenance(path: Path, file: h5py.File, flags: list[Flag]) -> Provenance:
    lab = [hdf5.text_at(file, f"general/{name}") for name in ("lab", "institution")]
    return Provenance(
        source=path.name,
        source_sha256=sha256(path),
        format=f"nwb {hdf5.text(file.attrs.get('nwb_version', ''))}".strip(),
        species=hdf5.text_at(file, "general/subject/species"),
        lab=", ".join(name for name in lab if name),
        task=hdf5.text_at(file, "session_description")
        or hdf5.text_at(file, "general/experiment_description"),
        licence=_stated(file, "licen[cs]e"),
        consent=_stated(file, "consent"),
        cite=hdf5.text_at(file, "general/related_publications"),
        started=hdf5.text_at(file, "session_start_time"),
        notes=tuple(flag.text for flag in flags),
    )
