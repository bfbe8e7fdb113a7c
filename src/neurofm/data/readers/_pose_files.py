"""Pose files as arrays: DeepLabCut CSV and HDF5 (pandas, table or fixed) and SLEAP analysis HDF5.

Read with h5py alone. Names of columns in pandas' table layout lie in a pickle, which is never
loaded: its opcodes are looked through for the text that they hold.
"""

import csv
import pickletools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from neurofm.data import hdf5
from neurofm.data.quality import some
from neurofm.errors import InputError

HEADER = ("scorer", "individuals", "bodyparts", "coords")
COORDS = ("x", "y", "likelihood")


@dataclass(frozen=True)
class Pose:
    """Points of body parts, frame by frame. NaN where a point was not found.

    `xy`: (T, K, 2) pixels. `likelihood`: (T, K), NaN where the file has none. `parts`: (K,) names,
    with the animal before a dot where there are several. `frame`: (T,) numbers of the frames, or
    None where the rows are named after images.
    """

    parts: tuple[str, ...]
    xy: NDArray[np.float64]
    likelihood: NDArray[np.float64]
    frame: NDArray[np.int64] | None


def is_csv(path: Path) -> bool:
    """Whether a text file starts like DeepLabCut's (and Lightning Pose's) CSV."""
    with path.open("rb") as file:
        return file.read(16).lstrip(b"\xef\xbb\xbf").startswith(b"scorer,")


def kind_of_h5(file: h5py.File) -> str:
    """`sleap`, `slp` (a project, which is not read), `deeplabcut` or nothing."""
    if {"tracks", "node_names"} <= set(file):
        return "sleap"
    if {"instances", "pred_points", "metadata"} <= set(file):
        return "slp"
    return "deeplabcut" if _pandas(file) is not None else ""


