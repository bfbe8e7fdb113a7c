"""Stitching: rows per channel into the model and out of it, where a token is a time bin."""

import math

import torch
from torch import Tensor, nn

from neurofm.model.rows import RowMaker
from neurofm.model.temporal import Taps, span_sums, spans
from neurofm.tokens.tokens import ChannelContext, Group

ONE = 0.5413  # softplus(ONE) = 1: a read-out of zero says the channel's mean rate
CLIP = 8.0  # standardised root counts beyond this are outliers


def standardised(group: Group) -> Tensor:
    """Square-root counts in units of the channel's spread, (B, N, K, P); 0 where hidden.

    A silent visible cell is below zero and a hidden cell is zero, so the two differ.
    """
    context, at = group.context, group.channels
    mean, scale = context.mean[at][..., None], context.scale[at][..., None]  # (N | 1, K, 1)
    root = group.values.float().sqrt()
    return ((root - mean) / scale).clamp(-CLIP, CLIP) * ~group.hidden


class ReadIn(nn.Module):
    """Standardised tokens of all channels a bin, (B, N, C) -> (B, N, D).

    Visible channels are summed, value times row. What is hidden is first guessed linearly from what
    is visible, over neighbouring bins too, and the guess is read in by the same rows, so that the
    sum means the same however many channels are hidden. A row for each hidden channel tells the
    model what is missing. `kernel` 0 leaves the guess to the bin alone.
    """

    def __init__(self, rows: RowMaker, width: int, kernel: int, causal: bool) -> None:
        super().__init__()
        self.rows = rows(width, 1 / math.sqrt(96), like="weights")
        self.guess = rows(width, 0.02, like="loadings")
        self.hidden = rows(width, 0.02, by_site=False)
        self.nearby = Taps(width, kernel, causal) if kernel else None
        if self.nearby is not None:
            nn.init.zeros_(self.nearby.weight)

    def forward(self, x: Tensor, group: Group) -> Tensor:
        missing = group.hidden.squeeze(-1).to(x.dtype)
        rows = self.rows(group.context)
        seen = x @ rows
        n_visible = x.shape[-1] - missing.sum(-1, keepdim=True)
        scaled = seen * (x.shape[-1] / n_visible.clamp(min=1))
        if self.nearby is not None:
            scaled = scaled + self.nearby(scaled)
        guessed = (scaled @ self.guess(group.context).T) * missing
        out: Tensor = seen + guessed @ rows + missing @ self.hidden(group.context)
        return out


class OwnPast(nn.Module):
    """What a channel's own visible bins say of its hidden ones: (B, N, C) -> (B, N, C).

    All channels pass through the latents together, so what only one of them knows is lost there;
    forward prediction lives on it. Sums over spans that double in width, weighted in common and
    a little by channel; nothing where a channel is hidden throughout.
    """

    def __init__(self, rows: RowMaker, doublings: int, causal: bool) -> None:
        super().__init__()
        self.spans = spans(doublings, causal)
        self.common = nn.Parameter(torch.zeros(len(self.spans)))
        self.rows = rows(len(self.spans), 0.0)

    def forward(self, x: Tensor, context: ChannelContext) -> Tensor:
        weights = (self.common + self.rows(context)).unbind(1)  # (C,) a span
        out = torch.zeros_like(x)
        for part, weight in zip(span_sums(x, self.spans), weights, strict=True):
            out = out + part * weight
        return out


class ReadOut(nn.Module):
    """(B, N, D) latents -> (B, T, C) expected counts a bin: mean rate times softplus of a drive."""

    def __init__(self, rows: RowMaker, width: int) -> None:
        super().__init__()
        self.rows = rows(width, 0.02, like="slopes")
        self.bias = rows(1, 0.0)

    def forward(self, latents: Tensor, context: ChannelContext, own: Tensor | None) -> Tensor:
        drive = (latents @ self.rows(context).T + self.bias(context).squeeze(-1)).float()
        drive = drive if own is None else drive + own
        return context.rate * nn.functional.softplus(drive + ONE)
