"""Decoding one target from one recording, by every method asked for, scored beside chance.

Nothing here looks at the test side before its scores: standardisation is that of the training
side, settings are chosen on the validation side, and neither smoothing nor windows cross sides.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import Labels, labels, side_pieces, traces
from neurofm.errors import InputError
from neurofm.evaluate import nulls
from neurofm.evaluate.decode_scores import (
    Score,
    label_draws,
    label_scores,
    r2_draws,
    signal_scores,
)
from neurofm.evaluate.decoders import LABEL_DECODERS, SIGNAL_DECODERS
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.nulls import Chance
from neurofm.evaluate.ours import SignalAnswers, pooled, told, trial_counts, trial_latents
from neurofm.evaluate.readout import Stretch, known, tuned_line
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.trial_readout import Names, Trials, tuned_sorter
from neurofm.train.finetune import Finetuned
from neurofm.train.heads import LabelHead

MODEL, PROBE, SCRATCH = "model", "probe", "scratch"
OURS = (MODEL, PROBE, SCRATCH)
SIDES = ("train", "valid", "test")
BLOCK_S = 10.0
FEWEST_TRIALS = 10  # a side
Tuned = Mapping[str, Finetuned]  # by method: the model, and its twin from scratch
BySide = dict[str, Matrix]
AnswerSignal = Callable[["SignalQuestion"], tuple[BySide, Matrix]]
AnswerLabel = Callable[["Session", Mapping[str, Labels]], tuple[BySide, Names]]
NONE_GIVEN: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Session:
    """A recording to decode from: its `sides`, and the model that knows it, on the grid of bins."""

    recording: Recording
    sides: Mapping[str, Intervals]
    direct: Direct
    device: torch.device

    @property
    def bin_s(self) -> float:
        """The model's bin width."""
        return float(self.direct.trained.config["bin_s"])

    @property
    def causal(self) -> bool:
        """Whether the model, and so its rivals, may look at the past alone."""
        return self.direct.trained.model.config.backbone.causal

    @property
    def longest(self) -> int:
        """Bins of the model's window."""
        return int(self.direct.trained.config["window_bins"])

    def pieces(self, side: str) -> list[tuple[int, int]]:
        """[first, stop) bins of one side."""
        return side_pieces(self.recording, self.sides[side], self.bin_s)


@dataclass(frozen=True)
class Decoded:
    """One method's scores of one target; `draws` (n_boot,): the first score on resampled data."""

    method: str
    recording: str
    scores: list[Score]
    draws: Floats
    chances: list[Chance]


# ------------------------------------------------------------------------------------- signals


