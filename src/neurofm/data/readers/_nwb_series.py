"""The time series of an NWB file: found, checked, and turned into signals or activity."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.data import clock, hdf5
from neurofm.data.plain import exact_seconds
from neurofm.data.quality import Flag
from neurofm.data.recording import Samples, Signal, Table
from neurofm.errors import InputError

HOMES = ("processing", "acquisition", "stimulus/presentation")
RAW = ("ElectricalSeries", "SpikeEventSeries", "ImageSeries", "TwoPhotonSeries", "OpticalSeries",
       "OnePhotonSeries", "IndexSeries", "ImageMaskSeries", "DecompositionSeries", "VoltageClampSeries",
       "CurrentClampSeries", "PatchClampSeries")  # fmt: skip
PREFERRED = ("DfOverF", "Deconvolved", "Fluorescence")  # of several kinds of traces
DEEPEST = 8
MOST_COLUMNS = 4096
MOST_BYTES = 4 << 30
MOST_GROWTH = 4  # how many times longer gaps may make a trace


@dataclass(frozen=True)
class Series:
    """One time series of the file: where it lies, its kind and its container's kind."""

    name: str
    group: h5py.Group
    kind: str
    container: str
    node: str

    @property
    def field(self) -> str:
        """Its path, for messages."""
        return str(self.group.name).lstrip("/")


def find_series(file: h5py.File, flags: list[Flag]) -> list[Series]:
    """Every series that can be read, under names that are unique; the others are flagged."""
    found, seen = [], set[int]()
    for home in HOMES:
        top = hdf5.child(file, home)
        if isinstance(top, h5py.Group):
            found += [s for s in _walk(top, home, flags, 0, seen) if _readable(s, flags)]
    n_of = Counter(series.name for series in found)
    return [s if n_of[s.name] == 1 else _longer(s) for s in found]


def _walk(
    group: h5py.Group, home: str, flags: list[Flag], depth: int, seen: set[int]
) -> Iterator[Series]:
    """Series below a group, each once: links may lead in circles (`seen`: places of groups)."""
    for name in hdf5.foreign(group):
        flags.append(Flag("warning", f"{group.name}/{name}".lstrip("/"),
                          "links into another file and was not read"))  # fmt: skip
    for name in group:
        node = hdf5.child(group, name)
        if not isinstance(node, h5py.Group) or hdf5.place(node) in seen:
            continue
        seen.add(hdf5.place(node))
        if isinstance(hdf5.child(node, "data"), h5py.Dataset):
            kind, container = _kind(node), _kind(group)
            yield Series(
                name, node, kind, container, "behaviour" if "stim" not in home else "stimulus"
            )
        elif depth < DEEPEST:
            yield from _walk(node, home, flags, depth + 1, seen)


def _kind(group: h5py.Group) -> str:
    return hdf5.text(group.attrs.get("neurodata_type", ""))


def _longer(series: Series) -> Series:
    parts = series.field.split("/")
    name = ".".join(parts[1:])
    return Series(name, series.group, series.kind, series.container, series.node)


def _readable(series: Series, flags: list[Flag]) -> bool:
    data = series.group["data"]
    why = ""
    if series.kind in RAW or "Image" in series.kind:
        why = f"{series.kind} is raw data or images"
    elif data.dtype.kind not in "biuf" or data.ndim not in (1, 2) or not data.size:
        why = f"its data has shape {data.shape} and type {data.dtype}"
    elif data.ndim == 2 and data.shape[1] > MOST_COLUMNS and "Roi" not in series.kind:
        why = f"it has {data.shape[1]} columns"
    elif data.size * data.dtype.itemsize > MOST_BYTES:
        why = f"it holds {data.size * data.dtype.itemsize:,} bytes"
    elif data.external or data.is_virtual:
        why = "its data lies in another file"
    if why:
        flags.append(Flag("note", series.field, f"not read: {why}"))
    return not why


def _values(series: Series) -> NDArray[np.floating]:
    """(n, k) samples in the series' unit: float32, or float64 for integers that need it."""
    data = series.group["data"]
    raw = hdf5.array(data)
    scale = hdf5.number(data.attrs.get("conversion", 1.0))
    shift = hdf5.number(data.attrs.get("offset", 0.0))
    out = raw.astype(np.float64)
    if (scale, shift) != (1.0, 0.0) and np.isfinite([scale, shift]).all():
        out = out * scale + shift
    wide = raw.dtype.kind in "iu" and np.abs(out).max(initial=0) > 2**24
    out = out if wide else out.astype(np.float32)
    return out[:, None] if out.ndim == 1 else out


def _unit(series: Series) -> str:
    return hdf5.text(series.group["data"].attrs.get("unit", ""))


def _rate(series: Series) -> tuple[float, float] | None:
    """(start, step) seconds of a regular series, None if it has timestamps or no sane rate."""
    start = hdf5.child(series.group, "starting_time")
    if not isinstance(start, h5py.Dataset) or isinstance(
        hdf5.child(series.group, "timestamps"), h5py.Dataset
    ):
        return None
    first, rate = hdf5.number(start), hdf5.number(start.attrs.get("rate"))
    sane = np.isfinite(first) and np.isfinite(rate) and 1e-5 <= rate <= 1e7
    return (first, 1 / rate) if sane else None


