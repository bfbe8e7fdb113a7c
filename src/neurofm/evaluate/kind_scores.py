"""Scores of values and labels as sums per block, so that every kind is resampled alike.

Of values (`real`, `embedding`): Gaussian log-likelihoods of the variance on the test part, and
`spikes` is how many samples there were. Of a label: a block is a piece that it holds over (a trial),
`spikes` says which it was and `ll_model` whether it was told, by the largest mean chance over the
piece; `ll_null` is one over the number of labels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.recording import Composite, Labelled, Recording
from neurofm.evaluate.metrics import BlockScores, Floats

Bins = NDArray[np.int64]


def of_values(
    values: Floats, told: Floats, known: NDArray[np.bool_], starts: NDArray[np.intp], **about: Any
) -> BlockScores:
    """From (T, U) values and answers where `known`, summed over blocks that start at rows `starts`."""
    n = np.maximum(known.sum(axis=0), 1)
    y = np.where(known, values, 0.0)
    mean = y.sum(axis=0) / n
    off = np.where(known, y - mean, 0.0) ** 2
    variance = off.sum(axis=0) / n
    unit = np.where(variance > 0, 2 * variance, 1.0)
    lost = np.where(known, y - np.where(known, told, 0.0), 0.0) ** 2
    sums = [
        np.add.reduceat(v, starts, axis=0) for v in (known.astype(float), -lost / unit, -off / unit)
    ]
    n_samples, ll_model, ll_null = sums
    return BlockScores(spikes=n_samples, ll_model=ll_model, ll_null=ll_null,
                       ll_saturated=np.zeros_like(ll_null), **about)  # fmt: skip


def of_labels(
    values: Floats, told: Floats, known: NDArray[np.bool_], starts: NDArray[np.intp], **about: Any
) -> BlockScores:
    """From (T, U) ones and zeros and chances; each block that starts at `starts` is one piece."""
    sums = [np.add.reduceat(np.where(known, v, 0.0), starts, axis=0) for v in (values, told)]
    there, right = sums[0].sum(axis=1) > 0, np.zeros_like(sums[0])
    which, answer = sums[0].argmax(axis=1), sums[1].argmax(axis=1)
    held = np.zeros_like(right)
    held[np.flatnonzero(there), which[there]] = 1.0
    hit = there & (which == answer)
    right[np.flatnonzero(hit), which[hit]] = 1.0
    return BlockScores(spikes=held, ll_model=right, ll_null=held / held.shape[1],
                       ll_saturated=held, **about)  # fmt: skip


def piece_starts(
    recording: Recording, name: str, bin_s: float, spans: Sequence[tuple[int, int]]
) -> Bins:
    """First bins of the pieces over which a label holds, and of every span: none is in two."""
    starts = [a for a, _ in spans]
    if isinstance(recording.activity, Composite):
        first = recording.activity.n_base
        for source in recording.activity.further:
            n = source.n_labels if isinstance(source, Labelled) else source.values.shape[1]
            group = recording.channels.group
            if isinstance(source, Labelled) and group is not None and group[first] == name:
                starts += np.ceil(source.start_s / bin_s - binning.EDGE).astype(int).tolist()
            first += n
    inside = {s for s in starts if any(a <= s < b for a, b in spans)}
    return np.array(sorted(inside), dtype=np.int64)
