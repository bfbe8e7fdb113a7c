"""torch_brain (before: temporaldata, brainsets) HDF5 files, over plain h5py.

A tree of groups, each with an attribute `object`: `Data` (a description or a nested tree),
`IrregularTimeSeries` (spikes; behaviour with timestamps), `RegularTimeSeries` (with
`sampling_rate`), `Interval` (trials, domains) and `ArrayDict` (units, channels). Nothing stored
for speed (`timestamp_indices_1s`) is trusted. What this package's own writer adds in attributes
named `neurofm_*` makes reading exact.
"""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.data import clock, hdf5
from neurofm.data.intervals import Intervals
from neurofm.data.plain import exact_ratio, exact_seconds, usable_name
from neurofm.data.quality import Flag
from neurofm.data.recording import (
    NODES,
    Channels,
    Events,
    Provenance,
    Recording,
    Samples,
    Signal,
    Table,
)
from neurofm.errors import InputError, clean
from neurofm.files import sha256

REGIONS = ("region", "brain_region", "brain_area", "area", "location")
UNITS = ("units", "channels", "rois")
TIMES = {"start": "start_s", "end": "stop_s"}
OWN = "neurofm_"
TERMS = ("species", "lab", "task", "licence", "consent", "cite", "started")


def read(path: Path, *, activity: str = "spikes", **_: Any) -> Iterator[Recording]:
    """The one recording of a file; `activity` names the group to model.

    Raises InputError that names the file, the field and the remedy.
    """
    with hdf5.opened(path) as file:
        try:
            recording = _recording(path, file, activity)
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(clean(path)) else f"{path}: {text}") from None
    yield recording


def _recording(path: Path, file: h5py.File, wanted: str) -> Recording:
    flags: list[Flag] = []
    session = usable_name(_described(file, "session", "id") or path.stem, "session/id")
    subject = usable_name(_described(file, "subject", "id"), "subject/id")
    groups = {k: g for k, g in hdf5.members(file).items() if isinstance(g, h5py.Group)}
    name = _activity_name(groups, wanted)
    channels_of, n = _units(groups, groups[name])
    source, channels, origin = _activity(groups[name], channels_of, n, session, subject, flags)
    flags += clock.moved(origin)
    tables = {_name(g, k): _table(g, origin) for k, g in groups.items()
              if _is(g, "Interval") and not k.endswith("domain")}  # fmt: skip
    signals: dict[str, Signal] = {}
    for key, group in groups.items():
        if key != name and (_is(group, "RegularTimeSeries") or _is(group, "IrregularTimeSeries")):
            signals |= _signals(key, group, origin, flags)
    known = {"IrregularTimeSeries", "RegularTimeSeries", "Interval", "ArrayDict", "Data"}
    for key, group in groups.items():
        if _object(group) not in known or (_is(group, "Data") and hdf5.members(group)):
            flags.append(Flag("note", key, f"not read: a nested {_object(group) or 'group'}"))
    valid, end = _valid(groups, origin, source)
    span = _span(file, end)
    return Recording(
        id=session,
        subject=subject,
        span=span,
        valid=valid.clip(*span),
        channels=channels,
        activity=source,
        signals=signals,
        trials=tables.pop("trials", Table({})),
        tables=tables,
        provenance=_provenance(path, file, flags),
    )


def _activity_name(groups: dict[str, h5py.Group], wanted: str) -> str:
    for name in (wanted, "activity"):
        if name in groups and _object(groups[name]) in ("IrregularTimeSeries", "RegularTimeSeries"):
            return name
    regular = [k for k, g in groups.items() if _is(g, "RegularTimeSeries")]
    hint = f"; name one of {', '.join(regular)} as the activity" if regular else ""
    raise InputError(f"there is no group {wanted} of events{hint}, or convert the file again.")


def _activity(
    group: h5py.Group,
    units: h5py.Group | None,
    n: int,
    id: str,
    subject: str,
    flags: list[Flag],
) -> tuple[Events | Samples, Channels, float]:
    if _is(group, "RegularTimeSeries"):
        samples, start = _samples(group)
        real = samples.values.dtype.kind == "f"
        return samples, _channels(units, n, id, subject, "real" if real else "count"), start
    field = f"{group.name}/timestamps".lstrip("/")
    times = hdf5.flat(group, "timestamps").astype(np.float64)
    row = hdf5.flat(group, "unit_index").astype(np.int64)
    if times.shape != row.shape or times.ndim != 1:
        raise InputError(f"{field} and unit_index differ in length; convert the file again.")
    if len(row) and (row.min() < 0 or row.max() >= n):
        raise InputError(f"unit_index of {field} points outside the {n} units; convert it again.")
    keep, found = clock.plausible(times, field)
    flags += found
    if not keep.any():
        raise InputError(f"{field} holds no usable spike time; nothing can be modelled.")
    times, row = times[keep], row[keep]
    stated = group.attrs.get(f"{OWN}ticks_per_s")
    rate = (
        clock.MICROSECOND if stated is None else exact_ratio(hdf5.text(stated), f"{OWN}ticks_per_s")
    )
    if rate.numerator > clock.MOST_TICKS:
        raise InputError(
            f"{OWN}ticks_per_s is {rate}, finer than any clock; convert the file again."
        )
    origin = clock.origin([float(times.min())])
    events, found = clock.events(times - origin, row, rate, field)
    flags += found
    return events, _channels(units, n, id, subject, "count"), origin


