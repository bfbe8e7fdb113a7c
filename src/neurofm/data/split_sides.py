"""The arithmetic behind splits: shares, orders in time and distances between sides."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import CheckFailed, InputError
from neurofm.seeding import generator

SIDES = ("train", "valid", "test")
ROUNDING_S = 1e-6  # sums of float seconds may fall short of the gap by this much

Pairs = NDArray[np.float64]


def shares_of(train: float, valid: float, test: float) -> dict[str, float]:
    """{side: fraction}; raises InputError unless they are at least 0 and add up to 1."""
    shares = dict(zip(SIDES, (train, valid, test), strict=True))
    if not (min(shares.values()) >= 0 and abs(sum(shares.values()) - 1) <= 1e-6):
        raise InputError(
            f"train {train:g}, valid {valid:g} and test {test:g} must be at least 0 and add up to 1."
        )
    return shares


def percent(shares: Mapping[str, float]) -> str:
    """Text such as `train 70%, valid 10%, test 20%`."""
    return ", ".join(f"{side} {100 * share:g}%" for side, share in shares.items())


def in_order(valid: Intervals, shares: Mapping[str, float], gap_s: float) -> dict[str, Intervals]:
    """Consecutive shares of the valid seconds; the gap is taken from the side before each cut."""
    if len(valid) == 0:
        return dict.fromkeys(SIDES, valid)
    cumulated = np.cumsum([shares[side] for side in SIDES])[:-1] * valid.total_s
    cuts = [_snap(valid, _moment(valid, seconds), gap_s) for seconds in cumulated]
    edges = [float(valid.start[0]), *cuts, float(valid.end[-1])]
    sides: dict[str, Intervals] = {}
    latest = np.inf  # where the sides that come later begin, less the gap
    for i in (2, 1, 0):
        asked = shares[SIDES[i]] > 0
        mine = valid.clip(edges[i], min(edges[i + 1], latest)) if asked else Intervals.none()
        latest = min([latest, *(mine.start[:1] - gap_s)])
        sides[SIDES[i]] = mine
    return {side: sides[side] for side in SIDES}


def _moment(valid: Intervals, seconds: float) -> float:
    """The time at which so many valid seconds have passed."""
    length = valid.end - valid.start
    before = np.cumsum(length) - length
    at = max(int(np.searchsorted(before, seconds, side="right")) - 1, 0)
    return float(min(valid.start[at] + seconds - before[at], valid.end[at]))


def _snap(valid: Intervals, cut_s: float, reach_s: float) -> float:
    edges = np.concatenate([valid.start, valid.end])
    nearest = edges[np.argmin(np.abs(edges - cut_s))]
    return float(nearest) if abs(nearest - cut_s) < reach_s else cut_s


def assign(
    names: Sequence[str], shares: Mapping[str, float], seed: int, what: str
) -> dict[str, str]:
    """{name: side}, shuffled by the seed; every side with a share gets at least one.

    Raises InputError if there are fewer names than sides with a share.
    """
    asked = [side for side in SIDES if shares[side] > 0]
    if len(names) < len(asked):
        raise InputError(
            f"{what}: {len(names)} cannot be split over {len(asked)} sides ({', '.join(asked)}); "
            f"set a fraction to 0 or split by time."
        )
    n = {side: max(int(shares[side] * len(names) + 1e-9), 1) for side in asked}
    while sum(n.values()) > len(names):
        n[max(asked, key=lambda side: n[side])] -= 1
    while sum(n.values()) < len(names):
        n[max(asked, key=lambda side: shares[side] * len(names) - n[side])] += 1
    order = generator(seed, "splits", what).permutation(sorted(names)).tolist()
    labels = [side for side in asked for _ in range(n[side])]
    return dict(zip(order, labels, strict=True))


def trial_pairs(recording: Recording) -> Pairs:
    """(n, 2) [start, stop) seconds of the trials that have both, in order of time.

    Raises InputError if there is none.
    """
    columns = recording.trials.columns
    if "start_s" not in columns or "stop_s" not in columns:
        raise InputError(
            f"{recording.id}: it has no trials with start_s and stop_s; split by time."
        )
    pairs = np.stack([columns["start_s"], columns["stop_s"]], axis=1).astype(np.float64)
    pairs = pairs[np.isfinite(pairs).all(axis=1)]
    pairs = pairs[pairs[:, 1] > pairs[:, 0]]
    if len(pairs) == 0:
        raise InputError(
            f"{recording.id}: no trial has a finite start_s and a later stop_s; split by time."
        )
    return pairs[np.argsort(pairs[:, 0], kind="stable")]


def apart(
    pairs: Pairs, side: NDArray[np.str_], valid: Intervals, gap_s: float
) -> dict[str, Intervals]:
    """Trials of each side; those nearer than the gap to a later-named side are left out whole."""
    sides: dict[str, Intervals] = {}
    kept: list[Intervals] = []
    for name in reversed(SIDES):
        mine = pairs[side == name]
        for other in kept:
            mine = mine[nearest_s(mine, other) >= gap_s - (ROUNDING_S if gap_s > 0 else 0)]
        sides[name] = _union(mine)
        kept.append(sides[name])
    return {name: sides[name].intersect(valid) for name in SIDES}


def _union(pairs: Pairs) -> Intervals:
    """Sorted pairs as intervals; where trials overlap, the later one starts where the other ends."""
    ends = np.maximum.accumulate(pairs[:, 1]) if len(pairs) else pairs[:, 1]
    starts = pairs[:, 0].copy()
    starts[1:] = np.maximum(starts[1:], ends[:-1])
    keep = pairs[:, 1] > starts
    return Intervals.of(np.stack([starts[keep], pairs[keep, 1]], axis=1))


def nearest_s(pairs: Pairs, others: Intervals) -> NDArray[np.float64]:
    """(n,) distance from each pair to the nearest of the others; negative where they overlap."""
    if len(others) == 0:
        return np.full(len(pairs), np.inf)
    # Only the neighbours count: the last that starts at or before the pair, and the first after it.
    after = np.searchsorted(others.start, pairs[:, 0], side="right")
    start = np.append(others.start, np.inf)
    end = np.append(-np.inf, others.end)
    return np.asarray(np.minimum(start[after] - pairs[:, 1], pairs[:, 0] - end[after]))


def prove_pair(
    id: str, a: tuple[str, Intervals], b: tuple[str, Intervals], min_gap_s: float
) -> float:
    """The least distance between two sides of a recording.

    Raises CheckFailed, naming the recording and the second, if they overlap or are too near.
    """
    distance = nearest_s(a[1].pairs, b[1])
    if len(distance) == 0 or np.isinf(distance.min()):
        return float("inf")
    worst = int(distance.argmin())
    least, at = float(distance[worst]), float(a[1].start[worst])
    names = f"{id}: {a[0]} and {b[0]}"
    if least < 0:
        shared = a[1].clip(at, float(a[1].end[worst])).intersect(b[1])
        raise CheckFailed(
            f"{names} share the seconds from {shared.start[0]:.3f} to {shared.end[0]:.3f}; "
            f"make the split again."
        )
    if least < min_gap_s - ROUNDING_S:
        raise CheckFailed(
            f"{names} are {least:.3f} s apart near second {at:.3f}, nearer than the gap of "
            f"{min_gap_s:g} s; make the split again with a larger gap_s."
        )
    return least


def all_asked(
    id: str, sides: Mapping[str, Intervals], shares: Mapping[str, float], gap_s: float
) -> None:
    """Raises InputError if a side with a share came out empty."""
    for side, share in shares.items():
        if share > 0 and len(sides[side]) == 0:
            raise InputError(
                f"{id}: nothing is left for {side} ({100 * share:g}%) with a gap of {gap_s:g} s; "
                f"lower gap_s, raise the share or leave the recording out."
            )


def field(path: Any, tree: Any, name: str, kind: Any, where: str = "") -> Any:
    """A field of a JSON object; raises InputError that names the file and the field."""
    full = f"{where}.{name}" if where else name
    if not isinstance(tree, dict) or name not in tree:
        raise InputError(f"{path}: field {full} is missing; add it or make the splits again.")
    if not isinstance(tree[name], kind) or isinstance(tree[name], bool):
        raise InputError(f"{path}: field {full} has the wrong type; make the splits again.")
    return tree[name]


def intervals_field(path: Any, row: Any, side: str, where: str) -> Intervals:
    """A list of [start, end) pairs as intervals; raises InputError with the file and the field."""
    pairs = field(path, row, side, list, where)
    try:
        array = np.array(pairs, dtype=np.float64).reshape(len(pairs), 2)
        return Intervals.of(array)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{path}: field {where}.{side} must be a list of [start, end].") from None
    except InputError as error:
        raise InputError(f"{path}: field {where}.{side}: {error}") from None


def seconds_field(path: Any, tree: Any, name: str) -> float:
    """A number of seconds, at least 0; raises InputError with the file and the field."""
    value = field(path, tree, name, (int, float))
    if not 0 <= value < 1e9:
        raise InputError(f"{path}: field {name} is {value}; it must be seconds, at least 0.")
    return float(value)
