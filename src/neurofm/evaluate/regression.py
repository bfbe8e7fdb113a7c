"""Least squares from one Gram matrix, and a search for the penalty that predicts best.

Features and targets are centred; with fewer samples than features the regression is solved in the
span of the samples, which gives the same answer.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError
from neurofm.evaluate.metrics import log_likelihood
from neurofm.evaluate.streams import Matrix

Doubles = NDArray[np.float64]
FLOOR = 0.1  # of a unit's mean rate: a linear prediction below it is raised to it
ROUNDING = float(np.finfo(np.float32).eps)
LEAST_SPIKES = 0.5  # in all of training: no unit is thought quieter, silent ones included


@dataclass(frozen=True)
class Design:
    """Sufficient statistics of a regression of `n` rows of M targets on F features.

    `gram` (F, F) and `cross` (F, M) are of centred values. `span` (F0, F) or None: where there
    are fewer samples than features, features are first projected to it.
    """

    n: int
    x_mean: Matrix
    y_mean: Matrix
    gram: Doubles
    cross: Doubles
    span: Matrix | None = None

    def project(self, x: Matrix) -> Matrix:
        """Raw features (n, F0) -> centred features (n, F)."""
        centred = x - self.x_mean
        return np.asarray(centred if self.span is None else centred @ self.span)


def design(parts: Iterable[tuple[Matrix, Matrix]]) -> Design:
    """From pieces of (features (n, F), targets (n, M)); needs one piece in memory at a time.

    Raises InputError if there is no sample.
    """
    pieces = list(parts) if not isinstance(parts, list) else parts
    n = sum(len(x) for x, _ in pieces)
    if n == 0:
        raise InputError(
            "A baseline found no sample to learn from; its training part is too short."
        )
    x_mean = (sum(x.sum(axis=0, dtype=np.float64) for x, _ in pieces) / n).astype(np.float32)
    y_mean = (sum(y.sum(axis=0, dtype=np.float64) for _, y in pieces) / n).astype(np.float32)
    if n < pieces[0][0].shape[1]:
        return _design_of_few(pieces, x_mean, y_mean)
    n_features = len(x_mean)
    gram = np.zeros((n_features, n_features))
    cross = np.zeros((n_features, len(y_mean)))
    for x, y in _joined(pieces):
        centred = x - x_mean
        gram += centred.T @ centred
        cross += centred.T @ (y - y_mean)
    return Design(n, x_mean, y_mean, gram, cross)


def _design_of_few(pieces: list[tuple[Matrix, Matrix]], x_mean: Matrix, y_mean: Matrix) -> Design:
    x = np.concatenate([x for x, _ in pieces]) - x_mean
    y = np.concatenate([y for _, y in pieces]) - y_mean
    square, left = np.linalg.eigh(x @ x.T)
    keep = square > 1e-5 * max(float(square[-1]), 1e-12)
    root = np.sqrt(square[keep])
    span = (x.T @ left[:, keep]) / root
    inside = left[:, keep] * root
    gram = (inside.T @ inside).astype(np.float64)
    return Design(len(x), x_mean, y_mean, gram, (inside.T @ y).astype(np.float64), span)


def _joined(
    pieces: list[tuple[Matrix, Matrix]], n_rows: int = 8192
) -> Iterable[tuple[Matrix, Matrix]]:
    """The pieces, short ones joined to about `n_rows` rows, so that products are large."""
    waiting: list[tuple[Matrix, Matrix]] = []
    for x, y in pieces:
        waiting.append((x, y))
        if sum(len(x) for x, _ in waiting) >= n_rows:
            yield np.concatenate([x for x, _ in waiting]), np.concatenate([y for _, y in waiting])
            waiting = []
    if waiting:
        yield np.concatenate([x for x, _ in waiting]), np.concatenate([y for _, y in waiting])


def factor(fitted: Design, penalty: float) -> Any:
    """Cholesky factor of gram + penalty * (mean of its diagonal) * identity.

    The gram's products were rounded to single precision, so that it may miss being positive by as
    much; no penalty is taken to be smaller than that.
    """
    linalg = solvers()
    penalty = max(penalty, len(fitted.gram) * ROUNDING)
    strength = penalty * max(float(np.trace(fitted.gram)) / max(len(fitted.gram), 1), 1e-12)
    penalised = fitted.gram.copy()
    penalised[np.diag_indices_from(penalised)] += strength
    return linalg.cho_factor(penalised, lower=True, overwrite_a=True, check_finite=False)


def ridge(fitted: Design, penalty: float) -> Matrix:
    """(F, M) weights of ridge regression (Hoerl and Kennard 1970); `penalty` relative as in `factor`."""
    weights = solvers().cho_solve(factor(fitted, penalty), fitted.cross, check_finite=False)
    return np.asarray(weights, dtype=np.float32)


def solvers() -> Any:
    """`scipy.linalg`.

    Raises InputError that says how to install it.
    """
    try:
        import scipy.linalg
    except ImportError:
        raise InputError(
            'Baselines need scipy; install it with pip install "neurofm[eval]".'
        ) from None
    return scipy.linalg


def climb(score: Callable[[float], float], start: float, step: float, n_most: int = 12) -> float:
    """The `x` of start, start ± step, ... where `score` peaks, going uphill from `start`.

    Scores at most `n_most` points; a score with one peak is climbed to its top.
    """
    known = {0: score(start)}

    def at(k: int) -> float:
        if k not in known:
            known[k] = score(start + k * step)
        return known[k]

    way = 1 if at(1) > at(0) else -1
    k = max(way, 0)
    while len(known) < n_most and at(k + way) > at(k):
        k += way
    return start + max(known, key=lambda k: known[k]) * step


def floored(rates: Matrix, mean: Matrix, n: int) -> Matrix:
    """Predictions made rates: at least a tenth of the unit's mean and what `least` allows."""
    return np.asarray(np.maximum(rates, np.maximum(FLOOR * mean, least(n))))


def settled(values: Matrix, mean: Matrix, n: int, kind: str) -> Matrix:
    """Predictions as they are told: counts are floored, everything else is what it is."""
    return floored(values, mean, n) if kind == "count" else values


def quality_of(wanted: Matrix, told: Matrix, kind: str) -> float:
    """`fit_quality` of counts; minus the squared error of what else there is, on one scale."""
    if kind == "count":
        return fit_quality(wanted, told)
    return -float(((wanted - told) ** 2).sum())


def least(n: int) -> float:
    """The lowest expected count a bin after `n` bins of training: half a spike in all of them."""
    return LEAST_SPIKES / max(n, 1)


def fit_quality(counts: Matrix, rates: Matrix) -> float:
    """Poisson log-likelihood in nats, all cells together: what every baseline is tuned by."""
    return float(log_likelihood(counts, rates).sum())
