import numpy as np

from neurofm.train.curve import Curve, fitted

STRAIGHT = Curve.straight(2)


def said(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 2)).astype(np.float32)


def steep(x):
    return np.maximum(x - 0.5, 0) * np.array([3.0, 1.0]) - 0.2


def error(curve, n=500):
    x = said(n, seed=9)
    return float(np.mean((curve(x) - steep(x)) ** 2))


def test_a_planted_curve_is_found_and_goes_on_straight():
    x = said(4000)
    found = fitted([(x[:2500], steep(x)[:2500]), (x[2500:], steep(x)[2500:])], STRAIGHT, 0.05)
    assert error(found) < 0.02 * error(STRAIGHT)
    far = found(np.array([[8.0, 8.0], [9.0, 9.0]], np.float32))
    np.testing.assert_allclose(far[1] - far[0], [3.0, 1.0], atol=0.2)
    np.testing.assert_array_equal(STRAIGHT(x), x)


def test_little_data_is_drawn_to_the_other_curve_and_none_keeps_it():
    x = said(4000)
    known = fitted([(x, steep(x))], STRAIGHT, 0.05)
    few = said(60, seed=1)
    noisy = steep(few) + np.random.default_rng(2).standard_normal(few.shape)
    drawn, alone = fitted([(few, noisy)], known, 0.05), fitted([(few, noisy)], STRAIGHT, 0.05)
    assert error(drawn) < 0.5 * error(alone)
    noisy[:, 0] = np.nan
    half = fitted([(few, noisy)], known, 0.05)
    np.testing.assert_allclose(half.weights[0], known.weights[0], atol=1e-9)
    assert not np.allclose(half.weights[1], known.weights[1], atol=1e-3)
