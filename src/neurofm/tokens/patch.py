"""Space-time patches: a few channels by a few bins (the layout of NDT2, Ye et al. 2023)."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.tokens.tokens import Tokens, shown


class Patch(Config):
    """(T, C) activity -> ceil(T / bins) * ceil(C / channels) tokens, block of time by block of time.

    Channels share a patch by their order in the recording: readers keep the order of the file, in
    which neighbours on a probe follow each other. Sort a recording by region to have patches of one
    region. Patches at the end are short: they hold no channel twice and no bin past the window.
    """

    kind: Literal["patch"] = "patch"
    channels: int = Field(32, ge=1, description="channels a patch")
    bins: int = Field(1, ge=1, description="bins a patch")

    def __call__(self, activity: NDArray[Any], hidden: NDArray[np.bool_]) -> Tokens:
        """Values are zero where hidden and where a short patch holds nothing."""
        n_bins, n_channels = activity.shape
        n_blocks, n_patches = -(-n_bins // self.bins), -(-n_channels // self.channels)
        index = np.arange(n_patches * self.channels)
        first = np.arange(n_blocks) * self.bins
        values, present = shown(activity, hidden)
        return Tokens(
            values=self._cut(values),
            hidden=self._cut(np.asarray(hidden)),
            channels=np.where(index < n_channels, index, -1).reshape(n_patches, self.channels),
            bins=np.repeat(first, n_patches),
            stops=np.repeat(np.minimum(first + self.bins, n_bins), n_patches),
            n_bins=n_bins,
            present=None if present is None else self._cut(present),
        )

    def _cut(self, sheet: NDArray[Any]) -> NDArray[Any]:
        """(T, C) -> (N, K, P)."""
        n_bins, n_channels = sheet.shape
        n_blocks, n_patches = -(-n_bins // self.bins), -(-n_channels // self.channels)
        whole = np.zeros((n_blocks * self.bins, n_patches * self.channels), sheet.dtype)
        whole[:n_bins, :n_channels] = sheet
        cut = whole.reshape(n_blocks, self.bins, n_patches, self.channels).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(cut).reshape(-1, self.channels, self.bins)
