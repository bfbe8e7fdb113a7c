"""Ridge on smoothed counts at several lags; smoothing, lags and penalty are tuned."""

import numpy as np

from neurofm.evaluate import streams
from neurofm.evaluate.readout import Lagged, LagRidge
from neurofm.evaluate.streams import Groups

WIDTHS_S = (0.1, 0.2, 0.4)  # standard deviations of the Gaussian
N_LAGS = 9


class Ridge(LagRidge):
    """A Gaussian of 0.1 to 0.4 s at one lag or nine, its width apart, or means over doubling lags.

    A causal decoder sees past lags alone, of means over doubling lags.
    """

    def __init__(self, bin_s: float, causal: bool = False) -> None:
        super().__init__(lambda: _past() if causal else _around(bin_s))


def _around(bin_s: float) -> list[Lagged]:
    widths = [s / bin_s for s in WIDTHS_S]
    one = [Lagged(w, ((0, 1),)) for w in widths]
    many = [Lagged(w, _spread(max(round(w), 1))) for w in widths]
    return [*one, *many, *(Lagged(0.0, streams.widening(k)) for k in (5, 6))]


def _past() -> list[Lagged]:
    return [Lagged(0.0, (*streams.widening_past(k), (0, 1))) for k in (4, 5, 6)]


def _spread(apart: int) -> Groups:
    offsets = (np.arange(N_LAGS) - N_LAGS // 2) * apart
    return tuple((int(o), int(o) + 1) for o in offsets)
