"""The plan of a pre-training against what the pre-training then takes."""

import json
from dataclasses import replace

import pytest
import torch

from neurofm import Intervals, planning
from neurofm.cli import main
from neurofm.commands.plan import render, si
from neurofm.data.store import create_store
from neurofm.errors import ConfigError, InputError, StoreError
from neurofm.model import backbone, checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.tokens.vocabulary import joined
from neurofm.train.batches import Corpus
from neurofm.train.cost import one_pass
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.pretrain import PretrainConfig, prepare, sampled

CPU = torch.device("cpu")
HERE = ("cpu", 1e12)
SMALL = PretrainConfig(
    bin_s=0.02,
    window_bins=30,
    windows=4,
    steps=40,
    validate_every=15,
    valid_batches=2,
    precision="fp32",
    model={"backbone": {"width": 32, "layers": 1, "heads": 2, "mlp": 32}, "kernel": 5},
)


def with_model(**changes):
    return SMALL.model_copy(
        update={"model": type(SMALL.model)(**(SMALL.model.model_dump() | changes))}
    )


CONFIGS = {
    "bins": SMALL,
    "causal": with_model(backbone=SMALL.model.backbone.model_copy(update={"causal": True})),
    "patches": with_model(tokens={"kind": "patch", "channels": 4}),
    "events": with_model(tokens={"kind": "event"}),
    "computed rows": with_model(rows="inductive"),
}


@pytest.fixture
def store(sessions, tmp_path):
    made = create_store(tmp_path / "store")
    for recording in sessions:
        made.write(recording)
    return made.folder


@pytest.mark.parametrize("name", CONFIGS)
def test_counts_are_those_of_a_real_batch(name, sessions, sides, monkeypatch):
    monkeypatch.setattr(backbone, "PLAIN_UP_TO", 1 << 30)  # torch counts no fused attention on CPUs
    config, train = CONFIGS[name], sides["train"]
    made = planning.plan(sessions, train, config, here=HERE)
    training, measured = prepare(sessions, train, config, CPU)
    corpus = Corpus.of(sessions, training.vocabulary, measured, 0.02)
    batch, targets = sampled(corpus, train, config, "train")(0)
    real = one_pass(training.model, batch, targets)
    assert real.forward > 0
    assert made.flops.forward == pytest.approx(real.forward, rel=0.02)
    assert made.flops.backward == pytest.approx(real.backward, rel=0.02)
    assert made.memory.kept == pytest.approx(real.kept_bytes, rel=0.15)
    assert sum(made.parameters.values()) == training.model.n_parameters
    assert made.tokens.most >= max(n for g in batch.groups for n in g.lengths)


def test_bytes_and_moments_are_those_of_a_checkpoint(sessions, sides, tmp_path):
    made = planning.plan(sessions, sides["train"], SMALL, here=HERE)
    training, measured = prepare(sessions, sides["train"], SMALL, CPU)
    corpus = Corpus.of(sessions, training.vocabulary, measured, 0.02)
    batches = sampled(corpus, sides["train"], SMALL, "train")
    loop = steps(training.model, batches, training.optimisers, share=lambda _: 0.1, clip=1.0,
                 seed=0, loss=masked_loss)  # fmt: skip
    next(loop)
    by_site = joined(training.vocabulary, sessions, measured)
    trained = Trained(training.average, training.vocabulary, by_site,
                      SMALL.model_dump(mode="json"), 1, {"score": 0.0})  # fmt: skip
    checkpoint.save(tmp_path / "step", trained, training.state())
    written = sum(path.stat().st_size for path in (tmp_path / "step").iterdir())
    assert made.checkpoint_bytes == pytest.approx(written, rel=0.15)
    moments = sum(
        value.nbytes
        for optimiser in training.optimisers
        for state in optimiser.state.values()
        for value in state.values()
        if value.dim() > 1 or value.numel() > 1
    )
    assert made.memory.moments == pytest.approx(moments, rel=0.02)


