"""Scores of people never seen: folds over people, a score each, an interval over people.

Windows are never pooled: two windows of one person are alike, so that a person is what is left out,
scored and resampled. The worst person is said beside the mean.
Shapes: N windows, L labels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError
from neurofm.evaluate.metrics import Floats, balanced_accuracy, mean_interval
from neurofm.seeding import generator


@dataclass(frozen=True)
class PeopleScore:
    """The mean over people in [`low`, `high`], 95% bootstrap over people.

    `each`: {person: score}; `worst`: the person of the lowest.
    """

    value: float
    low: float
    high: float
    each: dict[str, float]

    @property
    def worst(self) -> tuple[str, float]:
        """(person, score) of the lowest score."""
        return min(self.each.items(), key=lambda pair: pair[1])

    @classmethod
    def of(cls, each: dict[str, float], seed: int = 0) -> "PeopleScore":
        """From a score each; NaN limits where there is one person."""
        return cls(
            *mean_interval(np.array(list(each.values())), generator(seed, "bootstrap people")), each
        )


def folds(people: ArrayLike, n_folds: int, seed: int = 0) -> list[NDArray[np.str_]]:
    """People dealt into `n_folds` groups of about one size: each is left out exactly once.

    Raises InputError if there are fewer people than groups, or fewer than two groups.
    """
    names = np.unique(np.asarray(people, dtype=np.str_))
    if not 2 <= n_folds <= len(names):
        raise InputError(f"{len(names)} people cannot be left out in {n_folds} groups.")
    order = generator(seed, "folds of people").permutation(names)
    return [np.sort(part) for part in np.array_split(order, n_folds)]


def score(person: ArrayLike, label: ArrayLike, told: ArrayLike, seed: int = 0) -> PeopleScore:
    """Balanced accuracy of each person's windows, (N,) each.

    Raises InputError if the three differ in length.
    """
    who, truth, said = (np.asarray(a) for a in (person, label, told))
    if not len(who) == len(truth) == len(said):
        raise InputError(f"{len(who)} people, {len(truth)} labels and {len(said)} answers differ.")
    each = {
        str(name): float(balanced_accuracy(truth[who == name], said[who == name]))
        for name in np.unique(who)
    }
    return PeopleScore.of(each, seed)


def together(piece: ArrayLike, chance: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """(first window of each piece, mean of its windows' chances (n, L)): one answer a recording."""
    p = np.asarray(chance, dtype=np.float64)
    _, first, at = np.unique(np.asarray(piece), return_index=True, return_inverse=True)
    total = np.zeros((len(first), p.shape[1]))
    np.add.at(total, at, p)
    return first, total / np.bincount(at)[:, None]


def paired_gain(ours: PeopleScore, other: PeopleScore, seed: int = 0) -> tuple[PeopleScore, int]:
    """(differences of the same people, how many of them are above zero).

    Raises InputError if the people differ.
    """
    if set(ours.each) != set(other.each):
        raise InputError("A paired gain needs the same people on both sides.")
    gain = {name: ours.each[name] - other.each[name] for name in ours.each}
    return PeopleScore.of(gain, seed), sum(v > 0 for v in gain.values())
