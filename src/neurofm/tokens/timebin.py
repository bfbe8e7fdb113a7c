"""One token a time bin, over all channels (the layout of NDT, Ye & Pandarinath 2021)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.tokens.tokens import Tokens


@dataclass(frozen=True)
class TimeBin:
    """(T, C) activity -> T tokens of C channels by one bin."""

    def __call__(self, activity: NDArray[Any], hidden: NDArray[np.bool_]) -> Tokens:
        n_bins, n_channels = activity.shape
        return Tokens(
            values=np.where(hidden, 0, activity).astype(activity.dtype)[:, :, None],
            hidden=hidden[:, :, None],
            channels=np.arange(n_channels)[None],
            bins=np.arange(n_bins),
        )
