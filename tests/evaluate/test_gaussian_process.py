"""A Gaussian process as the prior of behaviour: exact, against the textbook's whole-matrix answer."""

import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.evaluate.decoders.bayes import Bayes
from neurofm.evaluate.gaussian_process import Process, filtered, smoothed
from neurofm.evaluate.readout import Stretch

RATE = 0.4
COVARIANCE = np.array([[1.0, 0.3], [0.3, 0.5]])
N_BINS, N_CHANNELS = 40, 6


def matern(apart):
    """Rasmussen and Williams (2006), eq. 4.17, with rate = sqrt(5) / length."""
    r = RATE * np.abs(apart)
    return (1 + r + r**2 / 3) * np.exp(-r)


@pytest.fixture(scope="module")
def known():
    """Activity of channels that tell values alone, and what the whole matrix says of the values."""
    rng = np.random.default_rng(0)
    loads = rng.normal(size=(2, N_CHANNELS))
    activity = rng.normal(size=(N_BINS, N_CHANNELS))
    process = Process(RATE, COVARIANCE, np.zeros(0))
    weights = np.concatenate([loads, np.zeros((4, N_CHANNELS))])  # slopes and curvatures: nothing
    return process, activity, loads, activity @ weights.T, weights @ weights.T


def whole(activity, loads):
    """(T, 2) means and (T, 2, 2) covariances, of noise of variance 1, from all bins of `activity`."""
    n = len(activity)
    prior = np.kron(matern(np.subtract.outer(np.arange(n), np.arange(n))), COVARIANCE)
    seen = np.kron(np.eye(n), loads.T)
    gain = prior @ seen.T @ np.linalg.inv(seen @ prior @ seen.T + np.eye(len(seen)))
    covariance = prior - gain @ seen @ prior
    blocks = [covariance[2 * t : 2 * t + 2, 2 * t : 2 * t + 2] for t in range(n)]
    return (gain @ activity.reshape(-1)).reshape(n, 2), np.stack(blocks)


def test_the_prior_is_a_matern_process(known):
    process = known[0]
    between = process.stationary
    for apart in range(5):
        assert np.allclose(between[:2, :2], matern(apart) * COVARIANCE, atol=1e-9)
        between = process.move @ between


def test_the_smoother_is_the_posterior_given_the_whole_piece(known):
    process, activity, loads, pull, information = known
    made, (mean, covariance) = smoothed(process, pull, information), whole(activity, loads)
    assert np.allclose(made.mean, mean, atol=1e-6)
    assert np.allclose(made.covariance, covariance, atol=1e-6)


def test_the_filter_is_the_posterior_given_the_past(known):
    process, activity, loads, pull, information = known
    made = filtered(process, pull, information)
    for t in (0, 3, 20):
        mean, covariance = whole(activity[: t + 1], loads)
        assert np.allclose(made.mean[t], mean[-1], atol=1e-6)
        assert np.allclose(made.covariance[t], covariance[-1], atol=1e-6)


def test_densities_of_many_candidates_are_those_of_each(known):
    process, _, _, pull, information = known
    made = smoothed(process, pull, information)
    cells = np.random.default_rng(1).normal(size=(5, 2))
    each = np.stack([made.log_density(np.tile(cell, (N_BINS, 1))) for cell in cells], axis=1)
    assert np.allclose(made.log_densities(cells), each, atol=1e-9)


def walked(n, seed):
    """Values of a Matérn process, and counts of units that follow them with noise that lasts and is shared."""
    rng = np.random.default_rng(seed)
    process = Process(RATE, np.eye(2), np.full(2, 0.9))
    still, move = process.stationary, process.move
    root = np.linalg.cholesky(still - move @ still @ move.T + 1e-10 * np.eye(len(still)))
    state = [np.linalg.cholesky(still + 1e-10 * np.eye(len(still))) @ rng.normal(size=len(still))]
    for _ in range(n - 1):
        state.append(move @ state[-1] + root @ rng.normal(size=len(still)))
    state = np.array(state)
    loads = 0.5 * np.random.default_rng(9).normal(size=(4, 24))
    drive = state[:, [0, 1, 6, 7]] @ loads
    counts = rng.poisson(2 * np.exp(np.minimum(drive, 3))).clip(0, 250).astype(np.uint8)
    return Stretch(counts, state[:, :2].astype(np.float32))


def test_a_decoder_by_bayes_is_calibrated():
    made = Bayes(0.05)
    made.fit([walked(1500, 0)], [walked(700, 1)])
    test = walked(1500, 2)
    [told] = made.posterior([test.counts])
    distance = told.distance(test.wanted.astype(float))
    inside = (distance < 4.605).mean()  # 90% of a chi-squared of two
    assert 0.84 < inside < 0.96
    shuffled = (told.distance(test.wanted[::-1].astype(float)) < 4.605).mean()
    assert shuffled < 0.5


def test_a_prior_of_one_moment_takes_the_place_of_the_gaussian():
    made = Bayes(0.05)
    made.fit([walked(600, 0)], [walked(300, 1)])
    counts = walked(60, 2).counts
    [told] = made.posterior([counts])
    axis = np.linspace(-5, 5, 41)
    cells = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    inverse = np.linalg.inv(made.encoder.process.covariance)
    time = np.exp(-0.5 * np.einsum("gi,ij,gj->g", cells, inverse, cells))
    [same] = made.among([counts], cells, time)
    assert np.allclose(same @ cells, told.mean, atol=0.02)
    there = np.where(cells[:, 0] > 0, time, 0.0)  # it never was to the left
    [right] = made.among([counts], cells, there)
    assert ((right @ cells)[:, 0] > 0).all()


def test_targets_that_are_not_known_are_refused():
    stretch = Stretch(np.ones((30, 4), np.uint8), np.full((30, 1), np.nan, np.float32))
    with pytest.raises(InputError, match="no two bins on end"):
        Bayes(0.05).fit([stretch], [stretch])