def _samples(group: h5py.Group) -> tuple[Samples, float]:
    fields = [d for d in hdf5.datasets(group).values() if d.ndim == 2 and d.dtype.kind in "biuf"]
    if not fields:
        raise InputError(f"{group.name} holds no array (time, channel); name another activity.")
    values = hdf5.array(fields[0])
    if values.dtype.kind not in "uf":
        if values.dtype.kind != "i" or values.min(initial=0) < 0:
            values = values.astype(np.float32)
        else:
            values = values.astype(np.uint32)
    step, start = _grid(group)
    return Samples(
        values, exact_seconds(step, group.name) if isinstance(step, float) else step
    ), start


def _grid(group: h5py.Group) -> tuple[float | Fraction, float]:
    """(step, start) of a regular series: exact where this package wrote it."""
    stated = group.attrs.get(f"{OWN}step_s")
    rate = hdf5.number(group.attrs.get("sampling_rate"))
    if stated is None and not (np.isfinite(rate) and 1e-5 <= rate <= 1e9):
        raise InputError(f"{group.name}: sampling_rate is {rate}; convert the file again.")
    step = (
        1 / rate if stated is None else exact_ratio(hdf5.text(stated), f"{group.name}: {OWN}step_s")
    )
    domain = hdf5.child(group, "domain")
    starts = hdf5.flat(domain, "start") if isinstance(domain, h5py.Group) else np.zeros(1)
    if len(starts) > 1:
        raise InputError(f"{group.name} has gaps in a regular series; convert it with timestamps.")
    start = float(starts[0]) if len(starts) else 0.0
    if not np.isfinite(start):
        raise InputError(f"{group.name}/domain/start is {start}; convert the file again.")
    return step, start


def _units(groups: dict[str, h5py.Group], activity: h5py.Group) -> tuple[h5py.Group | None, int]:
    """The table of the activity's channels, and how many there are."""
    if _is(activity, "RegularTimeSeries"):
        widths = [d.shape[1] for d in hdf5.datasets(activity).values() if d.ndim == 2]
        n = widths[0] if widths else 0
        fits = [groups[k] for k in UNITS if k in groups and _rows(groups[k]) == n]
        return (fits[0] if fits else None), n
    if "units" not in groups:
        raise InputError("there is no units table for the spikes; convert the file again.")
    return groups["units"], _rows(groups["units"])


def _rows(group: h5py.Group) -> int:
    lengths = {len(d) for d in hdf5.datasets(group).values()}
    if len(lengths) != 1:
        raise InputError(
            f"{group.name}: columns differ in length or are missing; convert it again."
        )
    return int(lengths.pop())


def _channels(table: h5py.Group | None, n: int, id: str, subject: str, kind: str) -> Channels:
    columns = _columns(table) if table is not None else {}
    ours = table is not None and f"{OWN}ids" in table.attrs
    names = columns.pop("id", None)
    texts = [str(i) for i in range(n)] if names is None else [str(x) for x in names.tolist()]
    if len(set(texts)) != n:
        texts = [str(i) for i in range(n)]
    text = {k for k, column in columns.items() if column.dtype.kind == "U" and column.ndim == 1}
    region = next((columns.pop(k) for k in REGIONS if k in text), None)
    where = columns.pop("coordinates") if _has_places(columns, n) else None
    channels = Channels.of(
        texts if ours else [t if t.startswith(id) else f"{id}/{t}" for t in texts],
        region=region,
        subject=subject,
        kind=kind,
        coordinates=where,
    )
    own = {k: columns.pop(k) for k in ("subject", "node", "kind") if ours and k in text}
    return replace(channels, **own, quality=columns)


def _has_places(columns: dict[str, NDArray[Any]], n: int) -> bool:
    places = columns.get("coordinates")
    return places is not None and places.shape == (n, 3) and places.dtype.kind == "f"


def _columns(group: h5py.Group) -> dict[str, NDArray[Any]]:
    """Columns of a table by their names; text that was stored as bytes is text again."""
    out = {}
    for key, dataset in hdf5.datasets(group).items():
        values = hdf5.array(dataset)
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8", "replace")
        out[hdf5.text(dataset.attrs.get(f"{OWN}name", key))] = values
    return out


