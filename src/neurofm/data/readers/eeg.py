"""EEG, MEG, iEEG and EMG through MNE: EDF, BDF, BrainVision (`.vhdr`) and FIF files.

Channels of EEG, MEG, iEEG, EMG, EOG and ECG become samples at the file's own rate; other channels
become signals, and trigger channels and annotations become tables. Needs the extra `eeg`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neurofm.data.quality import Flag
from neurofm.data.readers import _mne_files, _mne_raw
from neurofm.data.recording import Recording
from neurofm.errors import InputError


def read(path: Path, **_: Any) -> Iterator[Recording]:
    """The one recording of a file, with its splits, markers and data files.

    Raises InputError that names the file and the remedy, also where MNE is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; check the path.")
    flags: list[Flag] = []
    header = _mne_raw.header_of(path, flags)
    mne = _mne_raw.imported("mne", f"reading {path.name}")
    readers = {"edf": mne.io.read_raw_edf, "bdf": mne.io.read_raw_bdf,
               "brainvision": mne.io.read_raw_brainvision, "fif": mne.io.read_raw_fif}  # fmt: skip
    kind = _mne_files.kind_of(path)
    if kind not in readers:
        raise InputError(f"{path} is not EDF, BDF, BrainVision (.vhdr) or FIF, or is damaged; "
                         "export it again.")  # fmt: skip
    more = {"infer_types": True} if kind in ("edf", "bdf") else {}
    with _mne_raw.guarded(path, flags):
        raw = readers[kind](path, verbose="WARNING", **more)
        recording = _mne_raw.recording_of(raw, path, flags, header=header)
    yield _mne_raw.with_notes(recording, flags)
