from dataclasses import replace

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate.tasks import (
    TASKS,
    CoSmoothing,
    Forward,
    InterRegion,
    IntraRegion,
    NotAskable,
    regions_left_out,
)

BIN_S = 0.05


def recording(n_bins=200, regions="AAAAAAABBBBBBCC", valid=None):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.7, (n_bins, len(regions))).astype(np.uint8)
    return Recording.from_arrays(
        "r", counts=counts, bin_s=BIN_S, channel_region=list(regions), valid=valid
    )


ALL = Intervals.of([(0.0, 1000.0)])


def test_co_smoothing_hides_each_channel_once_and_shows_the_others():
    rec = recording()
    folds = CoSmoothing().groups(rec, seed=3)
    assert len(folds) == 5
    assert (np.sum([f.hidden for f in folds], axis=0) == 1).all()
    for fold in folds:
        (example,) = CoSmoothing().examples(rec, ALL, BIN_S, fold)
        q = example.question
        assert np.array_equal(q.hidden, q.scored)
        assert (q.visible[:, fold.hidden] == 0).all()
        shown = ~fold.hidden
        assert np.array_equal(q.visible[:, shown], example.counts[:, shown])
        assert example.counts[:, fold.hidden].any()


def test_folds_depend_on_the_seed_alone():
    rec = recording()
    same = [f.hidden for f in CoSmoothing().groups(rec, 3)]
    again = [f.hidden for f in CoSmoothing().groups(rec, 3)]
    other = [f.hidden for f in CoSmoothing().groups(rec, 4)]
    assert np.array_equal(same, again)
    assert not np.array_equal(same, other)


def test_intra_region_shows_only_the_rest_of_the_region():
    rec = recording()
    folds = IntraRegion().groups(rec, 0)
    region = rec.channels.region
    assert len(folds) == 10
    scored = np.sum([f.scored for f in folds], axis=0)
    assert np.array_equal(scored, np.isin(region, ["A", "B"]).astype(int))
    for fold in folds:
        (own,) = set(region[fold.scored])
        assert set(region[~fold.hidden]) == {own}
        assert (fold.hidden | ~fold.scored).all()
        assert fold.label.startswith(own)


def test_inter_region_hides_and_scores_one_whole_region():
    rec = recording()
    folds = InterRegion().groups(rec, 0)
    assert [f.label for f in folds] == ["A", "B"]
    for fold in folds:
        assert np.array_equal(fold.hidden, rec.channels.region == fold.label)
        assert np.array_equal(fold.scored, fold.hidden)
    assert regions_left_out(rec.channels, 5) == {"C": 2}


@pytest.mark.parametrize("n_bins", [44, 45, 46, 47, 48, 101, 200])
def test_forward_scores_every_bin_past_the_context_once(n_bins):
    rec = recording(n_bins)
    (fold,) = Forward().groups(rec, 0)
    times_scored = np.zeros(n_bins, int)
    for example in Forward().examples(rec, ALL, BIN_S, fold):
        q = example.question
        assert q.hidden[-4:].all()
        assert not q.hidden[:-4].any()
        assert len(q.hidden) == 44
        assert (q.visible[-4:] == 0).all()
        assert (q.hidden | ~q.scored).all()
        times_scored[q.first : q.first + len(q.scored)] += q.scored[:, 0]
    assert np.array_equal(times_scored, (np.arange(n_bins) >= 40).astype(int))


def test_forward_shortens_the_context_of_short_pieces_and_drops_none_longer_than_the_horizon():
    rec = recording(200, valid=[(0.0, 0.4), (1.0, 1.25), (2.0, 2.2), (3.0, 6.0)])
    (fold,) = Forward().groups(rec, 0)
    questions = [e.question for e in Forward().examples(rec, ALL, BIN_S, fold)]
    assert [(q.first, len(q.visible)) for q in questions[:2]] == [(0, 8), (20, 5)]
    assert {q.first // 20 for q in questions} == {0, 1, 3}  # 0.2 s holds a horizon and no context
    assert all(len(q.visible) == 44 for q in questions[2:])


def test_horizon_is_at_least_one_bin():
    assert Forward().n_bins(0.5) == (4, 1)
    assert Forward().n_bins(10.0) == (1, 1)


def test_examples_stay_inside_what_was_recorded():
    rec = recording(200, valid=[(0.0, 2.0), (4.0, 9.0)])
    fold = CoSmoothing().groups(rec, 0)[0]
    examples = CoSmoothing().examples(rec, Intervals.of([(1.0, 5.0)]), BIN_S, fold)
    spans = [(e.question.first, e.question.first + len(e.counts)) for e in examples]
    assert spans == [(20, 40), (80, 100)]


@pytest.mark.parametrize(
    ("task", "regions", "why"),
    [
        ("co-smoothing", "A", "needs two channels"),
        ("intra-region", "AAAAAA", "only one region, 'A'"),
        ("inter-region", "AAAAAA", "only one region, 'A'"),
        ("inter-region", ["", "", ""], "no region names"),
        ("intra-region", "AAAABBBB", "no region has the 5 channels"),
    ],
)
def test_a_task_that_cannot_be_asked_says_why(task, regions, why):
    with pytest.raises(NotAskable, match=why) as error:
        TASKS[task].groups(recording(regions=regions), 0)
    assert isinstance(error.value, InputError)


def test_channels_that_are_neither_counts_nor_values_are_not_asked_about():
    plain = Recording.from_arrays("t", traces=np.zeros((50, 3), np.float32), bin_s=1.0)
    kinds = np.array(["real", "count", "real"])
    rec = replace(plain, channels=replace(plain.channels, kind=kinds))
    for task in TASKS.values():
        with pytest.raises(NotAskable, match="scored on counts or on values"):
            task.groups(rec, 0)


def test_a_part_too_short_to_ask_about_is_refused():
    rec = recording()
    for task in TASKS.values():
        fold = task.groups(rec, 0)[0]
        with pytest.raises(NotAskable):
            task.examples(rec, Intervals.of([(0.01, 0.04)]), BIN_S, fold)
    (fold,) = TASKS["forward"].groups(rec, 0)
    with pytest.raises(NotAskable, match="horizon"):
        TASKS["forward"].examples(rec, Intervals.of([(0.0, 0.2)]), BIN_S, fold)
