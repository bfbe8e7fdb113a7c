import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.evaluate import metrics as m
from neurofm.evaluate.summary import NULL, About, results_of

RECORDINGS = ("a", "b", "c", "d")
ABOUT = About(seed=3, n_boot=400, run="R", fingerprint="F")


def scores(predictor, power, recording, n_blocks=12):
    rng = np.random.default_rng(RECORDINGS.index(recording))
    rates = np.exp(np.repeat(rng.normal(0, 0.7, (n_blocks * 10, 1)), 4, axis=1))
    counts = rng.poisson(rates)
    block = np.arange(len(counts)) // 10
    names = {"predictor": predictor, "task": "co-smoothing", "recording": recording}
    return m.block_scores(counts, rates**power, block, **names)


def everything(powers):
    return [scores(p, power, r) for p, power in powers.items() for r in RECORDINGS]


POWERS = {"model": 0.9, "ridge": 0.5, "weak": 0.2, "planted": 1.0}


def only(results, **want):
    return [r for r in results if all(getattr(r, k) == v for k, v in want.items())]


def test_every_recording_and_their_mean_for_each_metric():
    results = results_of(everything(POWERS), ABOUT)
    for metric in m.METRICS:
        rows = only(results, predictor="ridge", metric=metric)
        assert [r.recording for r in rows] == [*RECORDINGS, "mean"]
        assert rows[-1].value == pytest.approx(np.mean([r.value for r in rows[:-1]]))
        assert (rows[-1].n, rows[-1].unit_of_n) == (4, "recordings")
        assert (rows[0].n, rows[0].unit_of_n, rows[0].null) == (12, "blocks", NULL)
        assert all(r.low < r.value < r.high for r in rows)
        assert all((r.seed, r.split, r.run, r.fingerprint) == (3, "test", "R", "F") for r in rows)


def test_gains_are_paired_and_named_after_the_rival():
    results = results_of(everything(POWERS), ABOUT)
    rows = only(results, metric="bps_pooled_gain", null="ridge")
    assert [r.recording for r in rows] == [*RECORDINGS, "mean"]
    own = {r.predictor: r for r in only(results, metric="bps_pooled", recording="mean")}
    assert rows[-1].value == pytest.approx(own["model"].value - own["ridge"].value)
    assert all(r.predictor == "model" and r.low > 0 for r in rows)
    assert rows[-1].high - rows[-1].low < own["model"].high - own["model"].low
    assert not only(results, null="planted")


def test_the_ratio_is_to_the_best_rival_and_never_to_the_ceiling():
    results = results_of(everything(POWERS), ABOUT)
    (ratio,) = only(results, metric="bps_pooled_gain_ratio")
    own = {r.predictor: r.value for r in only(results, metric="bps_pooled", recording="mean")}
    assert ratio.null == "ridge"
    assert ratio.value == pytest.approx(own["model"] / own["ridge"] - 1)
    assert 0 < ratio.low < ratio.value < ratio.high


def test_an_equal_rival_leaves_an_interval_of_zero():
    results = results_of(everything({"model": 0.9, "twin": 0.9}), ABOUT)
    for row in only(results, null="twin"):
        assert (row.value, row.low, row.high) == (0.0, 0.0, 0.0)


def test_same_results_in_any_order_and_with_other_predictors_beside():
    every = everything(POWERS)
    first = {r.predictor + r.recording + r.metric + r.null: r for r in results_of(every, ABOUT)}
    again = {
        r.predictor + r.recording + r.metric + r.null: r for r in results_of(every[::-1], ABOUT)
    }
    assert first.keys() == again.keys()
    assert all(again[k].low == pytest.approx(r.low) for k, r in first.items())
    alone = results_of([s for s in every if s.predictor == "ridge"], ABOUT)
    assert all(r == first[r.predictor + r.recording + r.metric + r.null] for r in alone)


def test_one_recording_has_no_mean_and_a_rival_that_missed_one_is_not_the_best():
    one = [scores(p, power, "a") for p, power in POWERS.items()]
    assert not only(results_of(one, ABOUT), recording="mean")
    partly = [s for s in everything(POWERS) if (s.predictor, s.recording) != ("ridge", "b")]
    results = results_of(partly, ABOUT)
    assert only(results, metric="bps_pooled_gain_ratio")[0].null == "weak"
    assert only(results, metric="bps_pooled_gain", null="ridge", recording="mean")[0].n == 3


def test_a_place_scored_twice_and_unlike_questions_are_refused():
    with pytest.raises(InputError, match="two scores"):
        results_of([scores("ridge", 0.5, "a"), scores("ridge", 0.6, "a")], ABOUT)
    with pytest.raises(InputError, match="different questions"):
        results_of([scores("model", 0.5, "a"), scores("ridge", 0.6, "a", n_blocks=9)], ABOUT)
