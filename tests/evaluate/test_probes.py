from dataclasses import replace

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate.probes import (
    probe_label,
    probe_signal,
    signal_at,
    smoothed_counts,
    trial_means,
)

SIDES = {"train": slice(0, 1400), "valid": slice(1400, 1600), "test": slice(1600, 2000)}


def split(values):
    return {side: values[rows] for side, rows in SIDES.items()}


def slow(n, k, seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(n + 50, k))
    return np.stack([np.convolve(c, np.ones(30) / 5.5, "valid")[:n] for c in noise.T], axis=1)


def test_a_linear_signal_is_found_and_scored_against_the_truth():
    x = slow(2000, 8, 0)
    noise = np.random.default_rng(1).normal(size=(2000, 2))
    y = x[:, :2] @ np.array([[1.0, 2.0], [0.5, -1.0]]) + noise * [0.1, 1.0]
    out = probe_signal(split(x), split(y), seed=1, n_boot=300)
    ceiling = 1 - noise[1600:].var(axis=0) * [0.01, 1.0] / y[1600:].var(axis=0)
    assert out.per_axis == pytest.approx(ceiling, abs=0.03)
    assert out.low < out.value < out.high
    assert out.chance < 0.1 < out.value
    assert (out.n, out.unit_of_n, out.metric) == (20, "blocks", "r2")


def test_an_unrelated_slow_signal_scores_within_its_chance():
    out = probe_signal(split(slow(2000, 8, 0)), split(slow(2000, 2, 9)), n_boot=200, n_shifts=40)
    assert out.value < out.chance_high + 0.1
    assert out.value < 0.2


def test_features_on_any_scale_and_test_features_do_not_enter_the_fit():
    x, y = slow(2000, 5, 0), slow(2000, 5, 0)[:, :1]
    plain = probe_signal(split(x), split(y), n_boot=50)
    scaled = probe_signal(split(x * [1e-3, 1, 50, 2, 9] + 100), split(y), n_boot=50)
    assert scaled.value == pytest.approx(plain.value, abs=1e-6)
    shifted = split(x) | {"test": x[1600:] + 5.0}
    assert probe_signal(shifted, split(y), n_boot=50).value < plain.value - 1


def test_nan_targets_are_left_out_of_every_side():
    x = slow(2000, 4, 0)
    y = x[:, :1].copy()
    y[::3] = np.nan
    block = np.arange(400) // 40
    out = probe_signal(split(x), split(y), block=block, n_boot=50)
    assert out.value > 0.99
    assert out.n == 10
    with pytest.raises(InputError, match="valid side of a probe has no target"):
        probe_signal(split(x), split(y) | {"valid": np.full((200, 1), np.nan)})


def test_sides_must_be_there_and_fit():
    x, y = split(slow(2000, 4, 0)), split(slow(2000, 1, 0))
    with pytest.raises(InputError, match="valid is missing"):
        probe_signal({"train": x["train"]} | {"test": x["test"]}, y)
    with pytest.raises(InputError, match="test side has 400 rows of features, 3 of targets"):
        probe_signal(x, y | {"test": y["test"][:3]})


def trials(effect, seed=0, n=300):
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(n) < 0.25, "left", "right")
    x = rng.normal(size=(n, 10))
    x[:, 0] += effect * (labels == "left")
    cut = {"train": slice(0, 200), "valid": slice(200, 230), "test": slice(230, n)}
    return ({s: x[r] for s, r in cut.items()}, {s: labels[r] for s, r in cut.items()})


def test_labels_are_found_above_chance_and_permuted_labels_are_not():
    found = probe_label(*trials(3.0), n_boot=300)
    assert found.value > 0.8 > found.chance_high
    assert found.low < found.value < found.high
    assert (found.n, found.unit_of_n) == (70, "trials")
    assert found.value == pytest.approx(np.mean(found.per_axis))
    assert probe_label(*trials(3.0), n_boot=300) == found


def test_labels_that_features_say_nothing_about_score_chance():
    out = [probe_label(*trials(0.0, seed), n_boot=50, n_permutations=5) for seed in range(6)]
    assert np.mean([o.value for o in out]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([o.chance for o in out]) == pytest.approx(0.5, abs=0.08)


def test_one_label_is_no_question_and_empty_sides_are_named():
    x, y = trials(1.0)
    with pytest.raises(InputError, match="one label"):
        probe_label(x, y | {"train": np.full(200, "left")})
    with pytest.raises(InputError, match="valid side of a probe has 30 rows"):
        probe_label(x, y | {"valid": y["valid"][:0]})


def recording():
    counts = np.random.default_rng(0).poisson(0.5, (100, 3)).astype(np.uint8)
    signal = np.arange(100.0)[:, None]
    signal[50] = np.nan
    return Recording.from_arrays("r", counts=counts, bin_s=0.1, signals={"x": signal})


def test_smoothing_keeps_totals_inside_pieces_and_never_crosses_them():
    rec = recording()
    part = Intervals.of([(0.0, 4.0), (4.0, 9.0)])
    values, bins = smoothed_counts(rec, part, 0.1, 0.3)
    assert values.shape == (90, 3)
    assert bins.tolist() == list(range(90))
    raw = np.asarray(rec.activity.values)
    assert np.array_equal(smoothed_counts(rec, part, 0.1, 0.0)[0], raw[:90])
    changed = raw.copy()
    changed[40:] = 9
    other = replace(rec, activity=replace(rec.activity, values=changed))
    assert np.array_equal(smoothed_counts(other, part, 0.1, 0.3)[0][:40], values[:40])
    with pytest.raises(InputError, match="no bin"):
        smoothed_counts(rec, Intervals.none(), 0.1, 0.3)


def test_signals_and_trial_means_by_hand():
    rec = recording()
    at = signal_at(rec, "x", np.array([3, 50, 51]), 0.1)
    assert at[[0, 2], 0].tolist() == [3.0, 51.0]
    assert np.isnan(at[1, 0])
    with pytest.raises(InputError, match="no signal 'y'; it has x"):
        signal_at(rec, "y", np.array([3]), 0.1)
    features = np.arange(20.0).reshape(10, 2)
    means = trial_means(features, np.arange(10), [0.2, 0.5, 5.0], [0.4, 0.6, 6.0], 0.1)
    assert means[:2].tolist() == [[5.0, 6.0], [10.0, 11.0]]
    assert np.isnan(means[2]).all()
