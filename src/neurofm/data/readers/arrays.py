"""Array recordings: one `.npz` a session, the format to bring your own arrays in.

`counts` (T, C) unsigned integers or `traces` (T, C) floats; `bin_s`; and, all optional,
`channel_id`, `channel_region` and other `channel_NAME` (C,); `channel_coordinates` (C, 3);
`signal_NAME` (T, k), NaN where not recorded, and `axes_NAME` (k,) names of its columns (those of
`signal_emg` may also be `muscles` in `meta`); `trial_NAME` (n,), with `trial_start_s` and
`trial_stop_s`; `valid` (m, 2) seconds; `meta`, a JSON object with id, subject, species, lab, task,
licence, consent, cite, source. Times are seconds from the left edge of the first bin.
"""

import difflib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm import files
from neurofm.data.manifest import is_unicode
from neurofm.data.plain import LONGEST_NAME, usable_name
from neurofm.data.quality import Flag
from neurofm.data.recording import Provenance, Recording, Samples
from neurofm.errors import InputError
from neurofm.files import sha256

BUDGET_BYTES = 64 << 30
MOST_MEMBERS = 4096
SUSPECT_BYTES, SUSPECT_RATIO = 1 << 30, 400  # larger and denser than this is no recording
PLAIN = ("counts", "traces", "bin_s", "valid", "meta")
PREFIXES = ("channel_", "signal_", "axes_", "trial_")
META = ("species", "lab", "task", "licence", "consent", "cite", "started")


