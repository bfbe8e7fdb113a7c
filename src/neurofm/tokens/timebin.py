"""One token a time bin, over all channels (the layout of NDT, Ye & Pandarinath 2021)."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from neurofm.config import Config
from neurofm.tokens.tokens import Tokens, shown


class TimeBin(Config):
    """(T, C) activity -> T tokens of C channels by one bin."""

    kind: Literal["time-bin"] = "time-bin"

    def __call__(self, activity: NDArray[Any], hidden: NDArray[np.bool_]) -> Tokens:
        """Values are zero where hidden, of the activity's own type."""
        n_bins, n_channels = activity.shape
        values, present = shown(activity, hidden)
        return Tokens(
            values=values[:, :, None],
            hidden=np.asarray(hidden)[:, :, None],
            channels=np.arange(n_channels)[None],
            bins=np.arange(n_bins),
            stops=np.arange(1, n_bins + 1),
            n_bins=n_bins,
            present=None if present is None else present[:, :, None],
        )
