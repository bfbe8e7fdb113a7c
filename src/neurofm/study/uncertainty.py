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

    Runs: a wild bootstrap (Wu 1986), normal noise at the sizes that were run. Its variance at a run
    is half the run's own squared residual over (1 − leverage)² (MacKinnon and White 1985), which
    lets the spread differ between sizes, and half the pooled variance, since one residual says
    little: in linear regressions of 8 to 20 runs the first alone covered 93% and both 95% or more.
    Student's t over the normal quantile makes up for few runs. Anchors: drawn with replacement, the
    same for every run; with one anchor the draws speak of that session alone.
    """
    rng = generator(seed, "bootstrap of a scaling law")
    degrees = max(len(points) - len(fit.theta), 1)
    own = fit.residuals / (1 - np.minimum(fit.leverage, MOST_LEVERAGE))
    pooled = (fit.residuals**2).sum() / degrees
    spread = np.sqrt((own**2 + pooled) / 2) * _t_over_normal(degrees)
    fitted, mean, n_anchors = fit.law(points.x), points.mean, points.y.shape[1]
    for _ in range(n_boot):
        noise = spread * rng.standard_normal(len(points))
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

    return float(stdtrit(degrees, SIDE) / ndtri(SIDE))
