"""FIF files as tags: MNE follows positions and names of files in them wherever they lead.

A tag is a kind, a type, a size and where the next one lies, of four bytes each, then its data. The
second one points to a directory of all tags, if there is one.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from neurofm.data.readers import _mne_files
from neurofm.errors import InputError

DIRECTORY_POINTER, DIRECTORY, DIRECTORY_ENTRY = 101, 102, 32
BLOCK_START, BLOCK_END = 104, 105
ROLE, NEXT_FILE, NUMBER, NAME = 115, 2, 117, 118  # of a reference to another file
MOST_DEEP = 100  # blocks within blocks


class Tag(NamedTuple):
    """The head of a tag, and the position in the file where it was said to lie."""

    kind: int
    type: int
    size: int
    at: int


def refuse_odd(path: Path) -> None:
    """Raise InputError if positions lead back or past the end, or a next file is elsewhere or was before."""
    seen = [path]
    while True:
        one = seen[-1]
        with one.open("rb") as file:
            size = one.stat().st_size
            tags = list(_tags(one, file, size))
            _refuse_deep(one, tags)
            name = _next_name(one, file, tags)
        if name is None:
            return
        if not name or not _mne_files.is_name(name):
            raise InputError(f"{one} goes on in {name[:99]!r}, which is no plain name of a file beside it; "
                             "put the files of the recording into one folder.")  # fmt: skip
        later = one.with_name(name)
        if not later.is_file():
            return  # MNE says so
        if later in seen:
            raise InputError(f"{one} goes on in {name}, which came before; save it again.")
        _mne_files.refuse_outside(later, path)
        seen.append(later)


def _tags(path: Path, file: BinaryIO, size: int) -> Iterator[Tag]:
    """The tags that MNE would look at, of the directory or one after another."""
    first = _head(file, 0)
    pointer = _head(file, 16 + first[2]) if first else None
    if (
        first is None
        or pointer is None
        or pointer[0] != DIRECTORY_POINTER
        or first[3] not in (0, 36)
    ):
        raise InputError(f"{path} does not start like a FIF file; copy or export it again.")
    at = _integer(file, 16 + first[2])
    head = _head(file, at) if at > 0 else None
    if head is None:
        yield from _one_by_one(path, file, size)
        return
    kind, type_, n_bytes, _ = head
    if kind != DIRECTORY or type_ != DIRECTORY_ENTRY or n_bytes % 16 or at + 16 + n_bytes > size:
        raise InputError(f"{path} has a damaged directory; copy or export it again.")
    for entry in struct.iter_unpack(">iiii", file.read(n_bytes)):
        tag = Tag(*entry)
        if tag.kind != -1:  # which ends some directories
            yield _within(path, tag, size)


def _one_by_one(path: Path, file: BinaryIO, size: int) -> Iterator[Tag]:
    at = 0
    while (head := _head(file, at)) is not None:
        kind, type_, n_bytes, after = head
        yield _within(path, Tag(kind, type_, n_bytes, at), size)
        if after < 0:
            return
        if 0 < after < at + 16:
            raise InputError(f"{path} goes in circles; copy or export it again.")
        at = after or at + 16 + n_bytes


def _within(path: Path, tag: Tag, size: int) -> Tag:
    if tag.size < 0 or tag.at < 0 or tag.at + 16 + tag.size > size:
        raise InputError(f"{path} was cut short: a part of it would end at byte "
                         f"{tag.at + 16 + tag.size:,} of {size:,}; copy or export it again.")  # fmt: skip
    return tag


def _refuse_deep(path: Path, tags: list[Tag]) -> None:
    deep = 0
    for tag in tags:
        deep += (tag.kind == BLOCK_START) - (tag.kind == BLOCK_END)
        if deep > MOST_DEEP:
            raise InputError(
                f"{path} has blocks within blocks without end; copy or export it again."
            )


def _next_name(path: Path, file: BinaryIO, tags: list[Tag]) -> str | None:
    """The file that the recording goes on in, by name or by number; None if it ends here."""
    role, found = NEXT_FILE, None
    for tag in tags:
        if tag.kind in (BLOCK_START, BLOCK_END):
            role = NEXT_FILE
        elif tag.kind == ROLE:
            role = _integer(file, tag.at)
        elif tag.kind == NAME and role == NEXT_FILE:
            file.seek(tag.at + 16)
            return file.read(tag.size).decode("latin-1")
        elif tag.kind == NUMBER and role == NEXT_FILE:
            stem, _, suffix = path.name.partition(".")
            found = f"{re.sub(r'-[0-9]+$', '', stem)}-{_integer(file, tag.at)}.{suffix}"
    return found


def _head(file: BinaryIO, at: int) -> tuple[int, int, int, int] | None:
    file.seek(at)
    head = file.read(16)
    return struct.unpack(">iiii", head) if len(head) == 16 else None


def _integer(file: BinaryIO, at: int) -> int:
    """The first four bytes of a tag's data."""
    file.seek(at + 16)
    return int.from_bytes(file.read(4), "big", signed=True)
