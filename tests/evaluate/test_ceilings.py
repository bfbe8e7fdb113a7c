"""Noise ceilings: by hand, and on responses whose signal and noise were planted."""

import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.evaluate import ceilings
from neurofm.evaluate.ceilings import Repeats, encoding_scores


def planted(n_stimuli=300, n_repeats=4, signal=(1.0, 0.5, 0.0), seed=0, unequal=False):
    """Responses of three channels with noise of variance 1, their stimuli, and the true means."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(n_stimuli, len(signal))) * np.sqrt(signal) + 3
    n = rng.integers(1, 2 * n_repeats, n_stimuli) if unequal else np.full(n_stimuli, n_repeats)
    stimulus = rng.permutation(np.repeat(np.arange(n_stimuli), n))
    return truth[stimulus] + rng.normal(size=(len(stimulus), len(signal))), stimulus, truth


def test_by_hand():
    # two stimuli, two repeats: means 1 and 5, within 2 and 2; grand mean 3
    r = Repeats.of([[0.0], [2.0], [4.0], [6.0]], ["a", "a", "b", "b"])
    assert r.mean.tolist() == [[1.0], [5.0]]
    assert ceilings.noise_variance(r, r.once) == 2  # 4 / (1 + 1)
    assert ceilings.signal_variance(r, r.once) == 7  # (16 - 2) / 2
    assert ceilings.explainable(r, r.once) == pytest.approx(7 / 9)
    assert ceilings.ceiling(r, r.once) == pytest.approx(np.sqrt(7 / 8))  # the means' variance is 8
    # predictions 2 and 5: errors 4, 0, 1, 1, mean 1.5; variance of single trials 20 / 4
    p = np.array([[2.0], [5.0]])
    assert ceilings.feve(r, p, r.once) == pytest.approx(1 - (1.5 - 2) / (5 - 2))
    assert ceilings.correlation_to_average(r, p, r.once) == pytest.approx(1)
    assert ceilings.normalised_correlation(r, p, r.once) == pytest.approx(1 / np.sqrt(7 / 8))


def test_unequal_repeats_by_hand():
    r = Repeats.of([[0.0], [2.0], [7.0]], [0, 0, 1])
    # grand 3; between 2 * 4 + 16 = 24; within 2 / 1; n0 = 3 - 5 / 3
    assert ceilings.signal_variance(r, r.once) == pytest.approx((24 - 2) / (3 - 5 / 3))


def test_weights_are_the_same_as_stimuli_repeated():
    y, stimulus, truth = planted(n_stimuli=5)
    r = Repeats.of(y, stimulus)
    weights = np.array([[2.0, 0.0, 1.0, 1.0, 3.0]])
    rows = [0, 0, 2, 3, 4, 4, 4]
    again = Repeats(np.arange(7), r.n[rows], r.mean[rows], r.within[rows])
    for score in ceilings.SCORES.values():
        direct = score(again, truth[rows], again.once)
        np.testing.assert_allclose(score(r, truth, weights), direct)
    np.testing.assert_allclose(
        ceilings.signal_variance(r, weights), ceilings.signal_variance(again, again.once)
    )


@pytest.mark.parametrize("unequal", [False, True])
def test_a_planted_ceiling_is_recovered(unequal):
    y, stimulus, _ = planted(n_stimuli=1500, unequal=unequal)
    r = Repeats.of(y, stimulus)
    np.testing.assert_allclose(ceilings.noise_variance(r, r.once)[0], 1, atol=0.05)
    np.testing.assert_allclose(ceilings.signal_variance(r, r.once)[0], [1, 0.5, 0], atol=0.1)
    np.testing.assert_allclose(ceilings.explainable(r, r.once)[0], [1 / 2, 1 / 3, 0], atol=0.05)
    if not unequal:
        reliable = np.array([1 / 1.25, 0.5 / 0.75])
        np.testing.assert_allclose(ceilings.ceiling(r, r.once)[0, :2], np.sqrt(reliable), atol=0.03)
        halves = ceilings.split_half(y, stimulus, n_splits=5)
        np.testing.assert_allclose(halves, [*reliable, 0], atol=0.1)


def test_the_truth_reaches_the_ceiling_and_shuffled_stimuli_score_nothing():
    y, stimulus, truth = planted(n_stimuli=600)
    r = Repeats.of(y, stimulus)
    found = {s.metric: s for s in encoding_scores(r, truth, n_boot=200)}
    assert found["feve"].value == pytest.approx(1, abs=0.05)
    assert found["normalised_correlation"].value == pytest.approx(1, abs=0.05)
    assert found["correlation_to_average"].value < 0.9
    assert found["channels_left_out"].value == 1
    assert all(s.low <= s.value <= s.high for s in found.values())
    moved = np.roll(truth, 100, axis=0)
    null = {s.metric: s for s in encoding_scores(r, moved, n_boot=200)}
    assert null["normalised_correlation"].low < 0 < null["normalised_correlation"].high
    flat = {s.metric: s.value for s in encoding_scores(r, 0 * truth + y.mean(axis=0), n_boot=50)}
    assert flat["feve"] == pytest.approx(0, abs=1e-9)
    assert flat["correlation_to_average"] == 0


def test_intervals_cover_what_was_planted():
    hits = 0
    for seed in range(40):
        y, stimulus, truth = planted(n_stimuli=80, signal=(0.6,), seed=seed)
        half = 3 + 0.5 * (truth - 3)  # explains 1 - 0.25 of the signal
        found = {s.metric: s for s in encoding_scores(Repeats.of(y, stimulus), half, n_boot=300)}
        hits += found["feve"].low <= 0.75 <= found["feve"].high
    assert 33 <= hits <= 40  # of 95%


def test_the_oracle_never_sees_its_own_trial():
    y, stimulus, _ = planted(n_stimuli=30)
    y, stimulus = np.append(y, [[1.0, 2.0, 3.0]], axis=0), np.append(stimulus, 99)
    before, had = ceilings.leave_one_out(y, stimulus)
    assert had.tolist() == [True] * (len(y) - 1) + [False]
    assert np.isnan(before[-1]).all()
    changed = y.copy()
    changed[7] += 5
    after, _ = ceilings.leave_one_out(changed, stimulus)
    np.testing.assert_allclose(after[7], before[7])
    mates = (stimulus == stimulus[7]) & (np.arange(len(y)) != 7)
    np.testing.assert_allclose(after[mates], before[mates] + 5 / 3)


@pytest.mark.parametrize(
    ("responses", "stimulus", "words"),
    [
        ([[1.0], [2.0]], [0, 1], "shown twice"),
        ([[1.0], [2.0]], [0, 0], "two stimuli"),
        ([[1.0], [np.nan], [0.0]], [0, 0, 1], "finite"),
        ([1.0, 2.0], [0, 0], "finite"),
    ],
)
def test_what_cannot_be_is_said(responses, stimulus, words):
    with pytest.raises(InputError, match=words):
        Repeats.of(responses, stimulus)


def test_a_prediction_of_another_shape_and_noise_alone_are_said():
    y, stimulus, truth = planted(n_stimuli=50)
    with pytest.raises(InputError, match="predicted"):
        encoding_scores(Repeats.of(y, stimulus), truth[:-1])
    rng = np.random.default_rng(1)
    noise = Repeats.of(rng.normal(size=(200, 1)), np.arange(200) // 4)
    with pytest.raises(InputError, match="explainable share"):
        encoding_scores(noise, np.zeros((50, 1)))


def shared(n_stimuli=60, n_repeats=4, seed=0):
    """Responses to stimuli and to a behaviour of each trial, what knows both without the noise, and stimuli."""
    rng = np.random.default_rng(seed)
    stimulus = np.repeat(np.arange(n_stimuli), n_repeats)
    known = rng.normal(size=(n_stimuli, 2))[stimulus] + rng.normal(size=(len(stimulus), 2))
    return known + rng.normal(size=known.shape), known, stimulus


def test_behaviour_of_a_trial_earns_nothing_where_stimuli_are_scored():
    y, known, stimulus = shared()
    r = Repeats.of(y, stimulus)
    naive = np.array([known[stimulus == s].mean(axis=0) for s in r.stimulus])
    told = ceilings.Told.of_trials(y, known, stimulus)
    np.testing.assert_allclose(told.mean, naive)
    assert (
        ceilings.feve(r, naive, r.once) > 1.1
    ).all()  # the noise of behaviour passed for stimulus
    assert (ceilings.feve(r, told, r.once) < 1.0).all()
    ceiling = ceilings.ceiling(r, r.once)
    assert (ceilings.correlation_to_average(r, naive, r.once) > ceiling).all()
    assert (ceilings.correlation_to_average(r, told, r.once) < ceiling).all()


def test_labels_that_were_shuffled_are_explained_by_nothing():
    """A predictor that knows each trial tells of shuffled labels what they share by chance, unless it must not."""
    y, known, stimulus = shared(n_stimuli=12, n_repeats=20)
    rng = np.random.default_rng(1)
    values, naive = [], []
    for _ in range(60):
        label = rng.permutation(stimulus)
        r, told = Repeats.of(y, label), ceilings.Told.of_trials(y, known, label)
        means = np.array([known[label == s].mean(axis=0) for s in r.stimulus])
        values.append(ceilings.correlation_to_average(r, told, r.once))
        naive.append(ceilings.correlation_to_average(r, means, r.once))
    assert -0.4 < np.mean(values) < 0.1  # a trial left out makes the others a little unlike it
    assert np.mean(naive) > 0.5


def test_one_prediction_a_stimulus_is_one_for_each_of_its_trials():
    y, stimulus, truth = planted(n_stimuli=30)
    r = Repeats.of(y, stimulus)
    told = ceilings.Told.of_trials(y, truth[stimulus], stimulus)
    a, b = (encoding_scores(r, p, n_boot=20) for p in (truth, told))
    np.testing.assert_allclose([s.value for s in a], [s.value for s in b])
    np.testing.assert_allclose([s.low for s in a], [s.low for s in b])
    with pytest.raises(InputError, match="shown twice"):
        ceilings.Told.of_trials(y[:3], truth[:3], [0, 0, 1])


def test_gains_are_differences_on_the_same_draws():
    y, stimulus, truth = planted(n_stimuli=60)
    r = Repeats.of(y, stimulus)
    rival = 0.5 * truth + 1.5
    gains = {s.metric: s for s in ceilings.encoding_gains(r, truth, rival, n_boot=200)}
    ours, other = ({s.metric: s for s in encoding_scores(r, p, n_boot=200)} for p in (truth, rival))
    assert gains["feve_gain"].value == pytest.approx(ours["feve"].value - other["feve"].value)
    apart = ours["feve"].high - other["feve"].low
    assert 0 < gains["feve_gain"].low < gains["feve_gain"].high < apart
    assert gains["correlation_to_average_gain"].value == pytest.approx(0, abs=1e-9)
