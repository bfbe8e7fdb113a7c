"""What validation says of values: how far off they are, whatever spread was learned."""

import math

import pytest
import torch

from neurofm.model.kinds import LEAST_SPREAD
from neurofm.tokens.mask import prompt_index
from neurofm.tokens.tokens import Batch, ChannelContext, Group, Output, Targets
from neurofm.train.validate import validate

REAL, N_BINS = 1, 400
DECODING = prompt_index("decoding")


class Told(torch.nn.Module):
    """Says the same of every window: `rates` (T, C), of a learned `spread`."""

    def __init__(self, rates, spread):
        super().__init__()
        self.rates, self.spread = torch.nn.Parameter(rates), spread

    def forward(self, batch):
        n = len(batch.groups)
        each = tuple(self.rates.expand(len(g.prompt), -1, -1) for g in batch.groups)
        return Output((torch.empty(0),) * n, each, spread=(self.spread,) * n)


def context(n, site=0):
    one, rows = torch.ones(n), torch.arange(n)
    return ChannelContext(rows, rows + site, 3 * one, 2 * one, 3 * one,
                          kind=torch.full((n,), REAL), node=torch.full((n,), 2))  # fmt: skip


def batches_of(values, about):
    """One group a batch, (T, C) values of one window each, all scored."""

    def batch(k):
        prompt, none = torch.tensor([DECODING]), torch.zeros(N_BINS, values[k].shape[1], 1)
        bins = torch.arange(N_BINS)
        rows = torch.arange(values[k].shape[1])[None]
        group = Group(about[k], none, none > 0, rows, bins, bins + 1, prompt, (N_BINS,), N_BINS)
        scored = torch.ones(1, *values[k].shape, dtype=torch.bool)
        return Batch((group,)), Targets((values[k][None],), (scored,), (prompt,), (about[k],))

    return batch


def bits(told, values, spread=0.5, about=None, n=1):
    values = values if isinstance(values, list) else [values]
    about = about or [context(values[0].shape[1])] * n
    model = Told(told, torch.full((told.shape[1],), spread))
    return validate(model, batches_of(values, about), n, "fp32")


@pytest.fixture
def drawn():
    torch.manual_seed(0)
    values = 3 + 2 * torch.randn(N_BINS, 10)
    return values, values + torch.randn(N_BINS, 10)  # errors of half the spread of the channels


def by_hand(told, values):
    scale = 2.0
    own, null = (((values - e) / scale).square().mean(0) + LEAST_SPREAD**2 for e in (told, 3.0))
    return float((0.5 * (null / own).log2()).mean())


def test_bits_of_values_are_those_of_the_evaluation_channel_by_channel(drawn):
    values, told = drawn
    found = bits(told, values)
    assert set(found) == {"decoding (real)", "score"}
    assert found["decoding (real)"] == pytest.approx(by_hand(told, values), rel=1e-5)
    assert found["decoding (real)"] == pytest.approx(1.0, abs=0.1)
    assert found["score"] == pytest.approx(found["decoding (real)"])
    assert bits(torch.full_like(told, 3.0), values)["score"] == pytest.approx(0.0, abs=1e-6)


def test_the_spread_that_was_learned_changes_nothing(drawn):
    values, told = drawn
    assert bits(told, values, spread=0.02) == bits(told, values, spread=3.0)


def test_a_channel_that_outgrows_its_training_weighs_as_one_of_them(drawn):
    """Nobody could have told it: it is worth what the mean is worth, and the others keep theirs."""
    values, told = drawn
    grown = values.clone()
    grown[:, 0] = 3 + 20 * (values[:, 0] - 3)
    told = told.clone()
    told[:, 0] = 3.0
    kept = bits(told[:, 1:], values[:, 1:])["score"]
    assert bits(told, grown)["score"] == pytest.approx(0.9 * kept, rel=1e-4)


def test_errors_are_pooled_over_batches_of_one_channel_and_never_over_two(drawn):
    values, told = drawn
    halves = [values, 3 + 3 * (values - 3)]
    both = bits(told, halves, n=2)["score"]
    assert both == pytest.approx(by_hand(torch.cat([told, told]), torch.cat(halves)), rel=1e-5)
    apart = bits(told, halves, about=[context(10), context(10, site=10)], n=2)["score"]
    mean = (by_hand(told, halves[0]) + by_hand(told, halves[1])) / 2
    assert apart == pytest.approx(mean, rel=1e-5)
    assert math.fabs(apart - both) > 0.05


def test_no_bits_are_without_bound(drawn):
    values, told = drawn
    still = torch.full_like(values, 3.0)
    worst = bits(told, still)["score"]
    assert math.log2(LEAST_SPREAD) - 1 < worst < -1
    assert bits(still, still)["score"] == 0.0
