"""Reduced-rank regression over sessions: they share how activity is read in time, not from whom."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate import regression, streams
from neurofm.evaluate.lagged import MOST_FEATURES, Linear, Sides, Trial, answers, shaped
from neurofm.evaluate.regression import climb, design, floored
from neurofm.evaluate.streams import Groups, Matrix, Pattern
from neurofm.evaluate.task import Example, Question
from neurofm.evaluate.tasks import NotAskable, Task

Doubles = NDArray[np.float64]
WIDTHS = (1, 1, 1, 1, 2, 2, 4, 4, 8, 8)  # bins of each lag, away from the predicted bin
RANKS = (1, 2, 3, 4, 6)
N_SWEEPS = 4
PENALTY = 1.0  # on loadings while the basis is fitted, relative as in `regression.factor`


@dataclass(frozen=True)
class SharedBasis:
    """Temporal filters that sessions share: `filters` (L, r) over `lags`, the most telling first."""

    lags: Groups
    filters: Doubles

    def turn(self, x: Matrix, rank: int) -> Matrix:
        """(n, L * V) lagged values -> (n, rank * V) filtered values, filters slowest."""
        cube = x.reshape(len(x), len(self.lags), -1)
        filters = self.filters[:, :rank].astype(np.float32)
        return np.asarray(np.einsum("nlv,lk->nkv", cube, filters, optimize=True)).reshape(
            len(x), -1
        )


@dataclass
class RRRSessions:
    """Reduced-rank regression whose temporal basis is shared by sessions, its loadings their own.

    counts ~ sum_k loading_k (V, M) applied to visible activity filtered by basis k, the form of the
    multi-session encoding and decoding models of Posani et al. 2025 and Zhang et al. 2024. `basis` was fitted before, by `fit_sessions`; here just loadings are fitted, by ridge,
    with the penalty and the number of filters chosen on `valid`.
    """

    basis: SharedBasis
    name: str = "rrr-sessions"
    chosen: dict[str, float] = field(default_factory=dict)
    fitted: Any = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """For each number of filters climb to the best penalty; keep the best on `valid`."""
        sides = Sides.of(train, valid)
        parts, held = (sides.samples(p, self.basis.lags) for p in (sides.train, sides.valid))
        best, power = -np.inf, 0.0
        for rank in (r for r in RANKS if r <= self.basis.filters.shape[1]):
            fitted = design([(self.basis.turn(x, rank), y) for x, y in parts])
            x_valid = np.concatenate([self.basis.turn(x, rank) for x, _ in held])
            y_valid = np.concatenate([y for _, y in held])
            trial = Trial(self.basis.lags, fitted, fitted.project(x_valid), y_valid)

            def quality(p: float, t: Trial = trial) -> float:
                return t.quality(regression.ridge(t.fitted, 10.0**p))

            power = climb(quality, power, step=0.5)
            if quality(power) > best:
                best = quality(power)
                self.chosen = {"rank": rank, "penalty": power}
                self.fitted = Linear.of(sides, trial, regression.ridge(fitted, 10.0**power))

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.fitted is not None, "fit comes before predict"
        linear, rank = self.fitted, int(self.chosen["rank"])
        fitted = linear.trial.fitted
        mean = shaped(fitted.y_mean, linear.sides.pattern)[0]

        def rates(x: Matrix) -> Matrix:
            change = fitted.project(self.basis.turn(x, rank)) @ linear.weights
            return floored(change + linear.intercept, mean, fitted.n)

        return answers(questions, linear.sides.pattern, linear.sides.scale, self.basis.lags, rates)


@dataclass(frozen=True)
class Sessions:
    """Makes an `RRRSessions` for every recording; the basis is fitted when the first one is made."""

    task: Task
    recordings: tuple[Recording, ...]
    train: tuple[Intervals, ...]
    bin_s: float
    seed: int

    @cached_property
    def basis(self) -> SharedBasis:
        """From the training parts of all recordings that the task can be asked of."""
        every = []
        for recording, part in zip(self.recordings, self.train, strict=True):
            try:
                fold = self.task.groups(recording, self.seed)[0]
                every.append(self.task.examples(recording, part, self.bin_s, fold))
            except NotAskable:
                continue
        return fit_sessions(every)

    def __call__(self, recording: Recording) -> RRRSessions:
        """A predictor to fit on `recording`, which may or may not be one of those."""
        del recording  # it brings its own loadings when it is fitted
        return RRRSessions(self.basis)


def fit_sessions(sessions: Sequence[Sequence[Example]], rank: int = RANKS[-1]) -> SharedBasis:
    """The temporal basis that predicts best in all sessions together, from their training parts.

    Alternating least squares over standardised square-root counts and targets in units of their
    Poisson deviation. Where a session has many channels, its busiest stand for it. Raises
    InputError if there is no session, or if sessions are asked different kinds of question.
    """
    patterns = [streams.pattern_of([e.question for e in examples]) for examples in sessions]
    if not patterns or len({p.n_horizon for p in patterns}) > 1:
        raise InputError(
            "A basis shared by sessions needs one or more sessions, all of one task; "
            f"it was given horizons of {sorted({p.n_horizon for p in patterns})} bins."
        )
    lags = shared_lags(patterns)
    every = [Moments.of(e, p, lags) for e, p in zip(sessions, patterns, strict=True)]
    n_lags, rank = len(lags), min(rank, len(lags))
    start = [m.ridge(np.eye(n_lags)) for m in every]
    filters = _leading(start, every)[:, :rank]
    for _ in range(N_SWEEPS):
        loadings = [m.ridge(filters) for m in every]
        normal = np.asarray(sum(m.normal(a) for m, a in zip(every, loadings, strict=True)))
        cross = np.asarray(sum(m.crossed(a) for m, a in zip(every, loadings, strict=True)))
        normal[np.diag_indices_from(normal)] += 1e-6 * np.trace(normal) / len(normal)
        filters = np.linalg.qr(np.linalg.solve(normal, cross).reshape(n_lags, rank))[0]
    loadings = [m.ridge(filters) for m in every]
    return SharedBasis(lags, filters @ _leading(loadings, every))


def _leading(weights: Sequence[Doubles], every: Sequence["Moments"]) -> Doubles:
    """(k, k) axes of the first index of weights (k, V, M), largest first, sessions by their samples."""
    pairs = zip(weights, every, strict=True)
    power = np.asarray(sum(np.einsum("kvm,jvm->kj", w, w) * m.n for w, m in pairs))
    return np.asarray(np.linalg.eigh(power)[1][:, ::-1], dtype=np.float64)


def shared_lags(patterns: Sequence[Pattern]) -> Groups:
    """Lags on both sides of the bin, or before a horizon, no further than every context reaches."""
    edges = np.concatenate([[0], np.cumsum(WIDTHS)])
    before = tuple((-int(b), -int(a)) for a, b in pairwise(edges))[::-1]
    if patterns[0].n_horizon:
        context = min(p.n_context for p in patterns)
        return tuple(lag for lag in before if -lag[0] <= context)
    after = tuple((1 - stop, 1 - start) for start, stop in before[::-1])
    return (*before, (0, 1), *after)


@dataclass(frozen=True)
class Moments:
    """One session's Gram matrix as (L, V, L, V), its cross moments (L, V, M), and `n` samples."""

    gram: Doubles
    cross: Doubles
    n: int

    @classmethod
    def of(cls, examples: Sequence[Example], pattern: Pattern, lags: Groups) -> "Moments":
        """From a session's training examples."""
        pieces = streams.stitch(examples)
        busy = sum(p[:, pattern.visible].sum(axis=0, dtype=np.float64) for p in pieces)
        busiest = np.argsort(-np.asarray(busy), kind="stable")[: MOST_FEATURES // len(lags)]
        seen = Pattern(pattern.visible[np.sort(busiest)], pattern.scored, pattern.n_channels,
                       pattern.n_horizon, pattern.n_context)  # fmt: skip
        sides = Sides(seen, pieces, [], streams.Scale.of(pieces, seen.visible))
        parts = sides.samples(pieces, lags)
        n = sum(len(x) for x, _ in parts)
        if not n:
            raise InputError("A session's training part is too short for a basis over sessions.")
        centre, mean = (
            np.asarray(sum(part[side].sum(axis=0, dtype=np.float64) for part in parts)) / n
            for side in (0, 1)
        )
        size = len(centre)
        gram, cross = np.zeros((size, size)), np.zeros((size, len(mean)))
        for x, y in parts:
            moved = (x - centre).astype(np.float32)
            gram += moved.T @ moved
            cross += moved.T @ (y - mean).astype(np.float32)
        cross /= np.sqrt(np.maximum(mean, regression.least(n)))
        shape = len(lags), len(seen.visible)
        return cls(gram.reshape(*shape, *shape), cross.reshape(*shape, -1), n)

    def ridge(self, filters: Doubles) -> Doubles:
        """(r, V, M) loadings by ridge, given `filters` (L, r)."""
        rank, n_channels = filters.shape[1], self.gram.shape[1]
        gram = np.einsum("lk,lvmw,mj->kvjw", filters, self.gram, filters, optimize=True)
        square = gram.reshape(rank * n_channels, -1).copy()
        square[np.diag_indices_from(square)] += PENALTY * max(np.trace(square) / len(square), 1e-9)
        cross = np.einsum("lk,lvm->kvm", filters, self.cross, optimize=True)
        linalg = regression.solvers()
        solved = linalg.cho_solve(linalg.cho_factor(square), cross.reshape(len(square), -1))
        return np.asarray(solved.reshape(rank, n_channels, -1))

    def normal(self, loadings: Doubles) -> Doubles:
        """(L r, L r): the Gram matrix of the regression on the filters, given loadings (r, V, M)."""
        alike = np.einsum("kvm,jwm->kvjw", loadings, loadings, optimize=True)
        rank, n_channels = alike.shape[:2]
        n_lags = len(self.gram)
        left = self.gram.transpose(0, 2, 1, 3).reshape(n_lags**2, n_channels**2)
        right = alike.transpose(0, 2, 1, 3).reshape(rank**2, n_channels**2)
        both = (left @ right.T).reshape(n_lags, n_lags, rank, rank)
        return np.asarray(both.transpose(0, 2, 1, 3).reshape(n_lags * rank, -1))

    def crossed(self, loadings: Doubles) -> Doubles:
        """(L r,): the cross moments of the same regression."""
        return np.asarray(np.einsum("lvm,kvm->lk", self.cross, loadings, optimize=True)).reshape(-1)
