"""Reduced-rank ridge regression: few shared directions between what is seen and what is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate.lagged import Linear, Sides, Trial, trials
from neurofm.evaluate.regression import climb, factor, solvers
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.task import Example, Question

RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)


@dataclass
class ReducedRank:
    """Ridge weights projected on their leading predicted directions (Mukherjee and Zhu 2011, eq. 5).

    Targets are weighed by 1 / sqrt(mean), their Poisson deviation. Lags are grouped as for
    `ridge-wide`; lags, penalty and rank are chosen on `valid`. `chosen` says which.
    """

    name: str = "reduced-rank"
    chosen: dict[str, float] = field(default_factory=dict)
    linear: Linear | None = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """For each reach climb to the best penalty, with the best rank at each."""
        sides = Sides.of(train, valid)
        best: tuple[float, Trial, Matrix] | None = None
        power = 0.0
        for trial in trials(sides, sides.wide()):
            found: dict[float, tuple[float, int, Matrix]] = {}

            def quality(p: float, t: Trial = trial, f: dict[float, Any] = found) -> float:
                f[p] = best_rank(t, 10.0**p)
                return float(f[p][0])

            power = climb(quality, power, step=0.5)
            score, rank, weights = found[power]
            if best is None or score > best[0]:
                best = score, trial, weights
                self.chosen = {"groups": len(trial.groups), "penalty": power, "rank": rank}
        assert best is not None
        self.linear = Linear.of(sides, best[1], best[2])

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.linear is not None, "fit comes before predict"
        return self.linear.predict(questions)


def best_rank(trial: Trial, penalty: float) -> tuple[float, int, Matrix]:
    """(validation likelihood, rank, weights (F, M)) of the best rank at one penalty."""
    linalg = solvers()
    deviation = np.sqrt(np.maximum(trial.fitted.y_mean, 1e-6)).astype(np.float64)
    root = factor(trial.fitted, penalty)
    # Z = L^-1 (X'Y), so Z'Z is the predicted covariance: its leading directions are kept.
    z = linalg.solve_triangular(root[0], trial.fitted.cross / deviation, lower=True)
    n_most = min(*z.shape, RANKS[-1])
    left, size, right = _leading(z, n_most)
    inner = linalg.solve_triangular(root[0], left * size, lower=True, trans="T")
    outer = (right * deviation).astype(np.float32)
    inner = inner.astype(np.float32)
    seen, mean = trial.x_valid @ inner, trial.fitted.y_mean
    tried = [(trial.judged(seen[:, :r] @ outer[:r] + mean, mean), r) for r in RANKS if r <= n_most]
    score, rank = max(tried)
    return score, rank, inner[:, :rank] @ outer[:rank]


def _leading(z: NDArray[np.float64], n: int) -> tuple[Any, Any, Any]:
    """The `n` leading singular triplets (F, n), (n,), (n, M), from the smaller Gram matrix."""
    if z.shape[1] <= z.shape[0]:
        square, right = np.linalg.eigh(z.T @ z)
        right = right[:, ::-1][:, :n]
        size = np.sqrt(np.maximum(square[::-1][:n], 1e-30))
        return z @ right / size, size, right.T
    square, left = np.linalg.eigh(z @ z.T)
    left = left[:, ::-1][:, :n]
    size = np.sqrt(np.maximum(square[::-1][:n], 1e-30))
    return left, size, (left.T @ z) / size[:, None]
