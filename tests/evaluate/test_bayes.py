"""Decoding by Bayes: by hand, against sums over all paths, and calibrated on a planted session."""

import itertools

import numpy as np
import pytest
from scipy import stats

from neurofm.errors import InputError
from neurofm.evaluate import bayes


def planted(n_bins=1500, n_units=12, n_cells=20, gain=0.6, seed=0):
    """An animal that walks at random over a line of cells: (cells, walk, rates, truth, counts)."""
    rng = np.random.default_rng(seed)
    cells = np.arange(n_cells)[:, None] / 2
    moves = bayes.random_walk(cells, 0.4)
    truth = np.empty(n_bins, dtype=np.int64)
    truth[0] = rng.integers(n_cells)
    for t in range(1, n_bins):
        truth[t] = rng.choice(n_cells, p=moves[truth[t - 1]])
    centre = rng.uniform(0, n_cells / 2, n_units)
    rates = 0.02 + gain * np.exp(-0.5 * (cells - centre) ** 2)
    return cells, moves, rates, truth, rng.poisson(rates[truth])


def test_evidence_is_the_log_likelihood_up_to_what_all_candidates_share():
    rng = np.random.default_rng(0)
    rates, counts = rng.uniform(0.1, 3, (4, 3)), rng.poisson(1.0, (5, 3))
    wanted = stats.poisson.logpmf(counts[:, None], rates[None]).sum(axis=2)
    found = bayes.poisson_evidence(counts, rates)
    np.testing.assert_allclose(found - found[:, :1], wanted - wanted[:, :1])
    values, scale = rng.normal(size=(5, 3)) + 1e4, rng.uniform(0.5, 2, (4, 3))
    mean = rng.normal(size=(4, 3)) + 1e4
    wanted = stats.norm.logpdf(values[:, None], mean[None], scale[None]).sum(axis=2)
    found = bayes.gaussian_evidence(values, mean, scale)
    np.testing.assert_allclose(found - found[:, :1], wanted - wanted[:, :1], rtol=1e-6)


def test_a_channel_that_was_not_seen_says_nothing():
    rates, counts = np.array([[1.0, 5.0], [2.0, 1.0]]), np.array([[3.0, np.nan]])
    np.testing.assert_allclose(
        bayes.poisson_evidence(counts, rates), bayes.poisson_evidence([[3.0]], rates[:, :1])
    )
    np.testing.assert_allclose(
        bayes.gaussian_evidence(counts, rates, [2.0, 2.0]),
        bayes.gaussian_evidence([[3.0]], rates[:, :1], [2.0]),
    )


def test_a_prior_over_candidates_by_hand():
    evidence = np.log([[0.2, 0.6]])
    np.testing.assert_allclose(bayes.categorical(evidence), [[0.25, 0.75]])
    np.testing.assert_allclose(bayes.categorical(evidence, [3, 1]), [[0.5, 0.5]])
    np.testing.assert_allclose(bayes.categorical(evidence - 1e5, [1, 0]), [[1, 0]])


def test_both_recursions_are_the_sums_over_all_paths():
    rng = np.random.default_rng(1)
    n_bins, n_cells = 5, 3
    evidence = rng.normal(size=(n_bins, n_cells))
    moves = rng.dirichlet(np.ones(n_cells), n_cells)
    start = rng.dirichlet(np.ones(n_cells))
    whole, past = np.zeros((2, n_bins, n_cells))
    for stop, out in [(n_bins, whole), *((t + 1, past) for t in range(n_bins))]:
        for path in itertools.product(range(n_cells), repeat=stop):
            chance = start[path[0]] * np.prod([moves[a, b] for a, b in itertools.pairwise(path)])
            chance *= np.exp(sum(evidence[t, cell] for t, cell in enumerate(path)))
            for t in range(stop) if out is whole else [stop - 1]:
                out[t, path[t]] += chance
    np.testing.assert_allclose(
        bayes.smoothed(evidence, moves, start), whole / whole.sum(axis=1, keepdims=True)
    )
    np.testing.assert_allclose(
        bayes.filtered(evidence, moves, start), past / past.sum(axis=1, keepdims=True)
    )


def test_the_future_changes_the_smoothed_posterior_and_never_the_filtered_one():
    _, moves, rates, _, counts = planted(n_bins=60)
    changed = counts.copy()
    changed[40:] += 3
    before, after = (bayes.poisson_evidence(c, rates) for c in (counts, changed))
    assert (bayes.filtered(before, moves)[:40] == bayes.filtered(after, moves)[:40]).all()
    assert not np.allclose(bayes.smoothed(before, moves)[39], bayes.smoothed(after, moves)[39])


def test_a_walk_survives_what_it_thinks_impossible():
    evidence = np.array([[0.0, -1e6], [-1e6, 0.0], [0.0, -np.inf]])
    for told in (bayes.filtered, bayes.smoothed):
        out = told(evidence, np.eye(2))
        assert np.isfinite(out).all()
        np.testing.assert_allclose(out.sum(axis=1), 1)


