"""EEG, BIDS and pose files that were made to do harm, one of each kind that the fuzzing found."""

import os
import struct

import h5py
import numpy as np
import pytest

from neurofm.data.readers import _pose_files, bids, digest_of, eeg, pose
from neurofm.data.readers._mne_files import edf_header
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.recording import Recording
from neurofm.data.synthetic_edf import write_edf
from neurofm.errors import InputError

HEADER = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
DataFile={data}
MarkerFile={marks}
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels={n}
SamplingInterval=10000
[Binary Infos]
BinaryFormat=IEEE_FLOAT_32
[Channel Infos]
Ch1=Fz,,1,µV
"""


def brainvision(home, data="b.eeg", marks="b.vmrk", n="1"):
    home.mkdir(exist_ok=True)
    np.zeros(400, "<f4").tofile(home / "b.eeg")
    (home / "b.vmrk").write_text(
        "Brain Vision Data Exchange Marker File, Version 1.0\n[Marker Infos]\n"
    )
    (home / "b.vhdr").write_text(HEADER.format(data=data, marks=marks, n=n), encoding="utf-8")
    return home / "b.vhdr"


@pytest.mark.parametrize("field", ["data", "marks"])
@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "..", "a\\b", "x" * 300])
def test_a_header_names_no_file_elsewhere(tmp_path, field, name):
    (tmp_path / "secret").write_bytes(bytes(1600))
    path = brainvision(tmp_path / "in", **{field: name})
    digest_of(path)  # which passes over it too
    with pytest.raises(InputError, match="no plain name of one beside it"):
        list(eeg.read(path))


def test_a_link_out_of_the_folder_is_not_followed_and_one_within_is(tmp_path):
    pytest.importorskip("mne", reason="MNE is not installed")
    (tmp_path / "secret").write_bytes(bytes(1600))
    path = brainvision(tmp_path / "in")
    (path.parent / "b.eeg").rename(path.parent / "stored")
    (path.parent / "b.eeg").symlink_to("stored")
    assert len(list(eeg.read(path))) == 1
    (path.parent / "b.eeg").unlink()
    (path.parent / "b.eeg").symlink_to("../secret")
    with pytest.raises(InputError, match="a link to a file outside its folder"):
        list(eeg.read(path))
    (tmp_path / ".git").mkdir()  # git-annex keeps the content elsewhere in the repository
    assert len(list(eeg.read(path))) == 1


@pytest.mark.parametrize("n", ["1000000000", "9" * 5000, "-1"])
def test_a_number_of_channels_that_is_none_is_refused(tmp_path, n):
    with pytest.raises(InputError, match="NumberOfChannels is"):
        list(eeg.read(brainvision(tmp_path, n=n)))


@pytest.mark.parametrize(
    ("at", "width", "text"),
    [(184, 8, "-9999"), (184, 8, "256"), (236, 8, "-5"), (244, 8, "9e999999"), (244, 8, "1e-300"), (244, 8, "99999999")],
    ids=["size below 0", "size too small", "records", "endless", "short", "long"],
)  # fmt: skip
def test_a_header_of_edf_that_is_none_is_refused(tmp_path, at, width, text):
    path = tmp_path / "a.edf"
    write_edf(path, np.ones((200, 2)), 100, ["EEG a", "EEG b"])
    content = path.read_bytes()
    path.write_bytes(content[:at] + text.ljust(width).encode() + content[at + width :])
    with pytest.raises(InputError, match="torn or damaged header"):
        edf_header(path)


def test_gaps_are_found_where_the_number_of_records_is_unknown(tmp_path):
    path = tmp_path / "a.edf"
    write_edf(path, np.ones((300, 2)), 100, ["EEG a", "EEG b"])
    content = path.read_bytes().replace(b"EDF+C", b"EDF+D").replace(b"+2\x14\x14", b"+7\x14\x14")
    path.write_bytes(content[:236] + b"-1      " + content[244:])
    with pytest.raises(InputError, match="gaps between its records"):
        edf_header(path)


@pytest.fixture
def fif(tmp_path):
    """A FIF file of two channels, 4 s."""
    mne = pytest.importorskip("mne", reason="MNE is not installed")
    home = tmp_path / "in"
    home.mkdir()
    raw = mne.io.RawArray(
        np.ones((2, 400)) * 1e-6, mne.create_info(2, 100.0, "eeg"), verbose="ERROR"
    )
    raw.save(home / "a_raw.fif", verbose="ERROR")
    return home / "a_raw.fif"


def tags(path):
    """(kind, type, data) of every tag but the directory, which is left out."""
    content, at, out = path.read_bytes(), 0, []
    while at < len(content):
        kind, type_, size, _ = struct.unpack(">iiii", content[at : at + 16])
        data = struct.pack(">i", -1) if kind == 101 else content[at + 16 : at + 16 + size]
        out += [(kind, type_, data)] if kind != 102 else []
        at += 16 + size
    return out


def joined(tags, after=0):
    """Tags as a file again; the fifth one says where the next lies."""
    heads = [struct.pack(">iiii", k, t, len(d), after if i == 4 else 0) for i, (k, t, d) in enumerate(tags)]  # fmt: skip
    return b"".join(head + data for head, (_, _, data) in zip(heads, tags, strict=True))


def test_a_fif_file_is_read_without_its_directory(fif):
    fif.write_bytes(joined(tags(fif)))
    [recording] = eeg.read(fif)
    assert recording.activity.values.shape == (400, 2)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("../secret.fif", "no plain name"), ("/etc/passwd", "no plain name"), ("a_raw.fif", "which came before"),
     ("linked.fif", "outside its folder")],
)  # fmt: skip
def test_a_fif_file_goes_on_in_no_file_elsewhere(fif, name, sentence):
    fif.parents[1].joinpath("secret.fif").write_bytes(fif.read_bytes())
    (fif.parent / "linked.fif").symlink_to("../secret.fif")
    block, role = struct.pack(">i", 118), struct.pack(">i", 2)
    more = [(104, 3, block), (115, 3, role), (118, 10, name.encode()), (105, 3, block)]
    whole = tags(fif)
    fif.write_bytes(joined(whole[:4] + more + whole[4:]))
    with pytest.raises(InputError, match=sentence):
        list(eeg.read(fif))


def test_a_fif_file_in_circles_or_of_endless_blocks_is_refused(fif):
    whole = tags(fif)
    fif.write_bytes(joined(whole, after=36))
    with pytest.raises(InputError, match="goes in circles"):
        list(eeg.read(fif))
    fif.write_bytes(joined(whole[:4] + [(104, 3, struct.pack(">i", 100))] * 500 + whole[4:]))
    with pytest.raises(InputError, match="blocks within blocks"):
        list(eeg.read(fif))
    fif.write_bytes(joined(whole)[:-500])
    with pytest.raises(InputError, match="was cut short"):
        list(eeg.read(fif))


def test_what_was_skipped_cannot_be_more_than_all_that_is_stored(fif):
    whole = tags(fif)
    at = next(i for i, tag in enumerate(whole) if tag[0] == 300) + 1
    data = whole[at - 1]
    fif.write_bytes(joined([*whole[:at], (301, 3, struct.pack(">i", 10**6)), data, *whole[at:]]))
    with pytest.raises(InputError, match="bytes of samples and stores"):
        list(eeg.read(fif))


@pytest.fixture
def study(tmp_path):
    """The file of a recording in a BIDS folder with one sidecar."""
    path = tmp_path / "in" / "sub-1" / "eeg" / "sub-1_task-x_eeg.edf"
    path.parent.mkdir(parents=True)
    write_edf(path, np.random.default_rng(0).normal(size=(400, 2)), 100, ["EEG Fz", "EEG Cz"])
    (tmp_path / "in" / "dataset_description.json").write_text(
        '{"Name": "s", "BIDSVersion": "1.9.0"}'
    )
    path.with_name("sub-1_task-x_events.tsv").write_text("onset\tduration\tx\n1\t0\ta\n")
    for place, text in (("electrodes.tsv", "name\tx\ty\tz\nFz\t0\t0\t0.1\nCz\t0\t0.1\t0\n"),
                        ("coordsystem.json", '{"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "m"}')):  # fmt: skip
        path.with_name(f"sub-1_space-CapTrak_{place}").write_text(text)
    return path


def test_reading_a_bids_folder_writes_nothing_and_waits_for_no_lock(study):
    pytest.importorskip("mne_bids", reason="mne-bids is not installed")
    study.with_name("sub-1_space-CapTrak_coordsystem.json.lock").write_text("")
    before = {p: p.stat().st_mtime_ns for p in study.parents[2].rglob("*")}
    [recording] = bids.read(study)
    assert recording.trials["x"].tolist() == ["a"]
    assert {p: p.stat().st_mtime_ns for p in study.parents[2].rglob("*")} == before


@pytest.mark.parametrize(
    ("make", "sentence"),
    [(lambda p: p.symlink_to("/etc/passwd"), "outside its folder"), (os.mkfifo, "is no file"),
     (lambda p: p.mkdir(), "is no file"), (lambda p: p.symlink_to(p.name), "outside its folder"),
     (lambda p: p.write_bytes(b" " * ((1 << 26) + 1)), "are the most of a sidecar")],
    ids=["link", "pipe", "folder", "circle", "large"],
)  # fmt: skip
def test_a_sidecar_is_a_file_of_the_folder(study, make, sentence):
    pytest.importorskip("mne_bids", reason="mne-bids is not installed")
    sidecar = study.with_name("sub-1_task-x_events.tsv")
    sidecar.unlink()
    make(sidecar)
    with pytest.raises(InputError, match=sentence):
        list(bids.read(study))


def test_a_subject_that_is_a_link_out_of_the_folder_is_passed_over(study):
    (study.parents[2] / "sub-2").symlink_to("/")
    assert bids.find(study.parents[2]) == [study]


@pytest.mark.parametrize(
    ("row", "columns"),
    [("1\t0\ta\tb\tc", ["start_s", "stop_s", "x"]), ("1", ["start_s", "stop_s", "x"])],
)
def test_rows_of_events_may_be_ragged(study, row, columns):
    table = study.with_name("sub-1_task-x_events.tsv")
    table.write_text(f"onset\tduration\tx\n{row}\n")
    assert list(bids._events(table, []).columns) == columns


def test_columns_of_events_do_not_replace_the_onsets(study):
    table = study.with_name("sub-1_task-x_events.tsv")
    table.write_text("onset\tduration\tstart_s\n1\t0\tx\n")
    assert bids._events(table, [])["start_s"].tolist() == [1.0]


@pytest.mark.parametrize("text", ["{" * 100_000, '{"a":' * 100_000, "\x00"])
def test_a_sidecar_that_is_no_json_is_named(study, text):
    about = study.with_name("sub-1_task-x_eeg.json")
    about.write_text(text)
    with pytest.raises(InputError, match=r"sub-1_task-x_eeg\.json is not JSON"):
        bids._json(about)
    study.with_name("x.tsv").write_text(f"a\tb\n{'x' * 200_000}\n")
    with pytest.raises(InputError, match=r"x\.tsv is no table of text"):
        bids._tsv(study.with_name("x.tsv"))


@pytest.mark.parametrize("frame", ["9" * 30, "²"])
def test_a_frame_that_is_no_number_is_none(tmp_path, frame):
    path = tmp_path / "a.csv"
    path.write_text(f"scorer,n,n\nbodyparts,a,a\ncoords,x,y\n{frame},1,2\n")
    with pytest.raises(InputError, match="labelled images, which have no times"):
        list(pose.read(path, frame_hz=10))
    path.write_text("scorer\nbodyparts\ncoords\n0\n")
    with pytest.raises(InputError, match="no column of a body part"):
        list(pose.read(path, frame_hz=10))


@pytest.mark.parametrize("name", ["tracks", "node_names", "point_scores", "track_names"])
def test_a_pose_reads_no_other_file(tmp_path, name):
    members = {"tracks": np.ones((2, 2, 2, 9)), "node_names": np.array([b"a", b"b"]), "track_names": np.array([b"s", b"t"]),
               "point_scores": np.full((2, 2, 9), 0.5)}  # fmt: skip
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file[name] = members[name]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for key, value in members.items():
            file[key] = h5py.ExternalLink("secret.h5", name) if key == name else value
    if name in ("tracks", "node_names"):
        with pytest.raises(InputError, match="no tracks of numbers"):
            _pose_files.load(tmp_path / "a.h5")
    else:
        found = _pose_files.load(tmp_path / "a.h5")
        assert np.isnan(found.likelihood).all() or found.parts[0] == "animal-0.a"


@pytest.mark.parametrize(
    ("axes", "options", "sentence"),
    [(np.int64(10**12), {}, "no names of its columns"), (np.bytes_(b"x"), {"external": [("secret.h5", 0, h5py.h5f.UNLIMITED)]}, "in another file"),
     (np.bytes_(b"x"), {"chunks": (1 << 16,)}, "claims")],
    ids=["names", "elsewhere", "absurd"],
)  # fmt: skip
def test_a_table_of_poses_is_read_with_care(tmp_path, axes, options, sentence):
    kind = np.dtype([("index", "i8"), ("values_block_0", "f8", (6,))])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset(
            "frame/table", (1 << 21 if "chunks" in options else 9,), kind, **options
        )
        file["frame"].attrs.update({"pandas_type": "frame_table", "non_index_axes": axes})
    with pytest.raises(InputError, match=sentence):
        _pose_files.load(tmp_path / "a.h5")


def test_what_is_no_file_is_no_pose_beside(tmp_path):
    write_arrays(
        Recording.from_arrays("a", counts=np.ones((9, 1), np.uint8), bin_s=0.1), tmp_path / "a.npz"
    )
    (tmp_path / "aDLC.csv").mkdir()
    os.mkfifo(tmp_path / "aDLC.h5")
    assert pose.beside(tmp_path / "a.npz") == ()
