"""What a step of training costs: FLOPs and memory, counted; and how fast a device multiplies."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from neurofm.tokens.tokens import Batch, Targets
from neurofm.train.loop import autocast
from neurofm.train.loss import masked_loss

SIZES = (512, 1024, 2048)
SIZES_OF_A_GPU = (2048, 4096, 8192)  # smaller products do not fill one


@dataclass(frozen=True)
class Pass:
    """One batch through the model and back: FLOPs, and bytes kept for the way back."""

    forward: int
    backward: int
    kept_bytes: int

    @property
    def total(self) -> int:
        """FLOPs of both ways."""
        return self.forward + self.backward


def one_pass(model: nn.Module, batch: Batch, targets: Targets, precision: str = "fp32") -> Pass:
    """Count one forward and backward pass, which leaves gradients in the model.

    torch's own counter: matrix products and convolutions, a multiplication and an addition each. On
    the meta device nothing is computed and the count is of the shapes alone. Weights are not among
    the bytes kept.
    """
    own = {_storage(p) for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[_storage(tensor)] = tensor  # held, so that no other storage takes its address
        return tensor

    device = next(model.parameters()).device
    model.train()
    counter = FlopCounterMode(display=False)
    with counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            with autocast(device, precision):
                output = model(batch)
            lost = masked_loss(output, targets)
        forward = counter.get_total_flops()
        n_bytes = sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in own)
        lost.backward()  # type: ignore[no-untyped-call]
    return Pass(forward, counter.get_total_flops() - forward, n_bytes)


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def optimiser_flops(optimisers: Sequence[torch.optim.Optimizer]) -> int:
    """Matrix products of one step, which only Muon has; the model must hold gradients."""
    counter = FlopCounterMode(display=False)
    with counter:
        for optimiser in optimisers:
            if isinstance(optimiser, torch.optim.Muon):
                optimiser.step()  # type: ignore[no-untyped-call]
    return counter.get_total_flops()


def moment_bytes(optimisers: Sequence[torch.optim.Optimizer]) -> int:
    """Bytes of what the optimisers keep a weight: one moment for Muon, two for AdamW."""
    return sum(
        p.nbytes * (1 if isinstance(optimiser, torch.optim.Muon) else 2)
        for optimiser in optimisers
        for group in optimiser.param_groups
        for p in group["params"]
    )


def peak_flops(
    dtype: torch.dtype, device: torch.device, sizes: Sequence[int] = (), n_repeats: int = 8
) -> float:
    """The best rate of a square matrix product, FLOP/s, over sizes and repeats.

    `sizes`: by default as large as the kind of device needs.
    """
    best = 0.0
    for n in sizes or (SIZES_OF_A_GPU if device.type == "cuda" else SIZES):
        a, b = (torch.randn(n, n, dtype=dtype, device=device) for _ in range(2))
        for _ in range(2):
            a @ b
        for _ in range(n_repeats):
            seconds = timed(lambda a=a, b=b: a @ b, device)  # type: ignore[misc]
            best = max(best, 2 * n**3 / seconds)
    return best


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds of the work, until the device has done it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter() - start
