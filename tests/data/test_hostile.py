"""Files that were made to do harm, one of each kind that the fuzzing found; `benchmarks/fuzz.py` has thousands."""

import json
import os
import zipfile
from dataclasses import replace

import h5py
import numpy as np
import pytest

from neurofm.data import children, hdf5, splits
from neurofm.data.children import Child, Request
from neurofm.data.export import write_torch_brain
from neurofm.data.ingest import REFUSED, WRITTEN, ingest
from neurofm.data.manifest import sealed
from neurofm.data.quality import DEFAULT
from neurofm.data.readers import arrays, nwb, torch_brain
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.store import create_store
from neurofm.errors import InputError, StoreError


def units(path, **columns):
    """An NWB file of two units; `columns` replace members of `units`."""
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.7.0"
        file["units/id"], file["units/spike_times_index"] = np.arange(2), np.array([3, 5])
        file["units/spike_times"] = np.arange(5.0)
        speed = file.create_group("processing/behavior/speed")
        speed["data"], speed["timestamps"] = np.arange(9.0), np.arange(9.0)
        for name, value in columns.items():
            if name in file["units"]:
                del file["units"][name]
            file["units"][name] = value
    return path


def change(path, name, value):
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        file[name] = value


@pytest.fixture
def spikes(tmp_path, events_of):
    """A torch_brain file of spikes."""
    write_torch_brain(events_of("mouse"), tmp_path / "a.h5")
    return tmp_path / "a.h5"


