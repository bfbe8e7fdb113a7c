"""Splits: which seconds of which recording are for training, validation and test.

A split is data, kept apart from the recordings: it can be read, saved and proven. A `Splits` is
proven disjoint by `prove`, which names the recording and the second where it is not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from neurofm import files
from neurofm.data import split_sides
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.split_sides import SIDES
from neurofm.errors import CheckFailed, InputError, clean

SCHEMA = 1
WHOLES = ("time", "trial", "session", "subject")

Sides = dict[str, Intervals]


@dataclass(frozen=True)
class Splits:
    """For each recording id, the intervals on each side: {"train": ..., "valid": ..., "test": ...}.

    `how`: one sentence. `gap_s`: no two sides of a recording are nearer than this. `subjects`:
    {recording id: subject}. `whole`: what never lies on two sides: `time` (seconds only), `trial`,
    `session` or `subject`.
    """

    recordings: Mapping[str, Sides]
    how: str
    gap_s: float
    subjects: Mapping[str, str]
    whole: str = "time"

    def side(self, side: str) -> dict[str, Intervals]:
        """{recording id: intervals} of one side; recordings without any are left out.

        Raises InputError if there is no such side.
        """
        if side not in SIDES:
            raise InputError(f"there is no side {side!r}; the sides are {', '.join(SIDES)}.")
        return {name: sides[side] for name, sides in self.recordings.items() if len(sides[side])}

    def prove(self, min_gap_s: float | None = None) -> float:
        """The least distance in seconds between two sides of one recording; infinite if none has two.

        Raises CheckFailed, naming the recording and the second, if two sides share one or are
        nearer than `min_gap_s` (default: `gap_s`), or if a session or subject that should be whole
        is on two sides.
        """
        needed = self.gap_s if min_gap_s is None else min_gap_s
        least = float("inf")
        for name, sides in self.recordings.items():
            for a, b in combinations(SIDES, 2):
                least = min(
                    least, split_sides.prove_pair(name, (a, sides[a]), (b, sides[b]), needed)
                )
        if self.whole == "session":
            self._prove_whole({name: name for name in self.recordings})
        if self.whole == "subject":
            self._prove_whole(self.subjects)
        return least

    def _prove_whole(self, owner: Mapping[str, str]) -> None:
        seen: dict[str, str] = {}
        for side in SIDES:
            for name in self.side(side):
                other = seen.setdefault(owner[name], side)
                if other != side:
                    raise CheckFailed(
                        f"{self.whole} {owner[name]} is on two sides, {other} and {side} ({name}); "
                        f"make the split again."
                    )

    def table(self) -> str:
        """Readable text: seconds a side for each recording, totals, and the proof's outcome."""
        shown = {name: clean(name)[:80] for name in self.recordings}
        width = max([len("recording"), *map(len, shown.values())])
        head = f"{'recording':<{width}}" + "".join(f"{f'{side} (s)':>12}" for side in SIDES)
        rows = [
            f"{shown[name]:<{width}}" + "".join(f"{sides[side].total_s:>12.1f}" for side in SIDES)
            for name, sides in self.recordings.items()
        ]
        hours = [
            sum(intervals.total_s for intervals in self.side(side).values()) / 3600
            for side in SIDES
        ]
        total = f"{'total (h)':<{width}}" + "".join(f"{h:>12.3f}" for h in hours)
        return "\n".join([clean(self.how), head, *rows, total, self._outcome()]) + "\n"

    def _outcome(self) -> str:
        try:
            least = self.prove()
        except CheckFailed as error:
            return f"NOT PROVEN: {error}"
        apart = f", and are at least {least:.3f} s apart" if np.isfinite(least) else ""
        whole = f"; no {self.whole} is on two sides" if self.whole in {"session", "subject"} else ""
        return f"proven: no two sides share a second{apart}{whole}."

    def save(self, path: Path | str) -> None:
        """Write as JSON."""
        path = Path(path)
        rows = {
            name: {"subject": self.subjects[name]}
            | {side: [list(pair) for pair in sides[side]] for side in SIDES}
            for name, sides in self.recordings.items()
        }
        head = {"schema": SCHEMA, "how": self.how, "gap_s": self.gap_s, "whole": self.whole}
        files.write_json(path, head | {"recordings": rows})


def load(path: Path | str) -> Splits:
    """Splits that `save` wrote, or that were written by hand in that form; proven on the way in.

    Raises StoreError if the file is missing or not JSON, InputError that names the field if one is
    missing or wrong, and CheckFailed if two sides share a second.
    """
    path = Path(path)
    tree = files.read_json(path)
    if not isinstance(tree, dict) or tree.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema must be {SCHEMA}; make the splits with this version.")
    how, whole = (
        split_sides.field(path, tree, "how", str),
        split_sides.field(path, tree, "whole", str),
    )
    gap_s = split_sides.seconds_field(path, tree, "gap_s")
    if whole not in WHOLES:
        raise InputError(
            f"{path}: field whole is {whole!r}; it must be one of {', '.join(WHOLES)}."
        )
    recordings: dict[str, Sides] = {}
    subjects: dict[str, str] = {}
    for name, row in split_sides.field(path, tree, "recordings", dict).items():
        where = f"recordings.{name}"
        if not isinstance(row, dict):
            raise InputError(f"{path}: {where} must hold {', '.join(SIDES)} and subject.")
        subjects[name] = split_sides.field(path, row, "subject", str, where)
        recordings[name] = {
            side: split_sides.intervals_field(path, row, side, where) for side in SIDES
        }
    splits = Splits(recordings, how, gap_s, subjects, whole)
    try:
        splits.prove()
    except CheckFailed as error:
        raise CheckFailed(f"{path}: {error}") from None
    return splits


