"""Optimisers, the schedule of the learning rate, and the running average of the weights."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from neurofm.config import Config
from neurofm.model.rows import is_row
from neurofm.train.sharded import is_cut, own

FUSED = ("cpu", "cuda", "mps", "xpu")  # devices where AdamW takes one pass over the weights
CACHED = 1 << 17  # numbers of a piece of a table that is stepped at once on a CPU


class OptimConfig(Config):
    """Linear warm-up, then a cosine to `last` of the rate.

    `matrix_rate`: Muon (Jordan 2024) for the trunk's matrices, orthogonalised momentum; 0 gives
    them to AdamW (Loshchilov & Hutter 2019), which `rate` is for, like everything else.
    """

    rate: float = Field(2e-3, gt=0)
    matrix_rate: float = Field(0.02, ge=0)
    last: float = Field(0.02, ge=0, le=1)
    warmup: int = Field(100, ge=1)
    weight_decay: float = Field(0.05, ge=0)
    row_decay: float = Field(0.05, ge=0)
    site_decay: float = Field(0.3, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = Field(1.0, gt=0)
    skip_above: float = Field(200.0, ge=0, description="quartile distances; 0 skips no step")
    average: float = Field(0.998, ge=0, lt=1)


class RowAdamW(torch.optim.Optimizer):
    """AdamW for tables of rows that leaves rows without a gradient alone, moments and decay too.

    A row counts its own steps, so a session that is rarely drawn is neither decayed nor moved while
    it is absent; on rows that are always present it equals AdamW.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step on the rows that have a gradient."""
        assert closure is None
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is not None:
                    self._step_table(table, group)

    def _step_table(self, table: Tensor, group: dict[str, Any]) -> None:
        state = self.state[table]
        if not state:
            state["count"] = torch.zeros(len(table), device=table.device)
            state["first"] = torch.zeros_like(table)
            state["second"] = torch.zeros_like(table)
        at, grad = touched(table)
        on_cpu = table.device.type == "cpu"  # a piece goes through all of this while it is cached
        size = max(CACHED // max(table.shape[1], 1), 1) if on_cpu else max(len(at), 1)
        for part, rows in zip(torch.split(at, size), torch.split(grad, size), strict=True):
            self._step_rows(table, side_by_side(part) if on_cpu else part, rows, group)

    def _step_rows(
        self, table: Tensor, at: Tensor | slice, grad: Tensor, group: dict[str, Any]
    ) -> None:
        state, (beta1, beta2) = self.state[table], group["betas"]
        whole = (table, state["count"], state["first"], state["second"])
        rows, count, first, second = (
            x[at] if isinstance(at, slice) else x.index_select(0, at) for x in whole
        )
        count.add_(1)
        first.lerp_(grad, 1 - beta1)
        second.lerp_(grad * grad, 1 - beta2)
        unbiased = first / (1 - beta1**count)[:, None]
        spread = (second / (1 - beta2**count)[:, None]).sqrt_().add_(1e-8)
        rows.mul_(1 - group["lr"] * group["weight_decay"])
        rows.sub_(unbiased.mul_(group["lr"]).div_(spread))
        if not isinstance(at, slice):
            for x, changed in zip(whole, (rows, count, first, second), strict=True):
                x.index_copy_(0, at, changed)


def side_by_side(at: Tensor) -> Tensor | slice:
    """Ascending rows as a slice where none lies between them: it is changed without a copy."""
    if not len(at) or int(at[-1]) - int(at[0]) != len(at) - 1:
        return at
    return slice(int(at[0]), int(at[-1]) + 1)


def touched(table: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a table that have a gradient other than zero, ascending, and that gradient."""
    grad = table.grad
    assert grad is not None
    if grad.is_sparse:
        grad = grad.coalesce()
        rows, values = grad.indices()[0], grad.values()
    else:
        rows, values = torch.arange(len(grad), device=grad.device), grad
    some = values.abs().amax(dim=1) != 0
    return (rows, values) if bool(some.all()) else (rows[some], values[some])


def optimisers(model: nn.Module, config: OptimConfig) -> tuple[torch.optim.Optimizer, ...]:
    """For the trunk's vectors, the tables' rows and the trunk's matrices, each with its peak rate.

    Norms and biases are not decayed.
    """
    trunk: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    rows: list[nn.Parameter] = []
    sites: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if name.endswith(".site"):
            sites.append(parameter)
        elif is_row(name):
            rows.append(parameter)
        else:
            (trunk if parameter.dim() >= 2 and name != "prompts" else plain).append(parameter)
    matrices: tuple[torch.optim.Optimizer, ...] = ()
    if config.matrix_rate:
        plain_groups = [{"params": plain, "weight_decay": 0.0}]
        matrices = (
            torch.optim.Muon(
                trunk, lr=config.matrix_rate, weight_decay=config.weight_decay, momentum=0.95
            ),
        )
    else:
        plain_groups = [
            {"params": trunk, "weight_decay": config.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
    fused = all(p.device.type in FUSED and not is_cut(p) for p in (*trunk, *plain))
    dense = torch.optim.AdamW(plain_groups, lr=config.rate, betas=config.betas, fused=fused)
    tables = RowAdamW(
        [
            {"params": rows, "weight_decay": config.row_decay},
            {"params": sites, "weight_decay": config.site_decay},
        ],
        lr=config.rate,
        betas=config.betas,
        weight_decay=0.0,
    )
    made = (dense, tables, *matrices)
    for group in (group for optimiser in made for group in optimiser.param_groups):
        group["peak"] = group["lr"]
    return made


def schedule(config: OptimConfig, step: int, steps: int) -> float:
    """Share of the peak rate at step 0, 1, ...: linear warm-up, then a cosine down to `last`."""
    warm = min(1.0, (step + 1) / config.warmup)
    done = min(step / max(steps, 1), 1.0)
    return warm * (config.last + (1 - config.last) * 0.5 * (1 + math.cos(math.pi * done)))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Move the running average of the weights (Polyak & Juditsky 1992) towards the model.

    The decay ramps up, so that the first steps are forgotten soon.
    """
    keep = min(decay, (step + 1) / (step + 10))
    torch._foreach_lerp_(
        [own(p) for p in average.parameters()], [own(p) for p in model.parameters()], 1 - keep
    )