def read(path: Path, **_: Any) -> Iterator[Recording]:
    """The one recording of a file.

    Raises InputError that names the file, the array and the remedy.
    """
    arrays = _load(path)
    try:
        yield _recording(path, arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _recording(path: Path, arrays: dict[str, NDArray[Any]]) -> Recording:
    if "bin_s" not in arrays or not {"counts", "traces"} & set(arrays):
        names = ", ".join(sorted(arrays)[:6]) or "nothing"
        raise InputError(f"it holds {names}; an array recording needs bin_s and counts or traces.")
    if arrays["bin_s"].size != 1 or arrays["bin_s"].dtype.kind not in "fiu":
        raise InputError("bin_s must be one number, in seconds.")
    meta, flags = _meta(arrays), _unknown(arrays)
    valid = arrays.get("valid")
    if valid is not None and (
        valid.ndim != 2 or valid.shape[1] != 2 or valid.dtype.kind not in "fiu"
    ):
        raise InputError(f"valid has shape {valid.shape}; it must be (m, 2), in seconds.")
    recording = Recording.from_arrays(
        str(meta.get("id") or path.stem),
        counts=arrays.get("counts"),
        traces=arrays.get("traces"),
        bin_s=float(arrays["bin_s"].reshape(())),
        channel_id=_flat(arrays, "channel_id"),
        channel_region=_flat(arrays, "channel_region"),
        subject=usable_name(str(meta.get("subject", "")), "meta.subject"),
        signals={n[7:]: _number(arrays[n], n) for n in arrays if n.startswith("signal_")},
        trials=_trials(arrays),
        valid=valid,
        provenance=_provenance(path, meta, flags),
    )
    _check_valid(recording)
    recording = _with_axes(recording, arrays, meta)
    return _with_channel_columns(recording, arrays)


def _load(path: Path) -> dict[str, NDArray[Any]]:
    try:
        _guard(path)
        with np.load(path, allow_pickle=False) as file:
            return {name: _usable(name, file[name]) for name in file.files}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; check the path.") from None
    except InputError:
        raise
    except Exception as error:  # a torn file may fail anywhere: zip, zlib, the parser of headers
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is not a readable .npz ({reason}); save it again.") from None


def _usable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Text as `str`, numbers of eight bytes at most; InputError if text is none."""
    if array.dtype.kind == "V":
        raise InputError(f"{name} holds records ({array.dtype}); save it as plain numbers or text.")
    if array.dtype.kind == "S":
        return np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "U" and not is_unicode(array):
        raise InputError(f"{name} holds text that is no valid Unicode; save it again.")
    if array.dtype.kind == "f" and array.dtype.itemsize > 8:
        return array.astype(np.float64)
    return array


def _guard(path: Path) -> None:
    """Refuse members whose headers claim objects, absurd sizes, or other bytes than are there."""
    total = 0
    with zipfile.ZipFile(path) as archive:
        if (
            len(archive.infolist()) > MOST_MEMBERS
            or max(map(len, archive.namelist()), default=0) > LONGEST_NAME
        ):
            raise InputError(f"{path} holds more than {MOST_MEMBERS:,} arrays, or a name of more than "
                             f"{LONGEST_NAME:,} characters; save it in pieces.")  # fmt: skip
        for member in archive.infolist():
            with archive.open(member) as stream:
                version = np.lib.format.read_magic(stream)
                read = {(1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0}.get(version)  # fmt: skip
                if read is None:
                    raise ValueError(f"{member.filename} is of an unknown .npy version")
                shape, _, dtype = read(stream)
                header = stream.tell()
            if dtype.hasobject:
                raise InputError(f"{path}: {member.filename} holds Python objects, which are never "
                                 "loaded; save it as numbers or text.")  # fmt: skip
            claimed = header + dtype.itemsize * int(np.prod(shape, dtype=object))
            if claimed != member.file_size:
                raise InputError(f"{path}: {member.filename} claims {claimed:,} bytes and holds "
                                 f"{member.file_size:,}; save the file again.")  # fmt: skip
            total += claimed
    stored = path.stat().st_size
    if total > BUDGET_BYTES or (total > SUSPECT_BYTES and total > SUSPECT_RATIO * stored):
        raise InputError(f"{path} unpacks from {stored:,} to {total:,} bytes, more than a recording "
                         "would; save it in pieces.")  # fmt: skip


def _meta(arrays: dict[str, NDArray[Any]]) -> dict[str, Any]:
    if "meta" not in arrays:
        return {}
    try:
        meta = json.loads(str(arrays["meta"]))
    except (ValueError, RecursionError):
        meta = None
    if not isinstance(meta, dict):
        raise InputError("meta must be one string that holds a JSON object.")
    return meta


def _unknown(arrays: dict[str, NDArray[Any]]) -> list[Flag]:
    flags = []
    for name in arrays:
        if name in PLAIN or name.startswith(PREFIXES):
            continue
        near = difflib.get_close_matches(name, [*PLAIN, *PREFIXES], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        flags.append(Flag("warning", name, f"is not part of the layout and was not loaded{hint}"))
    return flags


def _provenance(path: Path, meta: dict[str, Any], flags: list[Flag]) -> Provenance:
    rest = {k: v for k, v in meta.items() if k not in (*META, "id", "subject")}
    notes = [
        Flag("note", f"meta.{k}", json.dumps(v, ensure_ascii=False)).text for k, v in rest.items()
    ]
    return Provenance(
        source=path.name,
        source_sha256=sha256(path),
        format="arrays",
        notes=(*(flag.text for flag in flags), *notes),
        **{name: str(meta.get(name, "")) for name in META},
    )


def _flat(arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any] | None:
    column = arrays.get(name)
    if column is not None and column.ndim != 1:
        raise InputError(f"{name} has shape {column.shape}; it must be flat, one a channel.")
    return column


def _number(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} is {array.dtype}; a signal must be of numbers.")
    return array


def _trials(arrays: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    columns = {n.removeprefix("trial_"): arrays[n] for n in arrays if n.startswith("trial_")}
    if not columns:
        return {}
    for needed in ("start_s", "stop_s"):
        if needed not in columns or columns[needed].dtype.kind not in "fiu":
            raise InputError(f"trial_{needed} is missing or is not of numbers; trials need it.")
    n = len(columns["start_s"])
    for name, column in columns.items():
        if column.ndim == 0 or len(column) != n:
            raise InputError(f"trial_{name} has shape {column.shape} for {n} trials.")
    return columns


def _check_valid(recording: Recording) -> None:
    low, high = recording.span
    step = float(recording.activity.step_s) if isinstance(recording.activity, Samples) else 0.0
    for start, end in recording.valid:
        if start < low - step or end > high + step:
            raise InputError(f"valid holds [{start:g}, {end:g}) s, outside [{low:g}, {high:g}).")


def _with_axes(
    recording: Recording, arrays: dict[str, NDArray[Any]], meta: dict[str, Any]
) -> Recording:
    """Signals with the names of their columns, where the file has them."""
    named = {n.removeprefix("axes_"): _flat(arrays, n) for n in arrays if n.startswith("axes_")}
    signals, muscles = dict(recording.signals), meta.get("muscles")
    n_muscles = signals["emg"].values.shape[1] if "emg" in signals else 0
    if isinstance(muscles, list) and len(set(map(str, muscles))) == len(muscles) == n_muscles > 0:
        named.setdefault("emg", np.array([str(muscle) for muscle in muscles]))
    for name, axes in named.items():
        k = signals[name].values.shape[1] if name in signals else 0
        if axes is None or not k or len(set(axes.astype(str).tolist())) != k or len(axes) != k:
            raise InputError(f"axes_{name} must name each of the {k} columns of signal_{name}, "
                             "and no two alike.")  # fmt: skip
        signals[name] = replace(signals[name], axes=tuple(axes.astype(str).tolist()))
    return replace(recording, signals=signals)


def _with_channel_columns(recording: Recording, arrays: dict[str, NDArray[Any]]) -> Recording:
    n = len(recording.channels)
    columns = {k.removeprefix("channel_"): v for k, v in arrays.items() if k.startswith("channel_")}
    coordinates = columns.pop("coordinates", recording.channels.coordinates)
    if coordinates.shape != (n, 3) or coordinates.dtype.kind not in "fiu":
        raise InputError(f"channel_coordinates has shape {coordinates.shape} for {n} channels.")
    more = {k: v for k, v in columns.items() if k not in ("id", "region")}
    for name, column in more.items():
        if column.shape[:1] != (n,):
            raise InputError(f"channel_{name} has shape {column.shape} for {n} channels.")
    where = coordinates.astype(np.float32)
    return replace(recording, channels=replace(recording.channels, coordinates=where, quality=more))


def write_arrays(recording: Recording, path: Path | str) -> None:
    """Write a recording of samples as an array recording that `read` gives back.

    Raises InputError if it holds spike times, signals on another grid or further tables, which
    the format has no place for.
    """
    path = Path(path)
    source = recording.activity
    if not isinstance(source, Samples):
        raise InputError(f"{recording.id} holds spike times; bin them, or write torch_brain HDF5.")
    if recording.tables:
        raise InputError(f"{recording.id} has tables besides its trials; write torch_brain HDF5.")
    values = np.asarray(source.values[:])
    channels, told = recording.channels, recording.provenance
    meta = {name: getattr(told, name) for name in META} | _notes(told)
    meta |= {"id": recording.id, "subject": recording.subject}
    out: dict[str, Any] = {
        "counts" if values.dtype.kind == "u" else "traces": values,
        "bin_s": float(source.step_s),
        "channel_id": channels.id,
        "channel_region": channels.region,
        "channel_coordinates": channels.coordinates,
        "valid": recording.valid.pairs,
        "meta": json.dumps({k: v for k, v in meta.items() if v}, ensure_ascii=False),
    }
    out |= {f"channel_{name}": column for name, column in channels.quality.items()}
    out |= {f"trial_{name}": column for name, column in recording.trials.columns.items()}
    for name, signal in recording.signals.items():
        grid = Fraction(signal.step_s).limit_denominator(1_000_000)
        same = abs(float(grid) - float(source.step_s)) < 1e-9 and signal.start_s == 0
        if signal.times_s is not None or not same or len(signal.values) != len(values):
            raise InputError(f"{recording.id}: signal {name} is on another grid than the activity.")
        out[f"signal_{name}"] = np.asarray(signal.values[:])
        if signal.axes:
            out[f"axes_{name}"] = np.array(signal.axes)
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **out)


def _notes(told: Provenance) -> dict[str, Any]:
    """Further keys of `meta` that the reader kept as notes."""
    flags = [Flag.parse(note) for note in told.notes]
    return {
        flag.field.removeprefix("meta."): json.loads(flag.message)
        for flag in flags
        if flag.severity == "note" and flag.field.startswith("meta.")
    }
