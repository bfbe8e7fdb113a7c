"""Poses: DeepLabCut CSV and HDF5, SLEAP analysis HDF5, alone and beside a recording."""

import sys

import h5py
import numpy as np
import pytest

from neurofm.data.ingest import ingest
from neurofm.data.quality import PoseConfig, QualityConfig
from neurofm.data.readers import _pose_files, format_of, reader_for
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.readers.pose import goes_with, with_pose
from neurofm.data.reading import read_into
from neurofm.data.recording import Recording
from neurofm.data.store import open_store
from neurofm.errors import InputError

HEAD = ["scorer,n,n,n,n,n,n", "bodyparts,nose,nose,nose,tail,tail,tail",
        "coords,x,y,likelihood,x,y,likelihood"]  # fmt: skip


def write_csv(path, rows, head=HEAD):
    path.write_text("\n".join([*head, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def rows(n=20, unlikely=()):
    return [(i, i, 2 * i, 0.1 if i in unlikely else 0.9, 100 - i, 50, 0.95) for i in range(n)]


def a_recording(n=1000):
    counts = np.random.default_rng(0).poisson(1, (n, 3)).astype(np.uint8)
    return Recording.from_arrays("m1", counts=counts, bin_s=0.02, subject="m")


def read(path, **options):
    [recording] = reader_for(path)(path, **options)
    return recording


def test_a_csv_is_a_recording_of_behaviour(tmp_path):
    path = write_csv(tmp_path / "m1DLC.csv", rows(unlikely=[3]))
    recording = read(path, frame_hz=29.97)
    assert format_of(path) == "pose"
    assert recording.channels.id.tolist() == [
        "pose/nose.x",
        "pose/nose.y",
        "pose/tail.x",
        "pose/tail.y",
    ]
    assert set(recording.channels.node) == {"behaviour"}
    assert set(recording.channels.kind) == {"real"}
    assert set(recording.channels.quality["unit"]) == {"px"}
    assert 1 / recording.activity.step_s * 100 == 2997
    values = recording.activity.values
    assert np.isnan(values[3]).tolist() == [True, True, False, False]
    assert values[4].tolist() == [4, 8, 96, 50]
    assert recording.signals["likelihood"].values[3].tolist() == pytest.approx([0.1, 0.95])
    assert "repair" in recording.provenance.notes[0]
    everything = read(path, frame_hz=29.97, min_likelihood=0.0)
    assert np.isfinite(everything.activity.values).all()


def test_without_a_frame_rate_the_remedy_is_said(tmp_path):
    path = write_csv(tmp_path / "a.csv", rows())
    with pytest.raises(
        InputError, match=r"a\.csv holds poses, which have no clock.*pose\.frame_hz"
    ):
        read(path)
    [outcome] = ingest([path], tmp_path / "s", n_jobs=1).outcomes
    assert "--set pose.frame_hz=30" in outcome.sentence


def test_frames_that_are_missing_are_empty(tmp_path):
    recording = read(write_csv(tmp_path / "a.csv", [r for r in rows(6) if r[0] != 2]), frame_hz=10)
    assert (
        np.isnan(recording.activity.values).all(axis=1).tolist()
        == [False, False, True] + [False] * 3
    )


def test_several_animals_have_their_names_before_the_part(tmp_path):
    head = [
        "scorer,n,n,n,n",
        "individuals,a,a,b,b",
        "bodyparts,nose,nose,nose,nose",
        "coords,x,y,x,y",
    ]
    path = write_csv(tmp_path / "a.csv", [(i, 1, 2, 3, 4) for i in range(5)], head)
    assert _pose_files.load(path).parts == ("a.nose", "b.nose")


def write_sleap(path, n_animals=1):
    tracks = np.arange(n_animals * 2 * 2 * 7, dtype=float).reshape(n_animals, 2, 2, 7)
    tracks[0, :, 1, 3] = np.nan
    with h5py.File(path, "w") as file:
        file["tracks"] = tracks
        file["node_names"] = np.array([b"nose", b"tail"])
        file["track_names"] = np.array([f"t{i}".encode() for i in range(n_animals)])
        file["point_scores"] = np.full((n_animals, 2, 7), 0.9)
    return path, tracks


@pytest.mark.parametrize("n_animals", [1, 2])
def test_sleap_analysis_files_are_read(tmp_path, n_animals):
    path, tracks = write_sleap(tmp_path / "a.analysis.h5", n_animals)
    pose = _pose_files.load(path)
    assert pose.parts == (
        ("nose", "tail") if n_animals == 1 else ("t0.nose", "t0.tail", "t1.nose", "t1.tail")
    )
    assert pose.xy[5, 0].tolist() == tracks[0, :, 0, 5].tolist()
    assert np.isnan(pose.xy[3, 1]).all()
    assert read(path, frame_hz=25).activity.values.shape == (7, 4 * n_animals)


def test_a_sleap_project_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.slp", "w") as file:
        for name in ("instances", "pred_points", "metadata"):
            file[name] = np.zeros(1)
    with pytest.raises(InputError, match="SLEAP project; export it as analysis HDF5"):
        read(tmp_path / "a.slp", frame_hz=25)


def write_fixed(path, columns, values):
    """pandas' fixed layout: levels and labels of a MultiIndex, one block of values."""
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_("frame")
        for axis in ("axis0", "block0_items"):
            group.attrs[f"{axis}_nlevels"] = 3
            for level in range(3):
                texts = sorted({c[level] for c in columns})
                group[f"{axis}_level{level}"] = np.array(texts, dtype="S")
                group[f"{axis}_label{level}"] = np.array([texts.index(c[level]) for c in columns])
        group["block0_values"] = values
        group["axis1"] = np.arange(len(values))
    return path


def test_the_fixed_layout_of_pandas_is_read(tmp_path):
    columns = [("n", part, axis) for part in ("tail", "nose") for axis in ("x", "y", "likelihood")]
    values = np.arange(30.0).reshape(5, 6)
    pose = _pose_files.load(write_fixed(tmp_path / "a.h5", columns, values))
    assert pose.parts == ("tail", "nose")
    assert pose.xy[2].tolist() == [[12.0, 13.0], [15.0, 16.0]]
    assert pose.likelihood[2].tolist() == [14.0, 17.0]
    assert pose.frame.tolist() == [0, 1, 2, 3, 4]


def test_a_pickle_is_looked_through_and_never_run():
    names = [("s", "nose", "x"), ("s", "nose", "y"), ("s", "tail", "x")]
    written = (b"(lp1\n(L1L\n(lp2\n(Vs\np3\nVnose\np4\nVx\np5\ntp6\na(g3\ng4\nVy\np7\ntp8\na"
               b"(g3\nVtail\np9\ng5\ntp10\natp11\na.")  # fmt: skip
    assert _pose_files.texts_in_tuples(written) == names
    evil = b"cos\nsystem\n(Vtouch /tmp/owned\ntR."
    assert _pose_files.texts_in_tuples(evil) == []


@pytest.mark.parametrize("name", ["CollectedData_Pranav", "reaching_CollectedData_Mackenzie"])
def test_real_label_files_say_the_same_as_csv_and_hdf5(shared_data, name):
    folder = shared_data / "pose-openfield"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    one, other = (_pose_files.load(folder / f"{name}.{suffix}") for suffix in ("csv", "h5"))
    assert one.parts == other.parts
    assert len(one.parts) in (4, 5)
    assert np.allclose(one.xy, other.xy, equal_nan=True)
    with pytest.raises(InputError, match="labelled images, which have no times"):
        read(folder / f"{name}.h5", frame_hz=30)
    assert with_pose(a_recording(), folder / f"{name}.h5", times_s=np.arange(len(one.xy)) * 0.1)


def test_a_real_network_output_is_read(shared_data):
    [path] = (shared_data / "pose-openfield").glob("EPM_15*.csv") or [None]
    recording = read(path, frame_hz=25)
    assert recording.activity.values.shape == (962, 50)
    assert "pose/headcentre.x" in recording.channels.id


def test_poses_go_beside_the_activity_as_signals(tmp_path):
    path = write_csv(tmp_path / "m1DLC.csv", rows())
    recording = with_pose(a_recording(), path, frame_hz=10, start_s=2.0)
    nose = recording.signals["pose.nose"]
    assert (nose.unit, nose.node, nose.step_s, nose.start_s) == ("px", "behaviour", 0.1, 2.0)
    assert nose.values[5].tolist() == [5, 10]
    assert recording.signals["pose.tail.likelihood"].values.shape == (20, 1)
    times = np.arange(20) * 0.11
    timed = with_pose(a_recording(), path, times_s=times).signals["pose.nose"]
    assert timed.sample_times_s().tolist() == times.tolist()
    with pytest.raises(InputError, match="20 frames; times_s must be as many"):
        with_pose(a_recording(), path, times_s=times[:-1])


def test_ingest_pairs_a_pose_with_the_recording_of_its_name(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    write_arrays(a_recording(), folder / "m1.npz")
    write_csv(folder / "m1DLC_resnet50_x.csv", rows())
    write_csv(folder / "other.csv", rows())
    (folder / "people.csv").write_text("name,age\nm,3\n")
    config = QualityConfig(pose=PoseConfig(frame_hz=10, start_s=1.5))
    report = ingest([folder], tmp_path / "s", config, n_jobs=1)
    assert [(o.status, o.id) for o in report.outcomes] == [("written", "m1"), ("written", "other")]
    recording = open_store(tmp_path / "s").open("m1")
    assert recording.signals["pose.nose"].values[:][7].tolist() == [7, 14]
    assert recording.signals["pose.nose"].start_s == 1.5
    again = ingest([folder], tmp_path / "s", config, n_jobs=1)
    assert {o.status for o in again.outcomes} == {"already there"}
    asked: list[str] = []  # whether the file is known is asked by its hash and its pose's
    read_into(folder / "m1.npz", tmp_path / "x", config, lambda digest: bool(asked.append(digest)))
    assert asked == [recording.provenance.source_sha256]
    write_csv(folder / "m1DLC_resnet50_x.csv", rows(21))
    [outcome] = ingest([folder / "m1.npz"], tmp_path / "s", config, n_jobs=1).outcomes
    assert "with other content" in outcome.sentence  # a changed pose is not passed over


def test_ingest_says_that_a_pose_without_a_frame_rate_was_not_read(tmp_path):
    write_arrays(a_recording(), tmp_path / "m1.npz")
    write_csv(tmp_path / "m1.pose.csv", rows())
    [outcome] = ingest([tmp_path / "m1.npz"], tmp_path / "s", n_jobs=1).outcomes
    assert outcome.status == "written"
    assert any("m1.pose.csv lies beside it" in flag.message for flag in outcome.flags)


def test_which_names_go_together(tmp_path):
    recording = tmp_path / "m1.nwb"
    yes = [
        "m1DLC_resnet50_shuffle1.csv",
        "m1_pose.csv",
        "m1.analysis.h5",
        "m1-sleap.h5",
        "m1DeepCut_x.h5",
    ]
    no = ["m10DLC.csv", "m1_2.h5", "m1.h5", "m2DLC.csv"]
    assert [goes_with(tmp_path / name, recording) for name in yes + no] == [True] * 5 + [False] * 4


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("\n".join([*HEAD, "0,1,2,x,4,5,6"]) + "\n", "holds what is no number"),
        ("\n".join([*HEAD, "0,1,2,3"]) + "\n", "rows of the same length"),
        ("\n".join(HEAD) + "\n", "rows of the same length"),
        ("\n".join([*HEAD, "0,1,2,3,4,5,6"]), "ends within a line"),
        ("\n".join([*HEAD, "1,1,1,1,1,1,1", "0,1,1,1,1,1,1"]) + "\n", "do not ascend"),
        (
            "\n".join([HEAD[0], HEAD[1], "coords,x,y,z,x,y,z", "0,1,1,1,1,1,1"]) + "\n",
            "two dimensions",
        ),
    ],
)
def test_odd_csv_files_are_refused(tmp_path, text, sentence):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=rf"a\.csv.*{sentence}"):
        read(tmp_path / "a.csv", frame_hz=30)


def test_mne_is_not_needed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne", None)
    assert read(write_csv(tmp_path / "a.csv", rows()), frame_hz=30)
