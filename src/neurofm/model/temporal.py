"""Linear filters over bins: what a transformer finds slowly and a filter has at once."""

import math
from typing import Any

import torch
from torch import Tensor, nn


class Taps(nn.Module):
    """A short convolution over bins, (B, N, D) -> (B, N, D); bins outside the window are zero.

    `rank`: it looks at so many directions of its input, if above 0.
    """

    def __init__(self, width: int, kernel: int, causal: bool, rank: int = 0) -> None:
        super().__init__()
        self.before = kernel - 1 if causal else kernel // 2
        self.after = kernel - 1 - self.before
        self.kernel = kernel
        n = (rank or width) * kernel
        self.weight = nn.Parameter(torch.randn(width, n) * (0.5 / math.sqrt(n)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.narrow = directions(width, rank)

    def forward(self, x: Tensor) -> Tensor:
        x = narrowed(x, self.narrow).transpose(1, 2)
        padded = nn.functional.pad(x, (self.before, self.after))
        weight = self.weight.view(len(self.weight), -1, self.kernel)
        return nn.functional.conv1d(padded, weight, self.bias).transpose(1, 2)


def directions(width: int, rank: int) -> nn.Parameter | None:
    """(rank, width) by which (..., width) is narrowed, about as spread as before; None for rank 0."""
    return nn.Parameter(torch.randn(rank, width) * width**-0.5) if rank else None


def narrowed(x: Tensor, by: Tensor | None) -> Tensor:
    """(..., D) -> (..., rank), or as it is."""
    return x if by is None else nn.functional.linear(x, by)


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


class _Steps(torch.autograd.Function):
    """`span_filter`, from running sums: weights that are constant on spans differ at their edges alone.

    On a CPU windows go one by one, so that a window stays in the cache over all edges.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: Tensor, edges: tuple[int, ...]) -> Tensor:
        n, reach = x.shape[1], max(map(abs, edges))
        total = x.new_zeros(len(x), n + 2 * reach + 1, x.shape[2])
        out = torch.zeros_like(x)
        for one, sums, answer in zip(*(_pieces(a) for a in (x, total, out)), strict=True):
            torch.cumsum(one, 1, out=sums[:, reach + 1 : reach + 1 + n])
            sums[:, reach + 1 + n :] = sums[:, reach + n, None]
            for edge, step in zip(edges, steps, strict=True):
                answer.addcmul_(sums[:, reach + edge :][:, :n], step)
        ctx.save_for_backward(total, steps)
        ctx.edges = edges
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, None]:
        total, steps = ctx.saved_tensors
        n, reach = grad.shape[1], max(map(abs, ctx.edges))
        by_step = torch.zeros_like(steps)
        for one, sums in zip(_pieces(grad), _pieces(total), strict=True):
            for edge, found in zip(ctx.edges, by_step, strict=True):
                found += (one * sums[:, reach + edge :][:, :n]).sum((0, 1))
        if not ctx.needs_input_grad[0]:
            return None, by_step, None
        of_sums = torch.zeros_like(total)
        for edge, step in zip(ctx.edges, steps, strict=True):
            of_sums[:, reach + edge :][:, :n].addcmul_(grad, step)
        of_sums[:, reach + n] += of_sums[:, reach + n + 1 :].sum(1)
        of_sums = of_sums[:, reach + 1 : reach + n + 1]
        return of_sums.flip(1).cumsum(1).flip(1), by_step, None


def _pieces(x: Tensor) -> tuple[Tensor, ...]:
    return torch.split(x, 1 if x.device.type == "cpu" else max(len(x), 1))


def span_filter(x: Tensor, weights: Tensor, over: list[tuple[int, int]]) -> Tensor:
    """What `span_sums` of (B, N, C) are together, each weighted by channel: weights (C, spans).

    `over`: spans that lie side by side, in order.
    """
    wide = torch.tensor([stop - first for first, stop in over], device=x.device)
    ends = nn.functional.pad(weights * wide**-0.5, (1, 1))
    edges = (over[0][0], *(stop for _, stop in over))
    out: Tensor = _Steps.apply(x, (ends[:, :-1] - ends[:, 1:]).T.contiguous(), edges)  # type: ignore[no-untyped-call]
    return out


class Spans(nn.Module):
    """A filter that is fine nearby and coarse far away, (B, N, D) -> (B, N, D).

    It sees sums of the input over spans of bins that double in width, each divided by the root of
    its width; bins outside the window are zero. d doublings reach 2**d - 1 bins to each side with
    2 d + 1 spans, where a convolution would need 2**(d + 1) - 1 taps. `rank`: as in `Taps`.
    """

    def __init__(self, width: int, doublings: int, causal: bool, rank: int = 0) -> None:
        super().__init__()
        self.spans = spans(doublings, causal)
        n = len(self.spans) * (rank or width)
        self.weight = nn.Parameter(torch.randn(width, n) * (0.5 / math.sqrt(n)))
        self.bias = nn.Parameter(torch.zeros(width))
        self.narrow = directions(width, rank)

    def forward(self, x: Tensor) -> Tensor:
        sums = torch.cat(span_sums(narrowed(x, self.narrow), self.spans), -1)
        return nn.functional.linear(sums, self.weight, self.bias)
