"""The nouns of data: a recording and its parts.

Times are seconds from the recording's start; intervals are half-open. Arrays may be lazy: anything
with `shape`, `dtype`, `len` and slicing along the first axis will do (`data.column.Column`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.data.intervals import Intervals
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
    `quality`: further (C,) columns, by name.
    """

    id: NDArray[np.str_]
    region: NDArray[np.str_]
    subject: NDArray[np.str_]
    node: NDArray[np.str_]
    kind: NDArray[np.str_]
    coordinates: NDArray[np.float32]
    quality: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.id)
        columns = {"region": self.region, "subject": self.subject, "node": self.node,
                   "kind": self.kind, "coordinates": self.coordinates, **self.quality}  # fmt: skip
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

    def take(self, rows: ArrayLike) -> "Channels":
        """The given rows (indices or booleans), in that order."""
        at = np.asarray(rows)
        return Channels(
            id=self.id[at],
            region=self.region[at],
            subject=self.subject[at],
            node=self.node[at],
            kind=self.kind[at],
            coordinates=self.coordinates[at],
            quality={name: column[at] for name, column in self.quality.items()},
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
    is 0 and `times_s` (n,) holds the sorted times. `axes`: names of the k columns, such as muscles,
    by which recordings are matched where all have them; else columns are matched by their place.
    """

    values: Array
    step_s: float
    start_s: float = 0.0
    times_s: Array | None = None
    unit: str = ""
    node: str = "behaviour"
    axes: tuple[str, ...] = ()

    def sample_times_s(self) -> NDArray[np.float64]:
        """(n,) seconds; the left edges, where the signal is regular."""
        if self.times_s is not None:
            return np.asarray(self.times_s[:], dtype=np.float64)
        return np.asarray(self.start_s + np.arange(len(self.values)) * self.step_s)


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
    activity: Events | Samples
    signals: Mapping[str, Signal] = field(default_factory=dict)
    trials: Table = field(default_factory=lambda: Table({}))
    tables: Mapping[str, Table] = field(default_factory=dict)
    provenance: Provenance = Provenance()

    @property
    def duration_s(self) -> float:
        """Seconds from the start to the end of the span, gaps included."""
        return self.span[1] - self.span[0]

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
        values, kind = _activity_of(id, counts, traces)
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


def exact_seconds(value: float, what: str) -> Fraction:
    """A step as an exact fraction of a second: 0.02 -> 1/50, 0.736727757 -> the nearest ratio.

    Raises InputError if the value is not a positive number of at most a day.
    """
    if not (np.isfinite(value) and 0 < value <= 86_400):
        raise InputError(f"{what} is {value!r}; it must be seconds, above 0 and at most a day.")
    short = Fraction(value).limit_denominator(1_000_000)
    if short > 0 and abs(float(short) - value) <= 1e-12 * value:
        return short
    return Fraction(value)


def _activity_of(
    id: str, counts: NDArray[Any] | None, traces: NDArray[Any] | None
) -> tuple[NDArray[Any], str]:
    if (counts is None) == (traces is None):
        raise InputError(f"{id}: give either counts or traces, (time, channel).")
    values = np.asarray(counts if counts is not None else traces)
    name = "counts" if counts is not None else "traces"
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{id}: {name} has shape {values.shape}; it must be (time, channel).")
    if counts is not None and values.dtype.kind != "u":
        raise InputError(f"{id}: counts is {values.dtype}; store counts as unsigned integers.")
    if counts is None and values.dtype.kind != "f":
        raise InputError(f"{id}: traces is {values.dtype}; store traces as floating point.")
    return values, "count" if counts is not None else "real"


def _signal_of(id: str, name: str, values: ArrayLike, n_bins: int, step: Fraction) -> Signal:
    array = np.asarray(values, dtype=np.float32)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n_bins:
        raise InputError(f"{id}: signal {name} has shape {array.shape} for {n_bins} bins.")
    return Signal(array, float(step))
