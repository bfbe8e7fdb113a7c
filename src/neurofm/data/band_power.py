"""Log band power of windows, the feature that EEG has been read by for longest.

Shapes: T samples, C electrodes, n windows, B bands.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.errors import InputError

Band = tuple[float, float]
EEG_BANDS: tuple[Band, ...] = (
    (1, 4),
    (4, 8),
    (8, 10),
    (10, 13),
    (13, 20),
    (20, 30),
    (30, 45),
    (45, 60),
)


def log_band_power(
    traces: ArrayLike, rate_hz: float, n_window: int, bands: Sequence[Band] = EEG_BANDS,
    least: float = 1e-3,
) -> NDArray[np.float32]:  # fmt: skip
    """(T, C) traces -> (n, B C): the log of the mean power density in each band of each whole window.

    By Welch's method (1967) with parts of 2 s, or of the window where that is shorter; `least` is
    added before the logarithm, in squared units a Hz. Raises InputError if scipy is missing, no
    window is whole, or a band holds no frequency.
    """
    try:
        from scipy.signal import welch
    except ImportError:
        raise InputError(
            'Spectra need scipy; install it with pip install "neurofm[eval]".'
        ) from None
    x = np.asarray(traces, dtype=np.float64)
    n = len(x) // n_window
    if not n:
        raise InputError(f"{len(x)} samples hold no window of {n_window}.")
    cut = x[: n * n_window].reshape(n, n_window, x.shape[1])
    f, power = welch(cut, rate_hz, nperseg=min(round(2 * rate_hz), n_window), axis=1)
    inside = [(f >= low) & (f < high) for low, high in bands]
    if empty := [band for band, there in zip(bands, inside, strict=True) if not there.any()]:
        raise InputError(
            f"windows of {n_window} samples tell nothing of {empty[0][0]:g} to {empty[0][1]:g} Hz."
        )
    each = np.stack([power[:, there].mean(axis=1) for there in inside], axis=1)
    return np.asarray(np.log(each + least).reshape(n, -1), dtype=np.float32)


def own_units(rows: ArrayLike, person: ArrayLike) -> NDArray[np.float32]:
    """(n, D) in units of each person's own mean and spread: all of the person's windows, no label."""
    x, who = np.asarray(rows, dtype=np.float64), np.asarray(person)
    out = np.zeros(x.shape, dtype=np.float32)
    for name in np.unique(who):
        mine = x[who == name]
        spread = mine.std(axis=0)
        out[who == name] = (mine - mine.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return out
