"""What the regressions share: which lagged features they try, and how their answer is read out."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import regression, streams
from neurofm.evaluate.regression import Design, design
from neurofm.evaluate.streams import Bins, Groups, Matrix, Pattern, Scale
from neurofm.evaluate.task import Example, Question

MOST_FEATURES = 3500  # wider features are not tried: the Gram matrix is cubic in them
SHAPES = (0.0, 0.5, 1.0)  # how much of the horizon's own mean course to keep


@dataclass(frozen=True)
class Sides:
    """Training and validation counts of one fold as contiguous pieces, and their scale.

    `kind` of the scored channels. If they are not counts, `wanted` brings the targets to one scale,
    and samples of which a target is unknown are left out.
    """

    pattern: Pattern
    train: list[NDArray[Any]]
    valid: list[NDArray[Any]]
    scale: Scale
    kind: str = "count"
    wanted: Scale | None = None

    @classmethod
    def of(cls, train: Sequence[Example], valid: Sequence[Example]) -> "Sides":
        """From the examples that a predictor is fitted on; raises InputError if a side is empty."""
        pattern = streams.pattern_of([e.question for e in train])
        streams.pattern_of([e.question for e in valid])
        pieces, kinds = streams.stitch(train), train[0].question.channels.kind
        scale = Scale.of(pieces, pattern.visible, kinds)
        kind = str(kinds[pattern.scored[0]]) if len(pattern.scored) else "count"
        wanted = None if kind == "count" else Scale.of(pieces, pattern.scored, kinds)
        return cls(pattern, pieces, streams.stitch(valid), scale, kind, wanted)

    def samples(
        self, pieces: Sequence[NDArray[Any]], groups: Groups
    ) -> list[tuple[Matrix, Matrix]]:
        """(features, targets) of every piece that holds a sample."""
        out = []
        for piece in pieces:
            at = self.pattern.sites(len(piece))
            if len(at):
                x = streams.lagged(self.scale(piece[:, self.pattern.visible]), groups, at)
                y = streams.targets(piece, self.pattern, at)
                out.append((x, y) if self.wanted is None else self._known(x, y))
        return out

    def _known(self, x: Matrix, y: Matrix) -> tuple[Matrix, Matrix]:
        """Samples with every target known, the targets on one scale.

        Where there is none, those with some target known, the others at their mean.
        """
        there = np.isfinite(y)
        whole = there.all(axis=1)
        if whole.any() or not there.any():
            return x[whole], self.on_one_scale(y[whole])
        some = there.any(axis=1)
        return x[some], np.nan_to_num(self.on_one_scale(y[some]))

    def on_one_scale(self, y: Matrix) -> Matrix:
        """(n, n_ahead * S) targets in units of their spread in training."""
        assert self.wanted is not None
        each = y.reshape(len(y), self.pattern.n_ahead, len(self.pattern.scored))
        return ((each - self.wanted.mean) / self.wanted.deviation).reshape(y.shape)

    def in_own_units(self, told: Matrix) -> Matrix:
        """Undoes `on_one_scale`; counts stay."""
        if self.wanted is None:
            return told
        each = told.reshape(len(told), -1, len(self.pattern.scored))
        return (each * self.wanted.deviation + self.wanted.mean).reshape(told.shape)

    def plain(self) -> list[Groups]:
        """Single lags to try, few to many: 5, 9, 13 or 21 of them."""
        shapes = streams.past if self.pattern.n_horizon else streams.symmetric
        return self._small(self._inside([shapes(k) for k in (5, 9, 13, 21)]))

    def wide(self) -> list[Groups]:
        """Lags in groups that double away from the predicted bin: 15, 31 or 63 bins to each side."""
        shapes = streams.widening_past if self.pattern.n_horizon else streams.widening
        return self._small(self._inside([shapes(k) for k in (4, 5, 6)]))

    def widest(self) -> Groups:
        """The widest of the doubling lags that fits the context, however many channels there are."""
        shapes = streams.widening_past if self.pattern.n_horizon else streams.widening
        return self._inside([shapes(k) for k in (4, 5, 6)])[-1]

    def _inside(self, every: list[Groups]) -> list[Groups]:
        """Those that look back no further than the context of a horizon."""
        if not self.pattern.n_horizon:
            return every
        inside = [g for g in every if streams.reach(g) <= self.pattern.n_context]
        return inside or [streams.past(min(self.pattern.n_context, 5))]

    def _small(self, every: list[Groups]) -> list[Groups]:
        """Those that make no more than MOST_FEATURES, or else the first."""
        n = max(len(self.pattern.visible), 1)
        return [g for g in every if len(g) * n <= MOST_FEATURES] or every[:1]


@dataclass(frozen=True)
class Trial:
    """One choice of features, ready to be fitted: the training design and the validation samples."""

    groups: Groups
    fitted: Design
    x_valid: Matrix
    y_valid: Matrix
    kind: str = "count"

    @classmethod
    def of(cls, sides: Sides, groups: Groups) -> "Trial":
        """Design of the training pieces; validation features already projected."""
        fitted = design(sides.samples(sides.train, groups))
        valid = sides.samples(sides.valid, groups)
        x = np.concatenate([x for x, _ in valid])
        y = np.concatenate([y for _, y in valid])
        return cls(groups, fitted, fitted.project(x), y, sides.kind)

    def only(self, groups: Groups, n_channels: int) -> "Trial":
        """The same with some of its groups of lags: no new Gram matrix."""
        return self._part(groups, n_channels, np.arange(n_channels), np.arange(len(self.y_valid.T)))

    def of_fold(self, pattern: Pattern) -> "Trial":
        """From features and targets of all channels, those of a fold that hides whole pieces."""
        return self._part(self.groups, pattern.n_channels, pattern.visible, pattern.scored)

    def _part(self, groups: Groups, n_channels: int, visible: Bins, wanted: Bins) -> "Trial":
        places = np.array([self.groups.index(group) for group in groups])
        at = (places[:, None] * n_channels + visible).reshape(-1)
        f = self.fitted
        cross = f.cross[np.ix_(at, wanted)]
        part = Design(f.n, f.x_mean[at], f.y_mean[wanted], f.gram[np.ix_(at, at)], cross)
        return Trial(groups, part, self.x_valid[:, at], self.y_valid[:, wanted], self.kind)

    def quality(self, weights: Matrix) -> float:
        """Validation log-likelihood of linear weights (F, M)."""
        told = self.x_valid @ weights + self.fitted.y_mean
        return self.judged(told, self.fitted.y_mean)

    def judged(self, told: Matrix, mean: Matrix) -> float:
        """How well predictions of the validation samples do, as their kind is judged."""
        settled = regression.settled(told, mean, self.fitted.n, self.kind)
        return regression.quality_of(self.y_valid, settled, self.kind)


def trials(sides: Sides, candidates: Sequence[Groups]) -> Iterator[Trial]:
    """A trial of each candidate; those inside the last, widest one share its Gram matrix."""
    widest = widest_trial(sides, candidates[-1])
    n_channels = len(sides.pattern.visible)
    for groups in candidates[:-1]:
        shared = widest.fitted.span is None and set(groups) <= set(widest.groups)
        yield widest.only(groups, n_channels) if shared else Trial.of(sides, groups)
    yield widest


def widest_trial(sides: Sides, groups: Groups) -> Trial:
    """The trial of these lags; of folds that hide few channels, from a Gram matrix that they share.

    Of all channels, so it pays where most are visible, and is made where it is not too wide.
    """
    pattern = sides.pattern
    n, n_visible = pattern.n_channels, len(pattern.visible)
    alike = sides.kind == "count" and sides.scale.counts is None and not pattern.n_horizon
    if not alike or 2 * n_visible <= n or len(groups) * n > MOST_FEATURES:
        return Trial.of(sides, groups)
    shared = _of_all(Counts((*sides.train, *sides.valid), len(sides.train)), groups)
    return Trial.of(sides, groups) if shared.fitted.span is not None else shared.of_fold(pattern)


@dataclass(frozen=True)
class Counts:
    """Pieces of counts (T, C), the first `n_train` to learn from; equal if their counts are."""

    pieces: tuple[NDArray[Any], ...]
    n_train: int

    @cached_property
    def digest(self) -> bytes:
        """Of every count, and of how they are cut."""
        digest = hashlib.sha256(str(self.n_train).encode())
        for piece in self.pieces:
            digest.update(f"{piece.shape} {piece.dtype}".encode())
            digest.update(piece.tobytes())
        return digest.digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Counts) and self.digest == other.digest


@lru_cache(maxsize=1)  # folds of one recording follow each other
def _of_all(counts: Counts, groups: Groups) -> Trial:
    """Every channel from every channel; folds cut out what they may see and are asked about."""
    train, valid = list(counts.pieces[: counts.n_train]), list(counts.pieces[counts.n_train :])
    everything = np.arange(train[0].shape[1])
    pattern = Pattern(everything, everything, len(everything), n_horizon=0, n_context=0)
    return Trial.of(Sides(pattern, train, valid, Scale.of(train, everything)), groups)


def choose(sides: Sides, candidates: Sequence[Groups]) -> tuple[Trial, float]:
    """The features and log10 penalty that predict `valid` best."""
    best: tuple[float, Trial, float] | None = None
    penalty = 0.0
    for trial in trials(sides, candidates):
        known: dict[float, float] = {}

        def quality(power: float, trial: Trial = trial, known: dict[float, float] = known) -> float:
            known[power] = trial.quality(regression.ridge(trial.fitted, 10.0**power))
            return known[power]

        penalty = regression.climb(quality, penalty, step=0.5)
        if best is None or known[penalty] > best[0]:
            best = known[penalty], trial, penalty
    assert best is not None
    return best[1], best[2]


@dataclass(frozen=True)
class Linear:
    """A fitted linear answer: rates = floored(intercept + features @ weights)."""

    sides: Sides
    trial: Trial
    weights: Matrix
    intercept: Matrix

    @classmethod
    def of(cls, sides: Sides, trial: Trial, weights: Matrix) -> "Linear":
        """Settles the intercepts: each unit's mean, and as much of its course as helps on `valid`."""
        change = trial.x_valid @ weights
        options = shaped(trial.fitted.y_mean, sides.pattern)

        best = max(options, key=lambda intercept: trial.judged(change + intercept, options[0]))
        return cls(sides, trial, weights, best)

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        sides, fitted = self.sides, self.trial.fitted
        mean = shaped(fitted.y_mean, sides.pattern)[0]

        def rates(x: Matrix) -> Matrix:
            change = fitted.project(x) @ self.weights
            told = regression.settled(change + self.intercept, mean, fitted.n, sides.kind)
            return sides.in_own_units(told)

        return answers(questions, sides.pattern, sides.scale, self.trial.groups, rates)


