"""What the model sees: tokens of one window, and a batch of many windows.

A token is a patch of the (time, channel) plane: K channels by P bins. One token a time bin is
K = all, P = 1. Shape letters: B windows, N tokens, K channels a patch, P bins a patch, T bins,
C channels.

A batch is a tuple of groups; the windows of a group have the same recording and length, so nothing
is padded to the largest session. What must be predicted lies in `Targets`, which no model receives.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """One window, tokenised.

    `values`, `hidden`: (N, K, P); values are 0 where hidden. `channels`: (N, K) or (1, K) index of
    each token's channels among the recording's; (1, K) when all tokens hold the same. `bins`: (N,)
    first bin of each token, counted from the window's start.
    """

    values: NDArray[Any]
    hidden: NDArray[np.bool_]
    channels: NDArray[np.int64]
    bins: NDArray[np.int64]

    def __post_init__(self) -> None:
        n, k, _ = self.values.shape
        assert self.hidden.shape == self.values.shape
        assert self.channels.shape in {(n, k), (1, k)}
        assert self.bins.shape == (n,)


class Tokenizer(Protocol):
    """`(activity (T, C), hidden (T, C)) -> Tokens`; hides before anything else sees the values."""

    def __call__(self, activity: NDArray[Any], hidden: NDArray[np.bool_]) -> Tokens: ...


@dataclass(frozen=True)
class ChannelContext:
    """What the model knows of a recording's channels beforehand, (C,) each.

    `row`: the channel's row in the shared tables. `site`: its row in the tables of (recording,
    channel) pairs. `mean`, `scale` of the square-root counts and `rate` (counts a bin): measured on
    the training part alone. Where rows are computed from a unit's own data: `features` (C, K) of it,
    measured there too, and `region`, its row in the table of regions (0: a region not known).
    """

    row: Tensor
    site: Tensor
    mean: Tensor
    scale: Tensor
    rate: Tensor
    features: Tensor | None = None
    region: Tensor | None = None

    def to(self, device: torch.device) -> "ChannelContext":
        """The same on another device."""
        held = {name: value for name, value in vars(self).items() if value is not None}
        return ChannelContext(**{name: value.to(device) for name, value in held.items()})


@dataclass(frozen=True)
class Group:
    """B windows of one recording and one length.

    `values`, `hidden`: (B, N, K, P). `channels`: (N | 1, K). `bins`: (N,). `prompt`: (B,) which
    kind of question each window asks.
    """

    context: ChannelContext
    values: Tensor
    hidden: Tensor
    channels: Tensor
    bins: Tensor
    prompt: Tensor

    def to(self, device: torch.device) -> "Group":
        """The same on another device."""
        moved = {k: v.to(device) for k, v in vars(self).items() if k != "context"}
        return Group(context=self.context.to(device), **moved)


@dataclass(frozen=True)
class Batch:
    """Many windows, of any mixture of recordings."""

    groups: tuple[Group, ...]

    @property
    def n_windows(self) -> int:
        """Windows in all groups."""
        return sum(len(group.prompt) for group in self.groups)

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(tuple(group.to(device) for group in self.groups))


@dataclass(frozen=True)
class Targets:
    """The answers to a batch, group by group: `counts` and `scored` (B, T, C), `prompt` (B,)."""

    counts: tuple[Tensor, ...]
    scored: tuple[Tensor, ...]
    prompt: tuple[Tensor, ...]

    def to(self, device: torch.device) -> "Targets":
        """The same on another device."""
        return Targets(*(tuple(part.to(device) for part in parts) for parts in vars(self).values()))


@dataclass(frozen=True)
class Output:
    """What the model says, group by group: `latents` (B, T, D), `rates` (B, T, C) counts a bin.

    `penalty`: what the model itself adds to the loss, such as a divergence from a prior.
    """

    latents: tuple[Tensor, ...]
    rates: tuple[Tensor, ...]
    penalty: Tensor | None = None


def stack(windows: list[Tokens], context: ChannelContext, prompts: list[int]) -> Group:
    """A group of windows that were tokenised from one recording at one length."""
    first = windows[0]
    assert all((w.channels == first.channels).all() for w in windows)
    return Group(
        context=context,
        values=torch.from_numpy(np.stack([w.values for w in windows])),
        hidden=torch.from_numpy(np.stack([w.hidden for w in windows])),
        channels=torch.from_numpy(first.channels),
        bins=torch.from_numpy(first.bins),
        prompt=torch.tensor(prompts, dtype=torch.int64),
    )
