"""Flipped bits, cut files, a full disk, failing calls, and checkpoints made by an enemy."""

import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reliability_power_cases as power
import torch
from reliability_common import Count, fresh, pretrain, same, toy_recording
from reliability_kills import Bench
from reliability_power_cases import CASES, judged
from safetensors.torch import load_file, save_file

from neurofm import files
from neurofm.data.store import create_store
from neurofm.errors import NeurofmError, StoreError
from neurofm.model import checkpoint, weights
from neurofm.model.compose import compose
from neurofm.model.weights import Weights

PATH_OPEN = Path.open


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One bit flipped, or the end cut off, each half of the time."""
    if rng.random() < 0.5:
        return data[: int(rng.integers(len(data)))]
    out = bytearray(data)
    out[rng.integers(len(out))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _each_damaged(paths: list[Path], n: int, rng: np.random.Generator) -> Iterator[Path]:
    """n times: a file with one damage, mended afterwards."""
    for _ in range(n):
        path = paths[rng.integers(len(paths))]
        whole = path.read_bytes()
        path.write_bytes(damaged(whole, rng))
        yield path
        path.write_bytes(whole)


def _sentence(check: Callable[[], object]) -> str:
    try:
        check()
    except StoreError as error:
        return str(error)
    return ""


def checkpoint_damage(work: Path, n: int, rng: np.random.Generator) -> Count:
    """The newest of several checkpoints is damaged: it must be named, and the one before be used."""
    run = power._trained(fresh(work) / "run")
    *_, before, newest = checkpoint.folders(run.checkpoints)
    failed = 0
    for path in _each_damaged(sorted(newest.iterdir()), n, rng):
        said = _sentence(lambda: checkpoint.load(newest))
        used = checkpoint.newest_intact(run.checkpoints)
        named = newest.name in said and (path.name == "manifest.json" or path.name in said)
        failed += not named or used != before
    checkpoint.load(newest)
    return Count(n, failed, {})


def column_damage(work: Path, n: int, rng: np.random.Generator) -> Count:
    """A column or the manifest of one session of two: the file must be named, the other be whole."""
    store = create_store(fresh(work) / "store")
    for name in ("hit", "whole"):
        store.write(toy_recording(name, 3, 0, 200))
    home, failed = store._home("hit"), 0
    for path in _each_damaged(sorted(home.iterdir()), n, rng):
        said = _sentence(lambda: store.verify("hit"))
        failed += str(path) not in said or _sentence(lambda: store.verify("whole")) != ""
    store.verify()
    return Count(n, failed, {})


@contextmanager
def small_disk(folder: Path, kib: int) -> Iterator[bool]:
    """A file system of its own of so many KiB; False where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def full_disk(bench: Bench, disk: Path, kib: int) -> tuple[bool, bool]:
    """(whether the disk filled up, whether all went as it should) of a run on a disk of that size.

    It must end with one sentence and exit code 2, leave only checkpoints that verify, and, when there
    is room, go on to the unbroken run's curve and weights.
    """
    with small_disk(disk, kib) as mounted:
        if not mounted:
            raise PermissionError("a small disk can be mounted by root alone")
        out = disk / "run"
        said = bench.log.with_name("full-disk.txt")
        said.unlink(missing_ok=True)
        code = bench.nursery.run(bench.arguments(out), said)
        if code == 0:
            return False, same(out, bench.unbroken)
        text = said.read_text()
        plain = code == 2 and "could not be written" in text and "Traceback" not in text
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        if not (out / "config.yaml").exists():  # not begun: the same command again
            shutil.rmtree(out, ignore_errors=True)
        code = bench.nursery.run(bench.arguments(out), bench.log)
        return True, plain and code == 0 and same(out, bench.unbroken)


def failing_calls(work: Path, errors: tuple[int, ...]) -> Count:
    """Every writer of `CASES`, with its N-th call to the disk failing, for every N and error."""
    n = failed = 0
    for name, case in CASES.items():
        for error in errors:
            number = 0
            while _fails_at(case, fresh(work / "root"), number, error, wrong := []):
                n, number = n + 1, number + 1
                failed += bool(wrong)
                if wrong:
                    print(name, os.strerror(error), "at call", number, wrong)
    return Count(n, failed, {})


