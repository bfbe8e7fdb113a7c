"""Decoding by Bayes: a linear encoder of behaviour, and a Gaussian process as its prior.

The encoder tells standardised root counts from values, slopes and curvatures of the targets, by ridge
regression; what it leaves is noise, partly shared by channels and lasting, by factor analysis. It is
told what it does not know by a temperature, chosen on the validation side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neurofm.errors import InputError
from neurofm.evaluate import regression
from neurofm.evaluate.bayes import categorical
from neurofm.evaluate.gaussian_process import Gaussians, Process, filtered, smoothed
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.readout import Counts, Stretch, last_fifth
from neurofm.evaluate.streams import Matrix, Scale

PENALTY = 1e-3  # of ridge, a bin; a state has few entries
N_SHARED = 30  # noises that channels share, at most a third of the channels
N_ROUNDS = 50  # of factor analysis
LEAST_OWN = 0.05  # of a channel's noise that is its own
LEAST_SPREAD = 1e-3  # added to the variances of targets, which may be the same axis twice
CARRIED = 0.05, 0.995
WARMEST = (
    0.15,
    12,
)  # step of the search for the temperature, in powers of ten, and how many are tried


@dataclass(frozen=True)
class Encoder:
    """Activity (C,) = `offset` + state (S,) @ `weights` (S, C) + noise of deviation `own` (C,)."""

    process: Process
    offset: Floats
    weights: Floats
    own: Floats

    @classmethod
    def of(cls, pieces: Sequence[tuple[Floats, Floats]]) -> "Encoder":
        """From (standardised activity (T, C), targets (T, k)) pieces, NaN where unknown.

        Raises InputError if no target is known for three bins on end.
        """
        rate, covariance = _process([wanted for _, wanted in pieces])
        states = np.concatenate([_states(wanted, rate) for _, wanted in pieces])
        known = np.isfinite(states).all(axis=1)
        x, y = states[known], np.concatenate([activity for activity, _ in pieces])
        joined = np.concatenate([x, np.ones((len(x), 1))], axis=1)
        gram = joined.T @ joined + PENALTY * len(x) * np.eye(joined.shape[1])
        weights = np.linalg.solve(gram, joined.T @ y[known])
        left = np.full_like(y, np.nan)
        left[known] = y[known] - joined @ weights
        loads, own = _factors(left[known])
        carried = _carried(left @ _read(loads, own))
        return cls(Process(rate, covariance, carried), weights[-1],
                   np.concatenate([weights[:-1], loads.T]), own)  # fmt: skip

    def posterior(self, activity: Floats, hot: float, causal: bool) -> Gaussians:
        """Of the targets in each bin of one piece (T, C), at temperature `hot`."""
        told = self.weights / self.own**2 / hot
        ask = filtered if causal else smoothed
        return ask(self.process, self.pulls(activity) / hot, told @ self.weights.T)

    def pulls(self, activity: Floats) -> Floats:
        """(T, S): all that the posterior is told of the activity."""
        return np.asarray((activity - self.offset) @ (self.weights / self.own**2).T)


def _process(wanted: Sequence[Floats]) -> tuple[float, Floats]:
    """(rate, covariance): as wide as the values are, and as smooth as their steps say."""
    values = np.concatenate(wanted)
    steps = np.concatenate([np.diff(piece, axis=0) for piece in wanted])
    known = values[np.isfinite(values).all(axis=1)]
    if not len(known) or not np.isfinite(steps).any():
        raise InputError("A decoder found no two bins on end with a target to learn from.")
    rate = np.sqrt(
        3 * np.nanmean(steps**2) / np.mean(known**2)
    )  # a Matérn 5/2's var(slope) = rate^2 / 3
    k = known.shape[1]
    return float(rate), known.T @ known / len(known) + LEAST_SPREAD * np.eye(k)


def _states(wanted: Floats, rate: float) -> Floats:
    """(T, 3k) values, slopes and curvatures; NaN beside unknown values."""
    if len(wanted) < 2:
        return np.full((len(wanted), 3 * wanted.shape[1]), np.nan)
    slope = np.gradient(wanted, axis=0) / rate
    return np.concatenate([wanted, slope, np.gradient(slope, axis=0) / rate], axis=1)


def _factors(noise: Floats) -> tuple[Floats, Floats]:
    """(loads (C, q), own deviation (C,)) of (n, C): factor analysis by principal axes (Jöreskog 1967)."""
    covariance = noise.T @ noise / len(noise)
    all_of_it = np.diag(covariance) + 1e-3  # silent channels too
    n_shared = min(N_SHARED, noise.shape[1] // 3)
    own, loads = 0.7 * all_of_it, np.zeros((noise.shape[1], n_shared))
    for _ in range(N_ROUNDS if n_shared else 0):
        root = np.sqrt(own)
        size, axes = np.linalg.eigh(covariance / np.outer(root, root))
        size, axes = size[::-1][:n_shared], axes[:, ::-1][:, :n_shared]
        loads = root[:, None] * axes * np.sqrt(np.maximum(size - 1, 0))
        own = np.maximum(all_of_it - (loads**2).sum(axis=1), LEAST_OWN * all_of_it)
    return loads, np.sqrt(own)


def _read(loads: Floats, own: Floats) -> Floats:
    """(C, q): the shared noise expected of a bin's noise is that times this."""
    told = loads / own[:, None] ** 2
    return np.asarray(told @ np.linalg.inv(np.eye(loads.shape[1]) + told.T @ loads))