def _table(group: h5py.Group, origin: float) -> Table:
    columns = {TIMES.get(k, k): v for k, v in _columns(group).items()}
    for name, column in TIMES.items():
        columns[column] = hdf5.flat(group, name).astype(np.float64) - origin
    wrong = [name for name, column in columns.items() if len(column) != len(columns["start_s"])]
    if wrong:
        raise InputError(f"{group.name}/{wrong[0]} differs in length from start; convert it again.")
    return Table(columns)


def _signals(key: str, group: h5py.Group, origin: float, flags: list[Flag]) -> dict[str, Signal]:
    """One signal a numeric field, named after its group where it is alone in it."""
    fields = {
        k: d
        for k, d in hdf5.datasets(group).items()
        if k not in ("timestamps", "timestamp_indices_1s")
        and d.dtype.kind in "biuf"
        and d.ndim in (1, 2)
    }
    regular = _is(group, "RegularTimeSeries")
    step, start = _grid(group) if regular else (0.0, 0.0)
    times = None if regular else hdf5.flat(group, "timestamps").astype(np.float64)
    unit, node = (hdf5.text(group.attrs.get(OWN + k, "")) for k in ("unit", "node"))
    named = tuple(filter(None, hdf5.text(group.attrs.get(OWN + "axes", "")).split("\n")))
    out = {}
    for field, dataset in fields.items():
        values = hdf5.array(dataset)
        values = values if values.dtype.kind == "f" else values.astype(np.float32)
        values = values[:, None] if values.ndim == 1 else values
        name = _name(group, key) if len(fields) == 1 else f"{key}.{field}"
        own = times
        if own is not None:
            if len(own) != len(values):
                raise InputError(f"{key}/timestamps do not fit {key}/{field}; convert it again.")
            keep, found = clock.plausible(own, f"{key}/timestamps")
            flags += found
            own, values = own[keep] - origin, values[keep]
            if (np.diff(own) < 0).any():
                raise InputError(f"{key}/timestamps are out of order; convert the file again.")
        at = 0.0 if own is not None else start - origin
        axes = named if len(named) == values.shape[1] else ()
        role = node if node in NODES else "behaviour"
        out[name] = Signal(values, float(step), at, own, unit, role, axes)
    return out


def _valid(
    groups: dict[str, h5py.Group], origin: float, source: Events | Samples
) -> tuple[Intervals, float]:
    """The file's domain on the recording's clock, and where the recording ends."""
    if isinstance(source, Samples):
        last = float(len(source.values) * source.step_s)
    else:
        last = float(source.ticks[len(source.ticks) - 1 :][0] + 1) / float(source.ticks_per_s)
    if "domain" not in groups:
        return Intervals.of([(0.0, last)]), last
    first, stop = (hdf5.flat(groups["domain"], name).astype(float) for name in ("start", "end"))
    if first.shape != stop.shape:
        raise InputError("domain/start and domain/end differ in length; convert the file again.")
    pairs = np.stack([first, stop], axis=1) - origin
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    end = max(last, float(pairs[:, 1].max(initial=0.0))) if isinstance(source, Events) else last
    return Intervals.of(pairs).clip(0.0, end), end


def _span(file: h5py.File, end: float) -> tuple[float, float]:
    own = hdf5.child(file, "neurofm")
    if isinstance(own, h5py.Group) and "span_s" in own.attrs:
        span = np.asarray(own.attrs["span_s"])
        good = span.shape == (2,) and span.dtype.kind in "iuf" and np.isfinite(span).all()
        if not good or not 0 <= span[0] < span[1] < clock.LATEST_S:
            raise InputError(f"neurofm/span_s is {span}; it must be [start, end) in seconds.")
        if end > span[1] + 1:
            raise InputError(f"neurofm/span_s ends at {span[1]:g} s and the file holds {end:g} s; "
                             "convert it again.")  # fmt: skip
        return float(span[0]), float(span[1])
    return 0.0, end


def _provenance(path: Path, file: h5py.File, flags: list[Flag]) -> Provenance:
    own = hdf5.child(file, "neurofm")
    if isinstance(own, h5py.Group):
        told = {name: hdf5.text(own.attrs.get(name, "")) for name in TERMS}
    else:
        told = {
            "species": _described(file, "subject", "species"),
            "cite": _described(file, "brainset", "source"),
            "started": _described(file, "session", "recording_date"),
        }
    notes = tuple(flag.text for flag in flags)
    return Provenance(source=path.name, source_sha256=sha256(path), format="torch_brain",
                      notes=notes, **told)  # fmt: skip


def _described(file: h5py.File, group: str, key: str) -> str:
    node = hdf5.child(file, group)
    return hdf5.text(node.attrs.get(key, "")) if isinstance(node, h5py.Group) else ""


def _object(group: h5py.Group) -> str:
    return hdf5.text(group.attrs.get("object", ""))


def _is(group: h5py.Group, kind: str) -> bool:
    return _object(group) == kind


def _name(group: h5py.Group, key: str) -> str:
    return hdf5.text(group.attrs.get(f"{OWN}name", key))
