"""What a store holds, a line a session, ready for a terminal or JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from neurofm.data.quality import Flag, totals
from neurofm.data.recording import Recording, Samples
from neurofm.data.store import Store
from neurofm.errors import clean

HOUR_S = 3600.0
WIDEST = 80  # characters of an id or a subject in the table


@dataclass(frozen=True)
class SessionSummary:
    """One session in numbers.

    `activity`: `events`, `counts` or `traces`; `step_s`: of samples, None for events. `rate_hz`:
    mean and median over channels of events a second of valid time, None for traces. `regions` and
    `signals`: {name: channels or dimensions}. `hours`: of valid time.
    """

    id: str
    subject: str
    species: str
    n_channels: int
    regions: dict[str, int]
    activity: str
    step_s: float | None
    mean_rate_hz: float | None
    median_rate_hz: float | None
    hours: float
    n_trials: int
    signals: dict[str, int]
    tables: dict[str, int]
    flags: tuple[Flag, ...]

    def record(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self) | {"flags": [asdict(flag) for flag in self.flags]}


def summary(store: Store) -> list[SessionSummary]:
    """Every session of the store, in order of id. Reads the activity once."""
    return [summarise(store.open(name), store.flags(name)) for name in store.ids()]


def summarise(recording: Recording, flags: Sequence[Flag] = ()) -> SessionSummary:
    """One recording in numbers."""
    samples = recording.activity if isinstance(recording.activity, Samples) else None
    is_count = samples is None or samples.values.dtype.kind == "u"
    rate = totals(recording) / max(recording.valid.total_s, 1e-9) if is_count else None
    regions, n = np.unique(recording.channels.region, return_counts=True)
    return SessionSummary(
        id=recording.id,
        subject=recording.subject,
        species=recording.provenance.species,
        n_channels=len(recording.channels),
        regions={str(r): int(c) for r, c in zip(regions, n, strict=True)},
        activity="events" if samples is None else "counts" if is_count else "traces",
        step_s=None if samples is None else float(samples.step_s),
        mean_rate_hz=None if rate is None else float(rate.mean()),
        median_rate_hz=None if rate is None else float(np.median(rate)),
        hours=recording.valid.total_s / HOUR_S,
        n_trials=len(recording.trials),
        signals={name: int(s.values.shape[1]) for name, s in recording.signals.items()},
        tables={name: len(table) for name, table in recording.tables.items()},
        flags=tuple(flags),
    )


HEAD = ("session", "subject", "channels", "regions", "activity", "rate Hz", "hours", "trials",
        "signals", "flags")  # fmt: skip
RIGHT = ("channels", "rate Hz", "hours", "trials", "flags")


def table(summaries: Sequence[SessionSummary], width: int = 28) -> str:
    """A plain text table, then the repairs and warnings of each session; `rate Hz`: mean/median.

    All signals are named below it where a row has no room for its own.
    """
    rows = [HEAD, *(_row(one, width) for one in summaries)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    lines = ["  ".join(_cell(name, text, w) for name, text, w in zip(HEAD, row, widths, strict=True))
             .rstrip() for row in rows]  # fmt: skip
    lines.insert(1, "  ".join("-" * w for w in widths))
    lines.append(_total(summaries))
    if any(len(_signals(one.signals)) > width for one in summaries):
        every = {name: k for one in summaries for name, k in one.signals.items()}
        lines.append(f"signals: {_short(_signals(every), 400)}")
    for one in summaries:
        found = [flag for flag in one.flags if flag.severity != "note"]
        lines += [f"\n{_short(one.id, WIDEST)}"] * bool(found)
        lines += [f"  {_short(flag.text, 400)}" for flag in found]
    return "\n".join(lines) + "\n"


def _row(one: SessionSummary, width: int) -> tuple[str, ...]:
    step = "" if one.step_s is None else f" {one.step_s * 1000:.4g} ms"
    rate = "-" if one.mean_rate_hz is None else f"{one.mean_rate_hz:.2f}/{one.median_rate_hz:.2f}"
    regions = ", ".join(f"{name or 'unknown'} {n}" for name, n in one.regions.items())
    n_flags = sum(flag.severity != "note" for flag in one.flags)
    return (_short(one.id, WIDEST), _short(one.subject, WIDEST) or "-", str(one.n_channels), _short(regions, width),
            one.activity + step, rate, f"{one.hours:.2f}", str(one.n_trials),
            _short(_signals(one.signals), width), str(n_flags))  # fmt: skip


def _signals(held: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {k}" for name, k in held.items()) or "-"


def _short(text: str, width: int) -> str:
    """One printable line; what is cut off is cut off last."""
    text = clean(text)
    return text if len(text) <= width else text[: width - 3] + "..."


def _cell(name: str, text: str, width: int) -> str:
    return text.rjust(width) if name in RIGHT else text.ljust(width)


def _total(summaries: Sequence[SessionSummary]) -> str:
    subjects = len({one.subject for one in summaries})
    channels = sum(one.n_channels for one in summaries)
    hours = sum(one.hours for one in summaries)
    return (f"{len(summaries)} sessions of {subjects} subjects, {channels} channels, "
            f"{hours:.2f} hours")  # fmt: skip
