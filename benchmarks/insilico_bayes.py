"""Rates turned around: where was it, from an encoder of places or from samples of movements, for `insilico.py`."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import side_pieces, traces
from neurofm.evaluate import bayes
from neurofm.evaluate.metrics import Floats

N_GRID = 15
STEPS = (0.1, 0.15, 0.25, 0.4, 0.6, 0.8)  # of the random walk, deviations of the grid a bin
WIDTHS_BINS, N_SAMPLES = (5, 9, 15, 21), 3000
POSITION, VELOCITY = "cursor_position", "cursor_velocity"


@dataclass(frozen=True)
class Recorded:
    """Counts (T, U), position and velocity (T, 2) of one side, bins of any piece one after the other."""

    counts: Floats
    position: Floats
    velocity: Floats

    @classmethod
    def of(cls, r: Recording, counts: Floats, side: Intervals, bin_s: float) -> "Recorded":
        bins = np.concatenate([np.arange(a, b) for a, b in side_pieces(r, side, bin_s)])
        position, velocity = (
            traces(r, name, bin_s)[bins].astype(float) for name in (POSITION, VELOCITY)
        )
        return cls(counts[bins], position, velocity)


@dataclass(frozen=True)
class Grid:
    """Places (G, 2), and how often the animal was there in training."""

    cells: Floats
    time: Floats

    @classmethod
    def of(cls, train: Recorded) -> "Grid":
        known = train.position[np.isfinite(train.position).all(axis=1)]
        low, high = np.percentile(known, [0.5, 99.5], axis=0)
        axes = [np.linspace(a, b, N_GRID) for a, b in zip(low, high, strict=True)]
        cells = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        return cls(cells, np.bincount(bayes.nearest(cells, known), minlength=len(cells)) + 0.5)

    def fields(self, train: Recorded) -> Floats:
        """(G, U) mean counts of the training side in each cell, smoothed by one."""
        there = np.isfinite(train.position).all(axis=1)
        at = bayes.nearest(self.cells, train.position[there])
        spikes, time = np.zeros((len(self.cells), train.counts.shape[1])), np.zeros(len(self.cells))
        np.add.at(spikes, at, train.counts[there])
        np.add.at(time, at, 1.0)
        square = (N_GRID, N_GRID)
        spikes = gaussian_filter(spikes.reshape(*square, -1), (1, 1, 0)) + 1e-3
        rates = spikes / (gaussian_filter(time.reshape(square), 1)[..., None] + 1e-1)
        return np.asarray(rates.reshape(len(self.cells), -1))


@dataclass(frozen=True)
class Walk:
    """An encoder of places (G, U), with a random walk of `choice` deviations a bin over them."""

    grid: Grid
    rates: Floats
    choices: tuple[float, ...] = STEPS

    def told(self, counts: Floats, choice: float) -> Callable[[float], Floats]:
        """Temperature -> (T, G) posterior."""
        evidence = bayes.poisson_evidence(counts, self.rates)
        moves = bayes.random_walk(self.grid.cells / self.grid.cells.std(axis=0), choice)
        return lambda hot: bayes.smoothed(evidence / hot, moves, self.grid.time)


@dataclass(frozen=True)
class Movements:
    """Bins of the training side, `at`, as samples of what may happen: what came before and after each is known too.

    `rates` (T, U) the model's for all bins of that side, `cell` where the animal was in each. The counts of `choice`
    bins about a bin are its evidence, so the samples are of courses, not of places.
    """

    grid: Grid
    rates: Floats
    at: NDArray[np.intp]
    cell: NDArray[np.int64]
    choices: tuple[int, ...] = WIDTHS_BINS

    @classmethod
    def of(cls, grid: Grid, train: Recorded, rates: Floats) -> "Movements":
        there, edge = np.flatnonzero(np.isfinite(train.position).all(axis=1)), max(WIDTHS_BINS)
        there = there[(there >= edge) & (there < len(rates) - edge)]
        at = there[np.linspace(0, len(there) - 1, N_SAMPLES).astype(int)]
        return cls(grid, rates, at, bayes.nearest(grid.cells, train.position[at]))

    def told(self, counts: Floats, choice: int) -> Callable[[float], Floats]:
        """Temperature -> (T, G) posterior, of which a hundredth is the prior: samples are not all there is."""
        half, n = choice // 2, len(counts)
        padded = np.pad(counts, ((half, half), (0, 0)), constant_values=np.nan)
        evidence = sum(bayes.poisson_evidence(padded[lag : lag + n], self.rates[self.at + lag - half])
                       for lag in range(choice))  # fmt: skip
        inside = np.eye(len(self.grid.cells))[self.cell]
        prior = self.grid.time / self.grid.time.sum()
        return lambda hot: 0.99 * bayes.importance(evidence / hot)[0] @ inside + 0.01 * prior


def chosen(decoder: Walk | Movements, valid: Recorded) -> tuple[float, float, float]:
    """(log score, choice, temperature): what makes the true cells of the validation side likeliest."""
    there = np.isfinite(valid.position).all(axis=1)
    truth, tried = bayes.nearest(decoder.grid.cells, valid.position[there]), []
    for choice in decoder.choices:
        told = decoder.told(valid.counts, choice)
        hot = bayes.temperature(lambda t, told=told: told(t)[there], truth)
        tried.append((float(bayes.log_score(told(hot)[there], truth).mean()), choice, hot))
    return max(tried)
