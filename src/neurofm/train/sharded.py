"""A trunk that is cut over the processes (FSDP2), so that it need not fit in the memory of one.

Only the trunk is cut, block by block. What belongs to channels, and the small layers around the
trunk, each process holds whole. A cut parameter is a `DTensor`; it is known by what it can do, since
importing the class takes as long as everything else here.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neurofm.errors import ConfigError
from neurofm.model.backbone import Backbone
from neurofm.model.model import Model


def shard(model: Model) -> None:
    """Cut the trunk over all processes, in place.

    Raises ConfigError if it is LFADS, whose recurrent layers keep copies of their weights.
    """
    from torch.distributed import get_world_size
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    if not isinstance(model.backbone, Backbone):
        raise ConfigError("--shard is for transformers; LFADS is small, leave --shard out.")
    kind = next(model.parameters()).device.type
    mesh = init_device_mesh(kind, (get_world_size(),))
    for block in model.backbone.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model.backbone, mesh=mesh)


def is_cut(tensor: Tensor) -> bool:
    """Whether a process holds only a part of it."""
    return hasattr(tensor, "full_tensor")


def whole(tensor: Any) -> Tensor:
    """The whole of a tensor; if it is cut, all processes must ask at once."""
    found: Tensor = tensor.full_tensor() if is_cut(tensor) else tensor
    return found


def own(tensor: Any) -> Tensor:
    """The part of a tensor that lies here, as a view."""
    found: Tensor = tensor.to_local() if is_cut(tensor) else tensor
    return found


def cut_like(value: Tensor, like: Any) -> Tensor:
    """A whole tensor, which every process holds, cut as another of its shape is."""
    if not is_cut(like) or value.shape != like.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(
        value.to(own(like).device), like.device_mesh, like.placements, src_data_rank=None
    )


def assembled(cut: Model, empty: Model) -> Model:
    """The weights of a model that is cut in one that is not; all processes must ask at once."""
    weights = {name: whole(tensor) for name, tensor in cut.state_dict().items()}
    empty.load_state_dict(weights)
    return empty


def clipped(parameters: Sequence[nn.Parameter], most: float) -> float:
    """Scale gradients so that their norm, over all parameters, is at most `most`; the norm before."""
    found = [_values(p) for p in parameters if p.grad is not None]
    if not any(is_cut(p) for p in parameters):  # as torch's own, which takes no sparse gradients
        total = nn.utils.get_total_norm(found)
        share = most / (total + 1e-6)
        if share < 1:
            torch._foreach_mul_(found, share)
        return float(total)
    parts = [[g for g in found if is_cut(g) == cut] for cut in (True, False)]
    norms = [float(whole(nn.utils.get_total_norm(part))) for part in parts if part]
    norm = math.hypot(*norms)
    if norm > most:
        for gradient in found:
            own(gradient).mul_(most / (norm + 1e-6))
    return norm


def _values(parameter: nn.Parameter) -> Tensor:
    """A parameter's gradient, or that of the rows that have one, to be changed in place."""
    assert parameter.grad is not None
    if not parameter.grad.is_sparse:
        return parameter.grad
    parameter.grad = parameter.grad.coalesce()
    return parameter.grad.values()
