"""From examples to regressions: what baselines see of a question, as lagged features.

Offsets count bins from the bin that is predicted (all bins of a piece) or from the first bin of
the horizon (forward). Outside a piece every feature is 0, its mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError
from neurofm.evaluate.task import Example, Question

Bins = NDArray[np.intp]
Matrix = NDArray[np.float32]
Groups = tuple[tuple[int, int], ...]  # [start, stop) offsets, averaged into one feature each


@dataclass(frozen=True)
class Pattern:
    """What questions of one fold share: `visible`, `scored` channel rows, bins of horizon.

    `n_horizon` is 0 where channels are hidden for whole pieces; `n_context` is then 0 as well.
    """

    visible: Bins
    scored: Bins
    n_channels: int
    n_horizon: int
    n_context: int

    @property
    def n_ahead(self) -> int:
        """Bins that are predicted at once."""
        return max(self.n_horizon, 1)

    def sites(self, n_bins: int) -> Bins:
        """Bins of a piece of `n_bins` to learn from: all, or where a whole horizon fits after."""
        if not self.n_horizon:
            return np.arange(n_bins)
        last = n_bins - self.n_horizon
        return np.arange(min(self.n_context, last), last + 1) if last > 0 else np.arange(0)


def pattern_of(questions: Sequence[Question]) -> Pattern:
    """The pattern of the questions of one (recording, task, fold).

    Raises InputError if there are none, or if they hide cells in no pattern that a baseline knows.
    """
    if not questions:
        raise InputError("A baseline was given no examples; its part of the recording is empty.")
    hidden, scored = questions[0].hidden, questions[0].scored.any(axis=0)
    n_channels = hidden.shape[1]
    if (hidden == hidden[0]).all():
        rows = np.flatnonzero(~hidden[0]), np.flatnonzero(scored)
        return Pattern(*rows, n_channels, n_horizon=0, n_context=0)
    horizon = int(hidden[:, hidden.any(axis=0)].all(axis=1).sum())
    if horizon == 0 or hidden[:-horizon].any():
        raise InputError(
            f"{questions[0].recording}: task {questions[0].task} hides cells that are neither "
            "whole channels nor a horizon; no baseline answers it."
        )
    context = max(len(q.hidden) for q in questions) - horizon
    everything = np.arange(n_channels)
    return Pattern(everything, np.flatnonzero(scored), n_channels, horizon, context)


def stitch(examples: Sequence[Example]) -> list[NDArray[Any]]:
    """Counts of the examples as contiguous pieces: overlapping windows are joined, others not."""
    out: list[list[NDArray[Any]]] = []
    end = -1
    for example in sorted(examples, key=lambda e: e.question.first):
        first = example.question.first
        stop = first + len(example.counts)
        if out and first < end:
            if stop > end:
                out[-1].append(example.counts[end - first :])
        else:
            out.append([example.counts])
        end = max(end, stop)
    return [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in out]


@dataclass(frozen=True)
class Scale:
    """Standardised square-root counts: `mean`, `deviation` (V,) of the training part.

    `counts` (V,): which channels are rooted, the others being values, NaN unknown; None: all are.
    """

    mean: Matrix
    deviation: Matrix
    counts: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls,
        pieces: Sequence[NDArray[Any]],
        rows: Bins,
        kind: NDArray[np.str_] | None = None,
    ) -> "Scale":
        """From pieces of counts (T, C), channels `rows`; a silent channel has features of 0.

        `kind` (C,): of all channels, where not all are counts.
        """
        values = np.concatenate([piece[:, rows] for piece in pieces])
        counts = None if kind is None or (kind == "count").all() else kind[rows] == "count"
        root = _rooted(values, counts)
        if counts is None:
            mean, deviation = root.mean(axis=0), root.std(axis=0)
        else:
            there = np.isfinite(root)
            n = np.maximum(there.sum(axis=0), 1)
            mean = np.where(there, root, 0).sum(axis=0, dtype=np.float64) / n
            off = np.where(there, root - mean, 0) ** 2
            deviation = np.sqrt(off.sum(axis=0, dtype=np.float64) / n)
        spread = np.where(deviation > 0, deviation, 1).astype(np.float32)
        return cls(mean.astype(np.float32), spread, counts)

    def __call__(self, counts: NDArray[Any]) -> Matrix:
        """(T, V) counts -> (T, V) float32, mean 0 and variance 1 on the training part; unknown 0."""
        values = np.asarray((_rooted(counts, self.counts) - self.mean) / self.deviation)
        return values if self.counts is None else np.nan_to_num(values, copy=False)


def _rooted(values: NDArray[Any], counts: NDArray[np.bool_] | None) -> Matrix:
    if counts is None:
        return np.asarray(np.sqrt(values, dtype=np.float32))
    positive = np.sqrt(np.where(counts, values, 0), dtype=np.float32)
    return np.asarray(np.where(counts, positive, values), dtype=np.float32)


def lagged(values: Matrix, groups: Groups, at: Bins) -> Matrix:
    """(n, len(groups) * V): the mean of `values` (T, V) over each group of offsets from `at`.

    Offsets that fall outside the piece count as 0.
    """
    n, n_channels = len(at), values.shape[1]
    out = np.empty((n, len(groups) * n_channels), dtype=np.float32)
    if not n:
        return out
    before = max(-int(at.min()) - min(start for start, _ in groups), 0)
    after = max(int(at.max()) + max(stop for _, stop in groups) - len(values), 0)
    total = np.zeros((before + len(values) + 1 + after, n_channels))
    np.cumsum(values, axis=0, out=total[before + 1 : before + 1 + len(values)], dtype=np.float64)
    total[before + 1 + len(values) :] = total[before + len(values)]
    side_by_side = bool((np.diff(at) == 1).all())

    def until(offset: int) -> NDArray[np.float64]:
        first = before + offset
        return total[first + at[0] : first + at[0] + n] if side_by_side else total[first + at]

    for number, (start, stop) in enumerate(groups):
        mean = until(stop) - until(start)
        mean /= stop - start
        out[:, number * n_channels : (number + 1) * n_channels] = mean
    return out


def targets(counts: NDArray[Any], pattern: Pattern, at: Bins) -> Matrix:
    """(n, n_ahead * S): counts of the scored channels from each bin of `at` on."""
    ahead = at[:, None] + np.arange(pattern.n_ahead)
    wanted = counts[:, pattern.scored][ahead]
    return np.asarray(wanted.reshape(len(at), -1), dtype=np.float32)


def totals(examples: Sequence[Example], pattern: Pattern) -> Matrix:
    """(n, S): counts of the scored channels in all that is predicted from each bin of `asked_at`.

    What a rate that stays the same over the horizon is judged by.
    """
    parts = [targets(e.counts, pattern, asked_at(e.question, pattern)) for e in examples]
    y = np.concatenate(parts)
    return np.asarray(y.reshape(len(y), pattern.n_ahead, -1).sum(axis=1))


def asked_at(question: Question, pattern: Pattern) -> Bins:
    """Bins of a question's piece that its answer is computed from."""
    n_bins = len(question.visible)
    return np.array([n_bins - pattern.n_horizon]) if pattern.n_horizon else np.arange(n_bins)


