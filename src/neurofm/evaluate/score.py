"""Ask a predictor every fold of a task about one recording, and keep sums per block and unit."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate import kind_scores, metrics
from neurofm.evaluate.metrics import BlockScores, Floats
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.task import Example
from neurofm.evaluate.tasks import Fold, NotAskable, Task

Progress = Callable[[str, int, int], None]  # what was done, how many of, how many


@dataclass(frozen=True)
class Answers:
    """Predictions for the page. `bin` (n,), `counts`, `rates` (n, C); `rates` NaN where not asked.

    Of channels of other kinds than counts, `counts` are their values.
    """

    bin: NDArray[np.int64]
    counts: NDArray[Any]
    rates: NDArray[np.float32]


@dataclass(frozen=True)
class Scored:
    """Scores of one predictor on one task and recording; `answers` if they were asked for."""

    scores: BlockScores
    answers: Answers | None = None


@dataclass(frozen=True)
class Skipped:
    """A task that could not be asked of a recording, and why."""

    predictor: str
    task: str
    recording: str
    reason: str


def score(
    factory: Callable[[], Predictor],
    name: str,
    task: Task,
    recording: Recording,
    *,
    train: Intervals,
    valid: Intervals,
    test: Intervals,
    bin_s: float,
    seed: int = 0,
    block_s: float = 10.0,
    keep_answers: bool = False,
    progress: Progress | None = None,
) -> Scored | Skipped:
    """Fit on `train` and `valid` and score on `test`, a new predictor for every fold.

    Deterministic in `seed`. Raises InputError if a predictor answers in the wrong shape or with
    numbers that are not finite. A fold that cannot be asked is left out; returns Skipped, with the
    reason, where none can.
    """
    try:
        folds = task.groups(recording, seed)
    except NotAskable as reason:
        return Skipped(name, task.name, recording.id, str(reason))
    sheet, why = None, ""
    for number, fold in enumerate(folds):
        try:
            sides = [task.examples(recording, p, bin_s, fold) for p in (train, valid, test)]
        except NotAskable as reason:
            why = why or str(reason)
            continue
        sheet = sheet or _Sheet.of(recording, test, bin_s, block_s)
        predictor = factory()
        predictor.fit(sides[0], sides[1])
        rates = predictor.predict([example.question for example in sides[2]])
        _check(name, sides[2], rates)
        sheet.add(sides[2], rates)
        if progress:
            progress(f"{name} · {task.name} · {recording.id}", number + 1, len(folds))
    if sheet is None:
        return Skipped(name, task.name, recording.id, why)
    about = {"predictor": name, "task": task.name, "recording": recording.id}
    asked = fingerprint(task, recording, train, valid, test, bin_s, seed, block_s)
    scores = sheet.scores(recording, folds, bin_s, asked=asked, **about)
    return Scored(scores, sheet.answers() if keep_answers else None)


def fingerprint(
    task: Task,
    recording: Recording,
    train: Intervals,
    valid: Intervals,
    test: Intervals,
    bin_s: float,
    seed: int,
    block_s: float = 10.0,
) -> str:
    """Sixteen hex digits that say which questions were asked; kept scores are reused only with it."""
    parts = [repr(task), recording.id, f"{bin_s!r} {seed} {block_s!r}", *recording.channels.id,
             recording.provenance.source_sha256]  # fmt: skip
    digest = hashlib.sha256("\n".join(parts).encode())
    for part in (train, valid, test):
        digest.update(b"side" + part.pairs.tobytes())
    return digest.hexdigest()[:16]


def block_edges(pieces: Sequence[tuple[int, int]], block: int) -> NDArray[np.int64]:
    """First bins of blocks of about `block` bins that never cross pieces; short pieces are one."""
    firsts = [
        np.linspace(first, stop, max((stop - first) // block, 1), endpoint=False)
        for first, stop in pieces
    ]
    return np.concatenate(firsts).astype(np.int64)


@dataclass
class _Sheet:
    """The test part as a sheet of bins by channels, filled in fold by fold."""

    pieces: list[tuple[int, int]]
    first: int
    edges: NDArray[np.int64]
    counts: NDArray[Any]
    rates: NDArray[np.float32]

    @classmethod
    def of(cls, recording: Recording, test: Intervals, bin_s: float, block_s: float) -> "_Sheet":
        pieces = binning.pieces(test.intersect(recording.valid), bin_s)
        edges = block_edges(pieces, max(round(block_s / bin_s), 1))
        first = pieces[0][0]
        shape = pieces[-1][1] - first, len(recording.channels)
        whole = bool((recording.channels.kind == "count").all())
        counts = np.zeros(shape, dtype=np.uint32 if whole else np.float32)
        return cls(pieces, first, edges, counts, np.full(shape, np.nan, dtype=np.float32))

    def add(self, examples: Sequence[Example], rates: Sequence[NDArray[Any]]) -> None:
        """Enter the answers at scored cells."""
        for example, answer in zip(examples, rates, strict=True):
            question = example.question
            rows = slice(question.first - self.first, question.first - self.first + len(answer))
            self.counts[rows] = example.counts
            place = self.rates[rows]
            if np.isfinite(place[question.scored]).any():
                raise InputError(f"{question.recording}: task {question.task} scores a cell twice.")
            place[question.scored] = np.asarray(answer)[question.scored]

    def scores(
        self, asked_of: Recording, folds: Sequence[Fold], bin_s: float, **about: Any
    ) -> BlockScores:
        """Sums per block and unit, over cells that were asked about and recorded."""
        channels = asked_of.channels
        units = np.flatnonzero(np.any([fold.scored for fold in folds], axis=0))
        about |= {"unit": channels.id[units]}
        kind = str(channels.kind[units[0]])
        if kind != "count":
            name = "" if channels.group is None else str(channels.group[units[0]])
            return self._of_kind(kind, units, asked_of, name, bin_s, about)
        starts = self.edges - self.first
        asked = np.isfinite(self.rates[:, units])
        y = np.where(asked, self.counts[:, units], 0).astype(np.float64)
        r = np.where(asked, self.rates[:, units], 1.0)
        terms: list[Floats] = [
            y,
            asked.astype(np.float64),
            np.where(asked, metrics.log_likelihood(y, r), 0.0),
            metrics.saturated(y),
        ]
        spikes, n_bins, ll_model, ll_full = (np.add.reduceat(v, starts, axis=0) for v in terms)
        seen = n_bins.sum(axis=1) > 0  # a block of nothing but context holds no score
        return metrics.of_sums(spikes[seen], n_bins[seen], ll_model[seen], ll_full[seen],
                               first=self.edges[seen], **about)  # fmt: skip

    def _of_kind(
        self,
        kind: str,
        units: NDArray[np.intp],
        recording: Recording,
        name: str,
        bin_s: float,
        about: dict[str, Any],
    ) -> BlockScores:
        """The same of values and of labels; a label's blocks are the pieces it holds over."""
        values, told = self.counts[:, units].astype(float), self.rates[:, units].astype(float)
        asked = np.isfinite(told) & np.isfinite(values)
        if kind == "category":
            edges = kind_scores.piece_starts(recording, name, bin_s, self.pieces)
            made = kind_scores.of_labels(values, told, asked, edges - self.first,
                                         first=edges, kind=kind, **about)  # fmt: skip
        else:
            made = kind_scores.of_values(values, told, asked, self.edges - self.first,
                                         first=self.edges, kind=kind, **about)  # fmt: skip
        return made.only(made.spikes.sum(axis=1) > 0)

    def answers(self) -> Answers:
        """Bins that hold an answer."""
        rows = np.flatnonzero(np.isfinite(self.rates).any(axis=1))
        return Answers(rows + self.first, self.counts[rows], self.rates[rows])


def _check(name: str, examples: Sequence[Example], rates: Sequence[NDArray[Any]]) -> None:
    if len(rates) != len(examples):
        raise InputError(f"{name} answered {len(rates)} of {len(examples)} questions.")
    for example, answer in zip(examples, rates, strict=True):
        question = example.question
        where = f"{name} on {question.recording}, task {question.task}"
        if answer.shape != question.visible.shape:
            raise InputError(
                f"{where}: answer has shape {answer.shape}, not {question.visible.shape}."
            )
        if not np.isfinite(answer[question.scored]).all():
            raise InputError(f"{where}: an expected value is not finite; check how it was fitted.")
