"""Masks by node: stimulus, activity and behaviour, one seen from another or from itself."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from neurofm.data.nodes import signals_of
from neurofm.data.recording import Channels
from neurofm.tokens.mask import Cells, HideFuture, Mask, _columns, _some


@dataclass(frozen=True)
class Inside:
    """A mask of the activity alone. The other nodes are left out, as if they were not recorded.

    So co-smoothing is what it is in a session without behaviour: nothing helps but the other units.
    """

    mask: Mask

    @property
    def prompt(self) -> str:
        return self.mask.prompt

    def applies(self, channels: Channels) -> bool:
        return self.mask.applies(channels.of_activity)

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        cells = self.mask(n_bins, channels.of_activity, rng)
        return cells if channels.of_activity is channels else _spread(cells, channels.in_activity)


@dataclass(frozen=True)
class Encode:
    """Encoding: hides all activity for the whole window, sees stimulus and behaviour.

    In a share `fewer` of the windows it sees some of the signals and labels alone and tells the others too: a
    model that is to say what a velocity alone would do must have been asked so before.
    """

    fewer: float = 0.25
    prompt: str = "encoding"

    def applies(self, channels: Channels) -> bool:
        return 0 < len(channels.of_activity) < len(channels)

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        hidden = channels.in_activity
        which = signals_of(channels)
        n_signals = int(which.max(initial=-1)) + 1
        if n_signals and rng.random() < self.fewer:
            seen = _some(n_signals, rng.random(), rng)
            hidden = hidden | ~seen[which]
        return _columns(n_bins, hidden, hidden)


@dataclass(frozen=True)
class Decode:
    """Decoding: hides stimulus and behaviour for the whole window, sees all activity."""

    prompt: str = "decoding"

    def applies(self, channels: Channels) -> bool:
        return Encode().applies(channels)

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:  # noqa: ARG002
        return _columns(n_bins, ~channels.in_activity, ~channels.in_activity)


@dataclass(frozen=True)
class HideBehaviour:
    """Behaviour models: hides the last bins of behaviour, sees what was before and the stimulus.

    Activity is left out.
    """

    future: HideFuture = field(default_factory=HideFuture)
    prompt: str = "behaviour"

    def applies(self, channels: Channels) -> bool:
        return bool((channels.node == "behaviour").any())

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        own = np.asarray(channels.node == "behaviour")
        cells = _spread(self.future(n_bins, channels.take(own), rng), own)
        return replace(cells, left_out=channels.in_activity)


@dataclass(frozen=True)
class Across:
    """Any part from any other: hides a share of each node, drawn for each node anew, all scored.

    The channels of a category or an embedding are hidden together: the rest of them would tell.
    """

    prompt: str = "across"

    def applies(self, channels: Channels) -> bool:
        return Encode().applies(channels)

    def __call__(self, n_bins: int, channels: Channels, rng: np.random.Generator) -> Cells:
        which = _together(channels)
        hidden = np.zeros(len(channels), dtype=bool)
        for node in np.unique(channels.node):
            inside = np.unique(which[channels.node == node])
            chosen = inside[rng.random(len(inside)) < rng.random()]
            hidden |= np.isin(which, chosen)
        if not hidden.any() or hidden.all():
            hidden ^= which == rng.choice(which)
        return _columns(n_bins, hidden, hidden)


def _together(channels: Channels) -> NDArray[np.intp]:
    """(C,) a number for each channel, the same for those of one group."""
    alone = np.arange(len(channels))
    if channels.group is None:
        return alone
    names, first, code = np.unique(channels.group, return_index=True, return_inverse=True)
    del names
    return np.asarray(np.where(channels.group == "", alone, first[code]), dtype=np.intp)


def _spread(cells: Cells, own: NDArray[np.bool_]) -> Cells:
    """Cells of some channels among all; the others are left out."""
    n_bins, everywhere = len(cells.hidden), np.asarray(~own)
    hidden, scored = (np.zeros((n_bins, len(own)), dtype=bool) for _ in range(2))
    hidden[:, own], scored[:, own] = cells.hidden, cells.scored
    return Cells(hidden, scored, cells.late, everywhere)
