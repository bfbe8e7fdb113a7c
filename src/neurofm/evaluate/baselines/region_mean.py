"""A channel follows its region: the null that a claim about regions or new channels must beat."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import streams
from neurofm.evaluate.lagged import Sides
from neurofm.evaluate.regression import fit_quality, floored
from neurofm.evaluate.streams import Bins, Matrix, Pattern
from neurofm.evaluate.task import Example, Question

WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # bins, the deviation of a Gaussian
GAINS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4)
Doubles = NDArray[np.float64]


@dataclass
class RegionMean:
    """rate = mean * (1 + gain * (relative activity of the region − 1)).

    Relative activity: spikes of the visible channels of the channel's region, over their training
    mean, smoothed with a Gaussian (hidden channels) or with the half of one that lies before the
    horizon (forward). Where a region has no visible channel, or no name, all visible channels
    stand for it. A channel's own weights are never learned, its mean alone: width and one gain for
    all are chosen on `valid`.
    """

    name: str = "region-mean"
    chosen: dict[str, float] = field(default_factory=dict)
    pattern: Pattern | None = field(default=None, repr=False)
    share: Doubles | None = field(default=None, repr=False)
    own: Matrix | None = field(default=None, repr=False)
    n: int = 0

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Try every width and gain; keep the pair with the best likelihood on `valid`."""
        sides = Sides.of(train, valid)
        self.pattern = pattern = sides.pattern
        self.n = sum(len(piece) for piece in sides.train)
        mean = sum(p.sum(axis=0, dtype=np.float64) for p in sides.train) / max(self.n, 1)
        self.own = mean[pattern.scored].astype(np.float32)
        self.share = shares(train[0].question.channels.region, pattern, mean)
        y = streams.totals(valid, pattern)
        best = -np.inf
        for width in WIDTHS:
            change = np.concatenate([self._change(e.question, width) for e in valid])
            for gain in GAINS:
                quality = fit_quality(y, pattern.n_ahead * self._rates(change, gain))
                if quality > best:
                    best, self.chosen = quality, {"width": width, "gain": gain}

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.pattern is not None, "fit comes before predict"
        out = []
        for question in questions:
            change = self._change(question, self.chosen["width"])
            ahead = np.tile(self._rates(change, self.chosen["gain"]), (1, self.pattern.n_ahead))
            out.append(streams.answer(ahead, question, self.pattern))
        return out

    def _change(self, question: Question, width: float) -> Doubles:
        """(n, S) relative activity of each scored channel's region, less 1."""
        assert self.pattern is not None
        assert self.share is not None
        at = streams.asked_at(question, self.pattern)
        stop = len(question.visible) - self.pattern.n_horizon
        region = question.visible[:stop, self.pattern.visible] @ self.share
        return np.asarray(smoothed(region, at, width) - (self.share.sum(axis=0) > 0))

    def _rates(self, change: Doubles, gain: float) -> Matrix:
        assert self.own is not None
        return floored((self.own * (1 + gain * change)).astype(np.float32), self.own, self.n)


def shares(region: NDArray[np.str_], pattern: Pattern, mean: Doubles) -> Doubles:
    """(V, S): 1 / expected spikes of a scored channel's region for the channels that stand for it.

    `region` (C,) names, `mean` (C,) spikes a bin. A column of zeros where none of them ever fires.
    """
    names = region[pattern.visible]
    same = (names[:, None] == region[pattern.scored]) & (names[:, None] != "")
    stands = np.where(same.any(axis=0), same, True)
    expected = mean[pattern.visible] @ stands
    return np.asarray(stands / np.where(expected > 0, expected, np.inf))


def smoothed(values: Doubles, at: Bins, width: float) -> Doubles:
    """(n, S): the Gaussian mean of `values` (T, S) around `at`, over the bins that there are.

    Bins at T and beyond, such as a horizon, have no values and so no weight.
    """
    reach = int(np.ceil(3 * width))
    total = np.zeros((len(at), values.shape[1]))
    weight = np.zeros((len(at), 1))
    for offset in range(-reach, reach + 1):
        inside = np.flatnonzero((at + offset >= 0) & (at + offset < len(values)))
        w = np.exp(-0.5 * (offset / width) ** 2)
        total[inside] += w * values[at[inside] + offset]
        weight[inside] += w
    return total / weight
