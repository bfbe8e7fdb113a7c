"""The loss of hidden cells."""

import torch
from torch import Tensor

from neurofm.tokens.mask import PROMPTS
from neurofm.tokens.tokens import Output, Targets

LEAST_RATE = 1e-6  # counts a bin; keeps the logarithm finite


def poisson_nll(rates: Tensor, counts: Tensor) -> Tensor:
    """Poisson negative log-likelihood a cell, without the term that has no rate in it."""
    safe = rates.clamp(min=LEAST_RATE)
    return safe - counts * safe.log()


def masked_loss(output: Output, targets: Targets) -> Tensor:
    """Mean Poisson loss of the scored cells, taken for each kind of mask apart.

    The kinds are then averaged by their share of the windows: a mask that scores ten times more
    cells than another does not weigh ten times more.
    """
    device = output.rates[0].device
    total = torch.zeros(len(PROMPTS), device=device)
    cells = torch.zeros(len(PROMPTS), device=device)
    windows = torch.zeros(len(PROMPTS), device=device)
    for rates, counts, scored, prompt in zip(
        output.rates, targets.counts, targets.scored, targets.prompt, strict=True
    ):
        loss = poisson_nll(rates, counts.float()) * scored
        total = total.index_add(0, prompt, loss.sum((1, 2)))
        cells = cells.index_add(0, prompt, scored.sum((1, 2)).float())
        windows = windows.index_add(0, prompt, torch.ones(len(prompt), device=device))
    means = total / cells.clamp(min=1)
    loss = (means * windows).sum() / windows.sum()
    return loss if output.penalty is None else loss + output.penalty
