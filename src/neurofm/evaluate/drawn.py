"""Ridge on a few minutes of an animal, drawn to what the weights of other animals are like.

Units of two animals are not the same, and leading directions of two have no common order or sign,
so weights cannot be carried over. What can is how they are spread: how much the directions tell, by
their rank, which courses over lags their weights have, how far a target's mean lies from 0, and how
much stays unexplained. These are a Gaussian prior over the weights of a new animal, and are learned
from the others by expectation-maximisation (empirical Bayes: MacKay 1992, Neural Comput 4:415). The
directions are read off activity alone, so that no minute without targets is wasted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.errors import InputError

Array = NDArray[np.float64]
Rows = tuple[Array, Array]  # features (n, F) of which a factor's taps are columns, targets (n,)
N_ITERATIONS = 15
LEAST_LEFT = 0.05  # of a target's variance
CLIP = 8.0  # standardised values beyond this are outliers


class DrawnConfig(Config):
    """How much of an animal is looked at, and how much a bin counts.

    `bins`: a bin counts as so many independent ones, as of `linear.bins`.
    """

    factors: int = Field(default=48, ge=1, description="leading directions of the activity")
    reach_s: float = Field(default=3.0, ge=0, description="lags on both sides of a bin")
    bins: float = Field(default=0.4, gt=0, le=1, description="independent bins that one is worth")
    offset: float = Field(default=0.1, gt=0, description="variance of means, of a target's own")


@dataclass(frozen=True)
class Factors:
    """Principal components of an animal's standardised traces, each of variance 1.

    `mean`, `scale` (C,); `axes` (C, n), strongest first.
    """

    mean: Array
    scale: Array
    axes: Array

    @classmethod
    def of(cls, pieces: Sequence[NDArray[Any]], n: int) -> "Factors":
        """From pieces (T, C) of traces, NaN unknown. Raises InputError if they hold fewer than two bins."""
        values = np.concatenate(pieces).astype(np.float64) if pieces else np.empty((0, 1))
        if len(values) < 2:
            raise InputError("There are fewer than two bins of traces to find directions in.")
        there = np.isfinite(values)
        n_there = np.maximum(there.sum(axis=0), 1)
        mean = np.where(there, values, 0).sum(axis=0) / n_there
        scale = np.sqrt((np.where(there, values - mean, 0) ** 2).sum(axis=0) / n_there)
        plain = cls(mean, np.where(scale > 0, scale, 1.0), np.eye(len(mean)))
        x = plain(values)
        variance, axes = np.linalg.eigh(x.T @ x / len(x))
        kept = min(n, int((variance > 1e-6 * variance[-1]).sum()))
        return replace(plain, axes=axes[:, ::-1][:, :kept] / np.sqrt(variance[::-1][:kept]))

    def __call__(self, values: NDArray[Any]) -> Array:
        """(T, C) traces -> (T, n); what is unknown is taken to be at its mean."""
        off = np.nan_to_num((values.astype(np.float64) - self.mean) / self.scale)
        return np.asarray(off.clip(-CLIP, CLIP) @ self.axes)


def lagged(pieces: Sequence[Array], reach: int) -> Array:
    """(n, (2 * reach + 1) * C) of pieces (T, C), lag by lag; beyond a piece its first and last bin.

    Not 0, the mean: slow traces are far from it, and a step to it looks like a movement.
    """
    padded = [np.pad(p, ((reach, reach), (0, 0)), mode="edge") for p in pieces]
    parts = [[p[k : len(p) - 2 * reach + k] for p in padded] for k in range(2 * reach + 1)]
    return np.concatenate([np.concatenate(part) for part in parts], axis=1)


@dataclass(frozen=True)
class Prior:
    """How weights of lagged factors are spread, of targets in units of their standard deviation.

    `strength` (n,): by the rank of a factor. `course` (K, K): how its taps go together, trace 1.
    `left`: variance of what is not explained. `bins`, `offset`: as configured, since what a mean may
    be is not to be told from three animals.
    """

    strength: Array
    course: Array
    left: float
    bins: float
    offset: float

    @property
    def covariance(self) -> Array:
        """(F + 1, F + 1) of weights, lag by lag; the last is the offset."""
        n = len(self.course) * len(self.strength)
        out = np.zeros((n + 1, n + 1))
        out[:n, :n] = np.kron(self.course, np.diag(self.strength))
        out[n, n] = self.offset
        return out

    def narrowed(self, n: int) -> "Prior":
        """Of the first n factors alone, for an animal that has no more."""
        return replace(self, strength=self.strength[:n])

    def decode(self, known: Rows, x: Array) -> Array:
        """(n,) targets at `x`, from the rows whose targets are known, in their own unit."""
        seen, y = known
        scale = _deviation(y)
        a = _with_offset(seen)
        shared = self.covariance @ a.T
        noise = self.left / self.bins * np.eye(len(a))
        weights = shared @ np.linalg.solve(a @ shared + noise, y / scale)
        return np.asarray(_with_offset(x) @ weights * scale)

    def posterior(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Mean (F + 1,) and covariance of the weights, given rows of targets in units of their deviation."""
        a, prior = _with_offset(x), self.covariance
        precise = a.T * (self.bins / self.left)
        cov = np.linalg.solve(np.eye(len(prior)) + prior @ (precise @ a), prior)
        cov = (cov + cov.T) / 2
        return cov @ (precise @ y), cov


