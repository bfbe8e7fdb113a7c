"""The fully coupled Poisson GLM: each unit driven by its own past and by every visible unit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import glm, streams
from neurofm.evaluate.lagged import MOST_FEATURES, Sides, answers
from neurofm.evaluate.regression import climb, fit_quality, least
from neurofm.evaluate.streams import Groups, Matrix, Pattern
from neurofm.evaluate.task import Example, Question

OWN = (0.1, 0.01)  # the penalty on a unit's own past, relative to that on the couplings
DOUBLINGS = (5, 4, 3, 2)  # bases over 31, 15, 7 or 3 bins: the most that MOST_FEATURES allows


@dataclass
class CoupledGLM:
    """rate = mean * softplus(bias + history + couplings) / log 2 (Pillow et al. 2008, eq. 1).

    Filters are steps over 1, 2, 4 ... bins of standardised square-root counts, with a softplus for
    their exponential, so that a horizon cannot run away. Forward: filters of the unit's own past
    and of every other unit's; the horizon is predicted at once, its bins in groups of 1, 2, 4 ...
    of one rate each. Hidden channels: couplings to every visible unit on both sides of the bin
    and in it; a hidden channel has no history. Maximum likelihood with a ridge, all targets
    together; its strength, and how much weaker it is on a unit's own past, are chosen on `valid`.
    """

    name: str = "coupled-glm"
    chosen: dict[str, float] = field(default_factory=dict)
    fitted: Any = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Climb to the best penalty, then relax it on each unit's own past if `valid` gains."""
        sides = Sides.of(train, valid)
        groups = filters(sides.pattern)
        ahead = streams.widening_ahead(sides.pattern.n_ahead)
        x, y = _side(sides, sides.train, groups, ahead)
        x_valid, y_valid = _side(sides, sides.valid, groups, ahead)
        mean = np.maximum(_flat(y, ahead), least(len(x)) * _widths(sides.pattern, ahead))
        found: dict[tuple[float, float], tuple[float, Matrix]] = {}

        def quality(power: float, own: float = 1.0) -> float:
            near = min(found, key=lambda k: abs(k[0] - power), default=None)
            ridge = penalties(sides.pattern, len(groups), len(mean), 10.0**power, own)
            weights = glm.solve(x, y, mean, ridge, found[near][1] if near else None)
            rates = glm.rates(x_valid, weights, mean, len(x))
            found[power, own] = fit_quality(y_valid, rates), weights
            return found[power, own][0]

        power = climb(quality, 2.0, step=0.5)
        if sides.pattern.n_horizon:
            for own in OWN:
                quality(power, own)
        best = max(found, key=lambda k: found[k][0])
        self.chosen = {"doublings": len(groups), "penalty": best[0], "own": best[1]}
        self.fitted = sides, groups, ahead, mean, found[best][1], len(x)

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.fitted is not None, "fit comes before predict"
        sides, groups, ahead, mean, weights, n = self.fitted
        widths = np.array([stop - start for start, stop in ahead])

        def rates(x: Matrix) -> Matrix:
            grouped = glm.rates(glm.with_ones(x), weights, mean, n)
            per_bin = grouped.reshape(len(x), len(ahead), -1) / widths[:, None]
            return np.asarray(np.repeat(per_bin, widths, axis=1).reshape(len(x), -1))

        return answers(questions, sides.pattern, sides.scale, groups, rates)


def filters(pattern: Pattern) -> Groups:
    """The widest filters with no more than MOST_FEATURES, within the context of a horizon."""
    shapes = streams.widening_past if pattern.n_horizon else streams.widening
    n, context = max(len(pattern.visible), 1), pattern.n_context or 1000
    every = [shapes(k if pattern.n_horizon else k - 1) for k in DOUBLINGS]
    fit = [g for g in every if len(g) * n <= MOST_FEATURES and streams.reach(g) <= context]
    return fit[0] if fit else shapes(1)


def penalties(
    pattern: Pattern, n_groups: int, n_targets: int, strength: float, own: float
) -> Matrix:
    """(F + 1, M): `strength` on couplings, `own` times that on a target's own past, bias all but free."""
    same = pattern.visible[:, None] == pattern.scored
    block = np.where(same, own * strength, strength)
    ridge = np.tile(block, (n_groups, n_targets // len(pattern.scored)))
    free = np.full((1, n_targets), glm.FREE)
    return np.concatenate([ridge, free]).astype(np.float32)


def _side(
    sides: Sides, pieces: Sequence[NDArray[Any]], groups: Groups, ahead: Groups
) -> tuple[Matrix, Matrix]:
    """Features with ones (n, F + 1) and counts (n, len(ahead) * S) of one side."""
    parts = sides.samples(pieces, groups)
    x = glm.with_ones(np.concatenate([x for x, _ in parts]))
    y = np.concatenate([y for _, y in parts]).reshape(len(x), sides.pattern.n_ahead, -1)
    return x, np.concatenate([y[:, a:b].sum(axis=1) for a, b in ahead], axis=1)


def _widths(pattern: Pattern, ahead: Groups) -> Matrix:
    """(M,) bins that each target sums over."""
    widths = [stop - start for start, stop in ahead]
    return np.repeat(widths, len(pattern.scored)).astype(np.float32)


def _flat(y: Matrix, ahead: Groups) -> Matrix:
    """(M,) each unit's mean over the whole horizon, times the bins of the group."""
    widths = np.array([[stop - start] for start, stop in ahead])
    sums = y.mean(axis=0, dtype=np.float64).reshape(len(ahead), -1)
    return np.asarray((sums.sum(axis=0) / widths.sum() * widths).reshape(-1), dtype=np.float32)
