"""How much of what trials of one condition share is told: a predictor beside its noise ceiling.

Trials repeat a condition (contrast, target). Their responses give a ceiling (`ceilings`); what a
predictor of activity says of the same bins, from stimulus and behaviour alone, is scored against it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import given, label_column, labels_of, side_pieces
from neurofm.errors import InputError
from neurofm.evaluate.metrics import Floats

Piece = tuple[int, NDArray[Any]]  # the first bin, and (T, C) of the bins from there


@dataclass(frozen=True)
class Shown:
    """Trials of one side: `condition` (n,), and the bins [`first`, `stop`) (n,) of their windows."""

    condition: NDArray[np.str_]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.condition)

    @property
    def repeated(self) -> "Shown":
        """Without trials of conditions that are here once."""
        _, at, n = np.unique(self.condition, return_inverse=True, return_counts=True)
        kept = n[at] > 1
        return Shown(self.condition[kept], self.first[kept], self.stop[kept])

    @property
    def overlap(self) -> bool:
        """Whether windows share bins."""
        order = np.argsort(self.first)
        return bool((self.first[order][1:] < self.stop[order][:-1]).any())

    def responses(self, pieces: Sequence[Piece]) -> Floats:
        """(n, C) the mean a bin of each window. Every window lies in one of the pieces."""
        out = []
        for first, stop in zip(self.first.tolist(), self.stop.tolist(), strict=True):
            at, values = next(p for p in pieces if p[0] <= first and stop <= p[0] + len(p[1]))
            out.append(values[first - at : stop - at].mean(axis=0, dtype=np.float64))
        return np.array(out)


def shown(
    recording: Recording,
    columns: Sequence[str],
    side: Intervals,
    bin_s: float,
    *,
    window_s: tuple[float, float] | None = None,
    align: str = "start_s",
) -> Shown:
    """Trials whose window lies in one piece of a side; a condition is what `columns` say together.

    The window is the whole trial or `window_s`, seconds from the column `align`. Trials without one of
    the columns are left out. Raises InputError for a column that is not there, or a window without a bin.
    """
    names = [_column(recording, name) for name in columns]
    known = np.all([there for _, there in names], axis=0)
    text = [[f"{c} {one}" for one in column.tolist()]
            for c, (column, _) in zip(columns, names, strict=True)]  # fmt: skip
    condition = np.array([", ".join(parts) for parts in zip(*text, strict=True)], dtype=np.str_)
    zero = _times(recording, align)
    start, stop = zero, _times(recording, "stop_s")
    if window_s is not None:
        start, stop = zero + window_s[0], zero + window_s[1]
    known &= np.isfinite(start) & np.isfinite(stop)
    first = np.ceil(np.where(known, start, 0) / bin_s - binning.EDGE).astype(np.int64)
    end = np.floor(np.where(known, stop, 0) / bin_s + binning.EDGE).astype(np.int64)
    if known.any() and not (end > first)[known].any():
        raise InputError(f"--window holds no whole bin of {bin_s:g} s; make it longer.")
    inside = np.zeros(len(known), dtype=bool)
    for a, b in side_pieces(recording, side, bin_s):
        inside |= (first >= a) & (end <= b)
    kept = known & inside & (end > first)
    return Shown(condition[kept], first[kept], end[kept])


def trained_means(values: Floats, condition: NDArray[np.str_], asked: NDArray[np.str_]) -> Floats:
    """(n, C) what the training side's trials did on average in the condition of each trial asked about.

    The rival that knows no bins and no likeness of conditions: one that was never shown there is told
    as the mean over all trials.
    """
    table = {one: values[condition == one].mean(axis=0) for one in np.unique(condition).tolist()}
    everything = values.mean(axis=0)
    return np.array([table.get(one, everything) for one in asked.tolist()])


def window_of(text: str) -> tuple[float, float] | None:
    """`0:0.3` -> (0.0, 0.3), seconds; empty text is the whole trial.

    Raises InputError if it is neither.
    """
    if not text:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low = high = np.nan
    if not (np.isfinite([low, high]).all() and low < high):
        raise InputError(f"--window {text!r} must be two times in seconds, such as 0:0.3.")
    return low, high


def _column(recording: Recording, name: str) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """(n,) a column of the trials as text, and of which trials it says anything."""
    columns = recording.trials.columns
    if name in columns and not name.endswith("_s"):
        return columns[name].astype(str), given(columns[name])
    if name in labels_of(recording):
        return label_column(recording, name)
    there = [c for c in columns if not c.endswith("_s")]
    raise InputError(_missing(recording, "column", name, there))


def _times(recording: Recording, name: str) -> Floats:
    columns = recording.trials.columns
    if name not in columns or columns[name].dtype.kind not in "fiu":
        there = [c for c in columns if c.endswith("_s")]
        raise InputError(_missing(recording, "column of times", name, there))
    return columns[name].astype(np.float64)


def _missing(recording: Recording, what: str, name: str, there: Sequence[str]) -> str:
    near = get_close_matches(name, there, n=1)
    said = f"did you mean {near[0]}?" if near else f"they have {', '.join(there) or 'none'}."
    return f"{recording.id}: trials have no {what} {name!r}; {said}"
