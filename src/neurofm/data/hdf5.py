"""Careful reading of HDF5 files that others wrote: no foreign files, no absurd sizes."""

import contextlib
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError, NeurofmError

BUDGET_BYTES = 64 << 30
UNBACKED = 2000  # how many times larger than its stored bytes an array may be,
UNSTORED_BYTES = 1 << 24  # and how much larger beside: what was never written reads as zeros
MOST_CHUNKS = 1 << 20  # and as many as it has stored bytes
TEXT_BYTES = 1 << 28  # of a column of text, every row as wide as the longest
MOST_TEXTS = 1000  # that are joined to one
MOST_LINKS = 16  # on the way to one member


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


def child(group: h5py.Group, name: str, n_links: int = MOST_LINKS) -> Any:
    """A member, or None if there is none, or if it lies in another file or leads nowhere.

    Links are followed here, one by one: the library itself would open any file on the way, and
    wait for ever for one that is a pipe.
    """
    node: Any = group.file if name.startswith("/") else group
    for part in name.split("/"):
        if part in ("", "."):
            continue
        kind = _link(node, part) if isinstance(node, h5py.Group) else None
        if kind == h5py.h5l.TYPE_SOFT and n_links:
            path = node.id.links.get_val(_bytes(part)).decode("utf-8", "surrogateescape")
            node = child(node, path, n_links - 1)
        else:
            node = node.get(part) if kind == h5py.h5l.TYPE_HARD else None
    return node


def _link(group: h5py.Group, name: str) -> int | None:
    """The kind of a link, which is not followed; None if there is none."""
    try:
        return int(group.id.links.get_info(_bytes(name)).type)
    except (KeyError, RuntimeError, ValueError):
        return None


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def place(node: h5py.HLObject) -> int:
    """What tells an object of the file from every other, by whatever links it was reached."""
    return int(h5py.h5o.get_info(node.id).addr)


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
    value = array(node)[()] if isinstance(node, h5py.Dataset) and node.shape == () else node
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def foreign(group: h5py.Group) -> list[str]:
    """Names of members that are links into other files."""
    return [k for k in group if _link(group, k) == h5py.h5l.TYPE_EXTERNAL]


def array(dataset: h5py.Dataset) -> NDArray[Any]:
    """All of a dataset, in this machine's byte order; text becomes `str`.

    Raises InputError if its bytes lie in another file, its size is absurd, a filter that it needs
    is not there, or it holds neither numbers nor text.
    """
    _guard(dataset)
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return _texts(dataset)
    if dataset.dtype.kind not in "biufS":
        raise InputError(
            f"{_where(dataset)} is not of numbers or text; export it as plain columns."
        )
    return plain(np.asarray(dataset[()]))


def record_columns(dataset: h5py.Dataset, names: Collection[str]) -> dict[str, NDArray[Any]]:
    """Columns of a table of records, those of the names that it has and that hold numbers.

    Raises InputError as `array` does.
    """
    _guard(dataset)
    fields = dataset.dtype.fields or {}
    there = [name for name in names if name in fields and fields[name][0].base.kind in "biuf"]
    return {name: plain(np.asarray(dataset.fields(name)[()])) for name in there}


def _where(dataset: h5py.Dataset) -> str:
    return f"{dataset.file.filename}: {dataset.name}"


def _guard(dataset: h5py.Dataset) -> None:
    """Refuse what lies in another file, or would take all memory or all day, before it is read."""
    if dataset.external or dataset.is_virtual:
        raise InputError(
            f"{_where(dataset)} keeps its data in another file; export one self-contained file."
        )
    if dataset.shape is None:
        raise InputError(f"{_where(dataset)} is empty; export it again.")
    n_bytes, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if n_bytes > BUDGET_BYTES or n_bytes > UNSTORED_BYTES + UNBACKED * stored:
        raise InputError(
            f"{_where(dataset)} claims {n_bytes:,} bytes and stores {stored:,}; export the file again."
        )
    chunk = dataset.chunks or dataset.shape or (1,)
    n_chunks = math.prod(-(-n // max(c, 1)) for n, c in zip(dataset.shape, chunk, strict=False))
    if n_chunks > MOST_CHUNKS + stored:
        raise InputError(
            f"{_where(dataset)} is cut into {n_chunks:,} chunks; export it in larger ones."
        )
    plist = dataset.id.get_create_plist()
    for code, *_ in map(plist.get_filter, range(plist.get_nfilters())):
        if not h5py.h5z.filter_avail(code):
            raise InputError(f"{_where(dataset)} needs HDF5 filter {code}, which is not installed; install it "
                             "(hdf5plugin), or export without compression.")  # fmt: skip


def _texts(dataset: h5py.Dataset) -> NDArray[np.str_]:
    """Text as fixed-width `str`, if the longest one does not make all of them too wide."""
    values = np.asarray(dataset.asstr(errors="replace")[()], dtype=object)
    longest = max(map(len, values.reshape(-1).tolist()), default=0)
    if values.size > 1 and 4 * longest * values.size > TEXT_BYTES:
        raise InputError(f"{_where(dataset)} holds a text of {longest:,} characters; shorten it.")
    return values.astype(np.str_)


def plain(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers in this machine's byte order, of eight bytes at most."""
    if values.dtype.kind == "f" and values.dtype.itemsize > 8:
        return values.astype(np.float64)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def text(value: Any) -> str:
    """A scalar dataset or attribute as one string; several are joined with semicolons."""
    if isinstance(value, h5py.Dataset):
        value = array(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (np.ndarray, list, tuple)):
        some = np.asarray(value).reshape(-1)[:MOST_TEXTS].tolist()
        return "; ".join(map(text, some)) + "; ..." * (np.size(value) > MOST_TEXTS)
    if value is None or isinstance(value, h5py.Empty):
        return ""
    return _bytes(str(value)).decode("utf-8", "replace")


def is_table_column(dataset: Any, n: int) -> bool:
    """Whether it is a plain column of n rows: numbers or text, not objects or references."""
    if not isinstance(dataset, h5py.Dataset) or dataset.shape != (n,):
        return False
    return h5py.check_string_dtype(dataset.dtype) is not None or dataset.dtype.kind in "biuf"


def text_at(group: h5py.Group, name: str) -> str:
    """The text of a dataset, empty if there is none."""
    node = child(group, name)
    return text(node) if isinstance(node, h5py.Dataset) else ""
