"""An animal left out: a signal decoded from its first minutes, with what the other animals teach.

Directions and standardisation are read off the activity of its training side, targets are learned
from in the first minutes of that side alone, and nothing looks at its test side before its scores.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals, first_minutes
from neurofm.data.recording import Recording
from neurofm.data.targets import side_pieces, traces
from neurofm.errors import InputError
from neurofm.evaluate import nulls
from neurofm.evaluate.decode import BLOCK_S, MODEL, Decoded
from neurofm.evaluate.decode_scores import flattened, r2_draws, signal_scores
from neurofm.evaluate.drawn import Array, DrawnConfig, Factors, Prior, lagged, taught
from neurofm.evaluate.nulls import Chance
from neurofm.evaluate.readout import known, tuned_line
from neurofm.evaluate.streams import Matrix

RIDGE, MEAN = "ridge", "mean"
RIDGE_REACH = 4  # bins on both sides of one, as the decoders of spikes have
N_NULLS = 20
Sides = dict[str, Intervals]


@dataclass(frozen=True)
class Animal:
    """A recording of traces, its `sides` (train, valid, test), and its factors on the grid of bins.

    `reach`: lags on both sides, in bins.
    """

    recording: Recording
    sides: Sides
    bin_s: float
    factors: Factors
    reach: int

    @classmethod
    def of(cls, recording: Recording, sides: Sides, bin_s: float, config: DrawnConfig) -> "Animal":
        """Raises InputError for activity that is not traces, and where the training side is empty."""
        if (recording.channels.kind != "real").any():
            raise InputError(
                f"{recording.id}: it holds spikes or counts, and this takes traces; for counts, "
                "`neurofm decode RUN --new STORE` decodes new animals."
            )
        pieces = activity_pieces(recording, sides["train"], bin_s)
        try:
            factors = Factors.of(pieces, config.factors)
        except InputError as error:
            raise InputError(f"{recording.id}, training side: {error}") from None
        return cls(recording, sides, bin_s, factors, round(config.reach_s / bin_s))

    def factor_rows(self, part: Intervals, n: int) -> Array:
        """(bins, taps * n) lagged factors, the first n, of the pieces of a part."""
        pieces = [self.factors(p)[:, :n] for p in activity_pieces(self.recording, part, self.bin_s)]
        return lagged(pieces, self.reach) if pieces else np.empty((0, (2 * self.reach + 1) * n))

    def neuron_rows(self, part: Intervals) -> Matrix:
        """(bins, taps * C) lagged standardised traces."""
        plain = Factors(self.factors.mean, self.factors.scale, np.eye(len(self.factors.mean)))
        pieces = [plain(p) for p in activity_pieces(self.recording, part, self.bin_s)]
        width = (2 * RIDGE_REACH + 1) * len(plain.mean)
        return (lagged(pieces, RIDGE_REACH) if pieces else np.empty((0, width))).astype(np.float32)

    def bins(self, part: Intervals) -> NDArray[np.int64]:
        """(n,) bins of the pieces of a part, in the order of its rows."""
        spans = side_pieces(self.recording, part, self.bin_s)
        return np.concatenate([np.arange(a, b) for a, b in spans]) if spans else np.arange(0)

    def first(self, minutes: float | None) -> Intervals:
        """The first so many minutes of the training side; all of it for None."""
        return first_minutes(self.sides["train"], minutes)


def activity_pieces(recording: Recording, part: Intervals, bin_s: float) -> list[NDArray[Any]]:
    """Traces (T, C) of each piece of a part."""
    return [binning.activity(recording, a, b, bin_s)
            for a, b in side_pieces(recording, part, bin_s)]  # fmt: skip


def prior_of(teachers: Sequence[Animal], name: str, config: DrawnConfig) -> Prior:
    """What the training and validation sides of other animals say about the weights of a signal.

    All axes count as targets of their own. Raises InputError where no teacher has a value.
    """
    n = min(a.factors.axes.shape[1] for a in teachers)
    rows = []
    for animal in teachers:
        wanted = traces(animal.recording, name, animal.bin_s).astype(np.float64)
        parts = [animal.sides[side] for side in ("train", "valid")]
        x = np.concatenate([animal.factor_rows(part, n) for part in parts])
        y = wanted[np.concatenate([animal.bins(part) for part in parts])]
        rows += [_there(x, y[:, k]) for k in range(y.shape[1])]
    return taught(rows, 2 * teachers[0].reach + 1, config)


def _there(x: Array, y: Array) -> tuple[Array, Array]:
    return x[np.isfinite(y)], y[np.isfinite(y)]


@dataclass(frozen=True)
class Question:
    """A signal of an animal left out, (T, K) on the grid; `prior`: what the others say of it."""

    animal: Animal
    name: str
    prior: Prior
    wanted: Array

    @classmethod
    def of(cls, animal: Animal, name: str, prior: Prior) -> "Question":
        """Raises InputError where the test side holds no value of the signal."""
        wanted = traces(animal.recording, name, animal.bin_s).astype(np.float64)
        if not np.isfinite(wanted[animal.bins(animal.sides["test"])]).all(axis=1).any():
            raise InputError(f"{animal.recording.id}: the test side holds no value of {name}.")
        return cls(animal, name, prior, wanted)

    def drawn(
        self, minutes: float | None, part: Intervals, targets: Iterable[Array]
    ) -> Iterator[Array]:
        """(bins, K) what is told of a part, from the first minutes of each of `targets` (T, K)."""
        animal, n = self.animal, min(len(self.prior.strength), self.animal.factors.axes.shape[1])
        seen = animal.first(minutes)
        x, asked = animal.factor_rows(seen, n), animal.factor_rows(part, n)
        prior, at = self.prior.narrowed(n), animal.bins(seen)
        for wanted in targets:
            y = wanted[at]
            if np.isfinite(y).sum(axis=0).min() < 2:
                raise InputError(f"{animal.recording.id}: the first minutes of the training side hold fewer "
                                 f"than two values of {self.name}; give more minutes.")  # fmt: skip
            each = [prior.decode(_there(x, y[:, k]), asked) for k in range(y.shape[1])]
            yield np.stack(each, axis=1)

    def whole(self, minutes: float | None) -> Matrix:
        """(T, K) what is told of all valid time, on the grid; NaN elsewhere."""
        out = np.full(self.wanted.shape, np.nan, dtype=np.float32)
        valid = self.animal.recording.valid
        [out[self.animal.bins(valid)]] = self.drawn(minutes, valid, [self.wanted])
        return out

    def ridge(self, minutes: float | None) -> Array:
        """(bins, K) of the test side by ridge on lags of all neurons, of the same minutes.

        Its penalty is chosen on contiguous parts of them; of the whole training side, on the validation side.
        """
        animal, seen = self.animal, self.animal.first(minutes)
        checks = animal.sides["valid"] if minutes is None else Intervals.none()
        y = self.wanted[animal.bins(seen)]
        mean, deviation = np.nanmean(y, axis=0), np.nanstd(y, axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        pairs = [known(animal.neuron_rows(part), ((self.wanted[animal.bins(part)] - mean) / scale)
                       .astype(np.float32)) for part in (seen, checks)]  # fmt: skip
        solved, _ = tuned_line(pairs[:1], pairs[1:])
        told = solved(animal.neuron_rows(animal.sides["test"]))
        return np.asarray(told.astype(np.float64) * scale + mean)

    def chance(self, minutes: float | None, seed: int) -> Chance | None:
        """Scores on its targets moved in a circle, in training and test; the prior stays."""
        test = self.animal.sides["test"]
        at, values = self.animal.bins(test), []
        shifted = list(nulls.shifted_signals(self.wanted.astype(np.float32), seed, N_NULLS))
        targets = (moved.astype(np.float64) for moved in shifted)
        for moved, told in zip(shifted, self.drawn(minutes, test, targets), strict=True):
            there = np.isfinite(moved[at]).all(axis=1)
            values.append(flattened(moved[at][there].astype(np.float64), told[there]))
        return Chance.of(nulls.SHIFT, values)

    def scored(self, method: str, told: Array, seed: int, chance: Chance | None = None) -> Decoded:
        """Scores of what is told of the test side, over blocks of 10 s."""
        at = self.animal.bins(self.animal.sides["test"])
        block, wanted = at // max(round(BLOCK_S / self.animal.bin_s), 1), self.wanted[at]
        there = np.isfinite(wanted).all(axis=1)
        draws = r2_draws(wanted[there], told[there], block[there], seed)[:, 0]
        scores = signal_scores(wanted, told, block, np.full(len(at), -1), seed)
        return Decoded(method, self.animal.recording.id, scores, draws, [chance] if chance else [])

    def decoded(self, minutes: float | None, seed: int) -> Iterator[Decoded]:
        """`model`, drawn to the other animals; `ridge` and `mean` of the same minutes."""
        test = self.animal.sides["test"]
        [told] = self.drawn(minutes, test, [self.wanted])
        yield self.scored(MODEL, told, seed, self.chance(minutes, seed))
        yield self.scored(RIDGE, self.ridge(minutes), seed)
        mean = np.nanmean(self.wanted[self.animal.bins(self.animal.first(minutes))], axis=0)
        yield self.scored(MEAN, np.broadcast_to(mean, told.shape), seed)
