"""Regions told in held-out animals: what is common to animals is found, what is not is not."""

import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.evaluate.anatomy import FEWEST_ANIMALS, askable, macro_f1, tell_regions
from neurofm.seeding import generator

pytest.importorskip("sklearn")
REGIONS = np.array(["CA1", "MOs", "VISp"])
N_COLUMNS = 16


def units(n_animals: int, n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    region = np.tile(REGIONS, n_animals * n // 3)
    return region, np.repeat([f"m{i}" for i in range(n_animals)], n)


def around(centres: dict[str, np.ndarray], names: np.ndarray) -> np.ndarray:
    noise = generator(1, "noise").standard_normal((len(names), N_COLUMNS))
    return np.array([centres[name] for name in names]) + 0.4 * noise


@pytest.mark.parametrize("n_animals", [3, FEWEST_ANIMALS])
def test_what_animals_have_in_common_is_found(n_animals: int) -> None:
    region, subject = units(n_animals)
    rng = generator(0, "centres")
    x = around({name: 2 * rng.standard_normal(N_COLUMNS) for name in REGIONS}, region)
    told = tell_regions(x, region, subject)
    value, low, high = told.interval()
    assert value > 0.9
    assert low <= value <= high
    assert told.chance == pytest.approx(1 / 3, abs=0.12)
    assert told.by_animal == (n_animals >= FEWEST_ANIMALS)
    assert told.confusion.sum() == len(region)
    assert told.confusion.diagonal().sum() > 0.9 * len(region)


def test_what_holds_in_one_animal_alone_is_not() -> None:
    region, subject = units(4)
    rng = generator(2, "centres")
    both = np.char.add(subject, region)
    centres = {name: 3 * rng.standard_normal(N_COLUMNS) for name in np.unique(both)}
    x = around(centres, both)
    assert tell_regions(x, region, subject).value < 0.6
    mixed = generator(3, "mix").permutation(subject)  # animals that are none: it leaks
    assert tell_regions(x, region, mixed).value > 0.7


def test_noise_tells_what_shuffled_regions_tell() -> None:
    region, subject = units(5)
    told = tell_regions(generator(4, "x").standard_normal((len(region), 8)), region, subject)
    low, high = told.interval()[1:]
    assert low - 0.05 < told.chance < high + 0.05


def test_macro_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    region, subject = units(4)
    told = tell_regions(generator(5, "x").standard_normal((len(region), 3)), region, subject)
    assert told.value == pytest.approx(f1_score(told.region, told.predicted, average="macro"))
    assert macro_f1(np.array([[[2.0, 0], [2, 0], [3, 0]]])) == pytest.approx(0.8)


def test_gains_are_paired() -> None:
    region, subject = units(4)
    x = generator(6, "x").standard_normal((len(region), 3))
    told = tell_regions(x, region, subject)
    assert told.gain(tell_regions(x, region, subject)) == (0, 0, 0)
    with pytest.raises(InputError, match="different units"):
        told.gain(tell_regions(x[:60], region[:60], subject[:60]))


def test_regions_of_one_animal_are_not_asked_about() -> None:
    region = np.array(["a", "a", "b", "b", "c", "c", "", ""])
    subject = np.array(["1", "2", "1", "2", "1", "1", "1", "2"])
    assert askable(region, subject).tolist() == [True] * 4 + [False] * 4
    assert tell_regions(np.eye(8), region, subject).kept.sum() == 4
    with pytest.raises(InputError, match="in two animals or more"):
        askable(region, np.full(8, "1"))
    with pytest.raises(InputError, match="not finite"):
        tell_regions(np.full((8, 2), np.nan), region, subject)
    with pytest.raises(InputError, match="one row a unit"):
        tell_regions(np.eye(7), region, subject)
