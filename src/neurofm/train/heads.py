"""Heads: what is read from a model's latents, bin by bin or once a trial.

Shapes: B windows, T bins, D width, K axes, L labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurofm.model.model import Model
from neurofm.tokens.tokens import Batch

PARTS = 4  # of a trial


@dataclass(frozen=True)
class Wanted:
    """The answers to a batch, group by group: axes (B, T, K), NaN where unknown, or labels (B,)."""

    values: tuple[Tensor, ...]

    def to(self, device: torch.device) -> "Wanted":
        """The same on another device."""
        return Wanted(tuple(value.to(device) for value in self.values))


class SignalHead(nn.Module):
    """Latents (B, T, D) -> (B, T, K), linear."""

    def __init__(self, width: int, n_axes: int) -> None:
        super().__init__()
        self.read = nn.Linear(width, n_axes)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def forward(self, latents: Tensor) -> Tensor:
        out: Tensor = self.read(latents.to(self.read.weight.dtype))
        return out


class LabelHead(nn.Module):
    """Latents of whole trials (B, T, D) -> (B, L) logits: pooled over the bins, then linear.

    A trial is cut into `PARTS` parts, so that what changes in its course is not averaged away; in
    each, bins are weighted by learned attention with one query, which starts as the plain mean.
    """

    def __init__(self, width: int, n_labels: int) -> None:
        super().__init__()
        self.attend = nn.Linear(width, 1, bias=False)
        self.read = nn.Linear(PARTS * width, n_labels)
        nn.init.zeros_(self.attend.weight)
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def pooled(self, latents: Tensor) -> Tensor:
        """(B, PARTS * D): one vector a trial."""
        z = latents.to(self.read.weight.dtype)
        n, out = z.shape[1], []
        for part in range(PARTS):
            first = min(part * n // PARTS, n - 1)
            bins = z[:, first : max((part + 1) * n // PARTS, first + 1)]
            out.append((torch.softmax(self.attend(bins), 1) * bins).sum(1))
        return torch.cat(out, -1)

    def forward(self, latents: Tensor) -> Tensor:
        out: Tensor = self.read(self.pooled(latents))
        return out


class Reader(nn.Module):
    """A model and a head: Batch -> what is read, group by group."""

    def __init__(self, model: Model, head: SignalHead | LabelHead) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        return tuple(self.head(latents) for latents in self.model(batch).latents)


def squared_loss(weight: Tensor, read: tuple[Tensor, ...], wanted: Wanted) -> Tensor:
    """Squared error of each axis over the cells where it is known, weighted over axes by `weight` (K,).

    Axes that the batch never knows count for nothing.
    """
    lost, known = weight.new_zeros(len(weight)), weight.new_zeros(len(weight))
    for answer, value in zip(read, wanted.values, strict=True):
        there = torch.isfinite(value)
        error = torch.where(there, answer.float() - value.nan_to_num(), 0.0)
        lost = lost + (error**2).sum((0, 1))
        known = known + there.sum((0, 1))
    asked = weight * (known > 0)
    return (asked * lost / known.clamp(min=1)).sum() / asked.sum().clamp(min=1e-6)


def label_loss(weight: Tensor, read: tuple[Tensor, ...], wanted: Wanted) -> Tensor:
    """Cross-entropy, each label weighted by `weight` (L,), so that rare ones count as much."""
    logits = torch.cat([answer.float() for answer in read])
    return functional.cross_entropy(logits, torch.cat(wanted.values), weight=weight)