def _carried(shared: Floats) -> Floats:
    """(q,) correlation of one bin to the next, from those of one bin and four: a channel's own noise is in neither."""

    def lagged(k: int) -> Floats:
        product = shared[k:] * shared[:-k]
        known = np.isfinite(product)
        mean = np.where(known, product, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        return np.asarray(np.maximum(mean, 1e-9))

    return np.asarray(np.clip((lagged(4) / lagged(1)) ** (1 / 3), *CARRIED))


class Bayes:
    """The mean of the posterior; `posterior` has its spread too. Causal: from the past alone."""

    def __init__(self, bin_s: float, causal: bool = False) -> None:
        del bin_s  # the prior's length scale is found in bins
        self.causal = causal

    def fit(self, train: Sequence[Stretch], valid: Sequence[Stretch]) -> None:
        """The encoder and prior from `train`; the temperature by the log density of `valid`.

        Raises InputError if there is nothing to learn from.
        """
        if not valid:
            train, valid = last_fifth(train)
        self.scale = Scale.of([s.counts for s in train], np.arange(train[0].counts.shape[1]))
        self.encoder = Encoder.of([(self._x(s.counts), _doubles(s.wanted)) for s in train])
        checks = [(self._x(s.counts), _doubles(s.wanted)) for s in valid]

        def density(power: float) -> float:
            told = [self.encoder.posterior(x, 10.0**power, self.causal).log_density(y)
                    for x, y in checks]  # fmt: skip
            return float(np.nanmean(np.concatenate(told)))

        self.hot = 10.0 ** regression.climb(density, 0.3, *WARMEST)

    def posterior(self, pieces: Sequence[Counts]) -> list[Gaussians]:
        """Of the targets (T, k), a piece each."""
        return [self.encoder.posterior(self._x(c), self.hot, self.causal) for c in pieces]

    def among(self, pieces: Sequence[Counts], cells: Floats, time: Floats) -> list[Floats]:
        """(T, G) posteriors over candidates `cells` (G, k), a piece each, with the prior `time` (G,) of one moment.

        How values move is as the process says; where they are is no Gaussian: each bin's posterior less the
        process's own prior of one moment is evidence, `time` (how long the animal was there) the prior.
        """
        own = Gaussians(np.zeros((1, cells.shape[1])), self.encoder.process.covariance[None])
        before = own.log_densities(cells)
        return [
            categorical(made.log_densities(cells) - before, time) for made in self.posterior(pieces)
        ]

    def features(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, S) what the posterior is told of each bin, a piece."""
        return [self.encoder.pulls(self._x(c)).astype(np.float32) for c in pieces]

    def predict(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, k) a piece."""
        return [made.mean.astype(np.float32) for made in self.posterior(pieces)]

    def _x(self, counts: Counts) -> Floats:
        return _doubles(self.scale(counts))


def _doubles(x: Matrix) -> Floats:
    return np.asarray(x, dtype=np.float64)
