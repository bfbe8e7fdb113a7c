"""Stitching: rows per channel into the model and out of it, for tokens of any form.

Tokens are first laid out on the sheet of (bin, channel); rows belong to channels, so nothing here
depends on which channels share a token, except which sums are kept apart.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurofm.data.recording import NODES
from neurofm.model.kinds import COUNT, ONE, REAL, by_kind
from neurofm.model.rows import RowMaker
from neurofm.model.temporal import Taps, span_filter, spans
from neurofm.tokens.tokens import ChannelContext

CLIP = 8.0  # standardised root counts beyond this are outliers
FADES = -5.0  # softplus of it a bin: a value that is held loses half in a hundred bins at first


@dataclass(frozen=True)
class Sheet:
    """A window's cells as the model sees them, (B, T, C) each.

    `values`: square-root counts in units of the channel's spread, 0 where `hidden`. A silent visible
    cell is below zero, so the two differ. Other kinds than counts are not rooted. `present`: False
    where a cell is neither hidden nor recorded, and 0; None where there is no such cell.
    """

    values: Tensor
    hidden: Tensor
    present: Tensor | None = None


def standardised(
    counts: Tensor, hidden: Tensor, context: ChannelContext, present: Tensor | None = None
) -> Sheet:
    """The sheet of (B, T, C) counts, or of values where a channel is of another kind."""
    if context.kind is None:
        root = counts.float().sqrt()
    else:
        root = torch.where(
            context.kind == COUNT, counts.clamp(min=0).float().sqrt(), counts.float()
        )
    values = ((root - context.mean) / context.scale).clamp(-CLIP, CLIP) * ~hidden
    return Sheet(values if present is None else values * present, hidden, present)


def by_patch(x: Tensor, patches: Tensor) -> Tensor:
    """(..., C) -> (..., S, K): the cells of each patch of channels; where it holds none, zero."""
    return nn.functional.pad(x, (0, 1))[..., patches]  # -1 is the zero behind the last channel


class ReadIn(nn.Module):
    """Cells of a bin, (B, T, C), summed by rows of channels -> (B, T, D), or a sum for each patch.

    Visible channels are summed, value times row. What is hidden is first guessed linearly from what
    is visible, over neighbouring bins too, and the guess is read in by the same rows, so that the
    sum means the same however many channels are hidden. A row for each hidden channel tells the
    model what is missing. `kernel` 0 leaves the guess to the bin alone.
    """

    def __init__(
        self, rows: RowMaker, width: int, kernel: int, causal: bool, rank: int = 0
    ) -> None:
        super().__init__()
        self.rows = rows(width, 1 / math.sqrt(96), like="weights")
        self.guess = rows(width, 0.02, like="loadings")
        self.hidden = rows(width, 0.02, by_site=False)
        self.nearby = Taps(width, kernel, causal, rank) if kernel else None
        if self.nearby is not None:
            nn.init.zeros_(self.nearby.weight)

    def forward(
        self, sheet: Sheet, context: ChannelContext, patches: Tensor | None = None
    ) -> Tensor:
        """`patches` (S, K) of channels, -1 for none: (B, T, S, D), one sum a patch."""
        x, missing = sheet.values, sheet.hidden.to(sheet.values.dtype)
        rows, hidden = self.rows(context), self.hidden(context)
        seen = x @ rows
        if sheet.present is None and context.node is None:
            n_visible = x.shape[-1] - missing.sum(-1, keepdim=True)
            scaled = seen * (x.shape[-1] / n_visible.clamp(min=1))
        else:
            scaled = (x * _share_shown(sheet, context.node)) @ rows
        if self.nearby is not None:
            scaled = scaled + self.nearby(scaled)
        guessed = (scaled @ self.guess(context).T) * missing
        if patches is None:
            out: Tensor = seen + guessed @ rows + missing @ hidden
            return out
        cells = torch.cat([by_patch(x + guessed, patches), by_patch(missing, patches)], -1)
        both = torch.cat([by_patch(rows.T, patches), by_patch(hidden.T, patches)], -1)
        return torch.einsum("btsk,dsk->btsd", cells, both)


def _share_shown(sheet: Sheet, node: Tensor | None) -> Tensor:
    """(B, T, C) how many channels of its node there are for each that is shown, in each bin.

    What was not recorded is no channel there, so that a session without a signal and one that lacks
    it for a while are the same; two signals do not stand for two hundred units.
    """
    shown = (~sheet.hidden).to(sheet.values.dtype)
    there = torch.ones_like(shown) if sheet.present is None else sheet.present.to(shown.dtype)
    which = torch.zeros(shown.shape[-1], dtype=torch.int64, device=shown.device)
    each = functional.one_hot(which if node is None else node, len(NODES)).to(shown.dtype)
    share = (there @ each) / ((there * shown) @ each).clamp(min=1)
    return share @ each.T


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
        return span_filter(x, self.common + self.rows(context), self.spans)


class Held(nn.Module):
    """The value that was seen last of each channel of values, which fades: (B, T, C) -> (B, T, C).

    Behaviour moves from where it is: an answer starts there, and the rest of the model says what
    changes. Nothing for other kinds, and where a channel was not seen before.
    """

    def __init__(self, rows: RowMaker) -> None:
        super().__init__()
        self.common = nn.Parameter(torch.tensor(FADES))
        self.rows = rows(1, 0.0)

    def forward(self, sheet: Sheet, context: ChannelContext) -> Tensor:
        seen = ~sheet.hidden if sheet.present is None else ~sheet.hidden & sheet.present
        bins = torch.arange(seen.shape[1], device=seen.device)[:, None]
        last = torch.where(seen, bins, -1).cummax(1).values
        value = sheet.values.gather(1, last.clamp(min=0))
        fade = nn.functional.softplus(self.common + self.rows(context).squeeze(-1)).float()
        held = value * torch.exp(-fade * (bins - last)) * (last >= 0)
        return held * (0.0 if context.kind is None else context.kind == REAL)


class ReadOut(nn.Module):
    """Latents -> (B, T, C) expected counts a bin: mean rate times softplus of a drive.

    Channels of other kinds are told by the same drive (`model.kinds`).
    """

    def __init__(self, rows: RowMaker, width: int) -> None:
        super().__init__()
        self.rows = rows(width, 0.02, like="slopes")
        self.bias = rows(1, 0.0)

    def forward(
        self,
        latents: Tensor,
        context: ChannelContext,
        own: Tensor | None,
        patches: Tensor | None = None,
    ) -> Tensor:
        """Latents (B, T, D) of all channels or, with `patches` (S, K), (B, T, S, D) of each patch."""
        rows = self.rows(context)
        if patches is None:
            drive = latents @ rows.T
        else:
            each = torch.einsum("btsd,dsk->btsk", latents, by_patch(rows.T, patches))
            drive = each.flatten(2)[..., slots(patches, len(rows))]
        drive = (drive + self.bias(context).squeeze(-1)).float()
        drive = drive if own is None else drive + own
        rates = context.rate * nn.functional.softplus(drive + ONE)
        return rates if context.kind is None else by_kind(rates, drive, context)


def slots(patches: Tensor, n_channels: int) -> Tensor:
    """(C,) where each channel lies in the flattened (S, K) patches."""
    flat = patches.flatten()
    found = torch.zeros(n_channels + 1, dtype=torch.int64, device=flat.device)
    found[flat] = torch.arange(len(flat), device=flat.device)  # -1 falls on the last, which goes
    return found[:n_channels]
