"""Ridge that is drawn to what other animals' weights are like."""

import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.evaluate.drawn import DrawnConfig, Factors, Prior, lagged, taught

N, TAPS = 4, 3
CONFIG = DrawnConfig(bins=1.0)
STRENGTH = 1.0 / np.arange(1, N + 1) ** 2
SMOOTH = np.outer([0.5, 1.0, 0.5], [0.5, 1.0, 0.5])  # weights of one shape over lags
COURSE = SMOOTH / np.trace(SMOOTH) + 1e-4 * np.eye(TAPS)


def planted(seed, n_bins):
    """(x, y) of an animal whose weights are drawn from the planted prior; half of y is noise."""
    rng = np.random.default_rng(seed)
    x = lagged([rng.standard_normal((n_bins, N))], (TAPS - 1) // 2)
    root = np.linalg.cholesky(np.kron(COURSE, np.diag(STRENGTH)))
    signal = x @ (root @ rng.standard_normal(N * TAPS))
    return x, signal + signal.std() * rng.standard_normal(n_bins)


def test_factors_have_variance_one_and_unknown_values_are_means() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((200, 2)) @ rng.standard_normal((2, 6)) + 5).astype(np.float32)
    found = Factors.of([values[:120], values[120:]], 24)
    assert found.axes.shape == (6, 2)  # there are two directions, whatever is asked for
    assert found(values).std(axis=0) == pytest.approx([1, 1], rel=1e-3)
    assert np.abs(np.corrcoef(found(values).T)[0, 1]) < 1e-3
    values[3] = np.nan
    assert Factors.of([values], 2)(values)[3] == pytest.approx([0, 0])
    with pytest.raises(InputError, match="fewer than two bins"):
        Factors.of([], 3)


def test_lags_stay_in_a_piece_and_go_on_with_its_ends() -> None:
    rows = lagged([np.array([[1.0], [2.0]]), np.array([[7.0]])], 1)
    assert rows.tolist() == [[1, 1, 2], [1, 2, 2], [7, 7, 7]]


def test_the_planted_prior_is_found_and_tells_more_from_few_bins_than_a_flat_one() -> None:
    prior = taught([planted(seed, 400) for seed in range(8)], TAPS, CONFIG)
    assert np.all(np.diff(prior.strength) < 0)
    assert np.corrcoef(prior.course.ravel(), COURSE.ravel())[0, 1] > 0.95
    assert prior.left == pytest.approx(0.5, abs=0.1)
    flat = Prior(np.full(N, prior.strength.mean()), np.eye(TAPS) / TAPS, prior.left, 1.0, 0.1)
    lost = {"taught": 0.0, "flat": 0.0}
    for seed in range(20, 40):
        x, y = planted(seed, 220)
        for name, one in (("taught", prior), ("flat", flat)):
            told = one.decode((x[:20], y[:20]), x[20:])
            lost[name] += float(np.mean((y[20:] - told) ** 2) / y[20:].var()) / 20
    assert lost["taught"] < lost["flat"] - 0.03


def test_what_is_decoded_is_the_posterior_mean_in_the_targets_own_unit() -> None:
    prior = taught([planted(seed, 100) for seed in range(2)], TAPS, CONFIG)
    x, y = planted(9, 40)
    mean, cov = prior.posterior(x[:30], y[:30] / y[:30].std())
    told = prior.decode((x[:30], y[:30]), x[30:])
    assert told == pytest.approx(y[:30].std() * (x[30:] @ mean[:-1] + mean[-1]))
    assert prior.decode((x[:30], 7 * y[:30]), x[30:]) == pytest.approx(7 * told)
    assert np.linalg.eigvalsh(cov).min() > 0


def test_a_sign_or_a_teachers_unit_changes_nothing() -> None:
    animals = [planted(seed, 100) for seed in range(3)]
    signs = np.tile([1, -1, -1, 1], TAPS)
    a, b = taught(animals, TAPS, CONFIG), taught(
        [(x * signs, -3 * y) for x, y in animals], TAPS, CONFIG)  # fmt: skip
    assert a.strength == pytest.approx(b.strength)
    assert a.course == pytest.approx(b.course)
    with pytest.raises(InputError, match="No other animal has a target"):
        taught([(np.empty((0, 3)), np.empty(0))], TAPS, CONFIG)


def test_an_animal_of_fewer_factors_is_asked_with_those_it_has() -> None:
    prior = taught([planted(seed, 100) for seed in range(2)], TAPS, CONFIG).narrowed(2)
    x = lagged([np.random.default_rng(0).standard_normal((30, 2))], 1)
    assert prior.decode((x[:20], x[:20, 2]), x[20:]).shape == (10,)
