"""The simulator's units: how each turns a region's latents into a rate, and its rate into spikes."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Events
from neurofm.data.synthetic_latents import N_OWN, PROFILES, TASK
from neurofm.data.synthetic_task import Array, smooth_noise

Rates = NDArray[np.float32]

TICKS_PER_S = 30_000
SATURATION = 1.9  # log rate never moves further than this from its baseline
N_SLOW = 2  # slow latents of a session that move gains and baselines
LATENTS_A_UNIT = 3  # latents that drive one unit
TUNED = 0.3  # fraction of units with a bump of tuning besides the linear drive
OVER_DISPERSED = 0.7  # fraction of units; the others are Poisson
DRIFT = 0.1  # standard deviation of the log of a unit's own drift over minutes
CHUNK = 64  # units simulated at once, which bounds memory


@dataclass(frozen=True)
class Units:
    """Parameters of C units; the same unit on another day has the same row.

    `region`: (C,) index into the world's regions. `weights`: (C, K). `centre`: (C, 2) place of the
    bump among the first two latents of the region's own network, `bump`: (C,) its height, 0 for
    none. `base_hz`, `dispersion`, `private`, `private_tau_s`: (C,). `slow`: (C, N_SLOW).
    """

    region: NDArray[np.int64]
    weights: Array
    centre: Array
    bump: Array
    base_hz: Array
    dispersion: Array
    private: Array
    private_tau_s: Array
    slow: Array

    def __len__(self) -> int:
        return len(self.region)

    def take(self, rows: NDArray[np.int64] | slice) -> "Units":
        """The given rows."""
        return Units(**{name: column[rows] for name, column in vars(self).items()})


def draw_units(
    rng: np.random.Generator,
    n: int,
    regions: Sequence[int],
    n_latents: int,
    rate_hz: float,
    rate_spread: float,
    modulation: float,
    private: float,
    dispersion: float,
) -> Units:
    """`n` units spread over the regions; base rates are lognormal with median `rate_hz`."""
    region = np.sort(rng.choice(np.asarray(regions, dtype=np.int64), n))
    weights = _weights(rng, region, n_latents)
    size = modulation * rng.lognormal(0, 0.3, n)
    weights *= (size / np.linalg.norm(weights, axis=1))[:, None]
    tuned = rng.random(n) < TUNED
    weights[tuned] *= 0.6
    return Units(
        region=region,
        weights=weights,
        centre=rng.uniform(-1.3, 1.3, (n, 2)),
        bump=np.where(tuned, 2.2 * size, 0.0),
        base_hz=np.clip(rate_hz * rng.lognormal(0, rate_spread, n), 0.3, 25.0),
        dispersion=dispersion
        / OVER_DISPERSED
        * rng.exponential(1.0, n)
        * (rng.random(n) < OVER_DISPERSED),
        private=private * rng.lognormal(0, 0.3, n),
        private_tau_s=rng.uniform(0.1, 1.0, n),
        slow=0.1 * rng.standard_normal((n, N_SLOW)),
    )


def _weights(rng: np.random.Generator, region: NDArray[np.int64], n_latents: int) -> Array:
    """(n, K) before scaling: a few of what the region encodes, its own network, its global state."""
    n, n_task = len(region), len(TASK)
    strength = np.ones((n, n_latents))
    strength[:, :n_task] = PROFILES[region % len(PROFILES)] + 1e-9
    order = np.argsort(rng.gumbel(size=strength.shape) + np.log(strength), axis=1)
    weights = np.zeros((n, n_latents))
    few = order[:, -LATENTS_A_UNIT:]
    np.put_along_axis(weights, few, 1.2 * rng.standard_normal(few.shape), axis=1)
    weights[:, n_task : n_task + N_OWN] += rng.standard_normal((n, N_OWN)) * [1.3, 0.9]
    weights[:, [TASK.index("movement"), TASK.index("arousal")]] += rng.normal(0.6, 0.4, (n, 2))
    return weights


def expected_counts(
    units: Units, latents: Rates, arousal: Array, rng: np.random.Generator, bin_s: float
) -> tuple[Rates, Rates]:
    """(true, shared), both (T, C) expected counts a bin.

    `latents`: (R, T, K). `shared` is the mean of `true` over the private fluctuations of the units,
    given everything that units have in common.
    """
    n_bins = latents.shape[1]
    slow = smooth_noise(rng, n_bins, N_SLOW, 60 / bin_s)
    gain = np.exp(0.2 * arousal).astype(np.float32)
    true = np.empty((n_bins, len(units)), dtype=np.float32)
    shared = np.empty_like(true)
    for first in range(0, len(units), CHUNK):
        rows = slice(first, first + CHUNK)
        part = units.take(rows)
        drive = gain[:, None] * _drive(part, latents) + slow @ part.slow.T.astype(np.float32)
        level = part.base_hz * np.exp(-0.5 * np.square(part.weights).sum(axis=1)) * bin_s
        rate = level.astype(np.float32) * np.exp(SATURATION * np.tanh(drive / SATURATION))
        shared[:, rows] = rate
        true[:, rows] = rate * _private(part, n_bins, rng, bin_s)
    return true, shared


def _drive(units: Units, latents: Rates) -> Rates:
    """(T, C) what moves the log rate: a linear mixture of latents, and for some a bump."""
    out = np.empty((latents.shape[1], len(units)), dtype=np.float32)
    for region in np.unique(units.region):
        here = units.region == region
        seen, part = latents[region], units.take(np.flatnonzero(here))
        place = seen[:, len(TASK) : len(TASK) + 2].astype(np.float32)
        square = sum((place[:, [i]] - part.centre[:, i].astype(np.float32)) ** 2 for i in range(2))
        bump = np.exp(-square / (2 * 0.6**2)) - 0.2
        linear = seen @ part.weights.T.astype(np.float32)
        out[:, here] = linear + part.bump.astype(np.float32) * bump
    return out


def _private(units: Units, n_bins: int, rng: np.random.Generator, bin_s: float) -> Rates:
    """(T, C) factors of mean 1 (lognormal): a fluctuation of each unit, and its drift over minutes."""
    log = np.empty((n_bins, len(units)), dtype=np.float32)
    for i, tau_s in enumerate(units.private_tau_s):
        log[:, i] = smooth_noise(rng, n_bins, 1, tau_s / bin_s)[:, 0]
    log *= units.private.astype(np.float32)
    drift = DRIFT * smooth_noise(rng, n_bins, len(units), 90 / bin_s)
    variance = (units.private**2 + DRIFT**2).astype(np.float32)
    return np.asarray(np.exp(log + drift - variance / 2), dtype=np.float32)


def draw_spikes(
    rates: Rates, dispersion: Array, rng: np.random.Generator, bin_s: Fraction
) -> Events:
    """Spikes from expected counts a bin: Poisson, or negative binomial where `dispersion` is above 0.

    The variance of a count of mean m is m + dispersion * m**2. A bin's spikes fall at random, one
    in each of as many equal parts of the bin, so that no two of a unit share a tick.
    """
    per_bin = int(bin_s * TICKS_PER_S)
    ticks, rows = [], []
    for unit in range(rates.shape[1]):
        mean = rates[:, unit].astype(np.float64)
        if dispersion[unit] > 0:
            mean *= rng.gamma(1 / dispersion[unit], dispersion[unit], len(mean))
        counts = np.minimum(rng.poisson(mean), per_bin)
        n = int(counts.sum())
        at = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(n) - np.repeat(np.cumsum(counts) - counts, counts)
        within = ((place + rng.random(n)) * per_bin / counts[at]).astype(np.int64)
        ticks.append(at * per_bin + np.minimum(within, per_bin - 1))
        rows.append(np.full(n, unit, dtype=np.int32))
    tick, row = np.concatenate(ticks), np.concatenate(rows)
    order = np.argsort(tick, kind="stable")
    return Events.of(tick[order], row[order], Fraction(TICKS_PER_S))
