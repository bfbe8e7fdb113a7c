"""What every baseline promises on every task, one suite over both tables."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import neurofm.evaluate.baselines as folder
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate import metrics as m
from neurofm.evaluate.baselines import BASELINES, SESSION_BASELINES, autoencoder, gpfa
from neurofm.evaluate.planted import Planted
from neurofm.evaluate.score import Scored, score
from neurofm.evaluate.tasks import TASKS

BIN_S = 0.05
PARTS = {
    "train": Intervals.of([(0.0, 100.0)]),
    "valid": Intervals.of([(100.0, 120.0)]),
    "test": Intervals.of([(120.0, 150.0)]),
}
LEARNERS = [name for name in BASELINES if name != "mean-rate"]
# These learn no weights, and what is planted here drives channels up as well as down.
UNWEIGHED = ("trailing-mean", "region-mean")


def planted(n_bins=3000, n_channels=20):
    """Two slow latents drive the rates of two regions."""
    rng = np.random.default_rng(7)
    latents = np.zeros((n_bins, 2))
    for t in range(1, n_bins):
        latents[t] = 0.9 * latents[t - 1] + 0.43 * rng.normal(size=2)
    rates = np.exp(0.6 * latents @ rng.normal(size=(2, n_channels)) - 0.5)
    return rng.poisson(rates).clip(0, 255).astype(np.uint8), rates


def recording(counts):
    regions = np.repeat(["A", "B"], counts.shape[1] // 2)
    return Recording.from_arrays("r", counts=counts, bin_s=BIN_S, channel_region=regions)


COUNTS, RATES = planted()


def scores(factory, task, counts=COUNTS):
    out = score(factory, "p", TASKS[task], recording(counts), **PARTS, bin_s=BIN_S)
    assert isinstance(out, Scored)
    return out.scores


@pytest.fixture
def quick(monkeypatch):
    """What is promised of a fitted baseline holds however long it was fitted."""
    monkeypatch.setattr(autoencoder, "N_STEPS", 75)
    monkeypatch.setattr(gpfa, "N_LATENTS", (1, 2))


@pytest.fixture(params=list(TASKS))
def task(request):
    return request.param


@pytest.fixture(params=list(BASELINES))
def name(request):
    return request.param


def test_a_planted_answer_is_found_below_the_ceiling(task):
    ceiling = m.value(scores(lambda: Planted({"r": RATES}), task), m.bps_pooled)
    mean = m.value(scores(BASELINES["mean-rate"], task), m.bps_pooled)
    assert mean < 0.02 < ceiling
    for learner in LEARNERS:
        found = m.value(scores(BASELINES[learner], task), m.bps_pooled)
        least = mean + (0.02 if learner == "smoothing" else 0.4 * (ceiling - mean))
        if learner in UNWEIGHED:
            least = mean - 0.001
        assert least < found < ceiling, learner


def test_shuffled_activity_scores_chance(task):
    rng = np.random.default_rng(1)
    shuffled = np.stack([rng.permutation(c) for c in COUNTS.T], axis=1)
    for learner in BASELINES:
        assert abs(m.value(scores(BASELINES[learner], task, shuffled), m.bps_pooled)) < 0.02, (
            learner
        )


def small_examples(task, fold=0):
    rec, kind = recording(COUNTS[:400]), TASKS[task]
    pattern = kind.groups(rec, 0)[fold]
    parts = [(0.0, 14.0), (14.0, 17.0), (17.0, 20.0)]
    return [kind.examples(rec, Intervals.of([p]), BIN_S, pattern) for p in parts]


def answers(name, sides, questions=None):
    predictor = BASELINES[name]()
    predictor.fit(sides[0], sides[1])
    return predictor.predict(questions or [e.question for e in sides[2]])


@pytest.mark.usefixtures("quick")
def test_answers_are_rates_of_the_right_shape_and_repeat(name, task):
    sides = small_examples(task)
    first, again = answers(name, sides), answers(name, sides)
    for example, a, b in zip(sides[2], first, again, strict=True):
        q = example.question
        assert a.shape == q.visible.shape
        assert np.array_equal(a, b)
        assert (a[q.scored] > 0).all()


@pytest.mark.usefixtures("quick")
def test_answers_do_not_depend_on_what_else_is_asked(name, task):
    sides = small_examples(task)
    together = answers(name, sides)
    alone = answers(name, sides, [sides[2][-1].question])
    scored = sides[2][-1].question.scored
    assert alone[0][scored] == pytest.approx(together[-1][scored], rel=1e-3, abs=1e-5)


@pytest.mark.usefixtures("quick")
def test_answers_do_not_read_hidden_cells(name, task):
    """Even if something were left in them: hiding is double."""
    sides = small_examples(task)
    question = sides[2][0].question
    leaky = question.visible.copy()
    leaky[question.hidden] = 9
    clean, dirty = answers(name, sides, [question, replace(question, visible=leaky)])
    assert np.array_equal(clean[question.scored], dirty[question.scored])


@pytest.mark.usefixtures("quick")
def test_fitting_does_not_change_the_examples(name, task):
    sides = small_examples(task)
    before = [e.counts.copy() for side in sides for e in side]
    answers(name, sides)
    after = [e.counts for side in sides for e in side]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.usefixtures("quick")
def test_a_unit_silent_in_training_that_fires_later_costs_little(name):
    counts = COUNTS.copy()
    counts[:2400, 0] = 0
    worst = m.per_unit(scores(BASELINES[name], "co-smoothing", counts))[0]
    n_train, n_test = 2000, 600
    fired = COUNTS[2400:, 0].sum()
    assert worst >= np.log2(0.5 / n_train * n_test / fired) - 1e-6


def test_nothing_to_learn_from_is_one_clear_sentence(name):
    with pytest.raises(InputError, match="no examples"):
        BASELINES[name]().fit([], [])


@pytest.mark.parametrize("n_bins", [3, 39])
@pytest.mark.usefixtures("quick")
def test_short_trials_and_silent_channels_are_answered(name, task, n_bins):
    counts = COUNTS[:1800].copy()
    counts[:, [0, 13]] = 0
    edges = np.arange(30)[:, None] * 50 * BIN_S + [0, n_bins * BIN_S]
    rec = replace(recording(counts), valid=Intervals.of(edges))
    sides = {"train": edges[:20], "valid": edges[20:25], "test": edges[25:]}
    short = replace(TASKS["forward"], horizon_s=0.1) if task == "forward" else TASKS[task]
    parts = {side: Intervals.of(pairs) for side, pairs in sides.items()}
    out = score(BASELINES[name], name, short, rec, **parts, bin_s=BIN_S)
    assert isinstance(out, Scored)
    assert np.isfinite(m.value(out.scores, m.bps_pooled))
    assert out.scores.n_blocks == 5


@pytest.mark.usefixtures("quick")
def test_a_region_of_few_channels_is_answered(name):
    rec, kind = recording(COUNTS[:400, :10]), TASKS["intra-region"]
    pattern = kind.groups(rec, 0)[0]
    assert (~pattern.hidden).sum() == 4
    parts = [(0.0, 14.0), (14.0, 17.0), (17.0, 20.0)]
    sides = [kind.examples(rec, Intervals.of([p]), BIN_S, pattern) for p in parts]
    [answer] = answers(name, sides)
    assert np.isfinite(answer[sides[2][0].question.scored]).all()


def test_every_file_of_the_folder_is_in_the_table():
    files = {p.stem for p in Path(folder.__file__).parent.glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in {**BASELINES, **SESSION_BASELINES}} == files
    for name, factory in BASELINES.items():
        assert factory().name == name
        assert factory.__module__.endswith(name.replace("-", "_"))


def test_evaluation_without_a_model_loads_no_torch_and_no_scipy():
    code = (
        "import sys, neurofm.evaluate.baselines, neurofm.evaluate.summary, neurofm.evaluate.probes,"
        "neurofm.evaluate.score, neurofm.evaluate.keep, neurofm.evaluate.planted;"
        "print([x for x in ('torch', 'scipy', 'sklearn') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
