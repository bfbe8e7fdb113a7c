import numpy as np
import pytest

from neurofm.evaluate import nulls
from neurofm.evaluate.decode_scores import flattened, label_scores, signal_scores


def test_the_three_kinds_of_r2_by_hand():
    y = np.array([[0.0, 0.0], [2.0, 10.0], [4.0, 0.0], [2.0, 10.0]] * 5)
    p = y + np.array([[1.0, 0.0]] * 20)
    trial = np.repeat([0, 1, -1, -1], 5)
    found = {s.metric: s for s in signal_scores(y, p, np.arange(20) // 4, trial)}
    assert found["r2_of_axis_0"].value == pytest.approx(1 - 20 / ((y[:, 0] - 2) ** 2).sum())
    assert found["r2_of_axis_1"].value == 1
    assert found["r2_mean_of_axes"].value == pytest.approx((found["r2_of_axis_0"].value + 1) / 2)
    assert found["r2_flattened"].value == pytest.approx(1 - 20 / ((y - y.mean(axis=0)) ** 2).sum())
    inside = [flattened(y[trial == t], p[trial == t]) for t in (0, 1)]
    assert found["r2_per_trial"].value == pytest.approx(np.mean(inside))
    assert (found["r2_per_trial"].n, found["r2_flattened"].n) == (2, 5)
    assert all(s.low <= s.value <= s.high for s in found.values())


def test_unknown_rows_are_left_out_and_trials_may_be_absent():
    y = np.random.default_rng(0).normal(size=(40, 2))
    y[3, 1] = np.nan
    found = signal_scores(y, np.nan_to_num(y), np.arange(40) // 10, np.full(40, -1))
    assert [s.metric for s in found][:2] == ["r2_flattened", "r2_mean_of_axes"]
    assert found[0].value == 1
    assert not any(s.metric == "r2_per_trial" for s in found)


def test_balanced_accuracy_counts_rare_labels_as_much():
    wanted = np.array(["a"] * 90 + ["b"] * 10)
    [score] = label_scores(wanted, np.full(100, "a"))
    assert (score.value, score.n, score.unit_of_n) == (0.5, 100, "trials")


def test_null_targets_keep_what_they_should():
    own = np.arange(50.0)[:, None]
    for draw in nulls.shifted_signals(own, seed=1, n=5):
        steps = np.diff(draw[:, 0])
        assert (steps != 1).sum() == 1  # a circle has one seam
        assert sorted(draw[:, 0]) == sorted(own[:, 0])
    other = nulls.other_signals([100 + np.arange(7.0)[:, None]], 20, seed=1, n=3)
    assert all(len(d) == 20 and (d >= 100).all() for d in other)
    assert nulls.other_signals([], 20, seed=1) == []
    blocks = np.repeat(["l", "r", "l", "r"], 25)
    again = nulls.markov_labels(blocks, 2000, seed=0, n=2)[0]
    assert 0.01 < (again[1:] != again[:-1]).mean() < 0.1  # 3 of 99 in the session
    assert all(sorted(d) == sorted(blocks) for d in nulls.shifted_labels(blocks, seed=0, n=3))


def slow(n, k, seed):
    noise = np.random.default_rng(seed).normal(size=(n + 99, k))
    return np.stack([np.convolve(c, np.ones(100) / 10, "valid")[:n] for c in noise.T], axis=1)


def test_slow_signals_that_have_nothing_in_common_lie_inside_their_null():
    bins = {"train": np.arange(600), "valid": np.arange(600, 700), "test": np.arange(700, 900)}

    def own_and_null(seed, share):
        x = slow(900, 6, seed).astype(np.float32)
        y = (share * x[:, :1] + slow(900, 1, seed + 100)).astype(np.float32)
        features = {side: x[at] for side, at in bins.items()}
        null = nulls.signal_chance("shift", features, bins, y, nulls.shifted_signals(y, seed))
        return nulls.signal_chance("itself", features, bins, y, [y]).mean, null

    unrelated = [own_and_null(seed, 0.0) for seed in range(8)]
    assert sum(own > null.high for own, null in unrelated) <= 2
    own, null = own_and_null(0, 3.0)
    assert own > null.high
    assert null.n == nulls.N_DRAWS


def test_label_chance_is_half_where_labels_say_nothing():
    rng = np.random.default_rng(0)
    rows = {"train": np.arange(120), "valid": np.arange(120, 150), "test": np.arange(150, 250)}
    features = {s: rng.normal(size=(len(at), 4)).astype(np.float32) for s, at in rows.items()}
    own = rng.choice(["a", "b"], 250)
    chance = nulls.label_chance("shift", features, rows, 0.1, nulls.shifted_labels(own, 0, n=20))
    assert chance.mean == pytest.approx(0.5, abs=0.05)
    assert chance.low < 0.5 < chance.high
