"""A causal model bin by bin: what `Model.forward` says of a recording, from what is kept of its past.

Nothing is computed twice. Kept are the keys and values of the last W - 1 bins in every layer, and as
many bins of the inputs of the linear paths as these reach back. So bin t is answered as by one
forward pass over everything since the start in which attention is limited to the last W bins: up to
bin W, by the plain forward pass. Float32 on the CPU: there one token costs no less in bf16.

Shapes: N bins at once, C channels, D width, H heads, W window.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurofm.errors import InputError
from neurofm.model.backbone import Backbone, Block, attend, rotary_speed, rotate, turn
from neurofm.model.kinds import ONE
from neurofm.model.layout import BinLayout
from neurofm.model.model import Model
from neurofm.model.stitch import ReadIn, standardised
from neurofm.model.temporal import Spans, Taps
from neurofm.tokens.tokens import ChannelContext


@dataclass(frozen=True)
class Past:
    """All that is kept of the bins so far, however many there were.

    `n_bins`: bins so far. `cells` (., C), `sums` (., D), `tokens` (., D): the last inputs of the path
    of a channel's own past, of the guess of what is hidden, and of the path beside the trunk, zeros
    before the start. `keys`, `values`: a layer each, (H, at most W - 1, D / H).
    """

    n_bins: int
    cells: Tensor
    sums: Tensor
    tokens: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


@dataclass(frozen=True)
class Affine:
    """x @ `weight` (in, out) + `bias`; this way round, one token takes half the time."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, linear: nn.Linear, norm: nn.LayerNorm | None = None) -> "Affine":
        """A layer; the gain and bias of the `norm` before it are folded in."""
        weight: Tensor = linear.weight.T
        bias: Tensor = linear.bias
        if norm is not None:
            weight, bias = norm.weight[:, None] * weight, bias + norm.bias @ weight
        return cls(weight.contiguous(), bias.clone())

    def __call__(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        return torch.addmm(self.bias, x, self.weight)


@dataclass(frozen=True)
class Filter:
    """A path over the last `reach` bins: (reach - 1 + N, D) -> (N, D).

    `narrow` (D, rank): the directions that it looks at; None where all. `spans` (K, reach): weights
    of sums over spans of bins; None where each bin has its own matrix.
    """

    reach: int
    narrow: Tensor | None
    spans: Tensor | None
    mix: Affine

    @classmethod
    def of(cls, path: Spans | Taps | None, width: int) -> "Filter | None":
        """The causal path of a model; None where it has none."""
        if path is None:
            return None
        narrow = None if path.narrow is None else path.narrow.T.contiguous()
        bias = path.bias.clone()
        if isinstance(path, Taps):
            return cls(path.kernel, narrow, None, Affine(path.weight.T.contiguous(), bias))
        sums = span_weights(path.spans)
        weight = path.weight.view(width, len(sums), -1).transpose(1, 2).flatten(1)
        return cls(sums.shape[1], narrow, sums, Affine(weight.T.contiguous(), bias))

    def __call__(self, x: Tensor) -> Tensor:
        x = x if self.narrow is None else x @ self.narrow
        windows = x.unfold(0, self.reach, 1)  # (N, D, reach)
        if self.spans is not None:
            windows = windows @ self.spans.T
        return self.mix(windows.flatten(1))


def span_weights(over: list[tuple[int, int]]) -> Tensor:
    """(K, reach) what `span_sums` multiplies the last `reach` bins by, for spans of the past."""
    reach = 1 - min(first for first, _ in over)
    out = torch.zeros(len(over), reach)
    for row, (first, stop) in zip(out, over, strict=True):
        row[reach - 1 + first : reach - 1 + stop] = (stop - first) ** -0.5
    return out


@dataclass(frozen=True)
class Layer:
    """A block of the trunk."""

    heads: int
    qkv: Affine
    merge: Affine
    up: Affine
    down: Affine

    @classmethod
    def of(cls, block: Block) -> "Layer":
        """With its norms folded into the products after them."""
        qkv, up = Affine.of(block.qkv, block.norm_attention), Affine.of(block.up, block.norm_mlp)
        return cls(block.heads, qkv, Affine.of(block.merge), up, Affine.of(block.down))

    def __call__(
        self, x: Tensor, keys: Tensor, values: Tensor, angles: tuple[Tensor, Tensor], window: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(N, D) -> the same, and the keys and values of all bins that N more bins could see."""
        n, width = x.shape
        qkv = self.qkv(functional.layer_norm(x, (width,)))
        q, k, v = qkv.view(n, 3, self.heads, -1).permute(1, 2, 0, 3)  # (H, N, d) each
        keys, values = torch.cat([keys, rotate(k, *angles)], 1), torch.cat([values, v], 1)
        blocked = banded(n, keys.shape[1], window) if n > 1 else None
        mixed = attend(rotate(q, *angles), keys, values, blocked)
        x = x + self.merge(mixed.transpose(0, 1).reshape(n, width))
        inner = functional.gelu(self.up(functional.layer_norm(x, (width,))))
        return x + self.down(inner), keys, values


def banded(n: int, n_keys: int, window: int) -> Tensor:
    """(n, n_keys) True where the last n bins may not look: later ones, and those before the window."""
    age = torch.arange(n_keys - n, n_keys)[:, None] - torch.arange(n_keys)
    return (age < 0) | (age >= window)


def last(x: Tensor, n: int, dim: int = 0) -> Tensor:
    """The last n, or all where there are fewer."""
    n = min(n, x.shape[dim])
    return x.narrow(dim, x.shape[dim] - n, n)


def _refuse(model: Model) -> None:
    """Raises InputError for a model that cannot be asked bin by bin."""
    tokens = model.config.tokens.kind
    if not isinstance(model.layout, BinLayout):
        raise InputError(
            f"this model has {tokens} tokens, and a stream takes one token a bin; pre-train one with "
            "--set model.tokens.kind=time-bin --set model.backbone.causal=true."
        )
    if not model.config.backbone.causal:
        remedy = "pre-train one with --set model.backbone.causal=true"
        if not isinstance(model.backbone, Backbone):
            remedy = "LFADS reads whole windows; take a recipe such as small, and " + remedy
        raise InputError(
            f"this model is not causal: what it says of a bin rests on later bins; {remedy}."
        )


class Online:
    """`(counts, hidden, past) -> (latents, rates, past)`, for the channels of one recording.

    It keeps no state and shares no weight with the model that it was made of. Raises InputError for
    a model that is not causal or whose tokens are not time bins, and for channels that are not counts.
    """

    @torch.no_grad()
    def __init__(self, model: Model, context: ChannelContext, window: int, prompt: int) -> None:
        _refuse(model)
        if context.kind is not None:
            raise InputError("a stream is of counts, and not all of these channels are.")
        model = copy.deepcopy(model).float().cpu().eval()
        assert isinstance(model.backbone, Backbone)
        assert isinstance(model.read_in, ReadIn)
        self.context, self.window = context, window
        width = model.config.backbone.width
        self.rows, self.hidden = model.read_in.rows(context), model.read_in.hidden(context)
        self.guess = model.read_in.guess(context).T.contiguous()
        self.nearby = Filter.of(model.read_in.nearby, width)
        self.prompt = model.prompts[prompt].clone()
        self.layers = [Layer.of(b) for b in model.backbone.blocks if isinstance(b, Block)]
        self.norm, self.speed = model.backbone.norm, rotary_speed(model.backbone.size).double()
        self.beside = Filter.of(model.temporal, width)
        self.drives = Affine(
            model.read_out.rows(context).T.contiguous(),
            model.read_out.bias(context).squeeze(-1) + ONE,
        )
        self.own: Tensor | None = None  # (reach, C)
        if model.own_past is not None:
            by_span = model.own_past.common + model.own_past.rows(context)  # (C, K)
            self.own = span_weights(model.own_past.spans).T @ by_span.T
        self.size = model.backbone.size

    def fresh(self) -> Past:
        """Before the first bin."""
        n_channels, width = self.rows.shape
        heads = width // self.size
        empty = tuple(torch.zeros(heads, 0, self.size) for _ in self.layers)
        cells = torch.zeros(0 if self.own is None else len(self.own) - 1, n_channels)
        sums, tokens = (torch.zeros(0 if path is None else path.reach - 1, width)
                        for path in (self.nearby, self.beside))  # fmt: skip
        return Past(0, cells, sums, tokens, empty, empty)

    @torch.inference_mode()
    def __call__(self, counts: Tensor, hidden: Tensor, past: Past) -> tuple[Tensor, Tensor, Past]:
        """The next N bins, (N, C) each -> latents (N, D), rates (N, C) in counts a bin, and the past.

        Whatever the counts are where `hidden`, they are not looked at.
        """
        sheet = standardised(counts.masked_fill(hidden, 0), hidden, self.context)
        cells = torch.cat([past.cells, sheet.values])
        read, sums = self._read(sheet.values, hidden, past.sums)
        tokens = torch.cat([past.tokens, read])
        z, keys, values = self._trunk(read, past)
        if self.beside is not None:
            z = z + self.beside(tokens)
        drive = self.drives(z)
        if self.own is not None:
            drive = drive + (cells.unfold(0, len(self.own), 1) * self.own.T).sum(-1)
        rates = self.context.rate * functional.softplus(drive)
        past = Past(
            past.n_bins + len(counts),
            last(cells, len(past.cells)),
            last(sums, len(past.sums)),
            last(tokens, len(past.tokens)),
            keys,
            values,
        )
        return z, rates, past

    def _read(self, cells: Tensor, hidden: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """As `ReadIn`, with the prompt (N, D); and the sums of the last bins, for the next ones."""
        seen = cells @ self.rows
        if not hidden.any():
            return seen + self.prompt, torch.cat([before, seen])
        missing = hidden.to(cells.dtype)
        n_visible = (~hidden).sum(1, keepdim=True)
        scaled = seen * (hidden.shape[1] / n_visible.clamp(min=1))
        sums = torch.cat([before, scaled])
        if self.nearby is not None:
            scaled = scaled + self.nearby(sums)
        guessed = (scaled @ self.guess) * missing
        return seen + guessed @ self.rows + missing @ self.hidden + self.prompt, sums

    def _trunk(
        self, x: Tensor, past: Past
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        times = torch.arange(past.n_bins, past.n_bins + len(x), dtype=torch.float64)
        angle = times[:, None] * self.speed  # in float64, so that a stream can run for years
        angles, kept = turn(angle), []
        for layer, keys, values in zip(self.layers, past.keys, past.values, strict=True):
            x, keys, values = layer(x, keys, values, angles, self.window)
            kept.append((last(keys, self.window - 1, 1), last(values, self.window - 1, 1)))
        out: Tensor = self.norm(x)
        return out, tuple(k for k, _ in kept), tuple(v for _, v in kept)
