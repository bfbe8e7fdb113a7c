"""The Wiener filter: ridge on counts that are not smoothed, at many lags."""

from neurofm.evaluate import streams
from neurofm.evaluate.readout import Lagged, LagRidge

N_LAGS = (5, 9, 15, 21)


class Wiener(LagRidge):
    """5 to 21 single bins around the one that is decoded, or up to it where causal."""

    def __init__(self, bin_s: float, causal: bool = False) -> None:
        del bin_s  # lags are bins
        shapes = (lambda k: (*streams.past(k - 1), (0, 1))) if causal else streams.symmetric
        super().__init__(lambda: [Lagged(0.0, shapes(k)) for k in N_LAGS])
