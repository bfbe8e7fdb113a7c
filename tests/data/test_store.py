import json
import multiprocessing
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurofm.data import binning
from neurofm.data.column import Column
from neurofm.data.quality import Flag
from neurofm.data.recording import Table
from neurofm.data.store import create_store, open_store
from neurofm.errors import InputError, StoreError


@pytest.fixture
def store(tmp_path):
    return create_store(tmp_path / "store")


def test_a_recording_comes_back_whole_and_lazy(store, events_of, samples_of, same):
    for recording in (events_of(), samples_of("w1"), samples_of("w2", "traces")):
        assert store.write(recording)
        same(store.open(recording.id), recording)
    assert isinstance(store.open("w1").activity.values, Column)
    stored = store.open("mouse/1: a")
    assert isinstance(stored.activity.ticks, Column)
    assert isinstance(stored.signals["wheel"].values, Column)
    assert store.ids() == ("mouse/1: a", "w1", "w2")
    assert [r.id for r in store.recordings()] == list(store.ids())


def test_the_manifest_says_what_the_issue_asks(store, events_of):
    store.write(events_of(), [Flag("warning", "trials", "late")], {"a": 1})
    tree = store.manifest("mouse/1: a")
    assert tree["schema"] == 1
    assert tree["columns"]["activity.ticks.npy"]["unit"] == "ticks"
    assert len(tree["columns"]["activity.ticks.npy"]["sha256"]) == 64
    assert tree["channels"]["regions"] == {"CA1": 2, "M1": 1, "V1": 2}
    told = tree["provenance"]
    assert (told["source"], told["species"], told["licence"]) == ("a.nwb", "Mus musculus", "CC0")
    assert store.flags("mouse/1: a") == [Flag("warning", "trials", "late")]


def test_the_same_again_is_a_no_op_and_other_content_is_refused(store, events_of):
    assert store.write(events_of())
    before = store.fingerprint()
    assert not store.write(events_of())
    assert store.fingerprint() == before
    with pytest.raises(InputError, match="with other content"):
        store.write(events_of(seed=1))
    assert store.fingerprint() == before


def test_the_fingerprint_depends_on_every_column(store, events_of, tmp_path):
    store.write(events_of())
    other = create_store(tmp_path / "other")
    changed = events_of()
    changed.signals["wheel"].values[7, 1] += 1
    other.write(changed)
    assert other.fingerprint() != store.fingerprint()


@pytest.mark.parametrize(
    "name", ["../../out", "/etc/x", "a" * 300, "Zürich 1", ".hidden", "", "a\n"]
)
def test_an_id_never_becomes_an_unsafe_path(store, events_of, name):
    store.write(replace(events_of(), id=name))
    homes = list(store.sessions.iterdir())
    assert len(homes) == 1
    assert homes[0].resolve().parent == store.sessions.resolve()
    assert store.ids() == (name,)
    assert store.open(name).id == name


def test_ids_that_look_alike_stay_apart(store, events_of):
    for name in ("a b", "a-b", "a/b", "A b"):
        store.write(replace(events_of(), id=name))
    assert store.ids() == ("A b", "a b", "a-b", "a/b")


@pytest.mark.parametrize("name", ["activity.ticks.npy", "channels.region.npy", "valid.npy"])
def test_verify_names_a_changed_column(store, events_of, name):
    store.write(events_of())
    store.verify()
    (path,) = store.sessions.glob(f"*/{name}")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match=f"{name}: this column .* was changed .* ingest it again"):
        store.verify()


def test_a_missing_or_short_column_is_named(store, events_of):
    store.write(events_of())
    (path,) = store.sessions.glob("*/activity.row.npy")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(StoreError, match=r"activity\.row\.npy is truncated"):
        store.open("mouse/1: a")
    path.unlink()
    with pytest.raises(StoreError, match=r"activity\.row\.npy"):
        store.open("mouse/1: a")
    with pytest.raises(StoreError, match="is missing"):
        store.verify()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "x"}'])
def test_a_damaged_manifest_is_named(store, events_of, text):
    store.write(events_of())
    (path,) = store.sessions.glob("*/manifest.json")
    path.write_text(text)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        store.ids()


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is not a store"):
        open_store(tmp_path)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="choose another folder"):
        create_store(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_a_later_schema_is_refused(store):
    (store.folder / "store.json").write_text(json.dumps({"schema": 2}))
    with pytest.raises(StoreError, match="schema 2"):
        open_store(store.folder)


def test_an_unknown_id_gets_the_nearest(store, samples_of):
    store.write(samples_of("session-1"))
    with pytest.raises(StoreError, match="did you mean session-1"):
        store.open("sesion-1")


def test_objects_are_not_stored(store, events_of):
    trials = Table({"start_s": np.zeros(1), "stop_s": np.ones(1), "x": np.array([{}], object)})
    with pytest.raises(InputError, match=r"mouse/1: a: trials\.02\.x holds object"):
        store.write(replace(events_of(), trials=trials))
    assert store.ids() == ()


def test_empty_tables_and_no_events_can_be_stored(store, events_of, same):
    recording = events_of()
    activity = type(recording.activity).of(
        np.empty(0, np.int64), np.empty(0, np.uint16), recording.activity.ticks_per_s
    )
    empty = Table({"start_s": np.empty(0), "stop_s": np.empty(0), "name": np.empty(0, "U1")})
    quiet = replace(recording, activity=activity, trials=empty)
    store.write(quiet)
    same(store.open(quiet.id), quiet)
    assert binning.activity(store.open(quiet.id), 0, 50, 0.02).sum() == 0


def test_workers_under_spawn_read_it(store, events_of):
    store.write(events_of())
    stored = store.open("mouse/1: a")
    stored.activity.ticks[:1]  # an open handle must not travel
    here = binning.activity(stored, 100, 150, 0.02)
    assert here.sum() > 0
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(binning.activity, (stored, 100, 150, 0.02))
        assert pool.apply(store.ids) == store.ids()
    np.testing.assert_array_equal(here, there)


KILLED = """
import os, sys
import numpy as np
from pathlib import Path
from neurofm.data import store as module
from neurofm.data.recording import Recording
from neurofm.data.store import create_store
store = create_store(Path(sys.argv[1]))
put, calls = module.files.put, []
def dies(*args):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
    put(*args)
module.files.put = dies
with store.writing():
    store.write(Recording.from_arrays("x", counts=np.ones((9, 2), np.uint8), bin_s=0.1))
"""


def test_a_killed_ingest_leaves_no_half_session(tmp_path):
    folder = tmp_path / "store"
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder)], env=os.environ, check=False)
    assert done.returncode == -9
    store = open_store(folder)
    assert len(list(store.sessions.iterdir())) == 1  # the leftover
    assert store.ids() == ()
    store.verify()
    with store.writing():
        assert list(store.sessions.iterdir()) == []


def test_one_ingest_at_a_time(store):
    with store.writing(), pytest.raises(StoreError, match="another ingest"), store.writing():
        pass
    with store.writing():
        assert Path(store.folder, ".lock").exists()
