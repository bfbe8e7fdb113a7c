"""What can be decoded from a recording: signals on the grid of bins, and labels of trials."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError

MOST_LABELS = 8
NUMBER = "fiub"  # kinds of numpy types that can be compared by size


@dataclass(frozen=True)
class Labels:
    """The labels of a recording's trials, those without one left out.

    `first`, `stop` (n,): the bins [first, stop) that lie wholly inside each trial. `label` (n,).
    """

    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    label: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[np.bool_]) -> "Labels":
        """The given trials."""
        return Labels(self.first[rows], self.stop[rows], self.label[rows])

    def inside(self, spans: list[tuple[int, int]]) -> "Labels":
        """Trials that lie wholly inside one of these [first, stop) pieces."""
        within = np.zeros(len(self), dtype=bool)
        for first, stop in spans:
            within |= (self.first >= first) & (self.stop <= stop)
        return self.take(within)


def side_pieces(recording: Recording, side: Intervals, bin_s: float) -> list[tuple[int, int]]:
    """[first, stop) bins of the pieces of one side, valid time alone: nothing crosses their ends."""
    return binning.pieces(side.intersect(recording.valid), bin_s)


def traces(recording: Recording, name: str, bin_s: float) -> NDArray[np.float32]:
    """A signal on the whole grid of bins, (T, k); NaN where it was not recorded.

    Raises InputError if the recording has no such signal.
    """
    if name not in recording.signals:
        held = ", ".join(sorted(recording.signals)) or "none"
        raise InputError(f"{recording.id}: there is no signal {name!r}; it has {held}.")
    n = binning.n_bins(recording, bin_s)
    return binning.signal(recording.signals[name], 0, n, bin_s)


def labels_of(recording: Recording) -> list[str]:
    """Names of the labels that the trials have: columns of 2 to 8 values, and sides.

    Columns of times (`..._s`) are none. `X_side` compares the columns `X_left` and `X_right`.
    """
    columns = recording.trials.columns
    own = [
        n for n, c in columns.items() if not n.endswith("_s") and 2 <= _n_values(c) <= MOST_LABELS
    ]
    sides = [f"{n[:-5]}_side" for n in columns if n.endswith("_left") and _has_side(recording, n)]
    return own + [name for name in sides if name not in columns]


def labels(recording: Recording, name: str, bin_s: float) -> Labels:
    """The labels of a recording's trials, by the name of their column (or `X_side`).

    Raises InputError, with the names there are, if the trials have no such label.
    """
    label, known = label_column(recording, name)
    trials = recording.trials
    first = np.ceil(trials["start_s"] / bin_s - binning.EDGE)
    stop = np.floor(trials["stop_s"] / bin_s + binning.EDGE)
    known = known & (stop > first)
    whole = np.where(known, first, 0).astype(np.int64), np.where(known, stop, 0).astype(np.int64)
    return Labels(*whole, label).take(known)


def label_column(recording: Recording, name: str) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """(n,) the label of every trial, and whether it is known.

    Raises InputError, with the names there are, if the trials have no such label.
    """
    trials = recording.trials
    if name not in labels_of(recording):
        held = ", ".join(labels_of(recording)) or "none"
        raise InputError(f"{recording.id}: trials have no label {name!r}; they have {held}.")
    column = trials[name] if name in trials.columns else _side(recording, name.removesuffix("side"))
    return column.astype(str), given(column)


def given(column: NDArray[np.generic]) -> NDArray[np.bool_]:
    """(n,) of which trials a column of labels says anything: neither NaN nor empty."""
    return np.asarray((column == column) & (column.astype(str) != ""))  # NaN is not itself


def _n_values(column: NDArray[np.generic]) -> int:
    known = column[~np.isnan(column)] if column.dtype.kind == "f" else column
    return len(np.unique(known))


def _has_side(recording: Recording, left: str) -> bool:
    columns = recording.trials.columns
    right = f"{left[:-5]}_right"
    both = right in columns and columns[left].dtype.kind in NUMBER
    return both and columns[right].dtype.kind in NUMBER and len(columns[left]) > 0


def _side(recording: Recording, stem: str) -> NDArray[np.str_]:
    left, right = recording.trials[f"{stem}left"], recording.trials[f"{stem}right"]
    side = np.where(left > right, "left", np.where(left < right, "right", "equal"))
    return np.where(np.isfinite(left) & np.isfinite(right), side, "")