class _Promises(list):
    """Stands for a record of operations: only the promises are kept."""

    def promise(self, what: Any) -> None:
        self.append(what)


def _fails_at(case: power.Case, root: Path, number: int, error: int, wrong: list[str]) -> bool:
    """Whether the writer came so far; `wrong` gets what is not as it should be afterwards."""
    case.prepare(root)
    promises, calls = _Promises(), [0]

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if real is PATH_OPEN and not set(str(arguments[1:])) & set("wa"):
                return real(*arguments, **options)  # reading
            calls[0] += 1
            if calls[0] == number + 1:
                raise OSError(error, os.strerror(error))
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "mkdir", "rename", "replace"):
            patch.setattr(os, name, failing(getattr(os, name)))
        patch.setattr(checkpoint, "save_file", failing(save_file))
        patch.setattr(Path, "open", failing(PATH_OPEN))
        try:
            case.write(root, promises)  # type: ignore[arg-type]
        except (NeurofmError, OSError) as caught:
            if not isinstance(caught, NeurofmError):
                wrong.append(f"not explained: {caught!r}")
    if calls[0] <= number:
        return False
    if said := judged(case.recover)(root, promises):
        wrong.append(said)
    return True


class Payload:
    """What an enemy's pickle would do."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@dataclass(frozen=True)
class Poison:
    """A change to a good artefact after which it must be refused; hashes are made to fit."""

    of: str
    change: Callable[[Path], None]


def _tensors(
    name: str, change: Callable[[dict[str, torch.Tensor]], None]
) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        held = load_file(folder / name)
        change(held)
        save_file(held, folder / name)

    return edit


def _tree(name: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        tree = json.loads((folder / name).read_text())
        changed = change(tree)
        (folder / name).write_text(json.dumps(tree if changed is None else changed))

    return edit


def _bytes(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(data) and None


def _first(held: dict[str, torch.Tensor], value: Callable[[torch.Tensor], torch.Tensor]) -> None:
    name = next(k for k in sorted(held) if held[k].ndim == 2)
    held[name] = value(held[name])


def poisons(marker: Path) -> dict[str, Poison]:
    """Every poison by name. `marker` is a folder that an executed payload would make."""
    pickled = pickle.dumps(Payload(marker))
    huge = (1 << 62).to_bytes(8, "little") + b"{}"
    bomb = b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    out = {}
    for kind, tensors, tree in (
        ("checkpoint", "weights.safetensors", "checkpoint.json"),
        ("shared", weights.TRUNK, weights.CONFIG),
    ):
        out |= {
            f"{kind}: a pickle in place of the tensors": _bytes(tensors, pickled),
            f"{kind}: a header of 2^62 bytes": _bytes(tensors, huge),
            f"{kind}: a tensor of 4 TB": _bytes(tensors, len(bomb).to_bytes(8, "little") + bomb),
            f"{kind}: no tensors at all": _bytes(tensors, b""),
            f"{kind}: JSON of no object": _tree(tree, lambda _: [1]),
            f"{kind}: JSON 100,000 lists deep": _bytes(tree, b"[" * 100_000),
            f"{kind}: another schema": _tree(tree, lambda t: t.update(schema=99)),
            f"{kind}: no model": _tree(tree, lambda t: t.pop("model") and None),
            f"{kind}: a model of a million layers": _tree(
                tree, lambda t: t["model"]["backbone"].update(layers=10**6)),
            f"{kind}: a model of a terabyte": _tree(
                tree, lambda t: t["model"]["backbone"].update(width=2**17, mlp=2**17)),
            f"{kind}: an unknown key in the model": _tree(
                tree, lambda t: t["model"].update(code="import os")),
            f"{kind}: the manifest names a file outside": _tree(
                "manifest.json", lambda t: {**{f"../../{k}": v for k, v in t.items()}}),
        }  # fmt: skip
    out |= {
        "checkpoint: another shape": _tensors(
            "weights.safetensors", lambda held: _first(held, lambda v: v[:, :1].contiguous())),
        "checkpoint: another type": _tensors(
            "weights.safetensors", lambda held: _first(held, lambda v: v.double())),
        "checkpoint: integers for weights": _tensors(
            "weights.safetensors", lambda held: _first(held, lambda v: v.long())),
        "checkpoint: a tensor too many": _tensors(
            "weights.safetensors", lambda held: held.update(evil=torch.zeros(3))),
        "checkpoint: a pickle beside the rest": _bytes("evil.pkl", pickled),
        "checkpoint: more channels than rows": _tree(
            "checkpoint.json", lambda t: t["channels"].extend(["x", "y"])),
        "checkpoint: text for the step": _tree("checkpoint.json", lambda t: t.update(step="__import__")),
        "shared: a pickle beside the rest": _bytes("pytorch_model.bin", pickled),
        "shared: a module beside the rest": _bytes("modeling.py", b"raise SystemExit"),
        "shared: a number that is not finite": _tensors(
            weights.TRUNK, lambda held: _first(held, lambda v: v * float("nan"))),
        "session: a column outside its folder": _tree("manifest.json", _outside),
        "session: a pickle in place of a column": _bytes("activity.values.npy", pickled),
        "session: a column of objects": lambda folder: np.save(
            folder / "activity.values.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True),
        "session: a column of 2^62 rows": lambda folder: (folder / "activity.values.npy").write_bytes(
            _npy_header((1 << 62, 3))) and None,
        "session: JSON 100,000 lists deep": _bytes("manifest.json", b"[" * 100_000),
    }  # fmt: skip
    return {name: Poison(name.partition(":")[0], change) for name, change in out.items()}


def _npy_header(shape: tuple[int, ...]) -> bytes:
    text = str({"descr": "|u1", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def _outside(tree: dict[str, Any]) -> None:
    """The activity is read from a folder above, and the manifest's own hash is made to fit."""
    from neurofm.data import manifest

    name = tree["activity"]["values"]
    tree["activity"]["values"] = f"../../{name}"
    tree["columns"][f"../../{name}"] = tree["columns"].pop(name)
    tree.update(manifest.sealed(tree))


