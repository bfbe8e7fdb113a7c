"""The model: read in, transform, read out."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from neurofm.config import Config
from neurofm.model.backbone import Backbone, BackboneConfig, drop
from neurofm.model.lfads import LFADS, LFADSConfig
from neurofm.model.rows import RowMaker
from neurofm.model.stitch import OwnPast, ReadIn, ReadOut, standardised
from neurofm.model.temporal import Spans, Taps
from neurofm.tokens.mask import PROMPTS
from neurofm.tokens.tokens import Batch, Output


class ModelConfig(Config):
    """The whole network, with linear temporal paths for the guess of what is hidden and beside the trunk.

    `backbone`: a transformer, or LFADS where its keys are given (`generator`, `inputs` ...).
    `kernel`: taps of both, odd; 0 leaves them out. `doublings`: if above 0, the path beside the
    trunk looks over spans that double in width that often instead, which suits fine bins.
    `own_past`: doublings of the path from a channel's own visible bins to its rate; 0 leaves it out.
    `rows`: what is known of a channel comes from a `table` that is learned, is computed from the
    channel's own data (`inductive`), or is computed and refined by a table (`both`).
    """

    backbone: BackboneConfig | LFADSConfig = BackboneConfig()
    kernel: int = Field(9, ge=0)
    doublings: int = Field(0, ge=0, le=12)
    own_past: int = Field(0, ge=0, le=12)
    rows: Literal["table", "inductive", "both"] = "table"


class Model(nn.Module):
    """Batch -> Output. It is given no targets, and what is hidden is zero before it gets here."""

    def __init__(self, config: ModelConfig, rows: RowMaker) -> None:
        super().__init__()
        width = config.backbone.width
        self.config = config
        causal = config.backbone.causal
        self.read_in = ReadIn(rows, width, config.kernel, causal)
        self.prompts = nn.Parameter(torch.zeros(len(PROMPTS), width))
        self.temporal: Spans | Taps | None = None
        if config.doublings:
            self.temporal = Spans(width, config.doublings, causal)
        elif config.kernel:
            self.temporal = Taps(width, config.kernel, causal)
        self.backbone: Backbone | LFADS
        if isinstance(config.backbone, LFADSConfig):
            self.backbone = LFADS(config.backbone)
        else:
            self.backbone = Backbone(config.backbone)
        self.read_out = ReadOut(rows, width)
        self.own_past: OwnPast | None = None
        if config.own_past:
            self.own_past = OwnPast(rows, config.own_past, causal)

    def forward(self, batch: Batch) -> Output:
        standard = [standardised(group).squeeze(-1) for group in batch.groups]
        embedded = [
            self.read_in(x, group) + self.prompts[group.prompt][:, None]
            for x, group in zip(standard, batch.groups, strict=True)
        ]
        latents: list[Tensor] = [torch.empty(0)] * len(embedded)
        penalties: list[Tensor] = []
        for indices in _same_length(batch).values():
            x = torch.cat([embedded[i] for i in indices])  # windows of one length: no padding
            z, penalty = self._latents(x, batch.groups[indices[0]].bins)
            first, penalties = 0, [*penalties, penalty * len(x)]
            for i in indices:
                latents[i] = z[first : first + len(embedded[i])]
                first += len(embedded[i])
        rates = [
            self.read_out(z, group.context, self.own_past and self.own_past(x, group.context))
            for z, x, group in zip(latents, standard, batch.groups, strict=True)
        ]
        penalty = torch.stack(penalties).sum() / batch.n_windows
        return Output(tuple(latents), tuple(rates), penalty)

    def _latents(self, x: Tensor, bins: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, D) latents, and what the trunk adds to the loss of a window."""
        z, penalty = x, x.new_zeros(())
        dropped = drop(x, self.config.backbone.dropout, self.training)
        if isinstance(self.backbone, LFADS):
            z, penalty = self.backbone(dropped)
        else:
            z = self.backbone(dropped, bins)
        return z if self.temporal is None else z + self.temporal(x), penalty

    @property
    def n_parameters(self) -> int:
        """Weights in all, rows of channels included."""
        return sum(p.numel() for p in self.parameters())


def _same_length(batch: Batch) -> dict[int, list[int]]:
    by_length: dict[int, list[int]] = {}
    for index, group in enumerate(batch.groups):
        by_length.setdefault(len(group.bins), []).append(index)
    return by_length
