"""A recording as columns and one manifest, and back. The only place that knows the layout.

`pack` turns a recording into {file name: array} and a JSON-ready tree; `unpack` reads it again
with the activity and the signals as lazy columns and the small tables in memory.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.column import Column
from neurofm.data.intervals import Intervals
from neurofm.data.montage import montage
from neurofm.data.plain import exact_ratio, usable_name
from neurofm.data.recording import (
    Channels,
    Events,
    Provenance,
    Recording,
    Samples,
    Signal,
    Table,
)
from neurofm.errors import InputError, StoreError

SCHEMA = 1
OWN = "manifest_sha256"  # of the manifest's other entries; manifests of 0.1 have none
ENTRIES = {"schema", "id", "subject", "span_s", "valid", "activity", "channels", "signals", "trials",
           "tables", "columns", "activity_sha256", "content_sha256", "provenance", "flags",
           "settings"}  # fmt: skip
CHANNEL_COLUMNS = ("id", "region", "subject", "node", "kind", "coordinates")


class _Columns:
    """Arrays collected under safe file names, each with its unit."""

    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.units: dict[str, str] = {}

    def add(self, name: str, values: Any, unit: str = "") -> str:
        array = np.asarray(values)
        if array.dtype.kind not in "biufUSM":
            raise InputError(f"{name} holds {array.dtype}; only numbers and text can be stored.")
        if array.dtype.kind == "U" and not is_unicode(array):
            raise InputError(f"{name} holds text that is no valid Unicode; export it again.")
        file = f"{name}.npy"
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        self.arrays[file] = np.ascontiguousarray(native)
        self.units[file] = unit
        return file


def pack(recording: Recording) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Columns by file name, and the manifest without flags.

    Raises InputError that names the recording and the column if one cannot be stored.
    """
    columns = _Columns()
    try:
        for name in (recording.id, recording.subject, *recording.signals, *recording.tables,
                     *recording.channels.quality, *recording.trials.columns):  # fmt: skip
            usable_name(name, "a name")
        tree = {
            "schema": SCHEMA,
            "id": recording.id,
            "subject": recording.subject,
            "span_s": [float(recording.span[0]), float(recording.span[1])],
            "valid": columns.add("valid", recording.valid.pairs, "s"),
            "activity": _pack_activity(columns, recording.stored),
            "channels": _pack_channels(columns, recording.channels),
            "signals": [
                _pack_signal(columns, i, name, signal)
                for i, (name, signal) in enumerate(recording.signals.items())
            ],
            "trials": _pack_table(columns, "trials", recording.trials),
            "tables": {
                name: _pack_table(columns, f"table.{i:02d}.{slug(name)}", table)
                for i, (name, table) in enumerate(recording.tables.items())
            },
        }
    except InputError as error:
        raise InputError(f"{recording.id}: {error}") from None
    tree["columns"] = {
        file: {"sha256": npy_sha256(array), "shape": list(array.shape),
               "dtype": array.dtype.str, "unit": columns.units[file]}
        for file, array in columns.arrays.items()
    }  # fmt: skip
    tree["activity_sha256"] = activity_sha256(recording)
    tree["content_sha256"] = _digest(tree)
    if said := montage(recording):  # told again by the columns, and so no part of the content
        tree["montage"] = said
    tree["provenance"] = asdict(recording.provenance)
    try:
        json.dumps(tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{recording.id}: what it says of itself is no valid Unicode; export it again."
        ) from None
    return columns.arrays, tree


def activity_sha256(recording: Recording) -> str:
    """A hash of the activity alone, the same under any id."""
    source = recording.stored
    if isinstance(source, Samples):
        return _digest([str(source.step_s), npy_sha256(np.asarray(source.values[:]))])
    row = np.asarray(source.row[:], dtype=np.int64)
    return _digest([str(source.ticks_per_s), npy_sha256(source.ticks[:]), npy_sha256(row)])


