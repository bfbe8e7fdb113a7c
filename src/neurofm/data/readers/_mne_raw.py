"""From MNE's `Raw` to a recording: what the readers of EEG files and of BIDS folders share."""

import contextlib
import importlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm import files
from neurofm.data.hdf5 import UNSTORED_BYTES
from neurofm.data.quality import Flag, some
from neurofm.data.readers import _mne_fif, _mne_files
from neurofm.data.readers._mne_files import EdfHeader
from neurofm.data.readers._mne_marks import Marks, triggers
from neurofm.data.recording import Channels, Provenance, Recording, Samples, Signal, Table
from neurofm.errors import InputError, NeurofmError

UNITS = {  # channel type: the unit that is stored, and how many of it make one of MNE's (volt, tesla)
    **dict.fromkeys(("eeg", "emg", "eog", "ecg", "seeg", "ecog", "dbs"), ("uV", 1e6)),
    "mag": ("fT", 1e15),
    "grad": ("fT/cm", 1e13),
}
IMPLANTED = ("seeg", "ecog", "dbs")  # their names mean another place in each person
PLACES = ("eeg", "mag", "grad", *IMPLANTED)  # types whose positions are said in the head's frame
VOLTS = ("V", "mV", "µV", "μV", "uV", "nV", "T", "T/m")
NAMED = {"EOG": "eog", "ECG": "ecg", "EKG": "ecg", "EMG": "emg"}  # what a name tells of a type
TYPED = re.compile(
    r"^(?:EEG|EMG|EOG|ECG) +(?=\S)"
)  # in front of a name in EDF; the id has the type
MOST_SPARSE = 100  # bytes of samples a stored byte: slow channels are brought to the highest rate
BLOCK_CELLS = 1 << 20  # samples that are read at once
BUDGET_BYTES = 64 << 30


def imported(module: str, what: str) -> Any:
    """A module of the extra `eeg`.

    Raises InputError that names the extra if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(
            f"{what} needs {module}, which is not installed; run `pip install 'neurofm[eeg]'`."
        ) from None


@contextlib.contextmanager
def guarded(path: Path, flags: list[Flag]) -> Iterator[None]:
    """MNE's warnings become flags, its errors one sentence that names the file."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            yield
    except (NeurofmError, MemoryError):
        raise
    except Exception as error:  # a damaged file may fail anywhere in the library, in any way
        raise InputError(f"{path} could not be read ({_short(f'{type(error).__name__}: {error}')}); "
                         "copy or export it again.") from None  # fmt: skip
    for text in dict.fromkeys(_short(str(one.message)) for one in said):
        flags.append(Flag("warning", "file", text))


def _short(text: str, most: int = 240) -> str:
    flat = " ".join(text.split()).rstrip(".")
    return flat if len(flat) <= most else f"{flat[:most]}..."


def header_of(path: Path, flags: list[Flag]) -> EdfHeader | None:
    """The header of an EDF or BDF file, None for others; channels of another rate are flagged.

    Raises InputError if the file, or the data file of a BrainVision header, is torn or has gaps.
    """
    if (kind := _mne_files.kind_of(path)) not in ("edf", "bdf"):
        if kind == "brainvision":
            _mne_files.refuse_torn_brainvision(path)
        if kind == "fif":
            _mne_fif.refuse_odd(path)
        return None
    header = _mne_files.edf_header(path)
    slow = header.signals & (header.samples < header.samples[header.signals].max())
    if slow.any():
        names = [label for label, is_slow in zip(header.labels, slow, strict=True) if is_slow]
        message = (
            f"{len(names)} channels of a lower rate were brought to the highest: {some(names)}"
        )
        flags.append(Flag("repair", "channels", message))
    return header


def step_of(sfreq_hz: float) -> Fraction:
    """One over a rate, exactly: 1000 / 3 Hz is 3 / 1000 s."""
    short = Fraction(sfreq_hz).limit_denominator(1_000_000)
    close = abs(float(short) - sfreq_hz) <= 1e-12 * sfreq_hz
    return 1 / (short if close and short > 0 else Fraction(sfreq_hz))


