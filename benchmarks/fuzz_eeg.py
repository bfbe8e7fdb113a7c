"""Ways to spoil EDF, BDF, BrainVision and FIF files that know their structure: `(path, rng)`, in place.

`secret.*` lies two folders up, and a pipe beside: nothing may be read from either.
"""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_bytes import NAMES, Rng, pick

Change = Callable[[Path, Rng], None]

WIDTHS = (8, 80, 80, 8, 8, 8, 44, 8, 8, 4)  # of EDF's fixed fields
COLUMNS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)  # and of those of each signal
EDF_NUMBERS = ("0", "-1", "-5", "1", "2", "3", "257", "9999", "99999999", "-9999999", "nan", "inf", "-inf", "1e300", "1e-300",
               "9e999999", "1e9", "1/3", "1/0", "0.1", "0x10", "1_0", "", " ", "x", "\xb2", "\xff" * 8, "\x00" * 8, "3.0", "+4", "1e-7",
               "32767", "-32768", "8388607", "0.000001", "86401")  # fmt: skip
TALS = ("", "+", "+x", "+1e9", "+99999999999", "-5", "+0.5\x1599999999999", "+0.5\x15-3", "+0.5\x15nan", "+nan", "+inf",
        "+1\x15\x15\x15", "+1\x14" + "y" * 150, "+1\x14\x14\x14", "+2\x14BAD_\x1b[2J", "+1\x14Recording ends", "\x14\x14",
        "+1\x14\xff\xfe", "+1\x150.5\x14BAD @@Fz", "+1\x14edge", "+00000000000000000000001\x14a")  # fmt: skip


def _parts(head: bytes, n: int) -> list[tuple[int, int]]:
    """(start, width) of every field of an EDF header of n signals."""
    out, at = [], 0
    for width in (*WIDTHS, *(w for w in COLUMNS for _ in range(n))):
        out.append((at, width))
        at += width
    return [one for one in out if sum(one) <= len(head)]


def edf_header(path: Path, rng: Rng) -> None:
    """One to three fields of the header: absurd, negative, no number, no ASCII."""
    content = bytearray(path.read_bytes())
    fields = _parts(bytes(content), int(content[252:256]))
    known = [6, 7, 8, 9, *range(10, len(fields))]
    for _ in range(int(pick((1, 1, 1, 2, 3), rng))):
        start, width = fields[
            int(pick(known, rng)) if rng.integers(3) else int(rng.integers(6, 10))
        ]
        text = pick(NAMES, rng) if rng.integers(4) == 0 else pick(EDF_NUMBERS, rng)
        content[start : start + width] = text.encode("latin-1", "replace")[:width].ljust(width)
    path.write_bytes(content)


def edf_scaling(path: Path, rng: Rng) -> None:
    """Physical and digital ranges that are empty, infinite, upside down; units that are none."""
    content = bytearray(path.read_bytes())
    n = int(content[252:256])
    fields = _parts(bytes(content), n)
    for _ in range(int(rng.integers(1, 4))):
        start, width = fields[10 + n * int(rng.integers(2, 7)) + int(rng.integers(n))]
        content[start : start + width] = pick(EDF_NUMBERS, rng).encode("latin-1").ljust(width)
    path.write_bytes(content)


def edf_annotations(path: Path, rng: Rng) -> None:
    """Annotations that are malformed, far away, endless; records that start whenever."""
    content = bytearray(path.read_bytes())
    at = [i for i in range(len(content)) if content.startswith((b"\x14\x14\x00", b"\x15"), i)]
    for _ in range(int(rng.integers(1, 6))):
        start = int(pick(at, rng)) - (2 if rng.integers(2) else -3)
        text = pick(TALS, rng).encode("latin-1") + pick(
            (b"\x14\x00", b"", b"\x00", b"\x15\x14"), rng
        )
        content[start : start + len(text)] = text
    path.write_bytes(content)


