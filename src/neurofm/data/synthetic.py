"""A simulator that knows the true rates, so that every score has a ceiling.

Several animals with several sessions each do a two-choice task while units of four or five regions
are recorded. The dynamics (`synthetic_latents`) are the same in every animal; the units
(`synthetic_units`) are each session's own, or partly shared by the sessions of an animal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.data.intervals import Intervals
from neurofm.data.plain import exact_seconds
from neurofm.data.recording import Channels, Provenance, Recording, Signal
from neurofm.data.synthetic_latents import World, make_world, region_latents
from neurofm.data.synthetic_task import Behaviour, simulate_task
from neurofm.data.synthetic_truth import Rates, Truth
from neurofm.data.synthetic_units import (
    TICKS_PER_S,
    Units,
    draw_spikes,
    draw_units,
    expected_counts,
)
from neurofm.errors import ConfigError
from neurofm.seeding import generator

FIRST_DAY = datetime(2020, 1, 1, 9, tzinfo=UTC)
Positive = Annotated[float, Field(gt=0)]


class SimulationConfig(Config):
    """What to simulate. The defaults are of the size of a real study; a demo uses 40 to 80 units.

    `modulation`: standard deviation of the log rate due to shared latents. `private`: that of each
    unit's own fluctuation. `dispersion`: mean of a in variance = mean + a * mean**2. `same_units`:
    fraction of an animal's units that are found again, under the same id, in its later sessions.
    """

    n_animals: int = Field(default=3, ge=1)
    sessions_per_animal: int = Field(default=2, ge=1)
    units_min: int = Field(default=100, ge=1)
    units_max: int = Field(default=700, ge=1)
    regions: tuple[str, ...] = Field(default=("VISp", "MOs", "CP", "CA1", "LP"), min_length=1)
    minutes: Positive = 60.0
    bin_s: Positive = 0.02
    rate_hz: Positive = 6.0
    rate_spread: float = Field(default=0.7, ge=0)
    modulation: float = Field(default=1.1, ge=0)
    private: float = Field(default=0.3, ge=0)
    dispersion: float = Field(default=0.15, ge=0)
    same_units: float = Field(default=0.0, ge=0, le=1)


@dataclass(frozen=True)
class SimulatedSession:
    """A recording and what was planted in it.

    `latents`: {name: (T,)} of the task, on the grid of `truth.bin_s`. `latent_names` and `seen`:
    (R, T, K) what the units of each region of `regions` see.
    """

    recording: Recording
    truth: Truth
    latents: Mapping[str, NDArray[np.float64]]
    regions: tuple[str, ...]
    latent_names: tuple[str, ...]
    seen: Rates

    @property
    def true_rates(self) -> Rates:
        """(T, C) expected counts a bin, given everything."""
        return self.truth.true_rates

    @property
    def shared_rates(self) -> Rates:
        """(T, C) expected counts a bin, given what units have in common."""
        return self.truth.shared_rates


def simulate(config: SimulationConfig, seed: int) -> list[SimulatedSession]:
    """Every session of every animal, in order; session k is a pure function of (config, seed, k).

    Raises ConfigError if the numbers do not fit together.
    """
    if config.units_max < config.units_min:
        raise ConfigError(
            f"units_max = {config.units_max} is below units_min = {config.units_min}; raise it."
        )
    if config.minutes * 60 < 30:
        raise ConfigError(f"minutes = {config.minutes:g}: simulate at least half a minute.")
    if (exact_seconds(config.bin_s, "bin_s") * TICKS_PER_S).denominator != 1:
        raise ConfigError(f"bin_s = {config.bin_s:g} must be a multiple of 1/{TICKS_PER_S} s.")
    world = make_world(config.regions, seed)
    return [
        _session(config, world, seed, animal, day)
        for animal in range(config.n_animals)
        for day in range(config.sessions_per_animal)
    ]


def true_rates(session: SimulatedSession, bin_s: float) -> Rates:
    """(T, C) expected counts a bin of `bin_s`, given everything."""
    return session.truth.at(bin_s).true_rates


def shared_rates(session: SimulatedSession, bin_s: float) -> Rates:
    """(T, C) expected counts a bin of `bin_s`, given what units have in common."""
    return session.truth.at(bin_s).shared_rates


def _session(
    config: SimulationConfig, world: World, seed: int, animal: int, day: int
) -> SimulatedSession:
    subject = f"sim-{animal + 1:02d}"
    name = f"{subject}_ses-{day + 1:02d}"
    rng = generator(seed, "synthetic", "session", animal, day)
    n_bins = round(config.minutes * 60 / config.bin_s)
    units, ids = _units(config, world, seed, animal, day)
    task = simulate_task(rng, n_bins, config.bin_s)
    seen = region_latents(world, task.latents, rng, config.bin_s)
    true, shared = expected_counts(units, seen, task.latents["arousal"], rng, config.bin_s)
    step = exact_seconds(config.bin_s, "bin_s")
    span = (0.0, float(n_bins * step))
    regions = np.array(config.regions)[units.region]
    recording = Recording(
        id=name,
        subject=subject,
        span=span,
        valid=Intervals.of([span]),
        channels=Channels.of(ids, region=regions, subject=subject),
        activity=draw_spikes(true, units.dispersion, rng, step),
        signals=_signals(task, step),
        trials=task.trials,
        provenance=_provenance(seed, day),
    )
    truth = Truth(name, recording.channels.id, config.bin_s, true, shared)
    return SimulatedSession(recording, truth, task.latents, config.regions, world.names, seen)


def _units(
    config: SimulationConfig, world: World, seed: int, animal: int, day: int
) -> tuple[Units, list[str]]:
    """The session's units and their ids: the animal's returning ones first, then new ones."""
    here = generator(seed, "synthetic", "animal", animal)
    n_here = min(len(config.regions), int(here.integers(4, 6)))
    regions = np.sort(here.permutation(len(config.regions))[:n_here])
    n_units = int(here.integers(config.units_min, config.units_max + 1))
    n_same = round(config.same_units * n_units)
    same = _draw(config, here, n_same, regions, world)
    fresh = generator(seed, "synthetic", "units", animal, day)
    new = _draw(config, fresh, n_units - n_same, regions, world)
    both = Units(**{k: np.concatenate([v, vars(new)[k]]) for k, v in vars(same).items()})
    prefix = f"sim-{animal + 1:02d}"
    ids = [f"{prefix}/unit-{i:03d}" for i in range(n_same)]
    ids += [f"{prefix}/ses-{day + 1:02d}/unit-{i:03d}" for i in range(n_units - n_same)]
    return both, ids


def _draw(
    config: SimulationConfig,
    rng: np.random.Generator,
    n: int,
    regions: NDArray[np.int64],
    world: World,
) -> Units:
    return draw_units(
        rng,
        n,
        regions.tolist(),
        len(world.names),
        rate_hz=config.rate_hz,
        rate_spread=config.rate_spread,
        modulation=config.modulation,
        private=config.private,
        dispersion=config.dispersion,
    )


def _signals(task: Behaviour, step: Fraction) -> dict[str, Signal]:
    def trace(values: NDArray[np.float64], unit: str) -> Signal:
        return Signal(values[:, None].astype(np.float32), float(step), unit=unit)

    return {
        "wheel_velocity": trace(task.wheel, "rad/s"),
        "whisker_motion_energy": trace(task.whisker, "a.u."),
    }


def _provenance(seed: int, day: int) -> Provenance:
    return Provenance(
        source=f"simulated, seed {seed}",
        format="simulation",
        species="none (simulated)",
        lab="neurofm",
        task="two-choice contrast task with block prior",
        licence="CC0-1.0",
        consent="not needed",
        started=(FIRST_DAY + timedelta(days=day)).isoformat(),
    )
