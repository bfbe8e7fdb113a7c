"""The nouns of data: a recording and its parts.

Times are seconds from the recording's start; intervals are half-open. Arrays may be lazy: anything
with `shape`, `dtype`, `len` and slicing along the first axis will do (`data.column.Column`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.plain import LONGEST_NAME, activity_of, exact_seconds, usable_name
from neurofm.errors import InputError

KINDS = ("count", "real", "category", "embedding")
NODES = ("stimulus", "activity", "behaviour")


class Array(Protocol):
    """What a column must do: an ndarray does, and so does a lazily read file."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice, /) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Channels:
    """A table with one row a unit, electrode, ROI or voxel, in the column order of the activity.

    `id`: (C,) globally unique names; channels that are the same across sessions share one.
    `region`, `subject`, `node`, `kind`: (C,) strings. `coordinates`: (C, 3) float32, NaN unknown.
    `quality`: further (C,) columns, by name. `group`: (C,) names; the channels of one category or
    embedding share one, "" stands alone; None where all do.
    """

    id: NDArray[np.str_]
    region: NDArray[np.str_]
    subject: NDArray[np.str_]
    node: NDArray[np.str_]
    kind: NDArray[np.str_]
    coordinates: NDArray[np.float32]
    quality: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    group: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        n = len(self.id)
        for name in ("id", "region", "subject", "node", "kind"):
            if getattr(self, name).dtype.itemsize > 4 * LONGEST_NAME:
                raise InputError(
                    f"channels.{name} holds a text of more than {LONGEST_NAME} characters."
                )
        columns = {"region": self.region, "subject": self.subject, "node": self.node,
                   "kind": self.kind, "coordinates": self.coordinates, **self.quality}  # fmt: skip
        if self.group is not None:
            columns["group"] = self.group
        for name, column in columns.items():
            if len(column) != n:
                raise InputError(f"channels.{name} has {len(column)} rows for {n} channels.")
        if len(np.unique(self.id)) != n:
            raise InputError("channels.id holds the same id twice; ids must be unique.")
        if bad := sorted(set(self.kind.tolist()) - set(KINDS)):
            raise InputError(f"channels.kind holds {bad[0]!r}; it must be one of {KINDS}.")
        if bad := sorted(set(self.node.tolist()) - set(NODES)):
            raise InputError(f"channels.node holds {bad[0]!r}; it must be one of {NODES}.")

    @classmethod
    def of(
        cls,
        id: ArrayLike,
        *,
        region: ArrayLike | None = None,
        subject: str = "",
        kind: str = "count",
        coordinates: ArrayLike | None = None,
        quality: Mapping[str, NDArray[Any]] | None = None,
    ) -> "Channels":
        """Activity channels of one subject, with everything unknown left empty."""
        ids = np.asarray(id, dtype=np.str_).reshape(-1)
        n = len(ids)
        usable_name(subject, "subject")
        regions = np.full(n, "") if region is None else np.asarray(region, dtype=np.str_)
        where = np.full((n, 3), np.nan) if coordinates is None else np.asarray(coordinates)
        return cls(
            id=ids,
            region=regions,
            subject=np.full(n, subject),
            node=np.full(n, "activity"),
            kind=np.full(n, kind),
            coordinates=where.astype(np.float32),
            quality=dict(quality or {}),
        )

    def __len__(self) -> int:
        return len(self.id)

    @cached_property
    def regions(self) -> tuple[NDArray[np.str_], NDArray[np.int64]]:
        """The names of the regions, sorted, and how many channels each has; found once."""
        names, counts = np.unique(self.region, return_counts=True)
        return names, counts

    @cached_property
    def in_activity(self) -> NDArray[np.bool_]:
        """(C,) which channels are of the activity."""
        return np.asarray(self.node == "activity")

    @cached_property
    def of_activity(self) -> "Channels":
        """Those of the activity alone; the very same table where all are."""
        return self if self.in_activity.all() else self.take(self.in_activity)

    def take(self, rows: ArrayLike) -> "Channels":
        """The given rows (indices or booleans), in that order."""
        at = np.asarray(rows)
        named = ("id", "region", "subject", "node", "kind", "coordinates")
        return Channels(
            **{name: getattr(self, name)[at] for name in named},
            quality={name: column[at] for name, column in self.quality.items()},
            group=None if self.group is None else self.group[at],
        )


