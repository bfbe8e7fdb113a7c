"""Gaussian-process factor analysis: few smooth latents behind the roots of all counts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import factors
from neurofm.evaluate.factors import Doubles, Factors, Posterior, Windows
from neurofm.evaluate.lagged import Sides
from neurofm.evaluate.regression import fit_quality, floored
from neurofm.evaluate.streams import Pattern, asked_at
from neurofm.evaluate.task import Example, Question

N_LATENTS = (1, 2, 4, 8, 12)
FIT_BINS = 64  # windows that EM learns from
SEEN_BINS = 128  # windows that questions are answered in; they overlap by half
WHITES = (0.01, 0.2)
MOST = 30.0  # expected counts up to which Poisson's variance is looked up


@dataclass
class GPFA:
    """Posterior latents given the visible cells, then the rate of every channel (Yu et al. 2009).

    EM on square roots of the counts of all channels of the training part, timescales included;
    folds of one recording share it. The posterior is exact in windows of 64 (fit) and 128 bins,
    which overlap by half. A root r is read as the Poisson rate whose expected root is r: its square
    and the variance of a root at that rate. The part of
    their variance that is white is chosen on the questions of `train`, since one number cannot
    overfit; how many latents there are, on `valid`.
    """

    name: str = "gpfa"
    chosen: dict[str, float] = field(default_factory=dict)
    fitted: "Reader | None" = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """More latents for as long as `valid` gains."""
        sides = Sides.of(train, valid)
        windows = Windows.of(sides.train, FIT_BINS)
        best = -np.inf
        for n in N_LATENTS:
            if n >= max(sides.pattern.n_channels, 2):
                break
            models = [factors.fitted(windows, n, white) for white in WHITES]
            tried = [Reader.of(model, sides).scaled(train) for model in models]
            reader = max(tried, key=lambda pair: pair[0])[1]
            quality = reader.quality(valid, reader.latents([e.question for e in valid]))
            if quality <= best:
                break
            best, self.fitted = quality, reader
            self.chosen = {"latents": n, "white": reader.model.kernels[0][1]}

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.fitted is not None, "fit comes before predict"
        rates = self.fitted.rates(self.fitted.latents(questions))
        out = []
        for question, asked in zip(questions, rates, strict=True):
            out.append(np.zeros(question.visible.shape, dtype=np.float32))
            out[-1][:, self.fitted.pattern.scored] = asked
        return out


@dataclass(frozen=True)
class Reader:
    """Answers of one model for one pattern. `scale` (S,) makes the mean rates right."""

    model: Factors
    pattern: Pattern
    mean: NDArray[np.float32]
    n: int
    scale: Doubles
    posteriors: dict[int, Posterior] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, model: Factors, sides: Sides) -> "Reader":
        """Not yet scaled."""
        scored = sides.pattern.scored
        n = sum(len(piece) for piece in sides.train)
        mean = sum(p[:, scored].sum(axis=0, dtype=np.float64) for p in sides.train) / max(n, 1)
        mean = np.asarray(mean, dtype=np.float32)
        return cls(model, sides.pattern, mean, n, np.ones(len(scored)))

    def scaled(self, train: Sequence[Example]) -> "tuple[float, Reader]":
        """(likelihood of `train`, the same with its mean rates made right there)."""
        latents = self.latents([e.question for e in train])
        wanted = self._asked([e.counts[:, self.pattern.scored] for e in train], train)
        found = self._asked(self.rates(latents), train).mean(axis=0)
        scale = np.clip(wanted.mean(axis=0) / np.maximum(found, 1e-9), 0.2, 5.0)
        reader = replace(self, scale=scale.astype(np.float64))
        return reader.quality(train, latents), reader

    def quality(self, examples: Sequence[Example], latents: Sequence[Doubles]) -> float:
        """Log-likelihood of what is asked about, given the posterior latents."""
        y = self._asked([e.counts[:, self.pattern.scored] for e in examples], examples)
        return fit_quality(y, self._asked(self.rates(latents), examples))

    def _asked(self, sheets: Sequence[NDArray[Any]], examples: Sequence[Example]) -> NDArray[Any]:
        """(n, S) rows of (T, S) sheets that are asked about, all examples together."""
        pairs = zip(sheets, examples, strict=True)
        return np.concatenate(
            [sheet[asked_at(e.question, self.pattern)[0] :] for sheet, e in pairs]
        )

    def rates(self, latents: Sequence[Doubles]) -> list[NDArray[np.float32]]:
        """(T, S) expected counts of the scored channels from (T, k) latents."""
        out = []
        for x in latents:
            raw = rate_of_root(self.model.roots(x, self.pattern.scored))
            out.append(floored((self.scale * raw).astype(np.float32), self.mean, self.n))
        return out

    def latents(self, questions: Sequence[Question]) -> list[Doubles]:
        """(T, k) posterior means for each question; windows of one length go together."""
        waiting: dict[int, list[tuple[int, int, int, int]]] = {}
        for i, question in enumerate(questions):
            for window in windows_over(len(question.visible), self.pattern.n_horizon):
                start, stop, first, last = window
                waiting.setdefault(stop - start, []).append((i, start, first, last))
        out = [np.zeros((len(q.visible), len(self.model.kernels))) for q in questions]
        for n_bins, places in waiting.items():
            posterior = self._posterior(n_bins)
            for k in range(0, len(places), 256):
                some = places[k : k + 256]
                seen = [questions[i].visible[start : start + n_bins] for i, start, _, _ in some]
                roots = np.sqrt(np.stack(seen)[:, :, self.pattern.visible], dtype=np.float64)
                means = posterior.mean(roots)
                for (i, start, first, last), x in zip(some, means, strict=True):
                    out[i][first:last] = x[first - start : last - start]
        return out

    def _posterior(self, n_bins: int) -> Posterior:
        if n_bins not in self.posteriors:
            n_seen = n_bins - self.pattern.n_horizon
            self.posteriors[n_bins] = self.model.posterior(n_bins, self.pattern.visible, n_seen)
        return self.posteriors[n_bins]


def windows_over(n_bins: int, n_horizon: int) -> list[tuple[int, int, int, int]]:
    """(start, stop, first, last) of the windows over a piece: bins [first, last) are read from each.

    Every bin is read from the window that it lies deepest in; of a horizon there is one window,
    the last bins of the piece.
    """
    if n_horizon:
        size = min(n_bins, max(SEEN_BINS, 2 * n_horizon))
        return [(n_bins - size, n_bins, n_bins - size, n_bins)]
    size = min(n_bins, SEEN_BINS)
    starts = [*range(0, n_bins - size, max(size // 2, 1)), n_bins - size]
    edges = [0, *((a + size + b) // 2 for a, b in pairwise(starts)), n_bins]
    return [(s, s + size, edges[i], edges[i + 1]) for i, s in enumerate(starts)]


def rate_of_root(root: Doubles) -> Doubles:
    """The rate of a Poisson count whose square root is expected to be `root`; 0 below 0."""
    rates, roots = _table()
    inside = np.interp(np.maximum(root, 0), roots, rates)
    return np.where(root > roots[-1], root**2 + 0.25, inside)


@lru_cache(maxsize=1)
def _table() -> tuple[Doubles, Doubles]:
    """Rates, and the expected square root of a Poisson count at each."""
    rates = np.concatenate([[0.0], np.geomspace(1e-4, MOST, 300)])
    counts = np.arange(1, 120)
    log_factorial = np.cumsum(np.log(counts))
    with np.errstate(divide="ignore"):
        log_p = counts * np.log(rates)[:, None] - rates[:, None] - log_factorial
    return rates, np.exp(log_p) @ np.sqrt(counts)
