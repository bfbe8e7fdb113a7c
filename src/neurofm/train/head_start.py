"""Where a head starts: the linear solution on the frozen latents."""

import torch
from torch import Tensor
from torch.nn import functional

from neurofm.train.heads import LabelHead, Reader, SignalHead
from neurofm.train.read_batches import Batches

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)


@torch.no_grad()
def start_at_ridge(reader: Reader, batches: Batches, n_batches: int) -> None:
    """A signal head's first values: ridge on frozen latents of training batches, axis by axis."""
    assert isinstance(reader.head, SignalHead)
    reader.eval()
    device = next(reader.parameters()).device
    n_axes, width = reader.head.read.weight.shape
    gram = torch.zeros(n_axes, width + 1, width + 1, dtype=torch.float64)
    cross = torch.zeros(n_axes, width + 1, dtype=torch.float64)
    for k in range(n_batches):
        batch, wanted = batches(k)
        for z, y in zip(reader.model(batch.to(device)).latents, wanted.values, strict=True):
            x = torch.cat([z.float().cpu(), torch.ones(*z.shape[:2], 1)], -1).flatten(0, 1)
            values = y.flatten(0, 1)
            for axis, known in enumerate(torch.isfinite(values).unbind(1)):
                if known.any():
                    rows = x[known]
                    gram[axis] += (rows.T @ rows).double()
                    cross[axis] += (rows.T @ values[known, axis]).double()
    strength = 1e-3 * gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-6)
    eye = torch.eye(width + 1, dtype=torch.float64)
    solved = torch.linalg.solve(gram + strength[:, None, None] * eye, cross).float()
    reader.head.read.weight.copy_(solved[:, :-1])
    reader.head.read.bias.copy_(solved[:, -1])


def start_at_logistic(
    reader: Reader, batches: Batches, checks: Batches, n_batches: int, weight: Tensor
) -> None:
    """A label head's first values: logistic regression on frozen, pooled latents.

    Its penalty is the one with the least loss on the first checks, or the strongest without any.
    """
    assert isinstance(reader.head, LabelHead)
    x, y = _pooled(reader, batches, n_batches)
    mean, scale = x.mean(0), x.std(0).clamp(min=1e-6)
    x = (x - mean) / scale
    best: tuple[float, Tensor, Tensor] | None = None
    for penalty in reversed(PENALTIES):
        w, b = _logistic(x, y, weight, penalty)
        if not checks:
            best = 0.0, w, b
            break
        x_check, y_check = _pooled(reader, checks, max(n_batches // 4, 1))
        logits = ((x_check - mean) / scale) @ w + b
        lost = float(functional.cross_entropy(logits, y_check, weight=weight))
        if best is None or lost < best[0]:
            best = lost, w, b
    assert best is not None
    _, w, b = best
    with torch.no_grad():
        reader.head.read.weight.copy_((w / scale[:, None]).T)
        reader.head.read.bias.copy_(b - (mean / scale) @ w)


@torch.no_grad()
def _pooled(reader: Reader, batches: Batches, n_batches: int) -> tuple[Tensor, Tensor]:
    """(n, F) pooled latents of the trials of the first batches, and their labels (n,)."""
    assert isinstance(reader.head, LabelHead)
    reader.eval()
    device = next(reader.parameters()).device
    rows, labels = [], []
    for k in range(n_batches):
        batch, wanted = batches(k)
        rows += [reader.head.pooled(z).cpu() for z in reader.model(batch.to(device)).latents]
        labels += list(wanted.values)
    return torch.cat(rows), torch.cat(labels)


def _logistic(x: Tensor, y: Tensor, weight: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """(F, L) weights and (L,) biases."""
    w = torch.zeros(x.shape[1], len(weight), requires_grad=True)
    b = torch.zeros(len(weight), requires_grad=True)
    solver = torch.optim.LBFGS([w, b], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        lost = functional.cross_entropy(x @ w + b, y, weight=weight) + penalty * (w**2).sum()
        lost.backward()  # type: ignore[no-untyped-call]
        return lost

    solver.step(closure)  # type: ignore[no-untyped-call]
    return w.detach(), b.detach()
