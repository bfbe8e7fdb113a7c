"""How well a model fills in hidden cells of windows that it was not trained on."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from neurofm.data.recording import KINDS
from neurofm.model.kinds import COUNT, EMBEDDING
from neurofm.tokens.mask import PROMPTS
from neurofm.tokens.tokens import ChannelContext
from neurofm.train.likelihood import Answered, answered, by_kind, contrasts, weights
from neurofm.train.loop import Batches, autocast


@torch.no_grad()
def validate(
    model: nn.Module, batches: Batches, n_batches: int, precision: str
) -> dict[str, float]:
    """Bits over each channel's training mean, by kind of mask, pooled over cells.

    Bits are for each spike of counts and for each cell or label of other kinds, whose name is then
    added to that of the mask. `score` is the mean, weighted by how often each was asked. Always the
    same batches, so that two steps of a run can be compared.
    """
    device = next(model.parameters()).device
    model.eval()
    gain = torch.zeros(len(PROMPTS), len(KINDS), device=device)
    n, windows = torch.zeros_like(gain), torch.zeros_like(gain)
    for number in range(n_batches):
        batch, targets = batches(number)
        batch, targets = batch.to(device), targets.to(device)
        with autocast(device, precision):
            output = model(batch)
        groups = list(answered(output, targets))
        for one, group in zip(groups, batch.groups, strict=True):
            better, each = _gain(one, group.context)
            gain.index_add_(0, one.prompt, by_kind(better, group.context))
            n.index_add_(0, one.prompt, by_kind(each, group.context))
            asked = by_kind(one.scored.float(), group.context) > 0
            windows.index_add_(0, one.prompt, asked.float())
        for contrast in contrasts(groups):
            told = contrast.by_chance - contrast.loss
            gain[:, EMBEDDING].index_add_(0, contrast.prompt, told)
            n[:, EMBEDDING].index_add_(0, contrast.prompt, torch.ones_like(told))
    bits = gain / n.clamp(min=1) / math.log(2)
    named = {_name(p, k): float(bits[p, k]) for p in range(len(PROMPTS))
             for k in range(len(KINDS)) if windows[p, k] > 0}  # fmt: skip
    return named | {"score": float((bits * windows).sum() / windows.sum())}


def _name(prompt: int, kind: int) -> str:
    return PROMPTS[prompt] if kind == COUNT else f"{PROMPTS[prompt]} ({KINDS[kind]})"


def _gain(one: Answered, context: ChannelContext) -> tuple[Tensor, Tensor]:
    """(gain, n) (B, T, C): nats over the training mean, and spikes, or cells of other kinds."""
    null = replace(one, expected=context.rate.expand_as(one.expected), overdispersed=False,
                   spread=None if one.spread is None else torch.ones_like(one.spread))  # fmt: skip
    better, spikes = null.cells() - one.cells(), one.values * one.scored
    if context.kind is None:
        return better, spikes
    each = torch.where(context.kind == COUNT, spikes, weights(one.values, one.scored, context))
    return better, torch.where(context.kind == EMBEDDING, 0.0, each)
