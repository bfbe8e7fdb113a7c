"""The model: read in, transform, read out."""

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from neurofm.config import Config
from neurofm.model.backbone import Backbone, BackboneConfig, Run, by_run, drop
from neurofm.model.event import EventLayout
from neurofm.model.kinds import Spread
from neurofm.model.layout import BinLayout, Layout
from neurofm.model.lfads import LFADS, LFADSConfig
from neurofm.model.patch import PatchLayout
from neurofm.model.rows import RowMaker, of_batch
from neurofm.model.stitch import Held, OwnPast, ReadIn, ReadOut, Sheet
from neurofm.model.temporal import Spans, Taps
from neurofm.tokens.event import Event
from neurofm.tokens.mask import PROMPTS
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokenizers import AnyTokenizer
from neurofm.tokens.tokens import Batch, Group, Output


class ModelConfig(Config):
    """The whole network, with linear temporal paths for the guess of what is hidden and beside the trunk.

    `tokens`: how a window is cut into tokens. `backbone`: a transformer, or LFADS where its keys are
    given (`generator`, `inputs` ...). `kernel`: taps of both paths, odd; 0 leaves them out.
    `doublings`: if above 0, the path beside the trunk looks over spans that double in width that
    often instead, which suits fine bins. `path_rank`: if above 0, both paths look at so many
    directions of the width alone, which is cheap where the width is large. `own_past`: doublings of the path from a channel's own
    visible bins to its rate; 0 leaves it out. `hold`: a value starts from what was last seen of its channel. `rows`: what is known of a channel comes from a
    `table` that is learned, is computed from the channel's own data (`inductive`), or is computed
    and refined by a table (`both`). `counts`: how they are distributed about their rate. `kinds`: of
    the channels that it answers about, filled in from the recordings.
    """

    tokens: AnyTokenizer = TimeBin()
    backbone: BackboneConfig | LFADSConfig = BackboneConfig()
    kernel: int = Field(9, ge=0)
    doublings: int = Field(0, ge=0, le=12)
    path_rank: int = Field(0, ge=0)
    own_past: int = Field(0, ge=0, le=12)
    hold: bool = False
    rows: Literal["table", "inductive", "both"] = "table"
    counts: Literal["poisson", "negative-binomial"] = "poisson"
    kinds: tuple[Literal["count", "real", "category", "embedding"], ...] = ("count",)

    @model_validator(mode="after")
    def _lfads_goes_bin_by_bin(self) -> Self:
        if isinstance(self.backbone, LFADSConfig) and not isinstance(self.tokens, TimeBin):
            raise ValueError("LFADS takes one token a time bin; leave model.tokens out")
        return self

    @model_validator(mode="after")
    def _paths_are_narrower_than_the_trunk(self) -> Self:
        if self.path_rank >= self.backbone.width:
            raise ValueError(
                f"path_rank {self.path_rank} must be below the width {self.backbone.width}; 0 is all of it"
            )
        return self


