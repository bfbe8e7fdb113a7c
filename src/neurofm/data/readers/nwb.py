"""NWB files over plain h5py: units or ROI traces, trials and other tables, series, regions.

Read are `units` with spike times (else one RoiResponseSeries), `intervals/*`, the time series
under `processing`, `acquisition` and `stimulus/presentation`, electrodes, subject and lab. Raw
voltage and images are not read, and links into other files are not followed; notes say so.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.data import clock, hdf5
from neurofm.data.intervals import Intervals
from neurofm.data.quality import Flag
from neurofm.data.readers._nwb_series import (
    Series,
    find_series,
    plane_location,
    roi_activity,
    to_signal,
)
from neurofm.data.recording import Channels, Events, Provenance, Recording, Samples, Table
from neurofm.errors import InputError
from neurofm.files import sha256

REGIONS = ("location", "brain_area", "brain_region", "region", "area",
           "ecephys_structure_acronym", "brain_structure_acronym")  # fmt: skip
UNIT_IDS = ("channel_id", "global_id", "uuid", "uuids")  # ids that hold across sessions
TIMES = {"start_time": "start_s", "stop_time": "stop_s"}


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
    return sentence if sentence.startswith(str(path)) else f"{path}: {sentence}"


def _recording(path: Path, file: h5py.File, trials: str) -> Recording:
    flags: list[Flag] = []
    id = _text(file, "identifier")
    if not id or re.fullmatch(r"[0-9a-fA-F-]{32,}", id):
        id = path.stem  # a bare UUID says nothing to a reader of tables
    tables = _tables(file, flags)
    series = find_series(file, flags)
    units = hdf5.child(file, "units")
    if isinstance(units, h5py.Group) and hdf5.child(units, "spike_times") is not None:
        activity, channels, origin, near = _spikes(file, units, id, series, tables, flags)
    else:
        series, (activity, channels, origin) = _traces(file, series, id, flags)
        near = origin
    flags += clock.moved(origin)
    signals = _signals(series, origin, near, flags, tables)
    tables = {name: _moved(table, origin) for name, table in tables.items()}
    start, end = _extent(activity, signals, tables, near - origin)
    valid = _observed(units, activity, origin, flags, Intervals.of([(start, end)]))
    return Recording(
        id=id,
        subject=_text(file, "general/subject/subject_id"),
        span=(0.0, end),
        valid=valid,
        channels=channels,
        activity=activity,
        signals=signals,
        trials=tables.pop(trials, Table({})),
        tables=tables,
        provenance=_provenance(path, file, flags),
    )


def _spikes(
    file: h5py.File,
    units: h5py.Group,
    id: str,
    series: list[Series],
    tables: dict[str, Table],
    flags: list[Flag],
) -> tuple[Events, Channels, float, float]:
    """Events, channels, where the clock starts, and the median spike time on the file's clock."""
    field = "units/spike_times"
    dataset = units["spike_times"]
    times = hdf5.array(dataset).astype(np.float64)
    n_units = len(units["id"]) if "id" in units else 0
    index = _ends(units, "spike_times_index", n_units, len(times))
    row = np.repeat(np.arange(len(index)), np.diff(index, prepend=0))
    keep, found = clock.plausible(times, field)
    flags += found
    times, row = times[keep], row[keep]
    if not len(times):
        raise InputError(f"{field} holds no usable spike time; nothing can be modelled.")
    origin = clock.origin([float(times.min())])
    resolution = dataset.attrs.get("resolution")
    rate = clock.rate_of(times, None if resolution is None else float(resolution))
    activity, found = clock.events(times - origin, row, rate, field)
    flags += found
    return (
        activity,
        _unit_channels(file, units, id, len(index), flags),
        origin,
        float(np.median(times)),
    )


