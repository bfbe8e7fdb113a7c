"""The linear temporal path: what a transformer finds slowly and a short filter has at once."""

import math

import torch
from torch import Tensor, nn


class TemporalPath(nn.Module):
    """A short linear convolution over bins, (B, N, D) -> (B, N, D)."""

    def __init__(self, width: int, kernel: int, causal: bool) -> None:
        super().__init__()
        self.before = kernel - 1 if causal else kernel // 2
        self.after = kernel - 1 - self.before
        self.kernel = kernel
        spread = 0.5 / math.sqrt(width * kernel)
        self.weight = nn.Parameter(torch.randn(width, width * kernel) * spread)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x.transpose(1, 2), (self.before, self.after))
        weight = self.weight.view(len(self.weight), -1, self.kernel)
        return nn.functional.conv1d(padded, weight, self.bias).transpose(1, 2)