class Model(nn.Module):
    """Batch -> Output. It is given no targets, and what is hidden is zero before it gets here."""

    def __init__(self, config: ModelConfig, rows: RowMaker) -> None:
        super().__init__()
        width = config.backbone.width
        self.config = config
        causal, rank = config.backbone.causal, config.path_rank
        self.read_in: ReadIn | None = None
        if config.kernel or config.doublings or not isinstance(config.tokens, Event):
            self.read_in = ReadIn(rows, width, config.kernel, causal, rank)
        self.prompts = nn.Parameter(torch.zeros(len(PROMPTS), width))
        self.temporal: Spans | Taps | None = None
        if config.doublings:
            self.temporal = Spans(width, config.doublings, causal, rank)
        elif config.kernel:
            self.temporal = Taps(width, config.kernel, causal, rank)
        self.backbone: Backbone | LFADS
        if isinstance(config.backbone, LFADSConfig):
            self.backbone = LFADS(config.backbone)
        else:
            self.backbone = Backbone(config.backbone)
        self.read_out = ReadOut(rows, width)
        self.own_past: OwnPast | None = None
        if config.own_past:
            self.own_past = OwnPast(rows, config.own_past, causal)
        self.held = Held(rows) if config.hold else None
        self.layout = _layout(config, rows)
        self.spread: Spread | None = None
        if "real" in config.kinds or config.counts == "negative-binomial":
            self.spread = Spread(rows)

    def forward(self, batch: Batch) -> Output:
        groups = of_batch(batch.groups)
        sheets = [self._sheet(group) for group in groups]
        read = [self._read(x, group) for x, group in zip(sheets, groups, strict=True)]
        tokens = [
            self.layout.embed(x, group) + self.prompts[group.prompt][:, None]
            for x, group in zip(read, groups, strict=True)
        ]
        parts, penalty = self._trunk(tokens, [self.layout.run(group) for group in groups])
        linear = self._linear(read, groups)
        out = [self._answer(*each) for each in zip(parts, linear, sheets, groups, strict=True)]
        latents, rates = zip(*out, strict=True)
        spread = self.spread
        spreads = None if spread is None else tuple(spread(g.context) for g in groups)
        return Output(latents, rates, penalty, spreads, self.config.counts != "poisson")

    def _sheet(self, group: Group) -> Sheet | None:
        """The cells in rows of bins, where a path of the model wants them."""
        wanted = self.read_in is not None or self.own_past is not None or self.held is not None
        return self.layout.sheet(group) if wanted else None

    def _read(self, sheet: Sheet | None, group: Group) -> Tensor | None:
        if self.read_in is None or sheet is None:
            return None
        out: Tensor = self.read_in(sheet, group.context, self._patches(group))
        return out

    def _patches(self, group: Group) -> Tensor | None:
        """(S, K) channels whose sums are kept apart; None where all are together."""
        return group.channels if self.layout.in_patches else None

    def _trunk(self, tokens: list[Tensor], runs: list[Run]) -> tuple[list[Tensor], Tensor]:
        """Latents of each group, and what the trunk adds to the loss of a window.

        Windows are packed one after the other, those of one shape side by side; nothing is padded.
        """
        order = sorted(range(len(runs)), key=lambda i: (len(runs[i].times), runs[i].n_each))
        x = torch.cat([tokens[i].flatten(0, 1) for i in order])
        merged = merge([runs[i] for i in order])
        z, penalty = through(
            self.backbone, drop(x, self.config.backbone.dropout, self.training, merged), merged
        )
        if self.temporal is not None and isinstance(self.layout, BinLayout):
            z = z + by_run(merged, lambda _, part: self._beside(part).flatten(0, 1), x)
        out: list[Tensor] = [z] * len(runs)
        first = 0
        for i in order:
            size = runs[i].n_windows * runs[i].length
            out[i] = runs[i].split(z[first : first + size])
            first += size
        return out, penalty

    def _linear(
        self, read: list[Tensor | None], groups: Sequence[Group]
    ) -> Sequence[Tensor | None]:
        """The path beside the trunk (B, T, D), from all channels, where tokens are not bins already."""
        if self.temporal is None or isinstance(self.layout, BinLayout):
            return [None] * len(read)
        sums = [
            (x if x.dim() == 3 else x.sum(2)) + self.prompts[group.prompt][:, None]
            for x, group in zip(read, groups, strict=True)
            if x is not None
        ]
        return together(self._beside, sums)

    def _beside(self, x: Tensor) -> Tensor:
        assert self.temporal is not None
        out: Tensor = self.temporal(x)
        return out

    def _answer(
        self, z: Tensor, linear: Tensor | None, sheet: Sheet | None, group: Group
    ) -> tuple[Tensor, Tensor]:
        """Latents (B, T, D) and rates (B, T, C)."""
        z, patches = self.layout.latents(z, group), self._patches(group)
        if linear is not None:
            z = z + (linear if patches is None else linear[:, :, None])
        own = None
        if self.own_past is not None and sheet is not None:
            own = self.own_past(sheet.values, group.context)
        if self.held is not None and sheet is not None:
            held = self.held(sheet, group.context)
            own = held if own is None else own + held
        rates = self.read_out(z, group.context, own, patches)
        return z if patches is None else z.mean(2), rates

    @property
    def rows_in(self) -> nn.Module:
        """The rows by which channels enter: by their cells or, where no path has those, by events."""
        if self.read_in is not None:
            return self.read_in.rows
        assert isinstance(self.layout, EventLayout)
        return self.layout.rows

    @property
    def n_parameters(self) -> int:
        """Weights in all, rows of channels included."""
        return sum(p.numel() for p in self.parameters())


def _layout(config: ModelConfig, rows: RowMaker) -> Layout:
    tokens, backbone = config.tokens, config.backbone
    if isinstance(tokens, Patch):
        return PatchLayout(tokens, backbone.width, backbone.causal)
    if isinstance(tokens, Event) and isinstance(backbone, BackboneConfig):
        return EventLayout(tokens, rows, backbone)
    return BinLayout()


def through(trunk: Backbone | LFADS, x: Tensor, runs: Sequence[Run]) -> tuple[Tensor, Tensor]:
    """(M, D) tokens -> latents, and the mean of what the trunk adds to the loss of a window."""
    if isinstance(trunk, Backbone):
        out: Tensor = trunk(x, runs)
        return out, x.new_zeros(())
    penalties: list[Tensor] = []
    seen = trunk.seen.clone()

    def alone(run: Run, part: Tensor) -> Tensor:
        trunk.seen.copy_(seen)  # a batch counts once, whatever shapes its windows have
        z, penalty = trunk(part)
        penalties.append(penalty * run.n_windows)
        flat: Tensor = z.flatten(0, 1)
        return flat

    z = by_run(runs, alone, x)
    return z, torch.stack(penalties).sum() / sum(run.n_windows for run in runs)


def merge(runs: Sequence[Run]) -> list[Run]:
    """Neighbouring runs of one shape as one: all windows of a batch are cut at the same times."""
    out: list[Run] = []
    for run in runs:
        same = out and (len(out[-1].times), out[-1].n_each) == (len(run.times), run.n_each)
        n_before = out.pop().n_windows if same else 0
        out.append(Run(n_before + run.n_windows, run.times, run.n_each))
    return out


def together(path: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> list[Tensor]:
    """`path` of (B, T, D) parts, those of one length at once."""
    by_length: dict[int, list[int]] = {}
    for index, part in enumerate(parts):
        by_length.setdefault(part.shape[1], []).append(index)
    out = list(parts)
    for indices in by_length.values():
        joined = path(torch.cat([parts[i] for i in indices]))
        for i, part in zip(
            indices, torch.split(joined, [len(parts[i]) for i in indices]), strict=True
        ):
            out[i] = part
    return out