@pytest.fixture
def binned(tmp_path, samples_of):
    """(path, arrays) of an array recording."""
    write_arrays(samples_of(), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        return tmp_path / "a.npz", dict(file)


def test_a_link_to_a_link_into_another_file_is_not_followed(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["s/data"], file["s/timestamps"] = np.full(9, 42.0), np.arange(9.0)
    path = units(tmp_path / "a.nwb")
    change(path, "door", h5py.ExternalLink(str(tmp_path / "secret.h5"), "/"))
    change(path, "processing/behavior/stolen", h5py.SoftLink("/door/s"))
    (recording,) = nwb.read(path)
    assert set(recording.signals) == {"speed"}


def test_links_that_lead_in_circles_are_walked_once(tmp_path):
    path = units(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        for i in range(3):
            file[f"processing/loop{i}"] = file["processing"]
            file[f"processing/{i}"] = h5py.SoftLink(f"/processing/{(i + 1) % 3}")
    (recording,) = nwb.read(path)
    assert [name.split(".")[-1] for name in recording.signals] == ["speed"]


def test_what_is_claimed_and_not_stored_is_refused_before_it_is_read(tmp_path):
    path = units(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        file.create_dataset("units/spike_times", (1 << 22,), "f8", chunks=(1 << 16,))
    with pytest.raises(InputError, match="claims 33,554,432 bytes and stores 0"):
        list(nwb.read(path))
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        file.create_dataset("units/spike_times", (1 << 21,), "u1", chunks=(1,))
    with pytest.raises(InputError, match="cut into 2,097,152 chunks"):
        list(nwb.read(path))


def test_a_filter_that_is_not_there_is_named(tmp_path):
    path = units(tmp_path / "a.nwb")
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((5,))
        plist.set_filter(40_000, h5py.h5z.FLAG_OPTIONAL)
        kind, space = h5py.h5t.NATIVE_DOUBLE, h5py.h5s.create_simple((5,))
        h5py.h5d.create(file.id, b"units/spike_times", kind, space, plist).write_direct_chunk(
            (0,), b"?" * 40
        )
    with pytest.raises(InputError, match="needs HDF5 filter 40000, which is not installed"):
        list(nwb.read(path))


def test_one_long_text_does_not_make_a_column_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "TEXT_BYTES", 10_000)
    path = units(tmp_path / "a.nwb", label=np.array(["good", "x" * 5000], object))
    with pytest.raises(InputError, match="units/label holds a text of 5,000 characters"):
        list(nwb.read(path))


def test_a_description_of_a_million_numbers_is_cut(tmp_path):
    path = units(tmp_path / "a.nwb")
    change(path, "general/lab", np.arange(5000))
    (recording,) = nwb.read(path)
    assert recording.provenance.lab.endswith("; 998; 999; ...")


@pytest.mark.parametrize("where", ["general/subject/subject_id", "identifier"])
def test_a_name_has_an_end(tmp_path, where):
    path = units(tmp_path / "a.nwb")
    change(path, where, "x" * 5000)
    with pytest.raises(InputError, match="5,000 characters; 4096 are the most"):
        list(nwb.read(path))


@pytest.mark.parametrize(
    "text", ["1/0", "1e999999999", "-1", "nan", "9" * 5000, "1e30", "1/" + "9" * 29]
)
def test_a_clock_that_is_no_clock_is_refused(spikes, text):
    with h5py.File(spikes, "a") as file:
        file["spikes"].attrs["neurofm_ticks_per_s"] = text
    with pytest.raises(InputError, match=r"neurofm_ticks_per_s is .*it must be a fraction"):
        list(torch_brain.read(spikes))


@pytest.mark.parametrize("span", [[0.0, np.nan], [5.0, 1.0], [0.0, 1e300], [1.0, 2.0, 3.0]])
def test_a_span_that_is_none_is_refused(spikes, span):
    with h5py.File(spikes, "a") as file:
        file["neurofm"].attrs["span_s"] = np.array(span)
    with pytest.raises(InputError, match=r"span_s is .*it must be"):
        list(torch_brain.read(spikes))


def test_a_spike_after_the_end_is_refused(spikes):
    with h5py.File(spikes, "a") as file:
        file["spikes/timestamps"][-1] = 500.0
    with pytest.raises(InputError, match="span_s ends at 30 s and the file holds 500 s"):
        list(torch_brain.read(spikes))


def test_a_node_and_a_rate_that_are_none(spikes):
    with h5py.File(spikes, "a") as file:
        file["wheel"].attrs["neurofm_node"] = "<b>"
    (recording,) = torch_brain.read(spikes)
    assert recording.signals["wheel"].node == "behaviour"
    with h5py.File(spikes, "a") as file:
        file["wheel"].attrs["sampling_rate"] = 1e-320
        del file["wheel"].attrs["neurofm_step_s"]
    with pytest.raises(InputError, match="sampling_rate is 1e-320"):
        list(torch_brain.read(spikes))


def test_numbers_of_other_machines_are_those_of_this_one(tmp_path, binned):
    path, members = binned
    del members["counts"]
    np.savez(
        path, **members, traces=np.ones((400, 4), ">f4"), signal_wide=np.ones(400, np.longdouble)
    )
    (recording,) = arrays.read(path)
    store = create_store(tmp_path / "s")
    store.write(recording)
    assert store.open("worm").activity.values.dtype == np.dtype("<f4")
    assert store.open("worm").signals["wide"].values.dtype.itemsize <= 8


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        ({"meta": np.array('{"a":' * 99_999 + "1" + "}" * 99_999)}, "meta must be one string"),
        ({"meta": np.array('{"id": "\\ud800"}')}, "no valid Unicode"),
        ({"channel_id": np.frombuffer(b"\xff\xff\xff\x7f" * 4, "<U1")}, "channel_id holds text that is no valid"),
        ({"channel_id": np.zeros(4, [("a", "f8")])}, "channel_id holds records"),
        ({f"x{i}": np.zeros(1) for i in range(4097)}, "more than 4,096 arrays"),
    ],
    ids=["deep", "half a pair", "beyond Unicode", "records", "crowd"],
)  # fmt: skip
def test_arrays_that_would_break_later(binned, array, sentence):
    path, members = binned
    np.savez(path, **members | array)
    with pytest.raises(InputError, match=sentence):
        list(arrays.read(path))


def test_what_a_file_says_of_itself_is_text(binned, tmp_path):
    path, members = binned
    np.savez(path, **members | {"meta": np.array('{"id": "a", "species": "\\udc80"}')})
    report = ingest([path], tmp_path / "s")
    assert "a: what it says of itself is no valid Unicode" in report.refused[0].sentence


def test_bytes_that_are_no_ascii_are_text(binned):
    path, members = binned
    np.savez(path, **members | {"channel_id": np.array([b"a\xff", b"b", b"c", b"d"])})
    (recording,) = arrays.read(path)
    assert recording.channels.id.tolist() == ["a\ufffd", "b", "c", "d"]


def test_names_of_members_are_no_paths(tmp_path, binned):
    path, _ = binned
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("../../signal_x.npy", file.read("bin_s.npy"))
        file.writestr("/tmp/signal_x.npy", file.read("bin_s.npy"))
    before = sorted(tmp_path.parent.iterdir())
    (recording,) = arrays.read(path)
    assert any("../../signal_x" in note for note in recording.provenance.notes)
    assert sorted(tmp_path.parent.iterdir()) == before


@pytest.fixture
def home(tmp_path, samples_of):
    """The folder of the one session of a store."""
    store = create_store(tmp_path / "s")
    store.write(samples_of("w"))
    return next(store.sessions.iterdir())


def store_of(home):
    return create_store(home.parents[1])


@pytest.mark.parametrize(
    "file", ["../../outside.npy", "/dev/zero", "..", "", "a/../valid.npy", "\ud800"]
)
def test_a_manifest_names_no_file_elsewhere(home, file):
    np.save(home.parents[1] / "outside.npy", np.zeros((400, 4), np.uint8))
    tree = json.loads((home / "manifest.json").read_text())
    tree["columns"][file] = tree["columns"].pop("activity.values.npy")
    tree["activity"]["values"] = file
    (home / "manifest.json").write_text(json.dumps(sealed(tree)))  # whoever forges can hash
    with pytest.raises(StoreError, match="no plain name of a file"):
        store_of(home).open("w")
    with pytest.raises(StoreError, match="outside its folder"):
        store_of(home).verify()


@pytest.mark.parametrize(
    ("key", "value"),
    [("span_s", []), ("span_s", 10**400), ("activity", {"type": "samples", "values": "activity.values.npy", "step_s": "1/0"}),
     ("channels", []), ("valid", 3), ("signals", [[]]), ("flags", [1]), ("id", []), ("provenance", None), ("columns", {"x": 1})],
)  # fmt: skip
def test_a_manifest_may_be_wrong_anywhere(home, key, value):
    tree = json.loads((home / "manifest.json").read_text()) | {key: value}
    (home / "manifest.json").write_text(json.dumps(sealed(tree)))
    with pytest.raises(StoreError, match="manifest"):
        store_of(home).open("w")


def test_a_session_in_another_folder_is_named(home):
    home.rename(home.with_name("x-0123456789ab"))
    with pytest.raises(StoreError, match="holds the manifest of 'w', which belongs into another"):
        store_of(home).ids()


def test_a_column_that_is_a_pipe_does_not_block(home):
    (home / "activity.values.npy").unlink()
    os.mkfifo(home / "activity.values.npy")
    with pytest.raises(StoreError, match="it is missing or is no file"):
        store_of(home).open("w")


@pytest.mark.parametrize(
    ("field", "value"),
    [("whole", "sesion"), ("gap_s", 10**400), ("gap_s", float("nan")), ("gap_s", -1)],
)
def test_splits_that_could_not_be_proven_are_refused(tmp_path, samples_of, field, value):
    path = tmp_path / "splits.json"
    splits.split_by_time([samples_of()]).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(InputError, match=f"field {field} is"):
        splits.load(path)


def test_a_file_that_needs_more_memory_than_it_may_take(tmp_path, samples_of):
    write_arrays(samples_of("a"), tmp_path / "a.npz")
    np.savez_compressed(tmp_path / "big.npz", traces=np.zeros((1 << 22, 8), np.float32), bin_s=0.01)
    report = ingest(
        [tmp_path / "big.npz", tmp_path / "a.npz"], tmp_path / "s", memory_gb=0.2, n_jobs=1
    )
    assert [one.status for one in report.outcomes] == [REFUSED, WRITTEN]
    assert "big.npz needs more memory than it may take" in report.refused[0].sentence
    assert "--memory-gb" in report.refused[0].sentence
    with pytest.raises(InputError, match="--memory-gb must be above 0"):
        ingest([tmp_path], tmp_path / "s", memory_gb=0)


def test_where_the_kernel_keeps_no_limit_the_parent_looks(tmp_path, monkeypatch):
    """A real process that hangs, told of a large limit, and held by its parent to a small one."""
    monkeypatch.setattr(children, "WATCHED", True)
    with h5py.File(tmp_path / "a.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.0.0"
        for i in range(40):
            file.create_dataset(f"intervals/t/{i or 'start_time'}", (1 << 20,), "f8", chunks=(1,))
    child = Child()
    try:
        request = Request(
            tmp_path / "a.nwb", tmp_path / "out", 60.0, 1e12, DEFAULT.model_dump(mode="json")
        )
        child.ask(0, request)
        while not children.resident_bytes(child.process.pid) > 20 << 20:
            pass
        child.request = replace(request, memory_bytes=-children.PYTHON_BYTES + 1.0)
        answers = []
        while not answers:
            answers = children._heard([child], lambda _: True)
    finally:
        child.end()
    assert "a.nwb needs more memory than it may take" in answers[0][1]["sentence"]
    assert children.resident_bytes(child.process.pid) == 0


def test_the_default_memory_limit_is_of_this_machine():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0.5 * pages < children.memory_bytes() < pages
