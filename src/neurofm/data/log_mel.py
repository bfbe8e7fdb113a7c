"""Log-mel spectra of sound, with NumPy alone: the target that is always there."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Signal
from neurofm.errors import InputError

LEAST_POWER = 1e-10
FRAMES_HZ = 100
PIECE_S, MARGIN_S = 60, 1  # seconds of sound that are transformed at once, and what is read around


def log_mel(
    sound: NDArray[Any],
    rate_hz: float,
    *,
    n_mels: int = 40,
    frame_s: float = 0.01,
    window_s: float = 0.025,
    low_hz: float = 50.0,
    high_hz: float = 8000.0,
) -> NDArray[np.float32]:
    """(..., samples) -> (..., frames, n_mels): log10 of power in triangular bands of the mel scale.

    Frame k is the Hann window around the middle of [k, k + 1) * `frame_s`; the sound's ends are
    padded with silence. Bands are equal in mel (O'Shaughnessy 1987) from `low_hz` to `high_hz` or
    the Nyquist frequency. Raises InputError if a frame or a band would hold nothing.
    """
    hop, width = frame_s * rate_hz, round(window_s * rate_hz)
    frames = int(sound.shape[-1] / hop + 1e-6)
    if frames < 1 or width < 4:
        raise InputError(
            f"sound of {sound.shape[-1]} samples at {rate_hz:g} Hz holds no frame of {frame_s:g} s."
        )
    x = np.asarray(sound, dtype=np.float64)
    middle = np.floor((np.arange(frames) + 0.5) * hop).astype(int)
    edges = [(0, 0)] * (x.ndim - 1) + [(width // 2, width)]
    rows = middle[:, None] + np.arange(width)
    framed = np.pad(x, edges)[..., rows] * np.hanning(width + 2)[1:-1]
    size = 1 << (width - 1).bit_length()
    power = np.abs(np.fft.rfft(framed, size)) ** 2
    bands = mel_bands(n_mels, size, rate_hz, low_hz, min(high_hz, rate_hz / 2))
    return np.log10(np.maximum(power @ bands.T, LEAST_POWER)).astype(np.float32)


def mel_signal(sound: Signal, n_mels: int = 40) -> Signal:
    """Sound as a signal of `log_mel` frames of 10 ms, (n, n_mels); of several columns the mean is heard.

    Frames that touch an unknown sample are NaN. Raises InputError if samples have times of their
    own, or are too few a second for the bands.
    """
    if sound.times_s is not None or not sound.step_s > 0:
        raise InputError("sound has times of its own; log-mel frames need samples at a fixed rate.")
    rate_hz, n_s = 1 / sound.step_s, len(sound.values) * sound.step_s
    n_frames = int(n_s * FRAMES_HZ + 1e-6)
    out = np.empty((n_frames, n_mels), dtype=np.float32)
    for start in range(0, -(-n_frames // FRAMES_HZ), PIECE_S):
        before = min(start, MARGIN_S)
        low, high = start - before, start + PIECE_S + MARGIN_S
        rows = np.asarray(sound.values[round(low * rate_hz) : round(high * rate_hz)])
        found = log_mel(rows.mean(axis=1), rate_hz, n_mels=n_mels, frame_s=1 / FRAMES_HZ)
        place = slice(start * FRAMES_HZ, min((start + PIECE_S) * FRAMES_HZ, n_frames))
        first = before * FRAMES_HZ
        out[place] = found[first : first + place.stop - place.start]
    return Signal(out, 1 / FRAMES_HZ, sound.start_s, unit="log power", node=sound.node)


def mel_bands(
    n_mels: int, size: int, rate_hz: float, low_hz: float, high_hz: float
) -> NDArray[np.float64]:
    """(n_mels, size // 2 + 1) triangles, equally wide in mel; each at least one frequency wide."""
    edges = _hz(np.linspace(_mel(low_hz), _mel(high_hz), n_mels + 2))
    at = np.fft.rfftfreq(size, 1 / rate_hz)
    rising = (at - edges[:-2, None]) / np.maximum(np.diff(edges)[:-1, None], rate_hz / size)
    falling = (edges[2:, None] - at) / np.maximum(np.diff(edges)[1:, None], rate_hz / size)
    bands = np.maximum(np.minimum(rising, falling), 0.0)
    if not (high_hz > low_hz) or (bands.sum(axis=1) == 0).any():
        raise InputError(f"{n_mels} mel bands from {low_hz:g} to {high_hz:g} Hz are too narrow for "
                         f"windows of {size} samples; ask for fewer.")  # fmt: skip
    return np.asarray(bands)


def _mel(hz: float) -> float:
    return float(2595 * np.log10(1 + hz / 700))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))
