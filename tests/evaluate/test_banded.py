"""Banded ridge: exact, finds which band speaks, and keeps away from the test side."""

import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.evaluate import banded
from neurofm.evaluate.metrics import r2


def planted(n=400, wide=40, seed=0, noise=0.5):
    """Two bands of `wide` features; channel 0 follows `a`, 1 follows `b`, 2 both, 3 neither."""
    rng = np.random.default_rng(seed)
    bands = {"a": rng.normal(size=(n, wide)), "b": 100 * rng.normal(size=(n, wide))}
    a, b = bands["a"] @ rng.normal(size=wide), bands["b"] @ rng.normal(size=wide)
    a, b = a / a.std(), b / b.std()
    y = np.stack([a, b, (a + b) / np.sqrt(2), 0 * a], axis=1) + noise * rng.normal(size=(n, 4)) + 7
    cut = [slice(0, n // 2), slice(n // 2, 3 * n // 4), slice(3 * n // 4, n)]
    return [({k: v[c] for k, v in bands.items()}, y[c]) for c in cut]


def test_one_band_is_plain_ridge():
    train, valid, test = planted()
    sides = [({"a": x["a"]}, y) for x, y in (train, valid, test)]
    made = banded.fit(*sides[:2])
    x = sides[0][0]["a"] - sides[0][0]["a"].mean(axis=0)
    y = sides[0][1] - sides[0][1].mean(axis=0)
    for channel in range(4):
        strength = 10.0 ** made.power[channel] * (x**2).sum() / x.shape[1]
        weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y[:, channel])
        np.testing.assert_allclose(
            made.weights["a"][:, channel] / made.spread["a"], weights, rtol=1e-3, atol=1e-4
        )
    assert (made.share == 1).all()


def test_it_finds_the_band_that_speaks_and_beats_one_penalty_for_all():
    train, valid, test = planted(n=240)  # 120 rows for 80 features, most of no use to 0 and 1
    made, even = banded.fit(train, valid), banded.fit(train, valid, n_draws=0)
    share = dict(zip(made.names, made.share, strict=True))
    assert share["a"][0] > 0.9 > 0.1 > share["a"][1]
    parts = banded.variance_shares(test[1], made.parts(test[0]))
    assert parts["a"][0] > 0.5 > 0.1 > abs(parts["b"][0])
    assert min(parts["a"][2], parts["b"][2]) > 0.15
    joint = r2(test[1], made.predict(test[0]))
    one = banded.fit(
        *[({"all": np.concatenate([x["a"], x["b"] / 100], axis=1)}, y) for x, y in (train, valid)]
    )
    plain = r2(test[1], one.predict({"all": np.concatenate([test[0]["a"], test[0]["b"] / 100], 1)}))
    assert (joint[:2] > plain[:2] + 0.03).all()
    assert abs(joint[3]) < 0.15
    assert even.share.shape == made.share.shape


def test_shares_of_variance_sum_to_r2_by_hand():
    y = np.array([[1.0], [-1.0], [2.0], [-2.0]])
    parts = {"a": 0.5 * y, "b": 0.25 * y}
    found = banded.variance_shares(y, parts)
    assert found["a"] == pytest.approx(0.5 * 1.25)
    assert found["a"] + found["b"] == pytest.approx(1 - 0.25**2)


def test_fewer_stimuli_than_features_is_the_same_regression():
    train, valid, _ = planted(n=80, wide=60)  # 40 rows, 120 features
    made = banded.fit(train, valid, n_draws=2)
    again = made.predict(train[0])
    parts = made.parts(train[0])
    np.testing.assert_allclose(again, made.mean + parts["a"] + parts["b"])
    names = list(made.names)
    x = np.concatenate(
        [(train[0][n] - made.middle[n]) / made.spread[n] * np.sqrt(made.share[names.index(n), 0])
         for n in names], axis=1)  # fmt: skip
    y = train[1][:, 0] - train[1][:, 0].mean()
    kernel = x @ x.T
    rank = np.linalg.matrix_rank(kernel, tol=1e-5 * np.linalg.norm(kernel, 2))
    strength = 10.0 ** made.power[0] * np.trace(kernel) / rank
    told = kernel @ np.linalg.solve(kernel + strength * np.eye(len(x)), y)
    np.testing.assert_allclose(again[:, 0] - train[1][:, 0].mean(), told, rtol=0.02, atol=0.01)


def test_shuffled_stimuli_are_encoded_at_chance():
    train, valid, test = planted()
    rng = np.random.default_rng(3)
    shuffled = [(x, rng.permutation(y)) for x, y in (train, valid)]
    told = banded.fit(*shuffled).predict(test[0])
    assert (r2(test[1], told) < 0.1).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x, y: ({"a": x["a"]}, y), "needs"),
        (lambda x, y: ({**x, "b": x["b"][:-1]}, y), "Band b"),
        (lambda x, y: ({**x, "a": x["a"] * np.nan}, y), "not finite"),
    ],
)
def test_what_cannot_be_is_said(change, words):
    train, valid, _ = planted()
    with pytest.raises(InputError, match=words):
        banded.fit(train, change(*valid))