@dataclass(frozen=True)
class SignalQuestion:
    """A signal of one session: `wanted` (T, k) on the grid; `bins` of each side."""

    session: Session
    wanted: Matrix
    bins: dict[str, NDArray[np.int64]]
    mean: Matrix
    scale: Matrix

    @classmethod
    def of(cls, session: Session, name: str) -> "SignalQuestion":
        """Raises InputError if a side is empty or holds no value of the signal."""
        wanted = traces(session.recording, name, session.bin_s)
        bins = {}
        for side in SIDES:
            spans = [np.arange(a, b) for a, b in session.pieces(side)]
            bins[side] = np.concatenate(spans) if spans else np.arange(0)
            if not np.isfinite(wanted[bins[side]]).all(axis=1).any():
                raise InputError(
                    f"{session.recording.id}: the {side} side holds no value of {name}."
                )
        training = wanted[bins["train"]].astype(np.float64)
        deviation = np.nanstd(training, axis=0)
        scale = np.where(deviation > 0, deviation, 1.0).astype(np.float32)
        mean = np.nanmean(training, axis=0).astype(np.float32)
        return cls(session, wanted, bins, mean, scale)

    def standard(self, side: str) -> Matrix:
        """(n, k) targets of a side, in units of the training side."""
        return np.asarray((self.wanted[self.bins[side]] - self.mean) / self.scale)

    def stretches(self, side: str) -> list[Stretch]:
        """Pieces of a side with standardised targets."""
        recording, bin_s = self.session.recording, self.session.bin_s
        return [
            Stretch(binning.activity(recording, a, b, bin_s),
                    (self.wanted[a:b] - self.mean) / self.scale)
            for a, b in self.session.pieces(side)
        ]  # fmt: skip

    def answer(self, method: str, tuned: Tuned) -> tuple[BySide, Matrix]:
        """(features of each side, decoded test bins (n, k) in the signal's units)."""
        if method in tuned:
            ours = SignalAnswers.of(tuned[method], self.session.recording, self.session.device)
            features = {side: ours.features(self.session.sides[side]) for side in SIDES}
            return features, ours.read(features["test"])
        if method == PROBE:
            features = self._frozen()
            rows = [[known(features[s], self.standard(s))] for s in ("train", "valid")]
            standard = tuned_line(*rows)[0](features["test"])
        else:
            made = SIGNAL_DECODERS[method](self.session.bin_s, self.session.causal)
            pieces = {side: self.stretches(side) for side in SIDES}
            made.fit(pieces["train"], pieces["valid"])
            counts = {side: [s.counts for s in part] for side, part in pieces.items()}
            features = {s: np.concatenate(made.features(part)) for s, part in counts.items()}
            standard = np.concatenate(made.predict(counts["test"]))
        return features, np.asarray(standard * self.scale + self.mean)

    def _frozen(self) -> BySide:
        s = self.session
        return {side: latents(s.direct, s.recording, s.sides[side])[0] for side in SIDES}


def decode_signal(
    session: Session,
    name: str,
    methods: Sequence[str],
    tuned: Tuned,
    others: Sequence[Matrix],
    *,
    seed: int,
    given: Mapping[str, AnswerSignal] = NONE_GIVEN,
) -> Iterator[Decoded]:
    """Every method's scores. `others`: the same signal of other sessions, (T, k) each, for chance.

    `given`: methods that were taught elsewhere. Raises InputError if a side holds no value of the signal.
    """
    question = SignalQuestion.of(session, name)
    at = question.bins["test"]
    block = at // max(round(BLOCK_S / session.bin_s), 1)
    trial = _trial_of(session.recording, (at + 0.5) * session.bin_s)
    wanted = question.wanted[at].astype(np.float64)
    standard = np.asarray((question.wanted - question.mean) / question.scale)
    null_targets = {
        nulls.SHIFT: nulls.shifted_signals(standard, seed),
        nulls.PSEUDO: nulls.other_signals(
            [np.asarray((o - question.mean) / question.scale) for o in others], len(standard), seed
        ),
    }
    for method in methods:
        ask = given.get(method) or partial(SignalQuestion.answer, method=method, tuned=tuned)
        features, decoded = ask(question)
        read = decoded.astype(np.float64)
        there = np.isfinite(wanted).all(axis=1)
        drawn = r2_draws(wanted[there], read[there], block[there], seed)[:, 0]
        scores = signal_scores(wanted, read, block, trial, seed)
        found = [nulls.signal_chance(null, features, question.bins, standard, draws)
                 for null, draws in null_targets.items()]  # fmt: skip
        yield Decoded(method, session.recording.id, scores, drawn, [c for c in found if c])


def _trial_of(recording: Recording, times_s: NDArray[np.floating]) -> NDArray[np.int64]:
    """(n,) index of the trial at each time, -1 outside; of trials that overlap, the later."""
    out = np.full(len(times_s), -1)
    if len(recording.trials):
        spans = zip(recording.trials["start_s"], recording.trials["stop_s"], strict=True)
        for index, (start, stop) in enumerate(spans):
            out[(times_s >= start) & (times_s < stop)] = index
    return out


# -------------------------------------------------------------------------------------- labels


