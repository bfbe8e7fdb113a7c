import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.targets import Labels
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.model.build import build
from neurofm.model.checkpoint import Trained
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.tokens.vocabulary import Statistics, Vocabulary, statistics
from neurofm.train.extend import extended
from neurofm.train.finetune import (
    FinetuneConfig,
    finetune_labels,
    finetune_signals,
    fresh,
    trainable,
)
from neurofm.train.heads import Reader, SignalHead
from neurofm.train.read_batches import SignalBatches, corpus_of
from neurofm.train.target_scale import target_scale

CPU = torch.device("cpu")
SMALL = {"backbone": {"width": 16, "layers": 2, "heads": 2, "mlp": 16, "dropout": 0.0}, "kernel": 3}
BRIEF = FinetuneConfig(steps=12, windows=4, validate_every=6, valid_batches=2, probe_batches=6)


def trained_on(recordings, train) -> Trained:
    vocabulary = Vocabulary.of(recordings)
    measured = [statistics(r, train[r.id], 0.02) for r in recordings]
    joined = Statistics(*(np.concatenate([getattr(m, n) for m in measured])
                          for n in ("mean", "scale", "rate")))  # fmt: skip
    seed_torch(0, "test")
    model = build(
        ModelConfig.model_validate(SMALL), len(vocabulary.channels), len(vocabulary.sites)
    )
    config = {"bin_s": 0.02, "window_bins": 40, "precision": "fp32", "seed": 0}
    return Trained(model.eval(), vocabulary, joined, config, 0, {"score": 0.0})


def wanted_of(recording, scale=1.0):
    """Two axes that are linear in smoothed counts."""
    counts = binning.activity(recording, 0, binning.n_bins(recording, 0.02), 0.02).astype(float)
    smooth = np.stack([np.convolve(c, np.ones(15) / 15, "same") for c in counts.T], axis=1)
    return (scale * smooth[:, :2] + 3).astype(np.float32)


@pytest.fixture
def pair(sessions, sides):
    two = [sessions[0], sessions[2]]
    wanted = {r.id: wanted_of(r) for r in two}
    return two, wanted, trained_on(two, sides["train"])


def fine(pair, sides, config=BRIEF, **changes):
    recordings, wanted, trained = pair
    given = {"recordings": recordings, "wanted": wanted, "train": sides["train"],
             "valid": sides["valid"], "config": config, "device": CPU, **changes}  # fmt: skip
    return finetune_signals(trained, **given)


def weights(tuned):
    state = tuned.trained.model.state_dict() | {
        f"head.{k}": v for k, v in tuned.head.state_dict().items()
    }
    return {k: v.clone() for k, v in state.items()}


def test_fine_tuning_lowers_the_loss_and_leaves_its_origin_alone(pair, sides):
    before = copy.deepcopy(pair[2].model.state_dict())
    still = {"steps": 1, "rate": 1e-9, "trunk_rate": 1e-9}
    nothing = fine(pair, sides, BRIEF.model_copy(update=still | {"probe_batches": 0}))
    start = fine(pair, sides, BRIEF.model_copy(update=still))
    learning = {"probe_batches": 0, "steps": 24, "rate": 3e-2, "average": 0.5, "hide": 0.0}
    learned = fine(pair, sides, BRIEF.model_copy(update=learning))
    assert start.valid < 0.6 * nothing.valid
    assert learned.valid < 0.8 * nothing.valid
    assert all(torch.equal(v, before[k]) for k, v in pair[2].model.state_dict().items())


def test_the_test_side_enters_no_weight(pair, sides):
    recordings, wanted, _ = pair
    changed = {}
    for r in recordings:
        values = wanted[r.id].copy()
        values[sides["test"][r.id].contains((np.arange(len(values)) + 0.5) * 0.02)] = 1e3
        changed[r.id] = values
    plain, other = weights(fine(pair, sides)), weights(fine(pair, sides, wanted=changed))
    assert all(torch.equal(plain[k], other[k]) for k in plain)


def test_a_recording_without_training_targets_borrows_and_its_own_values_are_unused(pair, sides):
    recordings, wanted, _ = pair
    held_out = recordings[1].id
    train = {**sides["train"], held_out: Intervals.none()}
    valid = {**sides["valid"], held_out: Intervals.none()}
    changed = {**wanted, held_out: wanted[held_out] * 50}
    one = fine(pair, sides, train=train, valid=valid)
    two = fine(pair, sides, train=train, valid=valid, wanted=changed)
    assert all(
        torch.equal(a, b) for a, b in zip(weights(one).values(), weights(two).values(), strict=True)
    )
    assert np.allclose(one.mean[held_out], one.mean[recordings[0].id])
    with pytest.raises(InputError, match="no value in any training part"):
        fine(pair, sides, train={r.id: Intervals.none() for r in recordings})


