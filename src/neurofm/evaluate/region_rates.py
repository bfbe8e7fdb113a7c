"""Decoding from the rates of regions: what animals have in common that share no unit.

The rival of a model that decodes a new animal by the targets of others. A region's mean activity
exists in each of them, so a linear decoder of it can be taught on some and asked of another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurofm.data import binning
from neurofm.data.targets import Labels
from neurofm.evaluate.decode import BySide, Session, SignalQuestion
from neurofm.evaluate.decoders.logistic import Logistic
from neurofm.evaluate.decoders.ridge import Ridge
from neurofm.evaluate.readout import Stretch
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.trial_readout import Names, Trials

SIDES_TAUGHT = ("train", "valid")


@dataclass(frozen=True)
class RegionRates:
    """Counts of a session's regions together, `usual` (R,) being their mean in its training side.

    `members` (R, C): which channels are of which region.
    """

    session: Session
    members: Matrix
    usual: Matrix

    @classmethod
    def of(cls, session: Session, regions: Sequence[str]) -> "RegionRates":
        """Of the named regions, which the session need not all have."""
        here = session.recording.channels.region
        members = np.array([here == name for name in regions]).astype(np.float32)
        new = cls(session, members, np.ones(len(regions), np.float32))
        pieces = [new(first, stop) for first, stop in session.pieces("train")]
        return cls(session, members, np.concatenate(pieces).mean(axis=0))

    def __call__(self, first: int, stop: int) -> Matrix:
        """(stop - first, R) relative to the usual; 1 in a region without units or without spikes."""
        recording, bin_s = self.session.recording, self.session.bin_s
        counts = binning.activity(recording, first, stop, bin_s).astype(np.float32)
        there = self.usual > 0
        return np.where(there, counts @ self.members.T / np.where(there, self.usual, 1), 1)

    def side(self, name: str) -> list[Matrix]:
        """The pieces of one side."""
        return [self(first, stop) for first, stop in self.session.pieces(name)]

    def trials(self, trials: Labels) -> list[Matrix]:
        """(T, R) of each trial, cut to the model's window."""
        return [self(int(a), min(int(b), int(a) + self.session.longest))
                for a, b in zip(trials.first, trials.stop, strict=True)]  # fmt: skip


def regions_of(sessions: Sequence[Session]) -> list[str]:
    """The regions of any of them, in order."""
    return sorted({str(name) for s in sessions for name in s.recording.channels.region})


@dataclass(frozen=True)
class RegionSignals:
    """Ridge on region rates of several sessions, asked about another."""

    made: Ridge
    regions: list[str]
    mean: Mapping[str, Matrix]
    scale: Mapping[str, Matrix]

    @classmethod
    def taught(
        cls,
        teachers: Sequence[Session],
        wanted: Mapping[str, Matrix],
        mean: Mapping[str, Matrix],
        scale: Mapping[str, Matrix],
    ) -> "RegionSignals":
        """`wanted`: {recording: (T, K)} of the teachers; `mean`, `scale`: {recording: (K,)} of all."""
        regions, first = regions_of(teachers), teachers[0]
        parts: dict[str, list[Stretch]] = {side: [] for side in SIDES_TAUGHT}
        for session in teachers:
            rates, name = RegionRates.of(session, regions), session.recording.id
            standard = (wanted[name] - mean[name]) / scale[name]
            for side, into in parts.items():
                into += [Stretch(rates(a, b), standard[a:b]) for a, b in session.pieces(side)]
        made = Ridge(first.bin_s, first.causal)
        made.fit(parts["train"], parts["valid"])
        return cls(made, regions, mean, scale)

    def __call__(self, question: SignalQuestion) -> tuple[BySide, Matrix]:
        """(features of each side, decoded test bins (n, k) in the signal's units)."""
        rates = RegionRates.of(question.session, self.regions)
        features = {s: np.concatenate(self.made.features(rates.side(s))) for s in question.bins}
        name = question.session.recording.id
        said = np.concatenate(self.made.predict(rates.side("test")))
        return features, np.asarray(said * self.scale[name] + self.mean[name])


@dataclass(frozen=True)
class RegionLabels:
    """Logistic regression on region rates of the trials of several sessions, asked about another."""

    made: Logistic
    regions: list[str]

    @classmethod
    def taught(
        cls, teachers: Sequence[Session], trials: Mapping[str, Mapping[str, Labels]]
    ) -> "RegionLabels":
        """`trials`: {recording: {side: its trials}} of the teachers."""
        regions, first = regions_of(teachers), teachers[0]
        every = [(RegionRates.of(s, regions), trials[s.recording.id]) for s in teachers]
        parts = [
            Trials(
                [one for rates, of in every for one in rates.trials(of[side])],
                np.concatenate([of[side].label for _, of in every]),
            )
            for side in SIDES_TAUGHT
        ]
        made = Logistic(first.bin_s, first.causal)
        made.fit(*parts)
        return cls(made, regions)

    def __call__(self, session: Session, sides: Mapping[str, Labels]) -> tuple[BySide, Names]:
        """(features of each side's trials, labels told of the test trials)."""
        rates = RegionRates.of(session, self.regions)
        counts = {side: rates.trials(part) for side, part in sides.items()}
        features = {side: self.made.features(part) for side, part in counts.items()}
        return features, self.made.predict(counts["test"])