def label_sides(session: Session, name: str) -> dict[str, Labels]:
    """Trials of each side, those wholly inside one of its pieces.

    Raises InputError if a side holds fewer than ten.
    """
    every = labels(session.recording, name, session.bin_s)
    out = {side: every.inside(session.pieces(side)) for side in SIDES}
    for side, part in out.items():
        if len(part) < FEWEST_TRIALS:
            raise InputError(
                f"{session.recording.id}: the {side} side holds {len(part)} trials with {name}, "
                f"fewer than {FEWEST_TRIALS}."
            )
    return out


def decode_label(
    session: Session,
    name: str,
    methods: Sequence[str],
    tuned: Tuned,
    others: Sequence[Names],
    *,
    seed: int,
    given: Mapping[str, AnswerLabel] = NONE_GIVEN,
) -> Iterator[Decoded]:
    """Every method's balanced accuracy. `others`: the same label of other sessions, for chance.

    `given`: methods that were taught elsewhere. Raises InputError if a side holds too few trials, or training trials have one label alone.
    """
    sides = label_sides(session, name)
    everything = np.concatenate([sides[s].label for s in SIDES])
    edges = np.cumsum([0, *(len(sides[s]) for s in SIDES)])
    rows = {s: np.arange(edges[i], edges[i + 1]) for i, s in enumerate(SIDES)}
    n = len(everything)
    null_targets = {nulls.SHIFT: nulls.shifted_labels(everything, seed)}
    if others:
        null_targets[nulls.PSEUDO] = nulls.other_labels(others, n, seed)
    else:
        null_targets[nulls.MARKOV] = nulls.markov_labels(sides["train"].label, n, seed)
    for method in methods:
        ask = given.get(method) or partial(_label_answer, method=method, tuned=tuned)
        features, answer = ask(session, sides)
        c = tuned_sorter(features["train"], sides["train"].label, features["valid"],
                         sides["valid"].label)[0].c  # fmt: skip
        found = [nulls.label_chance(null, features, rows, c, draws)
                 for null, draws in null_targets.items()]  # fmt: skip
        wanted = sides["test"].label
        yield Decoded(method, session.recording.id, label_scores(wanted, answer, seed),
                      label_draws(wanted, answer, seed), [c for c in found if c])  # fmt: skip


def _label_answer(
    session: Session, sides: Mapping[str, Labels], method: str, tuned: Tuned
) -> tuple[BySide, Names]:
    """(features of each side's trials, labels told of the test trials)."""
    recording = session.recording
    if method in tuned:
        direct = Direct.of(tuned[method].trained, recording, session.device)
        features = _each(
            sides, lambda t: pooled(tuned[method], trial_latents(direct, recording, t))
        )
        return features, told(tuned[method], features["test"])
    if method == PROBE:
        features = _each(sides, lambda t: _means(trial_latents(session.direct, recording, t)))
        truth = sides["train"].label, sides["valid"].label
        made = tuned_sorter(features["train"], truth[0], features["valid"], truth[1])[0]
        return features, made(features["test"])
    decoder = LABEL_DECODERS[method](session.bin_s, session.causal)
    counts = {
        s: trial_counts(recording, t, session.bin_s, session.longest) for s, t in sides.items()
    }
    decoder.fit(*(Trials(counts[s], sides[s].label) for s in ("train", "valid")))
    return {s: decoder.features(part) for s, part in counts.items()}, decoder.predict(
        counts["test"]
    )


def _each(sides: Mapping[str, Labels], rows: Callable[[Labels], Matrix]) -> BySide:
    return {side: rows(trials) for side, trials in sides.items()}


def _means(trials: Sequence[Matrix]) -> Matrix:
    """(n, PARTS * D): as a label head pools before it has learned anything."""
    blank = LabelHead(trials[0].shape[1], 1)
    with torch.no_grad():
        return np.stack([blank.pooled(torch.from_numpy(z)[None])[0].numpy() for z in trials])
