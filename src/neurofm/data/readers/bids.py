"""BIDS folders of EEG, MEG, iEEG and EMG through mne-bids: one recording a file.

Entities of the file's name make the id, `events.tsv` the trials, `channels.tsv` types and bad
channels, `electrodes.tsv` the positions, `participants.tsv` the subject. Needs the extra `eeg`.
"""

import contextlib
import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.manifest import slug
from neurofm.data.quality import Flag
from neurofm.data.readers import _mne_files, _mne_raw
from neurofm.data.readers._mne_files import EdfHeader
from neurofm.data.recording import Recording, Table
from neurofm.errors import InputError

TYPES = ("eeg", "meg", "ieeg", "emg")
SIDECARS = ("events.tsv", "channels.tsv", "electrodes.tsv", "coordsystem.json", "participants.tsv")
NAME = re.compile(r"sub-[^_]+(?:_[a-z]+-[^_]+)*_([a-zA-Z]+)\.(.+)")
SIDECAR_BYTES = 1 << 26
BESIDE = ("json", "tsv", "eeg", "vmrk")  # parts of a recording, not recordings


def root_of(path: Path) -> Path | None:
    """The BIDS folder that a file of a recording, or of an image, lies in; None if it is in none."""
    if not NAME.fullmatch(path.name):
        return None
    homes = (one for one in path.resolve().parents if (one / "dataset_description.json").is_file())
    return next(homes, None)


def is_root(path: Path) -> bool:
    """Whether a folder is a BIDS data set."""
    return path.is_dir() and (path / "dataset_description.json").is_file()


def find(root: Path) -> list[Path]:
    """Recordings of a BIDS folder, derivatives, empty rooms and later splits left out.

    Raises InputError that says what is there if none is EEG, MEG, iEEG or EMG.
    """
    people = [p for p in sorted(root.glob("sub-*")) if p.resolve().is_relative_to(root.resolve())]
    inside = [p for one in people for p in sorted(one.glob("**/*")) if p.parent.name in TYPES]
    found = [p for p in inside if (name := NAME.fullmatch(p.name)) and name[1] in TYPES
             and name[2] not in BESIDE and not p.name.startswith("sub-emptyroom")]  # fmt: skip
    later = {part for path in found if path.is_file() for part in _mne_files.parts(path)}
    if found := [path for path in found if path not in later]:
        return found
    kinds = {p.name for p in root.glob("sub-*/*") if p.is_dir()} | {
        p.name for p in root.glob("sub-*/ses-*/*") if p.is_dir()}  # fmt: skip
    there = ", ".join(sorted(k for k in kinds if not k.startswith("ses-"))) or "no subject's folder"
    raise InputError(f"{root} is a BIDS folder without EEG, MEG, iEEG or EMG recordings (it holds "
                     f"{there}); only these four are read.")  # fmt: skip


def parts(path: Path) -> tuple[Path, ...]:
    """Files of the same recording besides it: data, splits and the sidecars that apply to it."""
    root = root_of(path)
    names = (*SIDECARS, f"{_kind(path)}.json")
    beside = [found for name in names if root and (found := _sidecar(path, root, name))]
    return (*_mne_files.parts(path), *beside)


def read(path: Path, **_: Any) -> Iterator[Recording]:
    """The recording of a file in a BIDS folder, or all of a folder.

    Raises InputError that names the file and the remedy, also where mne-bids is not installed.
    """
    for one in find(path) if path.is_dir() else [path]:
        yield _recording(one)


def _recording(path: Path) -> Recording:
    root, kind = root_of(path), _kind(path)
    if not path.exists() or root is None:
        raise InputError(f"{path} does not exist, or is in no BIDS folder (one with a "
                         "dataset_description.json); check the path.")  # fmt: skip
    if kind not in TYPES:
        raise InputError(f"{path} is {kind or 'of no known kind'}, and of BIDS folders only EEG, MEG, "
                         "iEEG and EMG are read; leave it out.")  # fmt: skip
    if path.is_dir() or not _mne_files.kind_of(path):
        raise InputError(f"{path} is not EDF, BDF, BrainVision (.vhdr) or FIF, or is damaged; "
                         "convert it to one of them.")  # fmt: skip
    for one in (path.parent, *path.parent.parents):
        _refuse_odd_sidecars(one, path, root)
        if one.resolve() == root.resolve():
            break
    flags: list[Flag] = []
    header = _mne_raw.header_of(path, flags)
    mne_bids = _mne_raw.imported("mne_bids", f"reading the BIDS file {path.name}")
    entity = f"{_dataset(root)}/{path.name.partition('_')[0].removeprefix('sub-')}"
    with _mne_raw.guarded(path, flags), _without_locks():
        place = mne_bids.get_bids_path_from_fname(path)
        recording = _mne_raw.recording_of(
            mne_bids.read_raw_bids(place, _extra(header, path, root), verbose="WARNING"),
            path,
            flags,
            header=header,
            id=f"{_dataset(root)}/{path.name.partition('.')[0]}",
            subject=entity,
            source=(path, *parts(path)),
        )
    return _mne_raw.with_notes(_described(recording, path, root, flags), flags)


def _refuse_odd_sidecars(folder: Path, path: Path, root: Path) -> None:
    """mne-bids opens what it finds: pipes would block it, links would lead it out of the data set."""
    for one in (p for p in folder.iterdir() if p.suffix in (".tsv", ".json")):
        _mne_files.refuse_outside(one, path, root)
        if not one.is_file():
            raise InputError(f"{one} is no file; put a file there or remove it.")
        if one.stat().st_size > SIDECAR_BYTES:
            raise InputError(f"{one} has {one.stat().st_size:,} bytes, and {SIDECAR_BYTES:,} are the most "
                             "of a sidecar; shorten it.")  # fmt: skip


