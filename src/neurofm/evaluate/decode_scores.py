"""Scores of decoded signals and labels, each with its interval.

Three different R2 of a signal are in use, and they differ much; each is named:

- `r2_flattened`: all axes and test bins together, each axis against its own test mean, so an axis
  with more variance counts more;
- `r2_of_axis_K`: axis K alone; `r2_mean_of_axes`: their mean, so that every axis counts the same;
- `r2_per_trial`: as flattened, inside each trial against the trial's own mean, then the mean over
  trials: harder, since what differs between trials earns nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate.metrics import Floats, balanced_accuracy, bounds, r2
from neurofm.evaluate.trial_readout import Names
from neurofm.seeding import generator


@dataclass(frozen=True)
class Score:
    """One number in [low, high], a 95% bootstrap interval over `n` `unit_of_n`."""

    metric: str
    value: float
    low: float
    high: float
    n: int
    unit_of_n: str


def signal_scores(
    wanted: Floats, decoded: Floats, block: NDArray[Any], trial: NDArray[Any], seed: int = 0
) -> list[Score]:
    """Every R2 of one decoder: `wanted`, `decoded` (n, k), rows with an unknown target left out.

    `block` (n,): bins resampled together; `trial` (n,): index of each bin's trial, -1 outside.
    """
    there = np.isfinite(wanted).all(axis=1)
    y, p, at = wanted[there].astype(float), decoded[there].astype(float), block[there]
    drawn = r2_draws(y, p, at, seed)
    n = len(np.unique(at))
    flat = Score("r2_flattened", flattened(y, p), *bounds(drawn[:, 0]), n, "blocks")
    axes = [Score(f"r2_of_axis_{k}", float(v), *bounds(drawn[:, 2 + k]), n, "blocks")
            for k, v in enumerate(r2(y, p))]  # fmt: skip
    mean = Score("r2_mean_of_axes", float(np.mean(r2(y, p))), *bounds(drawn[:, 1]), n, "blocks")
    return [flat, mean, *axes, *_per_trial(y, p, trial[there], seed)]


def flattened(y: Floats, p: Floats) -> float:
    """`r2_flattened` of rows without unknown values; NaN where the targets are constant."""
    total = float(((y - y.mean(axis=0)) ** 2).sum())
    return 1.0 - float(((y - p) ** 2).sum()) / total if total > 0 else float("nan")


def r2_draws(y: Floats, p: Floats, block: NDArray[Any], seed: int, n_boot: int = 2000) -> Floats:
    """(n_boot, 2 + k): flattened, mean of axes, each axis, on blocks drawn with replacement.

    Decoders of the same rows share the draws, so that differences are paired.
    """
    labels, at = np.unique(block, return_inverse=True)
    if len(labels) < 2:
        return np.full((n_boot, 2 + y.shape[1]), np.nan)
    sums = []
    for values in (np.ones_like(y), y, y**2, (y - p) ** 2):
        total = np.zeros((len(labels), y.shape[1]))
        np.add.at(total, at, values)
        sums.append(total)
    drawn = generator(seed, "bootstrap blocks").multinomial(
        len(labels), np.full(len(labels), 1 / len(labels)), n_boot
    )
    n, first, second, lost = (drawn @ s for s in sums)
    total = second - first**2 / n
    total = np.where(total > 0, total, np.nan)
    axes = 1 - lost / total
    flat = 1 - lost.sum(axis=1) / total.sum(axis=1)
    return np.column_stack([flat, axes.mean(axis=1), axes])


def _per_trial(y: Floats, p: Floats, trial: NDArray[Any], seed: int) -> list[Score]:
    """Over trials of five bins or more in which the target moves; none where there are no trials."""
    values = []
    for index in np.unique(trial[trial >= 0]):
        rows = trial == index
        value = flattened(y[rows], p[rows]) if rows.sum() >= 5 else float("nan")
        values += [value] if np.isfinite(value) else []
    if not values:
        return []
    rng = generator(seed, "bootstrap trials")
    drawn = rng.integers(0, len(values), (2000, len(values)))
    limits = bounds(np.array(values)[drawn].mean(axis=1) if len(values) > 1 else np.empty(0))
    return [Score("r2_per_trial", float(np.mean(values)), *limits, len(values), "trials")]


def label_scores(wanted: Names, told: Names, seed: int = 0) -> list[Score]:
    """Balanced accuracy over the labels that occur."""
    limits = bounds(label_draws(wanted, told, seed) if len(wanted) > 1 else np.empty(0))
    value = balanced_accuracy(wanted, told)
    return [Score("balanced_accuracy", value, *limits, len(wanted), "trials")]


def label_draws(wanted: Names, told: Names, seed: int, n_boot: int = 2000) -> Floats:
    """(n_boot,) balanced accuracies on resampled trials; labels not drawn are left out."""
    n_trials = len(wanted)
    even = np.full(n_trials, 1 / n_trials)
    drawn = generator(seed, "bootstrap trials").multinomial(n_trials, even, n_boot).astype(float)
    total, n_labels = np.zeros(len(drawn)), np.zeros(len(drawn))
    for label in np.unique(wanted):
        n = drawn @ (wanted == label)
        hits = drawn @ ((wanted == label) & (told == label))
        total += np.where(n > 0, hits / np.maximum(n, 1), 0.0)
        n_labels += n > 0
    return np.asarray(total / n_labels)
