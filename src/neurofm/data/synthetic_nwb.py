"""Simulated sessions as NWB 2 files, written with plain h5py (Rübel et al. 2022, eLife 11:e78362).

The same session gives the same bytes, so that ingesting a file written again is a no-op. What was
planted goes into `NAME.nwb.truth.npz` beside the file, never into it.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Events, Recording
from neurofm.data.synthetic import SimulatedSession
from neurofm.data.synthetic_truth import save_truth, truth_path
from neurofm.errors import InputError
from neurofm.files import replacing

VERSION = "2.7.0"
TEXT = h5py.string_dtype()

TRIAL_COLUMNS = {
    "stimulus_s": "onset of the grating, in seconds",
    "contrast_left": "contrast of the grating on the left, 0 to 1",
    "contrast_right": "contrast of the grating on the right, 0 to 1",
    "choice": "-1 left, 1 right",
    "reaction_s": "seconds from the onset of the grating to the response",
    "feedback": "1 reward, -1 error",
    "prior": "probability that the grating is on the left in this block",
}


def write_nwb(session: SimulatedSession, path: Path | str) -> None:
    """Write the recording as an NWB file, and its truth beside it; existing files are replaced.

    Raises InputError if the activity is not spike times, which is what the file holds.
    """
    path = Path(path)
    recording = session.recording
    if not isinstance(recording.activity, Events):
        raise InputError(f"{recording.id}: only spike times can be written to NWB, not samples.")
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        _head(file, recording)
        _electrodes(file, recording)
        _units(file, recording, recording.activity)
        _trials(file, recording)
        _behaviour(file, recording)
    save_truth(session.truth, truth_path(path))


def _typed(
    item: h5py.HLObject, kind: str, namespace: str = "core", **attributes: Any
) -> h5py.HLObject:
    """Mark a group or dataset as an object of NWB; its id follows from the file and its place."""
    item.attrs["neurodata_type"] = kind
    item.attrs["namespace"] = namespace
    place = f"{item.file['session_description'][()]}{item.file['identifier'][()]}{item.name}"
    item.attrs["object_id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, place))
    for name, value in attributes.items():
        item.attrs[name] = value
    return item


def _head(file: h5py.File, recording: Recording) -> None:
    about = recording.provenance
    for name in ("acquisition", "analysis", "stimulus/presentation", "stimulus/templates"):
        file.create_group(name)
    texts = {
        "identifier": recording.id,
        "session_description": f"{about.task} ({about.source})",
        "session_start_time": about.started,
        "timestamps_reference_time": about.started,
        "general/session_id": recording.id,
        "general/lab": about.lab,
        "general/experiment_description": about.task,
        "general/notes": f"licence {about.licence}; consent {about.consent}",
        "general/subject/subject_id": recording.subject,
        "general/subject/species": about.species,
        "general/subject/sex": "U",
        "general/subject/description": f"{about.source}",
    }
    for name, text in texts.items():
        file.create_dataset(name, data=text, dtype=TEXT)
    file.create_dataset("file_create_date", data=[about.started], dtype=TEXT)
    _typed(file, "NWBFile", nwb_version=VERSION)
    _typed(file["general/subject"], "Subject")


def _table(
    group: h5py.Group,
    kind: str,
    description: str,
    columns: Mapping[str, tuple[NDArray[Any], str]],
    namespace: str = "core",
) -> None:
    """A DynamicTable: {column: (values, description)}."""
    order = np.array(list(columns), dtype=object)
    _typed(group, kind, namespace, description=description)
    group.attrs.create("colnames", order, dtype=TEXT)
    n_rows = len(next(iter(columns.values()))[0])
    _typed(group.create_dataset("id", data=np.arange(n_rows)), "ElementIdentifiers", "hdmf-common")
    for name, (values, text) in columns.items():
        _column(group, name, values, text)


def _column(
    group: h5py.Group, name: str, values: NDArray[Any], text: str, kind: str = "VectorData"
) -> h5py.Dataset:
    is_text = values.dtype.kind == "U"
    data = values.astype(object) if is_text else values
    dataset = group.create_dataset(name, data=data, dtype=TEXT if is_text else values.dtype)
    return _typed(dataset, kind, "hdmf-common", description=text)


def _ragged(
    group: h5py.Group,
    name: str,
    values: NDArray[Any],
    lengths: NDArray[np.int64],
    text: str,
    kind: str = "VectorData",
) -> h5py.Dataset:
    """A column whose row i holds `lengths[i]` values, and its index."""
    column = _column(group, name, values, text, kind)
    ends = np.cumsum(lengths)
    unsigned = np.min_scalar_type(int(ends[-1]))
    index = group.create_dataset(f"{name}_index", data=ends.astype(unsigned))
    about = f"Index for VectorData '{name}'"
    _typed(index, "VectorIndex", "hdmf-common", description=about, target=column.ref)
    return column


def _electrodes(file: h5py.File, recording: Recording) -> None:
    """One probe, one group a region and one electrode a unit."""
    probe = _typed(file.create_group("general/devices/probe"), "Device", description="simulated")
    regions = recording.channels.region
    home = file.create_group("general/extracellular_ephys")
    for region in np.unique(regions):
        about = {"description": f"simulated shank in {region}", "location": str(region)}
        shank = _typed(home.create_group(_shank(region)), "ElectrodeGroup", **about)
        shank["device"] = h5py.SoftLink(probe.name)
    names = np.array([_shank(region) for region in regions])
    references = np.array([home[name].ref for name in names], dtype=h5py.ref_dtype)
    columns = {
        "location": (regions, "brain region (Allen acronym)"),
        "group": (references, "the shank"),
        "group_name": (names, "name of the shank"),
    }
    table = home.create_group("electrodes")
    _table(table, "DynamicTable", "one electrode a unit", columns, "hdmf-common")


def _shank(region: str) -> str:
    return f"shank_{region}".replace("/", "_")  # HDF5 would take a slash for a folder


def _units(file: h5py.File, recording: Recording, activity: Events) -> None:
    n_units = len(recording.channels)
    row = np.asarray(activity.row[:]).astype(np.int64)
    order = np.argsort(row, kind="stable")
    seconds = np.asarray(activity.ticks[:])[order] / float(activity.ticks_per_s)
    group = file.create_group("units")
    one = np.ones(n_units, dtype=np.int64)
    ids = recording.channels.id
    _table(
        group, "Units", "simulated units", {"channel_id": (ids, "id that holds across sessions")}
    )
    counts = np.bincount(row, minlength=n_units)
    spikes = _ragged(group, "spike_times", seconds, counts, "spike times, in seconds")
    spikes.attrs["resolution"] = 1 / float(activity.ticks_per_s)
    pieces = np.tile(recording.valid.pairs, (n_units, 1))
    _ragged(group, "obs_intervals", pieces, one * len(recording.valid), "what was recorded")
    region = _ragged(
        group, "electrodes", np.arange(n_units), one, "its electrode", "DynamicTableRegion"
    )
    region.attrs["table"] = file["general/extracellular_ephys/electrodes"].ref
    columns = np.array(["channel_id", "spike_times", "obs_intervals", "electrodes"], dtype=object)
    group.attrs.create("colnames", columns, dtype=TEXT)


def _trials(file: h5py.File, recording: Recording) -> None:
    trials = recording.trials
    columns = {
        "start_time": (trials["start_s"], "start of the trial, in seconds"),
        "stop_time": (trials["stop_s"], "end of the trial, in seconds"),
    }
    columns |= {name: (trials[name], text) for name, text in TRIAL_COLUMNS.items()}
    _table(file.create_group("intervals/trials"), "TimeIntervals", "trials of the task", columns)


def _behaviour(file: h5py.File, recording: Recording) -> None:
    module = _typed(
        file.create_group("processing/behavior"), "ProcessingModule", description="behaviour"
    )
    for name, signal in recording.signals.items():
        series = _typed(module.create_group(name), "TimeSeries", description=name, comments="none")
        data = series.create_dataset("data", data=np.asarray(signal.values[:])[:, 0])
        data.attrs.update({"unit": signal.unit, "conversion": 1.0, "resolution": -1.0})
        start = series.create_dataset("starting_time", data=float(signal.start_s))
        start.attrs.update({"rate": 1 / signal.step_s, "unit": "seconds"})
