"""Quality of a recording: what was found, what was repaired, and on what terms.

Nothing is mended silently: a reader puts what it repaired into `provenance.notes` (the text of a
`Flag`), a check returns flags, and the store keeps them all in the session's manifest.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Events, Recording, Samples, Table

SEVERITIES = ("note", "repair", "warning")
CHUNK_CELLS = 1 << 24  # cells of a sampled recording that a check looks at in one go


@dataclass(frozen=True)
class Flag:
    """One finding: a `note` is a fact, a `repair` changed the data, a `warning` wants a look.

    `field` names the part of the recording, e.g. `trials.stop_s`.
    """

    severity: str
    field: str
    message: str

    @property
    def text(self) -> str:
        """One line that `parse` reads back."""
        return f"{self.severity}: {self.field}: {self.message}"

    @classmethod
    def parse(cls, text: str) -> "Flag":
        """The flag of a line; a line of any other form becomes a note on `provenance`."""
        severity, _, rest = text.partition(": ")
        field, sign, message = rest.partition(": ")
        if severity not in SEVERITIES or not sign:
            return cls("note", "provenance", text)
        return cls(severity, field, message)


class PoseConfig(Config):
    """What pose files do not say."""

    frame_hz: float | None = Field(default=None, gt=0, description="frames a second of the video")
    start_s: float = Field(default=0.0, description="of the first frame, on the recording's clock")
    min_likelihood: float = Field(
        default=0.6, ge=0, le=1, description="points less likely than it are empty"
    )


class MontageConfig(Config):
    """Which channels of EEG and its kin are kept, in which order, under which names."""

    channels: tuple[str, ...] = Field(
        default=(), description="ids or names, absent ones empty; none: all as they are"
    )
    rename: dict[str, str] = Field(default={}, description="this file's name -> the one wanted")


class QualityConfig(Config):
    """Thresholds of the checks, which repairs are allowed, and what files do not say."""

    rate_floor_hz: float = Field(default=0.05, ge=0, description="units below it are flagged")
    drop_below_floor: bool = Field(default=False, description="leave those units out")
    drop_silent: bool = Field(default=False, description="leave out channels that never change")
    drop_bad: bool = Field(default=False, description="leave out channels that are marked bad")
    drop_duplicate_spikes: bool = Field(
        default=False, description="keep one of identical spike times"
    )
    cut_not_finite: bool = Field(
        default=True, description="samples without any finite value: not valid"
    )
    window_s: float = Field(default=2.0, gt=0, description="sessions shorter than it are flagged")
    silence_s: float = Field(
        default=10.0, gt=0, description="pauses of every channel that are flagged"
    )
    missing_stop: Literal["keep", "next_start"] = Field(
        default="keep", description="what becomes of a trial without a stop"
    )
    duplicated_content: Literal["flag", "refuse"] = Field(
        default="flag", description="what becomes of activity that the store holds under another id"
    )
    step_s: float | None = Field(
        default=None, gt=0, description="traces are averaged over steps of so many seconds"
    )
    pose: PoseConfig = PoseConfig()
    montage: MontageConfig = MontageConfig()


DEFAULT = QualityConfig()


def reported(recording: Recording) -> list[Flag]:
    """What the reader said about the recording."""
    return [Flag.parse(note) for note in recording.provenance.notes]


def check(recording: Recording, config: QualityConfig = DEFAULT) -> list[Flag]:
    """Every check, in order of the recording's parts; an empty list is a clean recording."""
    checks = (check_length, check_gaps, check_rates, check_silences)
    always = (check_duplicates, check_finite, check_trials)
    flags = [flag for one in checks for flag in one(recording, config)]
    return flags + [flag for look in always for flag in look(recording)]


def check_length(recording: Recording, config: QualityConfig) -> list[Flag]:
    """Whether one window fits anywhere."""
    longest = max((end - start for start, end in recording.valid), default=0.0)
    if longest >= config.window_s:
        return []
    return [Flag("warning", "valid", f"the longest piece lasts {longest:.3g} s, under one window "
                 f"of {config.window_s:g} s")]  # fmt: skip