def test_samples_of_a_prior_give_the_conjugate_posterior():
    rng = np.random.default_rng(2)
    samples = rng.normal(size=(20000, 1))  # prior N(0, 1); encoder: the identity, noise 0.5
    weights, effective = bayes.importance(bayes.gaussian_evidence([[0.8]], samples, [0.5]))
    mean = float((weights @ samples)[0, 0])
    assert mean == pytest.approx(0.8 / 1.25, abs=0.02)
    spread = float((weights @ samples**2)[0, 0]) - mean**2
    assert spread == pytest.approx(0.2, abs=0.01)
    assert 5000 < effective[0] < 20000
    assert bayes.importance(np.zeros((1, 7)))[1] == pytest.approx(7)
    assert bayes.importance(np.array([[0.0, 900.0]]))[1] == pytest.approx(1)


def test_the_posterior_of_a_planted_session_is_calibrated():
    _, moves, rates, truth, counts = planted(n_bins=4000)
    evidence = bayes.poisson_evidence(counts, rates)
    scores = {}
    for name, told in {
        "smoothed": bayes.smoothed(evidence, moves),
        "filtered": bayes.filtered(evidence, moves),
        "alone": bayes.categorical(evidence, np.bincount(truth, minlength=20)),
    }.items():
        depth = bayes.depth(told, truth)
        for level in (0.5, 0.9):
            assert (depth <= level).mean() == pytest.approx(level, abs=0.03), name
        assert bayes.expected_calibration_error(told, truth) < 0.04
        scores[name] = bayes.log_score(told, truth).mean()
    assert scores["smoothed"] > scores["filtered"] + 0.1 > scores["alone"] + 0.2
    hot = bayes.temperature(lambda t: bayes.smoothed(evidence / t, moves), truth)
    assert hot == pytest.approx(1, abs=0.25)


def test_a_temperature_from_validation_mends_a_posterior_that_is_too_sure():
    _, moves, rates, truth, counts = planted(n_bins=3000)
    twice = bayes.poisson_evidence(np.repeat(counts, 3, axis=1), np.repeat(rates, 3, axis=1))
    valid, test = slice(1500), slice(1500, None)

    def told(t, rows):
        return bayes.smoothed(twice[rows] / t, moves)

    assert (bayes.depth(told(1.0, test), truth[test]) <= 0.9).mean() < 0.8
    hot = bayes.temperature(lambda t: told(t, valid), truth[valid])
    assert 2.2 < hot < 4  # every spike was counted three times
    assert (bayes.depth(told(hot, test), truth[test]) <= 0.9).mean() == pytest.approx(0.9, abs=0.04)
    assert bayes.log_score(told(hot, test), truth[test]).mean() > (
        bayes.log_score(told(1.0, test), truth[test]).mean()
    )


def test_another_animals_path_is_decoded_at_chance():
    _, moves, rates, truth, counts = planted()
    told = bayes.smoothed(bayes.poisson_evidence(counts, rates), moves)
    right = (told.argmax(axis=1) == truth).mean()
    moved = [(told.argmax(axis=1) == np.roll(truth, s)).mean() for s in range(300, 1200, 100)]
    assert right > 0.3 > 0.15 > np.mean(moved)


def test_calibration_by_hand():
    told = np.array([[0.7, 0.3], [0.7, 0.3], [0.4, 0.6], [1.0, 0.0]])
    truth = np.array([0, 1, 1, 0])
    # confidence 0.7 twice, right once: gap 0.4 in all; 0.6 right: 0.4; 1.0 right: 0
    assert bayes.expected_calibration_error(told, truth) == pytest.approx((0.4 + 0.4) / 4)
    np.testing.assert_allclose(bayes.log_score(told, truth), np.log([0.7, 0.3, 0.6, 1.0]))
    depth = bayes.depth(told, truth)
    assert (depth[[0, 2, 3]] <= [0.7, 0.6, 1.0]).all()
    assert 0.7 <= depth[1] <= 1
    flat = bayes.depth(np.full((2000, 4), 0.25), np.zeros(2000, dtype=int))
    assert stats.kstest(flat, "uniform").pvalue > 0.01


def test_what_cannot_be_is_said():
    with pytest.raises(InputError, match="of one C"):
        bayes.poisson_evidence(np.zeros((3, 2)), np.ones((4, 3)))
    with pytest.raises(InputError, match="rates holds values"):
        bayes.poisson_evidence(np.zeros((3, 2)), np.full((4, 2), np.nan))
    with pytest.raises(InputError, match="above 0"):
        bayes.gaussian_evidence(np.zeros((3, 2)), np.ones((4, 2)), [1.0, 0.0])
    with pytest.raises(InputError, match="4 weights"):
        bayes.categorical(np.zeros((2, 4)), [0, 0, 0, 0])
    with pytest.raises(InputError, match="step above 0"):
        bayes.random_walk([[0.0], [1.0]], 0)
