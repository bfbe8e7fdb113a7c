"""The trunk: a pre-norm transformer with rotary time over packed windows.

Shapes: B windows, N tokens of a window, M tokens of all windows, H heads, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from neurofm.config import Config

PLAIN_UP_TO = 1024  # tokens: below this, plain attention beats SDPA on a CPU (2x in bf16)


class BackboneConfig(Config):
    """Sizes of the trunk."""

    width: int = Field(128, ge=8)
    layers: int = Field(3, ge=0)
    heads: int = Field(4, ge=1)
    mlp: int = Field(256, ge=8)
    dropout: float = Field(0.1, ge=0, lt=1)
    causal: bool = False


@dataclass(frozen=True)
class Run:
    """Windows of one shape, one after the other in a packed sequence.

    Each of the `n_windows` has `n_each` tokens at each of `times` (n,), in bins and ascending.
    """

    n_windows: int
    times: Tensor
    n_each: int

    @property
    def length(self) -> int:
        """Tokens of one window."""
        return len(self.times) * self.n_each

    def split(self, x: Tensor) -> Tensor:
        """(tokens of the run, ...) -> (n_windows, length, ...), a view."""
        return x.view(self.n_windows, self.length, *x.shape[1:])


def drop(x: Tensor, p: float, training: bool, runs: Sequence[Run]) -> Tensor:
    """Dropout of whole features for a whole window (Gal & Ghahramani 2016): (M, D) -> same."""
    if not training or p == 0:
        return x
    n = sum(run.n_windows for run in runs)
    kept = torch.rand(n, x.shape[1], device=x.device) >= p
    scale = (kept / (1 - p)).to(x.dtype)[:, None]
    return by_run(runs, lambda _, part, share: (part * share).flatten(0, 1), x, scale)


def by_run(runs: Sequence[Run], work: Callable[..., Tensor], x: Tensor, *windows: Tensor) -> Tensor:
    """`work(run, its tokens (B, N, ...), its part of each of `windows`)`, joined in order.

    Windows of one shape are worked on at once, without a copy; nothing is padded.
    """
    if len(runs) == 1:  # nothing is cut: the gradient of a slice is copied into zeros
        return work(runs[0], runs[0].split(x), *windows)
    tokens = torch.split(x, [run.n_windows * run.length for run in runs])
    each = [torch.split(w, [run.n_windows for run in runs]) for w in windows]
    return torch.cat(
        [
            work(run, run.split(part), *ws)
            for run, part, *ws in zip(runs, tokens, *each, strict=True)
        ]
    )


def attend(
    q: Tensor, k: Tensor, v: Tensor, blocked: Tensor | None = None, triangular: bool = False
) -> Tensor:
    """softmax(q k' / sqrt(d)) v over (B, H, Nq, d) and (B, H, Nk, d), except where `blocked`.

    `triangular` says that `blocked` is everything above the diagonal; where nothing is blocked, no
    mask is built.
    """
    if q.device.type != "cpu" or k.shape[-2] > PLAIN_UP_TO:
        seen = None if blocked is None or triangular else ~blocked
        return functional.scaled_dot_product_attention(q, k, v, seen, is_causal=triangular)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if blocked is not None:
        weights = weights.masked_fill(blocked, float("-inf"))
    return torch.softmax(weights, -1).to(v.dtype) @ v


def rotary(times: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What `rotate` wants, (N, size) each, of rotary time (Su et al. 2021), one bin as the unit."""
    return turn(times.float()[:, None] * rotary_speed(size, times.device))


def rotary_speed(size: int, device: torch.device | None = None) -> Tensor:
    """(size / 2,) radians a bin by which each pair of features is turned."""
    half = size // 2
    return 10_000 ** (-torch.arange(half, device=device, dtype=torch.float32) / half)


def turn(angle: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines (N, d) of angles (N, d / 2), single precision."""
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of features by its angle: (..., N, d) -> same, in its own precision."""
    a, b = x.chunk(2, -1)
    return x * cos.to(x.dtype) + torch.cat([b, a], -1) * sin.to(x.dtype)


@dataclass(frozen=True)
class Geometry:
    """What attention needs to know of a run: how its tokens are turned (N, d), and what is blocked.

    `blocked`: (N, N), True where the key is later than the query; None where all is seen.
    """

    cos: Tensor
    sin: Tensor
    blocked: Tensor | None

    @classmethod
    def of(cls, run: Run, size: int, causal: bool) -> "Geometry":
        """For heads of `size`; tokens of one time see each other in causal mode too."""
        cos, sin = (a.repeat_interleave(run.n_each, 0) for a in rotary(run.times, size))
        order = torch.arange(run.length, device=run.times.device) // run.n_each
        return cls(cos, sin, order[None] > order[:, None] if causal else None)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each added to the stream after a norm."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.mlp)
        self.down = nn.Linear(config.mlp, width)
        for last in (self.merge, self.down):  # a block starts as the identity
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, runs: Sequence[Run], geometry: Sequence[Geometry]) -> Tensor:
        drawn = iter(geometry)
        qkv = self.qkv(self.norm_attention(x))
        mixed = self.merge(by_run(runs, lambda run, part: self._mix(run, part, next(drawn)), qkv))
        x = x + drop(mixed, self.dropout, self.training, runs)
        inner = functional.gelu(self.up(self.norm_mlp(x)))
        inner = self.down(drop(inner, self.dropout, self.training, runs))
        return x + drop(inner, self.dropout, self.training, runs)

    def _mix(self, run: Run, qkv: Tensor, at: Geometry) -> Tensor:
        b, n, d = qkv.shape
        parts = qkv.view(b, n, 3, self.heads, d // 3 // self.heads).unbind(2)
        q, k, v = (part.transpose(1, 2).contiguous() for part in parts)  # (B, H, N, d) each
        q, k = rotate(q, at.cos, at.sin), rotate(k, at.cos, at.sin)
        mixed = attend(q, k, v, at.blocked, at.blocked is not None and run.n_each == 1)
        return mixed.transpose(1, 2).reshape(b * n, d // 3)


class Backbone(nn.Module):
    """(M, D) tokens of packed windows -> (M, D) latents; no window sees another.

    Raises ValueError if the width does not split over the heads into even parts.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        if config.width % (2 * config.heads):
            raise ValueError(f"width {config.width} must be a multiple of 2 x heads {config.heads}")
        self.size, self.causal = config.width // config.heads, config.causal
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, runs: Sequence[Run]) -> Tensor:
        geometry = [Geometry.of(run, self.size, self.causal) for run in runs]
        for block in self.blocks:
            x = block(x, runs, geometry)
        out: Tensor = self.norm(x)
        return out