def test_the_whole_is_the_steps_and_the_validations(sessions, sides):
    made = planning.plan(sessions, sides["train"], SMALL, here=HERE)
    n_checks = 3 * 2  # after steps 15, 30 and 40, two batches each
    assert made.flops.in_all == 40 * made.flops.a_step + n_checks * made.flops.forward
    seen_s = 40 * 4 * 30 * 0.02
    assert made.epochs == pytest.approx(seen_s / 3600 / made.data.train_hours, rel=0.01)
    here, one, eight = made.machines
    assert here.hours == pytest.approx(made.flops.in_all / (1e12 * here.share) / 3600)
    assert one.hours == pytest.approx(8 * eight.hours)
    longer = planning.plan(
        sessions, sides["train"], SMALL.model_copy(update={"steps": 80}), here=HERE
    )
    assert longer.tokens.in_all == 2 * made.tokens.in_all == 2 * 40 * 4 * 30


def test_a_cpu_reaches_less_of_its_peak_in_small_steps(sessions, sides):
    shares = [planning.share_of_a_cpu(flops) for flops in (1e6, 1e9, 8e9, 164e9, 1e15)]
    assert shares == sorted(shares)
    assert shares[0] == pytest.approx(0.009)
    assert shares[-1] == shares[-2] == pytest.approx(0.44)
    made = planning.plan(sessions, sides["train"], SMALL, here=("NVIDIA H200", 1e15))
    assert made.machines[0].share == planning.SHARE_OF_A_GPU
    assert "not measured" in made.machines[0].share_from


def test_muon_is_counted_and_adam_needs_another_moment(sessions, sides):
    optim = SMALL.optim.model_copy(update={"matrix_rate": 0.0})
    adam = planning.plan(
        sessions, sides["train"], SMALL.model_copy(update={"optim": optim}), here=HERE
    )
    muon = planning.plan(sessions, sides["train"], SMALL, here=HERE)
    assert adam.flops.optimiser == 0 < muon.flops.optimiser
    assert muon.memory.moments < adam.memory.moments == 2 * adam.memory.weights


def test_the_command_says_what_is_measured_and_what_assumed(store, capsys, monkeypatch):
    monkeypatch.setattr(planning, "SIZES", (64,))
    asked = ["plan", str(store), "--set", "steps=3", "--set", "windows=4", "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        main(asked)
    text = capsys.readouterr().out
    assert not stop.value.code
    for words in (
        "3 sessions",
        "measured now",
        "(assumed: what CPU runs",
        "x 0.4 (assumed",
        "not measured",
    ):
        assert words in text
    with pytest.raises(SystemExit):
        main([*asked, "--json"])
    tree = json.loads(capsys.readouterr().out)
    assert tree["memory"]["in_all"] == sum(v for k, v in tree["memory"].items() if k != "in_all")
    assert [m["name"] for m in tree["machines"]][1:] == ["one H200", "eight H200"]


def test_bad_input_is_refused_in_a_sentence(store, sessions, tmp_path):
    with pytest.raises(StoreError, match="is not a store"):
        planning.plan_store(tmp_path / "none")
    with pytest.raises(ConfigError, match="did you mean steps"):
        planning.plan_store(store, settings=["step=3"])
    with pytest.raises(InputError, match="training part"):
        planning.plan(sessions, {"a-1": Intervals.none()}, SMALL, here=HERE)
    odd = with_model(backbone=replace_width(30))
    with pytest.raises(ConfigError, match="multiple of 2 x heads"):
        planning.plan(sessions, {r.id: r.valid for r in sessions}, odd, here=HERE)


def replace_width(width):
    return SMALL.model.backbone.model_copy(update={"width": width, "heads": 4})


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999.4, "999 B"), (999.6, "1 kB"), (1.5e9, "1.5 GB")]
)
def test_amounts_are_rounded_to_three_digits(value, text):
    assert si(value, "B") == text


def test_memory_that_does_not_fit_is_said(sessions, sides):
    made = planning.plan(sessions, sides["train"], SMALL, here=HERE)
    crowded = replace(made, memory=replace(made.memory, kept=10**12))
    assert "does not fit in 141 GB" in render(crowded)
    assert "memory fits in 141 GB" in render(made)
