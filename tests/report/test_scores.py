"""Arranging results, the verdict on the model, and the sentences about it."""

import math
from typing import Any

import pytest

from neurofm.report import headline, scores
from neurofm.results import Result


def row(predictor: str, recording: str, value: float, **other: Any) -> Result:
    fields = {"task": "co-smoothing", "split": "test", "metric": "bps_pooled", "n": 10, "seed": 0,
              "null": "mean rate", "low": value - 0.1, "high": value + 0.1}  # fmt: skip
    return Result(predictor=predictor, recording=recording, value=value, **fields | other)


def two_recordings(gain: tuple[float, float, float] | None = None) -> list[Result]:
    out = [row("smoothing", "b", 0.1), row("model", "b", 0.4), row("model", "a", 0.3),
           row("ridge", "a", 0.35), row("ridge", "b", 0.2), row("planted", "a", 0.5),
           row("planted", "b", 0.7)]  # fmt: skip
    out += [row("model", "mean", 0.35), row("ridge", "mean", 0.275), row("smoothing", "mean", 0.1)]
    if gain is not None:
        value, low, high = gain
        more = {"metric": "bps_pooled_gain", "null": "ridge"}
        out.append(row("model", "mean", value, low=low, high=high, **more))
    return out


def only(results: list[Result]) -> scores.Scores:
    (found,) = scores.arrange(results)
    return found


def test_order_is_model_then_baselines_by_falling_score_then_ceilings():
    s = only(two_recordings())
    assert s.predictors == ("model", "ridge", "smoothing", "planted")
    assert s.recordings == ("a", "b")
    assert s.rows == ("a", "b", "mean")
    assert s.best == "ridge"


def test_planted_truth_is_never_the_best_baseline():
    s = only([row("model", "a", 0.3), row("planted-shared", "a", 0.9)])
    assert s.best is None
    assert s.baselines == ()


def test_a_baseline_on_easy_recordings_alone_is_not_the_best():
    easy = [row("lucky", "b", 0.9), row("lucky", "mean", 0.9)]
    s = only([*two_recordings(), *easy])
    assert s.baselines[0] == "lucky"
    assert s.best == "ridge"
    assert only(easy).best == "lucky"


def test_recordings_with_a_whole_interval_above_zero_are_counted():
    more = {"metric": "bps_pooled_gain", "null": "ridge"}
    gains = [row("model", "a", 0.1, low=0.01, high=0.2, **more),
             row("model", "b", 0.1, low=-0.01, high=0.2, **more)]  # fmt: skip
    assert only([*two_recordings(), *gains]).n_surely_above("ridge") == 1
    assert only(two_recordings()).n_surely_above("ridge") is None


def test_a_later_answer_replaces_an_earlier_one():
    s = only([row("model", "a", 0.3), row("model", "a", 0.7)])
    assert s.cells["a", "model"].value == 0.7


def test_overall_is_the_recorded_mean_else_the_plain_mean_without_nan():
    assert only(two_recordings()).overall("model") == 0.35
    s = only([row("model", "a", 0.2), row("model", "b", 0.4), row("model", "c", math.nan)])
    assert s.overall("model") == pytest.approx(0.3)
    assert math.isnan(s.overall("ridge"))


def test_wins_are_counted_on_recordings_with_both():
    s = only([*two_recordings(), row("model", "c", 0.9), row("ridge", "d", 0.9)])
    assert s.n_above("ridge") == (1, 2)


@pytest.mark.parametrize(
    ("gain", "standing"),
    [
        ((0.08, 0.02, 0.14), "above"),
        ((0.08, -0.02, 0.18), "unclear"),
        ((-0.08, -0.2, -0.01), "below"),
        ((0.08, math.nan, math.nan), "unpaired"),
        (None, "unpaired"),
    ],
)
def test_verdict_follows_the_paired_interval(gain, standing):
    s = only(two_recordings(gain))
    assert scores.verdict(s) == standing
    finding = headline.finding(s)
    assert (finding.tone == "good") == (standing == "above")
    assert ("does NOT beat" in finding.text) == (standing in {"unclear", "below"})


def test_without_an_interval_a_lower_score_is_a_warning():
    s = only([row("model", "a", 0.2), row("ridge", "a", 0.3)])
    finding = headline.finding(s)
    assert finding.tone == "warns"
    assert "does NOT beat the best baseline" in finding.text
    assert "does NOT beat the best baseline" in finding.brief


def test_no_baseline_and_no_model_are_said():
    alone = headline.finding(only([row("model", "a", 0.2)]))
    assert "No baseline was evaluated" in alone.text
    assert alone.tone == "warns"
    absent = headline.finding(only([row("ridge", "a", 0.2)]))
    assert "no score yet" in absent.text


def test_sentence_holds_value_interval_gain_wins_and_ceiling():
    results = two_recordings((0.08, 0.02, 0.14))
    ratio = {"metric": "bps_pooled_gain_ratio", "null": "ridge", "low": 0.1, "high": 0.4}
    text = headline.finding(only([*results, row("model", "mean", 0.27, **ratio)])).text
    for part in ("0.350 [0.250, 0.450]", "+0.080 [+0.020, +0.140]", "+27% [+10%, +40%]",
                 "1 of 2 recordings", "planted 0.600 (the model reaches 58%)"):  # fmt: skip
        assert part in text


def test_a_single_recording_needs_no_mean():
    gain = row("model", "a", 0.1, low=0.05, high=0.15, metric="bps_pooled_gain", null="ridge")
    s = only([row("model", "a", 0.4), row("ridge", "a", 0.3), gain])
    assert scores.verdict(s) == "above"
    assert s.rows == ("a",)


def test_tasks_and_metrics_come_in_a_fixed_order_and_nulls_are_kept_apart():
    results = [row("model", "a", 0.1, task="probe:choice", metric="auc"),
               row("model", "a", 0.1, task="forward"), row("model", "a", 0.1, metric="d2"),
               row("model", "a", 0.1, split="valid"), row("model", "a", 0.1),
               row("model", "a", 0.1, null="other")]  # fmt: skip
    found = [(s.task, s.split, s.metric) for s in scores.arrange(results)]
    assert found == [
        ("co-smoothing", "test", "bps_pooled"),
        ("co-smoothing", "test", "bps_pooled"),
        ("co-smoothing", "test", "d2"),
        ("co-smoothing", "valid", "bps_pooled"),
        ("forward", "test", "bps_pooled"),
        ("probe:choice", "test", "auc"),
    ]
    assert [s.task for s in scores.headline(scores.arrange(results))] == [
        "co-smoothing", "forward", "probe:choice"]  # fmt: skip
