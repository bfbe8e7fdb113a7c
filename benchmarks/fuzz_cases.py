"""Every case: what is spoilt, how it is made again, what may come of it.

A case is (target, mutation, number). `make` writes its file to a folder; `judge` lets the package
read it and says what came of it: `refused` with a sentence, `valid`, or what is wrong.
"""

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_eeg_seeds
import fuzz_folders
import numpy as np
import yaml
from fuzz_arrays import ARRAYS
from fuzz_bytes import BYTES, JSON, NAMES, VALUES, Rng, json_lines, pick, spoil_tree
from fuzz_contract import faults
from fuzz_hdf5 import SECRET, STRUCTURE, plant, spoil
from fuzz_seeds import FILES, YAML, make_config, make_results, make_splits, make_store

from neurofm import config, files, results
from neurofm.data import inspect, manifest, splits
from neurofm.data.quality import PoseConfig, QualityConfig
from neurofm.data.readers import found_in
from neurofm.data.reading import read_into
from neurofm.data.recording import Samples
from neurofm.data.store import MANIFEST, open_store
from neurofm.errors import NeurofmError
from neurofm.report import tables

HDF5 = {**dict.fromkeys(BYTES), **dict.fromkeys(STRUCTURE), "structure and bytes": None}
GROUPS = {"arrays": ARRAYS, "nwb": HDF5, "torch_brain": HDF5}
COLUMNS = (
    "manifest",
    "store.json",
    "column",
    "npy header",
    "swapped columns",
    "paths",
    "links",
    "other folder",
)
YAMLS = ("values", "bomb", "deep", "tags", "keys", "text")
MUTATIONS: dict[str, tuple[str, ...]] = {
    **{target: tuple(group) for target, group in GROUPS.items()},
    "store": (*COLUMNS, *BYTES),
    "splits": (*JSON, *BYTES),
    "config": (*YAMLS, *BYTES),
    "results": ("lines", *BYTES),
    **fuzz_folders.MUTATIONS,
}  # fmt: skip
PARTS = {"arrays": 3000, "nwb": 2400, "torch_brain": 2200, "store": 1400, "splits": 600, "results": 600,
         "config": 400, "eeg": 540, "bids": 540, "pose": 560}  # fmt: skip


QUALITY = QualityConfig(pose=PoseConfig(frame_hz=30.0))


@dataclass(frozen=True)
class Case:
    """One spoilt input; the same name gives the same bytes on any machine."""

    target: str
    mutation: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.target}:{self.mutation}:{self.number}"

    @property
    def rng(self) -> Rng:
        key = [self.number, *self.name.encode()]
        return np.random.default_rng(key)


