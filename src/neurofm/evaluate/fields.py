"""Decoders by Bayes whose encoder is a table of fields: mean counts where the animal was.

Targets are standardised, (T, k), and cut into cells of a tenth of their spread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import bayes, regression
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.readout import Counts, Stretch
from neurofm.evaluate.streams import Matrix

CELL = 0.1  # of the targets' spread
SMOOTH = (1.0, 2.0, 3.0)  # cells by which fields are smoothed
WIDTHS_BINS = (5, 9, 15, 25)  # bins of which counts are summed
STEP = 0.1  # where the search for the walk's step begins, of the targets' spread a bin


@dataclass(frozen=True)
class Fields:
    """`rates` (G, C) expected counts a bin in the `cells` (G, k) visited; `time` (G,) smoothed bins there."""

    cells: Matrix
    rates: Matrix
    time: Matrix

    @classmethod
    def of(cls, train: Sequence[Stretch], smooth: float) -> "Fields":
        """Spikes over time in each cell, both smoothed by a Gaussian of `smooth` cells."""
        regression.solvers()  # a clear sentence where scipy is missing
        from scipy.ndimage import gaussian_filter

        counts = np.concatenate([s.counts for s in train]).astype(np.float64)
        wanted = np.concatenate([s.wanted for s in train])
        there = np.isfinite(wanted).all(axis=1)
        at = np.floor(wanted[there] / CELL).astype(int)
        low = at.min(axis=0) - 1
        shape = tuple(at.max(axis=0) - low + 2)
        time, spikes = np.zeros(shape), np.zeros((*shape, counts.shape[1]))
        np.add.at(time, tuple((at - low).T), 1.0)
        np.add.at(spikes, tuple((at - low).T), counts[there])
        was = time > 0
        time = gaussian_filter(time, smooth)
        spikes = gaussian_filter(spikes, (smooth,) * len(shape) + (0.0,))
        rates = (spikes[was] + 1e-3) / (time[was][:, None] + 1e-1)
        cells = (np.argwhere(was) + low + 0.5) * CELL
        return cls(cells.astype(np.float32), rates.astype(np.float32), time[was].astype(np.float32))


class Bayes:
    """Fields and a Poisson likelihood, no prior but where the animal was (Zhang et al. 1998).

    Counts are summed over `WIDTHS_BINS` bins around a bin; that and `SMOOTH` are chosen on the
    valid side by the median distance.
    """

    def fit(self, train: Sequence[Stretch], valid: Sequence[Stretch]) -> None:
        """Tries every width and smoothing."""
        best = np.inf
        for smooth in SMOOTH:
            fields = Fields.of(train, smooth)
            for width in WIDTHS_BINS:
                far = []
                for s in valid:
                    there = np.isfinite(s.wanted).all(axis=1)
                    told = _likeliest(s.counts, fields, width)
                    far.append(np.linalg.norm(told - s.wanted, axis=1)[there])
                if np.median(np.concatenate(far)) < best:
                    best = float(np.median(np.concatenate(far)))
                    self.chosen = fields, width

    def predict(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, k) a piece: the likeliest cells."""
        return [_likeliest(counts, *self.chosen) for counts in pieces]


def _likeliest(counts: Counts, fields: Fields, width: int) -> Matrix:
    from scipy.ndimage import uniform_filter1d

    seen = uniform_filter1d(counts.astype(np.float64), width, axis=0) * width
    likely = seen @ np.log(fields.rates).T - width * fields.rates.sum(axis=1)
    best: NDArray[np.int64] = likely.argmax(axis=1)
    return fields.cells[best]


class BayesWalk:
    """Fields, a Poisson likelihood at a temperature, and a random walk over the cells.

    `causal`: each bin from the past alone. Smoothing, step and temperature are chosen on the valid
    side by the log posterior of the true cell. The walk starts where the animal was in training.
    """

    def __init__(self, causal: bool = False) -> None:
        self.prior: Callable[..., Floats] = bayes.filtered if causal else bayes.smoothed

    def fit(self, train: Sequence[Stretch], valid: Sequence[Stretch]) -> None:
        """For every smoothing, climbs to the best step, each step at its best temperature."""
        best = -np.inf
        for smooth in SMOOTH:
            fields = Fields.of(train, smooth)
            check = _Check.of(self.prior, fields, valid)
            power = regression.climb(check.score, float(np.log10(STEP)), 0.1)
            score, hot = check(power)
            if score > best:
                best, self.fields, self.hot = score, fields, hot
                self.smooth, self.step = smooth, 10.0**power
                self.moves = bayes.random_walk(fields.cells, self.step)

    def posterior(self, pieces: Sequence[Counts]) -> list[Floats]:
        """(T, G) a piece, over `fields.cells`."""
        return [self.prior(_evidence(c, self.fields) / self.hot, self.moves, self.fields.time)
                for c in pieces]  # fmt: skip

    def predict(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, k) a piece: posterior means."""
        return [(p @ self.fields.cells).astype(np.float32) for p in self.posterior(pieces)]


def _evidence(counts: Counts, fields: Fields) -> Floats:
    return bayes.poisson_evidence(counts, fields.rates)


@dataclass(frozen=True)
class _Check:
    """log10 step -> (log posterior of the true cells of the valid side, temperature)."""

    prior: Callable[..., Floats]
    fields: Fields
    evidence: list[Floats]
    there: NDArray[np.bool_]
    truth: NDArray[np.int64]
    known: dict[float, tuple[float, float]]

    @classmethod
    def of(cls, prior: Callable[..., Floats], fields: Fields, valid: Sequence[Stretch]) -> "_Check":
        wanted = np.concatenate([s.wanted for s in valid])
        there = np.isfinite(wanted).all(axis=1)
        truth = bayes.nearest(fields.cells, wanted[there])
        return cls(prior, fields, [_evidence(s.counts, fields) for s in valid], there, truth, {})

    def score(self, power: float) -> float:
        """The log posterior alone: what the step is chosen by."""
        return self(power)[0]

    def __call__(self, power: float) -> tuple[float, float]:
        if power not in self.known:
            moves = bayes.random_walk(self.fields.cells, 10.0**power)

            def told(hot: float) -> Floats:
                every = [self.prior(e / hot, moves, self.fields.time) for e in self.evidence]
                return np.concatenate(every)[self.there]

            hot = bayes.temperature(told, self.truth)
            score = float(bayes.log_score(told(hot), self.truth).mean())
            self.known[power] = score, hot
        return self.known[power]
