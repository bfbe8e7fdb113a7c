import shutil

import h5py
import numpy as np
import pytest

from neurofm.data.children import answers
from neurofm.data.ingest import ALREADY, REFUSED, WRITTEN, find, ingest
from neurofm.data.quality import QualityConfig
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.reading import read_into
from neurofm.data.store import open_store
from neurofm.errors import InputError, StoreError


@pytest.fixture
def folder(tmp_path, samples_of):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    write_arrays(samples_of("a", seed=1), tmp_path / "in" / "a.npz")
    write_arrays(samples_of("b", seed=2), tmp_path / "in" / "deep" / "b.npz")
    (tmp_path / "in" / "notes.txt").write_text("not a recording")
    return tmp_path / "in"


def test_one_bad_file_stops_no_other(folder, tmp_path):
    (folder / "aa.npz").write_bytes(b"PK\x03\x04 torn")
    said = []
    report = ingest([folder], tmp_path / "s", say=said.append)
    assert [o.status for o in report.outcomes] == [WRITTEN, REFUSED, WRITTEN]
    assert str(folder / "aa.npz") in report.refused[0].sentence
    assert report.exit_code == 2
    assert len(said) == 3
    assert open_store(tmp_path / "s").ids() == ("a", "b")


def test_a_reader_that_breaks_is_reported_with_the_file(folder, tmp_path, monkeypatch):
    def broken(path, **_):
        raise ZeroDivisionError("deep inside")
        yield

    monkeypatch.setattr("neurofm.data.reading.reader_for", lambda path: broken)
    answer = read_into(folder / "a.npz", tmp_path / "staged", QualityConfig(), lambda digest: True)
    assert "a.npz could not be read (ZeroDivisionError: deep inside)" in answer["sentence"]


def test_the_same_files_again_change_nothing(folder, tmp_path):
    ingest([folder], tmp_path / "s")
    before = open_store(tmp_path / "s").fingerprint()
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "s").rglob("*.npy")}
    report = ingest([folder, folder / "a.npz"], tmp_path / "s")
    assert [(o.status, o.id) for o in report.outcomes] == [(ALREADY, "a"), (ALREADY, "b")]
    assert report.exit_code == 0
    assert open_store(tmp_path / "s").fingerprint() == before
    assert {p: p.stat().st_mtime_ns for p in times} == times


def test_a_known_file_is_not_read_again(folder, tmp_path, monkeypatch):
    asked = []

    def spy(requests, n_jobs, wanted):
        return answers(requests, n_jobs, lambda digest: asked.append(wanted(digest)) or asked[-1])

    monkeypatch.setattr("neurofm.data.children.answers", spy)
    ingest([folder], tmp_path / "s")
    assert {o.status for o in ingest([folder], tmp_path / "s").outcomes} == {ALREADY}
    assert asked == [True, True, False, False]

    def reads(path):
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr("neurofm.data.reading.reader_for", lambda path: reads)
    answer = read_into(folder / "a.npz", tmp_path / "t", QualityConfig(), lambda digest: False)
    assert answer["n_recordings"] == 0


def test_a_moved_file_is_still_the_same(folder, tmp_path):
    ingest([folder], tmp_path / "s")
    shutil.copy(folder / "a.npz", tmp_path / "elsewhere.npz")
    report = ingest([tmp_path / "elsewhere.npz"], tmp_path / "s")
    assert report.outcomes[0].status == ALREADY


def test_an_id_with_other_content_is_refused(folder, tmp_path, samples_of):
    write_arrays(samples_of("a", seed=3), tmp_path / "other.npz")
    report = ingest([folder, tmp_path / "other.npz"], tmp_path / "s")
    assert report.outcomes[-1].status == REFUSED
    assert "a is in" in report.refused[0].sentence
    assert "(from a.npz)" in report.refused[0].sentence


def test_other_settings_that_change_nothing_are_already_there(folder, tmp_path):
    ingest([folder], tmp_path / "s")
    report = ingest([folder], tmp_path / "s", QualityConfig(window_s=1.0))
    assert {o.status for o in report.outcomes} == {ALREADY}