def cases(target: str, n: int) -> list[Case]:
    """So many cases of a target, every mutation in turn."""
    every = MUTATIONS[target]
    return [Case(target, every[i % len(every)], i // len(every)) for i in range(n)]


def make_seeds(folder: Path) -> None:
    """The good files, written once."""
    for target, kinds in FILES.items():
        for name, write in kinds.items():
            (folder / target).mkdir(parents=True, exist_ok=True)
            write(folder / target / name)
    fuzz_eeg_seeds.make(folder)
    make_store(folder / "store")
    make_splits(folder / "splits.json")
    make_config(folder / "config.yaml")
    make_results(folder / "results.jsonl")


def make(case: Case, seeds: Path, folder: Path) -> Path:
    """The spoilt file or store of a case."""
    rng = case.rng
    if case.target in fuzz_folders.FOLDERS:
        return fuzz_folders.make(case.target, case.mutation, seeds, folder, rng)
    if case.target in FILES:
        return _make_recording(case, seeds, folder, rng)
    if case.target == "store":
        return _make_store(case, seeds, folder, rng)
    name = {"splits": "splits.json", "config": "config.yaml", "results": "results.jsonl"}[
        case.target
    ]
    content, path = (seeds / name).read_bytes(), folder / name
    if case.target == "config" and case.mutation in YAMLS:
        path.write_bytes(_yaml(case.mutation, rng))
    else:
        path.write_bytes({**BYTES, **JSON, "lines": json_lines}[case.mutation](content, rng))
    return path


def _make_recording(case: Case, seeds: Path, folder: Path, rng: Rng) -> Path:
    good = seeds / case.target / pick(sorted(FILES[case.target]), rng)
    content, path = good.read_bytes(), folder / f"bad{good.suffix}"
    if case.target == "arrays":
        path.write_bytes(ARRAYS[case.mutation](content, rng))
        return path
    if case.mutation in BYTES:
        path.write_bytes(BYTES[case.mutation](content, rng))
        return path
    plant(folder)
    os.mkfifo(folder / "pipe")
    path.write_bytes(content)
    change = STRUCTURE.get(case.mutation) or pick(list(STRUCTURE.values()), rng)
    spoil(path, change, rng)
    if case.mutation == "structure and bytes":
        path.write_bytes(pick(list(BYTES.values()), rng)(path.read_bytes(), rng))
    return path


def _make_store(case: Case, seeds: Path, folder: Path, rng: Rng) -> Path:
    home = folder / "store"
    shutil.copytree(seeds / "store", home)
    session = pick(sorted((home / "sessions").iterdir()), rng)
    column = pick(sorted(session.glob("*.npy")), rng)
    described = session / MANIFEST
    tree = json.loads(described.read_text())
    if case.mutation == "manifest":
        described.write_text(json.dumps(spoil_tree(tree, rng)))
    elif case.mutation == "store.json":
        (home / "store.json").write_text(
            json.dumps(pick((*VALUES, {"schema": pick(VALUES, rng)}), rng))
        )
    elif case.mutation == "swapped columns":
        other = pick(sorted(session.glob("*.npy")), rng)
        held = column.read_bytes()
        column.write_bytes(other.read_bytes())
        other.write_bytes(held)
    elif case.mutation == "paths":
        described.write_text(_paths(tree, column.name, folder, rng))
    elif case.mutation == "links":
        column.unlink()
        target = pick(("/dev/zero", "/etc/passwd", column.name, "pipe", "..", "nowhere"), rng)
        os.mkfifo(session / "pipe")
        column.symlink_to(target)
    elif case.mutation == "other folder":
        name = (
            pick(NAMES, rng).replace("\x00", "").replace("/", "_").encode("utf-8", "replace")[:200]
            or b"e"
        )
        session.rename(session.with_name(name.decode("utf-8", "ignore").strip(".") or "e"))
    else:
        _spoil_file(
            case.mutation, pick((column, described), rng) if case.mutation in BYTES else column, rng
        )
    return home


def _spoil_file(mutation: str, path: Path, rng: Rng) -> None:
    if mutation == "column":
        kind = pick(("f8", "i8", "u1", "U3", "c16", "O", "M8[s]", ">f4"), rng)
        shape = pick(((0,), (3,), (3, 4), (400, 4), ()), rng)
        np.save(path, np.zeros(shape, kind))
        return
    if mutation == "npy header":
        text = path.read_bytes()
        start = text.index(b"\n") + 1 if b"\n" in text else 0
        head = pick(("{'descr': '|O', 'fortran_order': False, 'shape': (9,)}", "{'descr': '<f8', 'fortran_order': False, "
                     "'shape': (1152921504606846976, 16)}", "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}",
                     "[" * 5000, "x" * 20_000, "{'descr': '<f8', 'fortran_order': 0, 'shape': 3}"), rng)  # fmt: skip
        path.write_bytes(
            b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + text[start:]
        )
        return
    path.write_bytes(BYTES[mutation](path.read_bytes(), rng))


def _paths(tree: Any, column: str, folder: Path, rng: Rng) -> str:
    """Columns that are said to lie elsewhere: upwards, absolute, in a device, under hostile names."""
    np.save(folder / "outside.npy", np.zeros((400, 4), np.uint8))
    other = pick(
        (
            str(folder / "outside.npy"),
            "../../../outside.npy",
            "/dev/zero",
            "/etc/passwd",
            "..",
            ".",
            "",
            *NAMES,
        ),
        rng,
    )
    if column in tree["columns"]:
        tree["columns"][other] = tree["columns"].pop(column)
    return json.dumps(tree).replace(json.dumps(column), json.dumps(other))


def _yaml(mutation: str, rng: Rng) -> bytes:
    if mutation == "values":
        return yaml.safe_dump(spoil_tree(yaml.safe_load(YAML), rng), allow_unicode=True).encode(
            "utf-8", "replace"
        )
    if mutation == "bomb":
        n, width = int(rng.integers(5, 40)), int(rng.integers(2, 12))
        lines = [f"a0: &a0 [{', '.join(['x'] * width)}]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * width)}]" for i in range(1, n)]
        where = pick(("steps", "model", "masks", "optim", "window_bins"), rng)
        return (
            "\n".join([*lines[:-1], lines[-1].replace(f"a{n - 1}:", f"{where}:")]) + "\n"
        ).encode()
    if mutation == "deep":
        n = int(rng.choice([50, 800, 20_000]))
        return (f"{pick(('steps', 'model', 'x'), rng)}: " + "[" * n + "]" * n).encode()
    if mutation == "tags":
        tag = pick(("!!python/object/apply:os.system ['touch escape']", "!!python/name:os.system", "!!set {a, b}", "!!binary aGk=",
                    "&a [*a]", "&a {x: *a}", "2020-01-01", "0o17", "!!timestamp x", "1:30:00", ".nan", "-.inf", "!!omap [a: 1]"), rng)  # fmt: skip
        return f"{pick(('steps', 'model', 'masks', 'optim'), rng)}: {tag}\n".encode()
    if mutation == "keys":
        key = pick(
            (
                "1",
                "null",
                "[1, 2]",
                "{a: 1}",
                "? [x]",
                "true",
                "1.5",
                "<<",
                '"\\x1b[2J"',
                '"' + "k" * 5000 + '"',
                "'a\n\n b'",
            ),
            rng,
        )
        return (pick(("", "model:\n  ", "optim:\n  "), rng) + f"{key}: 3\n").encode()
    return pick(NAMES, rng).encode("utf-8", "replace") + pick(
        (b"", b": 1", b"\x00", b"\n- 1\n- 2"), rng
    )


def sound(sentence: str) -> bool:
    """One line that a terminal can show, that ends, and that no stranger's text makes long."""
    ends = sentence.endswith((".", ")", "?"))
    return (
        ends
        and len(sentence) < 3000
        and not any(unicodedata.category(c)[0] == "C" for c in sentence)
    )


def judge(case: Case, path: Path, out: Path) -> tuple[str, str]:
    """(outcome, sentence): `refused`, `valid`, `unsound sentence`, `invalid` or `unforeseen`."""
    try:
        found = JUDGES.get(case.target, _judge_recording)(path, out)
    except NeurofmError as error:
        return ("refused" if sound(str(error)) else "unsound sentence"), str(error)
    return ("invalid", "; ".join(found)) if found else ("valid", "")


def _judge_folder(path: Path, out: Path) -> list[str]:
    """Every recording of a BIDS folder, or that of another file; nothing may be read from a secret."""
    found = []
    for number, one in enumerate(found_in(path) if path.is_dir() else [path]):
        found += _judge_recording(one, out / str(number))
    return found


def _judge_recording(path: Path, out: Path) -> list[str]:
    answer = read_into(path, out / "staged", QUALITY, lambda _: True)
    if "sentence" in answer:
        if answer["sentence"].endswith("or report it."):  # no reader foresaw it
            raise RuntimeError(answer["sentence"])
        raise NeurofmError(answer["sentence"])
    found = []
    for number in range(answer["n_recordings"]):
        home = out / "staged" / str(number)
        tree = files.read_json(home / MANIFEST)
        recording = manifest.unpack(home, tree)
        found += faults(recording)
        manifest.folder_name(recording.id)
        found += _shown(inspect.table([inspect.summarise(recording)]))
        if SECRET in json.dumps(tree) or any(
            b"s\0e\0c\0r\0e\0t" in p.read_bytes() for p in home.iterdir()
        ):
            found.append("the text of another file was read")
        if (tree["activity"].get("ticks") or path.suffix == ".h5") and _has_secret(recording):
            found.append("the numbers of another file were read")
    return found


def _has_secret(recording: Any) -> bool:
    values = [np.asarray(s.values[:]) for s in recording.signals.values()]
    if isinstance(recording.activity, Samples):
        values.append(np.asarray(recording.activity.values[:]))
    values += [
        np.asarray(c)
        for t in (recording.trials, *recording.tables.values())
        for c in t.columns.values()
    ]
    return any(v.dtype.kind == "f" and v.size and (v == 123456.0).any() for v in values)


def _shown(text: str) -> list[str]:
    bad = [c for c in text if c != "\n" and unicodedata.category(c)[0] == "C"]
    return [f"a table shows {bad[0]!r}"] if bad else []


def _judge_store(path: Path, _: Path) -> list[str]:
    """Opened and read whole; what reading cannot see, the hashes must."""
    store = open_store(path)
    try:
        found = [fault for recording in store.recordings() for fault in faults(recording)]
        found += _shown(inspect.table(inspect.summary(store)))
    except NeurofmError:
        raise
    except Exception:  # a column that was changed may hold anything: then the hashes must say so
        store.verify()
        raise
    if found:
        store.verify()
    return found


def _judge_splits(path: Path, _: Path) -> list[str]:
    made = splits.load(path)
    made.prove()
    return _shown(made.table())


def _judge_config(path: Path, out: Path) -> list[str]:
    from neurofm.train.pretrain import PretrainConfig

    made = config.load(PretrainConfig, path)
    (out / "again.yaml").write_text(config.dump(made))
    return (
        [] if config.load(PretrainConfig, out / "again.yaml") == made else ["it does not come back"]
    )


def _judge_results(path: Path, _: Path) -> list[str]:
    found = results.newest(results.load(path))
    json.dumps([r.record() for r in found], allow_nan=False)
    tables.markdown_table(found)
    return _shown(tables.table(found))


JUDGES: dict[str, Callable[[Path, Path], list[str]]] = {
    "store": _judge_store, "splits": _judge_splits, "config": _judge_config, "results": _judge_results,
    **dict.fromkeys(fuzz_folders.FOLDERS, _judge_folder),
}  # fmt: skip
