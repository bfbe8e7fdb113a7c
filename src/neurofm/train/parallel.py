"""The gradients of one step, from processes that each work on a part of its windows.

The batch of a step is what it is for one process; part m of n is a slice of its windows, and what
the loss is divided by is counted over the whole batch, so that the parts' gradients add up.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from neurofm.errors import ConfigError
from neurofm.model.model import Model
from neurofm.model.rows import is_row
from neurofm.model.seeded import seed_torch
from neurofm.tokens.tokens import Batch, Targets
from neurofm.train.context import Context
from neurofm.train.exact import Divisible, Exact, Slices, slices_of
from neurofm.train.loop import autocast, gradients
from neurofm.train.loss import asked
from neurofm.train.sharded import is_cut


@dataclass(frozen=True)
class Averaging:
    """Ordinary data parallelism: each process works on its slice, gradients are averaged.

    torch's engine averages the trunk's while they come about; `others`, which it leaves alone, are
    averaged after it. The loss is scaled so that the mean is the sum that is wanted. Dropout is a
    function of (seed, step, rank).
    """

    context: Context
    others: tuple[nn.Parameter, ...]

    def __call__(
        self,
        model: nn.Module,
        batches: Callable[[int], tuple[Batch, Targets]],
        number: int,
        *,
        seed: int,
        precision: str,
        loss: Callable[..., Tensor],
    ) -> tuple[Tensor, int]:
        """As `loop.gradients`; the loss and the windows are those of all processes."""
        device = next(model.parameters()).device
        batch, targets = batches(number)
        batch, targets = batch.to(device), targets.to(device)
        whole = self.context.all_reduce(asked(targets))
        seed_torch(seed, "dropout", number, self.context.rank)
        with autocast(device, precision):
            output = model(batch)
        lost = loss(output, targets, whole)
        (lost * self.context.world_size).backward()  # type: ignore[no-untyped-call]
        average(self.others, self.context)
        return self.context.all_reduce(lost.detach().clone()), int(whole[1].sum())


def replicated(model: Model, context: Context) -> tuple[nn.Module, Averaging]:
    """The model inside DistributedDataParallel, and how its gradients come about.

    Rows of channels are kept from DDP, which would send whole tables: a step touches few of them.
    """
    rows = {name: p for name, p in model.named_parameters() if is_row(name)}
    leave = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    leave(model, list(rows))  # type: ignore[no-untyped-call]
    return DistributedDataParallel(model), Averaging(context, tuple(rows.values()))


def around_shards(model: Model, context: Context) -> Averaging:
    """How gradients come about where FSDP2 has cut the trunk: it averages those of the trunk."""
    return Averaging(context, tuple(p for p in model.parameters() if not is_cut(p)))


def average(parameters: Iterable[nn.Parameter], context: Context) -> None:
    """Average gradients over the processes, in one message; of matrices, the rows that are not zero.

    A row counts as touched if any process touched it, so that an optimiser which leaves untouched
    rows alone does the same in all of them.
    """
    grads = [_matrix(parameter) for parameter in parameters]
    if not grads:
        return
    touched = context.all_reduce(torch.cat([(g != 0).any(1) for g in grads]).int())
    parts = torch.split(touched, [len(g) for g in grads])
    at = [part.nonzero().squeeze(1) for part in parts]
    flat = torch.cat([g[rows].flatten() for g, rows in zip(grads, at, strict=True)])
    mean = context.all_reduce(flat) / context.world_size
    sizes = [len(rows) * g.shape[1] for g, rows in zip(grads, at, strict=True)]
    for gradient, rows, values in zip(grads, at, torch.split(mean, sizes), strict=True):
        gradient[rows] = values.view(len(rows), -1)


def _matrix(parameter: nn.Parameter) -> Tensor:
    """A parameter's gradient, zero if there was none, as rows of a matrix; a view."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    if parameter.grad.is_sparse:
        parameter.grad = parameter.grad.to_dense()
    return parameter.grad.view(len(parameter), -1)


def share_of(batches: Divisible, context: Context, n_parts: int) -> Callable[[int], Any]:
    """Windows of each batch for this process, as `engine` wants them."""
    if n_parts:
        mine = slices_of(context, n_parts)
        return Slices(tuple(batches.part(m, n_parts) for m in mine))
    return batches.part(context.rank, context.world_size)


def engine(
    model: Model, context: Context, n_parts: int
) -> tuple[nn.Module, Callable[..., tuple[Tensor, int]]]:
    """What is called with a batch, and how the gradients of a step come about."""
    if n_parts:
        return model, Exact(context, n_parts)
    if context.world_size == 1:
        return model, gradients
    if any(is_cut(p) for p in model.parameters()):
        return model, around_shards(model, context)
    return replicated(model, context)


def refuse_unfit(context: Context, *, n_windows: int, n_parts: int, cut: bool, muon: bool) -> None:
    """Raise ConfigError unless the windows of a step can be shared out as is asked."""
    n = context.world_size
    if n_windows < max(n, n_parts):
        raise ConfigError(
            f"windows={n_windows} a step cannot be shared by {max(n, n_parts)}; set windows "
            "higher, or start fewer processes."
        )
    if n_parts and (n_parts & (n_parts - 1) or n_parts % n):
        raise ConfigError(
            f"exact={n_parts} slices, {n} processes: slices must be a power of two, and processes "
            "must divide them evenly; start 1, 2, 4 ... processes."
        )
    if cut and (n == 1 or n_parts):
        raise ConfigError(
            "--shard needs several processes (torchrun --nproc-per-node 2 -m neurofm pretrain ...) "
            "and adds up in an order of its own, which --exact cannot have; leave it out."
        )
    if cut and muon:
        raise ConfigError(
            "--shard cuts matrices that Muon wants whole; give them to AdamW with --set "
            "optim.matrix_rate=0."
        )
