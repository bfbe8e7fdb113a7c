"""A two-choice contrast task on a grid of bins: trials, what the animal sees, decides and does.

In the shape of the task of the International Brain Laboratory (2021, eLife 10:e63711): a grating of
some contrast on the left or right, blocks in which one side is likelier, a wheel, a reward.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Table

Array = NDArray[np.float64]

CONTRASTS = np.array([0.0, 0.0625, 0.125, 0.25, 1.0])
PRIORS = (0.2, 0.8)
TIMEOUT_S = 2.0
THRESHOLD = 1.0
MOTOR_DELAY_S = 0.06


@dataclass(frozen=True)
class Behaviour:
    """One session of the task.

    `latents`: {name: (T,)} on the grid, of zero mean and unit variance. `wheel`: (T,) rad/s, right
    positive. `whisker`: (T,) motion energy, arbitrary units, above 0. `trials`: the table.
    """

    trials: Table
    latents: dict[str, Array]
    wheel: Array
    whisker: Array


def smooth_noise(
    rng: np.random.Generator, n_bins: int, n: int, tau_bins: float
) -> NDArray[np.float32]:
    """(n_bins, n) Gaussian noise of unit variance, correlated over about `tau_bins`.

    White noise through a two-pole low-pass filter in the frequency domain, so no loop over time.
    """
    white = rng.standard_normal((n_bins, n), dtype=np.float32)
    omega = 2 * np.pi * np.fft.rfftfreq(n_bins)
    response = (1 / (1 + (omega * tau_bins) ** 2)).astype(np.float32)
    response[0] = 0  # no session-long offset: the mean is the unit's own
    power = 2 * (response[1:] ** 2).sum() / n_bins
    filtered = np.fft.irfft(np.fft.rfft(white, axis=0) * response[:, None], n_bins, axis=0)
    return np.asarray(filtered / np.sqrt(power), dtype=np.float32)


def simulate_task(rng: np.random.Generator, n_bins: int, bin_s: float) -> Behaviour:
    """Trials and behaviour of one session."""
    arousal = smooth_noise(rng, n_bins, 1, 4 / bin_s)[:, 0].astype(np.float64)
    trials, paths = _trials(rng, n_bins * bin_s, bin_s)
    time = np.arange(n_bins, dtype=np.float64) * bin_s
    wheel = _wheel(rng, trials, time)
    wheel += 0.5 * _bouts(rng, n_bins, bin_s) * smooth_noise(rng, n_bins, 1, 0.1 / bin_s)[:, 0]
    whisker = _whisker(rng, trials, time, wheel, arousal, bin_s)
    amplitude = 1 / (1 + np.exp(-(1.2 * arousal + standard(np.abs(wheel)))))
    phase = 2 * np.pi * np.cumsum(7.0 * bin_s + 0.12 * rng.standard_normal(n_bins) * bin_s**0.5)
    latents = {
        "stimulus_left": _stimulus(trials, time, "contrast_left"),
        "stimulus_right": _stimulus(trials, time, "contrast_right"),
        "choice": _decision(trials, paths, n_bins, bin_s),
        "prior": _prior(trials, time),
        "reward": _feedback(trials, time, 1),
        "error": _feedback(trials, time, -1),
        "wheel": wheel,
        "movement": np.sqrt(np.abs(wheel)),
        "whisker": np.log(whisker),
        "arousal": arousal,
        "theta_cos": amplitude * np.cos(phase),
        "theta_sin": amplitude * np.sin(phase),
    }
    latents = {name: standard(latent) for name, latent in latents.items()}
    return Behaviour(trials, latents, wheel, whisker)


def standard(values: Array) -> Array:
    """Zero mean and unit variance over time; a constant becomes 0."""
    return np.asarray((values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9))


def _trials(rng: np.random.Generator, duration_s: float, bin_s: float) -> tuple[Table, Array]:
    """The table of trials that end inside the session, and their (n, steps) decision variables."""
    n = int(duration_s / 1.5) + 1
    prior = _blocks(rng, n)
    side = np.where(rng.random(n) < prior, -1.0, 1.0)
    contrast = rng.choice(CONTRASTS, n)
    drive = side * contrast / (contrast + 0.15)
    paths = _accumulate(rng, 4.0 * drive + 0.9 * np.log((1 - prior) / prior), bin_s)
    crossed = np.abs(paths) >= THRESHOLD
    at = np.where(crossed.any(axis=1), crossed.argmax(axis=1), paths.shape[1] - 1)
    choice = np.sign(paths[np.arange(n), at])
    reaction = at * bin_s + MOTOR_DELAY_S + rng.uniform(0, 0.04, n)
    correct = choice == side
    quiet, after = rng.uniform(0.4, 0.7, n), np.where(correct, 1.0, 1.6)
    length = quiet + reaction + after
    start = 0.5 + np.cumsum(length + rng.uniform(0.2, 0.6, n)) - length
    columns = {
        "start_s": start,
        "stop_s": start + length,
        "stimulus_s": start + quiet,
        "contrast_left": np.where(side < 0, contrast, 0.0),
        "contrast_right": np.where(side > 0, contrast, 0.0),
        "choice": choice.astype(np.int64),
        "reaction_s": reaction,
        "feedback": np.where(correct, 1, -1),
        "prior": prior,
    }
    inside = columns["stop_s"] < duration_s
    return Table(columns).take(inside), paths[inside]


def _blocks(rng: np.random.Generator, n: int) -> Array:
    """(n,) probability of the left side: 15 unbiased trials, then blocks of 15 to 40."""
    lengths = [15, *rng.integers(15, 41, n // 15 + 1).tolist()]
    first = int(rng.integers(2))
    levels = [0.5, *(PRIORS[(first + i) % 2] for i in range(len(lengths) - 1))]
    return np.repeat(levels, lengths)[:n]


def _accumulate(rng: np.random.Generator, drive: Array, bin_s: float) -> Array:
    """(n, steps) decision variables: a bistable accumulator, frozen once it has crossed."""
    steps = int(TIMEOUT_S / bin_s)
    x = np.zeros(len(drive))
    out = np.empty((len(drive), steps))
    for step in range(steps):
        flow = drive + 2.0 * x - 1.0 * x**3
        noise = 1.1 * bin_s**0.5 * rng.standard_normal(len(drive))
        x = np.where(np.abs(x) >= THRESHOLD, x, x + flow * bin_s + noise)
        out[:, step] = x
    return out


def _stimulus(trials: Table, time: Array, column: str) -> Array:
    """Saturating response to one side's contrast: a transient and a plateau until the response."""
    out = np.zeros(len(time))
    near = _near(trials["stimulus_s"], (0.0, TIMEOUT_S + 0.3), time)
    for (at, since), reaction, contrast in zip(
        near, trials["reaction_s"], trials[column], strict=True
    ):
        shape = (np.exp(-since / 0.12) + 0.45) * (1 - np.exp(-since / 0.02))
        out[at] += contrast / (contrast + 0.15) * shape * (since < reaction + 0.1)
    return out


