"""Small good files of EEG, BIDS and poses that the fuzzing spoils: a folder each, of one recording."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from neurofm.data.readers.arrays import write_arrays
from neurofm.data.recording import Recording
from neurofm.data.synthetic_edf import write_edf

LABELS, UNITS = ["EEG Fz", "EEG Cz", "EMG chin", "speed"], ["uV", "mV", "uV", "cm/s"]
MARKS = [(0.5, 0.25, "go"), (1.0, 0.5, "BAD_move"), (2.5, 0.0, "stop")]
STEM = "sub-01_task-x"


def _values(n_channels: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 20, (400, n_channels))


def _edf(path: Path) -> None:
    write_edf(path, _values(4), 100, LABELS, units=UNITS, annotations=MARKS, subject="p7")


def _edf_d(path: Path) -> None:
    """Discontinuous by its name, without gaps."""
    _edf(path)
    path.write_bytes(path.read_bytes().replace(b"EDF+C", b"EDF+D", 1))


def _brainvision(path: Path) -> None:
    head = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]", "Codepage=UTF-8",
            "DataFile=a.eeg", "MarkerFile=a.vmrk", "DataFormat=BINARY", "DataOrientation=MULTIPLEXED",
            "NumberOfChannels=3", "SamplingInterval=10000", "[Binary Infos]",
            "BinaryFormat=IEEE_FLOAT_32", "[Channel Infos]", "Ch1=Fz,,1,µV", "Ch2=Cz,Fz,0.5,µV",
            "Ch3=EOG1,,1,mV", "[Coordinates]", "Ch1=1,0,90", "Ch2=1,0,0", "Ch3=0,0,0", "[Comment]",
            "A m p l i f i e r  S e t u p", "#     Name      Phys. Chn.    Resolution / Unit   Low Cutoff [s]   High Cutoff [Hz]   Notch [Hz]",
            "1     Fz          1                0.5 µV             DC              1000              Off",
            "2     Cz          2                0.5 µV             DC              1000              Off",
            "3     EOG1        3                0.5 µV             DC              1000              Off",
            "Impedance [kOhm] at 16:12:27 :", "Fz:            3", "Cz:            2", "EOG1:          ???"]  # fmt: skip
    path.write_text("\n".join(head) + "\n", encoding="utf-8")
    _values(3).astype("<f4").tofile(path.with_suffix(".eeg"))
    marks = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]", "Codepage=UTF-8",
             "DataFile=a.eeg", "[Marker Infos]", "Mk1=New Segment,,1,1,0,20200101000000000000",
             "Mk2=Stimulus,S  1,101,1,0", "Mk3=Bad Interval,Bad,201,10,1", "Mk4=New Segment,,301,1,0"]  # fmt: skip
    path.with_suffix(".vmrk").write_text("\n".join(marks) + "\n", encoding="utf-8")


def _fif(path: Path) -> None:
    import mne

    kinds = ["eeg", "mag", "emg", "stim", "misc"]
    info = mne.create_info([f"c{i}" for i in range(5)], 100.0, kinds)
    info["subject_info"] = {"id": 1, "his_id": "p7"}
    values = _values(5) * 1e-6
    values[:, 3] = (np.arange(400) // 50) % 3
    for i, channel in enumerate(info["chs"]):
        channel["loc"][:3] = (0.01 * (i + 1), 0.0, 0.1)
    raw = mne.io.RawArray(values.T, info, verbose="ERROR")
    raw.set_annotations(mne.Annotations(*zip(*MARKS, strict=True)))
    raw.save(path, verbose="ERROR", buffer_size_sec=1.0)


def _bids(path: Path) -> None:
    """A subject with every sidecar that is read, some of them inherited."""
    root, home = path.parents[2], path.parent
    home.mkdir(parents=True)
    write_edf(path, _values(3), 100, LABELS[:3], subject="p7")
    tsv = {home / f"{STEM}_channels.tsv": "name\ttype\tunits\tstatus\nFz\tEEG\tuV\tgood\nCz\tEEG\tuV\tbad\nchin\tEMG\tuV\tgood\n",
           home / "sub-01_space-CapTrak_electrodes.tsv": "name\tx\ty\tz\nFz\t0.0\t0.08\t0.05\nCz\t0.0\t0.0\t0.1\nchin\tn/a\tn/a\tn/a\n",
           root / "task-x_events.tsv": "onset\tduration\ttrial_type\tforce\n2.5\tn/a\tgo\tn/a\n1.0\t0.5\tcue\t3.5\n3.0\t0.25\tBAD_cough\t0\n",
           root / "participants.tsv": "participant_id\tage\tsex\thand\tspecies\nsub-01\t30\tF\tR\thomo sapiens\n",
           root / "sub-01" / "sub-01_scans.tsv": f"filename\tacq_time\neeg/{STEM}_eeg.edf\t2020-01-01T00:00:00\n"}  # fmt: skip
    trees = {root / "dataset_description.json": {"Name": "A study", "BIDSVersion": "1.9.0", "License": "CC0"},
             root / "task-x_eeg.json": {"TaskName": "x", "EEGReference": "ears", "SamplingFrequency": 100, "PowerLineFrequency": 50},
             home / "sub-01_space-CapTrak_coordsystem.json": {"EEGCoordinateSystem": "CapTrak", "EEGCoordinateUnits": "m"}}  # fmt: skip
    for place, text in tsv.items():
        place.write_text(text)
    for place, tree in trees.items():
        place.write_text(json.dumps(tree))


def _csv(path: Path) -> None:
    head = ["scorer,n,n,n,n,n,n", "bodyparts,nose,nose,nose,tail,tail,tail",
            "coords,x,y,likelihood,x,y,likelihood"]  # fmt: skip
    rows = [f"{i},{i * 0.5},{2 * i},0.{9 - i % 3},{100 - i},50,0.95" for i in range(40)]
    path.write_text("\n".join([*head, *rows]) + "\n")


def _csv_animals(path: Path) -> None:
    head = ["scorer,n,n,n,n", "individuals,a,a,b,b", "bodyparts,nose,nose,nose,nose", "coords,x,y,x,y"]  # fmt: skip
    path.write_text("\n".join([*head, *(f"{i},1,2.5,,4" for i in range(30))]) + "\n")


def _csv_beside(path: Path) -> None:
    """A pose file beside the recording that it belongs to."""
    counts = np.random.default_rng(0).poisson(1, (200, 3)).astype(np.uint8)
    write_arrays(Recording.from_arrays("m1", counts=counts, bin_s=0.02), path)
    _csv(path.with_name(f"{path.stem}DLC.csv"))


def _sleap(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["tracks"] = np.arange(2 * 2 * 2 * 30.0).reshape(2, 2, 2, 30)
        file["node_names"], file["track_names"] = (
            np.array([b"nose", b"tail"]),
            np.array([b"a", b"b"]),
        )
        file["point_scores"] = np.full((2, 2, 30), 0.9)


COLUMNS = [("n", part, coord) for part in ("nose", "tail") for coord in ("x", "y", "likelihood")]


def _fixed(path: Path) -> None:
    """pandas' fixed layout."""
    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_("frame")
        for axis in ("axis0", "block0_items"):
            group.attrs[f"{axis}_nlevels"] = 3
            for level in range(3):
                texts = sorted({c[level] for c in COLUMNS})
                group[f"{axis}_level{level}"] = np.array(texts, dtype="S")
                group[f"{axis}_label{level}"] = np.array([texts.index(c[level]) for c in COLUMNS])
        group["block0_values"] = np.ones((30, 6))
        group["axis1"] = np.arange(30)


