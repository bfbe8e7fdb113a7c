"""Decoding a new session from a few minutes of it, with a model that knows other sessions.

The activity of the new session's training side may be used without its targets (for the mean and
scale of each channel); of its targets, only the first minutes. Its test side is not looked at.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals, first_minutes
from neurofm.data.recording import Recording
from neurofm.data.targets import side_pieces, traces
from neurofm.evaluate.decode import BLOCK_S
from neurofm.evaluate.decode_scores import signal_scores
from neurofm.evaluate.decoders.ridge import Ridge
from neurofm.evaluate.ours import SignalAnswers
from neurofm.evaluate.readout import Stretch
from neurofm.evaluate.streams import Matrix, Scale
from neurofm.evaluate.summary import About
from neurofm.model.checkpoint import Trained
from neurofm.results import Result
from neurofm.train.curve import Curve, fitted
from neurofm.train.extend import extended
from neurofm.train.finetune import (
    FinetuneConfig,
    Finetuned,
    finetune_signals,
)
from neurofm.train.heads import SignalHead
from neurofm.train.target_scale import target_scale

MODEL, RIDGE, SAME_DAY, OTHER_DAY, OTHER_DAYS = (
    "model", "ridge", "ridge-same-day", "ridge-other-day", "ridge-other-days")  # fmt: skip
LINE, CURVED = "model-line", "ridge-same-day-curved"  # without a curve; with one of its own
Sides = Mapping[str, Mapping[str, Intervals]]  # side -> recording -> intervals


@dataclass(frozen=True)
class Signals:
    """Several signals side by side: which columns each has, and how much an axis counts in training."""

    columns: dict[str, slice]
    values: dict[str, Matrix]

    @classmethod
    def of(
        cls, names: Sequence[str], new: Recording, others: Sequence[Recording], bin_s: float
    ) -> "Signals":
        """Axes as in the new recording; NaN where another lacks one.

        They are matched by name where both recordings name them; else all are, where they are as many.
        """
        first, columns = 0, {}
        for name in names:
            k = new.signals[name].values.shape[1]
            columns[name] = slice(first, first + k)
            first += k
        values = {}
        for recording in (*others, new):
            joined = np.full((binning.n_bins(recording, bin_s), first), np.nan, dtype=np.float32)
            for name, at in columns.items():
                there, here = _matched(recording, new, name)
                if len(there):
                    joined[:, at.start + here] = traces(recording, name, bin_s)[:, there]
            values[recording.id] = joined
        return cls(columns, values)

    @property
    def weight(self) -> Matrix:
        """(K,): every signal counts the same, however many axes it has."""
        parts = [np.full(c.stop - c.start, 1 / (c.stop - c.start)) for c in self.columns.values()]
        return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class NewSession:
    """A new session, the others, and a model that need not have seen the new one.

    `sides`: train, valid and test of every recording. `head_start`: how the heads are trained on the
    others; `few`: how all goes on with the first minutes of the new one.
    """

    trained: Trained
    others: tuple[Recording, ...]
    new: Recording
    signals: Signals
    sides: Sides
    head_start: FinetuneConfig
    few: FinetuneConfig
    device: torch.device

    @property
    def bin_s(self) -> float:
        """The model's bin width."""
        return float(self.trained.config["bin_s"])

    def train(self, minutes: float) -> dict[str, Intervals]:
        """All of the others' training sides, the first minutes of the new one's."""
        spans = {r.id: self.sides["train"][r.id] for r in self.others}
        return spans | {self.new.id: first_minutes(self.sides["train"][self.new.id], minutes)}

    def ours(self, minutes: Sequence[float]) -> Iterator[tuple[float, SignalAnswers]]:
        """The model after each number of minutes; what the others teach is learned once.

        The curves behind its heads are those of the others, drawn to what the minutes show.
        """
        common: Curve | None = None
        for some, tuned in self._tuned(minutes):
            common = common or self._common_curve(tuned)
            answers, curve = SignalAnswers.of(tuned, self.new, self.device), common
            if some > 0:
                pair = answers.pair(self.train(some)[self.new.id], self.signals.values[self.new.id])
                curve = fitted([pair], common, self.bin_s)
            yield some, answers.on_curve(curve)

    def _common_curve(self, tuned: Finetuned) -> Curve:
        """Of all other days together, from the model that they have taught."""
        values = self.signals.values
        pairs = (SignalAnswers.of(tuned, r, self.device).pair(self.sides["train"][r.id], values[r.id])
                 for r in self.others)  # fmt: skip
        n_axes = values[self.new.id].shape[1]
        return fitted(pairs, Curve.straight(n_axes), self.bin_s)

    def _tuned(self, minutes: Sequence[float]) -> Iterator[tuple[float, Finetuned]]:
        known = extended(self.trained, [*self.others, self.new], self.sides["train"], self.few.seed)
        everyone = [*self.others, self.new]
        values, weight = self.signals.values, self.signals.weight
        none = Intervals.none()
        checked = {r.id: self.sides["valid"].get(r.id, none) for r in self.others}
        first = finetune_signals(known, everyone, values, self.train(0), checked, self.head_start,
                                 device=self.device, weight=weight)  # fmt: skip
        for some in minutes:
            if some == 0:
                yield some, first
                continue
            assert isinstance(first.head, SignalHead)
            scaled = target_scale(values, self.train(some), self.bin_s)
            yield some, finetune_signals(first.trained, everyone, values, self.train(some), {},
                                         self.few, device=self.device, weight=weight,
                                         focus=self.new.id, scaled_by=scaled,
                                         head=first.head)  # fmt: skip

    def rivals(
        self, minutes: Sequence[float], name: str
    ) -> Iterator[tuple[float | None, str, Matrix]]:
        """(minutes or None for all, predictor, decoded test bins) of ridge in its several ways."""
        at = self.signals.columns[name]
        test = self._stretches(self.new, self.sides["test"][self.new.id], at)
        counts = [s.counts for s in test]
        here = Scale.of([s.counts for s in self._train_of(self.new, at)], _all(self.new))
        for some in (m for m in minutes if m > 0):
            part = first_minutes(self.sides["train"][self.new.id], some)
            train = self._stretches(self.new, part, at)
            yield some, RIDGE, self._ridge(train, [], counts, here)[0]
        valid = self._stretches(self.new, self.sides["valid"][self.new.id], at)
        plain, curved = self._ridge(self._train_of(self.new, at), valid, counts, here)
        yield None, SAME_DAY, plain
        yield None, CURVED, curved
        same = [r for r in self.others if _same_channels(r, self.new)]
        usable = [r for r in same if np.isfinite(self.signals.values[r.id][:, at]).all(1).any()]
        if not usable:
            return
        nearest = _nearest(usable, self.new, [*self.others, self.new])
        for predictor, days in ((OTHER_DAY, [nearest]), (OTHER_DAYS, usable)):
            train = [s for r in days for s in self._train_of(r, at)]
            checks = [s for r in days for s in self._scaled(r, "valid", at)]
            yield None, predictor, self._ridge(train, checks, counts, here)[0]

    def _ridge(
        self,
        train: Sequence[Stretch],
        valid: Sequence[Stretch],
        counts: Sequence[NDArray[np.uint8]],
        here: Scale,
    ) -> tuple[Matrix, Matrix]:
        """What it decodes, and that on the curve of what it says of the training stretches.

        Targets are standardised over these, counts by each day's own moments.
        """
        every = np.concatenate([s.wanted for s in train]).astype(np.float64)
        mean, deviation = np.nanmean(every, axis=0), np.nanstd(every, axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)

        def standard(s: Stretch) -> Stretch:
            return replace(s, wanted=((s.wanted - mean) / scale).astype(np.float32))

        made = Ridge(self.bin_s, self.trained.model.config.backbone.causal)
        made.fit([standard(s) for s in train], [standard(s) for s in valid])
        seen = np.concatenate(made.predict([s.counts for s in train]))
        wanted = np.concatenate([standard(s).wanted for s in train])
        made.scale = here
        said = np.concatenate(made.predict(counts))
        curve = fitted([(seen, wanted)], Curve.straight(said.shape[1]), self.bin_s)
        return np.asarray(said * scale + mean), np.asarray(curve(said) * scale + mean)

    def _train_of(self, recording: Recording, at: slice) -> list[Stretch]:
        return self._scaled(recording, "train", at)

    def _scaled(self, recording: Recording, side: str, at: slice) -> list[Stretch]:
        """Stretches of a side, to be standardised by the recording's own training activity."""
        training = self._stretches(recording, self.sides["train"][recording.id], at)
        scale = Scale.of([s.counts for s in training], _all(recording))
        part = self._stretches(recording, self.sides[side][recording.id], at)
        return [replace(s, scale=scale) for s in part]

    def _stretches(self, recording: Recording, side: Intervals, at: slice) -> list[Stretch]:
        values = self.signals.values[recording.id][:, at]
        return [
            Stretch(binning.activity(recording, a, b, self.bin_s), values[a:b])
            for a, b in side_pieces(recording, side, self.bin_s)
        ]


