"""Electrodes on a ring around a limb: turned by whole places, by parts of one, or mirrored.

A band worn a little further round, or the other way up, gives the same signals at other places. The
2 C ways of laying a ring on itself are a group; turns by parts of a place lie between them.
"""

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError

Floats = NDArray[np.float64]


def turn(n: int, places: float) -> Floats:
    """(n, n) that moves what an electrode sees by `places` electrodes: `turn @ x` of (n,) signals.

    A whole number is a permutation; between them the ring's Fourier series is shifted, so that all
    but the fastest term (which a ring of even n cannot hold between two places) keeps its power.
    """
    if n < 2:
        raise InputError(f"a ring has two electrodes at least, not {n}.")
    k = np.fft.fftfreq(n, 1 / n)
    phase = np.exp(-2j * np.pi * k * places / n)
    if n % 2 == 0:
        phase[n // 2] = np.cos(np.pi * places)
    spectrum = np.fft.fft(np.eye(n), axis=0)
    return np.asarray(np.fft.ifft(phase[:, None] * spectrum, axis=0).real)


def mirror(n: int) -> Floats:
    """(n, n) that runs the ring the other way round, electrode 0 first: (0, n - 1, ..., 1)."""
    return np.asarray(np.eye(n)[-np.arange(n) % n])


def symmetries(n: int) -> Floats:
    """(2 n, n, n): all rotations, then all rotations of the mirrored ring."""
    rotations = [np.round(turn(n, k)) for k in range(n)]
    return np.stack(rotations + [r @ mirror(n) for r in rotations])
