"""`train.crowd`: a network of windows of everyone, fitted on training people alone."""

import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.model.backbone import BackboneConfig
from neurofm.train.crowd import CrowdConfig, RingTurns, fit, tune

TINY = CrowdConfig(
    backbone=BackboneConfig(width=16, layers=1, heads=2, mlp=16, dropout=0.0),
    pretrain_steps=5, steps=60, windows=64, rate=1e-2, average=0.8,
)  # fmt: skip


def windows(n=400, seed=0):
    rng = np.random.default_rng(seed)
    code = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 10)).astype(np.float32)
    x[:, 0] += 3 * (code == 1)
    x[:, 1] += 3 * (code == 2)
    return x, np.array(["rest", "fist", "open"])[code]


def accuracy(crowd, x, label):
    return (crowd.labels[crowd(x).argmax(1)] == label).mean()


def test_it_answers_windows_it_has_not_seen_each_by_itself():
    x, label = windows()
    crowd = fit(x[:300], label[:300], TINY)
    assert accuracy(crowd, x[300:], label[300:]) > 0.85
    alone = np.concatenate([crowd(x[i : i + 1]) for i in range(300, 310)])
    assert np.allclose(crowd(x[300:])[:10], alone, atol=1e-5)
    assert np.allclose(crowd(x).sum(1), 1, atol=1e-5)


def test_the_same_seed_gives_the_same_network_and_shuffled_labels_score_chance():
    x, label = windows()
    short = TINY.model_copy(update={"steps": 5})
    assert np.array_equal(fit(x, label, short)(x), fit(x, label, short)(x))
    shuffled = np.random.default_rng(0).permutation(label[:300])
    scores = accuracy(fit(x[:300], shuffled, TINY), x[300:], label[300:])
    assert scores < 0.5


def test_a_persons_own_windows_move_a_copy_alone():
    x, label = windows()
    crowd = fit(x[:200], label[:200], TINY)
    before = crowd(x)
    other = np.array(["open", "rest", "fist"])[np.searchsorted(crowd.labels, label)]
    own = tune(crowd, x[200:], other[200:], TINY)
    assert np.array_equal(crowd(x), before)
    assert (own.labels[own(x).argmax(1)] == other).mean() > 0.7
    with pytest.raises(InputError, match="labels must be among fist, open, rest"):
        tune(crowd, x[:1], ["wave"], TINY)


def test_varied_rows_keep_their_length_and_gains_move_the_diagonal():
    x = np.random.default_rng(0).normal(size=(64, 2 * 15)).astype(np.float32)
    still = RingTurns.of(5, 2, places=0.0)
    assert np.array_equal(still(x, np.random.default_rng(0)), x)
    moved = RingTurns.of(5, 2, places=0.5)(x, np.random.default_rng(0))
    assert not np.allclose(moved, x, atol=0.1)
    assert np.allclose((moved**2).sum(1), (x**2).sum(1), rtol=1e-3)
    louder = RingTurns.of(5, 2, places=0.0, gain=0.5)(x, np.random.default_rng(0)) - x
    assert (np.abs(louder).max(0) > 0).sum() == 10


def test_windows_and_labels_must_fit():
    x, label = windows(30)
    with pytest.raises(InputError, match="30 windows with 29 labels"):
        fit(x, label[:-1], TINY)
