"""Ways to spoil a BIDS folder, or a pose file, that know what it holds: `(path, rng)`, in place."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz_arrays import Bomb
from fuzz_bytes import BYTES, JSON, NAMES, VALUES, Rng, pick
from fuzz_eeg import EDF, Change
from fuzz_hdf5 import STRUCTURE, replace, spoil

CELLS = ("", "n/a", "nan", "inf", "-inf", "-5", "1e308", "99999999999", "x", "0x1", "²", "9" * 5000, "x" * 200_000, "a\x00b", '"',
         '"open', "1,5", "NaN", "None", "1_0", "-0.0", "86400000")  # fmt: skip
HEADS = ("onset", "duration", "name", "type", "units", "status", "x", "y", "z", "start_s", "stop_s", "participant_id", "label", "filename",
         "species", "", "sample", "value")  # fmt: skip
TYPES = (
    "EEG",
    "EMG",
    "MISC",
    "TRIG",
    "MEGMAG",
    "x",
    "n/a",
    "",
    "REF",
    "STIM",
    "EOG",
    "DBS",
    "SEEG",
)


def tsv(path: Path, rng: Rng) -> None:
    """Tables with other cells, other columns, hostile names, ragged rows, many rows."""
    table = pick(_sidecars(path, ".tsv"), rng)
    rows = [line.split("\t") for line in table.read_text().splitlines()]
    for _ in range(int(rng.integers(1, 5))):
        at, how = int(rng.integers(len(rows))), int(rng.integers(9))
        column = int(rng.integers(max(len(rows[at]), 1)))
        small = sum(map(len, rows)) < 10_000 and max(len(v) for row in rows for v in row) < 1000
        if not rows[at]:
            continue
        if how == 0:
            rows[0][min(column, len(rows[0]) - 1)] = pick((*HEADS, *NAMES), rng)
        elif how == 1:
            rows[at] += [pick(CELLS, rng)] * int(rng.integers(1, 4))
        elif how == 2:
            del rows[at][column:]
        elif how == 3:
            rows.insert(at, [] if rng.integers(2) else list(rows[at]))
        elif how == 4 and "type" in rows[0]:
            rows[at][min(rows[0].index("type"), len(rows[at]) - 1)] = pick(TYPES, rng)
        elif how == 5 and rng.integers(3) == 0 and small:
            rows += [rows[-1]] * int(pick((1000, 50_000), rng))
        elif how == 6 and rng.integers(3) == 0 and small:
            rows = [row * 300 for row in rows]
        else:
            rows[at][column] = pick((*CELLS, *NAMES), rng)
    end = pick(("\n", "\n", "\r", "\n\n", "\x00\n"), rng)
    text = end.join("\t".join(row) for row in rows)
    table.write_bytes(text.encode(pick(("utf-8", "utf-8", "utf-16", "utf-8-sig"), rng), "replace"))


def sidecar_json(path: Path, rng: Rng) -> None:
    """Sidecars of other types, nested thousands deep, huge, no JSON."""
    home = pick(_sidecars(path, ".json"), rng)
    content = home.read_bytes()
    how = int(rng.integers(6))
    if how == 0:
        home.write_text(json.dumps(pick(VALUES, rng)))
    elif how == 1:
        home.write_bytes(JSON["deep"](content, rng))
    elif how == 2:
        tree = json.loads(content)
        key = pick((*tree, "EEGReference", "TaskName", "PowerLineFrequency", "License", "IntendedFor", "InstitutionName", "BIDSVersion",
                    "EEGCoordinateUnits", "EEGCoordinateSystem", "iEEGCoordinateSystem", "AnatomicalLandmarkCoordinates"), rng)  # fmt: skip
        home.write_text(json.dumps(tree | {key: pick((*VALUES, *NAMES), rng)}))
    elif how == 3 and rng.integers(2):
        home.write_text("[" + "0," * int(pick((10**5, 2 * 10**6), rng)) + "0]")
    else:
        home.write_bytes(JSON["values"](content, rng))


def _sidecars(path: Path, suffix: str) -> list[Path]:
    return sorted(path.parents[2].rglob(f"*{suffix}"))


def other_files(path: Path, rng: Rng) -> None:
    """Sidecars, or the recording, that are links out of the folder, in circles, pipes, folders."""
    root = path.parents[2]
    how = int(rng.integers(4))
    if how == 0:
        (path.parent / "loop").symlink_to("..")
        (root / "sub-02").symlink_to(pick(("sub-01", "/etc", "../..", "."), rng))
    if how == 1:
        scans = next(root.rglob("*scans.tsv"))
        name = pick(("../../../../secret.eeg", "/etc/passwd", *NAMES), rng)
        scans.write_text(f"filename\tacq_time\n{name}\t{pick(CELLS, rng)}\n{name}\tn/a\n", errors="replace")  # fmt: skip
        return
    home = pick([*_sidecars(path, ".json"), *_sidecars(path, ".tsv")], rng)
    home.unlink()
    secret = os.path.relpath(root.parents[1] / f"secret{home.suffix}", home.parent)
    pick((lambda: None, lambda: home.symlink_to(secret), lambda: home.symlink_to("/etc/passwd"), lambda: home.symlink_to(home.name),
          lambda: os.mkfifo(home), home.mkdir, lambda: home.symlink_to("/dev/zero"), lambda: home.symlink_to(secret)), rng)()  # fmt: skip


def folder_names(path: Path, rng: Rng) -> Path:
    """Files of a subject, session or task of another name; more sidecars that might apply."""
    name = pick(NAMES, rng).replace("\x00", "").replace("/", "").replace("_", "")
    name = name.encode("utf-8", "replace").decode()[:60] or "e"
    how = int(rng.integers(3))
    if how == 0:
        for folder in (path.parent, path.parents[1], path.parents[2]):
            (
                folder
                / f"{pick(('task-x', 'sub-01', name), rng)}_{pick(('events', 'channels', 'electrodes'), rng)}.tsv"
            ).write_text("a\tb\n1\n")
        return path
    new = path.with_name(
        path.name.replace("task-x", f"task-{name}") if how == 1 else f"sub-01_run-{name}_eeg.edf"
    )
    return path.rename(new)


def edf(path: Path, rng: Rng) -> None:
    """The recording itself."""
    pick(list(EDF.values()), rng)(path, rng)


def any_bytes(path: Path, rng: Rng) -> None:
    """Any file of the folder, whatever its format."""
    home = pick([path, *_sidecars(path, ".json"), *_sidecars(path, ".tsv")], rng)
    home.write_bytes(pick(list(BYTES.values()), rng)(home.read_bytes(), rng))


BIDS: dict[str, Callable[[Path, Rng], Any]] = {
    "tables": tsv, "json": sidecar_json, "other files": other_files, "names": folder_names, "recording": edf, "bytes": any_bytes,
}  # fmt: skip


POSE_CELLS = ("", "nan", "inf", "-inf", "1e400", "-1e308", "x", "²", "1_0", "9" * 5000, "9" * 30, "-1", "x" * 200_000, '"', '"a\nb"', "0x1",
              "\x00", " 5", "1;5")  # fmt: skip


def csv_rows(path: Path, rng: Rng) -> None:
    """Ragged rows, other cells, frames that go back, leap or are no numbers."""
    table = _csv_of(path)
    rows = [line.split(",") for line in table.read_text().splitlines()]
    for _ in range(int(rng.integers(1, 4))):
        at, how = int(rng.integers(3, len(rows))), int(rng.integers(6))
        column = int(rng.integers(len(rows[at])))
        if how == 0:
            del rows[at][-1:]
        elif how == 1:
            rows[at].append("1")
        elif how == 2:
            rows[at][0] = pick((*POSE_CELLS, "0", "3", "99999", "99999999999", "img/a.png"), rng)
        elif how == 3:
            rows.insert(at, list(rows[at]) if rng.integers(2) else [])
        else:
            rows[at][column] = pick((*POSE_CELLS, *NAMES), rng)
    _write_rows(table, rows, rng)


def csv_head(path: Path, rng: Rng) -> None:
    """The rows of the header gone, doubled, in another order, with other names; very wide."""
    table = _csv_of(path)
    rows = [line.split(",") for line in table.read_text().splitlines()]
    for _ in range(int(rng.integers(1, 4))):
        at, how = int(rng.integers(4)), int(rng.integers(6))
        column = int(rng.integers(len(rows[0])))
        if how == 0:
            del rows[at]
        elif how == 1:
            rows.insert(at, list(pick(rows[:4], rng)))
        elif how == 2:
            rows[at] = [pick(("scorer", "coords", "individuals", "bodyparts"), rng), *rows[at][1:]]
        elif how == 3:
            n = int(pick((0, 1, 2, 300, 5000), rng))
            rows = [
                row[:1]
                + [v if j % 9 else f"{v}{i}" for i in range(n) for j, v in enumerate(row[1:])][
                    : max(n, 0)
                ]
                for row in rows
            ]
        else:
            rows[at][min(column, len(rows[at]) - 1)] = pick(
                (*NAMES, "z", "x", "", "likelihood"), rng
            )
        rows = rows if len(rows) > 4 and all(rows[:4]) else [["scorer", "a"]] * 5
    _write_rows(table, rows, rng)


def _csv_of(path: Path) -> Path:
    return path if path.suffix == ".csv" else next(path.parent.glob("*.csv"))


def _write_rows(table: Path, rows: list[list[str]], rng: Rng) -> None:
    end = pick(("\n", "\n", "\n", "\r\n", "\r", "\x0b", "\u2028"), rng)
    text = end.join(",".join(row) for row in rows) + pick(("\n", "\n", "\n", ""), rng)
    table.write_bytes(
        text.encode(pick(("utf-8", "utf-8", "utf-8", "utf-16", "latin-1"), rng), "replace")
    )


def csv_bytes(path: Path, rng: Rng) -> None:
    table = _csv_of(path)
    table.write_bytes(pick(list(BYTES.values()), rng)(table.read_bytes(), rng))


def csv_beside(path: Path, rng: Rng) -> None:
    """The pose file beside the recording is a link, a pipe, another kind, or there are two."""
    table = path.with_name(f"{path.stem}DLC.csv")
    content = table.read_bytes() if table.exists() else _csv_of(path).read_bytes()
    table.unlink(missing_ok=True)
    other = table.with_suffix(".h5")
    pick((lambda: os.mkfifo(table), lambda: table.symlink_to("/dev/zero"), table.mkdir, lambda: table.symlink_to(table.name),
          lambda: shutil.copy(path, other), lambda: table.write_bytes(b"scorer," * 10**6),
          lambda: (table.write_bytes(content), table.with_name(f"{path.stem}_sleap.csv").write_bytes(content))), rng)()  # fmt: skip


def hdf5(path: Path, rng: Rng) -> None:
    """Any change of the structure of an HDF5 file, maybe of its bytes too."""
    spoil(path, pick(list(STRUCTURE.values()), rng), rng)
    if rng.integers(4) == 0:
        path.write_bytes(pick(list(BYTES.values()), rng)(path.read_bytes(), rng))


def pickled(path: Path, rng: Rng) -> None:
    """Names in a pickle that runs something, is no pickle, is endless, or names other columns."""
    columns = [("n", part, axis) for part in ("a", "b") for axis in ("x", "y", "likelihood")]
    bombs: tuple[Callable[[], Any], ...] = (
        lambda: np.bytes_(pickle.dumps(Bomb(), 0)), lambda: np.bytes_(pickle.dumps([(1, columns), Bomb()], 0)),
        lambda: np.void(pickle.dumps([(1, columns)], 4)), lambda: np.int64(10**12), lambda: np.float64("nan"), lambda: "text",
        lambda: np.bytes_(pickle.dumps([(1, columns)], 0)[: int(rng.integers(1, 60))]), lambda: np.void(b"\x80\x04X\xff\xff\xff\x7fab"),
        lambda: np.bytes_(b"(" * 60_000 + b"."), lambda: np.bytes_(b"(Va\nVb\nVx\nt" * 5000 + b"."), lambda: np.bytes_(b"L" + b"9" * 50_000 + b"L\n."),
        lambda: np.bytes_(b"g999999999\ng-1\np-5\n(Va\nVb\nVx\nt."), lambda: np.arange(5), lambda: h5py.Empty("S3"),
        lambda: np.bytes_(b"(V\\ud800\nVb\nVx\nt(V\\ud800\nVb\nVy\nt."), lambda: np.bytes_(pickle.dumps([(1, [(*c[:2], "z") for c in columns])], 0)),
    )  # fmt: skip
    with h5py.File(path, "a") as file:
        homes = [k for k in file if isinstance(file[k], h5py.Group)]
        if not homes:
            file.create_group("frame").attrs["pandas_type"] = np.bytes_("frame_table")
        group = file[homes[0] if homes else "frame"]
        group.attrs[
            pick(
                (
                    "non_index_axes",
                    "non_index_axes",
                    "non_index_axes",
                    "pandas_type",
                    "axis0_nlevels",
                ),
                rng,
            )
        ] = pick(bombs, rng)()


def records(path: Path, rng: Rng) -> None:
    """The table of a data frame: absurd, of other fields, in another file, sparse, of objects."""
    secret = str(path.with_name("secret.h5"))
    fields = [("index", "i8"), ("values_block_0", "f8", (6,))]
    n = int(pick((3, 30, 1 << 22, 1 << 34), rng))
    with h5py.File(path, "a") as file:
        home = next((k for k in file if isinstance(file[k], h5py.Group)), "df_with_missing")
        name = f"{home}/table"
        if name in file:
            del file[name]
        makers: tuple[Callable[[], Any], ...] = (
            lambda: file.create_dataset(name, (n,), np.dtype(fields), chunks=(1 << 14,)), lambda: file.create_dataset(name, (n,), np.dtype(fields)),
            lambda: file.create_dataset(name, (30,), np.dtype(fields), external=[(secret, 0, h5py.h5f.UNLIMITED)]),
            lambda: file.create_dataset(name, (30,), np.dtype(fields), external=[("pipe", 0, h5py.h5f.UNLIMITED)]),
            lambda: file.__setitem__(name, h5py.ExternalLink(secret, "/group")), lambda: file.__setitem__(name, h5py.ExternalLink("pipe", "/")),
            lambda: replace(file, name, np.zeros(5, [("values_block_0", "S9"), ("index", "f8")])),
            lambda: file.create_dataset(name, (5,), np.dtype([("index", "i8"), ("values_block_0", h5py.string_dtype())])),
            lambda: replace(file, name, np.zeros(5, [("index", "i8"), ("values_block_0", "f8", (1 << 10, 6))])),
            lambda: replace(file, name, np.full(5, np.nan, [("index", "f8"), ("values_block_0", "f8", (6,))])),
            lambda: replace(file, name, np.zeros((5, 2), fields)), lambda: replace(file, name, np.zeros((), fields)),
        )  # fmt: skip
        pick(makers, rng)()


CSV: dict[str, Change] = {"csv rows": csv_rows, "csv header": csv_head, "csv bytes": csv_bytes, "beside": csv_beside}  # fmt: skip
POSE_HDF5: dict[str, Change] = {"hdf5": hdf5, "pickle": pickled, "records": records}
