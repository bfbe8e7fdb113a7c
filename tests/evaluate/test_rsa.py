"""Representational similarity: by hand, against scipy, and with a planted geometry."""

import numpy as np
import pytest
from scipy import stats

from neurofm.errors import InputError
from neurofm.evaluate import rsa


def test_dissimilarity_is_one_minus_correlation_in_the_order_of_the_triangle():
    x = np.random.default_rng(0).normal(size=(4, 6))
    wanted = [1 - np.corrcoef(x)[i, j] for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))]
    np.testing.assert_allclose(rsa.dissimilarity(x), wanted)
    np.testing.assert_allclose(rsa.dissimilarity(3 * x + 5), wanted)


def test_comparisons_are_those_of_the_books():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 6, (2, 40)).astype(float)
    assert rsa.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    first, second = np.triu_indices(40, 1)
    agree = np.sign(a[first] - a[second]) * np.sign(b[first] - b[second])
    assert rsa.kendall_tau_a(a, b) == pytest.approx(agree.mean())
    assert rsa.kendall_tau_a(a, np.ones(40)) == 0
    assert rsa.spearman(a, -a) == pytest.approx(-1)


def test_the_true_model_lies_between_the_bounds_of_the_ceiling():
    rng = np.random.default_rng(2)
    truth = rsa.dissimilarity(rng.normal(size=(30, 5)))
    subjects = truth + rng.normal(size=(8, len(truth))) * truth.std()
    low, high = rsa.noise_ceiling(subjects)
    score = rsa.similarity(subjects, truth, n_boot=100)
    assert low < score.value < high
    assert score.low < score.value < score.high
    other = rsa.similarity(subjects, rsa.dissimilarity(rng.normal(size=(30, 5))), n_boot=100)
    assert other.low < 0.05
    assert other.high < score.low
    assert rsa.noise_ceiling(np.stack([truth, truth])) == pytest.approx((1, 1))


def test_pairs_of_a_stimulus_with_itself_are_left_out():
    names = np.arange(5)
    vector = rsa.upper(names[:, None] * 10 + names)
    every = rsa.drawn_pairs(5, 20, seed=0)
    assert min(len(rows) for rows in every) < 8  # a stimulus drawn three times loses three pairs
    assert all(a != b for rows in every for a, b in (divmod(int(v), 10) for v in vector[rows]))
    assert rsa.n_stimuli(vector) == 5


def test_what_cannot_be_is_said():
    with pytest.raises(InputError, match="stimulus 1 is constant"):
        rsa.dissimilarity([[1.0, 2.0], [3.0, 3.0], [1.0, 0.0]])
    with pytest.raises(InputError, match="no upper triangle"):
        rsa.n_stimuli(np.zeros(7))
    with pytest.raises(InputError, match="two or more"):
        rsa.noise_ceiling(np.zeros((1, 6)))
    with pytest.raises(InputError, match="differ in pairs"):
        rsa.similarity(np.zeros((2, 6)), np.zeros(10))
