"""What a drive says of a channel, by its kind: a rate, a value, a label, a direction."""

import torch
from torch import Tensor, nn

from neurofm.data.recording import KINDS
from neurofm.model.rows import RowMaker
from neurofm.tokens.tokens import ChannelContext

COUNT, REAL, CATEGORY, EMBEDDING = range(len(KINDS))
ONE = 0.5413  # softplus(ONE) = 1: a read-out of zero says the channel's mean rate
STEEPEST = 30.0  # of logits; further apart they could not be told in single precision
LEAST_SPREAD = 0.02  # of a channel's own: no value is ever certain, so that none outweighs all


def by_kind(rates: Tensor, drive: Tensor, context: ChannelContext) -> Tensor:
    """(B, T, C) expected values: `rates` of counts, and of the other kinds what the drive says.

    A drive of zero says the training mean of a value and how frequent each label was.
    """
    assert context.kind is not None
    value = context.mean + context.scale * drive
    out = torch.where(context.kind == COUNT, rates, value)
    if context.group is None:
        return out
    return torch.where(context.kind == CATEGORY, labels(drive, context), out)


def labels(drive: Tensor, context: ChannelContext) -> Tensor:
    """(B, T, C) the probability of each label of a category; of other kinds, nothing of meaning."""
    assert context.kind is not None
    assert context.group is not None
    rate = torch.where(context.kind == CATEGORY, context.rate, torch.ones_like(context.rate))
    weight = (drive + rate.log()).clamp(-STEEPEST, STEEPEST).exp()
    n = weight.shape[-1]
    place = context.group.where(context.group >= 0, n)  # behind the last, those that stand alone
    sums = weight.new_zeros(*weight.shape[:-1], n + 1).index_add(-1, place, weight)
    return weight / sums[..., place]


class Spread(nn.Module):
    """(C,) what is learned of each channel beside its expected value (`Output.spread`).

    At first a value is as spread as its channel, and counts are a little overdispersed.
    """

    def __init__(self, rows: RowMaker) -> None:
        super().__init__()
        self.rows = rows(1, 0.0)

    def forward(self, context: ChannelContext) -> Tensor:
        drive = self.rows(context).squeeze(-1).float() + ONE
        plain = nn.functional.softplus(drive) + LEAST_SPREAD
        if context.kind is None:
            return 0.1 * plain
        return torch.where(context.kind == COUNT, 0.1 * plain, plain)
