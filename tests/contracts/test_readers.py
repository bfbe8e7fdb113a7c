"""What every reader must do, whatever its format."""

import importlib.util
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import h5py
import numpy as np
import pytest

from neurofm.data import readers
from neurofm.data.export import write_torch_brain
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.recording import Events, Recording
from neurofm.data.store import create_store
from neurofm.data.synthetic_edf import write_edf
from neurofm.errors import InputError, NeurofmError
from neurofm.files import joint_sha256, sha256


def write_nwb(path):
    """A minimal NWB file by hand: two units, a trials table and a series."""
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        file.attrs["neurodata_type"] = "NWBFile"
        file.create_dataset("identifier", data="s1", dtype=text)
        file.create_dataset("general/subject/subject_id", data="m1", dtype=text)
        units = file.create_group("units")
        units["id"], units["spike_times_index"] = np.arange(2), np.array([300, 500])
        rng = np.random.default_rng(0)
        times = [np.sort(rng.uniform(0, 30, n)) for n in (300, 200)]
        units["spike_times"] = np.concatenate(times)
        trials = file.create_group("intervals/trials")
        trials["id"] = np.arange(3)
        trials["start_time"], trials["stop_time"] = np.arange(3.0), np.arange(3.0) + 0.5
        speed = file.create_group("processing/behavior/speed")
        speed.attrs["neurodata_type"] = "TimeSeries"
        speed["data"] = np.arange(300.0)
        speed["starting_time"] = 0.0
        speed["starting_time"].attrs["rate"] = 10.0


def a_recording():
    counts = np.random.default_rng(0).poisson(1, (600, 2)).astype(np.uint8)
    return Recording.from_arrays("s1", counts=counts, bin_s=0.05, subject="m1",
                                 signals={"speed": np.ones((600, 1), np.float32)})  # fmt: skip


def write_eeg(path):
    values = np.random.default_rng(0).normal(0, 20, (3000, 3))
    labels, units = ["EEG Fz", "EEG Cz", "speed"], ["uV", "uV", "cm/s"]
    write_edf(path, values, 100, labels, units=units, subject="m1")


def write_bids(path):
    """One recording in a BIDS folder, with the sidecars that BIDS asks for."""
    root, home = path.parents[2], path.parent
    home.mkdir(parents=True)
    text = {"Name": "tiny", "BIDSVersion": "1.9.0"}
    (root / "dataset_description.json").write_text(json.dumps(text))
    (root / "participants.tsv").write_text("participant_id\tage\nsub-m1\t30\n")
    write_eeg(path)
    stem = path.name.removesuffix("_eeg.edf")
    (home / f"{stem}_eeg.json").write_text(json.dumps({"TaskName": "s1", "EEGReference": "Cz"}))
    rows = ["name\ttype\tunits\tstatus", "Fz\tEEG\tuV\tgood", "Cz\tEEG\tuV\tbad"]
    rows += ["speed\tMISC\tcm/s\tgood"]
    (home / f"{stem}_channels.tsv").write_text("\n".join(rows) + "\n")
    events = "onset\tduration\ttrial_type\n2.0\t0.5\tgo\n1.0\t0.5\tstop\n"
    (home / f"{stem}_events.tsv").write_text(events)


def write_pose(path):
    """DeepLabCut's CSV of one body part, 30 s at 10 Hz."""
    rows = ["scorer,net,net,net", "bodyparts,nose,nose,nose", "coords,x,y,likelihood"]
    rows += [f"{i},{i * 0.5},{100 - i * 0.1},0.9" for i in range(300)]
    path.write_text("\n".join(rows) + "\n")


@dataclass(frozen=True)
class Made:
    """A tiny file of a format, and what its one recording must say."""

    name: str
    write: Any
    id: str = "s1"
    subject: str = "m1"
    signal: str = "speed"
    options: dict[str, Any] = field(default_factory=dict)
    needs: str = "numpy"


WRITERS = {
    "arrays": Made("a.npz", lambda path: write_arrays(a_recording(), path)),
    "nwb": Made("a.nwb", write_nwb),
    "torch_brain": Made("a.h5", lambda path: write_torch_brain(a_recording(), path)),
    "eeg": Made("s1.edf", write_eeg, needs="mne"),
    "bids": Made("root/sub-m1/eeg/sub-m1_task-s1_eeg.edf", write_bids, "tiny/sub-m1_task-s1_eeg",
                 "tiny/m1", needs="mne_bids"),
    "pose": Made("s1.csv", write_pose, subject="", signal="likelihood", options={"frame_hz": 10}),
}  # fmt: skip


def written(kind, folder):
    """The path of a good file of a format; skips where the package that reads it is absent."""
    made = WRITERS[kind]
    if importlib.util.find_spec(made.needs) is None:
        pytest.skip(f"{made.needs} is not installed")
    path = folder / made.name
    made.write(path)
    return path


def test_every_reader_is_under_contract():
    assert set(WRITERS) == set(readers.READERS)