@pytest.mark.parametrize(
    ("trains", "moved"),
    [("head", {"head"}), ("rows", {"head", "read_in.rows"}),
     ("last", {"head", "backbone.blocks.1"}), ("all", {"head", "read_in.rows", "backbone.blocks.0"})],
)  # fmt: skip
def test_what_is_trained_is_what_was_asked_for(pair, trains, moved):
    reader = Reader(copy.deepcopy(pair[2].model), SignalHead(16, 2))
    trainable(reader, FinetuneConfig(trains=trains))
    names = {n.removeprefix("model.") for n, p in reader.named_parameters() if p.requires_grad}
    for part in ("head", "read_in.rows", "backbone.blocks.0", "backbone.blocks.1", "read_out"):
        should = part in moved or (part == "backbone.blocks.1" and trains == "all")
        assert any(n.startswith(part) for n in names) is should, part


def test_batches_are_a_function_of_the_step_and_stay_inside_their_side(pair, sides):
    recordings, wanted, trained = pair
    outside = {}
    for r in recordings:
        inside = sides["train"][r.id].contains((np.arange(len(wanted[r.id])) + 0.5) * 0.02)
        outside[r.id] = np.where(inside[:, None], wanted[r.id], np.nan).astype(np.float32)
    batches = SignalBatches.over(corpus_of(trained, recordings), outside, sides["train"],
                                 length=40, size=8, hide=0.3, seed=1, focus="a-2")  # fmt: skip
    first, answers = batches(5)
    again, _ = batches(5)
    assert all(
        torch.equal(a.values, b.values) for a, b in zip(first.groups, again.groups, strict=True)
    )
    assert all(torch.isfinite(v).all() for v in answers.values)
    focused = [g for g in first.groups if len(g.context.row) == 9]
    assert sum(len(g.prompt) for g in focused) >= 4
    assert any(bool(g.hidden.any()) and not bool(g.hidden.all()) for g in first.groups)


def test_scales_differ_where_days_differ_and_are_borrowed_where_they_do_not():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(40_000, 1)).astype(np.float32)
    gains = {"a": 1.0, "b": 4.0, "c": 9.0, "new": 6.0}
    days = {n: np.concatenate([base, g * base], axis=1) for n, g in gains.items()}
    days["new"][:, 0] += 0.5  # by chance, in its first minute
    train = {n: Intervals.of([(0.0, 2000.0)]) for n in "abc"} | {"new": Intervals.of([(0.0, 60.0)])}
    mean, scale = target_scale(days, train, 0.05)
    assert mean["new"][0] == pytest.approx(0, abs=0.05)
    assert scale["new"][1] == pytest.approx(6, rel=0.15)
    assert scale["b"][1] == pytest.approx(4, rel=0.05)
    alone, _ = target_scale({"new": days["new"]}, train, 0.05)
    assert alone["new"][0] == pytest.approx(days["new"][:1200, 0].mean(), abs=1e-4)


def test_labels_are_learned_from_trials_alone(sessions, sides):
    recording = sessions[0]
    trained = trained_on([recording], sides["train"])
    first = np.arange(0, 1000, 10)
    counts = binning.activity(recording, 0, 1500, 0.02).astype(float)
    busy = np.array([counts[a : a + 10].sum() for a in first])
    label = np.where(busy > np.median(busy), "busy", "quiet")
    trials = {"a-1": Labels(first, first + 10, label)}
    config = BRIEF.model_copy(update={"steps": 40, "windows": 16, "rate": 1e-2})
    tuned = finetune_labels(trained, [recording], trials, trials, config, device=CPU)
    assert tuned.labels == ("busy", "quiet")
    assert tuned.valid < 0.55 < np.log(2)
    one = {"a-1": Labels(first, first + 10, np.full(100, "busy"))}
    with pytest.raises(InputError, match="all have one label"):
        finetune_labels(trained, [recording], one, one, config, device=CPU)


def test_an_extended_model_answers_as_before_and_knows_the_new_recording(sessions, sides):
    old, new = sessions[0], sessions[2]
    trained = trained_on([old], sides["train"])
    with torch.no_grad():
        trained.model.read_in.rows.site.add_(0.1)
    grown = extended(trained, [old, new], sides["train"], seed=0)
    assert extended(trained, [old], sides["train"], seed=0) is trained
    both = [latents(Direct.of(t, old, CPU), old, sides["test"]["a-1"])[0] for t in (trained, grown)]
    assert np.array_equal(*both)
    rows = grown.model.read_in.rows
    context = grown.context(new)
    assert torch.equal(rows.shared[context.row[:6]], trained.model.read_in.rows.shared[:6])
    assert not rows.site[context.site].any()
    assert np.allclose(context.rate, statistics(new, sides["train"]["a-2"], 0.02).rate)


def test_a_twin_from_scratch_shares_everything_but_its_weights(pair):
    trained = pair[2]
    twin = fresh(trained, seed=3)
    assert twin.vocabulary is trained.vocabulary
    assert not torch.equal(twin.model.read_in.rows.shared, trained.model.read_in.rows.shared)
    same = replace(twin, model=fresh(trained, seed=3).model)
    assert torch.equal(same.model.read_in.rows.shared, twin.model.read_in.rows.shared)
