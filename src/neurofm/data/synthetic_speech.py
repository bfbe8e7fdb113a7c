"""Simulated speech with EEG: what the brain follows and what muscles leak are planted apart.

Speech is a spectrum of a few mel bands. The EEG follows it slowly (responses of a few Hz, after it);
muscles follow it too, as the loudness of noise (their carrier), a little before it, and reach
the electrodes. `eeg` and `leak` say how strongly; at 0 there is none of it.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.data.intervals import Intervals
from neurofm.data.plain import exact_seconds
from neurofm.data.recording import Channels, Provenance, Recording, Samples, Signal
from neurofm.seeding import generator

Matrix = NDArray[np.float64]
RATE_HZ, MEL_HZ = 128, 32
RESPONSE_S = (0.08, 0.12, 0.16, 0.22)  # delays at which the brain answers
LEAD_S = 0.06  # by which muscles are ahead of the sound
CARRIER_HZ = (22.0, 55.0)


class SpeechConfig(Config):
    """`eeg`, `leak`: spread of the planted response and of muscle on an electrode, background 1.

    `articulators`: what the bands of the spectrum and the muscles have in common.
    """

    minutes: Annotated[float, Field(gt=0)] = 10.0
    n_eeg: int = Field(16, ge=1)
    n_emg: int = Field(2, ge=1)
    n_mels: int = Field(8, ge=1)
    articulators: int = Field(4, ge=1)
    eeg: float = Field(0.5, ge=0)
    leak: float = Field(0.5, ge=0)


def simulate_speech(config: SpeechConfig, seed: int, session: str = "speech") -> Recording:
    """One session; what is fixed of the person depends on the seed, what was said on the session.

    Channels of types `eeg` and `emg` at 128 Hz, the signal `mel` at 32 Hz.
    """
    person = generator(seed, "speech", "person")
    rng = generator(seed, "speech", "session", session)
    n = round(config.minutes * 60 * MEL_HZ)
    moves = _moves(rng, n, config.articulators)
    voiced = person.gamma(1.0, size=(config.articulators, config.n_mels))
    mel = np.log(0.3 + moves @ voiced) + 0.2 * _slow(rng, n, config.n_mels, MEL_HZ, 6.0)
    fine = _finer(mel - mel.mean(axis=0), RATE_HZ // MEL_HZ)
    brain = _responses(person, fine, config.n_eeg)
    muscles = _muscles(person, rng, _finer(moves, RATE_HZ // MEL_HZ), config.n_emg)
    reach = person.gamma(1.0, size=(config.n_emg, config.n_eeg))
    background = _background(person, rng, len(fine), config.n_eeg)
    eeg = background + config.eeg * _unit(brain) + config.leak * _unit(muscles @ reach)
    emg = _unit(muscles) + 0.1 * rng.normal(size=muscles.shape)
    traces = np.concatenate([eeg, emg], axis=1).astype(np.float32)
    types = np.repeat(["eeg", "emg"], [config.n_eeg, config.n_emg])
    names = [f"speech-sim/{t}-{i:02d}" for i, t in enumerate(types)]
    step = exact_seconds(1 / RATE_HZ, "step")
    span = (0.0, float(len(traces) * step))
    unit = {"type": types, "unit": np.full(len(types), "uV")}
    return Recording(
        id=session,
        subject=f"sim-{seed}",
        span=span,
        valid=Intervals.of([span]),
        channels=Channels.of(names, subject=f"sim-{seed}", kind="real", quality=unit),
        activity=Samples(traces, step),
        signals={"mel": Signal(mel.astype(np.float32), 1 / MEL_HZ, unit="log", node="stimulus")},
        provenance=Provenance(source=f"simulated, seed {seed}", format="simulation",
                              species="none (simulated)", task="speech with muscle leakage",
                              licence="CC0-1.0", consent="not needed"),
    )  # fmt: skip


def _moves(rng: np.random.Generator, n: int, k: int) -> Matrix:
    """(n, k) how far each articulator is engaged, above zero: syllables inside phrases with pauses."""
    syllables = np.maximum(_slow(rng, n, k, MEL_HZ, 5.0), 0.0)
    phrases = 1 / (1 + np.exp(-3 * (_slow(rng, n, 1, MEL_HZ, 0.4) + 0.5)))
    return np.asarray(syllables * phrases)


def _responses(person: np.random.Generator, mel: Matrix, n_eeg: int) -> Matrix:
    """(T, C): each band heard again at a few delays, with another sign and place for each."""
    out = np.zeros((len(mel), n_eeg))
    slow = _smooth(mel, round(0.06 * RATE_HZ))
    for delay in RESPONSE_S:
        out += np.roll(slow, round(delay * RATE_HZ), axis=0) @ person.normal(
            size=(mel.shape[1], n_eeg)
        )
    return np.asarray(out - out.mean(axis=0))


def _muscles(
    person: np.random.Generator, rng: np.random.Generator, moves: Matrix, n_emg: int
) -> Matrix:
    """(T, E): noise of a muscle's frequencies, as loud as its articulators are engaged."""
    load = person.gamma(0.5, size=(moves.shape[1], n_emg))
    engaged = np.roll(moves, -round(LEAD_S * RATE_HZ), axis=0) @ load
    return np.asarray(engaged * _band(rng.normal(size=engaged.shape), RATE_HZ, *CARRIER_HZ))


def _background(
    person: np.random.Generator, rng: np.random.Generator, n: int, n_eeg: int
) -> Matrix:
    """(n, C) of spread 1: slow noise that electrodes share, and a little of their own."""
    spectrum = np.fft.rfft(rng.normal(size=(n, n_eeg)), axis=0)
    at = np.fft.rfftfreq(n, 1 / RATE_HZ)
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(at, 0.5))[:, None], n, axis=0)
    shared = _unit(pink) @ person.normal(size=(n_eeg, n_eeg)) / np.sqrt(n_eeg)
    return _unit(shared + 0.3 * rng.normal(size=(n, n_eeg)))


def _slow(rng: np.random.Generator, n: int, k: int, rate_hz: float, below_hz: float) -> Matrix:
    return _unit(_band(rng.normal(size=(n, k)), rate_hz, 0.0, below_hz))


def _band(x: Matrix, rate_hz: float, low_hz: float, high_hz: float) -> Matrix:
    """Frequencies outside [low, high) taken out, over the whole of (n, k)."""
    at = np.fft.rfftfreq(len(x), 1 / rate_hz)
    kept = (at >= low_hz) & (at < high_hz)
    return np.asarray(np.fft.irfft(np.fft.rfft(x, axis=0) * kept[:, None], len(x), axis=0))


def _finer(x: Matrix, times: int) -> Matrix:
    """(n, k) -> (n * times, k), on straight lines between the middles of the coarser samples."""
    at = (np.arange(len(x) * times) + 0.5) / times - 0.5
    return np.stack([np.interp(at, np.arange(len(x)), column) for column in x.T], axis=1)


def _smooth(x: Matrix, width: int) -> Matrix:
    window = np.hanning(width + 2)[1:-1]
    return np.stack([np.convolve(c, window / window.sum(), mode="same") for c in x.T], axis=1)


def _unit(x: Matrix) -> Matrix:
    """Centred, and of spread 1 in each column."""
    centred = x - x.mean(axis=0)
    return np.asarray(centred / np.maximum(centred.std(axis=0), 1e-12))
