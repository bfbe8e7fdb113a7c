"""EDF, BDF, BrainVision and FIF files as bytes: which is which, which files are one, torn ones.

What MNE infers or passes over in silence is looked up here: a file shorter than its header says,
channels at different rates, records with gaps between them.
"""

import glob
import re
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError

FORMATS = {"edf": "EDF", "bdf": "BDF", "brainvision": "BrainVision", "fif": "FIF"}
FIELDS = {"label": 16, "transducer": 80, "unit": 8, "low": 8, "high": 8, "lowest": 8,
          "highest": 8, "filter": 80, "samples": 8}  # fmt: skip
ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
MOST_STEP_S, LEAST_STEP_S = 86_400, Fraction(1, 10_000_000)  # a clock that is one
MOST_SIGNALS = 4096  # MNE takes minutes for ten thousand
FIF_START = (100).to_bytes(4, "big") + (31).to_bytes(4, "big")  # a file id, which is a struct
BRAINVISION = re.compile(rb"Brain ?Vision Data Exchange Header", re.IGNORECASE)


def kind_of(path: Path) -> str:
    """`edf`, `bdf`, `brainvision` or `fif` by the first bytes; empty for anything else."""
    with path.open("rb") as file:
        head = file.read(256)
    if head.startswith(b"0       "):
        return "edf"
    if head.startswith(b"\xffBIOSEMI"):
        return "bdf"
    if BRAINVISION.search(head[:80]):
        return "brainvision"
    return "fif" if head.startswith(FIF_START) else ""


def parts(path: Path) -> tuple[Path, ...]:
    """Further files of the same recording: BrainVision's data and markers, the splits of a FIF."""
    kind = kind_of(path)
    if kind == "brainvision":
        beside = (path.with_name(name) for name in _named(path) if is_name(name))
        return tuple(one for one in beside if one.is_file() and not is_outside(one, path))
    if kind == "fif":
        first = re.sub(r"_split-0*1(?=_)", "_split-*", path.name)
        later = first if first != path.name else f"{glob.escape(path.stem)}-*.fif"
        stem = re.escape(path.stem)
        return tuple(p for p in sorted(path.parent.glob(later)) if p != path
                     and (first != path.name or re.fullmatch(rf"{stem}-\d+", p.stem)))  # fmt: skip
    return ()


def _named(path: Path) -> list[str]:
    """The data and marker files of a BrainVision header, as it says."""
    return [value.replace("$b", path.stem) for key, value in _lines_of(path)
            if key in ("DataFile", "MarkerFile")]  # fmt: skip


def _lines_of(path: Path) -> list[tuple[str, str]]:
    """Every `key=value` of a BrainVision header."""
    text = path.read_bytes().decode("utf-8", "replace")
    pairs = (line.partition("=") for line in text.splitlines())
    return [(key.strip(), value.strip()) for key, sign, value in pairs if sign and value.strip()]


def is_name(text: str) -> bool:
    """Whether it is the plain name of a file in the same folder."""
    return len(text.encode("utf-8", "replace")) < 256 and text not in (".", "..") and not (
        {"/", "\\", "\0"} & set(text)
    )  # fmt: skip


def is_outside(part: Path, path: Path, root: Path | None = None) -> bool:
    """Whether a file that belongs to `path` is a link to one elsewhere.

    A link may lead to where `path` itself lies, into its data set, or into the repository around it (git-annex).
    """
    if not part.is_symlink():
        return False
    around = (one for one in path.absolute().parents if (one / ".git").exists())
    homes = (path.parent, path.resolve().parent, root or path.parent, next(around, path.parent))
    try:
        return not any(part.resolve().is_relative_to(home.resolve()) for home in homes)
    except RuntimeError:  # a link in circles, before Python 3.13
        return True


def refuse_outside(part: Path, path: Path, root: Path | None = None) -> None:
    """Raise InputError if `is_outside`."""
    if is_outside(part, path, root):
        raise InputError(
            f"{part} is a link to a file outside its folder; put a copy of the file there."
        )


def refuse_torn_brainvision(path: Path) -> None:
    """Raise InputError if the data of a BrainVision header are elsewhere, missing or cut short."""
    said = dict(_lines_of(path))
    for name in _named(path):
        if not is_name(name):
            raise InputError(f"{path} names the file {name[:99]!r}, which is no plain name of one beside "
                             "it; put the files of the recording into one folder.")  # fmt: skip
        refuse_outside(path.with_name(name), path)
    data = path.with_name(said.get("DataFile", "").replace("$b", path.stem) or path.stem)
    width = {"INT_16": 2, "UINT_16": 2, "INT_32": 4, "IEEE_FLOAT_32": 4}.get(
        said.get("BinaryFormat", "")
    )
    n, points = said.get("NumberOfChannels", ""), said.get("DataPoints", "")
    if not data.is_file():
        raise InputError(f"{path} names the data file {data.name}, which is not beside it.")
    if n.startswith("-") or (n.isdecimal() and (len(n) > 6 or int(n) > MOST_SIGNALS)):
        raise InputError(f"{path}: NumberOfChannels is {n[:99]!r}; export it again.")
    if not data.stat().st_size:
        raise InputError(f"{path}: its data file {data.name} is empty; copy or export it again.")
    if width is None or not n.isdecimal() or int(n) < 1:
        return  # text, or an odd header: MNE says what it makes of it
    rows, rest = divmod(data.stat().st_size, width * int(n))
    if rest or (points.isdecimal() and (len(points) > 18 or rows < int(points))):
        raise InputError(
            f"{path}: its data file {data.name} was cut short; copy or export it again."
        )