def _stamps(series: Series) -> NDArray[np.float64] | None:
    dataset = hdf5.child(series.group, "timestamps")
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.ndim != 1
        or dataset.dtype.kind not in "biuf"
    ):
        return None
    return hdf5.array(dataset).astype(np.float64)


def to_signal(
    series: Series, origin_s: float, near_s: float, flags: list[Flag]
) -> Signal | Table | None:
    """A series on the recording's clock; None, with a flag, if it has no usable times.

    Behavioural events become a table, still on the file's clock.
    """
    values, regular = _values(series), _rate(series)
    if regular is None:
        return _irregular(series, values, origin_s, near_s, flags)
    start, step = regular
    if abs(start - near_s) <= clock.LONGEST_S:
        return Signal(values, step, start - origin_s, None, _unit(series), series.node)
    flags.append(Flag("warning", series.field, "lies on another clock and was left out"))
    return None


def _irregular(
    series: Series,
    values: NDArray[np.floating],
    origin_s: float,
    near_s: float,
    flags: list[Flag],
) -> Signal | Table | None:
    stamps = _stamps(series)
    if stamps is None or len(stamps) != len(values):
        flags.append(Flag("warning", series.field, "has no times that fit its data; left out"))
        return None
    field = f"{series.field}/timestamps"
    keep, found = clock.plausible(stamps, field, near_s)
    flags += found
    if not keep.any():
        flags.append(Flag("warning", series.field, "lies on another clock and was left out"))
        return None
    times, values = stamps[keep], values[keep]
    if (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        flags.append(Flag("repair", field, "were out of order and sorted"))
    if series.container == "BehavioralEvents":
        column = values[:, 0] if values.shape[1] == 1 else values
        return Table({"start_s": times, "stop_s": times.copy(), "value": column})
    return Signal(values, 0.0, 0.0, times - origin_s, _unit(series), series.node)


def roi_activity(series: list[Series], flags: list[Flag]) -> tuple[Series, Samples, float]:
    """The traces to model: (series, samples, start on the file's clock).

    Raises InputError if the file holds neither units nor traces of ROIs.
    """
    traces = [one for one in series if one.kind == "RoiResponseSeries"]
    if not traces:
        raise InputError(
            "there are neither units with spike_times nor a RoiResponseSeries; spike-sort it, or "
            "bin the signals and give them as an array recording (.npz)."
        )
    rank = {kind: i for i, kind in enumerate(PREFERRED)}
    chosen = min(traces, key=lambda one: rank.get(one.container, len(rank)))
    if len(traces) > 1:
        flags.append(
            Flag("note", chosen.field, f"was taken as the activity, of {len(traces)} sets")
        )
    values = _values(chosen).astype(np.float32)
    regular, stamps = _rate(chosen), _stamps(chosen)
    if regular is not None:
        return chosen, Samples(values, exact_seconds(regular[1], chosen.field)), regular[0]
    if stamps is None or len(stamps) != len(values) or len(stamps) < 2:
        raise InputError(f"{chosen.field} has no times that fit its data; export it again.")
    samples, start = _on_grid(values, stamps, chosen.field, flags)
    return chosen, samples, start


def plane_location(series: Series) -> str:
    """The location of the imaging plane of a series' ROIs; empty if it is not stated."""
    rois = hdf5.child(series.group, "rois")
    table = rois.attrs.get("table") if isinstance(rois, h5py.Dataset) else None
    plane = series.group.file[table] if isinstance(table, h5py.Reference) and table else None
    location = (
        hdf5.child(plane, "imaging_plane/location") if isinstance(plane, h5py.Group) else None
    )
    return hdf5.text(location) if isinstance(location, h5py.Dataset) else ""


def _on_grid(
    values: NDArray[np.float32], stamps: NDArray[np.float64], field: str, flags: list[Flag]
) -> tuple[Samples, float]:
    """Traces with timestamps on an even grid, NaN rows where the times leave a gap."""
    if not np.isfinite(stamps).all() or (np.diff(stamps) <= 0).any():
        raise InputError(f"{field}/timestamps are missing or do not ascend; export them again.")
    even = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    at = np.arange(len(stamps))
    if np.abs(stamps - stamps[0] - at * even).max() > even / 2:
        even = float(np.median(np.diff(stamps)))
        at = np.rint((stamps - stamps[0]) / even).astype(np.int64)
    n = int(at[-1]) + 1
    if (np.diff(at) == 0).any() or n > MOST_GROWTH * len(stamps):
        raise InputError(f"{field}/timestamps fit no even grid; resample the traces to one rate.")
    out = np.full((n, values.shape[1]), np.nan, dtype=np.float32)
    out[at] = values
    if n > len(stamps):
        message = f"{n - len(stamps)} samples are missing between the others and were left empty"
        flags.append(Flag("repair", field, message))
    step: Fraction = exact_seconds(float(f"{even:.9g}"), field)
    return Samples(out, step), float(stamps[0])