def decode_new(
    session: NewSession, minutes: Sequence[float], about: About | None = None
) -> Iterator[list[Result]]:
    """Scores on the new session's test side, as soon as a predictor has answered.

    Predictors: `model` and `ridge` for each number of minutes (task `decode:SIGNAL@Mmin`); for the
    whole day (task `decode:SIGNAL`) `ridge-same-day`, also with a curve behind it, and ridge of the
    nearest other day and of all other days, counts standardised by each day's own training
    activity, where ids are shared. `model-line` is the model without its curves.
    """
    yield from decode_rivals(session, minutes, about)
    yield from decode_ours(session, minutes, about)


def decode_rivals(
    session: NewSession, minutes: Sequence[float], about: About | None = None
) -> Iterator[list[Result]]:
    """The ridges of `decode_new` alone."""
    for name in session.signals.columns:
        for some, predictor, decoded in session.rivals(minutes, name):
            yield _results(session, name, predictor, some, decoded, about)


def decode_ours(
    session: NewSession, minutes: Sequence[float], about: About | None = None
) -> Iterator[list[Result]]:
    """The model of `decode_new` alone."""
    for some, answers in session.ours(minutes):
        latents = answers.features(session.sides["test"][session.new.id])
        for predictor, ours in ((MODEL, answers), (LINE, replace(answers, curve=None))):
            decoded = ours.read(latents)
            for name, at in session.signals.columns.items():
                yield _results(session, name, predictor, some, decoded[:, at], about)


