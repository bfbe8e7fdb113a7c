"""Population-coupling Poisson GLM: each unit driven by a few shared components of the others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import glm, streams
from neurofm.evaluate.lagged import Sides, answers, shaped
from neurofm.evaluate.regression import climb, fit_quality, least
from neurofm.evaluate.streams import Groups, Matrix, Scale
from neurofm.evaluate.task import Example, Question

N_COMPONENTS = (6, 12, 24)


@dataclass(frozen=True)
class Components(Scale):
    """Standardised square-root counts projected on `loading` (V, k), unit variance each."""

    loading: Matrix = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def __call__(self, counts: NDArray[Any]) -> Matrix:
        """(T, V) counts -> (T, k) components."""
        return np.asarray(super().__call__(counts) @ self.loading)


@dataclass
class CouplingGLM:
    """rate = mean * softplus(bias + x · w) / log 2, penalised maximum likelihood (Okun et al. 2015).

    x: principal components of the visible activity, smoothed over 5 bins, at lags grouped as for
    `ridge-wide`. Convex, solved by L-BFGS in the decorrelated features, all units at once. How
    many components, and the penalty, are chosen on `valid`.
    """

    name: str = "coupling-glm"
    chosen: dict[str, float] = field(default_factory=dict)
    fitted: Any = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """More components for as long as `valid` gains; a search for the penalty at each."""
        sides = Sides.of(train, valid)
        groups = sides.widest()
        best, power = -np.inf, 1.0
        n_visible = len(sides.pattern.visible)
        for n in dict.fromkeys(min(n, n_visible) for n in N_COMPONENTS):
            problem = Problem.of(sides, groups, n)
            found: dict[float, tuple[float, Matrix]] = {}

            def quality(p: float, q: Problem = problem, f: dict[float, Any] = found) -> float:
                start = f[min(f, key=lambda k: abs(k - p))][1] if f else None
                weights = q.solve(10.0**p, start)
                f[p] = fit_quality(q.y_valid, q.rates(q.x_valid, weights)), weights
                return float(f[p][0])

            power = climb(quality, power, step=0.5)
            if found[power][0] <= best:
                break
            best = found[power][0]
            self.chosen = {"components": n, "penalty": power}
            self.fitted = sides.pattern, problem, found[power][1]

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.fitted is not None, "fit comes before predict"
        pattern, problem, weights = self.fitted

        def rates(x: Matrix) -> Matrix:
            return np.asarray(problem.rates(problem.turn(x), weights))

        return answers(questions, pattern, problem.components, problem.groups, rates)


@dataclass(frozen=True)
class Problem:
    """One GLM: decorrelated features (n, F) with a last column of ones, targets (n, M), means (M,)."""

    components: Components
    groups: Groups
    centre: Matrix
    rotation: Matrix
    x: Matrix
    y: Matrix
    mean: Matrix
    x_valid: Matrix
    y_valid: Matrix

    @classmethod
    def of(cls, sides: Sides, groups: Groups, n_components: int) -> "Problem":
        """Components from the training part, lagged, turned to their principal axes."""
        components = leading(sides, n_components)
        reduced = Sides(sides.pattern, sides.train, sides.valid, components)
        train, valid = (
            _joined(reduced.samples(part, groups)) for part in (sides.train, sides.valid)
        )
        centre = train[0].mean(axis=0)
        rotation = np.linalg.eigh((train[0] - centre).T @ (train[0] - centre))[1]
        x, x_valid = (_turned(side[0], centre, rotation) for side in (train, valid))
        flat = shaped(train[1].mean(axis=0, dtype=np.float64).astype(np.float32), sides.pattern)[0]
        mean = np.maximum(flat, least(len(x)))
        return cls(components, groups, centre, rotation, x, train[1], mean, x_valid, valid[1])

    def turn(self, x: Matrix) -> Matrix:
        """Raw lagged components -> the features of this problem."""
        return _turned(x, self.centre, self.rotation)

    def rates(self, x: Matrix, weights: Matrix) -> Matrix:
        """(n, M) expected counts."""
        return glm.rates(x, weights, self.mean, len(self.x))

    def solve(self, penalty: float, start: Matrix | None) -> Matrix:
        """(F + 1, M) weights that minimise the negative log-likelihood + penalty / 2 * |w|^2."""
        ridge = np.full((self.x.shape[1], 1), penalty, dtype=np.float32)
        ridge[-1] = glm.FREE
        return glm.solve(self.x, self.y, self.mean, ridge, start)


def leading(sides: Sides, n: int) -> Components:
    """The `n` principal components of the training part, smoothed over 5 bins."""
    total = np.zeros((len(sides.pattern.visible),) * 2)
    for piece in sides.train:
        every = np.arange(len(piece))
        smooth = streams.lagged(sides.scale(piece[:, sides.pattern.visible]), ((-2, 3),), every)
        total += smooth.T @ smooth
    power, axes = np.linalg.eigh(total)
    n_bins = sum(len(piece) for piece in sides.train)
    deviation = np.sqrt(np.maximum(power[-n:] / n_bins, 1e-12))
    loading = (axes[:, -n:] / deviation).astype(np.float32)
    return Components(sides.scale.mean, sides.scale.deviation, loading=loading)


def _joined(parts: list[tuple[Matrix, Matrix]]) -> tuple[Matrix, Matrix]:
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def _turned(x: Matrix, centre: Matrix, rotation: Matrix) -> Matrix:
    return glm.with_ones(np.asarray((x - centre) @ rotation, dtype=np.float32))
