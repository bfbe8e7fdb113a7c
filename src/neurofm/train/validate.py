"""How well a model fills in hidden cells of windows that it was not trained on."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from neurofm.data.recording import KINDS
from neurofm.model.kinds import COUNT, EMBEDDING, LEAST_SPREAD, REAL
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
    added to that of the mask. Those of values are by squared error (`_of_values`). `score` is the
    mean, weighted by how often each was asked. Always the same batches, so that two steps of a run
    can be compared.
    """
    device = next(model.parameters()).device
    model.eval()
    gain = torch.zeros(len(PROMPTS), len(KINDS), device=device)
    n, windows = torch.zeros_like(gain), torch.zeros_like(gain)
    squares: list[Tensor] = []
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
            squares.append(_squares(one, group.context))
        for contrast in contrasts(groups):
            told = contrast.by_chance - contrast.loss
            gain[:, EMBEDDING].index_add_(0, contrast.prompt, told)
            n[:, EMBEDDING].index_add_(0, contrast.prompt, torch.ones_like(told))
    gain[:, REAL], n[:, REAL] = _of_values(torch.cat(squares, dim=1)).to(device)
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
    apart = (context.kind == REAL) | (context.kind == EMBEDDING)
    return better.where(~apart, 0.0), each.where(~apart, 0.0)


def _squares(one: Answered, context: ChannelContext) -> Tensor:
    """(4, B * R) of R channels of values: place, cells, and squared errors of the model and the mean.

    Squares are in units of the channel's training variance; a place is of one mask and one channel.
    """
    kind = torch.zeros_like(context.row) if context.kind is None else context.kind
    rows = torch.nonzero(kind == REAL).flatten()
    scored, values = one.scored[..., rows], one.values[..., rows]
    told = one.expected[..., rows], context.mean[rows]
    off = [(values - each) / context.scale[rows] * scored for each in told]
    place = context.site[rows] * len(PROMPTS) + one.prompt[:, None]
    sums = [place, scored.sum(1), *((o**2).sum(1) for o in off)]
    return torch.stack([s.cpu().double() for s in sums]).flatten(1)


def _of_values(squares: Tensor) -> Tensor:
    """(2, prompts): nats of values over their training mean, and how many cells.

    Of a Gaussian as wide as the errors on these very cells, the model's and the mean's alike, channel by channel:
    the `bits_per_sample` of evaluation. Not as wide as was learned: a muscle ten times stronger than in training costs
    squares over that width, the more the better all others are told, and one channel outweighs hundreds.
    """
    place, which = torch.unique(squares[0].long(), return_inverse=True)
    sums = squares.new_zeros(3, len(place)).index_add(1, which, squares[1:])
    n, told, mean = sums[0], *(s / sums[0].clamp(min=1) + LEAST_SPREAD**2 for s in sums[1:])
    each = torch.stack([0.5 * n * (mean / told).log(), n])
    return squares.new_zeros(2, len(PROMPTS)).index_add(1, place % len(PROMPTS), each).float()
