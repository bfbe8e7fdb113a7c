import pytest
import torch
from torch.distributions import Poisson

from neurofm.tokens.tokens import Output, Targets
from neurofm.train.likelihood import poisson_nll
from neurofm.train.loss import masked_loss


def one(rates, counts, scored, prompt):
    return Output((torch.empty(0),), (rates,)), Targets((counts,), (scored,), (prompt,))


def test_poisson_is_the_textbook_likelihood_up_to_the_term_without_a_rate():
    rates, counts = torch.tensor([0.3, 2.0, 5.5]), torch.tensor([0.0, 3.0, 4.0])
    textbook = -Poisson(rates).log_prob(counts) - torch.lgamma(counts + 1)
    assert torch.allclose(poisson_nll(rates, counts), textbook, atol=1e-6)


def test_only_scored_cells_count():
    rates, counts = torch.rand(2, 3, 4) + 0.1, torch.randint(0, 5, (2, 3, 4))
    scored = torch.rand(2, 3, 4) < 0.5
    prompt = torch.tensor([0, 0])
    loss = masked_loss(*one(rates, counts, scored, prompt))
    changed = torch.where(scored, counts, counts + 50)
    assert torch.equal(loss, masked_loss(*one(rates, changed, scored, prompt)))
    assert loss == pytest.approx(float(poisson_nll(rates, counts)[scored].mean()), rel=1e-5)


def test_a_mask_that_scores_more_cells_does_not_weigh_more():
    rates = torch.ones(2, 10, 10)
    counts = torch.stack([torch.zeros(10, 10), torch.full((10, 10), 2)]).long()
    scored = torch.zeros(2, 10, 10, dtype=torch.bool)
    scored[0], scored[1, 0, 0] = True, True
    rates[1] = 3.0
    loss = masked_loss(*one(rates, counts, scored, torch.tensor([0, 1])))
    each = poisson_nll(rates, counts.float())
    assert loss == pytest.approx(float((each[0].mean() + each[1, 0, 0]) / 2), rel=1e-5)


def test_groups_are_pooled_as_if_they_were_one():
    torch.manual_seed(0)
    rates, counts = torch.rand(4, 3, 5) + 0.1, torch.randint(0, 4, (4, 3, 5))
    scored, prompt = torch.rand(4, 3, 5) < 0.6, torch.tensor([0, 1, 1, 0])
    whole = masked_loss(*one(rates, counts, scored, prompt))
    cut = Output((torch.empty(0),) * 2, (rates[:1], rates[1:]))
    parts = Targets((counts[:1], counts[1:]), (scored[:1], scored[1:]), (prompt[:1], prompt[1:]))
    assert masked_loss(cut, parts) == pytest.approx(float(whole), rel=1e-5)
