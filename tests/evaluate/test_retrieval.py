"""Retrieval of speech from EEG: the arithmetic of chance, the controls, and leaks planted on purpose."""

import sys
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from neurofm.data.segments import Segments, cut
from neurofm.data.synthetic_speech import SpeechConfig, simulate_speech
from neurofm.errors import InputError
from neurofm.evaluate.retrieval import (
    EEG,
    EMG_EVEN,
    EMG_LEAKED,
    EMG_ON_NOISE,
    NOISE,
    SHUFFLED,
    Policy,
    Ranks,
    evaluate,
    findings,
    hits,
    ranks,
    shuffled,
)
from neurofm.model.backbone import Backbone, BackboneConfig
from neurofm.model.retriever import EncoderConfig, build, start
from neurofm.model.sentences import sentence_embeddings
from neurofm.train.retrieval import RetrievalConfig, batch, emg_pattern, fit, without_muscle

SMALL = EncoderConfig(
    filters=16, kernel=16, backbone=BackboneConfig(width=16, layers=1, heads=2, mlp=32)
)
QUICK = RetrievalConfig(encoder=SMALL, steps=40, segments=32, rate=5e-3)
POLICY = Policy(n=50, block_s=15.0)


def segments(minutes, eeg, leak, session):
    config = SpeechConfig(minutes=minutes, n_eeg=6, n_mels=4, eeg=eeg, leak=leak)
    return cut(simulate_speech(config, 0, session), 3.0, target="mel", frames=12)


def value(rows, row, top=10):
    [found] = [r for r in rows if r.predictor == row and r.metric.startswith(f"top_{top}_")]
    return found


@pytest.fixture(scope="module")
def leaking():
    """Muscle in the electrodes and nothing of the brain."""
    return segments(6, 0.0, 1.0, "train"), segments(4, 0.0, 1.0, "test")


@pytest.fixture(scope="module")
def following():
    return segments(6, 0.4, 0.0, "train"), segments(4, 0.4, 0.0, "test")


@pytest.fixture(scope="module")
def reads_brain(following):
    return fit(following[0], None, QUICK.model_copy(update={"emg_max": 0.95}))


def test_the_brain_is_retrieved_and_the_controls_are_at_chance(reads_brain, following):
    rows = evaluate(reads_brain, following[1], POLICY)
    assert value(rows, EEG).low > 0.5
    assert value(rows, EEG).chance == pytest.approx(0.2)
    for row in (NOISE, SHUFFLED, EMG_EVEN, EMG_LEAKED):
        assert value(rows, row).value < 0.4
    assert findings(rows) == []
    assert reads_brain.parts["target"] == "as given, frozen"


def test_a_model_that_reads_muscle_is_exposed(leaking):
    rows = evaluate(fit(leaking[0], None, QUICK), leaking[1], POLICY)
    assert value(rows, EEG).low > 0.2
    assert value(rows, EMG_LEAKED).low > 0.2
    assert value(rows, EMG_ON_NOISE).low > 0.2
    assert any("the model reads muscle" in told for told in findings(rows))


def test_muscle_is_taken_out_of_segments_that_were_not_fitted(leaking):
    train, test = leaking
    pattern = emg_pattern(train)
    cleaned = without_muscle(test, pattern)
    for before, after in ((train, without_muscle(train, pattern)), (test, cleaned)):
        left = np.abs(emg_pattern(after)).max() / np.abs(emg_pattern(before)).max()
        assert left < 0.02
    assert cleaned.eeg.std() < 0.75 * test.eeg.std()  # as much of it was muscle as not
    assert np.array_equal(cleaned.emg, test.emg)


