"""Masks of patches, of cells, of what comes next, and of two patterns at once."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Channels
from neurofm.tokens.mask import Cells, HideFuture, HideUnits, Mask


@dataclass(frozen=True)
class HidePatches:
    """Patches of the (time, channel) plane: random groups of `channels` by runs of `bins`.

    Each patch is hidden with probability `fraction`. The groups and where the runs begin are drawn
    anew for every window, since channels have no order.
    """

    fraction: float = 0.5
    channels: int = 8
    bins: int = 5
    prompt: str = "patches"

    def applies(self, channels: Channels) -> bool:
        return len(channels) >= 1

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        run = (np.arange(n_bins) + rng.integers(self.bins)) // self.bins
        group = rng.permutation(len(channels)) // self.channels
        drawn = rng.random((run[-1] + 1, group.max() + 1)) < self.fraction
        hidden = _neither_none_nor_all(drawn[np.ix_(run, group)], rng)
        return Cells(hidden, hidden)


@dataclass(frozen=True)
class HideCells:
    """Single cells, each hidden with probability `fraction`.

    Scored where it was not seen: coordinated dropout (Keshtkaran & Pandarinath 2019).
    """

    fraction: float = 0.3
    prompt: str = "cells"

    def applies(self, channels: Channels) -> bool:
        return len(channels) >= 1

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        drawn = rng.random((n_bins, len(channels))) < self.fraction
        hidden = _neither_none_nor_all(drawn, rng)
        return Cells(hidden, hidden)


@dataclass(frozen=True)
class HideNext:
    """The next bin: hides everything from a random bin on and scores that bin alone.

    For any trunk: what comes after the scored bin is hidden, not only unattended. One bin a window
    is scored; `Autoregressive` scores all of them, in causal mode.
    """

    prompt: str = "next-bin"

    def applies(self, channels: Channels) -> bool:
        return len(channels) >= 1

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        at = int(rng.integers(1, n_bins)) if n_bins > 1 else 0
        hidden = np.zeros((n_bins, len(channels)), dtype=bool)
        hidden[at:] = True
        scored = np.zeros_like(hidden)
        scored[at] = True
        return Cells(hidden, scored)


@dataclass(frozen=True)
class Autoregressive:
    """Every bin from the bins before it, in one pass: activity is shown `late` bins late.

    For causal trunks alone: at bin t such a trunk has been shown the bins up to t - late. `late` is
    1 where a token holds one bin, and must be the bins of a token where it holds more.
    """

    late: int = 1
    prompt: str = "autoregressive"

    def applies(self, channels: Channels) -> bool:
        return len(channels) >= 1

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:  # noqa: ARG002
        scored = np.ones((n_bins, len(channels)), dtype=bool)
        hidden = np.zeros_like(scored)
        hidden[: self.late] = True
        return Cells(hidden, scored, self.late)


@dataclass(frozen=True)
class Both:
    """The union of two masks, by default some units hidden and the future of all."""

    first: Mask = field(default_factory=HideUnits)
    second: Mask = field(default_factory=HideFuture)
    prompt: str = "units-and-future"

    def applies(self, channels: Channels) -> bool:
        return self.first.applies(channels) and self.second.applies(channels)

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        a, b = (mask(n_bins, channels, rng) for mask in (self.first, self.second))
        assert a.late == b.late == 0
        return Cells(a.hidden | b.hidden, a.scored | b.scored)


def _neither_none_nor_all(hidden: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    if not hidden.any() or hidden.all():
        hidden.flat[rng.integers(hidden.size)] ^= True
    return hidden