def _results(
    session: NewSession,
    name: str,
    predictor: str,
    minutes: float | None,
    decoded: Matrix,
    about: About | None,
) -> list[Result]:
    about, at = about or About(), session.signals.columns[name]
    pieces = side_pieces(session.new, session.sides["test"][session.new.id], session.bin_s)
    bins = np.concatenate([np.arange(a, b) for a, b in pieces])
    wanted = session.signals.values[session.new.id][bins, at].astype(np.float64)
    block = bins // max(round(BLOCK_S / session.bin_s), 1)
    scores = signal_scores(
        wanted, decoded.astype(np.float64), block, np.full(len(bins), -1), about.seed
    )
    task = f"decode:{name}" if minutes is None else f"decode:{name}@{minutes:g}min"
    return [Result(predictor=predictor, task=task, recording=session.new.id, split=about.split,
                   metric=s.metric, value=s.value, low=s.low, high=s.high, n=s.n,
                   null="test mean", seed=about.seed, unit_of_n=s.unit_of_n, run=about.run,
                   fingerprint=about.fingerprint) for s in scores]  # fmt: skip


def _matched(
    recording: Recording, new: Recording, name: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Columns of a signal of one recording, and which of the new one's they are."""
    if name not in recording.signals:
        return np.arange(0), np.arange(0)
    held, wanted = recording.signals[name], new.signals[name]
    if held.axes and wanted.axes:
        both = [axis for axis in wanted.axes if axis in held.axes]
        pairs = [[held.axes.index(axis), wanted.axes.index(axis)] for axis in both]
        there, here = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
        return there, here
    n = wanted.values.shape[1]
    same = np.arange(n if held.values.shape[1] == n else 0)
    return same, same


def _all(recording: Recording) -> NDArray[np.intp]:
    return np.arange(len(recording.channels))


def _same_channels(a: Recording, b: Recording) -> bool:
    return np.array_equal(a.channels.id, b.channels.id)


def _nearest(usable: Sequence[Recording], new: Recording, every: Sequence[Recording]) -> Recording:
    """The one nearest in the order of ids, the earlier of two: ids that hold a date are in order."""
    order = sorted(r.id for r in every)
    place = order.index(new.id)
    return min(usable, key=lambda r: (abs(order.index(r.id) - place), order.index(r.id)))
