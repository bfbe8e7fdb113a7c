import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.evaluate import metrics as m

# Two units, four bins. Unit 0: counts 0 2 0 2, so its null is 1. Unit 1: one spike, null 1/4.
COUNTS = np.array([[0, 0], [2, 0], [0, 1], [2, 0]])
RATES = np.array([[0.5, 0.25], [1.5, 0.25], [0.5, 0.25], [1.5, 0.25]])
BLOCK = [0, 0, 1, 1]


def test_bits_per_spike_by_hand():
    scores = m.block_scores(COUNTS, RATES, BLOCK)
    # unit 0: model 2*2 ln 1.5 - 4, null 2*2 ln 1 - 4, so the gain is 4 ln 1.5 over 4 spikes.
    assert m.per_unit(scores) == pytest.approx([np.log2(1.5), 0.0])
    assert m.value(scores, m.bps_pooled) == pytest.approx(4 * np.log2(1.5) / 5)
    assert m.value(scores, m.bps_per_unit) == pytest.approx(np.log2(1.5) / 2)


def test_d2_by_hand():
    scores = m.block_scores(COUNTS, RATES, BLOCK)
    # unit 0: saturated 4 ln 2 - 4, null -4, model 4 ln 1.5 - 4; unit 1 answers its mean: 0.
    assert m.value(scores, m.d2) == pytest.approx((np.log(1.5) / np.log(2)) / 2)


def test_blocks_add_up_and_the_null_is_the_mean_of_the_whole_test_part():
    scores = m.block_scores(COUNTS, RATES, BLOCK)
    assert scores.spikes.tolist() == [[2, 0], [2, 1]]
    expected = [[-2.0, -0.5], [-2.0, np.log(0.25) - 0.5]]
    assert scores.ll_null == pytest.approx(np.array(expected))


def test_a_perfect_prediction_explains_all_and_the_mean_explains_nothing():
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (50, 3))
    perfect = m.block_scores(counts, counts, np.arange(50) // 10)
    mean = m.block_scores(counts, np.tile(counts.mean(0), (50, 1)), np.arange(50) // 10)
    assert m.value(perfect, m.d2) == pytest.approx(1.0, abs=1e-6)
    for metric in m.METRICS.values():
        assert m.value(mean, metric) == pytest.approx(0.0, abs=1e-12)


def test_silent_units_are_left_out_and_counted():
    counts = np.concatenate([COUNTS, np.zeros((4, 1), int)], axis=1)
    rates = np.concatenate([RATES, np.full((4, 1), 9.0)], axis=1)
    scores, without = m.block_scores(counts, rates, BLOCK), m.block_scores(COUNTS, RATES, BLOCK)
    assert m.units_left_out(scores) == 1
    for metric in m.METRICS.values():
        assert m.value(scores, metric) == pytest.approx(m.value(without, metric))


def test_a_rate_of_zero_is_scored_and_a_rate_that_is_no_number_is_refused():
    bad = RATES.copy()
    bad[1, 0] = 0.0
    assert m.value(m.block_scores(COUNTS, bad, BLOCK), m.bps_pooled) < -5
    bad[1, 0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        m.block_scores(COUNTS, bad, BLOCK)
    with pytest.raises(InputError, match="same"):
        m.block_scores(COUNTS, RATES[:2], BLOCK)


def test_nothing_fired_is_undefined():
    scores = m.block_scores(np.zeros((4, 2)), np.ones((4, 2)), BLOCK)
    assert np.isnan([m.value(scores, metric) for metric in m.METRICS.values()]).all()
    assert np.isnan(m.interval(scores, m.bps_pooled, n_boot=20)).all()


def simulated(gain_of_rate=1.0, seed=0, n_blocks=30):
    rng = np.random.default_rng(seed)
    drive = np.repeat(rng.normal(0, 0.6, (n_blocks * 10, 1)), 5, axis=1)
    rates = np.exp(drive - 0.5)
    counts = rng.poisson(rates)
    block = np.arange(len(counts)) // 10
    return m.block_scores(counts, rates**gain_of_rate, block, predictor=str(gain_of_rate))


@pytest.mark.parametrize("name", list(m.METRICS))
def test_the_vectorised_bootstrap_equals_scoring_each_resample(name):
    scores = simulated(n_blocks=6)
    weights = m.resamples(6, 20, 0, "t", "r")
    assert (weights.sum(axis=1) == 6).all()
    fast = m.METRICS[name](scores, weights)
    for row, value in zip(weights, fast, strict=True):
        at = np.repeat(np.arange(6), row.astype(int))
        again = m.BlockScores("", "", "", scores.unit, at, scores.ll_model[at], scores.ll_null[at],
                              scores.ll_saturated[at], scores.spikes[at])  # fmt: skip
        assert m.value(again, m.METRICS[name]) == pytest.approx(value)


def test_intervals_hold_the_value_shrink_with_blocks_and_repeat():
    few, many = simulated(n_blocks=20), simulated(n_blocks=320)
    value, low, high = m.interval(few, m.bps_pooled, seed=1)
    assert low < value < high
    assert m.interval(few, m.bps_pooled, seed=1) == (value, low, high)
    _, low_many, high_many = m.interval(many, m.bps_pooled)
    assert (high_many - low_many) < 0.5 * (high - low)


def test_ninety_five_percent_intervals_cover_the_truth_about_that_often():
    truth = m.value(simulated(n_blocks=4000, seed=99), m.bps_pooled)
    covered = [
        low <= truth <= high
        for _, low, high in (
            m.interval(simulated(seed=s), m.bps_pooled, n_boot=300) for s in range(100)
        )
    ]
    assert 0.85 <= np.mean(covered) <= 1.0


def test_a_paired_gain_is_narrower_than_the_scores_it_compares():
    a, b = simulated(1.0), simulated(0.8)
    value, low, high = m.gain(a, b, m.bps_pooled)
    assert value == pytest.approx(m.value(a, m.bps_pooled) - m.value(b, m.bps_pooled))
    assert low <= value <= high
    _, low_a, high_a = m.interval(a, m.bps_pooled)
    assert high - low < 0.5 * (high_a - low_a)
    assert m.gain(a, a, m.bps_pooled) == (0.0, 0.0, 0.0)


def test_scores_of_different_questions_are_not_compared():
    with pytest.raises(InputError, match="different questions"):
        m.gain(simulated(n_blocks=30), simulated(n_blocks=20), m.bps_pooled)


def test_r2_and_balanced_accuracy_by_hand():
    y = np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]])
    p = np.array([[0.0, 1.0], [2.0, 2.0], [2.0, 1.0]])
    value = m.r2(y, p)
    assert value[0] == pytest.approx(1 - 4 / 8)
    assert np.isnan(value[1])
    assert m.r2(y, p, np.array([1.0, 1.0, 0.0]))[0] == pytest.approx(1.0)
    labels, guess = np.array(["a", "a", "a", "b"]), np.array(["a", "a", "b", "b"])
    assert m.balanced_accuracy(labels, guess) == pytest.approx((2 / 3 + 1) / 2)
    assert m.balanced_accuracy(labels, np.full(4, "a")) == pytest.approx(0.5)
