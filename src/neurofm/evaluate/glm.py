"""Poisson regression of many targets at once: what the generalised linear rivals share.

rate = mean * softplus(x · w) / log 2, a log-concave likelihood (Paninski 2004), so that the
penalised maximum is unique. Features end with a column of ones, whose weights are the biases.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate.regression import floored, solvers
from neurofm.evaluate.streams import Matrix

LOG2 = float(np.log(2))
FREE = 1e-3  # the penalty on a bias, all but none
CELLS = 2**18  # of a block of rows by targets: a megabyte


def with_ones(x: Matrix) -> Matrix:
    """(n, F) features -> (n, F + 1), the last column 1."""
    return np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)


def softplus(drive: Matrix) -> Matrix:
    """log(1 + e^drive) without overflow; several times faster than `np.logaddexp`, the same to rounding."""
    return np.asarray(np.maximum(drive, 0) + np.log1p(np.exp(-np.abs(drive))))


def rates(x: Matrix, weights: Matrix, mean: Matrix, n: int) -> Matrix:
    """(n_rows, M) expected counts, floored as after `n` samples of training."""
    return floored(mean * softplus(x @ weights) / LOG2, mean, n)


def loss(x: Matrix, y: Matrix, mean: Matrix, weights: Matrix) -> tuple[float, Matrix]:
    """Negative log-likelihood (nats, up to a constant) and its slope (F + 1, M).

    Summed over blocks of rows that stay in the processor's cache: with 1,800 targets four times faster.
    """
    n_rows = max(CELLS // max(y.shape[1], 1), 1)
    value, slope = 0.0, np.zeros_like(weights)
    for first in range(0, len(x), n_rows):
        block = slice(first, first + n_rows)
        more = _loss(x[block], y[block], mean / LOG2, weights)
        value += more[0]
        slope += more[1]
    return value, slope


def _loss(x: Matrix, y: Matrix, scale: Matrix, weights: Matrix) -> tuple[float, Matrix]:
    drive = x @ weights
    soft = np.maximum(softplus(drive), 1e-9)
    value = (scale * soft).sum(dtype=np.float64) - (y * np.log(soft)).sum(dtype=np.float64)
    gate = np.exp(drive - soft)  # the logistic function
    return float(value), x.T @ ((scale - y / soft) * gate)


def solve(x: Matrix, y: Matrix, mean: Matrix, ridge: Matrix, start: Matrix | None = None) -> Matrix:
    """(F + 1, M) weights that minimise the negative log-likelihood + sum(ridge / 2 * w^2).

    `x` (n, F + 1), `y` (n, M), `mean` (M,), `ridge` (F + 1, 1) or (F + 1, M). L-BFGS on all targets
    together. Raises InputError if scipy is missing.
    """
    solvers()  # a clear sentence where scipy is missing
    from scipy.optimize import minimize

    # Newton's curvature at zero drive: dsoftplus(0)^2 / softplus(0) = 0.25 / log 2
    power = (x**2).sum(axis=0, dtype=np.float64)[:, None]
    curvature = np.sqrt(power * mean * 0.25 / LOG2**2 + ridge).astype(np.float32)
    weights = np.zeros_like(curvature) if start is None else start

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        w = flat.reshape(curvature.shape).astype(np.float32) / curvature
        value, slope = loss(x, y, mean, w)
        value += float(0.5 * (ridge * w * w).sum())
        gradient = (slope + ridge * w) / curvature
        return value, gradient.astype(np.float64).reshape(-1)

    begin = (weights * curvature).astype(np.float64).reshape(-1)
    options: dict[str, Any] = {"maxiter": 60, "ftol": 1e-7, "gtol": 1e-2}
    found = minimize(objective, begin, jac=True, method="L-BFGS-B", options=options)
    return np.asarray(found.x.reshape(curvature.shape) / curvature, dtype=np.float32)
