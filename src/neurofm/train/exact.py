"""Gradients that are the same, bit by bit, for any number of processes.

An ordinary sum over processes has an order that depends on how many there are, and floating-point
sums depend on their order. Here a step is cut into a fixed number of slices whatever the processes,
and the slices are added up by one fixed tree.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from neurofm.model.seeded import seed_torch
from neurofm.tokens.tokens import Batch, Targets
from neurofm.train.context import Context
from neurofm.train.loop import autocast
from neurofm.train.loss import asked


class Divisible(Protocol):
    """Batches that can be cut: `part(m, n)(k)` is the m-th of n slices of the windows of batch k."""

    def __call__(self, step: int, /) -> tuple[Batch, Targets]: ...

    def part(self, number: int, of: int) -> Self: ...


def slices_of(context: Context, n_parts: int) -> range:
    """Which of `n_parts` slices this process works on."""
    each = n_parts // context.world_size
    return range(context.rank * each, (context.rank + 1) * each)


@dataclass(frozen=True)
class Slices:
    """`step -> (Batch, Targets)` of each of some slices of the step's windows."""

    parts: tuple[Divisible, ...]

    def __call__(self, step: int) -> tuple[tuple[Batch, Targets], ...]:
        return tuple(part(step) for part in self.parts)


@dataclass(frozen=True)
class Exact:
    """The same bits for any number of processes: `n_parts` fixed slices, added up by a fixed tree.

    Neighbouring slices are added in pairs, then the pairs' sums, and so on, within processes and
    then between them; adding two numbers has no order. Dropout is a function of (seed, step, slice).
    """

    context: Context
    n_parts: int

    def __call__(
        self,
        model: nn.Module,
        batches: Slices,
        number: int,
        *,
        seed: int,
        precision: str,
        loss: Callable[..., Tensor],
    ) -> tuple[Tensor, int]:
        """As `loop.gradients`; the loss and the windows are those of all processes."""
        device, mine = next(model.parameters()).device, slices_of(self.context, self.n_parts)
        pieces = [(b.to(device), t.to(device)) for b, t in batches(number)]
        whole = self._added(asked(targets) for _, targets in pieces)
        buffers = {name: value.clone() for name, value in model.named_buffers()}

        def one(part: int, batch: Batch, targets: Targets) -> Tensor:
            for name, value in model.named_buffers():
                value.copy_(buffers[name])  # a step counts once, whatever it is cut into
            seed_torch(seed, "dropout", number, part)
            with autocast(device, precision):
                lost = loss(model(batch), targets, whole)
            lost.backward()  # type: ignore[no-untyped-call]
            return _taken(model, lost)

        total = self._added(one(m, *piece) for m, piece in zip(mine, pieces, strict=True))
        return _given(model, total), int(whole[1].sum())

    def _added(self, parts: Iterable[Tensor]) -> Tensor:
        """The sum over the slices of all processes."""
        total, distance = paired(parts), 1
        while distance < self.context.world_size:
            total = total + self.context.exchange(total, self.context.rank ^ distance)
            distance *= 2
        return total


def paired(parts: Iterable[Tensor]) -> Tensor:
    """The sum of 2^n tensors, neighbours first, without holding more than n + 1 of them."""
    sums: list[tuple[int, Tensor]] = []
    for part in parts:
        height, total = 0, part
        while sums and sums[-1][0] == height:
            height, total = height + 1, sums.pop()[1] + total
        sums.append((height, total))
    assert len(sums) == 1
    return sums[0][1]


def _taken(model: nn.Module, lost: Tensor) -> Tensor:
    """All gradients, which parameters had one, and the loss, as one vector; the gradients go."""
    parameters = list(model.parameters())
    grads = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in parameters]
    had = torch.tensor([float(p.grad is not None) for p in parameters], device=lost.device)
    for parameter in parameters:
        parameter.grad = None
    return torch.cat([*(g.flatten() for g in grads), had, lost.detach()[None]])


def _given(model: nn.Module, total: Tensor) -> Tensor:
    """Undo `_taken`: gradients into the parameters; the loss."""
    parameters = list(model.parameters())
    *grads, had, lost = torch.split(total, [*(p.numel() for p in parameters), len(parameters), 1])
    for parameter, gradient, n in zip(parameters, grads, had.tolist(), strict=True):
        parameter.grad = gradient.view_as(parameter) if n else None
    return lost.squeeze(0)
