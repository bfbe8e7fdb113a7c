"""Which cells of a window to hide, and which of those to score.

A mask is `(n_bins, channels, rng) -> Cells`. It knows nothing of activity or tokens: the same rng
always hides the same cells. Each kind of mask has its prompt, so that the model is told which
question is asked. Further kinds are in `mask_cells` and `mask_nodes`, their table in `mask_config`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Channels

PROMPTS = (
    "co-smoothing",
    "forward",
    "intra-region",
    "inter-region",
    "bins",
    "patches",
    "cells",
    "next-bin",
    "autoregressive",
    "units-and-future",
    "encoding",
    "decoding",
    "behaviour",
    "across",
)
"""The questions that a model can be asked, in the order of its prompt table.

It grows at the end alone: a checkpoint that was saved with fewer keeps its rows.
"""


@dataclass(frozen=True)
class Cells:
    """`hidden`, `scored`: (T, C) booleans; every scored cell is hidden.

    `late`: how many bins late the model is shown the activity; `hidden` is then about what is shown
    at each bin, so that a scored cell may be shown, but only at a later bin than its own. `left_out`:
    (C,) channels that are neither shown nor missed, as if the recording had none of them; or None.
    """

    hidden: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    late: int = 0
    left_out: NDArray[np.bool_] | None = None


class Mask(Protocol):
    """Hides cells of a window; `prompt` names the question that this asks."""

    @property
    def prompt(self) -> str: ...

    def applies(self, channels: Channels) -> bool:
        """Whether the question can be asked of these channels."""
        ...

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells: ...


def _columns(n_bins: int, hidden: NDArray[np.bool_], scored: NDArray[np.bool_]) -> Cells:
    shape = (n_bins, len(hidden))
    return Cells(np.broadcast_to(hidden, shape), np.broadcast_to(scored, shape))


def _some(n: int, fraction: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """At least one and not all of n, where n allows it."""
    count = min(max(round(fraction * n), 1), max(n - 1, 1))
    chosen = np.zeros(n, dtype=bool)
    chosen[rng.permutation(n)[:count]] = True
    return chosen


@dataclass(frozen=True)
class HideUnits:
    """Co-smoothing: hides `low` to `high` of the channels for the whole window."""

    low: float = 0.1
    high: float = 0.4
    prompt: str = "co-smoothing"

    def applies(self, channels: Channels) -> bool:
        return len(channels) >= 2

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        hidden = _some(len(channels), rng.uniform(self.low, self.high), rng)
        return _columns(n_bins, hidden, hidden)


@dataclass(frozen=True)
class HideFuture:
    """Forward prediction: hides all channels in the last `low` to `high` bins, contiguously."""

    low: int = 1
    high: int = 10
    prompt: str = "forward"

    def applies(self, channels: Channels) -> bool:
        return len(channels) >= 1

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        horizon = min(int(rng.integers(self.low, self.high + 1)), max(n_bins - 1, 1))
        hidden = np.zeros((n_bins, len(channels)), dtype=bool)
        hidden[n_bins - horizon :] = True
        return Cells(hidden, hidden)


@dataclass(frozen=True)
class HideWithinRegion:
    """Intra-region: sees part of one region alone; scores `low` to `high` of its channels."""

    low: float = 0.1
    high: float = 0.4
    fewest: int = 4
    prompt: str = "intra-region"

    def applies(self, channels: Channels) -> bool:
        return len(_regions(channels, self.fewest)) >= 1 and len(channels.regions[0]) >= 2

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        inside = channels.region == rng.choice(_regions(channels, self.fewest))
        scored = np.zeros(len(channels), dtype=bool)
        scored[inside] = _some(int(inside.sum()), rng.uniform(self.low, self.high), rng)
        return _columns(n_bins, ~inside | scored, scored)


@dataclass(frozen=True)
class HideRegion:
    """Inter-region: hides one region, sees the others."""

    fewest: int = 1
    prompt: str = "inter-region"

    def applies(self, channels: Channels) -> bool:
        return len(channels.regions[0]) >= 2

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        inside = channels.region == rng.choice(channels.regions[0])
        return _columns(n_bins, inside, inside)


@dataclass(frozen=True)
class HideBins:
    """Random bins: hides about `fraction` of the bins, in runs of `span`, for all channels."""

    fraction: float = 0.25
    span: int = 2
    prompt: str = "bins"

    def applies(self, channels: Channels) -> bool:
        return len(channels) >= 1

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        starts = rng.random(n_bins) < self.fraction / self.span
        starts[rng.integers(n_bins)] = True  # never nothing
        bins = np.convolve(starts, np.ones(self.span), mode="full")[:n_bins] > 0
        if bins.all():
            bins[rng.integers(n_bins)] = False
        hidden = np.repeat(bins[:, None], len(channels), axis=1)
        return Cells(hidden, hidden)


@dataclass(frozen=True)
class Mixture:
    """Draws one mask a window, by weight, among those that apply to its channels."""

    masks: tuple[Mask, ...]
    weights: tuple[float, ...]

    def draw(self, channels: Channels, rng: np.random.Generator) -> Mask:
        """The mask for one window; the first one where none of positive weight applies."""
        pairs = [
            (mask, weight)
            for mask, weight in zip(self.masks, self.weights, strict=True)
            if weight > 0 and mask.applies(channels)
        ]
        if not pairs:
            return self.masks[0]
        share = np.array([weight for _, weight in pairs])
        return pairs[int(rng.choice(len(pairs), p=share / share.sum()))][0]


def prompt_index(prompt: str) -> int:
    """Row of a prompt in the model's table."""
    return PROMPTS.index(prompt)


def delayed(values: NDArray[Any], late: int, before: Any = 0) -> NDArray[Any]:
    """(T, C) values `late` bins later; `before` stands where there is nothing yet."""
    if late == 0:
        return values
    out = np.full_like(values, before)
    out[late:] = values[:-late]
    return out


def _regions(channels: Channels, fewest: int) -> Sequence[str]:
    names, counts = channels.regions
    return [str(name) for name, n in zip(names, counts, strict=True) if n >= fewest]
