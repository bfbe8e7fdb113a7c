"""The four questions about activity: co-smoothing, forward, intra-region, inter-region.

A task splits its question into folds, patterns of hidden channels, so that a predictor is fitted
once a fold and not once a unit; every channel that can be asked about is scored exactly once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Channels, Recording
from neurofm.errors import InputError
from neurofm.evaluate.task import Example, Question
from neurofm.seeding import generator


class NotAskable(InputError):
    """A task that cannot be asked of a recording; the message says why."""


@dataclass(frozen=True)
class Fold:
    """One pattern of a task. `hidden`, `scored`: (C,) booleans; scored channels are hidden."""

    index: int
    label: str
    hidden: NDArray[np.bool_]
    scored: NDArray[np.bool_]


class Task(Protocol):
    """A question that can be asked of a recording; see `TASKS`."""

    @property
    def name(self) -> str: ...

    def groups(self, recording: Recording, seed: int) -> list[Fold]:
        """The folds, a pure function of (recording's id and channels, seed).

        Raises NotAskable if the recording has too few channels or regions.
        """
        ...

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        """Questions with answers about every piece of `intervals` that was recorded.

        Raises NotAskable if no piece is long enough.
        """
        ...


@dataclass(frozen=True)
class CoSmoothing:
    """Hide a fold of channels for the whole piece, predict them from all the others."""

    name: str = "co-smoothing"
    n_folds: int = 5

    def groups(self, recording: Recording, seed: int) -> list[Fold]:
        rows = _counted(recording, self.name)
        if len(rows) < 2:
            raise NotAskable(f"{recording.id}: {self.name} needs two channels, it has one.")
        folds = _seeded_folds(rows, self.n_folds, seed, self.name, recording.id)
        n = len(recording.channels)
        return [fold_of(i, f"fold {i}", n, part, part) for i, part in enumerate(folds)]

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        return whole_pieces(self.name, recording, intervals, bin_s, fold)


@dataclass(frozen=True)
class IntraRegion:
    """Hide every other region and a fold of one region, predict the fold from its own region."""

    name: str = "intra-region"
    n_folds: int = 5
    fewest_channels: int = 5

    def groups(self, recording: Recording, seed: int) -> list[Fold]:
        n = len(recording.channels)
        folds: list[Fold] = []
        for region, rows in _regions(recording, self.name, self.fewest_channels).items():
            outside = np.setdiff1d(np.arange(n), rows)
            parts = _seeded_folds(rows, self.n_folds, seed, self.name, recording.id, region)
            for number, part in enumerate(parts):
                hidden = np.concatenate([outside, part])
                folds.append(fold_of(len(folds), f"{region} fold {number}", n, hidden, part))
        return folds

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        return whole_pieces(self.name, recording, intervals, bin_s, fold)


@dataclass(frozen=True)
class InterRegion:
    """Hide one whole region, predict it from the other regions."""

    name: str = "inter-region"
    fewest_channels: int = 5

    def groups(self, recording: Recording, seed: int) -> list[Fold]:  # noqa: ARG002
        n = len(recording.channels)
        regions = _regions(recording, self.name, self.fewest_channels)
        return [fold_of(i, name, n, rows, rows) for i, (name, rows) in enumerate(regions.items())]

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        return whole_pieces(self.name, recording, intervals, bin_s, fold)


@dataclass(frozen=True)
class Forward:
    """Hide the last `horizon_s` of every channel in a window, predict it from `context_s` before.

    Windows are tiled, so that every bin past the first context of a piece is scored exactly once;
    where a piece is shorter than a window, the context is what is left before the horizon.
    """

    name: str = "forward"
    context_s: float = 2.0
    horizon_s: float = 0.2

    def groups(self, recording: Recording, seed: int) -> list[Fold]:  # noqa: ARG002
        rows = _counted(recording, self.name)
        everything = np.arange(len(recording.channels))
        return [fold_of(0, "horizon", len(everything), everything, rows)]

    def n_bins(self, bin_s: float) -> tuple[int, int]:
        """(context, horizon) in bins, each at least one."""
        return max(round(self.context_s / bin_s), 1), max(round(self.horizon_s / bin_s), 1)

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        n_context, n_horizon = self.n_bins(bin_s)
        out = []
        for first, stop in binning.pieces(intervals.intersect(recording.valid), bin_s):
            if stop - first <= n_horizon:
                continue
            counts = binning.activity(recording, first, stop, bin_s)
            context = min(n_context, stop - first - n_horizon)
            for start, end, fresh in _horizons(context, n_horizon, stop - first):
                hidden = np.zeros((end - start, len(fold.hidden)), dtype=bool)
                hidden[-n_horizon:] = True
                scored = np.zeros_like(hidden)
                scored[-fresh:] = fold.scored
                window = counts[start:end]
                visible = np.where(hidden, np.zeros((), window.dtype), window)
                place = (self.name, fold.index, recording.id, first + start, bin_s)
                question = Question(*place, recording.channels, visible, hidden, scored)
                out.append(Example(question, window))
        if not out:
            raise NotAskable(
                f"{recording.id}: no piece is longer than the horizon of {self.name}, "
                f"{n_horizon * bin_s:g} s."
            )
        return out


TASKS: dict[str, Task] = {
    "co-smoothing": CoSmoothing(),
    "forward": Forward(),
    "intra-region": IntraRegion(),
    "inter-region": InterRegion(),
}


def _horizons(context: int, horizon: int, n_bins: int) -> list[tuple[int, int, int]]:
    """(start, end, newly scored bins at the end) of each window of a piece."""
    ends = [*range(context + horizon, n_bins + 1, horizon)]
    rest = n_bins - ends[-1]
    windows = [(end - context - horizon, end, horizon) for end in ends]
    if rest:  # the last window ends with the piece and scores what no other window did
        windows.append((n_bins - context - horizon, n_bins, rest))
    return windows


def whole_pieces(
    task: str, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
) -> list[Example]:
    """Examples that hide the fold's channels in every whole piece of the intervals."""
    out = []
    for first, stop in binning.pieces(intervals.intersect(recording.valid), bin_s):
        counts = binning.activity(recording, first, stop, bin_s)
        visible = np.where(fold.hidden, np.zeros((), counts.dtype), counts)
        hidden = np.broadcast_to(fold.hidden, counts.shape)
        scored = np.broadcast_to(fold.scored, counts.shape)
        place = (task, fold.index, recording.id, first, bin_s)
        out.append(Example(Question(*place, recording.channels, visible, hidden, scored), counts))
    if not out:
        raise NotAskable(f"{recording.id}: the part to ask about holds no bin of {bin_s:g} s.")
    return out


def _counted(recording: Recording, task: str) -> NDArray[np.intp]:
    """Rows of the activity, which is of counts or of values."""
    rows = np.flatnonzero(recording.channels.in_activity)
    if not len(rows):
        raise NotAskable(f"{recording.id}: {task} is about activity, and it has none; ask about "
                         "behaviour.")  # fmt: skip
    kinds = np.unique(recording.channels.kind[rows]).tolist()
    if kinds not in (["count"], ["real"]):
        raise NotAskable(
            f"{recording.id}: {task} is scored on counts or on values; it has {kinds}."
        )
    return rows


def _regions(recording: Recording, task: str, fewest: int) -> dict[str, NDArray[np.intp]]:
    """Rows of every named region with enough channels, in order of name."""
    rows = _counted(recording, task)
    region = recording.channels.region[rows]
    names = sorted(set(region.tolist()) - {""})
    if len(names) < 2:
        found = f"only one region, {names[0]!r}" if names else "no region names"
        raise NotAskable(f"{recording.id}: {task} needs two regions, it has {found}.")
    large = {name: rows[region == name] for name in names if (region == name).sum() >= fewest}
    if not large:
        raise NotAskable(f"{recording.id}: no region has the {fewest} channels {task} asks for.")
    return large


def _seeded_folds(
    rows: NDArray[np.intp], n_folds: int, seed: int, *keys: str
) -> Sequence[NDArray[np.intp]]:
    shuffled = generator(seed, *keys).permutation(rows)
    return np.array_split(shuffled, min(n_folds, len(rows)))


def fold_of(
    index: int, label: str, n: int, hidden: NDArray[np.intp], scored: NDArray[np.intp]
) -> Fold:
    """A fold of these rows of `n` channels."""
    inside = np.zeros((2, n), dtype=bool)
    inside[0, hidden] = True
    inside[1, scored] = True
    return Fold(index, label, inside[0], inside[1])


def regions_left_out(channels: Channels, fewest: int) -> Mapping[str, int]:
    """{region: channels} of the regions too small to be asked about, for the reader to know."""
    names, n = np.unique(channels.region, return_counts=True)
    return {str(name): int(k) for name, k in zip(names, n, strict=True) if name and k < fewest}
