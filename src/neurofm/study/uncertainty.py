"""The bootstrap of a law over runs and over anchor sessions."""

from collections.abc import Iterator

import numpy as np

from neurofm.seeding import generator
from neurofm.study.laws import FORMS, Fit, Floats, Law
from neurofm.study.points import Points

REFIT_FROM = (0.1, 1.0)  # exponents that a refit starts from, beside those of the first fit
MOST_LEVERAGE = 0.9
SIDE = 0.975  # of a 95% interval


def drawn_laws(
    points: Points, form: str, fit: Fit, *, n_boot: int, seed: int, delta: float | None = None
) -> list[Law]:
    """`n_boot` laws of one form, each fitted to values that could have been measured instead."""
    return [
        FORMS[form](points.x, values, rises=points.rises, delta=delta, exponents=REFIT_FROM,
                    near=fit.theta).law
        for values in drawn_values(points, fit, n_boot, seed)
    ]  # fmt: skip


def drawn_values(points: Points, fit: Fit, n_boot: int, seed: int) -> Iterator[Floats]:
    """`n_boot` sets of values (R,) that could have been measured if the fit were the truth.

    Runs: a wild bootstrap (Wu 1986), which turns the signs of the residuals at random. It keeps
    the sizes that were run and lets the spread differ between them. Residuals are enlarged by
    1 / (1 − leverage) (MacKinnon and White 1985) and by Student's t over the normal quantile, since
    a few runs with as many parameters hide most of their spread. Anchors: drawn with replacement,
    the same for every run; with one anchor the draws speak of that session alone.
    """
    rng = generator(seed, "bootstrap of a scaling law")
    spread = fit.residuals / (1 - np.minimum(fit.leverage, MOST_LEVERAGE))
    spread = spread * _t_over_normal(len(points) - len(fit.theta))
    fitted, mean, n_anchors = fit.law(points.x), points.mean, points.y.shape[1]
    for _ in range(n_boot):
        noise = spread * rng.choice([-1.0, 1.0], len(points))
        again = _mean_of(points.y[:, rng.integers(0, n_anchors, n_anchors)], mean)
        yield (
            fitted * np.exp(noise) * again / mean if fit.on_logs else fitted + noise + again - mean
        )


def _mean_of(y: Floats, otherwise: Floats) -> Floats:
    """(R,) means over columns, passing over NaN; `otherwise` where a row holds nothing else."""
    known = np.isfinite(y)
    total = np.where(known, y, 0.0).sum(axis=1)
    n = known.sum(axis=1)
    return np.where(n > 0, total / np.maximum(n, 1), otherwise)


def _t_over_normal(degrees: int) -> float:
    from scipy.special import ndtri, stdtrit

    return float(stdtrit(max(degrees, 1), SIDE) / ndtri(SIDE))
