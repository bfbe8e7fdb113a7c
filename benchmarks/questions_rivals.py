"""Rivals of `questions.py` that the package has not: fields of place, and the last value that was seen."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.nodes import rows_of
from neurofm.evaluate import regression, streams
from neurofm.evaluate.lagged import Sides
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.regression import fit_quality, least
from neurofm.evaluate.task import Example, Question

CELL = 0.1  # of the place's spread
SMOOTH = (1.0, 2.0, 3.0, 5.0)  # cells
PRIOR_BINS = (1.0, 5.0, 20.0, 80.0, 320.0)  # of the mean rate, in each cell
MOVING = 0.25  # of the speed's spread: what is slower stands still
DIRECTIONS = 3  # backwards, still, forwards


@dataclass
class PlaceFields:
    """Mean counts where the animal was, apart for how it moved: a table (O'Keefe & Dostrovsky 1971).

    Cells of a tenth of the spread of `position`; times and spikes smoothed by a Gaussian, drawn to the unit's mean.
    Smoothing, the prior's weight and whether directions are apart are chosen on `valid`. Where the place is not known, the mean.
    """

    name: str = "place-fields"
    chosen: dict[str, float] = field(default_factory=dict)
    table: Any = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Tries every choice."""
        channels = train[0].question.channels
        units = np.flatnonzero(channels.in_activity)
        where = rows_of(channels, "position"), rows_of(channels, "velocity")
        x, y = _joined(train), _joined(valid)
        place = x[:, where[0]]
        middle, scale = np.nanmean(place, axis=0), np.nanstd(place, axis=0)
        speed = np.nanstd(x[:, where[1]])
        low = np.floor((np.nanmin(place, axis=0) - middle) / scale / CELL).astype(int) - 1
        top = np.floor((np.nanmax(place, axis=0) - middle) / scale / CELL).astype(int) + 1
        grid = _Grid(where, middle, scale, float(speed), low, top)
        mean = np.maximum(x[:, units].mean(axis=0), least(len(x)))
        best = -np.inf
        for apart in (False, True):
            at = grid.cells(x, apart)
            for smooth in SMOOTH:
                time, spikes = grid.sums(at, x[:, units], smooth)
                for prior in PRIOR_BINS:
                    rates = (spikes + prior * mean) / (time[..., None] + prior)
                    quality = fit_quality(y[:, units], _told(rates, mean, grid.cells(y, apart)))
                    if quality > best:
                        best = quality
                        self.chosen = {"apart": apart, "smooth": smooth, "prior": prior}
                        self.table = grid, rates, mean, units, apart

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        grid, rates, mean, units, apart = self.table
        out = []
        for q in questions:
            told = np.zeros(q.visible.shape, np.float32)
            told[:, units] = _told(rates, mean, grid.cells(q.visible, apart))
            out.append(told)
        return out


@dataclass(frozen=True)
class _Grid:
    """Where a bin lies: `where` holds the rows of place and of velocity."""

    where: tuple[NDArray[np.intp], NDArray[np.intp]]
    middle: Floats
    scale: Floats
    speed: float
    low: NDArray[np.int64]
    top: NDArray[np.int64]

    def cells(self, values: NDArray[Any], apart: bool) -> NDArray[np.int64]:
        """(T, k + 1): cells, and the direction; -1 where either is not known."""
        place, moves = values[:, self.where[0]], values[:, self.where[1]]
        main = moves[:, int(np.argmax(self.scale))]  # along the longer axis of the track
        known = np.isfinite(place).all(axis=1) & np.isfinite(main)
        at = np.floor((np.nan_to_num(place) - self.middle) / self.scale / CELL).astype(int)
        at = np.clip(at, self.low, self.top) - self.low
        way = np.sign(main) * (np.abs(main) > MOVING * self.speed) if apart else np.zeros(len(at))
        way = np.nan_to_num(way).astype(int) + 1
        return np.where(known[:, None], np.column_stack([at, way]), -1)

    def sums(
        self, at: NDArray[np.int64], counts: NDArray[Any], smooth: float
    ) -> tuple[Floats, Floats]:
        """Bins and spikes in every cell, both smoothed over places."""
        regression.solvers()  # a clear sentence where scipy is missing
        from scipy.ndimage import gaussian_filter

        shape = (*(self.top - self.low + 1).tolist(), DIRECTIONS)
        time, spikes = np.zeros(shape), np.zeros((*shape, counts.shape[1]))
        there = at[:, 0] >= 0
        np.add.at(time, tuple(at[there].T), 1.0)
        np.add.at(spikes, tuple(at[there].T), counts[there])
        over = (smooth,) * (len(shape) - 1) + (0.0,)
        return gaussian_filter(time, over), gaussian_filter(spikes, (*over, 0.0))


def _told(rates: Floats, mean: Floats, at: NDArray[np.int64]) -> NDArray[np.float32]:
    told = rates[tuple(np.maximum(at, 0).T)]
    return np.where(at[:, :1] >= 0, told, mean).astype(np.float32)


def _joined(examples: Sequence[Example]) -> NDArray[Any]:
    return np.concatenate([e.counts for e in examples])


@dataclass
class LastValue:
    """What was seen last of a channel, held; drawn to the mean by a share chosen on `valid` for each bin ahead.

    With `hold` alone the share is 1: the value as it was.
    """

    hold: bool = False
    name: str = "last-value"
    fitted: Any = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Shares (n_ahead, S) by least squares over the valid side, between 0 and 1."""
        sides = Sides.of(train, valid)
        pattern, wanted = sides.pattern, sides.wanted
        assert wanted is not None, "held values are of channels of the kind real"
        shares = np.ones((pattern.n_ahead, len(pattern.scored)))
        if not self.hold:
            last, truth = [], []
            for e in valid:
                last.append(_last(e.question.visible[:, pattern.scored], pattern.n_ahead))
                truth.append(e.counts[-pattern.n_ahead :, pattern.scored])
            x = (np.array(last) - wanted.mean)[:, None]
            y = np.array(truth) - wanted.mean
            there = np.isfinite(x) & np.isfinite(y)
            both = np.where(there, x * y, 0).sum(axis=0), np.where(there, x * x, 0).sum(axis=0)
            shares = np.clip(both[0] / np.maximum(both[1], 1e-9), 0, 1)
        self.fitted = pattern, wanted.mean, shares

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) values for each question; the mean where a channel was not seen."""
        pattern, mean, shares = self.fitted
        out = []
        for q in questions:
            off = np.nan_to_num(_last(q.visible[:, pattern.scored], pattern.n_ahead) - mean)
            out.append(streams.answer((mean + shares * off).astype(np.float32), q, pattern))
        return out


def _last(values: NDArray[Any], n_ahead: int) -> NDArray[Any]:
    """(S,) the last value of each column before the horizon; NaN where there is none."""
    seen = values[: len(values) - n_ahead]
    there = np.isfinite(seen)
    at = len(seen) - 1 - there[::-1].argmax(axis=0)
    return np.where(there.any(axis=0), seen[at, np.arange(seen.shape[1])], np.nan)
