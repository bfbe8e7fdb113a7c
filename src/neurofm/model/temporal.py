"""Linear filters over bins: what a transformer finds slowly and a filter has at once."""

import math

import torch
from torch import Tensor, nn


class Taps(nn.Module):
    """A short convolution over bins, (B, N, D) -> (B, N, D); bins outside the window are zero."""

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


def spans(doublings: int, causal: bool) -> list[tuple[int, int]]:
    """[first, stop) bins away from the bin that is asked about: 1, 2, 4 ... wide, on both sides.

    In causal mode, no span reaches past the bin itself.
    """
    past = [(1 - 2 ** (k + 1), 1 - 2**k) for k in range(doublings - 1, -1, -1)]
    later = [] if causal else [(2**k, 2 ** (k + 1)) for k in range(doublings)]
    return [*past, (0, 1), *later]


def span_sums(x: Tensor, over: list[tuple[int, int]]) -> list[Tensor]:
    """Sums of (B, N, D) over each span about each bin, divided by the root of the span's width.

    Bins outside the window are zero.
    """
    n, reach = x.shape[1], max(max(-first, stop) for first, stop in over)
    total = nn.functional.pad(x.float().cumsum(1), (0, 0, reach + 1, 0))  # before: nothing
    after = total[:, -1:].expand(-1, reach, -1)  # past the end: nothing more
    total = torch.cat([total, after], 1)  # total[:, reach + t]: sum over bins before t
    return [
        (total[:, reach + stop :][:, :n] - total[:, reach + first :][:, :n])
        .mul((stop - first) ** -0.5)
        .to(x.dtype)
        for first, stop in over
    ]


class Spans(nn.Module):
    """A filter that is fine nearby and coarse far away, (B, N, D) -> (B, N, D).

    It sees sums of the input over spans of bins that double in width, each divided by the root of
    its width; bins outside the window are zero. d doublings reach 2**d - 1 bins to each side with
    2 d + 1 spans, where a convolution would need 2**(d + 1) - 1 taps.
    """

    def __init__(self, width: int, doublings: int, causal: bool) -> None:
        super().__init__()
        self.spans = spans(doublings, causal)
        n = len(self.spans) * width
        self.weight = nn.Parameter(torch.randn(width, n) * (0.5 / math.sqrt(n)))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        sums = torch.cat(span_sums(x, self.spans), -1)
        return nn.functional.linear(sums, self.weight, self.bias)