def sealed(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with a hash of itself."""
    plain = {name: value for name, value in tree.items() if name != OWN}
    return plain | {OWN: _digest(plain)}


def is_sealed(tree: Mapping[str, Any]) -> bool:
    """Whether a manifest is what was written; one of 0.1, without a hash, is if its entries are."""
    if OWN in tree:
        return bool(sealed(tree)[OWN] == tree[OWN])
    return set(tree) <= ENTRIES


def _pack_activity(columns: _Columns, activity: Events | Samples) -> dict[str, Any]:
    if isinstance(activity, Samples):
        values = columns.add("activity.values", activity.values[:], "counts or trace units")
        return {"type": "samples", "values": values, "step_s": str(activity.step_s)}
    return {
        "type": "events",
        "ticks": columns.add("activity.ticks", activity.ticks[:], "ticks"),
        "row": columns.add("activity.row", activity.row[:], "row of channels"),
        "seconds_index": columns.add("activity.seconds_index", activity.seconds_index, "row"),
        "ticks_per_s": str(activity.ticks_per_s),
    }


def _pack_channels(columns: _Columns, channels: Channels) -> dict[str, Any]:
    regions, counts = np.unique(channels.region, return_counts=True)
    plain = {n: columns.add(f"channels.{n}", getattr(channels, n)) for n in CHANNEL_COLUMNS}
    quality = {
        name: columns.add(f"channels.quality.{i:02d}.{slug(name)}", column)
        for i, (name, column) in enumerate(channels.quality.items())
    }
    return {
        "n": len(channels),
        "regions": {str(r): int(c) for r, c in zip(regions, counts, strict=True)},
        "kinds": sorted(set(channels.kind.tolist())),
        "columns": plain,
        "quality": quality,
    }


def _pack_signal(columns: _Columns, index: int, name: str, signal: Signal) -> dict[str, Any]:
    prefix = f"signal.{index:02d}.{slug(name)}"
    tree = {
        "name": name,
        "values": columns.add(f"{prefix}.values", signal.values[:], signal.unit),
        "step_s": float(signal.step_s),
        "start_s": float(signal.start_s),
        "unit": signal.unit,
        "node": signal.node,
    }
    if signal.times_s is not None:
        tree["times_s"] = columns.add(f"{prefix}.times", signal.times_s[:], "s")
    if signal.axes:
        tree["axes"] = list(signal.axes)
    return tree


def _pack_table(columns: _Columns, prefix: str, table: Table) -> dict[str, str]:
    return {
        name: columns.add(f"{prefix}.{i:02d}.{slug(name)}", column, _unit_of(name))
        for i, (name, column) in enumerate(table.columns.items())
    }


def is_unicode(array: NDArray[np.str_]) -> bool:
    """Whether every character of an array of text is one: no half of a pair, and none beyond."""
    codes = np.ascontiguousarray(array).reshape(-1).view(f"{array.dtype.byteorder}u4")
    return bool(((codes < 0xD800) | ((codes > 0xDFFF) & (codes < 0x110000))).all())


def _unit_of(name: str) -> str:
    return "s" if name.endswith("_s") else ""


def unpack(folder: Path, tree: Mapping[str, Any]) -> Recording:
    """The recording of a session's folder; activity and signals stay on disk until sliced.

    Raises StoreError if a column is missing or is not what the manifest says, or if a name of a
    file leads out of the folder.
    """

    def lazy(file: str) -> Column:
        if not is_plain_name(file):
            raise StoreError(f"{folder}: its manifest names {file!r} as a column, which is no plain "
                             "name of a file; remove this folder and ingest the recording again.")  # fmt: skip
        column, said = Column(folder / file), tree["columns"][file]
        if list(column.shape) != said["shape"] or column.dtype.str != said["dtype"]:
            raise StoreError(f"{folder / file} is not the column that the manifest describes; "
                             "remove this folder and ingest the recording again.")  # fmt: skip
        return column

    def whole(file: str) -> NDArray[Any]:
        return lazy(file)[:]

    channels, activity = tree["channels"], tree["activity"]
    return Recording(
        id=tree["id"],
        subject=tree["subject"],
        span=(tree["span_s"][0], tree["span_s"][1]),
        valid=Intervals.of(whole(tree["valid"])),
        channels=Channels(
            **{name: whole(file) for name, file in channels["columns"].items()},
            quality={name: whole(file) for name, file in channels["quality"].items()},
        ),
        activity=_unpack_activity(activity, lazy),
        signals={one["name"]: _unpack_signal(one, lazy) for one in tree["signals"]},
        trials=Table({name: whole(file) for name, file in tree["trials"].items()}),
        tables={
            name: Table({column: whole(file) for column, file in table.items()})
            for name, table in tree["tables"].items()
        },
        provenance=_unpack_provenance(tree["provenance"]),
    )


def _unpack_activity(tree: Mapping[str, Any], lazy: Any) -> Events | Samples:
    if tree["type"] == "samples":
        return Samples(lazy(tree["values"]), exact_ratio(tree["step_s"], "step_s"))
    seconds = lazy(tree["seconds_index"])[:]
    rate = exact_ratio(tree["ticks_per_s"], "ticks_per_s")
    return Events(lazy(tree["ticks"]), lazy(tree["row"]), rate, seconds)


def _unpack_signal(tree: Mapping[str, Any], lazy: Any) -> Signal:
    times = lazy(tree["times_s"]) if "times_s" in tree else None
    return Signal(lazy(tree["values"]), tree["step_s"], tree["start_s"], times, tree["unit"],
                  tree["node"], tuple(tree.get("axes", ())))  # fmt: skip


def _unpack_provenance(tree: Mapping[str, Any]) -> Provenance:
    return Provenance(**{**tree, "notes": tuple(tree["notes"])})


def is_plain_name(file: object) -> bool:
    """Whether it names a file of the folder itself and nothing above, below or elsewhere."""
    return (
        isinstance(file, str)
        and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.npy", file) is not None
    )


def slug(name: str) -> str:
    """A name as a safe piece of a file name: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:40] or "x"


def folder_name(id: str) -> str:
    """The folder of a session: a readable slug and a hash, whatever the id holds."""
    return f"{slug(id)}-{hashlib.sha256(id.encode()).hexdigest()[:12]}"


def npy_parts(array: NDArray[Any]) -> tuple[bytes, bytes | memoryview]:
    """(header, data) of the `.npy` file that `np.save` makes of an array, without a copy of it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
    array = np.ascontiguousarray(array)
    return header.getvalue(), array.reshape(-1).view(np.uint8).data if array.size else b""


def npy_sha256(array: NDArray[Any]) -> str:
    """SHA-256 of the `.npy` file that `np.save` makes of a contiguous array."""
    digest = hashlib.sha256()
    for part in npy_parts(array):
        digest.update(part)
    return digest.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
