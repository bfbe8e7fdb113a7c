"""What the model sees: tokens of one window, and a batch of many windows.

A token is a patch of the (time, channel) plane: K channels by P bins. One token a time bin is
K = all, P = 1; one token a spike is K = 1, P = 1. Shape letters: B windows, N tokens of a window,
M tokens of all windows, K channels a patch, P bins a patch, T bins, C channels.

A batch is a tuple of groups, each of windows of one recording. Tokens of a group lie one after the
other, window by window, so that no window is padded to the length of another. What must be
predicted lies in `Targets`, which no model receives.
"""

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """One window, tokenised.

    `values`, `hidden`: (N, K, P); values are 0 where hidden. `channels`: (R, K) index of a token's
    channels among the recording's, -1 where there is none; token n holds those of row n % R.
    `bins`, `stops`: (N,) the bins [bins, stops) that each token tells of, counted from the window's
    start. `n_bins`: the window's length. `n_coarse`: stretches that were told coarsely, for want of
    tokens. `present`: (N, K, P), False where a cell is neither hidden nor recorded; None where there
    is no such cell. Whether a hidden cell was recorded is not told: that would be part of the answer.
    """

    values: NDArray[Any]
    hidden: NDArray[np.bool_]
    channels: NDArray[np.int64]
    bins: NDArray[np.int64]
    stops: NDArray[np.int64]
    n_bins: int
    n_coarse: int = 0
    present: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n, k, _ = self.values.shape
        assert self.hidden.shape == self.values.shape
        assert self.channels.shape[1] == k
        assert n == len(self.channels) or n % len(self.channels) == 0
        assert self.bins.shape == self.stops.shape == (n,)


def shown(
    activity: NDArray[Any], hidden: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """(values, present) of (T, C) activity, of which NaN was not recorded: what tokens are made of."""
    if activity.dtype.kind != "f":
        return np.where(hidden, 0, activity).astype(activity.dtype), None
    absent = np.isnan(activity) & ~hidden
    values = np.where(hidden | absent, 0, activity).astype(np.float32)
    return values, ~absent if absent.any() else None


class Tokenizer(Protocol):
    """`(activity (T, C), hidden (T, C)) -> Tokens`; hides before anything else sees the values."""

    def __call__(self, activity: NDArray[Any], hidden: NDArray[np.bool_]) -> Tokens: ...


@dataclass(frozen=True)
class ChannelContext:
    """What the model knows of a recording's channels beforehand, (C,) each.

    `row`: the channel's row in the shared tables. `site`: its row in the tables of (recording,
    channel) pairs. `mean`, `scale` of the square-root counts and `rate` (counts a bin): measured on
    the training part alone; of other kinds than counts, `mean` and `scale` of the values themselves.
    Where rows are computed from a unit's own data: `features` (C, K) of it, measured there too, and
    `region`, its row in the table of regions (0: a region not known). Where not all are counts:
    `kind`, the place in KINDS, and `group`, channels of one number being one category or embedding,
    -1 none. Where not all are activity: `node`, the place in NODES.
    """

    row: Tensor
    site: Tensor
    mean: Tensor
    scale: Tensor
    rate: Tensor
    features: Tensor | None = None
    region: Tensor | None = None
    kind: Tensor | None = None
    group: Tensor | None = None
    node: Tensor | None = None

    def to(self, device: torch.device) -> "ChannelContext":
        """The same on another device."""
        held = {name: value for name, value in vars(self).items() if value is not None}
        return ChannelContext(**{name: value.to(device) for name, value in held.items()})


@dataclass(frozen=True)
class Group:
    """B windows of one recording and one length, their M tokens one after the other.

    `values`, `hidden`: (M, K, P). `channels`: (R, K); token m holds those of row m % R. `bins`,
    `stops`: (M,). `lengths`: the tokens of each window. `prompt`: (B,) which kind of question each
    window asks. `n_bins`: T. `n_coarse`: stretches of all windows that were told coarsely.
    `present`: as of tokens, (M, K, P), or None.
    """

    context: ChannelContext
    values: Tensor
    hidden: Tensor
    channels: Tensor
    bins: Tensor
    stops: Tensor
    prompt: Tensor
    lengths: tuple[int, ...]
    n_bins: int
    n_coarse: int = 0
    present: Tensor | None = None

    def to(self, device: torch.device) -> "Group":
        """The same on another device."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return Group(**{k: v.to(device) if hasattr(v, "to") else v for k, v in named.items()})


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
    """The answers to a batch, group by group: `counts` and `scored` (B, T, C), `prompt` (B,).

    `counts` are values where a channel is of another kind, 0 where they are not known and so not
    scored. `context`: of the channels of each group, which says their kinds; none: all are counts.
    """

    counts: tuple[Tensor, ...]
    scored: tuple[Tensor, ...]
    prompt: tuple[Tensor, ...]
    context: tuple[ChannelContext, ...] = ()

    def to(self, device: torch.device) -> "Targets":
        """The same on another device."""
        return Targets(*(tuple(part.to(device) for part in parts) for parts in vars(self).values()))


@dataclass(frozen=True)
class Output:
    """What the model says, group by group: `latents` (B, T, D), `rates` (B, T, C) counts a bin.

    `rates` are expected values whatever the kind: counts a bin, values in their own units, the
    probability of each label, the direction of an embedding. `spread` (C,) a group, None where
    the expected value says all: of values the standard deviation in units of the channel's own, of
    counts, where they are `overdispersed`, what makes their variance rate + spread * rate^2.
    `penalty`: what the model itself adds to the loss, such as a divergence from a prior.
    """

    latents: tuple[Tensor, ...]
    rates: tuple[Tensor, ...]
    penalty: Tensor | None = None
    spread: tuple[Tensor, ...] | None = None
    overdispersed: bool = False


def stack(windows: list[Tokens], context: ChannelContext, prompts: list[int]) -> Group:
    """A group of windows that were tokenised from one recording at one length."""
    first = windows[0]
    assert all(w.n_bins == first.n_bins for w in windows)
    alike = all(
        len(w.bins) == len(first.bins) and np.array_equal(w.channels, first.channels)
        for w in windows
    )
    channels = first.channels if alike else np.concatenate([w.channels for w in windows])
    joined = {
        name: torch.from_numpy(np.concatenate([getattr(w, name) for w in windows]))
        for name in ("values", "hidden", "bins", "stops")
    }
    if any(w.present is not None for w in windows):
        parts = [np.ones_like(w.hidden) if w.present is None else w.present for w in windows]
        joined["present"] = torch.from_numpy(np.concatenate(parts))
    return Group(
        context=context,
        **joined,
        channels=torch.from_numpy(channels),
        prompt=torch.tensor(prompts, dtype=torch.int64),
        lengths=tuple(len(w.bins) for w in windows),
        n_bins=first.n_bins,
        n_coarse=sum(w.n_coarse for w in windows),
    )