def _decision(trials: Table, paths: Array, n_bins: int, bin_s: float) -> Array:
    """The signed decision variable: grows to the response, then decays over 0.3 s."""
    out = np.zeros(n_bins)
    rows = (trials["stimulus_s"], trials["reaction_s"], paths)
    for onset, reaction, path in zip(*rows, strict=True):
        first, n = int(onset / bin_s), max(int(reaction / bin_s), 1)
        rise = path[:n]
        fall = rise[-1] * np.exp(-np.arange(1, int(1.0 / bin_s)) * bin_s / 0.3)
        whole = np.concatenate([rise, fall])[: n_bins - first]
        out[first : first + len(whole)] += whole
    return out


def _prior(trials: Table, time: Array) -> Array:
    """The block prior as the animal may hold it: a smoothed step."""
    at = np.searchsorted(trials["start_s"], time, side="right") - 1
    level = np.where(at >= 0, 0.5 - trials["prior"][np.maximum(at, 0)], 0.0)
    step = time[1] - time[0]
    kernel = np.exp(-np.arange(0, 15, step) / 4)
    return np.convolve(level, kernel / kernel.sum())[: len(time)]


def _feedback(trials: Table, time: Array, kind: int) -> Array:
    out = np.zeros(len(time))
    moments = (trials["stimulus_s"] + trials["reaction_s"])[trials["feedback"] == kind]
    for at, since in _near(moments, (0.0, 2.5), time):
        out[at] += since / 0.25 * np.exp(1 - since / 0.25)
    return out


def _wheel(rng: np.random.Generator, trials: Table, time: Array) -> Array:
    """Wheel velocity around each response, rad/s: a bell of 0.25 s whose height varies."""
    out = np.zeros(len(time))
    moments = trials["stimulus_s"] + trials["reaction_s"]
    heights = 3.0 * trials["choice"] * rng.lognormal(0, 0.35, len(trials))
    for (at, since), height in zip(_near(moments, (-0.6, 0.6), time), heights, strict=True):
        out[at] += height * np.exp(-0.5 * (since / 0.11) ** 2)
    return out


def _near(
    moments: Array, reach_s: tuple[float, float], time: Array
) -> Iterator[tuple[slice, Array]]:
    """For each moment, the bins from reach_s[0] before to reach_s[1] after, and seconds since."""
    bin_s = time[1] - time[0]
    for moment in moments:
        first = max(int(np.ceil((moment + reach_s[0]) / bin_s)), 0)
        at = slice(first, int((moment + reach_s[1]) / bin_s) + 1)
        yield at, time[at] - moment


def _bouts(rng: np.random.Generator, n_bins: int, bin_s: float) -> Array:
    """0 to 1: spontaneous bouts of fidgeting, about a fifth of the time."""
    slow = smooth_noise(rng, n_bins, 1, 0.6 / bin_s)[:, 0]
    return np.asarray(1 / (1 + np.exp(-6.0 * (slow - 0.9))), dtype=np.float64)


def _whisker(
    rng: np.random.Generator, trials: Table, time: Array, wheel: Array, arousal: Array, bin_s: float
) -> Array:
    """Motion energy: movement, licks at 6 Hz after a reward, whisking bouts and arousal."""
    licks = _feedback(trials, time, 1) * (1 + np.cos(2 * np.pi * 6.0 * time)) / 2
    bouts = _bouts(rng, len(time), bin_s)
    noise = smooth_noise(rng, len(time), 1, 0.05 / bin_s)[:, 0]
    return np.asarray(
        np.exp(0.3 * arousal + 0.25 * noise)
        * (0.4 + 0.8 * np.abs(wheel) + 0.9 * licks + 1.5 * bouts)
    )
