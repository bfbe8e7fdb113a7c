"""The one place that writes files: beside, synced, then renamed.

A reader sees the old state or the new one, never a half-written one, also after `kill -9` or a
power cut: fsync files -> fsync folder -> rename -> fsync parent. What a library writes (HDF5,
`.npz`, safetensors) it writes to a name that `replacing`, `publish` or `scratch` gave.
"""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from neurofm.errors import StoreError

CHUNK = 1 << 20
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def joint_sha256(digests: Sequence[str]) -> str:
    """One hex SHA-256 for several; that of one file is its own."""
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def sync(path: Path) -> None:
    """fsync a file or a folder; StoreError if the disk is full or fails."""
    with explained(path):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_entry(path: Path) -> None:
    """fsync a file that grew, and its entry in its folder."""
    sync(path)
    sync(path.parent)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """What a full or failing disk says, as a StoreError that names the path and the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        raise StoreError(unwritten(path, str(error.strerror))) from None


def unwritten(path: Path, reason: str) -> str:
    """The sentence about a path that could not be written."""
    return (f"{path} could not be written ({reason}); make room or mend the disk and run the "
            "command again, a training run with --resume: what was finished is kept.")  # fmt: skip


def make(folder: Path) -> None:
    """Make a folder and the missing ones above it, each entered in its parent for good."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    with explained(folder):
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            sync(one.parent)


def put(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of an unfinished folder; publishing the folder syncs it."""
    with explained(path), path.open("wb") as file:
        for part in parts:
            file.write(part)


def remove(folder: Path) -> None:
    """Remove a folder so that no reader sees it half removed, after a kill neither."""
    hidden = _beside(folder)
    with explained(folder):
        folder.rename(hidden)
    sync(folder.parent)
    shutil.rmtree(hidden, ignore_errors=True)


def sweep(folder: Path, pattern: str) -> None:
    """Remove the hidden folders that killed writers left beside what they meant to write."""
    for leftover in folder.glob(f".{pattern}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; on a clean exit it is synced and takes the path's place.

    Raises StoreError if the disk is full or fails; the old file stays.
    """
    make(path.parent)
    temporary = _beside(path)
    try:
        with explained(path):
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a whole text file so that a reader sees the old text or the new one."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _beside(path: Path) -> Path:
    """A hidden, unused name in the same folder; what is made there has the user's usual rights."""
    return path.with_name(f".{path.name}.tmp-{secrets.token_hex(6)}")


def is_leftover(path: Path) -> bool:
    """Whether a killed writer left this: a hidden name beside what it meant to write."""
    return path.name.startswith(".") and ".tmp-" in path.name


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys; NaN and infinity are refused, since JSON has neither."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Parsed JSON.

    Raises StoreError with the file's name if it is missing or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; is this the right folder?") from None
    except (ValueError, OSError, RecursionError) as error:
        raise StoreError(
            f"{path} is not readable JSON ({error}); restore it from a copy."
        ) from None


def append_line(path: Path, line: str) -> None:
    """Append one line of JSON.

    A last line without an end (after a kill) is completed if it is whole JSON and dropped if it is
    torn, so that lines never join and a file that was torn once reads cleanly ever after. It is not
    synced: `sync_entry` does that for as many lines as are worth it.
    """
    with explained(path), path.open("ab+") as file:
        end = file.tell()
        file.seek(max(end - 1, 0))
        if file.read(1) not in (b"", b"\n"):
            file.seek(0)
            tail = file.read().rpartition(b"\n")[2]
            if _is_json(tail):
                file.write(b"\n")
            else:
                file.truncate(end - len(tail))
        file.write(line.encode() + b"\n")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@contextlib.contextmanager
def publish(target: Path) -> Iterator[Path]:
    """Fill a hidden folder beside `target`; on a clean exit it is synced and renamed to `target`.

    Raises StoreError if `target` exists already (published folders are immutable), or if the disk
    is full or fails.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; published folders are never overwritten.")
    make(target.parent)
    temporary = _beside(target)
    try:
        with explained(target):
            temporary.mkdir()
            yield temporary
            settle(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def settle(folder: Path, target: Path) -> None:
    """Sync a filled folder of the same disk and give it its final name, which must be free."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)
    with explained(target):
        folder.rename(target)
    sync(target.parent)


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A hidden folder beside a path, for whatever is not finished; it is removed in any case."""
    temporary = _beside(beside)
    make(temporary)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def manifest_of(folder: Path) -> dict[str, str]:
    """{relative name: SHA-256} of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