@contextlib.contextmanager
def _without_locks() -> Iterator[None]:
    """mne-bids leaves `.lock` files beside what it reads, and waits a minute for those that are there.

    Only if filelock can be imported, which torch brings: so that it cannot be, meanwhile.
    """
    held = sys.modules.get("filelock")
    sys.modules["filelock"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["filelock"]
        if held is not None:
            sys.modules["filelock"] = held


def _extra(header: EdfHeader | None, path: Path, root: Path) -> dict[str, Any]:
    """How MNE should read the names of an EDF file: as `channels.tsv` has them, `EEG Fz` or `Fz`."""
    table = _sidecar(path, root, "channels.tsv")
    if header is None or table is None:
        return {} if header is None else {"infer_types": True}
    names = {row.get("name") for row in _tsv(table)}
    return {} if names <= set(header.labels) else {"infer_types": True}


def _described(recording: Recording, path: Path, root: Path, flags: list[Flag]) -> Recording:
    """The recording with its events as trials, its reference, task and participant."""
    about = _json(_sidecar(path, root, f"{_kind(path)}.json"))
    data = _json(root / "dataset_description.json")
    channels, reference = (
        recording.channels,
        about.get("EEGReference") or about.get("iEEGReference"),
    )
    if isinstance(reference, str):
        scalp = np.isin(channels.quality["type"], ("eeg", "seeg", "ecog", "dbs"))
        column = np.where(scalp, reference, channels.quality["reference"])
        channels = replace(channels, quality={**channels.quality, "reference": column})
    person = _participant(path, root)
    flags += [Flag("note", f"participant.{k}", v) for k, v in person.items() if v != "n/a"]
    events = _sidecar(path, root, "events.tsv")
    told = replace(
        recording.provenance,
        task=str(about.get("TaskName") or ""),
        lab=str(about.get("InstitutionName") or ""),
        licence=str(data.get("License") or ""),
        cite=str(data.get("HowToAcknowledge") or data.get("DatasetDOI") or ""),
        species=person.get("species", recording.provenance.species).removesuffix("n/a"),
    )
    trials = _events(events, flags) if events else recording.trials
    return replace(recording, channels=channels, trials=trials, provenance=told)


def _events(path: Path, flags: list[Flag]) -> Table:
    """`events.tsv` in order of onset; columns of numbers become numbers, `n/a` becomes NaN."""
    rows = _tsv(path)
    names = list(rows[0]) if rows else []
    columns = {name: _column([row.get(name) or "n/a" for row in rows]) for name in names
               if name not in ("start_s", "stop_s")}  # fmt: skip
    start, lasting = columns.pop("onset", None), columns.pop("duration", None)
    if start is None or start.dtype.kind != "f":
        flags.append(Flag("warning", "trials", f"{path.name} has no onsets and was not read"))
        return Table({})
    keep = np.flatnonzero(np.isfinite(start))
    order = keep[np.argsort(start[keep], kind="stable")]
    if len(keep) < len(start):
        flags.append(
            Flag("repair", "trials", f"{len(start) - len(keep)} rows without onset dropped")
        )
    if lasting is None or lasting.dtype.kind != "f":
        lasting = np.zeros(len(start))
    stop = start + np.nan_to_num(lasting)
    named = {"start_s": start, "stop_s": stop, **columns}
    return Table({name: column[order] for name, column in named.items()})


def _column(texts: list[str]) -> NDArray[Any]:
    try:
        return np.array([np.nan if text == "n/a" else float(text) for text in texts])
    except ValueError:
        return np.array(texts, dtype=np.str_)


def _participant(path: Path, root: Path) -> dict[str, str]:
    table = root / "participants.tsv"
    rows = _tsv(table) if table.is_file() else []
    mine = path.name.partition("_")[0]
    found: dict[str, str] = next((row for row in rows if row.get("participant_id") == mine), {})
    return {k: v for k, v in found.items() if k and v and k != "participant_id"}


def _sidecar(path: Path, root: Path, name: str) -> Path | None:
    """The nearest file of that suffix whose entities are all the recording's (inheritance)."""
    mine = set(path.name.split("_")[:-1])
    for folder in path.resolve().parents:
        named = [
            p for p in folder.glob(f"*{name}") if p.name == name or p.name.endswith(f"_{name}")
        ]
        fit = [p for p in named if set(p.name.removesuffix(name).split("_")) - {""} <= mine
               and p.is_file() and not _mne_files.is_outside(p, path, root)]  # fmt: skip
        if fit:
            return max(fit, key=lambda p: len(p.name))
        if folder == root:
            break
    return None


def _kind(path: Path) -> str:
    named = NAME.fullmatch(path.name)
    return named[1] if named else ""


def _dataset(root: Path) -> str:
    name = _json(root / "dataset_description.json").get("Name")
    return slug(name if isinstance(name, str) else root.name)


def _tsv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            names, *rows = [row for row in csv.reader(file, delimiter="\t") if row] or [[]]
    except csv.Error as error:
        raise InputError(f"{path} is no table of text ({error}); export it again.") from None
    return [dict(zip_longest(names, row[: len(names)], fillvalue="")) for row in rows]


def _json(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig", errors="replace"))
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON; mend it or remove it.") from None
    return tree if isinstance(tree, dict) else {}
