"""A curve behind a linear decoder, axis by axis: a muscle is silent at rest and rises steeply.

A linear filter with a static nonlinearity after it is a Wiener cascade (Pohlmeyer et al. 2007,
J Neurosci Methods 160:280). The curve here is of straight pieces that meet at `KNOTS`, so that it goes
on straight where nothing was seen; it is a ridge solution, drawn towards another curve.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Doubles = NDArray[np.float64]
KNOTS = (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0)  # in standard deviations of the target
N_TERMS = 2 + len(KNOTS)  # an offset, a slope, and a change of slope at every knot
DRAWN_S = 2.5  # of data that the curve towards which another is drawn counts as much as
CELLS = 1 << 14  # bins times axes at once


@dataclass(frozen=True)
class Curve:
    """`weights` (K, N_TERMS): from what a decoder says of each axis to the target, both standardised."""

    weights: Doubles

    @classmethod
    def straight(cls, n_axes: int) -> "Curve":
        """The curve that changes nothing."""
        weights = np.zeros((n_axes, N_TERMS))
        weights[:, 1] = 1.0
        return cls(weights)

    def __call__(self, said: Matrix) -> Matrix:
        """(n, K) -> (n, K)."""
        x = said.astype(np.float64)
        out = self.weights[:, 0] + self.weights[:, 1] * x
        for knot, change in zip(KNOTS, self.weights[:, 2:].T, strict=True):
            out += change * np.maximum(x - knot, 0.0)
        return out.astype(np.float32)


def fitted(pairs: Iterable[tuple[Matrix, Matrix]], towards: Curve, bin_s: float) -> Curve:
    """The curve from (said (n, K), wanted (n, K)) pieces, NaN where unknown, drawn `towards` another.

    What is drawn is the slopes, as if `DRAWN_S` of standardised data had shown them, and, for one
    bin, the offset. An axis that no piece knows keeps the curve it is drawn towards.
    """
    gram = np.zeros((len(towards.weights), N_TERMS, N_TERMS))
    cross = np.zeros((len(towards.weights), N_TERMS))
    for said, wanted in pairs:
        step = max(CELLS // max(said.shape[1], 1), 1)
        for first in range(0, len(said), step):
            part, y = said[first : first + step], wanted[first : first + step].astype(np.float64)
            terms = _terms(part) * np.isfinite(y)[..., None]
            gram += np.einsum("nkj,nki->kji", terms, terms)
            cross += np.einsum("nkj,nk->kj", terms, np.nan_to_num(y))
    strength = np.full(N_TERMS, DRAWN_S / bin_s)
    strength[0] = 1.0
    drawn = cross + strength * towards.weights
    solved = np.linalg.solve(gram + np.diag(strength), drawn[..., None])[..., 0]
    return Curve(np.asarray(solved, dtype=np.float64))


def _terms(said: Matrix) -> Doubles:
    """(n, K) -> (n, K, N_TERMS)."""
    x = said.astype(np.float64)
    bends = [np.maximum(x - knot, 0.0) for knot in KNOTS]
    return np.stack([np.ones_like(x), x, *bends], axis=-1)
