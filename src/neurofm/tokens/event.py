"""Events: one token a spike, where a bin is as fine as the grid (the layout of POYO, Azabou et al. 2023).

A token is one channel in one bin that holds spikes, and its value is how many. A silent bin has no
token, so hidden cells get tokens of their own: one for each run of them, which makes hidden and
silent differ. Time is divided into blocks of `block_bins`, and no token reaches over the edge of a
block, so that what a block's tokens are depends on that block alone.

A block has at most `budget` such tokens. From the bin on that would exceed it, the rest of the block
is told coarsely: one token a channel, with the sum of its spikes; a channel that is partly hidden
there counts as hidden there. So no spike of a visible channel is left out, only its time within the
rest of the block, and the cut depends on no later bin. A block never has more tokens than the budget
and the number of channels together.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.errors import InputError
from neurofm.tokens.tokens import Tokens


class Event(Config):
    """(T, C) activity -> one token a (bin, channel) with spikes and one a hidden run.

    `latents` queries read each block of `block_bins` bins and carry it through the trunk.
    """

    kind: Literal["event"] = "event"
    block_bins: int = Field(5, ge=1, description="bins from one step of latents to the next")
    latents: int = Field(2, ge=1, description="latents a block")
    budget: int = Field(512, ge=1, description="tokens a block, before its rest is told coarsely")

    def __call__(self, activity: NDArray[Any], hidden: NDArray[np.bool_]) -> Tokens:
        """Tokens of (value, hidden) (N, 1, 1) int32, in the order of their blocks.

        Raises InputError if the activity is not counts.
        """
        if np.asarray(activity).dtype.kind not in "bui":
            raise InputError(
                "Event tokens are counts of spikes and this activity is not; choose "
                "model.tokens.kind=time-bin or patch."
            )
        n_bins = len(activity)
        seen = np.where(hidden, 0, activity).astype(np.int64)
        fine = np.concatenate([_events(seen), _runs(hidden, self.block_bins)])
        cut, end = self._cuts(np.bincount(fine[:, 1], minlength=n_bins))
        fine = fine[fine[:, 1] < cut[fine[:, 1] // self.block_bins]]
        fine[:, 2] = np.minimum(fine[:, 2], cut[fine[:, 1] // self.block_bins])
        rest = [_coarse(seen, hidden, a, b) for a, b in zip(cut, end, strict=True) if a < b]
        table = np.concatenate([fine, *rest])
        table = table[np.argsort(table[:, 1] // self.block_bins, kind="stable")]
        channel, first, stop, value, is_hidden = table.T
        return Tokens(
            values=value.astype(np.int32)[:, None, None],
            hidden=(is_hidden > 0)[:, None, None],
            channels=np.ascontiguousarray(channel)[:, None],
            bins=np.ascontiguousarray(first),
            stops=np.ascontiguousarray(stop),
            n_bins=n_bins,
            n_coarse=len(rest),
        )

    def _cuts(self, starting: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each block, the bin up to which it is told finely, and its end.

        `starting`: (T,) tokens that start in each bin.
        """
        n_blocks = -(-len(starting) // self.block_bins)
        first = np.arange(n_blocks) * self.block_bins
        whole = np.zeros(n_blocks * self.block_bins, dtype=np.int64)
        whole[: len(starting)] = starting
        told = whole.reshape(n_blocks, -1).cumsum(axis=1) <= self.budget
        end = np.minimum(first + self.block_bins, len(starting))
        return np.minimum(first + told.sum(axis=1), end), end


def _table(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """Rows of channel, first bin, stop, value, whether hidden."""
    return np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1)


def _events(seen: NDArray[np.int64]) -> NDArray[np.int64]:
    bins, channel = np.nonzero(seen)
    return _table(channel, bins, bins + 1, seen[bins, channel], np.zeros_like(bins))


def _runs(hidden: NDArray[np.bool_], block_bins: int) -> NDArray[np.int64]:
    """Runs of hidden bins of one channel, cut at the edges of blocks."""
    n_bins, n_channels = hidden.shape
    before = np.zeros((n_bins + 1, n_channels), dtype=bool)
    before[1:], after = hidden, np.zeros_like(before)
    after[:-1] = hidden
    edge = (np.arange(n_bins + 1) % block_bins == 0)[:, None]
    channel, first = np.nonzero((after & (~before | edge)).T)
    _, stop = np.nonzero((before & (~after | edge)).T)
    return _table(channel, first, stop, np.zeros_like(first), np.ones_like(first))


def _coarse(
    seen: NDArray[np.int64], hidden: NDArray[np.bool_], first: int, stop: int
) -> NDArray[np.int64]:
    """One token for each channel, silent ones too, over bins [first, stop)."""
    missing = np.asarray(hidden[first:stop].any(axis=0))
    channel = np.arange(len(missing))
    value = np.where(missing, 0, seen[first:stop].sum(axis=0))
    return _table(
        channel, np.full_like(channel, first), np.full_like(channel, stop), value, missing
    )