def _with_offset(x: Array) -> Array:
    return np.column_stack([x, np.ones(len(x))])


def _deviation(y: Array) -> float:
    return max(float(y.std()), 1e-12)


def taught(animals: Sequence[Rows], n_taps: int, config: DrawnConfig) -> Prior:
    """The prior that makes the targets of these animals most likely, each having weights of its own.

    Of factors of all ranks the strength is a power of the rank. Raises InputError without a row.
    """
    rows = [(x, y / _deviation(y)) for x, y in animals if len(y)]
    if not rows:
        raise InputError("No other animal has a target to learn from.")
    n = rows[0][0].shape[1] // n_taps
    lag = np.abs(np.subtract.outer(np.arange(n_taps), np.arange(n_taps)))
    course = (0.5 * (lag == 0) + 0.5 * np.exp(-lag)) / n_taps
    prior = Prior(np.full(n, 0.3), course, 0.6, config.bins, config.offset)
    left = [prior.left] * len(rows)
    for _ in range(N_ITERATIONS):
        second = np.zeros((n, n_taps, n_taps))
        for at, (x, y) in enumerate(rows):
            mean, cov = replace(prior, left=left[at]).posterior(x, y)
            whole = (cov + np.outer(mean, mean))[:-1, :-1].reshape(n_taps, n, n_taps, n)
            second += np.einsum("anbn->nab", whole) / len(rows)
            a = _with_offset(x)
            lost = np.mean((y - a @ mean) ** 2 + np.einsum("ij,ij->i", a @ cov, a))
            left[at] = max(float(lost), LEAST_LEFT)
        strength, course = _spread(second, prior.strength)
        prior = replace(prior, strength=strength, course=course, left=float(np.mean(left)))
    return prior


def _spread(second: Array, strength: Array) -> tuple[Array, Array]:
    """Strength by rank and course over taps of (n, K, K) second moments of weights."""
    n, n_taps = second.shape[:2]
    course = (second / strength[:, None, None]).mean(axis=0)
    course = course / np.trace(course) + 1e-6 * np.eye(n_taps) / n_taps
    own = np.einsum("ab,nba->n", np.linalg.inv(course), second) / n_taps
    rank = np.log(np.arange(1, n + 1))
    line = np.polyfit(rank, np.log(own + 1e-6), 1) if n > 1 else [0.0, float(np.log(own[0]))]
    return np.exp(np.polyval(line, rank)), course