@dataclass(frozen=True)
class EdfHeader:
    """What is needed of an EDF or BDF header. `samples`: of each channel in one record."""

    n_bytes: int
    discontinuous: bool
    n_records: int
    record_s: Fraction
    labels: tuple[str, ...]
    units: tuple[str, ...]
    samples: NDArray[np.int64]
    bytes_a_sample: int

    @property
    def signals(self) -> NDArray[np.bool_]:
        """(C,) which channels hold samples, not annotations."""
        return np.array([label not in ANNOTATIONS for label in self.labels])

    @property
    def step_s(self) -> Fraction:
        """Exact seconds a sample of the fastest channel, the step that MNE reads all at."""
        return self.record_s / int(self.samples[self.signals].max())

    def unit_of(self, name: str) -> str:
        """The unit of a channel by its label, of which MNE takes away a type in front."""
        found = (u for label, u in zip(self.labels, self.units, strict=True)
                 if name in (label, label.partition(" ")[2]))  # fmt: skip
        return next(found, "")

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return int(self.samples.sum()) * self.bytes_a_sample


def edf_header(path: Path) -> EdfHeader:
    """The header of an EDF or BDF file.

    Raises InputError if it is torn, is not of numbers where it must be, or the file is shorter
    than it says, or its records have gaps between them.
    """
    try:
        header = _parsed(path)
    except (ValueError, ArithmeticError, IndexError):
        raise InputError(f"{path} has a torn or damaged header; copy or export it again.") from None
    stored = path.stat().st_size - header.n_bytes
    said = header.n_records * header.record_bytes
    if header.n_records < 0:
        header = replace(header, n_records=stored // header.record_bytes)
    if stored < max(said, 0):  # -1: unknown, of a recording still in progress
        raise InputError(f"{path} holds {stored:,} bytes of samples and its header says {said:,}, "
                         "so it was cut short; copy or export it again.")  # fmt: skip
    if header.discontinuous:
        _refuse_gaps(path, header)
    return header


def _parsed(path: Path) -> EdfHeader:
    with path.open("rb") as file:
        fixed = file.read(256)
        n = int(fixed[252:256])
        text = file.read(256 * n).decode("latin-1")
    if not 1 <= n <= MOST_SIGNALS or len(text) < 256 * n:
        raise ValueError
    columns, at = {}, 0
    for name, width in FIELDS.items():
        columns[name] = [text[at + i * width : at + (i + 1) * width].strip() for i in range(n)]
        at += n * width
    header = EdfHeader(
        n_bytes=int(fixed[184:192]),
        discontinuous=fixed[192:197] in (b"EDF+D", b"BDF+D"),
        n_records=int(fixed[236:244]),
        record_s=Fraction(fixed[244:252].decode("latin-1").strip()),
        labels=tuple(columns["label"]),
        units=tuple(columns["unit"]),
        samples=np.array([int(k) for k in columns["samples"]], dtype=np.int64),
        bytes_a_sample=3 if fixed[:1] == b"\xff" else 2,
    )
    if not header.signals.any() or header.samples.min() < 1 or header.record_s <= 0 or (
        header.n_bytes < 256 * (n + 1) or header.n_records < -1
        or not MOST_STEP_S >= header.step_s >= LEAST_STEP_S
    ):  # fmt: skip
        raise ValueError
    return header


def _refuse_gaps(path: Path, header: EdfHeader) -> None:
    """Each record of a discontinuous file starts with its time; refuse times that leave a gap."""
    at = header.samples[: int(np.argmin(header.signals))].sum() * header.bytes_a_sample
    starts = []
    with path.open("rb") as file:
        for number in range(header.n_records):
            file.seek(header.n_bytes + number * header.record_bytes + int(at))
            found = re.match(rb"([+-]\d+(?:\.\d+)?)\x14", file.read(40))
            starts.append(float(found[1]) if found else np.nan)
    gaps = np.diff(starts) - float(header.record_s)
    if header.signals.all() or not (np.abs(gaps) < float(header.step_s) / 2).all():
        raise InputError(f"{path} is a discontinuous file (EDF+D) with gaps between its records; "
                         "export each piece as a file of its own.")  # fmt: skip