def check_gaps(recording: Recording, config: QualityConfig) -> list[Flag]:
    """How much of the span was not recorded."""
    n, missing = len(recording.valid), recording.duration_s - recording.valid.total_s
    flags = []
    if n > 1 or missing > config.window_s:
        message = f"{n} pieces; {missing:.4g} s of {recording.duration_s:.4g} s were not recorded"
        flags.append(Flag("note", "valid", message))
    return flags


def check_rates(recording: Recording, config: QualityConfig) -> list[Flag]:
    """A single channel, silent channels and units under the rate floor."""
    total = totals(recording)
    silent = total == 0
    flags = []
    if len(total) == 1:
        message = "one channel only: nothing to predict it from but its own past and behaviour"
        flags.append(Flag("warning", "channels", message))
    if silent.any():
        ids = recording.channels.id[silent]
        what = "never change" if is_real(recording) else "have no event"
        flags.append(Flag("warning", "channels", f"{len(ids)} {what}: {some(ids)}"))
    if not is_real(recording):
        slow = ~silent & (total / max(recording.valid.total_s, 1e-9) < config.rate_floor_hz)
        if slow.any():
            ids = recording.channels.id[slow]
            message = f"{len(ids)} below {config.rate_floor_hz:g} Hz: {some(ids)}"
            flags.append(Flag("note", "channels", message))
    return flags


def check_duplicates(recording: Recording) -> list[Flag]:
    """Spikes of one unit at the same tick."""
    if not isinstance(recording.activity, Events):
        return []
    n = int(repeats(recording.activity).sum())
    message = f"{n} spikes repeat a spike of the same unit at the same tick"
    return [Flag("warning", "activity.ticks", message)] if n else []


def check_finite(recording: Recording) -> list[Flag]:
    """Samples that are not finite where the recording says that it was valid; infinite signals."""
    flags = []
    if isinstance(recording.activity, Samples) and is_real(recording):
        bad = _not_finite(recording, recording.activity)
        if bad.any():
            message = f"{int(bad.sum())} samples of {int((bad > 0).sum())} channels are not finite"
            flags.append(Flag("warning", "activity.values", message))
    for name, signal in recording.signals.items():
        n = int(np.isinf(np.asarray(signal.values[:])).sum())
        if n:
            flags.append(Flag("warning", f"signals.{name}", f"{n} values are infinite"))
    return flags


def check_silences(recording: Recording, config: QualityConfig) -> list[Flag]:
    """Pauses of every channel at once, inside what is said to be valid."""
    if not isinstance(recording.activity, Events) or len(recording.activity.ticks) < 2:
        return []
    times = np.asarray(recording.activity.ticks[:]) / float(recording.activity.ticks_per_s)
    if len(times) / max(recording.valid.total_s, 1e-9) * config.silence_s < 100:
        return []  # so few spikes that such a pause may be chance
    at = np.flatnonzero(np.diff(times) > config.silence_s)
    pauses = Intervals(times[at], times[at + 1]).intersect(recording.valid)
    n = int((pauses.end - pauses.start > config.silence_s).sum())
    message = f"{n} pauses of all channels over {config.silence_s:g} s; the recording may have gaps"
    return [Flag("warning", "activity", message)] if n else []


def check_trials(recording: Recording) -> list[Flag]:
    """Trials outside the recording, without a stop, backwards or overlapping; other tables too."""
    named = {"trials": recording.trials, **recording.tables}
    flags = [flag for name, table in named.items() for flag in _check_table(recording, name, table)]
    if not len(recording.trials) and recording.tables:
        names = ", ".join(sorted(recording.tables))
        flags.append(Flag("note", "trials", f"there is no trials table, but there are {names}"))
    return flags