def shaped(y_mean: Matrix, pattern: Pattern) -> list[Matrix]:
    """Intercepts to choose from: unit means alone, half of their course over the horizon, all of it."""
    course = y_mean.reshape(pattern.n_ahead, -1)
    flat = np.broadcast_to(course.mean(axis=0), course.shape)
    shapes = SHAPES if pattern.n_horizon else SHAPES[:1]
    return [(flat + s * (course - flat)).reshape(-1).astype(np.float32) for s in shapes]


def answers(
    questions: Sequence[Question],
    pattern: Pattern,
    scale: Scale,
    groups: Groups,
    rates: Callable[[Matrix], Matrix],
) -> list[NDArray[Any]]:
    """Ask `rates` (features (n, F) -> (n, n_ahead * S)) about many questions at once."""
    features = []
    for question in questions:
        values = scale(question.visible[:, pattern.visible])
        if pattern.n_horizon:
            values[-pattern.n_horizon :] = 0.0
        features.append(streams.lagged(values, groups, streams.asked_at(question, pattern)))
    sizes = [len(x) for x in features]
    out = []
    for some, start in _batches(sizes):
        predicted = rates(np.concatenate(features[start : start + some]))
        edges = np.cumsum(sizes[start : start + some])[:-1]
        pairs = zip(np.split(predicted, edges), questions[start : start + some], strict=True)
        out += [streams.answer(rows, question, pattern) for rows, question in pairs]
    return out


def _batches(sizes: list[int], n_rows: int = 4096) -> list[tuple[int, int]]:
    """(how many, first) of consecutive questions, about `n_rows` rows together."""
    out, start, rows = [], 0, 0
    for i, size in enumerate(sizes):
        rows += size
        if rows >= n_rows or i == len(sizes) - 1:
            out.append((i + 1 - start, start))
            start, rows = i + 1, 0
    return out