def answer(rates: Matrix, question: Question, pattern: Pattern) -> Matrix:
    """(T, C) expected counts from rates (n, n_ahead * S) at `asked_at`; 0 in cells not asked about."""
    out = np.zeros(question.visible.shape, dtype=np.float32)
    rows = rates.reshape(-1, len(pattern.scored))
    out[len(out) - len(rows) :, pattern.scored] = rows
    return out


def symmetric(n_lags: int) -> Groups:
    """`n_lags` single bins around the one that is predicted."""
    half = n_lags // 2
    return tuple((o, o + 1) for o in range(-half, half + 1))


def past(n_lags: int) -> Groups:
    """The `n_lags` single bins before the horizon."""
    return tuple((-o, 1 - o) for o in range(n_lags, 0, -1))


def widening_past(n_doublings: int) -> Groups:
    """Groups of 1, 2, 4 ... bins back from the horizon: a long reach with few features."""
    return tuple((1 - 2 ** (k + 1), 1 - 2**k) for k in range(n_doublings - 1, -1, -1))


def widening(n_doublings: int) -> Groups:
    """Groups of 1, 2, 4 ... bins away from the bin that is predicted, on both sides of it."""
    after = tuple((2**k, 2 ** (k + 1)) for k in range(n_doublings))
    return (*widening_past(n_doublings), (0, 1), *after)


def reach(groups: Groups) -> int:
    """How many bins back the groups look."""
    return -min(start for start, _ in groups)


def widening_ahead(n_bins: int) -> Groups:
    """Groups of 1, 2, 4 ... bins that tile `n_bins` from the first on; the last is what is left."""
    edges = [0]
    while edges[-1] < n_bins:
        edges.append(min(2 * edges[-1] + 1, n_bins))
    return tuple(pairwise(edges))
