"""Power loss: what a disk may hold after each operation of a writer, and whether that is mended.

The operations on a folder are recorded while the real writer works: every `fsync`, `mkdir`,
`rename`, `unlink` and `rmdir` of the process, and, by comparing the folder before each of them, every file that
appeared or changed. The model is strict POSIX: data of a file last only once that file is synced,
an entry (a new file, folder, name, or a removal) only once its folder is. So a crash after any number
of operations leaves any subset of the entries that are not synced, and of every file that is not synced the
old content, none, half of the new, zeros, or the new.
"""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

HIDDEN = re.compile(r"(.*/)?\.[^/]+\.tmp-[0-9a-f]+/")  # what lies inside an unfinished folder
Tree = dict[str, bytes | None]  # relative name: content, None for a folder


@dataclass(frozen=True)
class Op:
    """make, create, write, move, drop or sync; `content` is the whole file after a write."""

    what: str
    path: str
    to: str = ""
    content: bytes = b""


@dataclass
class Record:
    """Operations on `root` in order, and at which of them each promise was given."""

    root: Path
    before: Tree
    ops: list[Op] = field(default_factory=list)
    promises: list[tuple[int, Any]] = field(default_factory=list)

    def promise(self, what: Any) -> None:
        """From here on, whatever happens, `what` must hold."""
        self.catch_up()
        self.promises.append((len(self.ops), what))

    def catch_up(self) -> None:
        """Take in files that appeared or changed since the last operation."""
        now, known = snapshot(self.root), replay(self.before, self.ops)
        for name, content in now.items():
            if name not in known:
                self.ops.append(Op("make" if content is None else "create", name))
            if content is not None and known.get(name) != content and (content or name in known):
                self.ops.append(Op("write", name, content=content))
        for name in sorted(set(known) - set(now), reverse=True):
            self.ops.append(Op("drop", name))


def snapshot(root: Path) -> Tree:
    """Everything under a folder."""
    paths = sorted(root.rglob("*"))
    return {p.relative_to(root).as_posix(): None if p.is_dir() else p.read_bytes() for p in paths}


def parent(path: str) -> str:
    """The folder of a relative name, "" for the root."""
    return path.rpartition("/")[0]


def apply(tree: Tree, op: Op) -> None:
    """One operation; one that cannot be, since an earlier one is lost, is lost too."""
    folder = parent(op.path)
    here = not folder or tree.get(folder, b"") is None
    if op.what in {"make", "create"} and here and op.path not in tree:
        tree[op.path] = None if op.what == "make" else b""
    elif op.what == "write" and op.path in tree:
        tree[op.path] = op.content
    elif op.what == "drop":
        for name in [n for n in tree if _under(n, op.path)]:
            del tree[name]
    elif op.what == "move" and op.path in tree:
        folder = parent(op.to)
        moved = {n: tree.pop(n) for n in list(tree) if _under(n, op.path)}
        if not folder or tree.get(folder, b"") is None:
            for name in [n for n in tree if _under(n, op.to)]:
                del tree[name]
            tree.update({op.to + n.removeprefix(op.path): v for n, v in moved.items()})
        else:
            tree.update(moved)


def replay(before: Tree, ops: Sequence[Op]) -> Tree:
    """The folder after these operations, none lost."""
    tree = dict(before)
    for op in ops:
        apply(tree, op)
    return tree


