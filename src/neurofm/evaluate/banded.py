"""Task-driven encoding: activity from bands of features, one penalty a band.

A band is an array of features of the stimuli, such as a layer of a pretrained network, pixels, or labels.
Ridge with one penalty a band (Nunez-Elizalde, Huth & Gallant 2019) is ridge on bands scaled by the
roots of weights, so that a band that says nothing can be left out: a grid or random draws of weights
(Dupré la Tour et al. 2022), each solved exactly, and each channel takes those that predict it best on
the validation side. No weight or penalty sees the test side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from neurofm.errors import InputError
from neurofm.evaluate import regression
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.streams import Matrix
from neurofm.seeding import generator

Bands = Mapping[str, ArrayLike]  # name -> (n, d) features of the same n stimuli
POWERS = tuple(np.arange(-4.0, 4.5, 0.5))  # log10 of the penalty, relative to the features


@dataclass(frozen=True)
class Banded:
    """A fitted encoder: `mean` (C,) + the sum over bands of (features - `middle`) / `spread` @ `weights`.

    `share` (bands, C): each band's weight, columns sum to 1; `power` (C,) log10 of the penalty. `at_edge` counts
    channels whose penalty is the largest or smallest tried.
    """

    names: tuple[str, ...]
    middle: dict[str, Matrix]
    spread: dict[str, float]
    weights: dict[str, Matrix]
    mean: Matrix
    share: Floats
    power: Floats

    @property
    def at_edge(self) -> int:
        """Channels for which a wider range of penalties might do better."""
        return int(((self.power == POWERS[0]) | (self.power == POWERS[-1])).sum())

    def predict(self, bands: Bands) -> Floats:
        """(n, C) from all bands."""
        return np.asarray(self.mean + sum(self.parts(bands).values()))

    def parts(self, bands: Bands) -> dict[str, Floats]:
        """What each band adds to the mean, (n, C) each: they sum to the prediction less the mean."""
        out = {}
        for name in self.names:
            x = (np.asarray(bands[name], np.float32) - self.middle[name]) / self.spread[name]
            out[name] = np.asarray(x @ self.weights[name], dtype=np.float64)
        return out


def fit(
    train: tuple[Bands, ArrayLike],
    valid: tuple[Bands, ArrayLike],
    *,
    n_draws: int = 20,
    seed: int = 0,
) -> Banded:
    """From (bands, activity (n, C)) of both sides.

    Weights tried: even ones, each band alone, and `n_draws` of a Dirichlet of concentration 0.1 or 1 in
    turn. Raises InputError if bands are missing, differ in rows, or hold values that are not finite.
    """
    names = tuple(sorted(train[0]))
    x, y = _checked(train, names, "train")
    x_valid, y_valid = _checked(valid, names, "valid")
    middle = {n: x[n].mean(axis=0) for n in names}
    # a band counts as a whole: its features have a variance of 1 all together
    spread = {n: float(np.sqrt(((x[n] - middle[n]) ** 2).sum(axis=1).mean())) or 1.0 for n in names}
    x, x_valid = ({n: (side[n] - middle[n]) / spread[n] for n in names} for side in (x, x_valid))
    chosen, share, power = _search(
        (x, y), (x_valid, y_valid), _candidates(len(names), n_draws, seed)
    )
    cuts = np.cumsum([x[n].shape[1] for n in names])[:-1]
    weights = dict(zip(names, np.split(chosen, cuts), strict=True))
    return Banded(names, middle, spread, weights, y.mean(axis=0), share, power)


Side = tuple[dict[str, Matrix], Matrix]  # standardised bands, in one order, and activity (n, C)


def _search(
    train: Side, valid: Side, candidates: Sequence[Floats]
) -> tuple[Matrix, Floats, Floats]:
    """(weights (F, C) of all bands, shares (bands, C), powers (C,)): what predicts each channel best."""
    (x, y), (x_valid, y_valid) = train, valid
    n_channels, sizes = y.shape[1], [v.shape[1] for v in x.values()]
    best = np.full(n_channels, np.inf)
    chosen = np.zeros((sum(sizes), n_channels), np.float32)
    share, power = np.zeros((len(x), n_channels)), np.zeros(n_channels)
    for gamma in candidates:
        roots = np.repeat(np.sqrt(gamma), sizes).astype(np.float32)
        fitted = regression.design([(_joined(x) * roots, y)])
        inside = fitted.project(_joined(x_valid) * roots)
        before, solved = best.copy(), np.zeros((inside.shape[1], n_channels), np.float32)
        for p in POWERS:
            tried = regression.ridge(fitted, 10.0**p)
            lost = ((y_valid - fitted.y_mean - inside @ tried) ** 2).mean(axis=0)
            better = lost < best
            solved[:, better], best[better], power[better] = tried[:, better], lost[better], p
        better = best < before
        whole = solved[:, better]
        whole = whole if fitted.span is None else fitted.span @ whole
        chosen[:, better], share[:, better] = whole * roots[:, None], gamma[:, None]
    return chosen, share, power


def _joined(bands: Mapping[str, Matrix]) -> Matrix:
    return np.concatenate(list(bands.values()), axis=1)


def _candidates(n_bands: int, n_draws: int, seed: int) -> list[Floats]:
    if n_bands == 1:
        return [np.ones(1)]
    rng = generator(seed, "band weights")
    drawn = [rng.dirichlet(np.full(n_bands, (0.1, 1.0)[i % 2])) for i in range(n_draws)]
    return [np.full(n_bands, 1 / n_bands), *np.eye(n_bands), *drawn]


def _checked(
    side: tuple[Bands, ArrayLike], names: Sequence[str], name: str
) -> tuple[dict[str, Matrix], Matrix]:
    bands, y = side[0], np.asarray(side[1], dtype=np.float32)
    if not names or set(bands) != set(names):
        raise InputError(f"The {name} side has the bands {sorted(bands)}; it needs {list(names)}.")
    x = {n: np.asarray(bands[n], dtype=np.float32) for n in names}
    for n, v in x.items():
        if v.ndim != 2 or y.ndim != 2 or len(v) != len(y):
            raise InputError(f"Band {n} of the {name} side is {v.shape} for activity {y.shape}.")
        if not np.isfinite(v).all() or not np.isfinite(y).all():
            raise InputError(f"Band {n} or the activity of the {name} side is not finite.")
    return x, y


def variance_shares(y: ArrayLike, parts: Mapping[str, Floats]) -> dict[str, Floats]:
    """(C,) R2 of each band inside the joint prediction `Banded.parts`: they sum to the joint R2.

    part · (2 y - prediction) / (y · y), with `y` (n, C) about its means (the product measure, Dupré
    la Tour et al. 2022). Negative where a band misleads. NaN where `y` is constant.
    """
    a = np.asarray(y, dtype=np.float64)
    a = a - a.mean(axis=0)
    total = (a**2).sum(axis=0)
    whole = np.sum(list(parts.values()), axis=0)
    total = np.where(total > 0, total, np.nan)
    return {n: np.asarray((p * (2 * a - whole)).sum(axis=0) / total) for n, p in parts.items()}