def test_a_target_planted_in_the_input_is_retrieved(following):
    """The answer leaks through one electrode, and the score says so even without a brain."""
    train, test = (
        replace(s, eeg=np.random.default_rng(i).normal(size=s.eeg.shape).astype(np.float32))
        for i, s in enumerate(following)
    )
    clean = value(evaluate(fit(train, None, QUICK), test, POLICY), EEG)
    assert clean.value < 0.35
    for s in (train, test):
        s.eeg[:, :, 2] = np.repeat(s.target[:, :, 1], s.eeg.shape[1] // 12, axis=1)
    assert value(evaluate(fit(train, None, QUICK), test, POLICY), EEG).low > 0.35


def test_trained_on_shuffled_pairs_it_is_at_chance(following):
    train, test = following
    short = QUICK.model_copy(update={"steps": 25})
    told = [
        value(evaluate(fit(shuffled(train, part), None, short), test, POLICY), EEG).value
        for part in (0.2, 0.4, 0.6, 0.8)
    ]
    print(told)
    assert abs(np.mean(told) - 0.2) < 0.1
    assert value(evaluate(fit(train, None, short), test, POLICY), EEG).low > 0.35


def test_the_encoder_sees_no_target_and_no_batch_mate(reads_brain, following):
    test = following[1]
    told = reads_brain.embed(test.eeg)
    assert np.allclose(reads_brain.embed(test.eeg[::-1])[::-1], told, atol=1e-5)
    assert np.allclose(reads_brain.embed(test.eeg[3:4])[0], told[3], atol=1e-5)
    other = replace(following[0], target=following[0].target[::-1].copy())
    mixing = QUICK.model_copy(update={"emg_max": 0.9})
    pattern = reads_brain.pattern
    for config in (QUICK, mixing):
        shown = batch(following[0], config, pattern, 3)[0].eeg
        assert torch.equal(shown, batch(other, config, pattern, 3)[0].eeg)


def test_emg_that_is_mixed_in_is_of_another_segment():
    n = 12
    eeg = np.random.default_rng(0).normal(size=(n, 64, 3)).astype(np.float32)
    emg = np.zeros((n, 64, 1), np.float32)
    item = [f"{k // 3}" for k in range(n)]  # three segments an item
    made = Segments.of(eeg, np.eye(n)[:, None], length_s=1.0, emg=emg, item=item)
    config = RetrievalConfig(segments=n, emg_max=0.9)
    pattern = np.ones((1, 3), np.float32)
    silent, right = batch(made, config, pattern, 0)
    seen = 0
    for k in range(n):  # one segment's muscle at a time: whose input does it change?
        loud = emg.copy()
        loud[k] = np.random.default_rng(1).normal(size=(64, 1))
        shown = batch(replace(made, emg=loud), config, pattern, 0)[0].eeg
        changed = (shown != silent.eeg).any(-1).any(-1)
        assert not changed[right.right == k // 3].any()
        seen += int(changed.sum())
    assert seen == n


def test_the_order_of_candidates_and_questions_changes_nothing(reads_brain, following):
    test = following[1]
    order = np.random.default_rng(0).permutation(len(test))
    policy = Policy(n=30, same_session=True, gap_s=4.0, block_s=15.0)
    plain, turned = (evaluate(reads_brain, s, policy) for s in (test, test.take(order)))
    for row in (EEG, SHUFFLED, EMG_EVEN):
        for top in (1, 10):
            a, b = value(plain, row, top), value(turned, row, top)
            assert (a.value, a.low, a.high) == pytest.approx((b.value, b.low, b.high), abs=1e-9)


def test_top_k_of_n_is_the_mean_over_all_draws():
    likeness = np.array([0.9, 0.1, 0.8, 0.9, 0.3])  # of five others; the right one has 0.5
    found = Ranks(*(np.array([x]) for x in ((likeness > 0.5).sum(), 0, len(likeness))))
    for n in (2, 3, 4, 6):
        for top in (1, 2):
            draws = [sum(likeness[list(d)] > 0.5) < top for d in combinations(range(5), n - 1)]
            hit, chance = hits(found, n, top)
            assert hit[0] == pytest.approx(np.mean(draws))
            assert chance[0] == pytest.approx(min(top / n, 1))


def test_one_who_says_the_same_of_all_is_at_chance():
    even = Ranks(np.array([0]), np.array([9]), np.array([9]))
    assert hits(even, 10, 1)[0][0] == pytest.approx(0.1)
    assert hits(even, 5, 2)[0][0] == pytest.approx(0.4)


def test_the_policy_says_who_is_a_candidate():
    eeg = np.zeros((6, 8, 2), np.float32)
    aimed = np.eye(6, dtype=np.float32)
    made = Segments.of(
        eeg, aimed, length_s=1.0, session=["a"] * 4 + ["b"] * 2, start_s=[0, 1, 2.5, 9, 0, 1]
    )
    assert counts(made, aimed, Policy()) == [5] * 6
    assert counts(made, aimed, Policy(same_session=True)) == [3, 3, 3, 3, 1, 1]
    assert counts(made, aimed, Policy(gap_s=1.5)) == [4, 3, 4, 5, 4, 4]
    same = replace(made, item=np.array(["x", "x", "y", "y", "x", "z"]))
    assert counts(same, aimed, Policy()) == [2] * 6
    with pytest.raises(InputError, match="give a pool of all items"):
        ranks(aimed, made, aimed[:3], made.take([0, 1, 2]), Policy())


def counts(made, aimed, policy):
    return ranks(aimed, made, aimed, made, policy).others.tolist()


def test_parts_are_random_warm_or_frozen_and_say_so(following):
    train = following[0]
    trunk = Backbone(SMALL.backbone)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.add_(0.01)
    warm = {"trunk": trunk.state_dict()}
    config = QUICK.model_copy(update={"steps": 2})
    made = fit(train, None, config, warm=warm, frozen=("trunk",))
    assert made.parts == {
        "front": "random, trained",
        "trunk": "warm-started, frozen",
        "head": "random, trained",
        "target": "as given, frozen",
    }
    kept = made.model.encoder.trunk.state_dict()
    assert all(torch.equal(kept[k], v) for k, v in warm["trunk"].items())
    moved = fit(train, None, config, warm=warm).model.encoder.trunk.state_dict()
    assert not all(torch.equal(moved[k], v) for k, v in warm["trunk"].items())


def test_weights_that_do_not_fit_are_refused():
    mean = torch.zeros(4)
    model = build(SMALL, 6, 12, mean, mean + 1, 0)
    wide = Backbone(BackboneConfig(width=24, layers=1, heads=2, mlp=32)).state_dict()
    with pytest.raises(InputError, match=r"weights given for trunk do not fit"):
        start(model, warm={"trunk": wide})
    with pytest.raises(InputError, match="no part 'tail'"):
        start(model, frozen=("tail",))
    projecting = build(SMALL.model_copy(update={"target_width": 3}), 6, 12, mean, mean + 1, 0)
    assert start(projecting)["target"] == "random, trained"
    assert projecting.aim(torch.zeros(5, 12, 4)).shape == (5, 36)


def test_what_cannot_be_trained_or_asked_is_said(reads_brain, following):
    train, test = following
    silent = replace(train, emg=train.emg[:, :, :0])
    with pytest.raises(InputError, match="no EMG"):
        fit(silent, None, QUICK.model_copy(update={"emg_max": 0.5}))
    with pytest.raises(InputError, match="two items"):
        fit(train.take([0]), None, QUICK)
    with pytest.raises(InputError, match="other channels"):
        evaluate(reads_brain, replace(test, channel=test.channel[::-1]), POLICY)


def test_without_transformers_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'neurofm\[text\]'"):
        sentence_embeddings(["a sentence"], tmp_path)