def _check_table(recording: Recording, name: str, table: Table) -> list[Flag]:
    if not {"start_s", "stop_s"} <= set(table.columns) or not len(table):
        return []
    start = np.asarray(table["start_s"], dtype=float)
    stop = np.asarray(table["stop_s"], dtype=float)
    low, high = recording.span
    end = np.where(np.isfinite(stop), stop, start)
    order = np.argsort(start, kind="stable")
    found = [
        ("start_s", ~np.isfinite(start), "have no start"),
        ("stop_s", ~np.isfinite(stop), "have no stop; set quality missing_stop=next_start to fill"),
        ("stop_s", stop < start, "stop before they start"),
        ("start_s", (start < low) | (end > high + 1e-6), "reach outside the recording"),
    ]
    if name == "trials":
        overlap = start[order][1:] < end[order][:-1] - 1e-9
        found.append(("start_s", overlap, "start before the one before them stops"))
    n = len(table)
    return [Flag("warning", f"{name}.{column}", f"{int(bad.sum())} of {n} rows {what}")
            for column, bad, what in found if bad.any()]  # fmt: skip


def totals(recording: Recording) -> NDArray[np.float64]:
    """(C,) events in the valid time; for traces the range of the values (0: a flat channel)."""
    n, source = len(recording.channels), recording.stored
    if isinstance(source, Events):
        times = np.asarray(source.ticks[:]) / float(source.ticks_per_s)
        rows = np.asarray(source.row[:], dtype=np.int64)[recording.valid.contains(times)]
        return np.bincount(rows, minlength=n).astype(np.float64)
    if not is_real(recording):
        sums = [block.sum(axis=0, dtype=np.float64) for block in _valid_blocks(recording, source)]
        return np.asarray(np.sum(sums, axis=0)) if sums else np.zeros(n)
    low, high = np.full(n, np.inf), np.full(n, -np.inf)
    for block in _valid_blocks(recording, source):
        known = np.isfinite(block)
        low = np.minimum(low, np.where(known, block, np.inf).min(axis=0, initial=np.inf))
        high = np.maximum(high, np.where(known, block, -np.inf).max(axis=0, initial=-np.inf))
    return np.asarray(np.where(high > low, high - low, 0.0))


def _not_finite(recording: Recording, samples: Samples) -> NDArray[np.int64]:
    blocks = _valid_blocks(recording, samples)
    counts = [(~np.isfinite(block)).sum(axis=0) for block in blocks]
    return np.asarray(np.sum(counts, axis=0) if counts else np.zeros(len(recording.channels)))


def _valid_blocks(recording: Recording, samples: Samples) -> Iterable[NDArray[Any]]:
    """Pieces (t, C) of the samples that lie wholly in the valid time, of a bounded size."""
    step = float(samples.step_s)
    rows = max(CHUNK_CELLS // max(samples.values.shape[1], 1), 1)
    for start_s, end_s in recording.valid:
        first, stop = int(np.ceil(start_s / step - 1e-6)), int(np.floor(end_s / step + 1e-6))
        for at in range(max(first, 0), min(stop, len(samples.values)), rows):
            yield np.asarray(samples.values[at : min(at + rows, stop)])


def repeats(events: Events) -> NDArray[np.bool_]:
    """(n,) which events repeat an earlier one of the same row and tick."""
    ticks, row = np.asarray(events.ticks[:]), np.asarray(events.row[:], dtype=np.int64)
    order = np.lexsort((row, ticks))
    same = (np.diff(ticks[order]) == 0) & (np.diff(row[order]) == 0)
    out = np.zeros(len(ticks), dtype=bool)
    out[order[1:]] = same
    return out


def is_real(recording: Recording) -> bool:
    """Whether the activity is of traces."""
    return bool((recording.channels.kind == "real").any())


def some(ids: Sequence[str] | NDArray[np.str_], most: int = 4) -> str:
    """The first few ids, for a message."""
    names = [str(name) for name in ids[:most]]
    return ", ".join(names) + (", ..." if len(ids) > most else "")