@contextmanager
def recorded(root: Path, drop_sync: int | None = None) -> Iterator[Record]:
    """Record what happens to `root`; the `drop_sync`-th fsync is left out, for a control."""
    record = Record(root, snapshot(root))
    n_syncs = itertools.count()
    real = {
        name: getattr(os, name)
        for name in ("fsync", "mkdir", "rename", "replace", "unlink", "rmdir")
    }

    def name_of(path: Any, dir_fd: int | None = None) -> str | None:
        full = (Path(f"/proc/self/fd/{dir_fd}").readlink()) if dir_fd is not None else Path.cwd()
        full = Path(os.path.normpath(full / os.fspath(path)))
        inside = full == root or root in full.parents
        return full.relative_to(root).as_posix() if inside else None

    def fsync(handle: int) -> None:
        record.catch_up()
        path = name_of(Path(f"/proc/self/fd/{handle}").readlink())
        if path is not None and next(n_syncs) != drop_sync:
            record.ops.append(Op("sync", path))

    def mkdir(path: Any, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        record.catch_up()
        real["mkdir"](path, mode, dir_fd=dir_fd)
        record.catch_up()

    def moves(name: str) -> Callable[..., None]:
        def move(src: Any, dst: Any, **options: Any) -> None:
            record.catch_up()
            here, there = name_of(src), name_of(dst)
            real[name](src, dst, **options)
            if here is not None and there is not None:
                record.ops.append(Op("move", here, there))

        return move

    def drops(name: str) -> Callable[..., None]:
        def drop(path: Any, *, dir_fd: int | None = None) -> None:
            record.catch_up()
            real[name](path, dir_fd=dir_fd)
            record.catch_up()

        return drop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        patch.setattr(os, "mkdir", mkdir)
        for name in ("rename", "replace"):
            patch.setattr(os, name, moves(name))
        for name in ("unlink", "rmdir"):
            patch.setattr(os, name, drops(name))
        yield record
        record.catch_up()
    assert replay(record.before, record.ops) == snapshot(root), "an operation escaped the record"


def lasting(ops: Sequence[Op]) -> list[bool]:
    """Of each operation, whether it is on the disk for good after the last of them."""
    out, names = [False] * len(ops), {}
    for number, op in enumerate(ops):
        names[number] = op.path if op.what == "write" else parent(op.to or op.path) or "."
    for number, op in enumerate(ops):
        if op.what == "move":  # what lies at the old name is from now on at the new one
            for earlier, name in names.items():
                if earlier < number and _under(name, op.path):
                    names[earlier] = op.to + name.removeprefix(op.path)
        if op.what == "sync":
            for earlier in range(number):
                out[earlier] = out[earlier] or names[earlier] == op.path
    return out


def states(record: Record, n: int) -> Iterator[Tree]:
    """Every folder that a crash after the first `n` operations may leave."""
    ops = record.ops[:n]
    for_good = lasting(ops)
    unseen = _unseen(ops, for_good)
    open_entries = [i for i, op in enumerate(ops) if op.what in {"make", "create", "move", "drop"}
                    and not for_good[i] and i not in unseen]  # fmt: skip
    for_good = [last or i in unseen for i, last in enumerate(for_good)]
    for lost in itertools.chain.from_iterable(
        itertools.combinations(open_entries, k) for k in range(len(open_entries) + 1)
    ):
        yield from _contents(record.before, ops, for_good, set(lost))


def _unseen(ops: Sequence[Op], for_good: Sequence[bool]) -> set[int]:
    """Operations inside a hidden folder that nothing was moved out of: no reader looks there.

    Their states count as one, or a folder of twelve unsynced files alone would have millions.
    """
    out = set()
    for number, op in enumerate(ops):
        later = [other.path for other in ops[number:] if other.what == "move"]
        shown = [other.to for other, last in zip(ops, for_good, strict=True)
                 if other.what == "move" and not last]  # fmt: skip
        if HIDDEN.match(op.path) and not any(_under(op.path, name) for name in later + shown):
            out.add(number)
    return out


def _under(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _contents(
    before: Tree, ops: Sequence[Op], for_good: Sequence[bool], lost: set[int]
) -> Iterator[Tree]:
    """The trees of one subset of entries, with every mixture of what may be in unsynced files."""
    tree, kept = dict(before), dict(before)  # as written, and as synced
    unmoved: list[Op] = []
    for number, op in enumerate(ops):
        for move in reversed(unmoved):  # what happened inside a folder happened under its old name
            if _under(op.path, move.to):
                op = replace(op, path=move.path + op.path.removeprefix(move.to))
        if number in lost:
            unmoved += [op] if op.what == "move" else []
            continue
        apply(tree, op)
        if op.what != "write" or for_good[number]:
            apply(kept, op)
    open_files = [name for name, content in tree.items() if content != kept.get(name)]
    for chosen in itertools.product(
        *(_torn(kept.get(n) or b"", tree[n] or b"") for n in open_files)
    ):
        yield {**tree, **dict(zip(open_files, chosen, strict=True))}


def _torn(old: bytes, new: bytes) -> list[bytes]:
    """What may be in a file whose last write was not synced."""
    grown = old if new.startswith(old) else b""
    more = new[len(grown) :]
    torn = [old, grown, grown + more[: len(more) // 2], grown + bytes(len(more)), new]
    return list(dict.fromkeys(torn))


def put_back(tree: Tree, root: Path) -> None:
    """Make a folder hold just this."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name in sorted(tree):
        if (content := tree[name]) is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(content)


def examine(
    record: Record, place: Path, recover: Callable[[Path, Sequence[Any]], str], limit: int = 0
) -> tuple[int, list[str]]:
    """(distinct states, what was wrong with some) over all prefixes.

    `recover(folder, promises)` says what is lost, or "". The same folder under the same promises is
    tried once. `limit`: at most so many states, evenly spread (0: all).
    """
    seen: dict[tuple[Any, ...], tuple[Tree, list[Any]]] = {}
    for n in range(len(record.ops) + 1):
        given = [what for at, what in record.promises if at <= n]
        for tree in states(record, n):
            key = (len(given), frozenset((k, hash(v)) for k, v in tree.items()))
            seen.setdefault(key, (tree, given))
    chosen = list(seen.values())
    if limit and len(chosen) > limit:
        chosen = [chosen[i * len(chosen) // limit] for i in range(limit)]
    wrong = []
    for tree, given in chosen:
        put_back(tree, place)
        if said := recover(place, given):
            wrong.append(said)
    return len(chosen), wrong
