"""How well a model fills in hidden cells of windows that it was not trained on."""

import math

import torch
from torch import Tensor, nn

from neurofm.tokens.mask import PROMPTS
from neurofm.train.loop import Batches, autocast
from neurofm.train.loss import poisson_nll


@torch.no_grad()
def validate(
    model: nn.Module, batches: Batches, n_batches: int, precision: str
) -> dict[str, float]:
    """Bits per spike over each channel's training mean, by kind of mask, pooled over cells.

    `score` is their mean, weighted by how often each kind was drawn. Always the same batches, so
    that two steps of a run can be compared.
    """
    device = next(model.parameters()).device
    model.eval()
    gain = torch.zeros(len(PROMPTS), device=device)
    spikes, windows = torch.zeros_like(gain), torch.zeros_like(gain)
    for number in range(n_batches):
        batch, targets = batches(number)
        batch, targets = batch.to(device), targets.to(device)
        with autocast(device, precision):
            output = model(batch)
        for rates, counts, scored, prompt, group in zip(
            output.rates, targets.counts, targets.scored, targets.prompt, batch.groups, strict=True
        ):
            better = _gain(rates, counts.float(), group.context.rate) * scored
            gain.index_add_(0, prompt, better.sum((1, 2)))
            spikes.index_add_(0, prompt, (counts * scored).sum((1, 2)).float())
            windows.index_add_(0, prompt, torch.ones(len(prompt), device=device))
    bits = gain / spikes.clamp(min=1) / math.log(2)
    asked = {PROMPTS[i]: float(bits[i]) for i in range(len(PROMPTS)) if windows[i] > 0}
    return asked | {"score": float((bits * windows).sum() / windows.sum())}


def _gain(rates: Tensor, counts: Tensor, mean: Tensor) -> Tensor:
    return poisson_nll(mean.expand_as(rates), counts) - poisson_nll(rates, counts)
