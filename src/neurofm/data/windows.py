"""Windows: addresses of pieces of recordings, on the grid of bins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.data.binning import pieces
from neurofm.data.intervals import Intervals
from neurofm.errors import InputError
from neurofm.seeding import generator


@dataclass(frozen=True)
class Window:
    """`[start_s, end_s)` of one recording, in seconds on its clock."""

    recording: str
    start_s: float
    end_s: float

    def bins(self, bin_s: float) -> tuple[int, int]:
        """[first, stop) bins; the window's edges lie on the grid."""
        return round(self.start_s / bin_s), round(self.end_s / bin_s)


def window(recording: str, first: int, stop: int, bin_s: float) -> Window:
    """The window that covers bins [first, stop)."""
    return Window(recording, first * bin_s, stop * bin_s)


def tile(first: int, stop: int, length: int, stride: int) -> list[tuple[int, int]]:
    """[a, b) windows of at most `length` bins that cover [first, stop); the last one ends at `stop`."""
    if stop - first <= length:
        return [(first, stop)]
    starts = list(range(first, stop - length, stride)) + [stop - length]
    return [(a, a + length) for a in starts]


@dataclass(frozen=True)
class WindowTable:
    """Every place where a training window may start, without listing them.

    `first`, `stop`: (n,) bins of each piece. `recording`: (n,) index into `ids`. A piece of n bins
    has max(n - length + 1, 1) places; a piece shorter than `length` gives one short window.
    """

    ids: tuple[str, ...]
    recording: NDArray[np.int64]
    first: NDArray[np.int64]
    stop: NDArray[np.int64]
    length: int
    bin_s: float

    @classmethod
    def of(
        cls, spans: dict[str, Intervals], *, bin_s: float, length: int, shortest: int = 2
    ) -> "WindowTable":
        """From {recording id: intervals to draw from}; pieces under `shortest` bins are left out."""
        ids = tuple(spans)
        rows = [
            (index, a, b)
            for index, name in enumerate(ids)
            for a, b in pieces(spans[name], bin_s)
            if b - a >= shortest
        ]
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        return cls(ids, table[:, 0], table[:, 1], table[:, 2], length, bin_s)

    @property
    def n_bins(self) -> int:
        """Bins in all pieces."""
        return int((self.stop - self.first).sum())

    def draw(self, seed: int, step: int, size: int) -> list[tuple[int, int, int]]:
        """`size` random (recording index, first, stop), a pure function of (seed, step).

        A piece is drawn in proportion to its bins, then a start inside it, uniformly. Raises
        InputError if the table is empty.
        """
        if len(self.first) == 0:
            raise InputError(
                "there is no piece to draw windows from: every one is shorter than the shortest "
                "window allowed; lower bin_s or give longer recordings."
            )
        rng = generator(seed, "windows", step)
        ends = np.cumsum(self.stop - self.first)
        chosen = np.searchsorted(ends, rng.integers(0, ends[-1], size), side="right")
        out = []
        for piece, place in zip(chosen, rng.random(size), strict=True):
            first, stop = int(self.first[piece]), int(self.stop[piece])
            places = max(stop - first - self.length + 1, 1)
            start = first + int(place * places)
            out.append((int(self.recording[piece]), start, min(start + self.length, stop)))
        return out
