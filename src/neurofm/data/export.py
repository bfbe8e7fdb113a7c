"""Writing recordings for others: torch_brain HDF5, which POYO and its kin train on."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm import files
from neurofm.data.intervals import Intervals
from neurofm.data.manifest import slug
from neurofm.data.recording import Events, Recording, Samples, Signal, Table
from neurofm.errors import InputError

OWN = "neurofm_"
TIMES = {"start_s": "start", "stop_s": "end"}
TERMS = ("species", "lab", "task", "licence", "consent", "cite", "started")
TAKEN = {
    "spikes",
    "activity",
    "units",
    "domain",
    "session",
    "subject",
    "brainset",
    "device",
    "neurofm",
}


def write_torch_brain(recording: Recording, path: Path | str) -> None:
    """Write a recording as a torch_brain HDF5 file that `readers.torch_brain` gives back exactly.

    Events of a slice are cut to its span. Raises InputError if a name or a text has no place in
    the format, or if a slice of samples does not start where its recording starts.
    """
    path = Path(path)
    with files.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        _write(recording, file)


def _write(recording: Recording, file: h5py.File) -> None:
    _data(file)
    _interval(file.create_group("domain"), recording.valid)
    _describe(file, recording)
    activity = recording.stored
    if isinstance(activity, Events):
        _spikes(file.create_group("spikes"), recording, activity)
    else:
        _samples(file.create_group("activity"), recording, activity)
    _units(file.create_group("units"), recording)
    for name, signal in recording.signals.items():
        _signal(_group(file, recording, name), signal, recording)
    tables = {"trials": recording.trials} if len(recording.trials) else {}
    for name, table in {**tables, **recording.tables}.items():
        _table(_group(file, recording, name), table, f"{recording.id}: table {name}")


def _data(group: h5py.Group, **attributes: Any) -> None:
    group.attrs["object"] = "Data"
    group.attrs["absolute_start"] = 0.0
    for name, value in attributes.items():
        group.attrs[name] = value


def _describe(file: h5py.File, recording: Recording) -> None:
    told = recording.provenance
    _data(file.create_group("session"), id=recording.id)
    _data(file.create_group("subject"), id=recording.subject, species=told.species)
    _data(file.create_group("brainset"), id="neurofm", source=told.source)
    terms = {name: getattr(told, name) for name in TERMS}
    _data(file.create_group("neurofm"), span_s=np.array(recording.span), **terms)


def _group(file: h5py.File, recording: Recording, name: str) -> h5py.Group:
    key = slug(name)
    if key in file or key in TAKEN:
        raise InputError(
            f"{recording.id}: {name!r} is taken in the file; rename that signal or table."
        )
    group = file.create_group(key)
    group.attrs[f"{OWN}name"] = name
    return group


def _spikes(group: h5py.Group, recording: Recording, events: Events) -> None:
    ticks, row = np.asarray(events.ticks[:]), np.asarray(events.row[:])
    low, high = recording.span
    times = ticks / float(events.ticks_per_s)
    inside = (times >= low) & (times <= high)
    times, row = times[inside], row[inside]
    group["unit_index"] = row.astype(np.int64)
    _irregular(group, times, recording.valid)
    group.attrs[f"{OWN}ticks_per_s"] = str(events.ticks_per_s)


def _samples(group: h5py.Group, recording: Recording, samples: Samples) -> None:
    if recording.span[0] != 0:
        raise InputError(f"{recording.id} is a slice of samples that starts late; write it whole.")
    values = np.asarray(samples.values[: round(recording.span[1] / float(samples.step_s))])
    group["counts" if values.dtype.kind == "u" else "traces"] = values
    group.attrs[f"{OWN}step_s"] = str(samples.step_s)
    _regular(group, float(samples.step_s), 0.0, len(values))


def _irregular(group: h5py.Group, times: NDArray[np.float64], domain: Intervals) -> None:
    """Timestamps, their domain (widened to hold them all) and the index of its seconds."""
    group["timestamps"] = times
    start = domain.start.copy() if len(domain) else np.zeros(1)
    end = domain.end.copy() if len(domain) else np.full(1, np.finfo(float).tiny)
    if len(times):
        start[0], end[-1] = min(start[0], times[0]), max(end[-1], times[-1])
    grid = np.arange(start[0], end[-1] + 1.0, 1.0)
    group["timestamp_indices_1s"] = np.searchsorted(times, grid)
    _interval(group.create_group("domain"), Intervals(start, end))
    group.attrs["object"] = "IrregularTimeSeries"
    group.attrs["timekeys"] = np.array(["timestamps"], dtype="S")
    group.attrs["_unicode_keys"] = np.array([], dtype="S1")


def _regular(group: h5py.Group, step_s: float, start_s: float, n: int) -> None:
    _interval(group.create_group("domain"), Intervals.of([(start_s, start_s + n * step_s)]))
    group.attrs["object"] = "RegularTimeSeries"
    group.attrs["sampling_rate"] = 1 / step_s


def _signal(group: h5py.Group, signal: Signal, recording: Recording) -> None:
    group["values"] = np.asarray(signal.values[:])
    group.attrs[f"{OWN}unit"], group.attrs[f"{OWN}node"] = signal.unit, signal.node
    if signal.axes:
        group.attrs[f"{OWN}axes"] = "\n".join(signal.axes)
    if signal.times_s is not None:
        _irregular(group, signal.sample_times_s(), recording.valid)
        return
    group.attrs[f"{OWN}step_s"] = str(_fraction(signal.step_s))
    _regular(group, signal.step_s, signal.start_s, len(signal.values))


def _fraction(step_s: float) -> str:
    numerator, denominator = step_s.as_integer_ratio()
    return f"{numerator}/{denominator}"


def _interval(group: h5py.Group, intervals: Intervals) -> None:
    group["start"], group["end"] = intervals.start, intervals.end
    _finish_interval(group, [])


def _finish_interval(group: h5py.Group, text_keys: list[str]) -> None:
    group.attrs["object"] = "Interval"
    group.attrs["timekeys"] = np.array(["start", "end"], dtype="S")
    group.attrs["_unicode_keys"] = np.array(text_keys, dtype="S")


def _table(group: h5py.Group, table: Table, what: str) -> None:
    if not {"start_s", "stop_s"} <= set(table.columns):
        raise InputError(f"{what} has no start_s or no stop_s, which the format needs.")
    texts = [
        _put(group, TIMES.get(k, slug(k)), k, column, what) for k, column in table.columns.items()
    ]
    _finish_interval(group, [key for key in texts if key])


def _units(group: h5py.Group, recording: Recording) -> None:
    channels, what = recording.channels, f"{recording.id}: channels"
    columns = {"id": channels.id, "region": channels.region, "subject": channels.subject,
               "node": channels.node, "kind": channels.kind, "coordinates": channels.coordinates,
               **channels.quality}  # fmt: skip
    texts = [_put(group, slug(name), name, column, what) for name, column in columns.items()]
    group.attrs["object"] = "ArrayDict"
    group.attrs["_unicode_keys"] = np.array([key for key in texts if key], dtype="S")
    group.attrs[f"{OWN}ids"] = "as they are"


def _put(group: h5py.Group, key: str, name: str, column: NDArray[Any], what: str) -> str:
    """Write a column under a safe key; the key again if it is text, which is stored as bytes."""
    if key in group:
        raise InputError(f"{what}: column {name!r} is taken in the file; rename it.")
    values, is_text = np.asarray(column), column.dtype.kind == "U"
    if is_text:
        try:
            values = values.astype("S") if values.size else values.astype("S1")
        except UnicodeEncodeError:
            raise InputError(f"{what}: column {name!r} holds text beyond ASCII, which the format "
                             "cannot keep; rename it.") from None  # fmt: skip
    group[key] = values
    if name not in TIMES:
        group[key].attrs[f"{OWN}name"] = name
    return key if is_text else ""
