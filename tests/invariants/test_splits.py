"""Whatever the recordings and the shares: no two sides share a second or come nearer than the gap."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neurofm.data.binning import pieces
from neurofm.data.recording import Recording
from neurofm.data.splits import (
    SIDES,
    Splits,
    split_by_session,
    split_by_subject,
    split_by_time,
    split_by_trial,
)
from neurofm.errors import InputError

N = 400  # tenths of a second
SHARES = st.sampled_from([(0.7, 0.1, 0.2), (0.5, 0.0, 0.5), (0.34, 0.33, 0.33), (0.9, 0.1, 0.0)])
GAPS = st.sampled_from([0.0, 0.1, 0.25, 1.0, 2.5])


@st.composite
def recordings(draw: st.DrawFn, name: str = "r", subject: str = "m") -> Recording:
    """Valid time in pieces, and trials that may overlap, in any order."""
    edges = sorted(draw(st.sets(st.integers(0, N), min_size=2, max_size=30)))
    valid = np.array(edges[: len(edges) // 2 * 2]).reshape(-1, 2) / 10
    starts = np.array(draw(st.lists(st.integers(0, N - 1), min_size=8, max_size=60))) / 10
    length = draw(st.sampled_from([0.3, 1.0, 4.0]))
    return Recording.from_arrays(
        name,
        counts=np.zeros((N, 1), dtype=np.uint8),
        bin_s=0.1,
        subject=subject,
        valid=valid,
        trials={"start_s": starts, "stop_s": starts + length},
    )


def hundredths(intervals) -> np.ndarray:
    """Seen without the code under test: which hundredths of a second a side touches."""
    at = (np.arange(N * 10) + 0.5) / 100
    return ((at[:, None] >= intervals.start) & (at[:, None] < intervals.end)).any(axis=1)


def check(split: Splits, by_name: dict[str, Recording], gap_s: float) -> None:
    split.prove(gap_s)
    for name, sides in split.recordings.items():
        valid = hundredths(by_name[name].valid)
        grids = {side: hundredths(sides[side]) for side in SIDES}
        for grid in grids.values():
            assert not (grid & ~valid).any(), "a side reaches into what was not recorded"
        for a, b in combinations(SIDES, 2):
            assert not (grids[a] & grids[b]).any()
            near = np.abs(np.flatnonzero(grids[a])[:, None] - np.flatnonzero(grids[b]))
            assert near.min(initial=N * 10) >= gap_s * 100 - 2
            bins = [set(), set()]
            for found, side in zip(bins, (a, b), strict=True):
                for first, stop in pieces(sides[side], 0.1):
                    found.update(range(first, stop))
            assert not bins[0] & bins[1], "two sides share a bin"


@settings(deadline=None, max_examples=150)
@given(recordings(), SHARES, GAPS)
def test_by_time(recording, shares, gap_s) -> None:
    try:
        split = split_by_time([recording], *shares, gap_s=gap_s)
    except InputError as error:
        assert "nothing is left" in str(error)  # noqa: PT017
        assume(False)
        return
    check(split, {"r": recording}, gap_s)
    ends = [split.recordings["r"][side] for side in SIDES if len(split.recordings["r"][side])]
    for before, after in pairwise(ends):
        assert before.end[-1] <= after.start[0]


@settings(deadline=None, max_examples=150)
@given(recordings(), SHARES, GAPS, st.integers(0, 5), st.integers(1, 5))
def test_by_trial(recording, shares, gap_s, seed, block) -> None:
    try:
        split = split_by_trial([recording], *shares, seed=seed, gap_s=gap_s, block_trials=block)
    except InputError as error:
        assert "nothing is left" in str(error) or "cannot be split" in str(error)  # noqa: PT017
        assume(False)
        return
    check(split, {"r": recording}, gap_s)


@settings(deadline=None, max_examples=20)
@given(st.integers(3, 12), st.integers(1, 3), SHARES, st.integers(0, 9))
def test_by_session_and_subject(n, sessions, shares, seed) -> None:
    counts = np.zeros((50, 1), dtype=np.uint8)
    herd = {
        f"m{i}_{d}": Recording.from_arrays(f"m{i}_{d}", counts=counts, bin_s=0.1, subject=f"m{i}")
        for i in range(n)
        for d in range(sessions)
    }
    for make in (split_by_session, split_by_subject):
        split = make(list(herd.values()), *shares, seed=seed)
        check(split, herd, 0.0)
        on = {side: set(split.side(side)) for side in SIDES}
        assert set.union(*on.values()) == set(herd), "every session is on a side"
        for side, share in zip(SIDES, shares, strict=True):
            assert bool(on[side]) == (share > 0)
        owner = {name: name if make is split_by_session else name.split("_")[0] for name in herd}
        for a, b in combinations(SIDES, 2):
            assert not {owner[x] for x in on[a]} & {owner[x] for x in on[b]}


def test_the_check_of_this_file_can_fail() -> None:
    recording = Recording.from_arrays("r", counts=np.zeros((N, 1), np.uint8), bin_s=0.1)
    split = split_by_time([recording], gap_s=0.0)
    shared = {**split.recordings["r"], "valid": split.recordings["r"]["train"]}
    unproven = type("Unproven", (Splits,), {"prove": lambda *_: 0.0})
    leak = unproven({"r": shared}, "", 0.0, {"r": "m"})
    with pytest.raises(AssertionError):
        check(leak, {"r": recording}, 0.0)