def recording_of(
    raw: Any, path: Path, flags: list[Flag], *, header: EdfHeader | None = None,
    id: str = "", subject: str = "", source: tuple[Path, ...] = ()
) -> Recording:  # fmt: skip
    """Everything of an open `Raw`; `source`: the files it came from, for their hash.

    Raises InputError if no channel is EEG, MEG, iEEG, EMG, EOG or ECG in volts or teslas.
    """
    source = source or (path, *_mne_files.parts(path))
    _refuse_absurd(raw, path, source)
    types = _types(raw, header, flags)
    picks = [i for i, one in enumerate(types) if one in UNITS]
    if not picks:
        raise InputError(f"{path} has no EEG, MEG, iEEG or EMG channel in volts or teslas (it has "
                         f"{some(sorted(set(types)))}); set their types and units, and export it "
                         "again.")  # fmt: skip
    step = header.step_s if header else step_of(float(raw.info["sfreq"]))
    span_s = float(raw.n_times * step)
    subject = subject or _subject(raw)
    owner = subject or id or path.stem
    channels = _channels(raw, [types[i] for i in picks], picks, owner)
    channels = replace(channels, subject=np.full(len(picks), subject))
    values = _values(raw, picks, np.array([UNITS[types[i]][1] for i in picks]), path)
    marks = Marks(raw, span_s)
    valid = marks.valid(flags)
    marks.blank(values, channels, step, flags)
    _flag_bad(channels, flags)
    tables = {"annotations": marks.table(), "stim": triggers(raw, types, step, flags)}
    tables = {name: table for name, table in tables.items() if len(table)}
    chosen = next(iter(tables), None)
    return Recording(
        id=id or path.stem,
        subject=subject,
        span=(0.0, span_s),
        valid=valid,
        channels=channels,
        activity=Samples(values, step),
        signals=_signals(raw, types, step, header, flags),
        trials=tables.pop(chosen) if chosen else Table({}),
        tables=tables,
        provenance=_provenance(raw, path, source),
    )


def _refuse_absurd(raw: Any, path: Path, source: tuple[Path, ...]) -> None:
    """Raise InputError for a clock that is none, or more samples than the files can hold."""
    rate_hz = float(raw.info["sfreq"])
    if not 1 / 86_400 <= rate_hz <= 1e7:
        raise InputError(f"{path} has a sampling rate of {rate_hz:g} Hz; export it again.")
    stored = sum(one.stat().st_size for one in source)
    n_bytes = 4 * raw.n_times * len(raw.ch_names)
    if not 0 < n_bytes <= UNSTORED_BYTES + MOST_SPARSE * stored:
        raise InputError(f"{path} claims {n_bytes:,} bytes of samples and stores {stored:,}; "
                         "export it again.")  # fmt: skip


def with_notes(recording: Recording, flags: list[Flag]) -> Recording:
    """The recording with what was found in its notes."""
    told = replace(recording.provenance, notes=tuple(flag.text for flag in flags))
    return replace(recording, provenance=told)


def _types(raw: Any, header: EdfHeader | None, flags: list[Flag]) -> list[str]:
    """(C,) MNE's types, where a name or a unit does not say otherwise."""
    stated = raw._orig_units or {}
    types = list(raw.get_channel_types())
    told, odd = [], []
    for i, name in enumerate(raw.ch_names):
        unit = stated.get(name, "V")
        if types[i] in UNITS and unit not in VOLTS:
            types[i] = "misc"
            odd.append(f"{name} ({(header.unit_of(name) if header else unit) or 'no unit'})")
        elif types[i] == "eeg" and name[:3].upper() in NAMED:
            types[i] = NAMED[name[:3].upper()]
            told.append(name)
    if odd:
        flags.append(Flag("note", "channels", "not in volts, and so signals: " + some(odd)))
    if told:
        flags.append(Flag("note", "channels", f"types were taken from the names {some(told)}"))
    return types