def _traces(
    file: h5py.File, series: list[Series], id: str, flags: list[Flag]
) -> tuple[list[Series], tuple[Samples, Channels, float]]:
    chosen, samples, origin = roi_activity(series, flags)
    n = samples.values.shape[1]
    channels = Channels.of(
        [f"{id}/roi{i}" for i in range(n)],
        region=[plane_location(chosen)] * n,
        subject=_text(file, "general/subject/subject_id"),
        kind="real",
    )
    return [one for one in series if one is not chosen], (samples, channels, origin)


def _ends(group: h5py.Group, name: str, n_rows: int, n_values: int) -> NDArray[np.int64]:
    """(n_rows,) where each row of a ragged column ends.

    Raises InputError if the index does not fit the column.
    """
    dataset = hdf5.child(group, name)
    if dataset is None:
        raise InputError(f"{group.name}/{name} is missing; export the units again.")
    ends = hdf5.array(dataset).astype(np.int64).reshape(-1)
    wrong = len(ends) and (ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] > n_values)
    if wrong or len(ends) != n_rows:
        raise InputError(
            f"{group.name}/{name} does not fit its column of {n_values} values and {n_rows} rows; "
            "export the units again."
        )
    return ends


def _unit_channels(
    file: h5py.File, units: h5py.Group, id: str, n: int, flags: list[Flag]
) -> Channels:
    columns = {k: hdf5.array(units[k]) for k in units
               if hdf5.is_table_column(hdf5.child(units, k), n) and not k.endswith("_index")}  # fmt: skip
    names = [str(one) for one in columns.pop("id").tolist()]
    if len(set(names)) != n:
        names = [str(i) for i in range(n)]
        flags.append(Flag("repair", "units/id", "ids repeat and were replaced by row numbers"))
    ids = [f"{id}/{name}" for name in names]
    for column in UNIT_IDS:
        shared = columns.get(column)
        if shared is not None and shared.dtype.kind == "U" and len(set(shared.tolist())) == n:
            ids = columns.pop(column).tolist()
            break
    electrode = _first_electrode(units, n)
    region = next((columns.pop(k) for k in REGIONS if _is_text(columns.get(k))), None)
    if region is None:
        region = _electrode_text(file, electrode, n)
    return Channels.of(
        ids,
        region=[_short_region(str(one)) for one in region],
        subject=_text(file, "general/subject/subject_id"),
        coordinates=_coordinates(file, electrode, n),
        quality={k: v for k, v in columns.items() if k not in ("spike_times", "electrodes")},
    )


def _is_text(column: NDArray[Any] | None) -> bool:
    return column is not None and column.dtype.kind == "U"


def _short_region(text: str) -> str:
    """`brain_region: ALM; hemisphere: left` -> `ALM`; anything else as it is."""
    found = re.search(r"brain_region\W*:\s*['\"]?([^;,'\"}]+)", text)
    return found.group(1).strip() if found else text.strip()


def _first_electrode(units: h5py.Group, n: int) -> NDArray[np.int64] | None:
    """(n,) row of the electrode table for each unit, -1 where there is none."""
    dataset = hdf5.child(units, "electrodes")
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iu":
        return None
    rows = hdf5.array(dataset).astype(np.int64).reshape(-1)
    if hdf5.child(units, "electrodes_index") is None:
        return rows if len(rows) == n else None
    ends = _ends(units, "electrodes_index", n, len(rows))
    starts = np.concatenate([[0], ends[:-1]])
    some = ends > starts
    return np.where(some, rows[np.minimum(starts, max(len(rows) - 1, 0))] if len(rows) else -1, -1)


def _electrode_column(file: h5py.File, name: str) -> NDArray[Any] | None:
    dataset = hdf5.child(file, f"general/extracellular_ephys/electrodes/{name}")
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != 1:
        return None
    return hdf5.array(dataset)