@dataclass(frozen=True)
class Events:
    """Spike times as integer ticks: `seconds = ticks / ticks_per_s`, exactly.

    `ticks`: (n,) int64, sorted. `row`: (n,) index into the channels. `seconds_index`: (S + 1,)
    int64, the first event at or after each whole second, so that a window reads only its seconds.
    """

    ticks: Array
    row: Array
    ticks_per_s: Fraction
    seconds_index: NDArray[np.int64]

    @classmethod
    def of(cls, ticks: NDArray[np.int64], row: NDArray[Any], ticks_per_s: Fraction) -> "Events":
        """Events from sorted ticks >= 0, with their index of seconds.

        Raises InputError if the ticks are not sorted or are negative.
        """
        if len(ticks) and (ticks[0] < 0 or (np.diff(ticks) < 0).any()):
            raise InputError("Spike ticks must be sorted and at or after the recording's start.")
        last = int(ticks[-1] / ticks_per_s) + 2 if len(ticks) else 1
        p, q = ticks_per_s.numerator, ticks_per_s.denominator
        edges = -(-np.arange(last + 1, dtype=np.int64) * p // q)  # ceil(second * rate)
        return cls(ticks, row, ticks_per_s, np.searchsorted(ticks, edges).astype(np.int64))

    def between(self, start_s: float, end_s: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(ticks, rows) of the events in whole seconds around [start_s, end_s): a superset."""
        last = len(self.seconds_index) - 1
        first = self.seconds_index[min(max(int(np.floor(start_s)), 0), last)]
        stop = self.seconds_index[min(max(int(np.ceil(end_s)), 0), last)]
        rows = slice(int(first), int(stop))
        return np.asarray(self.ticks[rows]), np.asarray(self.row[rows], dtype=np.int64)


@dataclass(frozen=True)
class Samples:
    """Activity on a grid: binned counts, calcium, EEG, EMG, BOLD.

    `values`: (T, C), row t covers [t, t + 1) * step_s. `step_s`: exact seconds a row.
    """

    values: Array
    step_s: Fraction


@dataclass(frozen=True)
class Signal:
    """A stimulus or behaviour trace at its own rate; NaN where it was not recorded.

    `values`: (n, k). Regular: sample i covers [start_s + i * step_s, + step_s). Irregular: `step_s`
    is 0 and `times_s` (n,) holds the sorted times.
    """

    values: Array
    step_s: float
    start_s: float = 0.0
    times_s: Array | None = None
    unit: str = ""
    node: str = "behaviour"

    def sample_times_s(self) -> NDArray[np.float64]:
        """(n,) seconds; the left edges, where the signal is regular."""
        if self.times_s is not None:
            return np.asarray(self.times_s[:], dtype=np.float64)
        return np.asarray(self.start_s + np.arange(len(self.values)) * self.step_s)


@dataclass(frozen=True)
class Labelled:
    """A label that holds over pieces of time, one column a label: 1 the one that holds, 0 the others.

    `start_s`, `stop_s` (n,): the pieces; of two that overlap the later holds. `code` (n,): which of
    the `n_labels` holds there. NaN in every bin that is not wholly inside a piece.
    """

    start_s: NDArray[np.float64]
    stop_s: NDArray[np.float64]
    code: NDArray[np.int64]
    n_labels: int


@dataclass(frozen=True)
class Composite:
    """Activity with columns of the other nodes behind its own `n_base` (`with_channels`)."""

    base: Events | Samples
    n_base: int
    further: tuple[Signal | Labelled, ...]


@dataclass(frozen=True)
class Table:
    """Rows of trials or other intervals: columns of one length, `start_s` and `stop_s` among them."""

    columns: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        lengths = {name: len(column) for name, column in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"A table's columns differ in length: {lengths}.")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def take(self, rows: ArrayLike) -> "Table":
        """The given rows (indices or booleans)."""
        at = np.asarray(rows)
        return Table({name: column[at] for name, column in self.columns.items()})


@dataclass(frozen=True)
class Provenance:
    """Where a recording came from and on what terms; empty strings are unknown, not absent."""

    source: str = ""
    source_sha256: str = ""
    format: str = ""
    species: str = ""
    lab: str = ""
    task: str = ""
    licence: str = ""
    consent: str = ""
    cite: str = ""
    started: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """One continuous session on one clock, lazily read; a slice of it is a recording too.

    `span`: [start, end) seconds of this piece on the session's clock. `valid`: where it was
    recorded. `signals`, `tables`: by name; `trials` is the table of trials, maybe empty.
    """

    id: str
    subject: str
    span: tuple[float, float]
    valid: Intervals
    channels: Channels
    activity: Events | Samples | Composite
    signals: Mapping[str, Signal] = field(default_factory=dict)
    trials: Table = field(default_factory=lambda: Table({}))
    tables: Mapping[str, Table] = field(default_factory=dict)
    provenance: Provenance = Provenance()

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the end of the span, gaps included."""
        return self.span[1] - self.span[0]

    @property
    def stored(self) -> Events | Samples:
        """The activity of a recording as it was read.

        Raises InputError for one with further channels, which is a view and is not stored.
        """
        if isinstance(self.activity, Composite):
            raise InputError(
                f"{self.id} is a view with further channels; use the recording itself."
            )
        return self.activity

    def slice(self, start_s: float, end_s: float) -> "Recording":
        """The piece [start_s, end_s), on the same clock; trials that start in it go with it.

        Raises InputError if the piece is empty or outside the span.
        """
        low, high = max(start_s, self.span[0]), min(end_s, self.span[1])
        if high <= low:
            raise InputError(f"{self.id}: [{start_s}, {end_s}) s lies outside {self.span}.")
        trials = self.trials
        if len(trials):
            inside = (trials["start_s"] >= low) & (trials["start_s"] < high)
            trials = trials.take(inside)
        return replace(self, span=(low, high), valid=self.valid.clip(low, high), trials=trials)

    def with_channels(
        self,
        *,
        signals: Sequence[str] = (),
        trials: Sequence[str] = (),
        embeddings: Sequence[str] = (),
        stimulus: Sequence[str] = (),
        part: tuple[float, float] = (0.0, 1.0),
    ) -> "Recording":
        """The same recording with signals and labels of trials as channels behind its own.

        See `data.nodes.with_channels`, which says what becomes of each.
        """
        from neurofm.data import nodes  # it stands on this file

        return nodes.with_channels(self, signals=signals, trials=trials, embeddings=embeddings,
                                   stimulus=stimulus, part=part)  # fmt: skip

    @classmethod
    def from_arrays(
        cls,
        id: str,
        *,
        counts: NDArray[Any] | None = None,
        traces: NDArray[Any] | None = None,
        bin_s: float,
        channel_id: ArrayLike | None = None,
        channel_region: ArrayLike | None = None,
        subject: str = "",
        signals: Mapping[str, NDArray[Any]] | None = None,
        trials: Mapping[str, ArrayLike] | None = None,
        valid: ArrayLike | None = None,
        provenance: Provenance = Provenance(),
    ) -> "Recording":
        """A recording from plain arrays on one grid.

        `counts` (T, C) unsigned integers or `traces` (T, C) floats, one of the two; `signals`
        (T, k) each, NaN where not recorded; `trials` columns with `start_s` and `stop_s`; `valid`
        (m, 2) seconds. Raises InputError, naming the field, where they do not fit together.
        """
        usable_name(id, "id")
        values, kind = activity_of(id, counts, traces)
        n_bins, n_channels = values.shape
        step = exact_seconds(bin_s, f"{id}: bin_s")
        end = float(n_bins * step)
        ids = channel_id
        if ids is None:
            ids = np.array([f"{id}/{i}" for i in range(n_channels)])
        channels = Channels.of(ids, region=channel_region, subject=subject, kind=kind)
        if len(channels) != n_channels:
            raise InputError(
                f"{id}: channel_id has {len(channels)} rows for {n_channels} columns of activity."
            )
        return cls(
            id=id,
            subject=subject,
            span=(0.0, end),
            valid=Intervals.of([(0.0, end)] if valid is None else valid),
            channels=channels,
            activity=Samples(values, step),
            signals={k: _signal_of(id, k, v, n_bins, step) for k, v in (signals or {}).items()},
            trials=Table({k: np.asarray(v) for k, v in (trials or {}).items()}),
            provenance=provenance,
        )


def exact_ratio(text: object, what: str) -> Fraction:
    """A fraction that was written as text: `30000`, `1/50`, `0.02`.

    Raises InputError if it is none, or not between a millionth and a billion, or needs integers
    of more than 30 digits.
    """
    found = re.fullmatch(r"\d{1,30}(?:/\d{1,30}|\.\d{1,30})?", str(text)[:70])
    value = Fraction(found.group()) if found and not re.search(r"/0+$", found.group()) else None
    if value is None or not 1e-6 <= value <= 1e9:
        raise InputError(
            f"{what} is {str(text)[:60]!r}; it must be a fraction such as 30000 or 1/50."
        )
    return value


def _signal_of(id: str, name: str, values: ArrayLike, n_bins: int, step: Fraction) -> Signal:
    array = np.asarray(values, dtype=np.float32)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n_bins:
        raise InputError(f"{id}: signal {name} has shape {array.shape} for {n_bins} bins.")
    return Signal(array, float(step))
