"""How good an encoder could be: noise ceilings from repeats, and scores measured against them.

A stimulus shown several times tells what part of a response it explains; the rest is noise, which
no encoder of the stimulus predicts. Repeats may be unequal in number. Everything follows from sums
per stimulus, so that an interval resamples stimuli, each with all its repeats. Repeats are not
drawn anew: a trial drawn twice has the same noise twice, and noise would be taken for signal.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError
from neurofm.evaluate.decode_scores import Score
from neurofm.evaluate.metrics import Floats, bounds, resamples
from neurofm.seeding import generator

POOLED = "feve_pooled"
LEAST = 0.15  # explainable share of a channel below which it is left out of means


@dataclass(frozen=True)
class Repeats:
    """Responses summed up by stimulus: all that ceilings and scores need.

    `stimulus` (S,) sorted names; `n` (S,) repeats of each; `mean` (S, C); `within` (S, C) the sum
    of squares of repeats about that mean.
    """

    stimulus: NDArray[Any]
    n: Floats
    mean: Floats
    within: Floats

    @classmethod
    def of(cls, responses: ArrayLike, stimulus: ArrayLike) -> "Repeats":
        """From single trials: `responses` (n, C), `stimulus` (n,) what was shown.

        Raises InputError if a response is not finite, there are fewer than two stimuli, or
        none was repeated.
        """
        y, label = np.asarray(responses, dtype=np.float64), np.asarray(stimulus)
        if y.ndim != 2 or label.shape != (len(y),) or not np.isfinite(y).all():
            raise InputError(
                f"responses {y.shape} must be finite (n, C), stimulus {label.shape} (n,)."
            )
        names, at = np.unique(label, return_inverse=True)
        n = np.bincount(at, minlength=len(names)).astype(np.float64)
        if len(names) < 2 or n.max() < 2:
            raise InputError("A ceiling needs two stimuli or more, and one of them shown twice.")
        mean = _sums(y, at, len(names)) / n[:, None]
        return cls(names, n, mean, _sums((y - mean[at]) ** 2, at, len(names)))

    @property
    def once(self) -> Floats:
        """(1, S) weights that count every stimulus once."""
        return np.ones((1, len(self.n)))


def _sums(values: Floats, at: NDArray[np.intp], n: int) -> Floats:
    out = np.zeros((n, values.shape[1]))
    np.add.at(out, at, values)
    return out


def _ratio(top: Floats, bottom: Floats) -> Floats:
    out = np.full(np.broadcast_shapes(top.shape, bottom.shape), np.nan)
    np.divide(top, bottom, out=out, where=bottom > 0)
    return out


# ---------------------------------------------------------------- ceilings; `weights` (B, S) -> (B, C)


def noise_variance(repeats: Repeats, weights: Floats) -> Floats:
    """Variance of repeats of one stimulus, pooled over stimuli (ddof 1 in each)."""
    return _ratio(weights @ repeats.within, weights @ (repeats.n - 1)[:, None])


def signal_variance(repeats: Repeats, weights: Floats) -> Floats:
    """Variance of true means over stimuli: the ANOVA estimator, unbiased, so it may be negative.

    (mean square between - within) / n0, n0 the usual mean number of repeats. With equal numbers
    it is the signal power of Sahani & Linden 2003 without an effect of the order of trials.
    """
    n_stimuli = weights.sum(axis=1, keepdims=True)
    total = weights @ repeats.n[:, None]
    grand = weights @ (repeats.n[:, None] * repeats.mean) / total
    squares = weights @ (repeats.n[:, None] * repeats.mean**2)
    between = _ratio(squares - total * grand**2, n_stimuli - 1)
    n0 = _ratio(total - weights @ (repeats.n**2)[:, None] / total, n_stimuli - 1)
    return _ratio(between - noise_variance(repeats, weights), n0)


def explainable(repeats: Repeats, weights: Floats) -> Floats:
    """Share of single-trial variance that the stimulus explains: signal / (signal + noise)."""
    signal = signal_variance(repeats, weights)
    return _ratio(signal, signal + noise_variance(repeats, weights))


def ceiling(repeats: Repeats, weights: Floats) -> Floats:
    """Highest correlation with the average over repeats: sqrt(signal / variance of the average).

    CCmax of Schoppe et al. 2016 (after Hsu, Borst & Theunissen 2004). NaN without signal.
    """
    signal = signal_variance(repeats, weights)
    n = weights.sum(axis=1, keepdims=True)
    spread = _ratio(n * _covariance(repeats.mean, repeats.mean, weights), n - 1)
    share = _ratio(signal, spread)
    return np.sqrt(np.where(share > 0, share, np.nan))


def split_half(
    responses: ArrayLike, stimulus: ArrayLike, *, n_splits: int = 100, seed: int = 0
) -> Floats:
    """(C,) reliability of the average over repeats, from random halves of each stimulus's repeats.

    Correlation of the halves' means over stimuli, mean over splits, raised to the full number of
    repeats by Spearman & Brown (1910), 2r / (1 + r). Its root is a ceiling of correlation.
    Stimuli shown once are left out; of an odd number one random repeat is. Raises InputError
    as `Repeats.of`.
    """
    Repeats.of(responses, stimulus)
    y, label = np.asarray(responses, dtype=np.float64), np.asarray(stimulus)
    rows = [np.flatnonzero(label == name) for name in np.unique(label)]
    rows = [r for r in rows if len(r) > 1]
    rng = generator(seed, "split half")
    values = []
    for _ in range(n_splits):
        shuffled = [rng.permutation(r) for r in rows]
        first = np.array([y[r[: len(r) // 2]].mean(axis=0) for r in shuffled])
        second = np.array([y[r[len(r) // 2 : len(r) // 2 * 2]].mean(axis=0) for r in shuffled])
        values.append(_correlation(first, second, np.ones((1, len(rows))))[0])
    half = np.mean(values, axis=0)
    return np.asarray(2 * half / (1 + half))


def leave_one_out(responses: ArrayLike, stimulus: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
    """The oracle: each trial predicted by the mean of the other repeats, and which trials have any.

    ((n, C), (n,)); rows of stimuli shown once are NaN.
    """
    y, label = np.asarray(responses, dtype=np.float64), np.asarray(stimulus)
    names, at = np.unique(label, return_inverse=True)
    n = np.bincount(at)[at][:, None]
    others = _sums(y, at, len(names))[at] - y
    return _ratio(others, np.broadcast_to(n - 1.0, others.shape)), n[:, 0] > 1


# ---------------------------------------- scores of a prediction (S, C), in the order of `stimulus`


@dataclass(frozen=True)
class Told:
    """A prediction that differs from trial to trial of one stimulus, summed up by stimulus, (S, C) each.

    `mean`; `cross` the mean of response times prediction, `square` that of the prediction squared. A trial's
    prediction is the mean of those of the *other* trials of its stimulus: what is told of a trial from behaviour
    of its own may hold that trial's noise, which no ceiling of the stimulus allows for.
    """

    mean: Floats
    cross: Floats
    square: Floats

    @classmethod
    def of_trials(cls, responses: ArrayLike, predicted: ArrayLike, stimulus: ArrayLike) -> "Told":
        """From single trials, `responses` and `predicted` (n, C). Raises InputError if a stimulus was shown once."""
        y, p = (np.asarray(a, dtype=np.float64) for a in (responses, predicted))
        names, at = np.unique(np.asarray(stimulus), return_inverse=True)
        others, known = leave_one_out(p, at)
        if not known.all() or y.shape != p.shape:
            raise InputError(f"Each stimulus must be shown twice, and {p.shape} be as {y.shape}.")
        n = np.bincount(at)[:, None]
        mean, cross, square = (_sums(v, at, len(names)) / n for v in (p, y * others, others**2))
        return cls(mean, cross, square)

    @classmethod
    def of(cls, repeats: Repeats, predicted: "Floats | Told") -> "Told":
        """One prediction for all trials of a stimulus is what it is for each."""
        if isinstance(predicted, Told):
            return predicted
        return cls(predicted, repeats.mean * predicted, predicted**2)


def feve(repeats: Repeats, predicted: Floats | Told, weights: Floats) -> Floats:
    """Fraction of explainable variance explained (Cadena et al. 2019).

    1 - (mean squared error on single trials - noise) / (variance of single trials - noise).
    The mean response scores 0, the true mean of each stimulus 1 in expectation. NaN where noise is all.
    """
    return 1 - _ratio(*_explainable_variance(repeats, predicted, weights))


def feve_pooled(repeats: Repeats, predicted: Floats | Told, weights: Floats) -> Floats:
    """(B,) `feve` of all channels together: sums over channels before the ratio, none left out.

    A channel counts by its explainable variance, so one without any does little, and no choice of channels by
    the noise of the very repeats that are scored makes it too high or too low.
    """
    left, whole = _explainable_variance(repeats, predicted, weights)
    return 1 - _ratio(left.sum(axis=1), whole.sum(axis=1))


def _explainable_variance(
    repeats: Repeats, predicted: Floats | Told, weights: Floats
) -> tuple[Floats, Floats]:
    """(B, C) each, without noise: of the squared error on single trials, and of their variance."""
    n = repeats.n[:, None]
    total, noise = weights @ n, noise_variance(repeats, weights)
    inside = weights @ repeats.within
    grand = weights @ (n * repeats.mean) / total
    variance = (inside + weights @ (n * repeats.mean**2)) / total - grand**2
    p = Told.of(repeats, predicted)
    apart = (p.square - p.mean**2) - 2 * (p.cross - repeats.mean * p.mean)  # 0 of one a stimulus
    lost = (inside + weights @ (n * ((repeats.mean - p.mean) ** 2 + apart))) / total
    return lost - noise, variance - noise


def correlation_to_average(repeats: Repeats, predicted: Floats | Told, weights: Floats) -> Floats:
    """Pearson correlation over stimuli with the average over repeats; 0 where the prediction is flat."""
    p = Told.of(repeats, predicted)
    return _correlation(repeats.mean, p.mean, weights, p.cross - repeats.mean * p.mean)


def normalised_correlation(repeats: Repeats, predicted: Floats | Told, weights: Floats) -> Floats:
    """Correlation to the average over its ceiling (CCnorm, Schoppe et al. 2016).

    Not clipped: the ceiling is an estimate, and chance may carry a good encoder above 1.
    """
    return _ratio(correlation_to_average(repeats, predicted, weights), ceiling(repeats, weights))


SCORES: dict[str, Callable[[Repeats, Floats | Told, Floats], Floats]] = {
    "correlation_to_average": correlation_to_average,
    "normalised_correlation": normalised_correlation,
    "feve": feve,
}


def encoding_scores(
    repeats: Repeats,
    predicted: ArrayLike | Told,
    *,
    least: float = LEAST,
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """Means over channels of each score in `SCORES`, `feve_pooled`, and beside them `explainable` and `ceiling`.

    `predicted` (S, C), or `Told` of trials. Channels whose explainable share is below `least` are left out of every mean but
    that of `explainable`, not of what is pooled; `channels_left_out` counts them. Intervals resample stimuli, the channels stay.
    Predictions of the same repeats share the draws. Raises InputError if shapes differ, a prediction
    is not finite, or no channel is left.
    """
    means, kept = _means(repeats, predicted, least, n_boot, seed)
    n = len(repeats.n)
    out = [Score(name, float(v[0]), *bounds(v[1:]), n, "stimuli") for name, v in means.items()]
    left = float((~kept).sum())
    return [*out, Score("channels_left_out", left, left, left, len(kept), "channels")]


def encoding_gains(
    repeats: Repeats,
    predicted: ArrayLike | Told,
    rival: ArrayLike | Told,
    *,
    least: float = LEAST,
    n_boot: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """`NAME_gain` for each of `SCORES` and `feve_pooled`: of one prediction less another, on the same draws of stimuli."""
    ours, _ = _means(repeats, predicted, least, n_boot, seed)
    other, _ = _means(repeats, rival, least, n_boot, seed)
    gains = {name: ours[name] - other[name] for name in (*SCORES, POOLED)}
    n = len(repeats.n)
    return [Score(f"{name}_gain", float(v[0]), *bounds(v[1:]), n, "stimuli")
            for name, v in gains.items()]  # fmt: skip


def _means(
    repeats: Repeats, predicted: ArrayLike | Told, least: float, n_boot: int, seed: int
) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """{score: (1 + n_boot,)}, all stimuli once and then each draw; and which channels are kept."""
    p = predicted if isinstance(predicted, Told) else np.asarray(predicted, dtype=np.float64)
    mean = p.mean if isinstance(p, Told) else p
    if mean.shape != repeats.mean.shape or not np.isfinite(mean).all():
        raise InputError(
            f"predicted {mean.shape} must be finite (stimuli, channels), here {repeats.mean.shape}."
        )
    share = explainable(repeats, repeats.once)[0]
    kept = share >= least
    if not kept.any():
        raise InputError(
            f"No channel has an explainable share of {least:g} or more; lower `least`."
        )
    drawn = resamples(len(repeats.n), n_boot, seed, "stimuli")
    drawn = drawn[(drawn > 0).sum(axis=1) > 1]
    both = np.concatenate([repeats.once, drawn])
    table = {name: score(repeats, p, both)[:, kept] for name, score in SCORES.items()}
    table["ceiling"] = ceiling(repeats, both)[:, kept]
    table["explainable"] = explainable(repeats, both)
    means = {name: _mean(values) for name, values in table.items()}
    return means | {POOLED: feve_pooled(repeats, p, both)}, kept


def _mean(values: Floats) -> Floats:
    """(B, C) -> (B,), over the channels that have a value; NaN where none has."""
    there = np.isfinite(values)
    total, n = np.where(there, values, 0.0).sum(axis=1), there.sum(axis=1)
    return _ratio(total, n.astype(np.float64))


def _covariance(a: Floats, b: Floats, weights: Floats) -> Floats:
    n = weights.sum(axis=1, keepdims=True)
    return np.asarray(weights @ (a * b) / n - (weights @ a / n) * (weights @ b / n))


def _correlation(a: Floats, b: Floats, weights: Floats, more: Floats | None = None) -> Floats:
    """(B, C) Pearson correlations over rows, each row as often as `weights` (B, S) says.

    `more` (S, C) is added to the products of a row.
    """
    a, b = _centred(a), _centred(b)
    power = _covariance(a, a, weights) * _covariance(b, b, weights)
    both = _covariance(a, b, weights)
    if more is not None:
        both = both + weights @ more / weights.sum(axis=1, keepdims=True)
    return np.nan_to_num(_ratio(both, np.sqrt(np.maximum(power, 0))))


def _centred(values: Floats) -> Floats:
    """Rounding alone counts as flat."""
    out = values - values.mean(axis=0)
    flat = np.abs(out).max(axis=0) <= 1e-12 * np.abs(values).max(axis=0)
    return np.asarray(np.where(flat, 0.0, out))
