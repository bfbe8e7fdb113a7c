"""The only training loop: a generator. Logging, validation and checkpoints belong to its caller."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from neurofm.errors import CheckFailed
from neurofm.model.seeded import seed_torch
from neurofm.tokens.tokens import Batch, Targets
from neurofm.train.sharded import clipped
from neurofm.train.spikes import Spikes

Batches = Callable[[int], tuple[Batch, Targets]]


class Movable(Protocol):
    """The answers to a batch, of whatever form: they can go to a device."""

    def to(self, device: torch.device) -> Self: ...


class Question(Movable, Protocol):
    """What a model is asked, of whatever form: it counts its windows."""

    @property
    def n_windows(self) -> int: ...


Q = TypeVar("Q", bound=Question)
T = TypeVar("T", bound=Movable)
Backward = Callable[..., tuple[Tensor, int]]


@dataclass(frozen=True)
class Step:
    """`number` optimiser steps are done; this one's loss and gradient norm before clipping.

    `skipped`: the loss was a spike and the weights were left as they were.
    """

    number: int
    loss: float
    gradient: float
    rate: float
    windows: int
    skipped: bool = False


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """bf16 autocast, or nothing for fp32."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


def steps(
    model: nn.Module,
    batches: Callable[[int], tuple[Q, T]],
    optimisers: tuple[torch.optim.Optimizer, ...],
    *,
    share: Callable[[int], float],
    clip: float,
    seed: int,
    precision: str = "fp32",
    start: int = 0,
    loss: Callable[..., Tensor],
    backward: Backward | None = None,
    spikes: Spikes | None = None,
) -> Iterator[Step]:
    """Train without end, yielding after each step; the caller stops.

    `share(k)` is the part of each peak rate at step k; `loss(model(batch), targets)` is minimised.
    Batch k and dropout of step k are functions of (seed, k), so resuming is `start=k`. Raises
    CheckFailed before the weights are touched if the loss or a gradient is not finite. `backward`:
    how the gradients come about, by default in this process alone (`train.parallel`). `spikes` says
    which steps must leave the weights alone.
    """
    find = gradients if backward is None else backward
    for number in count(start):
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        model.train()
        lost, n_windows = find(model, batches, number, seed=seed, precision=precision, loss=loss)
        norm = clipped(list(model.parameters()), clip)
        value = lost.item()
        _refuse_unless_finite(value, norm, number)
        skipped = spikes is not None and spikes.skip(value, number)
        for optimiser in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = share(number) * group["peak"]
            if not skipped:
                optimiser.step()
        rate = float(optimisers[0].param_groups[0]["lr"])
        yield Step(number + 1, value, norm, rate, n_windows, skipped)


def gradients(
    model: nn.Module,
    batches: Callable[[int], tuple[Q, T]],
    number: int,
    *,
    seed: int,
    precision: str,
    loss: Callable[..., Tensor],
) -> tuple[Tensor, int]:
    """Leave the gradients of step `number` in the parameters; (its loss, its windows)."""
    device = next(model.parameters()).device
    batch, targets = batches(number)
    batch, targets = batch.to(device), targets.to(device)
    seed_torch(seed, "dropout", number)
    with autocast(device, precision):
        output = model(batch)
    lost = loss(output, targets)
    lost.backward()  # type: ignore[no-untyped-call]
    return lost.detach(), batch.n_windows


def _refuse_unless_finite(loss: float, norm: float, number: int) -> None:
    if not (abs(loss) < float("inf") and norm < float("inf")):  # NaN fails both
        raise CheckFailed(
            f"step {number + 1}: the loss is {loss} and its gradient {norm}; the weights were left "
            "as they were. Lower optim.rate, or look for extreme counts with `neurofm inspect`."
        )
