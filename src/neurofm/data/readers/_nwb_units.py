"""The units of an NWB file: spike times, ids, regions, coordinates."""

import re
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.data import clock, hdf5
from neurofm.data.plain import LONGEST_NAME
from neurofm.data.quality import Flag
from neurofm.data.recording import Channels, Events
from neurofm.errors import InputError

REGIONS = ("location", "brain_area", "brain_region", "region", "area",
           "ecephys_structure_acronym", "brain_structure_acronym")  # fmt: skip
UNIT_IDS = ("channel_id", "global_id", "uuid", "uuids")  # ids that hold across sessions


def read_spikes(
    file: h5py.File,
    units: h5py.Group,
    id: str,
    flags: list[Flag],
) -> tuple[Events, Channels, float, float]:
    """Events, channels, where the clock starts, and the median spike time on the file's clock."""
    field = "units/spike_times"
    times = hdf5.flat(units, "spike_times").astype(np.float64)
    n_units = len(hdf5.flat(units, "id"))
    index = _ends(units, "spike_times_index", n_units, len(times))
    row = np.repeat(np.arange(len(index)), np.diff(index, prepend=0))
    keep, found = clock.plausible(times, field)
    flags += found
    times, row = times[keep], row[keep]
    if not len(times):
        raise InputError(f"{field} holds no usable spike time; nothing can be modelled.")
    origin = clock.origin([float(times.min())])
    resolution = hdf5.number(units["spike_times"].attrs.get("resolution"))
    rate = clock.rate_of(times, resolution)
    activity, found = clock.events(times - origin, row, rate, field)
    flags += found
    return (
        activity,
        _channels(file, units, id, len(index), flags),
        origin,
        float(np.median(times)),
    )


def _ends(group: h5py.Group, name: str, n_rows: int, n_values: int) -> NDArray[np.int64]:
    """(n_rows,) where each row of a ragged column ends.

    Raises InputError if the index does not fit the column.
    """
    ends = hdf5.flat(group, name)
    ends = np.where(np.isfinite(ends), ends, -1).astype(np.int64)
    wrong = len(ends) and (ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] > n_values)
    if wrong or len(ends) != n_rows:
        raise InputError(
            f"{group.name}/{name} does not fit its column of {n_values} values and {n_rows} rows; "
            "export the units again."
        )
    return ends


def _channels(file: h5py.File, units: h5py.Group, id: str, n: int, flags: list[Flag]) -> Channels:
    columns = {
        k: hdf5.array(units[k])
        for k in hdf5.datasets(units)
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
    own = next((columns.pop(k).tolist() for k in REGIONS if _is_text(columns.get(k))), None)
    regions = _electrode_text(file, electrode, n) if own is None else own
    return Channels.of(
        ids,
        region=[_short_region(str(one)) for one in regions],
        subject=hdf5.text_at(file, "general/subject/subject_id"),
        coordinates=_coordinates(file, electrode),
        quality={k: v for k, v in columns.items() if k not in ("spike_times", "electrodes")},
    )


def _is_text(column: NDArray[Any] | None) -> bool:
    return column is not None and column.dtype.kind == "U"


def _short_region(text: str) -> str:
    """`brain_region: ALM; hemisphere: left` -> `ALM`; anything else as it is."""
    found = re.search(r"brain_region\W*:\s*['\"]?([^;,'\"}]+)", text[:LONGEST_NAME])
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


def _coordinates(file: h5py.File, row: NDArray[np.int64] | None) -> NDArray[np.float64] | None:
    """(n, 3) electrode x, y, z; None where the file states none or only zeros."""
    axes = [_electrode_column(file, axis) for axis in "xyz"]
    if row is None or any(axis is None or axis.dtype.kind != "f" for axis in axes):
        return None
    table = np.stack(axes, axis=1)  # type: ignore[arg-type]
    if not np.nan_to_num(table).any():
        return None
    inside = (row >= 0) & (row < len(table))
    return np.where(inside[:, None], table[np.where(inside, row, 0)], np.nan)
