"""Logistic regression on mean root counts of a trial, whole or in parts."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.trial_readout import Names, Sorter, Trials, tuned_sorter

PARTS = (1, 2, 4)


class Logistic:
    """Tunes into how many equal parts a trial is cut, and the penalty."""

    def __init__(self, bin_s: float, causal: bool = False) -> None:
        del bin_s, causal  # a trial is seen as a whole
        self.n_parts = 1

    def fit(self, train: Trials, valid: Trials) -> None:
        """The first of equals: fewer parts."""
        best: tuple[float, int, Sorter] | None = None
        for n_parts in PARTS:
            made, quality = tuned_sorter(_means(train.counts, n_parts), train.label,
                                         _means(valid.counts, n_parts), valid.label)  # fmt: skip
            if best is None or quality > best[0]:
                best = quality, n_parts, made
        assert best is not None
        _, self.n_parts, self.sorter = best

    def features(self, counts: Sequence[NDArray[Any]]) -> Matrix:
        """(n, parts * C) mean root counts."""
        return _means(counts, self.n_parts)

    def predict(self, counts: Sequence[NDArray[Any]]) -> Names:
        """(n,) labels."""
        return self.sorter(self.features(counts))


def _means(counts: Sequence[NDArray[Any]], n_parts: int) -> Matrix:
    """A part of no bin, in a trial of few, is the part before it."""
    rows = []
    for one in counts:
        root = np.sqrt(one, dtype=np.float32)
        at = np.linspace(0, len(root), n_parts + 1).astype(int)
        last = len(root) - 1
        parts = [root[min(a, last) : max(b, min(a, last) + 1)].mean(axis=0)
                 for a, b in itertools.pairwise(at)]  # fmt: skip
        rows.append(np.concatenate(parts))
    return np.array(rows, dtype=np.float32)