@pytest.fixture(params=sorted(readers.READERS))
def made(request, tmp_path):
    """(reader with its options, path of a good file)."""
    path = written(request.param, tmp_path)
    return partial(readers.READERS[request.param], **WRITERS[request.param].options), path


def said_of(path):
    """What is expected of the recording in a good file."""
    return next(one for one in WRITERS.values() if path.as_posix().endswith(f"/{one.name}"))


def test_it_is_found_by_content(made):
    reader, path = made
    assert readers.reader_for(path) is reader.func


def test_it_yields_recordings_with_their_source(made):
    reader, path = made
    (recording,) = reader(path)
    assert isinstance(recording, Recording)
    said = said_of(path)
    assert (recording.id, recording.subject, len(recording.channels)) == (said.id, said.subject, 2)
    assert recording.provenance.source == path.name
    digests = [sha256(one) for one in (path, *readers.parts(path))]
    assert recording.provenance.source_sha256 == joint_sha256(digests)
    assert recording.provenance.source_sha256 == readers.digest_of(path)
    assert recording.span == (0.0, 30.0)
    assert said.signal in recording.signals
    if isinstance(recording.activity, Events):
        assert (np.diff(recording.activity.ticks) >= 0).all()
        assert len(recording.activity.ticks) == 500
    else:
        kind = "count" if path.suffix in (".npz", ".h5") else "real"
        assert (recording.channels.kind == kind).all()


def test_it_leaves_the_file_alone_and_reads_it_twice_alike(made, tmp_path):
    reader, path = made
    before = sha256(path)
    store = create_store(tmp_path / "store")
    assert [store.write(r) for r in reader(path)] == [True]
    assert [store.write(r) for r in reader(path)] == [False]
    assert sha256(path) == before


def test_the_recording_outlives_the_file(made):
    reader, path = made
    (recording,) = reader(path)
    path.unlink()
    activity = recording.activity
    assert len(getattr(activity, "ticks", getattr(activity, "values", []))[:])


def test_what_is_missing_or_empty_is_refused_by_name(made, tmp_path):
    reader, path = made
    for bad in (tmp_path / f"absent{path.suffix}", tmp_path / f"empty{path.suffix}"):
        with pytest.raises(InputError, match=bad.name):
            list(reader(bad))
        bad.touch()


def outcome(reader, path):
    """The refusal's sentence, or None if the file was read."""
    try:
        list(reader(path))
    except NeurofmError as error:
        return str(error)
    return None


def test_torn_files_are_refused_by_name(made, tmp_path):
    reader, path = made
    content = path.read_bytes()
    bad = tmp_path / f"bad{path.suffix}"
    for tenth in range(10):
        bad.write_bytes(content[: len(content) * tenth // 10])
        assert bad.name in (outcome(reader, bad) or "")


def test_scribbled_arrays_are_read_or_refused_never_a_crash(tmp_path):
    content = written("arrays", tmp_path).read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        broken = bytearray(content)
        for at in rng.integers(0, len(content), 20):
            broken[at] = rng.integers(256)
        (tmp_path / "bad.npz").write_bytes(broken)
        sentence = outcome(readers.READERS["arrays"], tmp_path / "bad.npz")
        refused += sentence is not None
        assert sentence is None or "bad.npz" in sentence
    assert refused > 30


def remove(file, name):
    del file[name]


def replace_by(value):
    def change(file, name):
        del file[name]
        file[name] = value

    return change


def point_elsewhere(file, name):
    del file[name]
    file[name] = h5py.ExternalLink("/etc/passwd", "/x")


def shorten(file, name):
    if isinstance(file[name], h5py.Dataset) and file[name].ndim:
        replace_by(file[name][:-1])(file, name)


def strip_attributes(file, name):
    for key in list(file[name].attrs):
        del file[name].attrs[key]


CHANGES = {
    "remove": remove,
    "text": replace_by("text"),
    "nothing": replace_by(np.empty(0)),
    "nan": replace_by(np.full(500, np.nan)),
    "negative": replace_by(np.full(500, -(10**15))),
    "matrix": replace_by(np.ones((2, 2, 2))),
    "external": point_elsewhere,
    "shorten": shorten,
    "strip attributes": strip_attributes,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["nwb", "torch_brain"])
def test_any_member_may_be_wrong(kind, change, tmp_path):
    """Each member of the file in turn: a recording, or a sentence that was meant for the case."""
    path = written(kind, tmp_path)
    content = path.read_bytes()
    members: list[str] = []
    with h5py.File(path) as file:
        file.visit(members.append)
    bad = tmp_path / f"bad{path.suffix}"
    for member in members:
        bad.write_bytes(content)
        with h5py.File(bad, "a") as file:
            CHANGES[change](file, member)
        sentence = outcome(readers.READERS[kind], bad)
        if sentence is not None:
            where = f"{member}: {sentence}"
            assert sentence.startswith(str(bad)), where
            assert "not a readable HDF5 file" not in sentence, where
