"""The one place that writes files: beside, synced, then renamed.

A reader sees the old state or the new one, never a half-written one, also after `kill -9` or a
power cut: fsync files -> fsync folder -> rename -> fsync parent.
"""

import contextlib
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
    """fsync a file or a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to; on a clean exit it is synced and takes the path's place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
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
    torn, so that lines never join and a file that was torn once reads cleanly ever after.
    """
    with path.open("ab+") as file:
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

    Raises StoreError if `target` exists already: published folders are immutable.
    """
    if target.exists():
        raise StoreError(f"{target} exists already; published folders are never overwritten.")
    temporary = _beside(target)
    temporary.mkdir(parents=True)
    try:
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
    folder.rename(target)
    sync(target.parent)


@contextlib.contextmanager
def scratch(beside: Path) -> Iterator[Path]:
    """A hidden folder beside a path, for whatever is not finished; it is removed in any case."""
    temporary = _beside(beside)
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def manifest_of(folder: Path) -> dict[str, str]:
    """{relative name: SHA-256} of every file in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}
