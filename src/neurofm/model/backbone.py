"""The trunk: a pre-norm transformer with rotary time.

Shapes: B windows, N tokens, H heads, D width.
"""

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


def drop(x: Tensor, p: float, training: bool) -> Tensor:
    """Dropout of whole features for a whole window (Gal & Ghahramani 2016): (B, N, D) -> same."""
    if not training or p == 0:
        return x
    kept = torch.rand(x.shape[0], 1, x.shape[2], device=x.device) >= p
    return x * (kept / (1 - p)).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """softmax(q k' / sqrt(d)) v over (B, H, N, d); no mask is built when bidirectional."""
    n = q.shape[-2]
    if q.device.type != "cpu" or n > PLAIN_UP_TO:
        return functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        future = torch.ones(n, n, dtype=torch.bool, device=q.device).triu(1)
        weights = weights.masked_fill(future, float("-inf"))
    return torch.softmax(weights, -1).to(v.dtype) @ v


def rotary(bins: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (N, size / 2) of rotary time (Su et al. 2021), one bin as the unit."""
    half = size // 2
    speed = 10_000 ** (-torch.arange(half, device=bins.device, dtype=torch.float32) / half)
    angle = bins.float()[:, None] * speed
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of features by its angle: (B, H, N, d) -> same."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each added to the stream after a norm."""

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.causal, self.dropout = config.heads, config.causal, config.dropout
        self.norm_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.mlp)
        self.down = nn.Linear(config.mlp, width)
        for last in (self.merge, self.down):  # a block starts as the identity
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, n, d = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, N, d) each
        mixed = attend(rotate(q, cos, sin), rotate(k, cos, sin), v, self.causal)
        mixed = self.merge(mixed.transpose(1, 2).reshape(b, n, d))
        x = x + drop(mixed, self.dropout, self.training)
        inner = functional.gelu(self.up(self.norm_mlp(x)))
        inner = self.down(drop(inner, self.dropout, self.training))
        return x + drop(inner, self.dropout, self.training)


class Backbone(nn.Module):
    """(B, N, D) tokens with their times -> (B, N, D) latents.

    Raises ValueError if the width does not split over the heads into even parts.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        if config.width % (2 * config.heads):
            raise ValueError(f"width {config.width} must be a multiple of 2 x heads {config.heads}")
        self.size = config.width // config.heads
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, x: Tensor, bins: Tensor) -> Tensor:
        cos, sin = rotary(bins, self.size)
        for block in self.blocks:
            x = block(x, cos, sin)
        out: Tensor = self.norm(x)
        return out
