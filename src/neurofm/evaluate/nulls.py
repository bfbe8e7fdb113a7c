"""Chance: the same read-out fitted and tested on targets that belong to other activity.

Two neighbouring bins, or trials, are alike in the activity and in the target, so shuffled targets are too easy a null. Two nulls keep the
targets' own order: a *shift* moves all targets of the session in a circle; a *pseudo-session*
puts those of other sessions in their place (Harris 2020, "Nonsense correlations in neuroscience").
What is refitted is the last, linear layer of a decoder, on its features as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate import regression
from neurofm.evaluate.decode_scores import flattened
from neurofm.evaluate.metrics import balanced_accuracy
from neurofm.evaluate.readout import tuned_line
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.trial_readout import Names, sorter
from neurofm.seeding import generator

SHIFT, PSEUDO, MARKOV = "shift", "pseudo-session", "pseudo-session (Markov)"
N_DRAWS = 40


@dataclass(frozen=True)
class Chance:
    """Scores on null targets: their mean, 5th and 95th percentile over `n` draws."""

    null: str
    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, null: str, values: Sequence[float]) -> "Chance | None":
        """None where no value is finite."""
        known = np.array([v for v in values if np.isfinite(v)])
        if not len(known):
            return None
        low, high = np.percentile(known, [5, 95])
        return cls(null, float(known.mean()), float(low), float(high), len(known))


def shifted_signals(own: Matrix, seed: int, n: int = N_DRAWS) -> list[Matrix]:
    """The session's (T, k) targets moved in a circle by a tenth to nine tenths of their length."""
    rng = generator(seed, "circular shift")
    length = len(own)
    shifts = rng.integers(max(length // 10, 1), max(9 * length // 10, 2), n)
    return [np.roll(own, int(shift), axis=0) for shift in shifts]


def other_signals(
    others: Sequence[Matrix], length: int, seed: int, n: int = N_DRAWS
) -> list[Matrix]:
    """Targets of other sessions, each cut or repeated to `length` from a random place on."""
    rng = generator(seed, "pseudo-session")
    out = []
    for draw in range(n if others else 0):
        source = others[draw % len(others)]
        start = int(rng.integers(len(source)))
        out.append(source[(start + np.arange(length)) % len(source)])
    return out


def signal_chance(
    null: str,
    features: dict[str, Matrix],
    bins: dict[str, NDArray[np.int64]],
    own: Matrix,
    draws: Sequence[Matrix],
) -> Chance | None:
    """Flattened R2 of ridge on `features` {side: (n, F)} at `bins`, for each draw of (T, k) targets.

    The penalty is the one that suits the session's true targets `own`; unknown targets of a draw
    are left at their mean in training, and out of the test.
    """
    if not draws:
        return None
    truth = {s: own[bins[s]] for s in ("train", "valid")}
    rows = {s: np.isfinite(y).all(axis=1) for s, y in truth.items()}
    kept = {s: [(features[s][r], truth[s][r])] for s, r in rows.items()}
    power = tuned_line(kept["train"], kept["valid"])[0].power
    training = np.concatenate([_filled(draw[bins["train"]]) for draw in draws], axis=1)
    fitted = regression.design([(features["train"], training)])
    weights = regression.ridge(fitted, 10.0**power)
    read = fitted.project(features["test"]) @ weights + fitted.y_mean
    k, values = own.shape[1], []
    for at, draw in enumerate(draws):
        y = draw[bins["test"]].astype(float)
        there = np.isfinite(y).all(axis=1)
        decoded = read[:, at * k : (at + 1) * k].astype(float)
        values.append(flattened(y[there], decoded[there]) if there.sum() > 1 else np.nan)
    return Chance.of(null, values)


def _filled(y: Matrix) -> Matrix:
    n = np.maximum(np.isfinite(y).sum(axis=0), 1)
    return np.where(np.isfinite(y), y, np.nansum(y, axis=0) / n).astype(np.float32)


def shifted_labels(own: Names, seed: int, n: int = N_DRAWS) -> list[Names]:
    """The session's labels, in order of its trials, moved in a circle by some of the trials."""
    if len(own) < 3:
        return []
    moves = generator(seed, "trial shift").integers(1, len(own), n)
    return [np.roll(own, int(move)) for move in moves]


def other_labels(others: Sequence[Names], length: int, seed: int, n: int = N_DRAWS) -> list[Names]:
    """Labels of other sessions in their order, each from a random trial on."""
    rng = generator(seed, "pseudo-session")
    out = []
    for draw in range(n if others else 0):
        source = others[draw % len(others)]
        out.append(source[(int(rng.integers(len(source))) + np.arange(length)) % len(source)])
    return out


def markov_labels(own: Names, length: int, seed: int, n: int = N_DRAWS) -> list[Names]:
    """Sessions from a Markov chain with the session's own transitions: it keeps blocks of labels.

    Takes the place of other sessions where there is none.
    """
    names, at = np.unique(own, return_inverse=True)
    moves = np.full((len(names), len(names)), 0.5)  # half a transition of each kind beforehand
    np.add.at(moves, (at[:-1], at[1:]), 1)
    reach = np.cumsum(moves / moves.sum(axis=1, keepdims=True), axis=1)
    rng = generator(seed, "markov session")
    out = []
    for _ in range(n):
        state, path = int(rng.choice(at)), np.empty(length, dtype=np.int64)
        for trial, draw in enumerate(rng.random(length)):
            path[trial] = state
            state = min(int(np.searchsorted(reach[state], draw)), len(names) - 1)
        out.append(names[path])
    return out


def label_chance(
    null: str,
    features: dict[str, Matrix],
    rows: dict[str, NDArray[Any]],
    c: float,
    draws: Sequence[Names],
) -> Chance | None:
    """Balanced accuracy of logistic regression on `features` {side: (n, F)} for each draw of labels.

    `rows`: {side: index of each trial in the session's order}; `c`: the inverse penalty.
    """
    values: list[float] = []
    for draw in draws:
        train, test = draw[rows["train"]], draw[rows["test"]]
        if len(np.unique(train)) > 1:
            values.append(
                balanced_accuracy(test, sorter(features["train"], train, c)(features["test"]))
            )
    return Chance.of(null, values)