def edf_crowd(path: Path, rng: Rng) -> None:
    """Thousands of signals, of one sample a record or of a hundred thousand."""
    n = int(pick((200, 2000, 9999), rng))
    samples = [
        str(pick((1, 1, 1, 100_000), rng)) if rng.integers(20) == 0 else "1" for _ in range(n)
    ]
    width = 3 if path.suffix == ".bdf" else 2
    rows = [[f"EEG {i if rng.integers(9) else 0}" for i in range(n)], [""] * n, ["uV"] * n, ["-1"] * n, ["1"] * n,
            ["-9"] * n, ["9"] * n, [""] * n, samples, [""] * n]  # fmt: skip
    text = "".join(v[:w].ljust(w) for w, row in zip(COLUMNS, rows, strict=True) for v in row)
    head = path.read_bytes()[:184] + str(256 * (n + 1)).ljust(8).encode() + b" " * 44
    records = int(pick((1, 2, 10), rng))
    head += f"{records:<8}{pick(('1', '1e-3', '600'), rng):<8}{n:<4}".encode() + text.encode()
    path.write_bytes(head + bytes(min(records * width * sum(map(int, samples)), 30 << 20)))


VHDR = {
    "DataFile": ("../../secret.eeg", "ABSOLUTE.eeg", "..", ".", "", "$b.eeg", "a.vhdr", "pipe", "nowhere.eeg", "linked.eeg", "a\\b.eeg"),
    "MarkerFile": ("../../secret.vmrk", "ABSOLUTE.vmrk", "..", ".", "", "a.vhdr", "a.eeg", "pipe", "nowhere", "linked.vmrk", "/etc/passwd"),
    "DataFormat": ("ASCII", "binary", "", "x"),
    "DataOrientation": ("VECTORIZED", "x", ""),
    "NumberOfChannels": ("0", "-1", "1000000000", "9" * 5000, "3.5", "x", "", "²", "1", "100000"),
    "SamplingInterval": ("0", "-1", "nan", "inf", "1e-300", "1e300", "x", "", "9" * 400, "1e12"),
    "BinaryFormat": ("INT_16", "UINT_16", "INT_32", "x", ""),
    "Ch1": ("", ",,,", "Cz,,1,µV", "x" * 100_000 + ",,1,µV", ",,nan,µV", "Fz,,inf,V", "Fz,,1e400,µV", "Fz,,0,kg", "a\\1b,,1,µV",
            "Fz,,x,µV", "Fz"),
    "Ch9": ("Pz,,1,µV",),
    "Codepage": ("UTF-16", "x", "rot13", "idna", "zlib", ""),
    "DataPoints": ("99999999999999", "-1", "1", "x"),
    "AveragesPerSegment": ("3",),
    "SegmentationType": ("MARKERBASED",),
}  # fmt: skip


