"""What every task promises, one suite over the table."""

from dataclasses import is_dataclass

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.evaluate.node_tasks import Behaviour, Decoding, Encoding
from neurofm.evaluate.tasks import TASKS

NODE_TASKS = {t.name: t for t in (Encoding(), Decoding("wheel"), Decoding("side"), Behaviour())}
PART = Intervals.of([(0.0, 4.0), (5.0, 6.1), (6.1, 9.73)])


def recording(counts, task=None):
    """Half of the columns; for tasks between nodes the rest of them as a signal, and a label."""
    bare = Recording.from_arrays(
        "r",
        counts=counts[:, :16],
        bin_s=0.05,
        channel_region=["A"] * 7 + ["B"] * 9,
        signals={"wheel": counts[:, 16:].astype(np.float32)},
        trials={
            "start_s": np.arange(9) + 0.2,
            "stop_s": np.arange(9) + 0.9,
            "side": list("lrlrrllrl"),
        },
    )
    between = task is not None and task.name in NODE_TASKS
    return bare.with_channels(signals=["wheel"], trials=["side"]) if between else bare


def counts_of(seed):
    return np.random.default_rng(seed).poisson(0.6, (200, 18)).astype(np.uint8)


@pytest.fixture(params=[*TASKS, *NODE_TASKS])
def task(request):
    return {**TASKS, **NODE_TASKS}[request.param]


def examples(task, rec, seed=0):
    return [e for f in task.groups(rec, seed) for e in task.examples(rec, PART, 0.05, f)]


def test_named_as_in_the_table_and_frozen(task):
    assert {**TASKS, **NODE_TASKS}[task.name] is task
    assert is_dataclass(task)
    with pytest.raises(AttributeError):
        task.name = "other"


def test_scored_cells_are_hidden_and_hidden_cells_show_nothing(task):
    for example in examples(task, recording(counts_of(0), task)):
        q = example.question
        assert q.scored.any()
        assert (q.hidden | ~q.scored).all()
        assert (q.visible[q.hidden] == 0).all()
        assert np.array_equal(q.visible[~q.hidden], example.counts[~q.hidden], equal_nan=True)
        assert q.hidden.shape == q.scored.shape == q.visible.shape == example.counts.shape


def test_a_cell_is_scored_at_most_once(task):
    rec = recording(counts_of(0), task)
    times = np.zeros((200, len(rec.channels)), int)
    for example in examples(task, rec):
        q = example.question
        times[q.first : q.first + len(q.scored)] += q.scored
    assert times.max() == 1
    of_others = task.name.startswith(("decoding", "behaviour"))
    asked = (times.sum(axis=0) > 0)[rec.channels.in_activity != of_others]
    assert asked.all() or (asked.any() and of_others)


def test_what_is_hidden_does_not_reach_the_question(task):
    counts = counts_of(0)
    rec = recording(counts, task)
    for fold in task.groups(rec, 0):
        before = [e.question for e in task.examples(rec, PART, 0.05, fold)]
        for question in before[:3]:
            changed = counts.copy()
            rows = slice(question.first, question.first + len(question.hidden))
            n = min(question.hidden.shape[1], 18)  # a label has no column of counts
            changed[rows, :n][question.hidden[:, :n]] += 17
            other = recording(changed, task)
            after = [e.question for e in task.examples(other, PART, 0.05, fold)]
            same = next(q for q in after if (q.first, q.hidden.shape) == (
                question.first, question.hidden.shape))  # fmt: skip
            assert np.array_equal(same.visible, question.visible, equal_nan=True)


def test_deterministic_in_the_seed(task):
    first, again = (examples(task, recording(counts_of(0), task), seed=5) for _ in range(2))
    assert len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.question.hidden, b.question.hidden)
        assert a.question.first == b.question.first


def test_folds_do_not_depend_on_activity(task):
    a, b = (task.groups(recording(counts_of(s), task), 1) for s in range(2))
    assert np.array_equal([f.scored for f in a], [f.scored for f in b])


def test_questions_stay_inside_the_part_they_are_asked_about(task):
    edges = [(0, 80), (100, 122), (122, 194)]
    for example in examples(task, recording(counts_of(0), task)):
        first = example.question.first
        stop = first + len(example.counts)
        assert any(a <= first and stop <= b for a, b in edges)
