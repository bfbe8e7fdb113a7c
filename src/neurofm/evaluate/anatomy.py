"""The region of a unit, told from numbers about it, in animals that were not learnt from.

Plain arrays in, predictions with their score out: features (U, F), region (U,) and subject (U,).
Each animal (or each tenth of them) is held out in turn; standardisation and penalty are fitted on
the other animals alone, the penalty by holding out animals among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError
from neurofm.evaluate.metrics import Floats, bounds
from neurofm.evaluate.probes import logistic
from neurofm.seeding import generator

METRIC = "macro_f1"
CS = (1e-3, 1e-2, 1e-1, 1.0)
MOST_FOLDS, MOST_INNER_FOLDS = 10, 4
FEWEST_ANIMALS = 5  # below it, intervals resample units
N_PERMUTATIONS = 5
N_BOOT = 2000

Names = NDArray[np.str_]


@dataclass(frozen=True)
class Told:
    """What was told of `n` units, each while its animal was held out.

    `region`, `predicted`, `subject`: (n,). `kept`: (U,) which of the units asked about these are.
    `chance`: macro-F1 of the same classifier where regions are shuffled within each animal.
    `penalties`: the C chosen for each fold.
    """

    region: Names
    predicted: Names
    subject: Names
    kept: NDArray[np.bool_]
    chance: float
    penalties: tuple[float, ...]
    seed: int

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions in question, sorted."""
        return tuple(np.unique(self.region).tolist())

    @property
    def value(self) -> float:
        """Macro-F1 over all held-out units together."""
        return _of(self.region, self.predicted)

    @property
    def by_animal(self) -> bool:
        """Whether intervals resample animals, not units."""
        return len(np.unique(self.subject)) >= FEWEST_ANIMALS

    @property
    def confusion(self) -> NDArray[np.int64]:
        """(R, R) units of a region (row) that were told to be of another (column)."""
        names = np.array(self.regions)
        out = np.zeros((len(names), len(names)), dtype=np.int64)
        np.add.at(
            out, (np.searchsorted(names, self.region), np.searchsorted(names, self.predicted)), 1
        )
        return out

    def draws(self) -> Floats:
        """(N_BOOT,) macro-F1 on resampled animals (or units); the same draws for the same units."""
        owner = self.subject if self.by_animal else np.arange(len(self.region)).astype(np.str_)
        names, at = np.unique(owner, return_inverse=True)
        hits = np.zeros((len(names), 3, len(self.regions)))
        np.add.at(hits, at, _hits(self.region, self.predicted, self.regions))
        rng = generator(self.seed, "bootstrap anatomy", len(names))
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), N_BOOT)
        sums = drawn.astype(np.float64) @ hits.reshape(len(names), -1)
        return macro_f1(sums.reshape(N_BOOT, 3, -1))

    def interval(self) -> tuple[float, float, float]:
        """(value, low, high), 95%."""
        return (self.value, *bounds(self.draws()))

    def gain(self, other: "Told") -> tuple[float, float, float]:
        """(value, low, high) of the paired difference to what other features tell of these units.

        Raises InputError if the two were asked about different units.
        """
        if not (np.array_equal(self.region, other.region)
                and np.array_equal(self.subject, other.subject)):  # fmt: skip
            raise InputError("Two sets of features were asked about different units.")
        return (self.value - other.value, *bounds(self.draws() - other.draws()))


def askable(region: ArrayLike, subject: ArrayLike) -> NDArray[np.bool_]:
    """(U,) units whose region is named and occurs in two animals or more: it can be learnt.

    Raises InputError if fewer than two regions are left.
    """
    regions, subjects = np.asarray(region, dtype=np.str_), np.asarray(subject, dtype=np.str_)
    shared = [
        name for name in np.unique(regions)
        if name and len(np.unique(subjects[regions == name])) > 1
    ]  # fmt: skip
    if len(shared) < 2:
        raise InputError(
            f"regions can be told apart where two or more are each recorded in two animals or "
            f"more; here there is {shared[0] if shared else 'none'} in {len(np.unique(subjects))} "
            "animals. Name the channels' regions, or take a store of more animals."
        )
    return np.asarray(np.isin(regions, shared))


