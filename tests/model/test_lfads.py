"""LFADS as a trunk: what its parts promise."""

import copy
import shutil

import pytest
import torch

from neurofm import Run
from neurofm.model.lfads import LFADS, LFADSConfig, _Gaussian
from neurofm.model.seeded import seed_torch
from neurofm.train.pretrain import PretrainConfig, pretrain

SMALL = {"width": 8, "encoder": 8, "generator": 12, "controller": 8, "first_width": 4}


def trunk(**changes):
    seed_torch(0, "test")
    return LFADS(LFADSConfig(**SMALL | changes))


def test_the_divergence_is_that_of_torch():
    mean, log_variance = torch.randn(5, 3), torch.randn(5, 3)
    prior_mean, prior = torch.randn(3), torch.randn(3)
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    p = torch.distributions.Normal(prior_mean, (0.5 * prior).exp())
    mine = _Gaussian(mean, log_variance, mean).divergence(prior_mean, prior)
    assert torch.allclose(mine, torch.distributions.kl_divergence(q, p), atol=1e-5)


def test_sampling_follows_the_seed_in_training_and_is_off_otherwise():
    model, x = trunk(dropout=0.0), torch.randn(3, 10, 8)
    runs = []
    for seed in (1, 1, 2):
        seed_torch(seed, "dropout", 0)
        runs.append(model.train()(x)[0])
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert torch.equal(model.eval()(x)[0], model(x)[0])


def test_the_divergence_grows_with_training_steps_and_reaches_every_part():
    model, x = trunk(kl_steps=4), torch.randn(3, 10, 8)
    penalties = []
    for _ in range(6):
        seed_torch(0, "dropout", 0)
        penalties.append(model.train()(x)[1])
    assert [float((p / penalties[-1]).detach()) for p in penalties] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 1]
    )
    (model(x)[0].square().sum() + penalties[-1]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_without_inputs_a_window_follows_from_its_first_state():
    model = trunk(inputs=0).eval()
    x = torch.randn(1, 10, 8)
    other = torch.randn(1, 10, 8)
    state = torch.randn(1, 12)
    assert torch.equal(model._generate(x, state)[0], model._generate(other, state)[0])


def test_windows_of_a_batch_do_not_meet():
    model, x = trunk().eval(), torch.randn(4, 10, 8)
    assert torch.allclose(model(x)[0][2:3], model(x[2:3])[0], atol=1e-6)


def test_it_is_trained_and_resumed_like_any_trunk(sessions, sides, tmp_path):
    def train():
        return pretrain(sessions, sides, config, Run(tmp_path), device=torch.device("cpu"),
                        say=lambda _: None)  # fmt: skip

    config = PretrainConfig(
        bin_s=0.02, window_bins=12, windows=16, steps=40, validate_every=20, valid_batches=2,
        precision="fp32", model={"backbone": SMALL | {"kl_steps": 10}, "kernel": 0},
        optim={"warmup": 5, "rate": 2e-2, "matrix_rate": 0, "average": 0.9},
    )  # fmt: skip
    whole = train()
    assert whole.valid["score"] > 0.03  # above the mean rates
    before = copy.deepcopy(whole.model.state_dict())
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000040")  # cut off after step 20
    after = train().model.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())
