import math

import numpy as np
import pytest
import torch
from torch.distributions import NegativeBinomial, Normal

from neurofm.tokens.tokens import ChannelContext, Output, Targets
from neurofm.train.likelihood import (
    TEMPERATURE,
    answered,
    by_kind,
    contrasts,
    count_nll,
    gaussian_nll,
    poisson_nll,
    weights,
)
from neurofm.train.loss import asked, masked_loss

COUNT, REAL, CATEGORY, EMBEDDING = range(4)


def about(kind, group):
    n = len(kind)
    one = torch.ones(n)
    rows = torch.arange(n)
    return ChannelContext(rows, rows, 0 * one, 2 * one, 0.4 * one,
                          kind=torch.tensor(kind), group=torch.tensor(group))  # fmt: skip


def batch(rates, values, scored, context, spread=None, prompt=None):
    n = len(rates)
    prompt = torch.zeros(n, dtype=torch.int64) if prompt is None else prompt
    spreads = None if spread is None else (spread,)
    output = Output((torch.empty(0),), (rates,), spread=spreads)
    return output, Targets((values,), (scored,), (prompt,), (context,))


def test_negative_binomial_is_the_textbook_likelihood_up_to_the_factorial():
    rates, counts = torch.tensor([0.3, 2.0, 5.5]), torch.tensor([0.0, 3.0, 14.0])
    for over in (0.05, 0.5, 2.0):
        odds = NegativeBinomial(torch.tensor(1 / over), probs=over * rates / (1 + over * rates))
        textbook = -odds.log_prob(counts) - torch.lgamma(counts + 1)
        assert torch.allclose(count_nll(rates, counts, torch.tensor(over)), textbook, atol=2e-4)
    nearly = count_nll(rates, counts, torch.tensor(0.0))
    assert torch.allclose(nearly, poisson_nll(rates, counts), rtol=0.15, atol=0.05)


def test_gaussian_is_the_textbook_likelihood_of_values_in_units_of_their_scale():
    expected, values = torch.tensor([0.0, 4.0]), torch.tensor([1.0, -2.0])
    spread, scale = torch.tensor([0.5, 2.0]), torch.tensor([3.0, 0.1])
    textbook = -Normal(expected / scale, spread).log_prob(values / scale)
    assert torch.allclose(gaussian_nll(expected, values, spread, scale), textbook, rtol=1e-5)


def test_a_category_is_one_answer_whatever_the_number_of_its_labels():
    context = about([CATEGORY] * 3 + [REAL], [0, 0, 0, -1])
    chances = torch.tensor([0.7, 0.2, 0.1, 0.0]).expand(1, 5, 4)
    values = torch.zeros(1, 5, 4)
    values[..., 1] = 1.0
    scored = torch.tensor([True, True, True, False]).expand(1, 5, 4).clone()
    scored[0, 3:] = False
    output, targets = batch(chances, values, scored, context, spread=torch.ones(4))
    assert masked_loss(output, targets) == pytest.approx(-math.log(0.2))
    [one] = answered(output, targets)
    n = by_kind(weights(one.values, one.scored, context), context)
    assert n.tolist() == [[0, 0, 3, 0]]


def test_the_loss_of_kinds_is_the_sum_of_their_means():
    torch.manual_seed(0)
    context = about([COUNT] * 5 + [REAL] * 2, [-1] * 7)
    rates, values = torch.rand(2, 9, 7) + 0.1, torch.randint(0, 3, (2, 9, 7)).float()
    scored, spread = torch.rand(2, 9, 7) < 0.5, torch.rand(7) + 0.5
    counts = poisson_nll(rates, values)[..., :5][scored[..., :5]].mean()
    off = gaussian_nll(rates, values, spread, context.scale)[..., 5:][scored[..., 5:]].mean()
    output, targets = batch(rates, values, scored, context, spread)
    assert masked_loss(output, targets) == pytest.approx(float(counts + off), rel=1e-5)