def tell_regions(
    features: ArrayLike, region: ArrayLike, subject: ArrayLike, *, seed: int = 0
) -> Told:
    """Regions of units by multinomial logistic regression, each animal held out in turn.

    Raises InputError if the arrays do not fit together, features are not finite, or fewer than two
    regions are recorded in two animals.
    """
    x = np.asarray(features, dtype=np.float64)
    names, owners = np.asarray(region, dtype=np.str_), np.asarray(subject, dtype=np.str_)
    if x.ndim != 2 or not len(x) == len(names) == len(owners):
        raise InputError(
            f"features has shape {x.shape} for {len(names)} regions and {len(owners)} subjects; "
            "give one row a unit."
        )
    if not np.isfinite(x).all():
        raise InputError("features holds values that are not finite; leave those columns out.")
    kept = askable(names, owners)
    x, names, owners = x[kept], names[kept], owners[kept]
    predicted, penalties = names.copy(), []
    for inside, held in _folds(owners, MOST_FOLDS, seed):
        penalties.append(_penalty(x[inside], names[inside], owners[inside], seed))
        predicted[held] = _answers(x, names, inside, held, penalties[-1])
    chance = _chance(x, names, owners, penalties, seed)
    return Told(names, predicted, owners, kept, chance, tuple(penalties), seed)


def macro_f1(hits: Floats) -> Floats:
    """(n,) means over regions of F1, from (n, 3, R): told rightly, there, told.

    Regions that neither occur nor are told are left out.
    """
    both = hits[:, 1] + hits[:, 2]
    f1 = np.divide(2 * hits[:, 0], both, out=np.zeros_like(both), where=both > 0)
    return np.asarray(f1.sum(axis=1) / np.maximum((both > 0).sum(axis=1), 1))


def _hits(region: Names, predicted: Names, regions: tuple[str, ...]) -> Floats:
    """(n, 3, R) for each unit: told rightly, there, told."""
    there = region[:, None] == np.array(regions)
    told = predicted[:, None] == np.array(regions)
    return np.stack([there & told, there, told], axis=1).astype(np.float64)


def _of(region: Names, predicted: Names) -> float:
    regions = tuple(np.unique(region).tolist())
    return float(macro_f1(_hits(region, predicted, regions).sum(axis=0)[None])[0])


def _folds(
    owners: Names, most: int, seed: int
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(learnt from, held out) units; one animal a fold, or several where there are many."""
    animals = np.unique(owners)
    n = min(len(animals), most)
    order = generator(seed, "anatomy folds", len(animals)).permutation(len(animals))
    for fold in range(n):
        held = np.isin(owners, animals[order[fold::n]])
        yield ~held, held


def _answers(
    x: Floats, names: Names, inside: NDArray[np.bool_], held: NDArray[np.bool_], c: float
) -> Names:
    seen = np.unique(names[inside])
    if len(seen) < 2:
        return np.full(int(held.sum()), seen[0])
    mean, deviation = x[inside].mean(axis=0), x[inside].std(axis=0)
    standard = (x - mean) / np.where(deviation > 1e-9, deviation, np.inf)
    fitted = logistic(standard[inside], names[inside], c)
    return np.asarray(fitted.predict(standard[held]), dtype=np.str_)


def _penalty(x: Floats, names: Names, owners: Names, seed: int) -> float:
    """The C that tells the regions of animals held out among the training animals best."""
    if len(np.unique(owners)) < 2:
        return CS[len(CS) // 2]
    folds = list(_folds(owners, MOST_INNER_FOLDS, seed))

    def score(c: float) -> float:
        told = names.copy()
        for inside, held in folds:
            told[held] = _answers(x, names, inside, held, c)
        return _of(names, told)

    return max(CS, key=score)  # the first, which is the strongest penalty, where two are as good


def _chance(x: Floats, names: Names, owners: Names, penalties: list[float], seed: int) -> float:
    """Mean macro-F1 where regions are shuffled within each animal, learnt and told alike."""
    rng = generator(seed, "anatomy chance")
    found = []
    for _ in range(N_PERMUTATIONS):
        shuffled = names.copy()
        for animal in np.unique(owners):
            at = np.flatnonzero(owners == animal)
            shuffled[at] = names[rng.permutation(at)]
        told = shuffled.copy()
        for c, (inside, held) in zip(penalties, _folds(owners, MOST_FOLDS, seed), strict=True):
            told[held] = _answers(x, shuffled, inside, held, c)
        found.append(_of(shuffled, told))
    return float(np.mean(found))
