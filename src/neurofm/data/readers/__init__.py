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
from neurofm.data.readers import arrays, nwb, torch_brain
from neurofm.data.recording import Recording
from neurofm.errors import InputError

Reader = Callable[..., Iterator[Recording]]

READERS: dict[str, Reader] = {
    "arrays": arrays.read,
    "nwb": nwb.read,
    "torch_brain": torch_brain.read,
}

EXTENSIONS = (".npz", ".nwb", ".h5", ".hdf5")  # what a folder is searched for


def format_of(path: Path) -> str:
    """The name in `READERS` of a file's format, by its content.

    Raises InputError if the file is missing or of no known format.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file of it.")
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path.")
    if zipfile.is_zipfile(path) and path.suffix == ".npz":
        return "arrays"
    if h5py.is_hdf5(path):
        with opened(path) as file:
            if "nwb_version" in file.attrs or file.attrs.get("neurodata_type") == "NWBFile":
                return "nwb"
            if _says(file.attrs.get("object")) == "Data":
                return "torch_brain"
        raise InputError(f"{path} is HDF5, but neither NWB nor torch_brain; convert it to one.")
    raise InputError(
        f"{path} is of no known format, or is damaged; give NWB (.nwb), array recordings (.npz) or "
        "torch_brain files (.h5)."
    )


def reader_for(path: Path) -> Reader:
    """The reader of a file, chosen by its content. Raises InputError as `format_of` does."""
    return READERS[format_of(path)]


def _says(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
