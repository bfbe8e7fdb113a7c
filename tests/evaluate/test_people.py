"""`evaluate.people` and `evaluate.unlabelled`: people are left out, scored and turned one by one."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurofm.data import covariance as cv
from neurofm.data import ring
from neurofm.errors import InputError
from neurofm.evaluate import people, unlabelled
from neurofm.model.backbone import BackboneConfig
from neurofm.train.crowd import CrowdConfig

LABELS = np.array(["a", "b", "c", "d"])


def crowd(n_people=6, n=80, seed=0, turns=None):
    """Rows of features (4 electrodes, 10 of them), labels and people; each label at one electrode."""
    rng = np.random.default_rng(seed)
    label = np.tile(np.arange(4), n_people * n // 4)
    who = np.repeat([f"p{i}" for i in range(n_people)], n)
    power = np.exp(
        rng.normal(0, 0.15, (len(label), 4)) + 2.0 * np.eye(4)[label] + [0.0, 0.3, 0.8, 1.5]
    )
    cov = power[:, :, None] * np.eye(4)
    x = cv.tangent(cov)
    by = unlabelled.turns(4, 1)
    return unlabelled.turned(x, who, turns or {}, by), LABELS[label], who, by


def test_every_person_is_left_out_once():
    names = np.repeat([f"p{i}" for i in range(11)], 3)
    groups = people.folds(names, 4, seed=1)
    assert sorted(np.concatenate(groups).tolist()) == sorted(set(names))
    assert max(map(len, groups)) - min(map(len, groups)) <= 1
    with pytest.raises(InputError, match="11 people cannot be left out in 12 groups"):
        people.folds(names, 12)


def test_a_score_is_a_mean_over_people_not_windows():
    who = np.array(["x"] * 4 + ["y"] * 100)
    truth = np.array(["a", "b"] * 52)
    told = np.where(who == "x", truth, "a")
    made = people.score(who, truth, told)
    assert made.each == {"x": 1.0, "y": 0.5}
    assert made.value == 0.75
    assert made.worst == ("y", 0.5)
    assert made.low == 0.5
    assert made.high == 1.0
    gain, n_above = people.paired_gain(made, people.PeopleScore.of({"x": 0.5, "y": 0.75}))
    assert gain.each == {"x": 0.5, "y": -0.25}
    assert n_above == 1


def test_windows_of_a_recording_answer_together():
    first, chance = people.together([7, 3, 7], np.array([[1, 0], [0.2, 0.8], [0, 1]]))
    assert first.tolist() == [1, 0]
    assert np.allclose(chance, [[0.2, 0.8], [0.5, 0.5]])


def test_turned_people_are_found_by_labels_and_without_them():
    turns = {"p1": 1, "p2": 6}
    x, label, who, by = crowd(turns=turns)
    found = unlabelled.own_turns(x, label, who, by)
    undone = unlabelled.turned(x, who, found, by)
    straight = crowd()[0]
    assert np.allclose(undone, straight, atol=1e-5)
    read = unlabelled.sorter(straight, label, 1.0)

    def answer(rows):
        return read.model.predict_proba((rows - read.mean) / read.scale)

    likely = unlabelled.prior(found, len(by))
    own = who == "p2"
    k, chance = unlabelled.best_turn(answer, x[own], by, likely)
    assert k == found["p2"] != 0
    assert people.score(who[own], label[own], LABELS[chance.argmax(1)]).value > 0.95
    k, _ = unlabelled.best_turn(answer, x[who == "p0"], by, likely)
    assert k == 0
    assert len(by) == len(ring.symmetries(4))


def test_a_person_s_own_windows_teach_a_reader_that_is_partly_wrong():
    rng = np.random.default_rng(3)
    x, label, _, _ = crowd(1, 400)
    code = np.searchsorted(LABELS, label)
    logits = 1.2 * np.eye(4)[code] + rng.normal(0, 1.0, (400, 4))
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    before = (chance.argmax(1) == code).mean()
    after = (unlabelled.self_taught(x, chance).argmax(1) == code).mean()
    assert before < 0.85
    assert after > before + 0.1


def test_balanced_chances_use_all_labels_alike():
    p = np.random.default_rng(0).dirichlet([4, 1, 1], 300)
    even = unlabelled.balanced(p, 1.0, 100)
    assert np.allclose(even.mean(0), 1 / 3, atol=0.01)
    assert np.allclose(unlabelled.balanced(p, 0.0), p)
    assert unlabelled.information(np.eye(4)) == pytest.approx(np.log(4))
    assert unlabelled.information(np.full((5, 4), 0.25)) == pytest.approx(0)


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "benchmarks" / "people_emg.py"
    spec = importlib.util.spec_from_file_location("people_emg", path)
    made = importlib.util.module_from_spec(spec)
    sys.modules["people_emg"] = made  # its dataclasses look themselves up
    spec.loader.exec_module(made)
    yield made
    del sys.modules["people_emg"]


def windows_of(bench, n_people=8, n_pieces=21, seed=0):
    """Eight electrodes, seven gestures, three windows a recording; gestures are planted."""
    rng = np.random.default_rng(seed)
    piece = np.repeat(np.arange(n_people * n_pieces), 3)
    who, code = (piece // n_pieces).astype(str), piece % 7
    power = np.exp(
        2.0 * np.eye(8)[code] + rng.normal(0, 0.2, (len(piece), 8)) + np.linspace(0, 1, 8)
    )
    cov = power[:, :, None] * np.eye(8)
    own = np.concatenate([cv.tangent(cv.recentred(cov[who == p])) for p in np.unique(who)])
    return bench.Windows(who, piece, 0 * piece, code, code.astype(str), cov[None].repeat(3, 0),
                         bench.tangents(cov[None].repeat(3, 0)), own)  # fmt: skip


def test_labels_of_people_left_out_reach_neither_network_nor_turns(bench):
    tiny = CrowdConfig(backbone=BackboneConfig(width=16, layers=1, heads=2, mlp=16, dropout=0.0),
                       pretrain_steps=2, steps=60, windows=64, rate=1e-2, average=0.8)  # fmt: skip
    w = windows_of(bench)
    rest, theirs = bench.left_out(w, 0)
    assert not set(rest.person) & set(theirs.person)
    found = bench.transductive(rest, theirs, config=tiny)
    moved = np.array([str((int(k) + 1) % 7) for k in theirs.label])
    wrong = bench.transductive(rest, replace(theirs, label=moved), config=tiny)
    assert found["turns"] == wrong["turns"]
    assert min(found["self-taught"]["window"].values()) > 0.8
    assert max(wrong["self-taught"]["window"].values()) < 0.2