def vhdr(path: Path, rng: Rng) -> None:
    """Fields of a BrainVision header: other files, counts that are absurd, sections gone or doubled."""
    _beside(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    for _ in range(int(pick((1, 1, 2, 3), rng))):
        name = pick(("DataFile", "MarkerFile", *VHDR), rng)
        value = pick(NAMES, rng) if rng.integers(5) == 0 else pick(VHDR[name], rng)
        at = [i for i, line in enumerate(lines) if line.startswith(f"{name}=")]
        new = f"{name}={_absolute(value, path)}"
        if at and rng.integers(8):
            lines[at[0]] = new
        else:
            lines.insert(int(rng.integers(2, len(lines))), new)
    if rng.integers(6) == 0:
        at = int(rng.integers(len(lines)))
        lines[at:] = pick(
            (
                [],
                lines[at:] * 2,
                [" " * 200_000 + "x", *lines[at:]],
                ["[" * 5000],
                ["a=" + "\n" * 100_000 + "b"],
            ),
            rng,
        )
    path.write_bytes("\n".join(lines).encode("utf-8", "replace"))


def _absolute(name: str, path: Path) -> str:
    return name.replace("ABSOLUTE", str(path.parents[2] / "secret"))


def _beside(path: Path) -> None:
    """What a header may point to: links that lead out of the folder."""
    for suffix in ("eeg", "vmrk"):
        path.with_name(f"linked.{suffix}").symlink_to(f"../../secret.{suffix}")


MARKERS = ("Stimulus,S  1,0,1,0", "Stimulus,S  1,-5,1,0", "Stimulus,S1,99999999999999999999,1,0", "Stimulus,S1,1e3,1,0",
           "Stimulus,S1,50,99999999999,0", "Stimulus,S1,50,-7,0", "Stimulus", ",,,,", "", "New Segment,,1,1,0,99999999999999999999",
           "New Segment,,1,1,0,x", "New Segment,,390,1,0", "Bad Interval,Bad,0,400,0", "Bad Interval,Bad,-9,1,77", "Stimulus,S 1,nan,1,0",
           "SyncStatus,Sync On,1,1,0", "Response,R" + "9" * 5000 + ",3,1,0", "\x1b[2J,\u202e,5,1,0")  # fmt: skip


def vmrk(path: Path, rng: Rng) -> None:
    """Markers out of range, malformed, by the hundred thousand; a file of another kind or none."""
    marks = path.with_suffix(".vmrk")
    lines = marks.read_text(encoding="utf-8").splitlines()
    how = int(rng.integers(8))
    if how == 0:
        marks.unlink()
        pick((lambda: None, lambda: os.mkfifo(marks), lambda: marks.mkdir(), lambda: marks.symlink_to("../../secret.vmrk"),
              lambda: marks.symlink_to("/etc/passwd"), lambda: marks.symlink_to(marks.name), lambda: marks.write_bytes(b"")), rng)()  # fmt: skip
        return
    if how == 1:
        lines += [
            f"Mk{i}=Stimulus,S{i % 9},{i % 500},1,0"
            for i in range(5, int(pick((1000, 20_000), rng)))
        ]
    for _ in range(int(rng.integers(1, 5))):
        lines.insert(
            int(rng.integers(len(lines))), f"Mk{pick((1, 2, 7, 'x', ''), rng)}={pick(MARKERS, rng)}"
        )
    marks.write_bytes("\n".join(lines).encode("utf-8", "replace"))


def brainvision_data(path: Path, rng: Rng) -> None:
    """Samples that are missing, cut, a link, a folder, not finite."""
    data = path.with_suffix(".eeg")
    content = data.read_bytes()
    how = int(rng.integers(7))
    if how < 3:
        odd = np.array(pick((np.nan, np.inf, -np.inf, 3e38, 1e-45), rng), "<f4").tobytes()
        at = 4 * int(rng.integers(len(content) // 4))
        data.write_bytes(
            pick((content[:at], content[:at] + odd + content[at + 4 :], odd * 1200, b""), rng)
        )
        return
    data.unlink()
    pick((lambda: None, data.mkdir, lambda: os.mkfifo(data), lambda: data.symlink_to("../../secret.eeg"), lambda: data.symlink_to("/dev/zero"),
          lambda: data.symlink_to(data.name)), rng)()  # fmt: skip


Tag = tuple[int, int, bytes]  # kind, type, data
ODD = (0, 1, -1, 2, 7, 100, 2**31 - 1, -(2**31), 1 << 24)


def tags_of(content: bytes) -> list[Tag]:
    """The tags of a FIF file as they lie."""
    out, at = [], 0
    while at + 16 <= len(content):
        kind, type_, size, _ = struct.unpack(">iiii", content[at : at + 16])
        if kind != 102:  # the directory, which `joined` makes anew or leaves out
            out.append((kind, type_, content[at + 16 : at + 16 + size]))
        at += 16 + size
    return out


def joined(tags: list[Tag], rng: Rng, odd_next: bool = False, directory: str = "none") -> bytes:
    """Tags as a file again; with positions that lead in circles or nowhere, or a directory that lies."""
    out, entries = b"", b""
    bad = int(rng.integers(len(tags))) if odd_next else -1
    for number, (kind, type_, data) in enumerate(tags):
        if kind == 101:
            data = struct.pack(">i", -1)
        after = (
            int(pick((0, 36, len(out), len(out) - 20, 10**6, 2**31 - 1, -7), rng))
            if number == bad
            else 0
        )
        last = -1 if number == len(tags) - 1 else after
        entries += struct.pack(">iiii", kind, type_, len(data), len(out))
        out += struct.pack(">iiii", kind, type_, len(data), last) + data
    if directory == "none":
        return out
    entries = bytearray(entries)
    for _ in range(int(rng.integers(0, 4))):
        at = 4 * int(rng.integers(len(entries) // 4))
        entries[at : at + 4] = struct.pack(">i", int(pick((*ODD, len(out), len(out) - 8), rng)))
    if directory == "loop":
        entries = entries[: 16 * int(rng.integers(1, 9))] * int(pick((30, 3000), rng))
    at = out.index(struct.pack(">ii", 101, 3)) + 16
    out = out[:at] + struct.pack(">i", len(out)) + out[at + 4 :]
    size = len(entries) + int(pick((0, 0, 8, -16, 2**30), rng))
    return out + struct.pack(">iiii", 102, 32, size, -1) + bytes(entries)


def fif_tags(path: Path, rng: Rng) -> None:
    """Tags with other values, types and sizes, gone, doubled, in another order, nested deep."""
    tags = tags_of(path.read_bytes())
    for _ in range(int(rng.integers(1, 4))):
        at, how = int(rng.integers(2, len(tags))), int(rng.integers(8))
        kind, type_, data = tags[at]
        if how == 0:
            del tags[at]
        elif how == 1:
            tags.insert(int(rng.integers(2, len(tags))), tags[at])
        elif how == 2:
            tags[at] = (
                kind,
                int(
                    pick(
                        (0, 2, 3, 4, 5, 10, 16, 21, 29, 30, 31, 32, 35, 0x40000004, 0x40100004, 99),
                        rng,
                    )
                ),
                data,
            )
        elif how == 3:
            tags[at] = (
                kind,
                type_,
                pick((b"", data[:-1], data * 3, data + bytes(3), bytes(1 << 20)), rng),
            )
        elif how == 4:
            tags[at] = (
                int(pick((104, 105, 300, 301, 200, 203, 201, 108, 109, 118, 3417), rng)),
                type_,
                data,
            )
        elif how == 5:
            value = struct.pack(">i", int(pick(ODD, rng)))
            where = 4 * int(rng.integers(max(len(data) // 4, 1)))
            tags[at] = (kind, type_, data[:where] + value + data[where + 4 :])
        elif how == 6:
            n = int(pick((3, 400, 5000), rng))
            tags[at:at] = [(104, 3, struct.pack(">i", int(pick((100, 119, 999), rng))))] * n
        else:
            skip = struct.pack(">i", int(pick((3, 10**5, 2**31 - 1), rng)))
            first = next((i for i, t in enumerate(tags) if t[0] == 300), at)
            tags.insert(first + int(rng.integers(2)), (301, 3, skip))
    path.write_bytes(joined(tags, rng))


def fif_positions(path: Path, rng: Rng) -> None:
    """A next tag before this one, or far away; a directory in circles, past the end, of lies."""
    tags = tags_of(path.read_bytes())
    how = pick(("none", "lies", "loop"), rng)
    path.write_bytes(joined(tags, rng, how == "none" or bool(rng.integers(3) == 0), how))


def fif_other_files(path: Path, rng: Rng) -> None:
    """A next file that is elsewhere, a link, a pipe, itself, or one that leads back."""
    _beside(path)
    content = path.read_bytes()
    path.with_name("linked-1.fif").symlink_to("../../secret.fif")
    name = pick(("../../secret.fif", "ABSOLUTE.fif", path.name, "./" + path.name, "other.fif", "linked-1.fif", "pipe", "/dev/zero", "..",
                 *NAMES), rng)  # fmt: skip
    path.write_bytes(joined(_with_next(tags_of(content), _absolute(name, path), rng), rng))
    back = pick((path.name, "other.fif", "nowhere.fif"), rng)
    path.with_name("other.fif").write_bytes(joined(_with_next(tags_of(content), back, rng), rng))


def _with_next(tags: list[Tag], name: str, rng: Rng) -> list[Tag]:
    """A block that names the next file."""
    text = name.encode("utf-8", "surrogateescape" if rng.integers(2) else "replace")[:70_000]
    block = [(104, 3, struct.pack(">i", 118)), (115, 3, struct.pack(">i", int(pick((2, 2, 2, 1, 9), rng)))),
             (118, int(pick((10, 10, 10, 3), rng)), text), (117, 3, struct.pack(">i", int(rng.integers(3)))),
             (105, 3, struct.pack(">i", 118))]  # fmt: skip
    if rng.integers(3) == 0:
        del block[int(rng.integers(1, 4))]
    at = next(i for i, tag in enumerate(tags) if tag[0] == 300)
    return [*tags[:at], *block, *tags[at:]] if rng.integers(2) else [*tags[:2], *block, *tags[2:]]


EDF: dict[str, Change] = {"header fields": edf_header, "scaling": edf_scaling, "annotations": edf_annotations, "crowd": edf_crowd}  # fmt: skip
BRAINVISION: dict[str, Change] = {"vhdr": vhdr, "markers": vmrk, "samples": brainvision_data}
FIF: dict[str, Change] = {"tags": fif_tags, "positions": fif_positions, "other files": fif_other_files}  # fmt: skip