def artefacts(work: Path) -> dict[str, tuple[Path, Callable[[Path], object]]]:
    """A good artefact of each kind, and how it is loaded."""
    run = power._trained(fresh(work) / "run")
    good = checkpoint.folders(run.checkpoints)[-1]
    weights.write(work / "shared", Weights.of(checkpoint.load(good)), rows=True, card="a card")
    store = create_store(work / "store")
    store.write(toy_recording("a", 3, 0, 60))
    return {
        "checkpoint": (good, checkpoint.load),
        "shared": (work / "shared", lambda folder: compose(weights.read(folder))),
        "session": (store._home("a"), lambda folder: type(store)(folder.parents[1]).recordings()),
    }


def poisoned(work: Path) -> Count:
    """Every poison, loaded: refused with a sentence, and nothing executed."""
    good, marker = artefacts(work), work / "executed"
    failed: list[str] = []
    for name, poison in poisons(marker).items():
        source, load = good[poison.of]
        spoiled = work / "spoiled" / "sessions" / source.name
        shutil.rmtree(work / "spoiled", ignore_errors=True)
        shutil.copytree(source, spoiled)
        load(spoiled)  # the copy is good
        poison.change(spoiled)
        if poison.of != "session" and "manifest" not in name:
            listed = json.loads((spoiled / "manifest.json").read_text())
            fitting = {k: files.sha256(spoiled / k) for k in listed}
            (spoiled / "manifest.json").write_text(json.dumps(fitting))
        try:
            load(spoiled)
            failed.append(f"{name}: loaded")
        except NeurofmError:
            pass
        except Exception as error:  # what must not happen
            failed.append(f"{name}: {type(error).__name__}: {error}")
        if marker.exists():
            failed.append(f"{name}: executed")
            marker.rmdir()
    return Count(len(poisons(marker)), len(failed), {"failed": failed} if failed else {})


__all__ = [
    "checkpoint_damage",
    "column_damage",
    "failing_calls",
    "full_disk",
    "poisoned",
    "pretrain",
]
