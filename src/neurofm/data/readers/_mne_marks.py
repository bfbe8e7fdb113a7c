"""Annotations and triggers of MNE's `Raw`: what is not valid, where it was cut, what happened when."""

import importlib
import re
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.quality import Flag, some
from neurofm.data.recording import Channels, Table

JOINTS = re.compile(r"edge|boundary|new segment", re.IGNORECASE)


class Marks:
    """The annotations of a `Raw` on the recording's clock, which starts at the first sample."""

    def __init__(self, raw: Any, span_s: float) -> None:
        notes = raw.annotations
        self.start_s = np.asarray(notes.onset, dtype=float) - raw.first_time
        self.stop_s = self.start_s + np.asarray(notes.duration, dtype=float)
        self.label = np.asarray([str(one) for one in notes.description], dtype=np.str_)
        self.channels = [tuple(one) for one in notes.ch_names]
        self.span_s = span_s
        self.bad = np.array([one.lower().startswith("bad") for one in self.label], dtype=bool)
        self.joint = np.array([bool(JOINTS.search(one)) for one in self.label], dtype=bool)

    def valid(self, flags: list[Flag]) -> Intervals:
        """The span without what is marked bad in every channel, cut where pieces were joined."""
        whole = self.bad & np.array([not names for names in self.channels], dtype=bool)
        lost = Intervals.none()
        for start, stop in zip(self.start_s[whole], self.stop_s[whole], strict=True):
            piece = Intervals.of(
                [(max(start, 0.0), min(stop, self.span_s))] if stop > start else []
            )
            lost = Intervals.of(np.concatenate([lost.subtract(piece).pairs, piece.pairs]))
        valid = Intervals.of([(0.0, self.span_s)]).subtract(lost)
        cuts = [t for t in self.start_s[self.joint].tolist() if 0 < t < self.span_s]
        for cut in cuts:
            pieces = [valid.clip(0.0, cut).pairs, valid.clip(cut, self.span_s).pairs]
            valid = Intervals.of(np.concatenate(pieces))
        if len(lost):
            flags.append(Flag("note", "valid", f"{len(lost)} pieces marked BAD, {lost.total_s:.4g} s "
                              "in all, are not valid"))  # fmt: skip
        if cuts:
            flags.append(Flag("note", "valid", f"cut at {len(cuts)} places where the recording was "
                              "paused or joined; the time between the pieces is not kept"))  # fmt: skip
        return valid

    def blank(
        self,
        values: NDArray[np.float32],
        channels: Channels,
        step: Fraction,
        flags: list[Flag],
    ) -> None:
        """Empty what was never recorded (MNE fills it with zeros) and what is bad in some channels."""
        n = 0
        for at in np.flatnonzero(self.bad):
            skipped = self.label[at].upper().startswith("BAD_ACQ_SKIP")
            columns = np.isin(channels.quality["name"], self.channels[at]) | skipped
            if columns.any():
                first = max(int(np.floor(self.start_s[at] / float(step) + 1e-6)), 0)
                stop = int(np.ceil(self.stop_s[at] / float(step) - 1e-6))
                values[first:stop, columns] = np.nan
                n += not skipped
        if n:
            flags.append(Flag("repair", "activity.values", f"{n} pieces that are marked BAD in some "
                              "channels were emptied there"))  # fmt: skip

    def table(self) -> Table:
        """What was annotated besides bad pieces and joints, in order of time."""
        keep = ~self.bad & ~self.joint
        order = np.argsort(self.start_s[keep], kind="stable")
        columns = {"start_s": self.start_s, "stop_s": self.stop_s, "label": self.label}
        return Table({name: column[keep][order] for name, column in columns.items()})


def triggers(raw: Any, types: list[str], step: Fraction, flags: list[Flag]) -> Table:
    """Onsets of the trigger channels, with their values."""
    names = [name for name, one in zip(raw.ch_names, types, strict=True) if one == "stim"]
    if not names:
        return Table({})
    mne = importlib.import_module("mne")
    found = []
    for name in names:
        events = mne.find_events(raw, name, shortest_event=1, verbose="ERROR")
        found += [(int(at) - raw.first_samp, int(code), name) for at, _, code in events]
    flags.append(
        Flag("note", "channels", f"trigger channels became {len(found)} events: {some(names)}")
    )
    found.sort(key=lambda one: one[0])
    start = np.array([at for at, _, _ in found]) * float(step)
    return Table({
        "start_s": start,
        "stop_s": start.copy(),
        "value": np.array([code for _, code, _ in found], dtype=np.int64),
        "channel": np.array([name for _, _, name in found], dtype=np.str_),
    })  # fmt: skip
