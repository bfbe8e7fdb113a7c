"""Readers of file formats: `(path, **options) -> Iterator[Recording]`, one file each.

A new format is one module here and one line in `READERS`. What a reader mends or leaves out, it
says in the recording's `provenance.notes`.
"""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py

from neurofm.data.hdf5 import opened
from neurofm.data.readers import _mne_files, _pose_files, arrays, bids, eeg, nwb, pose, torch_brain
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.files import joint_sha256, sha256

Reader = Callable[..., Iterator[Recording]]

READERS: dict[str, Reader] = {
    "arrays": arrays.read,
    "nwb": nwb.read,
    "torch_brain": torch_brain.read,
    "eeg": eeg.read,
    "bids": bids.read,
    "pose": pose.read,
}

EXTENSIONS = (  # what a folder is searched for; of .csv only poses are meant
    ".npz", ".nwb", ".h5", ".hdf5", ".edf", ".bdf", ".vhdr", ".fif", ".csv",
)  # fmt: skip


def format_of(path: Path) -> str:
    """The name in `READERS` of a file's format, by its content, or of a BIDS folder.

    Raises InputError if the file is missing or of no known format.
    """
    if bids.is_root(path) or (path.exists() and bids.root_of(path)):
        return "bids"
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file of it.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path.")
    if h5py.is_hdf5(path):
        return _format_of_hdf5(path)
    known = {
        "arrays": zipfile.is_zipfile(path) and path.suffix == ".npz",
        "eeg": bool(_mne_files.kind_of(path)),
        "pose": _pose_files.is_csv(path),
    }
    for name, is_it in known.items():
        if is_it:
            return name
    raise InputError(
        f"{path} is of no known format, or is damaged; give NWB (.nwb), array recordings (.npz), "
        "torch_brain files (.h5), EDF, BDF, BrainVision (.vhdr) or FIF, or poses (.csv, .h5)."
    )


def _format_of_hdf5(path: Path) -> str:
    with opened(path) as file:
        if "nwb_version" in file.attrs or file.attrs.get("neurodata_type") == "NWBFile":
            return "nwb"
        if _says(file.attrs.get("object")) == "Data":
            return "torch_brain"
        if _pose_files.kind_of_h5(file):
            return "pose"
    raise InputError(f"{path} is HDF5, but neither NWB, torch_brain nor poses; convert it to one.")


def parts(path: Path) -> tuple[Path, ...]:
    """Further files of the same recording: markers, splits, the sidecars of a BIDS file."""
    if not path.is_file():
        return ()
    return bids.parts(path) if bids.root_of(path) else _mne_files.parts(path)


def digest_of(path: Path) -> str:
    """The SHA-256 of a file and of its parts: the `source_sha256` of its recording."""
    return joint_sha256([sha256(one) for one in (path, *parts(path))])


def found_in(folder: Path) -> list[Path]:
    """The recordings in a folder, each by its first file; hidden files are no recordings.

    Raises InputError if the folder is a BIDS one without a recording that can be read.
    """
    if bids.is_root(folder):
        return bids.find(folder)
    inside = [file for file in sorted(folder.rglob("*"))
              if file.suffix.lower() in EXTENSIONS and file.is_file()
              and not any(part.startswith(".") for part in file.relative_to(folder).parts)]  # fmt: skip
    inside = [file for file in inside if file.suffix.lower() != ".csv" or _pose_files.is_csv(file)]
    later = {part for file in inside if file.suffix == ".fif" for part in parts(file)}
    return [file for file in inside if file not in later]


def reader_for(path: Path) -> Reader:
    """The reader of a file, chosen by its content. Raises InputError as `format_of` does."""
    return READERS[format_of(path)]


def _says(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