def split_by_time(
    recordings: Sequence[Recording],
    train: float = 0.7,
    valid: float = 0.1,
    test: float = 0.2,
    gap_s: float = 1.0,
) -> Splits:
    """Each session in order of time: first `train`, then `valid`, then `test` of its valid seconds.

    The gap is taken from the earlier side, so that the test side keeps its whole share. A cut
    nearer than `gap_s` to the edge of a piece moves there, so that short pieces (trials) stay whole.
    Raises InputError if the fractions do not add up to 1 or a recording is too short for a side.
    """
    shares = split_sides.shares_of(train, valid, test)
    _unique(recordings)
    out = {}
    for recording in recordings:
        sides = split_sides.in_order(recording.valid, shares, gap_s)
        split_sides.all_asked(recording.id, sides, shares, gap_s)
        out[recording.id] = sides
    how = f"By time, in order: {split_sides.percent(shares)} of each session's valid seconds, {gap_s:g} s apart."
    return Splits(out, how, gap_s, _subjects(recordings))


def split_by_trial(
    recordings: Sequence[Recording],
    train: float = 0.7,
    valid: float = 0.1,
    test: float = 0.2,
    *,
    seed: int,
    gap_s: float = 1.0,
    block_trials: int = 10,
) -> Splits:
    """Whole trials to sides, in blocks of `block_trials` neighbours that are shuffled by the seed.

    A trial of train (or valid) that lies nearer than `gap_s` to a trial of valid or test is left out.
    Raises InputError if the fractions do not add up to 1, or a recording has too few usable trials.
    """
    shares = split_sides.shares_of(train, valid, test)
    if block_trials < 1:
        raise InputError(f"block_trials is {block_trials}; it must be at least 1.")
    _unique(recordings)
    out = {}
    for recording in recordings:
        pairs = split_sides.trial_pairs(recording)
        block = np.arange(len(pairs)) // block_trials
        names = [str(b) for b in range(int(block[-1]) + 1)]
        of = split_sides.assign(
            names, shares, seed, f"{recording.id}: block of {block_trials} trials"
        )
        side_of_trial = np.array([of[str(b)] for b in block])
        sides = split_sides.apart(pairs, side_of_trial, recording.valid, gap_s)
        split_sides.all_asked(recording.id, sides, shares, gap_s)
        out[recording.id] = sides
    how = (
        f"By trial: {split_sides.percent(shares)} of each session's blocks of {block_trials} trials, shuffled "
        f"by seed {seed}, {gap_s:g} s apart."
    )
    return Splits(out, how, gap_s, _subjects(recordings), "trial")


def split_by_session(
    recordings: Sequence[Recording],
    train: float = 0.7,
    valid: float = 0.1,
    test: float = 0.2,
    *,
    seed: int,
) -> Splits:
    """Whole sessions to sides, shuffled by the seed; every side asked for gets at least one.

    Raises InputError if there are fewer sessions than sides asked for.
    """
    _unique(recordings)
    owner = {recording.id: recording.id for recording in recordings}
    return _by_owner(recordings, owner, split_sides.shares_of(train, valid, test), seed, "session")


def split_by_subject(
    recordings: Sequence[Recording],
    train: float = 0.7,
    valid: float = 0.1,
    test: float = 0.2,
    *,
    seed: int,
) -> Splits:
    """All sessions of a subject to one side, subjects shuffled by the seed, at least one a side.

    Raises InputError if a recording names no subject or there are fewer subjects than sides.
    """
    _unique(recordings)
    for recording in recordings:
        if not recording.subject:
            raise InputError(f"{recording.id}: subject is empty; name it, or split by session.")
    return _by_owner(
        recordings,
        _subjects(recordings),
        split_sides.shares_of(train, valid, test),
        seed,
        "subject",
    )


def _by_owner(
    recordings: Sequence[Recording],
    owner: Mapping[str, str],
    shares: Mapping[str, float],
    seed: int,
    whole: str,
) -> Splits:
    of = split_sides.assign(sorted(set(owner.values())), shares, seed, f"{whole}s")
    out = {
        r.id: {side: r.valid if of[owner[r.id]] == side else Intervals.none() for side in SIDES}
        for r in recordings
    }
    how = f"By {whole}: {split_sides.percent(shares)} of the {whole}s, shuffled by seed {seed}."
    return Splits(out, how, 0.0, _subjects(recordings), whole)


def _subjects(recordings: Sequence[Recording]) -> dict[str, str]:
    return {recording.id: recording.subject for recording in recordings}


def _unique(recordings: Sequence[Recording]) -> None:
    if not recordings:
        raise InputError("there is no recording to split; ingest some first.")
    seen: set[str] = set()
    for recording in recordings:
        if recording.id in seen:
            raise InputError(f"{recording.id}: two recordings have this id; rename one of them.")
        seen.add(recording.id)
