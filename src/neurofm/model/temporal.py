"""The linear temporal path: what a transformer finds slowly and a linear filter has at once."""

import math

import torch
from torch import Tensor, nn


def spans(doublings: int, causal: bool) -> list[tuple[int, int]]:
    """[first, stop) bins away from the bin that is asked about: 1, 2, 4 ... wide, on both sides.

    In causal mode, no span reaches past the bin itself.
    """
    past = [(1 - 2 ** (k + 1), 1 - 2**k) for k in range(doublings - 1, -1, -1)]
    later = [] if causal else [(2**k, 2 ** (k + 1)) for k in range(doublings)]
    return [*past, (0, 1), *later]


class TemporalPath(nn.Module):
    """A linear filter over bins, (B, N, D) -> (B, N, D), fine nearby and coarse far away.

    It sees sums of the input over spans of bins that double in width, each divided by the root of
    its width; bins outside the window count as zero. `doublings` d reaches 2**d - 1 bins to each
    side with 2 d + 1 spans, where a convolution would need 2**(d + 1) - 1 taps.
    """

    def __init__(self, width: int, doublings: int, causal: bool) -> None:
        super().__init__()
        self.spans = spans(doublings, causal)
        self.reach = 2**doublings
        n = len(self.spans) * width
        self.weight = nn.Parameter(torch.randn(width, n) * (0.5 / math.sqrt(n)))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        n, reach = x.shape[1], self.reach
        total = nn.functional.pad(x.float().cumsum(1), (0, 0, reach + 1, 0))  # before: nothing
        after = total[:, -1:].expand(-1, reach, -1)  # past the end: nothing more
        total = torch.cat([total, after], 1)  # total[:, reach + t]: sum over bins before t
        sums = [
            (
                total[:, reach + stop : reach + stop + n]
                - total[:, reach + first : reach + first + n]
            )
            .mul((stop - first) ** -0.5)
            .to(x.dtype)
            for first, stop in self.spans
        ]
        return nn.functional.linear(torch.cat(sums, -1), self.weight, self.bias)
