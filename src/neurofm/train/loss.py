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


def asked(targets: Targets) -> Tensor:
    """(2, kinds of mask): the cells that are scored and the windows, by kind."""
    device = targets.prompt[0].device
    cells = torch.zeros(len(PROMPTS), device=device)
    windows = torch.zeros(len(PROMPTS), device=device)
    for scored, prompt in zip(targets.scored, targets.prompt, strict=True):
        cells = cells.index_add(0, prompt, scored.sum((1, 2)).float())
        windows = windows.index_add(0, prompt, torch.ones(len(prompt), device=device))
    return torch.stack([cells, windows])


def masked_loss(output: Output, targets: Targets, whole: Tensor | None = None) -> Tensor:
    """Mean Poisson loss of the scored cells, taken for each kind of mask apart.

    The kinds are then averaged by their share of the windows: a mask that scores ten times more
    cells than another does not weigh ten times more. `whole`: what is `asked` by a batch of which
    this one is a part; the parts' losses then add up to the loss of the whole.
    """
    device = output.rates[0].device
    total = torch.zeros(len(PROMPTS), device=device)
    for rates, counts, scored, prompt in zip(
        output.rates, targets.counts, targets.scored, targets.prompt, strict=True
    ):
        each = poisson_nll(rates, counts.float()) * scored
        total = total.index_add(0, prompt, each.sum((1, 2)))
    own = asked(targets)
    cells, windows = own if whole is None else whole
    means = total / cells.clamp(min=1)
    loss: Tensor = (means * windows).sum() / windows.sum()
    if output.penalty is not None:
        loss = loss + output.penalty * (own[1].sum() / windows.sum())
    return loss
