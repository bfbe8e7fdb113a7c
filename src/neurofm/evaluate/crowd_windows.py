"""Windows of EEG or EMG of many people, as rows of features with a label each.

Shapes: N windows of all people, D features, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Recording, Samples
from neurofm.data.targets import labels
from neurofm.data.window_channels import Band, power_rows, tangent_pair, trace_rows
from neurofm.errors import InputError

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class CrowdWindows:
    """`person`, `piece`, `label` (N,): who, which trial of whom, and what was done.

    `alone` (N, D): each window by itself; `own` (N, D): as seen from the mean of all windows of its
    recording, labelled or not. `power` (N, P): log band power, no column where none was asked for. `traces` (N, C, W): filtered, no sample where not asked for.
    `session`, `start_s`: the recording, and when in it, pieces of valid time without their gaps.
    """

    person: NDArray[np.str_]
    piece: NDArray[np.str_]
    label: NDArray[np.str_]
    alone: Rows
    own: Rows
    power: Rows
    traces: Rows
    session: NDArray[np.str_]
    start_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.person)

    @classmethod
    def joined(cls, parts: Sequence["CrowdWindows"]) -> "CrowdWindows":
        """One after the other."""
        names = [f.name for f in fields(cls)]
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    def take(self, rows: NDArray[np.bool_]) -> "CrowdWindows":
        """The given windows."""
        return CrowdWindows(*(getattr(self, f.name)[rows] for f in fields(self)))


def crowd_windows(
    recordings: Sequence[Recording],
    label: str,
    window_s: float,
    bands: Sequence[Band],
    *,
    share: float = 0.02,
    floor: float = 0.0,
    power: Sequence[tuple[float, float]] = (),
    traces: bool = False,
) -> CrowdWindows:
    """All windows that lie inside a trial with the label, of recordings of traces.

    A person is a subject. `share`, `floor`: of `covariance.shrunk`. `power`: bands of log power. `traces`: keep those of the first band. Raises InputError if a recording has no such label, is no traces or has
    other channels than the first, or if the window is no whole number of samples.
    """
    first = recordings[0]
    parts = []
    for recording in recordings:
        if recording.channels.id.tolist() != first.channels.id.tolist():
            raise InputError(
                f"{recording.id}: its channels are not those of {first.id}; one reader for all "
                "people needs the same electrodes, in the same order and by the same ids."
            )
        parts.append(_of(recording, label, window_s, bands, (share, floor), power, traces))
    return CrowdWindows.joined(parts)


def _of(
    recording: Recording,
    label: str,
    window_s: float,
    bands: Sequence[Band],
    shrink: tuple[float, float],
    power: Sequence[tuple[float, float]],
    traces: bool,
) -> CrowdWindows:
    n_window, bin_s = _samples(recording, window_s)
    alone, own = tangent_pair(recording, n_window, bands, share=shrink[0], floor=shrink[1])
    told = labels(alone, label, bin_s)
    n_each = told.stop - told.first
    rows = np.concatenate([np.arange(a, b) for a, b in zip(told.first, told.stop, strict=True)])
    number = np.repeat(np.arange(len(told)), n_each)
    return CrowdWindows(
        np.repeat(recording.subject or recording.id, len(rows)),
        np.array([f"{recording.id} {k}" for k in number]),
        np.repeat(told.label, n_each),
        _values(alone)[rows],
        _values(own)[rows],
        power_rows(recording, n_window, power)[rows]
        if power
        else np.zeros((len(rows), 0), np.float32),
        trace_rows(recording, n_window, bands[0])[rows]
        if traces
        else np.zeros((len(rows), 0, 0), np.float32),
        np.repeat(recording.id, len(rows)),
        rows * bin_s,
    )


def _values(sheet: Recording) -> Rows:
    assert isinstance(sheet.activity, Samples)
    return np.asarray(sheet.activity.values[:], dtype=np.float32)


def _samples(recording: Recording, window_s: float) -> tuple[int, float]:
    """(samples a window, seconds a window)."""
    if not isinstance(recording.activity, Samples) or (recording.channels.kind != "real").any():
        raise InputError(f"{recording.id}: people are read from traces (EEG, EMG); these are none.")
    step_s = float(recording.activity.step_s)
    n = window_s / step_s
    if n < 2 or abs(n - round(n)) > 1e-6:
        raise InputError(
            f"{recording.id}: {window_s:g} s are {n:g} samples of "
            f"{step_s:g} s; choose a window of whole samples."
        )
    return round(n), round(n) * step_s
