"""Intervals of time: half-open `[start, end)`, in seconds from the recording's start."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError


@dataclass(frozen=True)
class Intervals:
    """Sorted, disjoint, half-open intervals. Two that touch stay apart: a piece is a piece.

    `start`, `end`: (n,) float64 seconds.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.start.shape != self.end.shape or self.start.ndim != 1:
            raise InputError("Intervals need one start and one end each, in two flat arrays.")
        if not (np.isfinite(self.start).all() and np.isfinite(self.end).all()):
            raise InputError("Intervals hold a start or an end that is not finite.")
        if (self.end <= self.start).any():
            raise InputError("Intervals hold one that ends at or before its start.")
        if (self.start[1:] < self.end[:-1]).any():
            raise InputError("Intervals overlap or are not in order of time.")

    @classmethod
    def of(cls, pairs: ArrayLike) -> "Intervals":
        """From an (n, 2) array of [start, end), sorted here; raises InputError if any overlap."""
        array = np.asarray(pairs, dtype=np.float64).reshape(-1, 2)
        array = array[np.argsort(array[:, 0], kind="stable")]
        return cls(array[:, 0].copy(), array[:, 1].copy())

    @classmethod
    def none(cls) -> "Intervals":
        """No interval at all."""
        return cls.of(np.empty((0, 2)))

    def __len__(self) -> int:
        return len(self.start)

    def __iter__(self) -> Iterator[tuple[float, float]]:
        for start, end in zip(self.start, self.end, strict=True):
            yield float(start), float(end)

    @property
    def pairs(self) -> NDArray[np.float64]:
        """(n, 2) array of [start, end)."""
        return np.stack([self.start, self.end], axis=1)

    @property
    def total_s(self) -> float:
        """Seconds in all."""
        return float((self.end - self.start).sum())

    def contains(self, times_s: ArrayLike) -> NDArray[np.bool_]:
        """Which times lie in an interval; the start does, the end does not."""
        times = np.asarray(times_s, dtype=np.float64)
        if len(self) == 0:
            return np.zeros(times.shape, dtype=bool)
        at = np.searchsorted(self.start, times, side="right") - 1
        return np.asarray((at >= 0) & (times < self.end[np.maximum(at, 0)]))

    def intersect(self, other: "Intervals") -> "Intervals":
        """What lies in both; pieces of either stay pieces."""
        pairs = []
        for start, end in other:
            low = np.maximum(self.start, start)
            high = np.minimum(self.end, end)
            keep = high > low
            pairs.append(np.stack([low[keep], high[keep]], axis=1))
        return Intervals.of(np.concatenate(pairs)) if pairs else Intervals.none()

    def clip(self, start_s: float, end_s: float) -> "Intervals":
        """What lies in [start_s, end_s)."""
        return self.intersect(Intervals.of([(start_s, end_s)])) if end_s > start_s else self.none()

    def subtract(self, other: "Intervals") -> "Intervals":
        """What lies in self and not in other."""
        pieces = self
        for start, end in other:
            outside = [_before(pieces, start).pairs, _after(pieces, end).pairs]
            pieces = Intervals.of(np.concatenate(outside))
        return pieces

    def overlap_s(self, other: "Intervals") -> float:
        """Seconds that lie in both."""
        return self.intersect(other).total_s


def first_minutes(intervals: Intervals, minutes: float | None) -> Intervals:
    """The first so many minutes, gaps not counted; nothing for 0, all of them for None."""
    if minutes is None:
        return intervals
    left, kept = minutes * 60, []
    for start, end in intervals:
        if left <= 0:
            break
        kept.append((start, min(end, start + left)))
        left -= end - start
    return Intervals.of(kept)


def _before(intervals: Intervals, time_s: float) -> Intervals:
    end = np.minimum(intervals.end, time_s)
    keep = end > intervals.start
    return Intervals(intervals.start[keep], end[keep])


def _after(intervals: Intervals, time_s: float) -> Intervals:
    start = np.maximum(intervals.start, time_s)
    keep = intervals.end > start
    return Intervals(start[keep], intervals.end[keep])
