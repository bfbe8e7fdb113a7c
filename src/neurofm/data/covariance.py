"""Windows of an array of electrodes as points of a flat space: the logarithm of their covariance.

A covariance matrix holds the power of every electrode and how they move together, which is where
surface EMG has its gesture and EEG its rhythm. Its matrix logarithm is a plain vector whose
Euclidean distances are those of Arsigny et al. (2007); a person's own mean is removed before by
C -> M^-1/2 C M^-1/2 (Barachant et al. 2013; Zanini et al. 2018), which needs no labels.
Shapes: T samples, C electrodes, n windows, D = C (C + 1) / 2.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError

Floats = NDArray[np.float64]
LEAST = 1e-12  # of an eigenvalue, beside what shrinking has added


def band_passed(
    traces: ArrayLike, rate_hz: float, low_hz: float, high_hz: float | None = None
) -> Floats:
    """(T, C) traces without what is below `low_hz` and above `high_hz`: order 4, no delay.

    The filter runs forwards and backwards, so it looks ahead; a piece that was recorded apart must
    be given alone. Raises InputError if scipy is missing or the band does not fit the rate.
    """
    try:
        from scipy.signal import butter, sosfiltfilt
    except ImportError:
        raise InputError(
            'Filters need scipy; install it with pip install "neurofm[eval]".'
        ) from None
    top = rate_hz / 2 if high_hz is None else high_hz
    if not 0 < low_hz < top <= rate_hz / 2:
        raise InputError(
            f"A band of {low_hz:g} to {top:g} Hz does not fit {rate_hz:g} samples a second."
        )
    if high_hz is None:
        sos = butter(4, low_hz, "highpass", fs=rate_hz, output="sos")
    else:
        sos = butter(4, (low_hz, high_hz), "bandpass", fs=rate_hz, output="sos")
    return np.asarray(sosfiltfilt(sos, np.asarray(traces, dtype=np.float64), axis=0))


def covariances(traces: ArrayLike, n_window: int, n_step: int | None = None) -> Floats:
    """(T, C) traces -> (n, C, C): mean products of each whole window of `n_window` samples.

    Windows follow each other every `n_step` samples, by default without overlap. The mean is not
    taken off, as traces are filtered. Raises InputError if there is no whole window.
    """
    x = np.asarray(traces, dtype=np.float64)
    if len(x) < n_window or n_window < 1:
        raise InputError(f"{len(x)} samples hold no window of {n_window}.")
    cut = np.lib.stride_tricks.sliding_window_view(x, n_window, axis=0)[:: n_step or n_window]
    return np.asarray(cut @ cut.transpose(0, 2, 1) / n_window)


def shrunk(cov: Floats, share: float = 0.02, floor: float = 0.0) -> Floats:
    """Covariances (n, C, C) pulled towards `share` of their mean power, and `floor` added to all.

    What makes the logarithm of a short or silent window finite; `floor` is the noise of the device,
    in squared units of the traces.
    """
    n = cov.shape[-1]
    power = np.trace(cov, axis1=1, axis2=2) / n
    return np.asarray((1 - share) * cov + (share * power + floor)[:, None, None] * np.eye(n))


def log_map(cov: Floats) -> Floats:
    """The matrix logarithm of (n, C, C) covariances."""
    return _by_eigenvalue(cov, np.log)


def exp_map(flat: Floats) -> Floats:
    """The matrix exponential of symmetric (n, C, C): back from `log_map`."""
    values, axes = np.linalg.eigh(flat)
    return np.asarray((axes * np.exp(values)[:, None, :]) @ axes.transpose(0, 2, 1))


def mean_covariance(cov: Floats, n_steps: int = 8) -> Floats:
    """(C, C) the geometric mean of (n, C, C): where the mean of the logarithms vanishes."""
    mean = cov.mean(axis=0)
    for _ in range(n_steps):
        root, inverse = (_power(mean, p) for p in (0.5, -0.5))
        step = log_map(inverse @ cov @ inverse).mean(axis=0)
        mean = root @ exp_map(step[None])[0] @ root
    return np.asarray(mean)


def recentred(cov: Floats, mean: Floats | None = None) -> Floats:
    """Covariances as seen from their mean (their own by default): that mean becomes the identity.

    Any gain, or invertible mixing, of the electrodes is gone but for a rotation of the axes, so that
    distances between the windows of a person do not depend on it.
    """
    inverse = _power(mean_covariance(cov) if mean is None else mean, -0.5)
    return np.asarray(inverse @ cov @ inverse)


def vectors(flat: Floats) -> NDArray[np.float32]:
    """Symmetric (n, C, C) -> (n, D), lengths kept: what is off the diagonal counts twice."""
    rows, columns, weight = _places(flat.shape[-1])
    return np.asarray(flat[:, rows, columns] * weight, dtype=np.float32)


def matrices(rows: ArrayLike) -> Floats:
    """(n, D) -> symmetric (n, C, C): back from `vectors`."""
    x = np.asarray(rows, dtype=np.float64)
    n = round((np.sqrt(8 * x.shape[1] + 1) - 1) / 2)
    above, beside, weight = _places(n)
    out = np.zeros((len(x), n, n))
    out[:, above, beside] = x / weight
    out[:, beside, above] = x / weight
    return out


def tangent(cov: Floats) -> NDArray[np.float32]:
    """(n, C, C) -> (n, D) vectors of the logarithms, as they are."""
    return vectors(log_map(cov))


def turned_rows(turn: ArrayLike, n_parts: int = 1) -> NDArray[np.float32]:
    """(D, D) what an orthogonal `turn` (C, C) of the electrodes does to rows of `vectors`: x @ it.

    With `n_parts` bands one after the other, the same for each.
    """
    by = np.asarray(turn, dtype=np.float64)
    n = len(by) * (len(by) + 1) // 2
    one = vectors(by @ matrices(np.eye(n)) @ by.T)
    return np.asarray(np.kron(np.eye(n_parts, dtype=np.float32), one))


def _places(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    rows, columns = np.triu_indices(n)
    return rows, columns, np.where(rows == columns, 1.0, np.sqrt(2.0))


def _power(matrix: Floats, power: float) -> Floats:
    values, axes = np.linalg.eigh(matrix)
    return np.asarray((axes * np.maximum(values, LEAST) ** power) @ axes.T)


def _by_eigenvalue(cov: Floats, function: Callable[[Floats], Floats]) -> Floats:
    values, axes = np.linalg.eigh(cov)
    changed = function(np.maximum(values, LEAST))
    return np.asarray((axes * changed[..., None, :]) @ axes.transpose(0, 2, 1))
