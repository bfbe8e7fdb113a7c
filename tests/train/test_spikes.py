import math

import numpy as np
import pytest
import torch

from neurofm.errors import CheckFailed
from neurofm.model import checkpoint
from neurofm.run import Run, new_run
from neurofm.train import pretrain as module
from neurofm.train.pretrain import PretrainConfig, pretrain
from neurofm.train.spikes import LEAST, MOST, Spikes

CONFIG = PretrainConfig(
    bin_s=0.02, window_bins=20, windows=4, steps=45, validate_every=5, valid_batches=1,
    precision="fp32", optim={"warmup": 5},
    model={"backbone": {"width": 8, "layers": 0, "heads": 1, "mlp": 8}, "kernel": 1},
)  # fmt: skip


def train(sessions, sides, folder, monkeypatch, leaps=(), factor=100.0, config=CONFIG, stop=99):
    """A run, or the rest of one, whose loss is multiplied at some steps and which stops at another."""
    run = Run(folder) if folder.exists() else new_run(folder)
    newest = checkpoint.newest_intact(run.checkpoints)
    number = [0 if newest is None else checkpoint.load(newest).step]
    real = module.masked_loss

    def spoiled(*arguments):
        number[0] += 1
        return real(*arguments) * (factor if number[0] in leaps else 1)

    def say(progress):
        if progress.step.number == stop:
            raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(module, "masked_loss", spoiled)
        pretrain(sessions, sides, config, run, device=torch.device("cpu"), say=say)
    return run


def rows(run):
    return {r["step"]: r for r in run.log_rows() if r["event"] == "step"}


def state(run):
    return checkpoint.training_state(checkpoint.folders(run.checkpoints)[-1])


def test_a_leap_is_skipped_whatever_its_size_and_a_resume_after_it_is_the_same(
    sessions, sides, tmp_path, monkeypatch
):
    one = train(sessions, sides, tmp_path / "one", monkeypatch, {38}, 100.0)
    other = train(sessions, sides, tmp_path / "other", monkeypatch, {38}, 1e6)
    assert [k for k, row in rows(one).items() if row.get("skipped")] == [38]
    assert all(torch.equal(v, state(other)[k]) for k, v in state(one).items())
    with pytest.raises(ZeroDivisionError):
        train(sessions, sides, tmp_path / "cut", monkeypatch, {38}, stop=42)
    cut = train(sessions, sides, tmp_path / "cut", monkeypatch, {38})
    assert {k: r["loss"] for k, r in rows(cut).items()} == {
        k: r["loss"] for k, r in rows(one).items()
    }
    assert all(torch.equal(v, state(cut)[k]) for k, v in state(one).items())


def test_a_leap_that_is_let_through_is_another_run(sessions, sides, tmp_path, monkeypatch):
    off = CONFIG.model_copy(update={"optim": CONFIG.optim.model_copy(update={"skip_above": 0.0})})
    on = train(sessions, sides, tmp_path / "on", monkeypatch, {38})
    let = train(sessions, sides, tmp_path / "let", monkeypatch, {38}, config=off)
    assert not any(row.get("skipped") for row in rows(let).values())
    assert rows(let)[45]["loss"] != rows(on)[45]["loss"]


def test_a_run_that_goes_on_leaping_is_stopped_with_a_good_checkpoint(
    sessions, sides, tmp_path, monkeypatch
):
    with pytest.raises(
        CheckFailed, match=rf"step 44: .* for {MOST + 1} steps in a row.*optim\.rate"
    ):
        train(sessions, sides, tmp_path / "run", monkeypatch, set(range(34, 99)))
    run = Run(tmp_path / "run")
    checkpoint.load(checkpoint.newest_intact(run.checkpoints))
    assert sum(bool(r.get("skipped")) for r in rows(run).values()) == MOST


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_noise_of_any_size_and_sign_and_a_falling_loss_are_no_leap(scale):
    rng = np.random.default_rng(0)
    losses = scale * (np.linspace(3, -1, 4000) + rng.standard_t(4, 4000) * 0.1)
    spikes = Spikes(20.0)
    assert not any(spikes.skip(float(loss), k) for k, loss in enumerate(losses))


def test_too_few_losses_judge_nothing():
    spikes = Spikes(20.0)
    assert not any(spikes.skip(0.01 * k, k) for k in range(LEAST - 1))
    assert not spikes.skip(1e9, LEAST - 1)
    assert spikes.skip(1e12, LEAST)


def test_a_log_gives_the_same_decisions_as_going_on():
    rng = np.random.default_rng(1)
    losses = [float(x) for x in rng.normal(size=150)]
    losses[120] = 1e3
    whole, log = Spikes(20.0), []
    for k, loss in enumerate(losses):
        skipped = whole.skip(loss, k)
        log.append(
            {"event": "step", "step": k + 1, "loss": loss} | ({"skipped": True} if skipped else {})
        )
    again = Spikes.after(reversed(log), 130, 20.0)
    assert [again.skip(loss, 130 + k) for k, loss in enumerate(losses[130:])] == [False] * 20
    assert again == whole
    assert math.isclose(max(whole.losses), 1e3)
