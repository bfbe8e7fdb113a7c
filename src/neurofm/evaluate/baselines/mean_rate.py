"""Each channel's mean in training, whatever is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate.regression import least
from neurofm.evaluate.streams import pattern_of
from neurofm.evaluate.task import Example, Question


@dataclass
class MeanRate:
    """The mean over the scored cells of the training examples; nothing to tune."""

    name: str = "mean-rate"
    rates: NDArray[np.float32] | None = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:  # noqa: ARG002
        """Average; `valid` is not looked at."""
        pattern = pattern_of([e.question for e in train])
        total = np.zeros(pattern.n_channels)
        n = np.zeros(pattern.n_channels)
        for example in train:
            scored = example.question.scored
            if example.counts.dtype.kind == "f":  # NaN was not recorded
                scored = scored & np.isfinite(example.counts)
            total += np.where(scored, example.counts, 0).sum(axis=0)
            n += scored.sum(axis=0)
        counts = train[0].question.channels.kind == "count"
        lowest = np.where(counts, least(int(n.max())), -np.inf)
        self.rates = np.maximum(total / np.maximum(n, 1), lowest).astype(np.float32)

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.rates is not None, "fit comes before predict"
        return [np.broadcast_to(self.rates, q.visible.shape) for q in questions]