def test_a_kind_weighs_by_the_windows_that_ask_about_it():
    context = about([COUNT, REAL], [-1, -1])
    rates, values = torch.ones(4, 6, 2), torch.ones(4, 6, 2) * 2
    scored = torch.ones(4, 6, 2, dtype=torch.bool)
    scored[1:, :, 1] = False
    output, targets = batch(rates, values, scored, context, torch.ones(2))
    counts, off = poisson_nll(rates, values)[0, 0, 0], 0.125 + 0.5 * math.log(2 * math.pi)
    assert masked_loss(output, targets) == pytest.approx(float(counts) + off / 4, rel=1e-5)


def embedded(n, d, told, seed=0):
    rng = np.random.default_rng(seed)
    true = torch.from_numpy(rng.normal(size=(1, n, d)).astype(np.float32))
    context = about([EMBEDDING] * d, [0] * d)
    guess = true if told else torch.from_numpy(rng.normal(size=(1, n, d)).astype(np.float32))
    return batch(
        guess.clone().requires_grad_(), true, torch.ones(1, n, d, dtype=torch.bool), context
    )


def test_vectors_are_told_apart_by_their_direction():
    [right], [wrong] = (
        list(contrasts(list(answered(*embedded(64, 16, t))))) for t in (True, False)
    )
    assert right.by_chance == pytest.approx(math.log(64))
    losses = [float(one.loss.detach().mean()) for one in (right, wrong)]
    assert losses[0] < 0.1 < right.by_chance < losses[1]
    output, targets = embedded(64, 16, True)
    longer = Output(output.latents, (output.rates[0] * 7,))
    assert torch.allclose(masked_loss(longer, targets), masked_loss(output, targets), atol=1e-5)
    output, targets = embedded(64, 16, False)
    masked_loss(output, targets).backward()
    assert output.rates[0].grad.abs().sum() > 0


def test_an_embedding_is_compared_over_all_groups_of_a_batch_and_by_hand():
    one, targets = embedded(2, 3, False)
    two, others = embedded(2, 3, False, seed=1)
    both = Output(one.latents * 2, one.rates + two.rates)
    whole = Targets(targets.counts + others.counts, targets.scored + others.scored,
                    targets.prompt + others.prompt, targets.context + others.context)  # fmt: skip
    [found] = contrasts(list(answered(both, whole)))
    told, true = (torch.cat([a[0], b[0]]).detach() for a, b in
                  ((one.rates[0], two.rates[0]), (targets.counts[0], others.counts[0])))  # fmt: skip
    told, true = (v / v.norm(dim=1, keepdim=True) for v in (told, true))
    likeness = told @ true.T / TEMPERATURE
    by_hand = torch.logsumexp(likeness, 1) - likeness.diagonal()
    assert torch.allclose(found.loss.detach(), by_hand, atol=1e-5)


def test_one_vector_alone_cannot_be_told_apart_and_costs_nothing():
    output, targets = embedded(1, 4, False)
    assert list(contrasts(list(answered(output, targets)))) == []
    assert masked_loss(output, targets).item() == 0.0


def test_the_losses_of_parts_add_up_to_the_loss_of_the_whole():
    """As several processes need it; a vector alone is told from those of its part."""
    torch.manual_seed(0)
    context = about([COUNT] * 3 + [REAL] + [CATEGORY] * 2, [-1] * 4 + [0, 0])
    rates, spread = torch.rand(6, 9, 6) * 0.8 + 0.1, torch.rand(6) + 0.5
    values = torch.randint(0, 3, (6, 9, 6)).float()
    values[..., 4] = (torch.rand(6, 9) < 0.5).float()
    values[..., 5] = 1 - values[..., 4]
    scored = (torch.rand(6, 9, 6) < 0.6) & (torch.arange(6) > 0)[:, None, None]
    scored[..., 5] = scored[..., 4]
    prompt = torch.tensor([0, 1, 1, 0, 10, 10])
    whole = batch(rates, values, scored, context, spread, prompt)
    parts = [batch(rates[a], values[a], scored[a], context, spread, prompt[a])
             for a in (slice(0, 2), slice(2, 6))]  # fmt: skip
    of = sum(asked(targets) for _, targets in parts)
    assert torch.allclose(of, asked(whole[1]))
    added = sum(masked_loss(output, targets, of) for output, targets in parts)
    assert added == pytest.approx(float(masked_loss(*whole)), rel=1e-5)
    assert int(of[1].sum()) == 6
