from dataclasses import dataclass

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate import metrics as m
from neurofm.evaluate.baselines import BASELINES
from neurofm.evaluate.planted import Planted
from neurofm.evaluate.score import Scored, Skipped, block_edges, fingerprint, score
from neurofm.evaluate.tasks import TASKS

BIN_S = 0.1
RNG = np.random.default_rng(0)
RATES = np.exp(RNG.normal(0, 0.8, (1000, 6)))
COUNTS = RNG.poisson(RATES).astype(np.uint8)
PARTS = {
    "train": Intervals.of([(0.0, 50.0)]),
    "valid": Intervals.of([(50.0, 60.0)]),
    "test": Intervals.of([(60.0, 100.0)]),
}


def recording(**more):
    return Recording.from_arrays("r", counts=COUNTS, bin_s=BIN_S, **more)


def run(factory, task="co-smoothing", rec=None, **more):
    return score(factory, "p", TASKS[task], rec or recording(), **PARTS, bin_s=BIN_S, **more)


def truth():
    return Planted({"r": RATES})


def test_scores_equal_the_metrics_of_plain_arrays():
    scored = run(truth)
    assert isinstance(scored, Scored)
    plain = m.block_scores(COUNTS[600:], RATES[600:], np.arange(400) // 100)
    assert scored.scores.n_blocks == 4
    assert scored.scores.first.tolist() == [600, 700, 800, 900]
    for metric in m.METRICS.values():
        assert m.value(scored.scores, metric) == pytest.approx(m.value(plain, metric), rel=1e-5)


def test_forward_scores_only_bins_past_the_context_against_their_own_mean():
    scored = run(truth, "forward", keep_answers=True)
    assert scored.answers.bin.tolist() == list(range(620, 1000))
    plain = m.block_scores(COUNTS[620:], RATES[620:], np.arange(620, 1000) // 100)
    assert m.value(scored.scores, m.bps_pooled) == pytest.approx(m.value(plain, m.bps_pooled))


def test_answers_are_kept_only_if_asked_for():
    assert run(truth).answers is None
    kept = run(truth, keep_answers=True).answers
    assert np.allclose(kept.rates, RATES[600:])
    assert np.array_equal(kept.counts, COUNTS[600:])


def test_cells_that_are_not_asked_about_are_nan_in_the_answers():
    rec = recording(channel_region=list("AAAAAB"))
    kept = run(truth, "inter-region", rec, keep_answers=True)
    assert np.isnan(kept.answers.rates[:, 5]).all()
    assert kept.scores.unit.tolist() == [f"r/{i}" for i in range(5)]


def test_a_task_that_cannot_be_asked_is_reported_not_dropped():
    out = run(truth, "inter-region", recording(channel_region=["A"] * 6))
    assert isinstance(out, Skipped)
    assert "only one region" in out.reason
    assert (out.predictor, out.task, out.recording) == ("p", "inter-region", "r")


def test_each_fold_gets_a_new_predictor_and_progress_is_told():
    made, told = [], []

    def factory():
        made.append(BASELINES["mean-rate"]())
        return made[-1]

    run(factory, progress=lambda what, done, n: told.append((done, n)))
    assert len({id(p) for p in made}) == 5
    assert told == [(i, 5) for i in range(1, 6)]


@dataclass
class Odd:
    what: object
    name: str = "odd"

    def fit(self, train, valid):
        self.seen = len(train), len(valid)

    def predict(self, questions):
        return self.what(questions)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (lambda qs: [], "answered 0 of 1 questions"),
        (lambda qs: [np.ones((3, 6)) for _ in qs], r"shape \(3, 6\)"),
        (lambda qs: [np.full(q.visible.shape, np.nan) for q in qs], "not finite"),
    ],
)
def test_a_predictor_that_answers_nonsense_is_named(what, message):
    with pytest.raises(InputError, match=message) as error:
        run(lambda: Odd(what))
    assert str(error.value).startswith("p ")


def test_the_truth_must_reach_the_test_part():
    with pytest.raises(InputError, match="do not reach bin 1000"):
        run(lambda: Planted({"r": RATES[:900]}))
    with pytest.raises(InputError, match="planted rates of r"):
        run(lambda: Planted({}))


def test_blocks_never_cross_pieces_and_short_pieces_are_blocks():
    assert block_edges([(0, 25), (30, 33), (40, 60)], 10).tolist() == [0, 12, 30, 40, 50]


def test_fingerprint_changes_with_every_part_of_the_question():
    rec, task = recording(), TASKS["co-smoothing"]
    base = fingerprint(task, rec, **PARTS, bin_s=BIN_S, seed=0)
    assert base == fingerprint(task, recording(), **PARTS, bin_s=BIN_S, seed=0)
    moved = PARTS | {"test": Intervals.of([(60.0, 99.0)])}
    others = [
        fingerprint(task, rec, **PARTS, bin_s=0.2, seed=0),
        fingerprint(task, rec, **PARTS, bin_s=BIN_S, seed=1),
        fingerprint(task, rec, **moved, bin_s=BIN_S, seed=0),
        fingerprint(TASKS["forward"], rec, **PARTS, bin_s=BIN_S, seed=0),
    ]
    assert len({base, *others}) == 5
    assert run(truth).scores.asked == base