def _electrode_text(file: h5py.File, row: NDArray[np.int64] | None, n: int) -> list[str]:
    column = next((c for k in REGIONS if _is_text(c := _electrode_column(file, k))), None)
    if column is None or row is None:
        return [""] * n
    return [str(column[r]) if 0 <= r < len(column) else "" for r in row]


def _coordinates(
    file: h5py.File, row: NDArray[np.int64] | None, n: int
) -> NDArray[np.float64] | None:
    """(n, 3) electrode x, y, z; None where the file states none or only zeros."""
    axes = [_electrode_column(file, axis) for axis in "xyz"]
    if row is None or any(axis is None or axis.dtype.kind != "f" for axis in axes):
        return None
    table = np.stack(axes, axis=1)  # type: ignore[arg-type]
    if not np.nan_to_num(table).any():
        return None
    inside = (row >= 0) & (row < len(table))
    return np.where(inside[:, None], table[np.where(inside, row, 0)], np.nan)


def _tables(file: h5py.File, flags: list[Flag]) -> dict[str, Table]:
    """Interval tables by name, on the file's clock, in order of start."""
    group = hdf5.child(file, "intervals")
    out: dict[str, Table] = {}
    for name in group if isinstance(group, h5py.Group) else ():
        table = hdf5.child(group, name)
        start = hdf5.child(table, "start_time") if isinstance(table, h5py.Group) else None
        if not isinstance(start, h5py.Dataset) or start.ndim != 1 or not len(start):
            continue
        n = len(start)
        kept = [k for k in table if k != "id" and hdf5.is_table_column(hdf5.child(table, k), n)]
        columns = {TIMES.get(k, k): hdf5.array(table[k]) for k in kept}
        left = sorted(set(table) - set(kept) - {"id"})
        if left:
            flags.append(Flag("note", f"intervals/{name}", f"not read: {', '.join(left)}"))
        columns.setdefault("stop_s", np.full(n, np.nan))
        order = np.argsort(columns["start_s"], kind="stable")
        if (np.diff(order) != 1).any():
            flags.append(Flag("repair", f"intervals/{name}", "rows were sorted by start_time"))
        out[name] = Table({k: columns[k][order] for k in ("start_s", "stop_s", *columns)})
    return out


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
        times = signal.sample_times_s()
        marks += [float(times[0]), float(times[-1]) + signal.step_s] if len(times) else []
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
    pairs = hdf5.array(dataset).astype(np.float64).reshape(-1, 2) - origin
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


def _text(file: h5py.File, name: str) -> str:
    node = hdf5.child(file, name)
    return hdf5.text(node) if isinstance(node, h5py.Dataset) else ""


def _stated(file: h5py.File, pattern: str) -> str:
    """What the file says of a term: a field of that name under general, or a sentence with it."""
    general = hdf5.child(file, "general")
    for name in general if isinstance(general, h5py.Group) else ():
        node = hdf5.child(general, name)
        if isinstance(node, h5py.Dataset) and re.search(pattern, name, re.IGNORECASE):
            return hdf5.text(node)
    prose = [_text(file, f"general/{k}") for k in ("experiment_description", "notes", "protocol")]
    return "; ".join(one for one in prose if re.search(pattern, one, re.IGNORECASE))[:300]


def _provenance(path: Path, file: h5py.File, flags: list[Flag]) -> Provenance:
    lab = [_text(file, f"general/{name}") for name in ("lab", "institution")]
    return Provenance(
        source=path.name,
        source_sha256=sha256(path),
        format=f"nwb {hdf5.text(file.attrs.get('nwb_version', ''))}".strip(),
        species=_text(file, "general/subject/species"),
        lab=", ".join(name for name in lab if name),
        task=_text(file, "session_description") or _text(file, "general/experiment_description"),
        licence=_stated(file, "licen[cs]e"),
        consent=_stated(file, "consent"),
        cite=_text(file, "general/related_publications"),
        started=_text(file, "session_start_time"),
        notes=tuple(flag.text for flag in flags),
    )
