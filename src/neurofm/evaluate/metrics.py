"""Scores of predicted rates: bits per spike and Poisson D2, with intervals over blocks of time.

Everything follows from sums per (block, unit), so that resampling blocks is one matrix product.
The null is each unit's mean over the scored bins of the test part; it stays fixed when blocks are
resampled. Log-likelihoods are Poisson, without the log(count!) that cancels everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError
from neurofm.seeding import generator

LOWEST_RATE = 1e-9  # expected counts a bin; a prediction of zero is scored as this
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BlockScores:
    """What every score and interval is computed from.

    Arrays (n_blocks, n_units), nats: `ll_model`, `ll_null`, `ll_saturated`; `spikes` counts. Units
    are the channels that were scored (`unit`, their ids); `first` (n_blocks,) is each block's
    first bin. `asked` is a fingerprint of the questions: only equal ones may be compared. `kind` of
    the channels: of values and labels, the arrays hold what `kind_scores` says.
    """

    predictor: str
    task: str
    recording: str
    unit: NDArray[np.str_]
    first: NDArray[np.int64]
    ll_model: Floats
    ll_null: Floats
    ll_saturated: Floats
    spikes: Floats
    asked: str = ""
    kind: str = "count"

    @property
    def n_blocks(self) -> int:
        """Blocks, what an interval resamples."""
        return len(self.spikes)

    def only(self, blocks: NDArray[np.bool_]) -> "BlockScores":
        """Those of some blocks."""
        sums = ("first", "ll_model", "ll_null", "ll_saturated", "spikes")
        return replace(self, **{name: getattr(self, name)[blocks] for name in sums})


Metric = Callable[[BlockScores, Floats], Floats]


def log_likelihood(counts: ArrayLike, rates: ArrayLike) -> Floats:
    """Poisson log-likelihood of counts under expected counts, nats, without log(count!)."""
    y = np.asarray(counts, dtype=np.float64)
    r = np.maximum(np.asarray(rates, dtype=np.float64), LOWEST_RATE)
    return np.asarray(y * np.log(r) - r)


def saturated(counts: ArrayLike) -> Floats:
    """The highest possible log-likelihood: each rate equals its count; 0 log 0 is 0."""
    y = np.asarray(counts, dtype=np.float64)
    return np.asarray(y * np.log(np.where(y > 0, y, 1.0)) - y)


def block_scores(
    counts: ArrayLike, rates: ArrayLike, block: ArrayLike, **names: Any
) -> BlockScores:
    """Scores of plain arrays: `counts`, `rates` (T, C), `block` (T,) integer labels.

    Raises InputError if the shapes differ or a rate is not finite.
    """
    y, r = np.asarray(counts, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    if y.shape != r.shape or y.ndim != 2 or len(y) != len(np.asarray(block)):
        raise InputError(f"counts {y.shape} and rates {r.shape} must be the same (T, C).")
    if not np.isfinite(r).all():
        raise InputError("rates hold values that are not finite; a predictor must answer numbers.")
    labels, at = np.unique(np.asarray(block), return_inverse=True)
    sums = [_per_block(v, at, len(labels)) for v in
            (y, np.ones_like(y), log_likelihood(y, r), saturated(y))]  # fmt: skip
    unit = names.pop("unit", np.array([str(i) for i in range(y.shape[1])]))
    about = {"predictor": "", "task": "", "recording": "", **names}
    return of_sums(*sums, unit=unit, first=labels.astype(np.int64), **about)


def of_sums(
    spikes: Floats, n_bins: Floats, ll_model: Floats, ll_saturated: Floats, **about: Any
) -> BlockScores:
    """Scores from sums per (block, unit), with the null taken from their totals."""
    mean = spikes.sum(axis=0) / np.maximum(n_bins.sum(axis=0), 1)
    ll_null = spikes * np.log(np.where(mean > 0, mean, 1.0)) - n_bins * mean
    return BlockScores(spikes=spikes, ll_model=ll_model, ll_null=ll_null,
                       ll_saturated=ll_saturated, **about)  # fmt: skip


def _per_block(values: Floats, at: NDArray[np.intp], n: int) -> Floats:
    out = np.zeros((n, values.shape[1]))
    np.add.at(out, at, values)
    return out


def bps_pooled(scores: BlockScores, weights: Floats) -> Floats:
    """Bits per spike of all units together (Pei et al. 2021, Neural Latents Benchmark, eq. 1).

    (ll_model − ll_null) / (spikes ln 2), sums over units that fired; one value a row of `weights`
    (n, n_blocks), how often each block counts. NaN where nothing fired.
    """
    fired = scores.spikes.sum(axis=0) > 0
    gain = (scores.ll_model - scores.ll_null)[:, fired].sum(axis=1)
    return _ratio(weights @ gain, weights @ scores.spikes.sum(axis=1) * np.log(2))


def bps_per_unit(scores: BlockScores, weights: Floats) -> Floats:
    """The mean over units of each unit's own bits per spike, over units that fired.

    A unit with few spikes weighs as much as a busy one. Units without a finite value are left out
    (`units_left_out` counts them). One value a row of `weights` (n, n_blocks).
    """
    gain = weights @ (scores.ll_model - scores.ll_null)
    return _mean_over_units(_ratio(gain, weights @ scores.spikes * np.log(2)))


def d2(scores: BlockScores, weights: Floats) -> Floats:
    """The mean over units of Poisson D2, the fraction of deviance explained (Cameron, Windmeijer 1996).

    1 − (ll_saturated − ll_model) / (ll_saturated − ll_null), over units that fired.
    """
    lost = weights @ (scores.ll_saturated - scores.ll_model)
    total = weights @ (scores.ll_saturated - scores.ll_null)
    fired = (weights @ scores.spikes > 0) & (np.abs(total) >= LOWEST_RATE)
    return _mean_over_units(1.0 - _ratio(lost, np.where(fired, total, 0.0)))


METRICS: dict[str, Metric] = {"bps_pooled": bps_pooled, "bps_per_unit": bps_per_unit, "d2": d2}


def r2_per_channel(scores: BlockScores, weights: Floats) -> Floats:
    """The mean over channels of R2, the fraction of the variance on the test part explained.

    D2 of a Gaussian of one variance; `spikes` count samples then.
    """
    return d2(scores, weights)


def bits_per_sample(scores: BlockScores, weights: Floats) -> Floats:
    """The mean over channels of the Gaussian log-likelihood over the null, bits a sample.

    Of a Gaussian whose variance is the mean squared error, the best that is known of it here:
    log2(null's error / error) / 2.
    """
    lost = weights @ (scores.ll_saturated - scores.ll_model)
    null = weights @ (scores.ll_saturated - scores.ll_null)
    return _mean_over_units(np.log2(_ratio(null, np.maximum(lost, LOWEST_RATE))) / 2)


def balanced_hits(scores: BlockScores, weights: Floats) -> Floats:
    """Balanced accuracy: the mean over labels of the share of their pieces that were told."""
    return _mean_over_units(_ratio(weights @ scores.ll_model, weights @ scores.spikes))


METRICS_OF: dict[str, dict[str, Metric]] = {
    "count": METRICS,
    "real": {"r2_per_channel": r2_per_channel, "bits_per_sample": bits_per_sample},
    "embedding": {"r2_per_channel": r2_per_channel, "bits_per_sample": bits_per_sample},
    "category": {"balanced_accuracy": balanced_hits},
}
"""By kind of channel; the first of each is what methods are compared by."""


def value(scores: BlockScores, metric: Metric) -> float:
    """The metric on every block once."""
    return float(metric(scores, np.ones((1, scores.n_blocks)))[0])


def per_unit(scores: BlockScores) -> Floats:
    """(n_units,) bits per spike of each unit; NaN for units that did not fire."""
    gain = (scores.ll_model - scores.ll_null).sum(axis=0)
    return _ratio(gain, scores.spikes.sum(axis=0) * np.log(2))


def units_left_out(scores: BlockScores) -> int:
    """Units that `bps_per_unit` and `d2` leave out: silent in the test part, or not finite."""
    return int((~np.isfinite(per_unit(scores))).sum())


def resamples(n_blocks: int, n_boot: int, seed: int, *keys: str) -> Floats:
    """(n_boot, n_blocks) how often each block is drawn; equal keys give equal draws, so pairs."""
    rng = generator(seed, "bootstrap", *keys)
    return rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), n_boot).astype(np.float64)


def draws(scores: BlockScores, metric: Metric, n_boot: int = 2000, seed: int = 0) -> Floats:
    """(n_boot,) values on resampled blocks; predictors of one recording and task share the draws."""
    weights = resamples(scores.n_blocks, n_boot, seed, scores.task, scores.recording)
    return metric(scores, weights)


def bounds(values: Floats) -> tuple[float, float]:
    """The 95% percentile interval; NaN where fewer than two values are finite."""
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: Floats, rng: np.random.Generator) -> tuple[float, float, float]:
    """(mean, low, high) of a value each of people or recordings, drawn again 2,000 times.

    The limits are NaN where there is one value.
    """
    n = len(values)
    drawn = values[rng.integers(0, n, (2000, n))].mean(axis=1) if n > 1 else np.empty(0)
    return (float(values.mean()), *bounds(drawn))


def interval(
    scores: BlockScores, metric: Metric, n_boot: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high): the metric and its 95% bootstrap interval over blocks of time."""
    few = scores.n_blocks < 2
    low, high = bounds(np.empty(0) if few else draws(scores, metric, n_boot, seed))
    return value(scores, metric), low, high


def gain(
    a: BlockScores, b: BlockScores, metric: Metric, n_boot: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high) of metric(a) − metric(b), both on the same resampled blocks.

    Raises InputError if the two were not asked the same questions.
    """
    comparable(a, b)
    difference = draws(a, metric, n_boot, seed) - draws(b, metric, n_boot, seed)
    low, high = bounds(difference if a.n_blocks > 1 else np.empty(0))
    return value(a, metric) - value(b, metric), low, high


def comparable(a: BlockScores, b: BlockScores) -> None:
    """Raises InputError if two scores do not answer the same questions."""
    same = (a.task, a.recording, a.asked) == (b.task, b.recording, b.asked)
    if not (same and np.array_equal(a.unit, b.unit) and np.array_equal(a.first, b.first)):
        raise InputError(
            f"{a.predictor} and {b.predictor} were scored on different questions of "
            f"{a.recording} ({a.task}); evaluate both again with one seed, bin and splits."
        )


def r2(targets: Floats, predictions: Floats, weights: Floats | None = None) -> Floats:
    """Coefficient of determination per axis, against the mean of the (weighted) targets.

    `targets`, `predictions` (n, k); `weights` (n,). NaN where the targets are constant.
    """
    w = np.ones(len(targets)) if weights is None else weights
    mean = (w[:, None] * targets).sum(axis=0) / max(w.sum(), 1)
    lost = (w[:, None] * (targets - predictions) ** 2).sum(axis=0)
    return 1.0 - _ratio(lost, (w[:, None] * (targets - mean) ** 2).sum(axis=0))


def balanced_accuracy(
    labels: ArrayLike, predicted: ArrayLike, weights: Floats | None = None
) -> float:
    """The mean over classes that occur in `labels` of the fraction recalled."""
    y, p = np.asarray(labels), np.asarray(predicted)
    w = np.ones(len(y)) if weights is None else weights
    classes = np.unique(y[w > 0])
    recalls = [w[(y == c) & (p == c)].sum() / w[y == c].sum() for c in classes]
    return float(np.mean(recalls)) if recalls else float("nan")


def _ratio(top: Floats, bottom: Floats) -> Floats:
    out = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


def _mean_over_units(values: Floats) -> Floats:
    finite = np.isfinite(values)
    total = np.where(finite, values, 0.0).sum(axis=1)
    return _ratio(total, finite.sum(axis=1).astype(np.float64))
