"""Representational similarity: whether two systems find the same stimuli alike (Kriegeskorte 2008).

A dissimilarity vector holds one number a pair of stimuli, (n (n - 1) / 2,), in the order of the upper
triangle, row by row. Vectors of several subjects are stacked, (subjects, pairs).
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError
from neurofm.evaluate import regression
from neurofm.evaluate.decode_scores import Score
from neurofm.evaluate.metrics import Floats, bounds
from neurofm.seeding import generator

Compare = Callable[[Floats, Floats], float]


def dissimilarity(patterns: ArrayLike) -> Floats:
    """(pairs,) 1 - Pearson correlation between the patterns (n, d) of all pairs of stimuli.

    Raises InputError if a pattern is constant or not finite: it has no correlation.
    """
    x = np.asarray(patterns, dtype=np.float64)
    if x.ndim != 2 or len(x) < 3 or not np.isfinite(x).all():
        raise InputError(f"patterns {x.shape} must be finite (stimuli, channels), three or more.")
    x = x - x.mean(axis=1, keepdims=True)
    size = np.linalg.norm(x, axis=1, keepdims=True)
    if not (size > 0).all():
        raise InputError(f"The pattern of stimulus {int(size.argmin())} is constant; leave it out.")
    return upper(1 - (x / size) @ (x / size).T)


def upper(square: ArrayLike) -> Floats:
    """(pairs,) from the square matrix (n, n)."""
    s = np.asarray(square, dtype=np.float64)
    return s[np.triu_indices(len(s), 1)]


def n_stimuli(vector: Floats) -> int:
    """How many stimuli a vector is about; raises InputError if it is no upper triangle."""
    n = round((1 + math.sqrt(1 + 8 * vector.shape[-1])) / 2)
    if n * (n - 1) // 2 != vector.shape[-1]:
        raise InputError(f"{vector.shape[-1]} dissimilarities are no upper triangle of a matrix.")
    return n


def spearman(a: Floats, b: Floats) -> float:
    """Correlation of ranks, ties at their mean rank; NaN where one side is constant."""
    return _pearson(_ranks(a), _ranks(b))


def kendall_tau_a(a: Floats, b: Floats) -> float:
    """(concordant - discordant) / all pairs of pairs, ties among the latter.

    Unlike Spearman's it does not favour a model that predicts ties (Nili et al. 2014).
    """
    regression.solvers()  # a clear sentence where scipy is missing
    from scipy.stats import kendalltau

    n = len(a) * (len(a) - 1) / 2
    free = [n - _tied(v) for v in (a, b)]
    if min(free) == 0:
        return 0.0
    return float(kendalltau(a, b).statistic * np.sqrt(free[0] * free[1]) / n)


def _tied(values: Floats) -> float:
    n = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((n * (n - 1) / 2).sum())


def _ranks(values: Floats) -> Floats:
    _, at, n = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(n).astype(np.float64)
    return np.asarray((last - (n - 1) / 2)[at])


def _pearson(a: Floats, b: Floats) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def noise_ceiling(subjects: Floats, compare: Compare = spearman) -> tuple[float, float]:
    """(lower, upper): what the true model would score, from how subjects agree (Nili et al. 2014).

    Each subject against the mean rank vector of the others (lower), and of all, itself among them (upper).
    Raises InputError with fewer than two subjects.
    """
    if subjects.ndim != 2 or len(subjects) < 2:
        raise InputError(
            f"A ceiling over subjects needs two or more; vectors are {subjects.shape}."
        )
    ranks = np.array([_ranks(s) for s in subjects])
    total, n = ranks.sum(axis=0), len(ranks)
    low = np.mean([compare(r, (total - r) / (n - 1)) for r in ranks])
    return float(low), float(np.mean([compare(r, total / n) for r in ranks]))


def similarity(
    subjects: Floats,
    model: Floats,
    compare: Compare = spearman,
    *,
    n_boot: int = 500,
    seed: int = 0,
) -> Score:
    """Mean over subjects of `compare` with the model, its interval over stimuli drawn with replacement.

    Pairs of a stimulus with itself are left out of a draw. Models share the draws, so differences of
    `similarity_draws` are paired. Raises InputError if vectors differ in length.
    """
    if subjects.ndim != 2 or model.shape != subjects.shape[1:]:
        raise InputError(f"subjects {subjects.shape} and model {model.shape} differ in pairs.")
    value = float(np.mean([compare(s, model) for s in subjects]))
    drawn = similarity_draws(subjects, model, compare, n_boot=n_boot, seed=seed)
    return Score("similarity", value, *bounds(drawn), n_stimuli(model), "stimuli")


def similarity_draws(
    subjects: Floats,
    model: Floats,
    compare: Compare = spearman,
    *,
    n_boot: int = 500,
    seed: int = 0,
) -> Floats:
    """(n_boot,) means over subjects on resampled stimuli."""
    out = []
    for rows in drawn_pairs(n_stimuli(model), n_boot, seed):
        out.append(np.mean([compare(s[rows], model[rows]) for s in subjects]))
    return np.array(out)


def drawn_pairs(n: int, n_boot: int, seed: int) -> list[NDArray[np.int64]]:
    """Indices of the pairs of each resample of `n` stimuli, those of two different stimuli."""
    place = np.zeros((n, n), dtype=np.int64)
    place[np.triu_indices(n, 1)] = np.arange(n * (n - 1) // 2)
    place += place.T
    first, second = np.triu_indices(n, 1)
    rng = generator(seed, "bootstrap stimuli")
    out = []
    for _ in range(n_boot):
        drawn = rng.integers(0, n, n)
        a, b = drawn[first], drawn[second]
        out.append(place[a, b][a != b])
    return out
