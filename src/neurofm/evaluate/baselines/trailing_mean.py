"""The mean of the last bins: of a channel's own, or of everything visible where it is hidden."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import streams
from neurofm.evaluate.lagged import Sides
from neurofm.evaluate.regression import fit_quality, floored
from neurofm.evaluate.streams import Matrix, Pattern
from neurofm.evaluate.task import Example, Question

WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)  # bins
PRIORS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 1e6)  # spikes


@dataclass
class TrailingMean:
    """rate = mean * (prior + spikes) / (prior + spikes expected), over the last `width` bins.

    The posterior mean of a rate that is `mean` times a Gamma(prior, prior) factor. Spikes are the
    channel's own before the horizon (forward); or those of all visible channels up to and in the
    predicted bin, so that the future is never looked at (hidden channels). Width and prior are
    chosen on `valid`; no weight is fitted, unlike in `smoothing`, which looks both ways.
    """

    name: str = "trailing-mean"
    chosen: dict[str, float] = field(default_factory=dict)
    pattern: Pattern | None = field(default=None, repr=False)
    mean: NDArray[np.float64] | None = field(default=None, repr=False)
    n: int = 0

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Try every width and prior; keep the pair with the best likelihood on `valid`."""
        sides = Sides.of(train, valid)
        self.pattern = pattern = sides.pattern
        self.n = sum(len(piece) for piece in sides.train)
        self.mean = sum(p.sum(axis=0, dtype=np.float64) for p in sides.train) / max(self.n, 1)
        y = streams.totals(valid, pattern)
        best = -np.inf
        for width in WIDTHS:
            spikes, n_bins = self._trailing([e.question for e in valid], width)
            for prior in PRIORS:
                quality = fit_quality(y, pattern.n_ahead * self._rates(spikes, n_bins, prior))
                if quality > best:
                    best, self.chosen = quality, {"width": width, "prior": prior}

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.pattern is not None, "fit comes before predict"
        out = []
        for question in questions:
            rates = self._rates(*self._trailing([question], int(self.chosen["width"])),
                                self.chosen["prior"])  # fmt: skip
            ahead = np.tile(rates, (1, self.pattern.n_ahead))
            out.append(streams.answer(ahead, question, self.pattern))
        return out

    def _trailing(self, questions: Sequence[Question], width: int) -> tuple[Any, Any]:
        """Spikes (n, S) or (n, 1) in the last `width` bins, and how many bins there were (n, 1)."""
        assert self.pattern is not None
        spikes, n_bins = [], []
        for question in questions:
            stop = streams.asked_at(question, self.pattern)
            if self.pattern.n_horizon:
                seen = question.visible[:, self.pattern.scored]
            else:
                stop = stop + 1  # the predicted bin is seen
                seen = question.visible[:, self.pattern.visible].sum(axis=1, keepdims=True)
            start = np.maximum(stop - width, 0)
            total = np.zeros((len(seen) + 1, seen.shape[1]))
            np.cumsum(seen, axis=0, out=total[1:], dtype=np.float64)
            spikes.append(total[stop] - total[start])
            n_bins.append((stop - start)[:, None])
        return np.concatenate(spikes), np.concatenate(n_bins)

    def _rates(self, spikes: Any, n_bins: Any, prior: float) -> Matrix:
        """(n, S) expected counts a bin."""
        assert self.pattern is not None
        assert self.mean is not None
        own = self.mean[self.pattern.scored]
        per_bin = own if self.pattern.n_horizon else self.mean[self.pattern.visible].sum()
        relative = (prior + spikes) / (prior + n_bins * per_bin)
        return floored((own * relative).astype(np.float32), own.astype(np.float32), self.n)