@pytest.mark.parametrize("choice", ["flag", "refuse"])
def test_the_same_activity_under_another_id(choice, tmp_path, samples_of):
    write_arrays(samples_of("first"), tmp_path / "1.npz")
    write_arrays(samples_of("second"), tmp_path / "2.npz")
    report = ingest([tmp_path / "1.npz", tmp_path / "2.npz"], tmp_path / "s",
                    QualityConfig(duplicated_content=choice))  # fmt: skip
    second = report.outcomes[1]
    if choice == "refuse":
        assert "the same as that of first" in second.sentence
    else:
        assert any("the same as that of first" in flag.message for flag in second.flags)
        flags = open_store(tmp_path / "s").flags("second")
        assert any("would leak" in flag.message for flag in flags)


def test_what_is_no_recording_is_refused_clearly(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    report = ingest([tmp_path / "notes.txt", tmp_path / "absent.nwb"], tmp_path / "s")
    assert "notes.txt is of no known format" in report.outcomes[0].sentence
    assert "absent.nwb does not exist" in report.outcomes[1].sentence
    with pytest.raises(InputError, match="no file was given"):
        ingest([], tmp_path / "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file that ends in"):
        ingest([tmp_path / "empty"], tmp_path / "s")


def test_a_store_is_never_made_over_other_files(folder):
    with pytest.raises(StoreError, match="not a store"):
        ingest([folder / "a.npz"], folder)


def test_hidden_files_are_passed_over(folder):
    shutil.copy(folder / "a.npz", folder / "._a.npz")
    assert [path.name for path in find([folder])] == ["a.npz", "b.npz"]


REAL = {
    "m1-wrist": 8, "v1-steinmetz": 3, "ca1-sheintuch": 8, "worm-dag2023": 4,
    "hippocampus-nelpy": 1, "nwb": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_real_recordings(name, shared_data, tmp_path):
    if not (shared_data / name).is_dir():
        pytest.skip(f"no {name} in {shared_data}")
    report = ingest([shared_data / name], tmp_path / "s")
    assert [o.status for o in report.outcomes] == [WRITTEN] * REAL[name]
    store = open_store(tmp_path / "s")
    store.verify()
    for recording in store.recordings():
        assert recording.valid.total_s > 50
        assert len(recording.channels) >= 1
        first = np.asarray(getattr(recording.activity, "ticks", [0])[:])
        assert first.min() >= 0


def test_the_quirks_of_real_files_are_said(shared_data, tmp_path):
    if not (shared_data / "nwb").is_dir():
        pytest.skip(f"no nwb in {shared_data}")
    report = ingest([shared_data / "nwb"], tmp_path / "s")
    text = {o.id: " ".join(flag.text for flag in o.flags) for o in report.outcomes}
    assert "1 absurd times (-1.5429e+09 s) were dropped" in text["TWH103_CBID4"]
    assert "there is no trials table, but there are encoding_table" in text["TWH103_CBID4"]
    for name in ("anm369963_2017-02-28_2", "anm372793_2017-05-08_2"):
        assert "one channel only" in text[name]
        assert "rows have no stop" in text[name]


def test_foreign_arrays_and_hdf5_are_refused(shared_data, tmp_path):
    if not (shared_data / "eeg-eegmat").is_dir():
        pytest.skip(f"no eeg-eegmat in {shared_data}")
    poses = shared_data / "pose-openfield"
    report = ingest([shared_data / "eeg-eegmat" / "eegmat_125hz.npz", poses], tmp_path / "s")
    assert {o.status for o in report.outcomes} == {REFUSED}
    sentences = [o.sentence for o in report.outcomes]
    assert "an array recording needs bin_s and counts or traces" in sentences[0]
    assert any("poses, which have no clock" in s for s in sentences)
    h5py.File(tmp_path / "x.h5", "w").close()
    [outcome] = ingest([tmp_path / "x.h5"], tmp_path / "s").outcomes
    assert "HDF5, but neither NWB, torch_brain nor poses" in outcome.sentence
