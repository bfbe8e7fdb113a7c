"""Probes of frozen features: ridge for continuous signals, logistic for labels of trials.

Plain arrays in, one score with its interval and its chance level out. Features are standardised on
the training side, the penalty is chosen on the validation side, and neither sees the test side.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate.metrics import Floats, balanced_accuracy, bounds, r2
from neurofm.seeding import generator

SIDES = ("train", "valid", "test")
POWERS = tuple(np.arange(-4.0, 4.5, 0.5))  # log10 of the ridge penalty, relative to the features
CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
Arrays = Mapping[str, ArrayLike]


@dataclass(frozen=True)
class ProbeScore:
    """A score in [`low`, `high`] (95% bootstrap over `n` `unit_of_n`) next to its chance level.

    `chance`, `chance_high`: mean and 95th percentile of the same probe fitted on destroyed targets.
    `per_axis`: R2 of each axis (signals) or recall of each class (labels). `chosen`: the penalty.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    unit_of_n: str
    chance: float
    chance_high: float
    chosen: float
    per_axis: tuple[float, ...]


def probe_signal(
    features: Arrays,
    targets: Arrays,
    *,
    block: ArrayLike | None = None,
    seed: int = 0,
    n_boot: int = 2000,
    n_shifts: int = 20,
) -> ProbeScore:
    """R2 of a ridge probe, all axes together (each against its own test mean).

    `features`, `targets`: {"train", "valid", "test"}: (n, D) and (n, k) in order of time; rows with
    a NaN target are left out. `block`: (n_test,) labels that are resampled together (default: 20
    even blocks). Chance: training targets shifted in a circle by a tenth to nine tenths of their
    length. Raises InputError if a side is missing, empty or of another length than its targets.
    """
    x, y, kept = _sides(features, targets)
    solve = _ridge_path(x["train"], y["train"])
    quality = [_r2_of_all(y["valid"], _predict(solve(p), x["valid"])) for p in POWERS]
    power = POWERS[int(np.nanargmax(quality))]
    predicted = _predict(solve(power), x["test"])
    labels = np.arange(len(kept)) * 20 // len(kept) if block is None else np.asarray(block)
    value, low, high, n = _r2_interval(y["test"], predicted, labels[kept], seed, n_boot)
    rng = generator(seed, "circular shift")
    n_train = len(y["train"])
    shifts = rng.integers(max(n_train // 10, 1), max(9 * n_train // 10, 2), n_shifts)
    null = [_r2_of_all(y["test"], _predict(solve(power, int(s)), x["test"])) for s in shifts]
    axes = tuple(float(v) for v in r2(y["test"], predicted))
    return ProbeScore("r2", value, low, high, n, "blocks", float(np.mean(null)),
                      float(np.percentile(null, 95)), float(power), axes)  # fmt: skip


def probe_label(
    features: Arrays,
    labels: Arrays,
    *,
    seed: int = 0,
    n_boot: int = 2000,
    n_permutations: int = 20,
) -> ProbeScore:
    """Balanced accuracy of a logistic probe, one row a trial.

    `features`, `labels`: {"train", "valid", "test"}: (n, D) and (n,). The interval resamples test
    trials. Chance: the probe fitted on permuted training labels. Raises InputError if scikit-learn
    is missing, if a side is missing or empty, or if training trials have one label only.
    """
    x, y = _labelled(features, labels)
    models = [logistic(x["train"], y["train"], c) for c in CS]
    quality = [balanced_accuracy(y["valid"], m.predict(x["valid"])) for m in models]
    best = int(np.argmax(quality))
    truth, predicted = y["test"], models[best].predict(x["test"])
    rng = generator(seed, "label permutation")
    null = []
    for _ in range(n_permutations):
        shuffled = logistic(x["train"], rng.permutation(y["train"]), CS[best])
        null.append(balanced_accuracy(truth, shuffled.predict(x["test"])))
    draws = generator(seed, "bootstrap trials").multinomial(
        len(truth), np.full(len(truth), 1 / len(truth)), n_boot
    )
    low, high = bounds(_balanced(truth, predicted, draws.astype(np.float64)))
    recall = tuple(float((predicted[truth == c] == c).mean()) for c in np.unique(truth))
    return ProbeScore("balanced_accuracy", float(np.mean(recall)), low, high, len(truth), "trials",
                      float(np.mean(null)), float(np.percentile(null, 95)), CS[best],
                      recall)  # fmt: skip


def smoothed_counts(
    recording: Recording, intervals: Intervals, bin_s: float, sigma_s: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Counts smoothed with a Gaussian inside each piece, (n, C), and their bins (n,).

    The features that latents are compared with. `sigma_s` 0 leaves counts as they are.
    """
    from neurofm.evaluate.regression import solvers

    solvers()  # a clear sentence where scipy is missing
    from scipy.ndimage import gaussian_filter1d

    values, bins = [], []
    for first, stop in binning.pieces(intervals.intersect(recording.valid), bin_s):
        counts = binning.activity(recording, first, stop, bin_s).astype(np.float32)
        sigma = sigma_s / bin_s
        values.append(gaussian_filter1d(counts, sigma, axis=0, mode="nearest") if sigma else counts)
        bins.append(np.arange(first, stop))
    if not values:
        raise InputError(f"{recording.id}: there is no bin of {bin_s:g} s to make features of.")
    return np.concatenate(values), np.concatenate(bins)


def signal_at(
    recording: Recording, name: str, bins: NDArray[np.int64], bin_s: float
) -> NDArray[np.float32]:
    """A signal at the given bins, (n, k); NaN where it was not recorded.

    Raises InputError if the recording has no such signal.
    """
    if name not in recording.signals:
        held = ", ".join(sorted(recording.signals)) or "none"
        raise InputError(f"{recording.id}: there is no signal {name!r}; it has {held}.")
    first = int(bins.min())
    return binning.signal(recording.signals[name], first, int(bins.max()) + 1, bin_s)[bins - first]


def trial_means(
    features: ArrayLike, bins: ArrayLike, start_s: ArrayLike, stop_s: ArrayLike, bin_s: float
) -> Floats:
    """(n_trials, D) mean features of the bins that start in each [start, stop); NaN if there is none."""
    values, at = np.asarray(features, dtype=np.float64), np.asarray(bins)
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    low = np.searchsorted(at, np.ceil(np.asarray(start_s) / bin_s - binning.EDGE))
    high = np.searchsorted(at, np.ceil(np.asarray(stop_s) / bin_s - binning.EDGE))
    n = (high - low).astype(np.float64)[:, None]
    return np.asarray((total[high] - total[low]) / np.where(n > 0, n, np.nan))


def _sides(
    features: Arrays, targets: Arrays
) -> tuple[dict[str, Floats], dict[str, Floats], NDArray[np.bool_]]:
    """Standardised features and finite targets of every side; which test rows were kept."""
    x, y, known = {}, {}, {}
    for side in SIDES:
        rows, wanted = _pair_of(features, targets, side)
        wanted = wanted[:, None] if wanted.ndim == 1 else wanted
        known[side] = np.isfinite(wanted).all(axis=1)
        if not known[side].any():
            raise InputError(f"The {side} side of a probe has no target that is not NaN.")
        x[side], y[side] = rows[known[side]], wanted[known[side]]
    return _standardised(x), y, np.asarray(known["test"])


def _labelled(
    features: Arrays, labels: Arrays
) -> tuple[dict[str, Floats], dict[str, NDArray[Any]]]:
    x, y = {}, {}
    for side in SIDES:
        x[side] = np.asarray(features[side], dtype=np.float64)
        y[side] = np.asarray(labels[side])
        if len(x[side]) != len(y[side]) or not len(y[side]):
            raise InputError(
                f"The {side} side of a probe has {len(x[side])} rows of features for "
                f"{len(y[side])} labels; it needs one a trial, and at least one trial."
            )
    if len(np.unique(y["train"])) < 2:
        raise InputError("The training trials of a probe all have one label; there is no question.")
    return _standardised(x), y


def _pair_of(features: Arrays, targets: Arrays, side: str) -> tuple[Floats, Floats]:
    if side not in features or side not in targets:
        raise InputError(f"A probe needs the sides {', '.join(SIDES)}; {side} is missing.")
    x = np.asarray(features[side], dtype=np.float64)
    y = np.asarray(targets[side], dtype=np.float64)
    if len(x) != len(y):
        raise InputError(f"The {side} side has {len(x)} rows of features, {len(y)} of targets.")
    return x, y


def _standardised(x: dict[str, Floats]) -> dict[str, Floats]:
    mean, deviation = x["train"].mean(axis=0), x["train"].std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    return {side: (values - mean) / scale for side, values in x.items()}


def _ridge_path(x: Floats, y: Floats) -> Callable[..., tuple[Floats, Floats]]:
    """(penalty power, shift of the targets) -> (weights, intercept), from one decomposition."""
    square, axes = np.linalg.eigh(x.T @ x)
    turned = x @ axes

    def solve(power: float, shift: int = 0) -> tuple[Floats, Floats]:
        moved = np.roll(y, shift, axis=0)
        mean = moved.mean(axis=0)
        strength = 10.0**power * max(float(square.mean()), 1e-12)
        inside = turned.T @ (moved - mean) / (np.maximum(square, 0) + strength)[:, None]
        return axes @ inside, mean

    return solve


def _predict(fitted: tuple[Floats, Floats], x: Floats) -> Floats:
    return x @ fitted[0] + fitted[1]


def _r2_of_all(y: Floats, p: Floats) -> float:
    total = float(((y - y.mean(axis=0)) ** 2).sum())
    return 1.0 - float(((y - p) ** 2).sum()) / total if total > 0 else float("nan")


def _r2_interval(
    y: Floats, p: Floats, block: NDArray[Any], seed: int, n_boot: int
) -> tuple[float, float, float, int]:
    """(value, low, high, blocks), from sums per block."""
    labels, at = np.unique(block, return_inverse=True)
    sums = []
    for values in (np.ones_like(y), y, y**2, (y - p) ** 2):
        total = np.zeros((len(labels), y.shape[1]))
        np.add.at(total, at, values)
        sums.append(total)
    rng = generator(seed, "bootstrap blocks")
    drawn = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), n_boot)
    n, first, second, lost = (drawn @ s for s in sums)
    total = (second - first**2 / n).sum(axis=1)
    values = 1 - lost.sum(axis=1) / np.where(total > 0, total, np.nan)
    low, high = bounds(values if len(labels) > 1 else np.empty(0))
    return _r2_of_all(y, p), low, high, len(labels)


def _balanced(truth: NDArray[Any], predicted: NDArray[Any], drawn: Floats) -> Floats:
    """(n_boot,) balanced accuracies on resampled trials; classes that were not drawn are left out."""
    recalls = []
    for label in np.unique(truth):
        n = drawn @ (truth == label)
        hits = drawn @ ((truth == label) & (predicted == label))
        recalls.append(hits / np.where(n > 0, n, np.nan))
    return np.asarray(np.nanmean(np.array(recalls), axis=0))


def logistic(x: NDArray[Any], y: NDArray[Any], c: float) -> Any:
    """A fitted multinomial logistic regression of scikit-learn, classes weighted alike.

    Raises InputError, with the remedy, if scikit-learn is missing.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise InputError(
            'Decoding labels needs scikit-learn; install it with pip install "neurofm[eval]".'
        ) from None
    model = LogisticRegression(C=c, max_iter=500, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # C is tuned; an early stop is one too
        return model.fit(x, y)