def load(path: Path) -> Pose:
    """The points of a file.

    Raises InputError that names the file and the remedy.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path.")
    if not h5py.is_hdf5(path):
        return _csv(path)
    with hdf5.opened(path) as file:
        kind = kind_of_h5(file)
        if kind == "sleap":
            return _sleap(path, file)
        if kind == "slp":
            raise InputError(f"{path} is a SLEAP project; export it as analysis HDF5.")
        group = _pandas(file)
        if group is None:
            raise InputError(f"{path} is no pose file; give DeepLabCut's CSV or HDF5, or SLEAP's "
                             "analysis HDF5.")  # fmt: skip
        return _deeplabcut(path, group)


def _csv(path: Path) -> Pose:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            text = file.read()
        rows = list(csv.reader(text.splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a CSV of text ({error}); export it again.") from None
    if not text.endswith("\n"):
        raise InputError(f"{path} ends within a line, so it was cut short; export it again.")
    head = {row[0]: row for row in rows[:4] if row and row[0] in HEADER}
    body = rows[len(head) :]
    n_index = 1
    while "coords" in head and n_index < len(head["coords"]) and not head["coords"][n_index]:
        n_index += 1  # label files name each image in three columns
    wide = {len(row) for row in [*head.values(), *body]}
    if not {"bodyparts", "coords"} <= set(head) or len(wide) != 1 or not body:
        raise InputError(f"{path} has no header of scorer, bodyparts and coords with rows of the same "
                         "length under it; export it again.")  # fmt: skip
    names = list(zip(*(row[n_index:] for row in head.values()), strict=True))
    try:
        values = np.array([[float(v) if v else np.nan for v in row[n_index:]] for row in body])
    except ValueError as error:
        raise InputError(f"{path} holds what is no number ({error}); export it again.") from None
    index = [row[0] for row in body]
    numbered = all(text.isdecimal() and len(text) < 16 for text in index)
    frame = np.array([int(text) for text in index]) if numbered else None
    return _sorted(path, names, values, frame, tuple(head))


def _sorted(
    path: Path,
    names: Sequence[Sequence[str]],
    values: NDArray[np.float64],
    frame: NDArray[np.int64] | None,
    levels: Sequence[str],
) -> Pose:
    """Columns named (scorer, [individual,] body part, coordinate) as points."""
    at = {level: i for i, level in enumerate(levels)}
    column: dict[str, dict[str, int]] = {}
    for i, name in enumerate(names):
        animal = name[at["individuals"]] if "individuals" in at else ""
        part = name[at["bodyparts"]]
        column.setdefault(f"{animal}.{part}" if animal else part, {})[name[at["coords"]]] = i
    if not column:
        raise InputError(f"{path} has no column of a body part; export it again.")
    for part, found in column.items():
        if not {"x", "y"} <= set(found) <= set(COORDS):
            raise InputError(f"{path}: {part} has the coordinates {some(list(found))}; poses in two "
                             "dimensions are read: x, y and likelihood.")  # fmt: skip
    xy = np.stack([values[:, [c["x"], c["y"]]] for c in column.values()], axis=1)
    unknown = np.full(len(values), np.nan)
    sure = [values[:, c["likelihood"]] if "likelihood" in c else unknown for c in column.values()]
    return Pose(tuple(column), xy, np.stack(sure, axis=1), frame)


def _pandas(file: h5py.File) -> Any:
    """The one data frame of a file, None if there is none."""
    for node in hdf5.members(file).values():
        kind = hdf5.text(node.attrs.get("pandas_type")) if isinstance(node, h5py.Group) else ""
        if kind in ("frame", "frame_table"):
            return node
    return None


def _deeplabcut(path: Path, group: h5py.Group) -> Pose:
    if hdf5.text(group.attrs.get("pandas_type")) == "frame":
        names, values, index = _fixed(path, group)
    else:
        names, values, index = _table(path, group)
    depth = len(names[0]) if names else 0
    if depth not in (3, 4) or {len(name) for name in names} != {depth} or values.ndim != 2 or (
        values.shape[1] != len(names)
    ):  # fmt: skip
        raise InputError(f"{path} is a data frame of another layout than DeepLabCut's; export it as "
                         "CSV.")  # fmt: skip
    levels = HEADER if depth == 4 else (HEADER[0], *HEADER[2:])
    frame = index.astype(np.int64) if index is not None and index.dtype.kind in "iu" else None
    return _sorted(path, names, values, frame, levels)


def _table(path: Path, group: h5py.Group) -> tuple[list[tuple[str, ...]], Any, Any]:
    table = hdf5.child(group, "table")
    axes = group.attrs.get("non_index_axes")
    if not isinstance(table, h5py.Dataset) or axes is None or "values_block_0" not in (
        table.dtype.names or ()
    ):  # fmt: skip
        raise InputError(f"{path} has no table of one block of numbers; export it as CSV.")
    if not isinstance(axes, bytes | np.void):
        raise InputError(f"{path} has no names of its columns; export it as CSV.")
    rows = hdf5.record_columns(table, ("index", "values_block_0"))
    if "values_block_0" not in rows:
        raise InputError(f"{path} has no table of one block of numbers; export it as CSV.")
    values = rows["values_block_0"].astype(np.float64)
    return (
        texts_in_tuples(axes if isinstance(axes, bytes) else axes.tobytes()),
        values,
        rows.get("index"),
    )


def texts_in_tuples(pickled: bytes) -> list[tuple[str, ...]]:
    """Tuples of text in a pickle, in order, by its opcodes alone: nothing is built or run."""
    memo: dict[Any, str] = {}
    tuples, current = [], []
    last = ""
    for opcode, arg, _ in pickletools.genops(pickled):
        if opcode.name in ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING"):
            last = str(arg)
            current.append(last)
        elif opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
            memo.setdefault(int(str(arg)), last)
        elif opcode.name == "MEMOIZE":
            memo[len(memo)] = last
        elif opcode.name in ("GET", "BINGET", "LONG_BINGET"):
            current.append(memo.get(int(str(arg)), ""))
        elif opcode.name == "MARK":
            current = []
        elif opcode.name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"):
            tuples.append(tuple(current))
            current, last = [], ""
    return [one for one in tuples if len(one) in (3, 4)]


def _fixed(path: Path, group: h5py.Group) -> tuple[list[tuple[str, ...]], Any, Any]:
    def column(name: str) -> NDArray[Any]:
        node = hdf5.child(group, name)
        if not isinstance(node, h5py.Dataset) or node.ndim < 1:
            raise KeyError(name)
        return hdf5.array(node)

    def levels(axis: str) -> list[tuple[str, ...]]:
        n = int(hdf5.number(group.attrs.get(f"{axis}_nlevels", 0)))
        columns = []
        for i in range(n):
            codes, texts = column(f"{axis}_label{i}"), column(f"{axis}_level{i}")
            if codes.dtype.kind not in "iu" or codes.ndim != 1 or (codes < 0).any():
                raise IndexError
            columns.append([hdf5.text(texts[code]) for code in codes])
        return list(zip(*columns, strict=True))

    try:
        names, items = levels("axis0"), levels("block0_items")
        values = column("block0_values").astype(np.float64)
        index = column("axis1") if "axis1" in group else None
    except (KeyError, IndexError, ValueError):
        raise InputError(
            f"{path} has no frame of one block of numbers; export it as CSV."
        ) from None
    if values.ndim == 2 and sorted(names) == sorted(items) and len(items) == values.shape[1]:
        return items, values, index
    raise InputError(f"{path} has no frame of one block of numbers; export it as CSV.")


def _sleap(path: Path, file: h5py.File) -> Pose:
    """`tracks` is (animals, 2, nodes, frames) as it lies in the file."""
    found = hdf5.datasets(file)
    if not {"tracks", "node_names"} <= set(found) or found["tracks"].dtype.kind not in "iuf":
        raise InputError(f"{path} has no tracks of numbers; export the analysis HDF5 again.")
    tracks = hdf5.array(found["tracks"]).astype(np.float64)
    nodes = [hdf5.text(one) for one in hdf5.array(found["node_names"]).tolist()]
    if tracks.ndim != 4 or tracks.shape[1] != 2 or tracks.shape[2] != len(nodes) or not tracks.size:
        raise InputError(f"{path} has tracks of shape {tracks.shape} for {len(nodes)} nodes; export "
                         "the analysis HDF5 again.")  # fmt: skip
    n = tracks.shape[0]
    named = found.get("track_names")
    animals = [hdf5.text(a) for a in hdf5.array(named).tolist()] if named is not None else []
    animals = animals if len(animals) == n else [f"animal-{i}" for i in range(n)]
    parts = [node if n == 1 else f"{animal}.{node}" for animal in animals for node in nodes]
    xy = tracks.transpose(3, 0, 2, 1).reshape(tracks.shape[3], -1, 2)
    sure = found.get("point_scores")
    likelihood = np.full(xy.shape[:2], np.nan)
    if sure is not None and sure.dtype.kind in "iuf" and sure.shape == (n, len(nodes), len(xy)):
        likelihood = hdf5.array(sure).astype(np.float64).transpose(2, 0, 1).reshape(len(xy), -1)
    return Pose(tuple(parts), xy, likelihood, np.arange(len(xy)))