def _subject(raw: Any) -> str:
    """The subject's code; an anonymous one (X) is unknown. Names and birthdays are not kept."""
    about = raw.info["subject_info"] or {}
    code = str(about.get("his_id") or "").strip()
    return "" if code.upper() in ("X", "ANONYMOUS") else code


def _channels(raw: Any, types: list[str], picks: list[int], owner: str) -> Channels:
    names = [raw.ch_names[i] for i in picks]
    loc = np.array([raw.info["chs"][i]["loc"][:3] for i in picks], dtype=np.float32)
    placed = np.isfinite(loc).all(axis=1) & (loc != 0).any(axis=1) & np.isin(types, PLACES)
    homes = [owner if one in IMPLANTED else one for one in types]
    ids = [f"{home}/{TYPED.sub('', name)}" for home, name in zip(homes, names, strict=True)]
    return Channels.of(
        ids,
        kind="real",
        coordinates=np.where(placed[:, None], loc, np.nan),  # metres, in the head's frame
        quality={
            "name": np.array(names),
            "type": np.array(types),
            "unit": np.array([UNITS[one][0] for one in types]),
            "reference": np.array([_reference(raw, one) for one in types]),
            "bad": np.isin(names, raw.info["bads"]),
        },
    )


def _reference(raw: Any, type_: str) -> str:
    """What the file says of the reference, which is little: whether one was applied afterwards."""
    return "custom" if type_ == "eeg" and raw.info["custom_ref_applied"] else ""


def _flag_bad(channels: Channels, flags: list[Flag]) -> None:
    bad = channels.id[channels.quality["bad"]]
    if len(bad):
        message = f"{len(bad)} are marked bad: {some(bad)}; set quality drop_bad=true to leave out"
        flags.append(Flag("warning", "channels", message))


def _values(
    raw: Any, picks: list[int], scale: NDArray[np.float64], path: Path
) -> NDArray[np.float32]:
    """(T, C) samples in the units of `UNITS`, read block by block, so that this is all it takes."""
    n_bytes = raw.n_times * len(picks) * 4
    if n_bytes > BUDGET_BYTES:
        raise InputError(f"{path} holds {n_bytes:,} bytes of samples; save it in pieces.")
    out = np.empty((raw.n_times, len(picks)), dtype=np.float32)
    rows = max(BLOCK_CELLS // len(raw.ch_names), 1)
    for start in range(0, raw.n_times, rows):
        stop = min(start + rows, raw.n_times)
        out[start:stop] = (raw.get_data(picks, start, stop) * scale[:, None]).T
    return out


def _signals(
    raw: Any, types: list[str], step: Fraction, header: EdfHeader | None, flags: list[Flag]
) -> dict[str, Signal]:
    """Every other channel of numbers as a signal under its own name, in its own unit."""
    rest = [i for i, one in enumerate(types) if one not in UNITS and one not in ("stim", "ref_meg")]
    out = {}
    for i in rest:
        name = raw.ch_names[i]
        unit = header.unit_of(name) if header else (raw._orig_units or {}).get(name, "")
        values = raw.get_data([i]).T.astype(np.float32)
        out[name] = Signal(values, float(step), unit=unit)
    if rest:
        names = [f"{raw.ch_names[i]} ({types[i]})" for i in rest]
        flags.append(Flag("note", "channels", f"{len(rest)} became signals: {some(names)}"))
    left = [raw.ch_names[i] for i, one in enumerate(types) if one == "ref_meg"]
    if left:
        text = f"{len(left)} MEG references were left out: {some(left)}"
        flags.append(Flag("note", "channels", text))
    return out


def _provenance(raw: Any, path: Path, source: tuple[Path, ...]) -> Provenance:
    started = raw.info["meas_date"]
    return Provenance(
        source=path.name,
        source_sha256=files.joint_sha256([files.sha256(one) for one in source]),
        format=_mne_files.FORMATS.get(_mne_files.kind_of(path), path.suffix),
        species=str((raw.info["subject_info"] or {}).get("species") or ""),
        started=started.isoformat() if started is not None else "",
    )
