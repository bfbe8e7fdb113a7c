"""Careful reading of HDF5 files that others wrote: no foreign files, no absurd sizes."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError, NeurofmError

BUDGET_BYTES = 64 << 30
UNBACKED = 2000  # how many times larger than its stored bytes an array may be


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, read only; InputError if it is missing, torn or not HDF5, also while reading."""
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path.")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except NeurofmError:
        raise
    except Exception as error:  # a torn file may fail anywhere in the library, in any way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{path} is not a readable HDF5 file ({reason}); copy or export it again."
        ) from None


def child(group: h5py.Group, name: str) -> Any:
    """A member, or None if there is none, or if it lies in another file or leads nowhere."""
    node: Any = group
    for part in name.split("/"):
        if not isinstance(node, h5py.Group):
            return None
        link = node.get(part, getlink=True)
        if link is None or isinstance(link, h5py.ExternalLink):
            return None
        node = node.get(part)
    return node


def members(group: h5py.Group) -> dict[str, Any]:
    """What `child` gives of each member that is there."""
    found = {name: child(group, name) for name in group}
    return {name: node for name, node in found.items() if node is not None}


def datasets(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Members that are arrays of at least one dimension."""
    return {k: d for k, d in members(group).items() if isinstance(d, h5py.Dataset) and d.ndim}


def flat(group: h5py.Group, name: str) -> NDArray[Any]:
    """A flat column of numbers.

    Raises InputError that names it if it is missing or is anything else.
    """
    node = child(group, name)
    if not isinstance(node, h5py.Dataset) or node.ndim != 1 or node.dtype.kind not in "biuf":
        where = f"{group.name}/{name}".lstrip("/")
        raise InputError(f"{where} is missing or is no flat column of numbers; export it again.")
    return array(node)


def number(node: Any) -> float:
    """A scalar dataset or attribute as a number, NaN if it is none."""
    value = node[()] if isinstance(node, h5py.Dataset) and node.ndim == 0 else node
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def foreign(group: h5py.Group) -> list[str]:
    """Names of members that are links into other files."""
    return [k for k in group if isinstance(group.get(k, getlink=True), h5py.ExternalLink)]


def array(dataset: h5py.Dataset) -> NDArray[Any]:
    """All of a dataset; text becomes `str`.

    Raises InputError if its bytes lie in another file, its size is absurd or it holds objects.
    """
    where = f"{dataset.file.filename}: {dataset.name}"
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{where} keeps its data in another file; export one self-contained file.")
    n_bytes = dataset.size * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if n_bytes > BUDGET_BYTES or n_bytes > (1 << 28) + UNBACKED * stored:
        raise InputError(
            f"{where} claims {n_bytes:,} bytes and stores {stored:,}; export the file again."
        )
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr(errors="replace")[()], dtype=np.str_)
    if dataset.dtype.kind not in "biufS":
        raise InputError(f"{where} is not of numbers or text; export it as plain columns.")
    return np.asarray(dataset[()])


def text(value: Any) -> str:
    """A scalar dataset or attribute as one string; several are joined with semicolons."""
    if isinstance(value, h5py.Dataset):
        value = array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (np.ndarray, list, tuple)):
        return "; ".join(text(one) for one in np.asarray(value).reshape(-1).tolist())
    return "" if value is None or isinstance(value, h5py.Empty) else str(value)


def is_table_column(dataset: Any, n: int) -> bool:
    """Whether it is a plain column of n rows: numbers or text, not objects or references."""
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != (n,):
        return False
    return h5py.check_string_dtype(dataset.dtype) is not None or dataset.dtype.kind in "biuf"


def text_at(group: h5py.Group, name: str) -> str:
    """The text of a dataset, empty if there is none."""
    node = child(group, name)
    return text(node) if isinstance(node, h5py.Dataset) else ""