def _table(path: Path) -> None:
    """pandas' table layout, whose names are a pickle."""
    import pickle

    with h5py.File(path, "w") as file:
        group = file.create_group("df_with_missing")
        group.attrs["pandas_type"] = np.bytes_("frame_table")
        group.attrs["non_index_axes"] = np.bytes_(pickle.dumps([(1, COLUMNS)], 0))
        rows = np.zeros(30, [("index", "i8"), ("values_block_0", "f8", (6,))])
        rows["index"], rows["values_block_0"] = np.arange(30), 1.5
        group["table"] = rows


Write = Callable[[Path], None]
SEEDS: dict[str, dict[str, Write]] = {
    "eeg": {"a.edf": _edf, "d.edf": _edf_d, "a.bdf": _edf, "a.vhdr": _brainvision, "a_raw.fif": _fif},
    "bids": {f"sub-01/eeg/{STEM}_eeg.edf": _bids},
    "pose": {"a.csv": _csv, "animals.csv": _csv_animals, "m1.npz": _csv_beside, "sleap.h5": _sleap,
             "fixed.h5": _fixed, "table.h5": _table},
}  # fmt: skip


def make(folder: Path) -> None:
    """Every seed in a folder of its own: `eeg/0/a.edf` and what belongs to it."""
    for target, kinds in SEEDS.items():
        for number, (name, write) in enumerate(kinds.items()):
            path = folder / target / str(number) / name
            if target != "bids":
                path.parent.mkdir(parents=True)
            write(path)
