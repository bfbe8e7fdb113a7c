"""BIDS folders: ids, trials, participants, bad channels, positions, and what is refused."""

import json

import numpy as np
import pytest

from neurofm.data.ingest import ingest
from neurofm.data.readers import format_of, parts, reader_for
from neurofm.data.store import open_store
from neurofm.data.synthetic_edf import write_edf
from neurofm.errors import InputError

pytest.importorskip("mne_bids", reason="mne-bids is not installed")


def write_file(home, stem, kind="eeg", labels=("EEG Fz", "EEG Cz", "EMG lip")):
    home.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(stem) + int(stem[-1] == "2")).normal(
        0, 20, (400, len(labels))
    )
    write_edf(home / f"{stem}_{kind}.edf", values, 100, labels)
    names = [label.partition(" ")[2] for label in labels]
    rows = ["name\ttype\tunits\tstatus"]
    rows += [f"{n}\t{label[:3]}\tuV\t{'bad' if n == 'Cz' else 'good'}"
             for n, label in zip(names, labels, strict=True)]  # fmt: skip
    (home / f"{stem}_channels.tsv").write_text("\n".join(rows) + "\n")
    return home / f"{stem}_{kind}.edf"


@pytest.fixture
def root(tmp_path):
    """Two people, a session and two runs; the events and the task's description are inherited."""
    root = tmp_path / "study"
    first = root / "sub-01" / "ses-a" / "eeg"
    write_file(first, "sub-01_ses-a_task-reach_run-1")
    write_file(first, "sub-01_ses-a_task-reach_run-2")
    write_file(root / "sub-02" / "eeg", "sub-02_task-reach")
    tree = {"Name": "A study", "BIDSVersion": "1.9.0", "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(tree))
    people = "participant_id\tage\tspecies\nsub-01\t30\thomo sapiens\nsub-02\tn/a\tn/a\n"
    (root / "participants.tsv").write_text(people)
    about = {"TaskName": "reaching", "EEGReference": "linked ears", "SamplingFrequency": 100}
    (root / "task-reach_eeg.json").write_text(json.dumps(about))
    events = ["onset\tduration\ttrial_type\tforce", "2.5\tn/a\tgo\tn/a", "1.0\t0.5\tcue\t3.5",
              "3.0\t0.25\tBAD_cough\t0"]  # fmt: skip
    (root / "task-reach_events.tsv").write_text("\n".join(events) + "\n")
    (first / "sub-01_ses-a_space-CapTrak_electrodes.tsv").write_text(
        "name\tx\ty\tz\nFz\t0.0\t0.08\t0.05\nCz\t0.0\t0.0\t0.1\nlip\tn/a\tn/a\tn/a\n"
    )
    (first / "sub-01_ses-a_space-CapTrak_coordsystem.json").write_text(json.dumps(
        {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "m"}))  # fmt: skip
    # what must not be read: another kind of data, and derivatives
    (root / "sub-01" / "ses-a" / "anat").mkdir()
    (root / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w.nii.gz").write_bytes(b"image")
    write_file(root / "derivatives" / "clean" / "sub-01" / "eeg", "sub-01_task-reach_desc-x")
    return root


def test_a_folder_is_ingested_with_its_sidecars(root, tmp_path):
    report = ingest([root], tmp_path / "s", n_jobs=1)
    assert [(one.status, one.id) for one in report.outcomes] == [
        ("written", "A-study/sub-01_ses-a_task-reach_run-1_eeg"),
        ("written", "A-study/sub-01_ses-a_task-reach_run-2_eeg"),
        ("written", "A-study/sub-02_task-reach_eeg"),
    ]
    store = open_store(tmp_path / "s")
    recording = store.open("A-study/sub-01_ses-a_task-reach_run-1_eeg")
    assert recording.subject == "A-study/01"
    assert recording.channels.id.tolist() == ["eeg/Fz", "eeg/Cz", "emg/lip"]
    assert recording.channels.quality["bad"].tolist() == [False, True, False]
    assert recording.channels.quality["reference"].tolist() == ["linked ears", "linked ears", ""]
    assert np.isfinite(recording.channels.coordinates).all(axis=1).tolist() == [True, True, False]
    assert recording.trials["start_s"].tolist() == [1.0, 2.5, 3.0]
    assert recording.trials["stop_s"].tolist() == [1.5, 2.5, 3.25]
    assert recording.trials["trial_type"].tolist() == ["cue", "go", "BAD_cough"]
    assert np.array_equal(recording.trials["force"], [3.5, np.nan, 0], equal_nan=True)
    assert recording.valid.pairs.tolist() == [[0.0, 3.0], [3.25, 4.0]]
    told = recording.provenance
    assert (told.task, told.licence, told.species) == ("reaching", "CC0", "homo sapiens")
    assert "note: participant.age: 30" in told.notes
    assert store.open("A-study/sub-02_task-reach_eeg").provenance.species == ""
    again = ingest([root], tmp_path / "s", n_jobs=1)
    assert {one.status for one in again.outcomes} == {"already there"}


def test_a_changed_sidecar_makes_another_source(root, tmp_path):
    path = root / "sub-02" / "eeg" / "sub-02_task-reach_eeg.edf"
    names = {one.name for one in parts(path)}
    assert names == {"sub-02_task-reach_channels.tsv", "task-reach_events.tsv",
                     "task-reach_eeg.json", "participants.tsv"}  # fmt: skip
    ingest([path], tmp_path / "s", n_jobs=1)
    with (root / "task-reach_events.tsv").open("a") as file:
        file.write("3.5\t0.1\tgo\t1\n")
    [outcome] = ingest([path], tmp_path / "s", n_jobs=1).outcomes
    assert "is in" in outcome.sentence
    assert "with other content" in outcome.sentence


def test_the_python_reader_takes_the_folder(root):
    assert format_of(root) == "bids"
    assert [r.id[-10:] for r in reader_for(root)(root)] == [
        "_run-1_eeg",
        "_run-2_eeg",
        "task-reach_eeg"[-10:],
    ]


def test_a_folder_of_other_kinds_is_refused(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1"}')
    (tmp_path / "sub-1" / "func").mkdir(parents=True)
    (tmp_path / "sub-1" / "func" / "sub-1_task-x_bold.nii.gz").write_bytes(b"image")
    with pytest.raises(InputError, match=r"without EEG, MEG, iEEG or EMG .*it holds func"):
        ingest([tmp_path], tmp_path / "s")
    path = tmp_path / "sub-1" / "func" / "sub-1_task-x_bold.nii.gz"
    with pytest.raises(InputError, match=r"is bold, and of BIDS folders only EEG, MEG"):
        list(reader_for(path)(path))


def test_a_format_that_is_not_read_is_refused_and_not_passed_over(root, tmp_path):
    (root / "sub-02" / "eeg" / "sub-02_task-rest_eeg.set").write_bytes(b"MATLAB")
    outcomes = {
        o.path.rpartition("/")[2]: o for o in ingest([root], tmp_path / "s", n_jobs=1).outcomes
    }
    assert "convert it to one of them" in outcomes["sub-02_task-rest_eeg.set"].sentence
    assert outcomes["sub-02_task-reach_eeg.edf"].status == "written"


def test_channels_that_do_not_fit_are_refused_in_one_sentence(root):
    path = root / "sub-02" / "eeg" / "sub-02_task-reach_eeg.edf"
    table = path.parent / "sub-02_task-reach_channels.tsv"
    rows = [f"X{i}\tEEG\tuV" for i in range(3)]
    table.write_text("\n".join(["name\ttype\tunits", *rows]) + "\n")
    with pytest.raises(
        InputError, match=r"reach_eeg\.edf could not be read .*[Cc]hannel"
    ) as raised:
        list(reader_for(path)(path))
    assert "\n" not in str(raised.value)
    table.write_text("name\ttype\tunits\nX1\tEEG\tuV\n")
    [recording] = reader_for(path)(path)
    assert any(note.startswith("warning: file: The number of channels in the channels.tsv")
               for note in recording.provenance.notes)  # fmt: skip


def test_emg_folders_are_read(tmp_path):
    (tmp_path / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    path = write_file(tmp_path / "sub-1" / "emg", "sub-1_task-grip", "emg", ["EMG 1", "EMG 2"])
    [recording] = reader_for(path)(path)
    assert recording.channels.id.tolist() == ["emg/1", "emg/2"]
    assert recording.channels.quality["type"].tolist() == ["emg", "emg"]
