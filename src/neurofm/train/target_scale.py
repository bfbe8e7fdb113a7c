"""Means and scales of targets, for recordings with much, little or nothing to measure them on."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.errors import InputError

Matrix = NDArray[np.float32]
Doubles = NDArray[np.float64]
CORRELATED_S = 5.0  # seconds of a signal that say as much as one independent value


def target_scale(
    wanted: Mapping[str, Matrix], train: Mapping[str, Intervals], bin_s: float
) -> tuple[dict[str, Matrix], dict[str, Matrix]]:
    """Mean and standard deviation of each axis over the training part: {recording: (K,)} each.

    A recording's own moments are shrunk towards the average recording's, by how well its training
    part tells them apart (empirical Bayes; Morris 1983): a cursor that is the same every day keeps
    the average in a new session's first minutes, an electrode whose gain changes does not. A
    recording without training targets gets the average. Raises InputError if no recording has a
    training target on some axis.
    """
    names = list(wanted)
    sums = []
    for name in names:
        at = train.get(name, Intervals.none()).contains(
            (np.arange(len(wanted[name])) + 0.5) * bin_s
        )
        y = wanted[name][at].astype(np.float64)
        sums.append([np.isfinite(y).sum(0), np.nansum(y, 0), np.nansum(y**2, 0)])
    n, first, second = np.moveaxis(np.array(sums), 1, 0)  # (R, K) each
    if (n.sum(axis=0) == 0).any():
        raise InputError("An axis has no value in any training part; there is nothing to decode.")
    mean = first / np.maximum(n, 1)
    variance = np.maximum(second / np.maximum(n, 1) - mean**2, 1e-12)
    independent = n * bin_s / CORRELATED_S  # values, as if so many were drawn independently
    typical = np.sqrt((variance * n).sum(axis=0) / n.sum(axis=0))
    mean = _shrunk(mean / typical, 1 / np.maximum(independent, 1e-9), n) * typical
    log = _shrunk(0.5 * np.log(variance), 0.5 / np.maximum(independent, 1e-9), n)
    scale = np.where(np.exp(log) > 1e-5, np.exp(log), 1.0)
    rows = range(len(names))
    return ({names[i]: mean[i].astype(np.float32) for i in rows},
            {names[i]: scale[i].astype(np.float32) for i in rows})  # fmt: skip


def _shrunk(own: Doubles, noise: Doubles, n: Doubles) -> Doubles:
    """(R, K) estimates of sampling variance `noise`, drawn towards their average over recordings.

    How much recordings differ is learned from those with at least half as many values `n` as the
    longest; where there is one alone, estimates stay as they are.
    """
    long = n >= 0.5 * n.max(axis=0)
    count = long.sum(axis=0)
    average = np.where(long, own, 0).sum(axis=0) / count
    spread = np.where(long, (own - average) ** 2 - noise, 0).sum(axis=0) / np.maximum(count - 1, 1)
    spread = np.where(count > 1, np.maximum(spread, 0), np.inf)
    trust = np.where(np.isinf(spread), 1.0, spread / (np.nan_to_num(spread, posinf=1) + noise))
    trust = np.where(n > 0, trust, 0.0)
    return np.asarray(average + trust * (own - average))
