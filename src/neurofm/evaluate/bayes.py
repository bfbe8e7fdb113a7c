"""Decoding by Bayes: an encoder and a prior give a posterior over stimuli or behaviour.

An encoder is any function from candidates (G, k) to expected counts, or Gaussian means, (G, C): a
table of place fields, a regression, a network. Its *evidence* is the log-likelihood of each bin's
activity under each candidate, (T, G); a prior turns evidence into a *posterior*, (T, G) with rows
that sum to 1. Three priors: a weight on each candidate (`categorical`), a random walk over
candidates in time (`filtered` reads the past alone, `smoothed` the future too), and samples of any
generative model as the candidates (`importance`). Evidence takes channels and bins to be
independent given the candidate, which real ones are not; `temperature` mends that on validation.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError
from neurofm.evaluate.metrics import LOWEST_RATE, Floats
from neurofm.evaluate.regression import climb
from neurofm.seeding import generator

# ------------------------------------------------------------------------------------ evidence


def poisson_evidence(counts: ArrayLike, rates: ArrayLike) -> Floats:
    """(T, G) log-likelihood, nats: `counts` (T, C), expected counts `rates` (G, C).

    Without log(count!), the same for every candidate. A NaN count is a channel that was not seen.
    Raises InputError if channels differ or a rate is not finite.
    """
    y, r = _pair(counts, rates, "rates")
    r, there = np.maximum(r, LOWEST_RATE), np.isfinite(y)
    return np.asarray(np.where(there, y, 0.0) @ np.log(r).T - there.astype(np.float64) @ r.T)


def gaussian_evidence(values: ArrayLike, mean: ArrayLike, scale: ArrayLike) -> Floats:
    """(T, G) log-likelihood, nats: `values` (T, C), `mean` (G, C), `scale` (C,) or (G, C).

    `scale` is the standard deviation of each channel. A NaN value is a channel that was not seen.
    Raises InputError if channels differ, or a mean or scale is not finite, or a scale is not above 0.
    """
    y, m = _pair(values, mean, "mean")
    s = np.broadcast_to(np.asarray(scale, dtype=np.float64), m.shape)
    if not (np.isfinite(s).all() and (s > 0).all()):
        raise InputError("scale must be finite and above 0; leave out channels that never vary.")
    there = np.isfinite(y)
    middle = m.mean(axis=0)  # squares of values far from 0 would cancel badly
    y, m, seen = np.where(there, y - middle, 0.0), m - middle, there.astype(np.float64)
    square = y**2 @ (1 / s**2).T - 2 * y @ (m / s**2).T + seen @ (m**2 / s**2).T
    return np.asarray(-0.5 * square - seen @ np.log(s).T)


def _pair(values: ArrayLike, expected: ArrayLike, name: str) -> tuple[Floats, Floats]:
    y, e = np.asarray(values, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    if y.ndim != 2 or e.ndim != 2 or y.shape[1] != e.shape[1]:
        raise InputError(f"activity {y.shape} is (T, C) and {name} {e.shape} (G, C), of one C.")
    if not np.isfinite(e).all():
        raise InputError(
            f"{name} holds values that are not finite; an encoder must answer numbers."
        )
    return y, e


# -------------------------------------------------------------------------------------- priors


def categorical(evidence: Floats, prior: ArrayLike | None = None) -> Floats:
    """(T, G) posterior of each bin alone. `prior` (G,) weights, even where none is given."""
    total = evidence + _log(_weights(prior, evidence.shape[1]))
    likely = np.exp(total - total.max(axis=1, keepdims=True))
    return np.asarray(likely / likely.sum(axis=1, keepdims=True))


def random_walk(cells: ArrayLike, step: float) -> Floats:
    """(G, G) chances of a move between cells (G, k): Gaussian in distance, of deviation `step`.

    Rows, where from, sum to 1. Raises InputError if `step` is not above 0.
    """
    if not step > 0:
        raise InputError(f"step is {step:g}; a random walk needs a step above 0.")
    x = np.asarray(cells, dtype=np.float64)
    square = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    near = np.exp(-0.5 * square / step**2)
    return np.asarray(near / near.sum(axis=1, keepdims=True))


def filtered(evidence: Floats, moves: Floats, start: ArrayLike | None = None) -> Floats:
    """(T, G) posterior of each bin given it and those before it: the forward recursion.

    One contiguous piece. `moves` (G, G) rows sum to 1; `start` (G,) weights before the first bin.
    """
    likely = _likelihood(evidence)
    belief = _weights(start, evidence.shape[1])
    out = np.empty_like(likely)
    for t, row in enumerate(likely):
        belief = _scaled((belief @ moves if t else belief) * row)
        out[t] = belief
    return out


def smoothed(evidence: Floats, moves: Floats, start: ArrayLike | None = None) -> Floats:
    """(T, G) posterior of each bin given the whole piece: forward and backward (Baum et al. 1970)."""
    out, likely = filtered(evidence, moves, start), _likelihood(evidence)
    back = np.ones(evidence.shape[1])
    for t in range(len(out) - 2, -1, -1):
        back = _scaled(moves @ (likely[t + 1] * back))
        out[t] = _scaled(out[t] * back)
    return out


def importance(evidence: Floats) -> tuple[Floats, Floats]:
    """(weights (T, G), effective sample size (T,)) of candidates drawn from the prior itself.

    The posterior mean of anything is weights @ its values. Effective samples are 1 / sum of squared weights
    (Kong 1992): with few of them, the samples miss the posterior, and more must be drawn.
    """
    weights = categorical(evidence)
    return weights, np.asarray(1 / (weights**2).sum(axis=1))


def _weights(prior: ArrayLike | None, n: int) -> Floats:
    w = np.ones(n) if prior is None else np.asarray(prior, dtype=np.float64)
    if w.shape != (n,) or not (w >= 0).all() or not 0 < w.sum() < np.inf:
        raise InputError(f"A prior over {n} candidates is {n} weights of 0 or more, not all 0.")
    return np.asarray(w / w.sum())


def _log(weights: Floats) -> Floats:
    return np.log(weights, out=np.full_like(weights, -np.inf), where=weights > 0)


def _likelihood(evidence: Floats) -> Floats:
    """Likelihoods, the best of each bin 1, none quite 0: a walk must survive a surprise."""
    return np.asarray(np.exp(np.maximum(evidence - evidence.max(axis=1, keepdims=True), -500.0)))


def _scaled(belief: Floats) -> Floats:
    total = float(belief.sum())
    return belief / total if total > 0 else np.full(len(belief), 1 / len(belief))


# --------------------------------------------------------------------------------- calibration


def temperature(posterior: Callable[[float], Floats], truth: NDArray[np.int64]) -> float:
    """The number to divide evidence by, so that the truth is most probable on validation bins.

    `posterior` (t) -> (T, G) made with evidence / t; `truth` (T,) the true candidate. Guo et al.
    2017, for any prior. Above 1: the encoder was too sure of itself.
    """
    power = climb(lambda p: float(log_score(posterior(10.0**p), truth).mean()), 0.0, 0.125, 24)
    return float(10.0**power)


def log_score(posterior: Floats, truth: NDArray[np.int64]) -> Floats:
    """(T,) log posterior of the true candidate, nats: a proper score, the higher the better."""
    return np.log(np.maximum(posterior[np.arange(len(truth)), truth], 1e-30))


def depth(posterior: Floats, truth: NDArray[np.int64], seed: int = 0) -> Floats:
    """(T,) mass of the candidates more probable than the true one, and a random part of its own.

    The truth lies in the credible set of mass q where its depth is at most q. Uniform on [0, 1]
    when calibrated; the random part makes that so for few candidates too.
    """
    own = posterior[np.arange(len(truth)), truth]
    above = np.where(posterior > own[:, None], posterior, 0.0).sum(axis=1)
    tied = np.where(posterior == own[:, None], posterior, 0.0).sum(axis=1)
    return np.asarray(above + generator(seed, "credible").random(len(truth)) * tied)


def expected_calibration_error(
    posterior: Floats, truth: NDArray[np.int64], n_bins: int = 10
) -> float:
    """Mean gap between confidence in the likeliest candidate and how often it is right.

    Over even bins of confidence, weighted by how many fall in each (Naeini et al. 2015).
    """
    sure, right = posterior.max(axis=1), posterior.argmax(axis=1) == truth
    at = np.minimum((sure * n_bins).astype(int), n_bins - 1)
    gap = np.bincount(at, weights=sure - right, minlength=n_bins)
    return float(np.abs(gap).sum() / len(truth))


def nearest(cells: ArrayLike, values: ArrayLike) -> NDArray[np.int64]:
    """(n,) the cell (G, k) nearest to each value (n, k)."""
    c, v = np.asarray(cells, dtype=np.float64), np.asarray(values, dtype=np.float64)
    square = (c**2).sum(axis=1) - 2 * v @ c.T
    return np.asarray(square.argmin(axis=1))
