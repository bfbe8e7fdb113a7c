"""The shared world of the simulator: non-linear latent dynamics, the same in every animal.

Each region has its own recurrent network of rate units near chaos (Sompolinsky, Crisanti & Sommers
1988, PRL 61:259, eq. 1), driven by the task and by the delayed output of two other regions. What an
animal's units see of a region is the task as the region encodes it, the region's own network and
its delayed input.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.data.synthetic_task import Array, standard
from neurofm.seeding import generator

N_NETWORK = 16  # rate units of a region's network
N_OWN = 2  # latents read out of it
N_SOURCES = 2  # regions that a region listens to
TAU_S = 0.15
GAIN = 1.7  # above 1: chaos without input
NOISE = 0.5

TASK = (
    "stimulus_left", "stimulus_right", "choice", "prior", "reward", "error", "wheel", "movement",
    "whisker", "arousal", "theta_cos", "theta_sin",
)  # fmt: skip

# How strongly a region encodes each of TASK, and after how long: visual cortex, motor cortex,
# striatum, hippocampus, lateral thalamus. Further regions take the rows again, in turn.
PROFILES = np.array([
    [1.2, 1.2, 0.3, 0.2, 0.2, 0.2, 0.2, 0.5, 0.5, 0.6, 0.0, 0.0],
    [0.3, 0.3, 1.2, 0.5, 0.3, 0.3, 1.0, 0.9, 0.6, 0.4, 0.0, 0.0],
    [0.2, 0.2, 0.9, 0.6, 1.0, 0.7, 0.7, 0.8, 0.5, 0.4, 0.1, 0.1],
    [0.1, 0.1, 0.2, 0.2, 0.5, 0.2, 0.2, 0.7, 0.3, 0.5, 1.2, 1.2],
    [0.8, 0.8, 0.3, 0.2, 0.2, 0.2, 0.4, 0.7, 0.8, 0.9, 0.0, 0.0],
])  # fmt: skip
LATENCY_S = np.array([0.04, 0.08, 0.10, 0.08, 0.02])


@dataclass(frozen=True)
class World:
    """What all animals share.

    `recurrent`: (R, N, N). `drive`: (R, N, K task latents). `read`: (R, N_OWN, N). `sources`:
    (R, N_SOURCES) regions a region listens to, `delay_s` of the same shape, `couple`:
    (R, N_SOURCES, N, N_OWN).
    """

    regions: tuple[str, ...]
    recurrent: Array
    drive: Array
    read: Array
    couple: Array
    sources: NDArray[np.int64]
    delay_s: Array

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the latents that a region's units see, in order."""
        own = [f"own_{i}" for i in range(N_OWN)]
        heard = [f"input_{i}_{j}" for i in range(self.sources.shape[1]) for j in range(N_OWN - 1)]
        return (*TASK, *own, *heard)


def make_world(regions: tuple[str, ...], seed: int) -> World:
    """The dynamics for a seed; the delays are 20 to 60 ms."""
    rng = generator(seed, "synthetic", "world")
    n_regions, n_sources = len(regions), min(N_SOURCES, len(regions) - 1)
    sources = np.array([
        rng.permutation([other for other in range(n_regions) if other != region])[:n_sources]
        for region in range(n_regions)
    ]).reshape(n_regions, n_sources).astype(np.int64)  # fmt: skip
    shape = (n_regions, N_NETWORK)
    read = rng.standard_normal((n_regions, N_NETWORK, N_NETWORK))
    return World(
        regions=regions,
        recurrent=GAIN / N_NETWORK**0.5 * rng.standard_normal((*shape, N_NETWORK)),
        drive=0.25 * rng.standard_normal((*shape, len(TASK))) * _profile(n_regions)[:, None],
        read=np.linalg.qr(read)[0][:, :N_OWN],
        couple=0.5 * rng.standard_normal((n_regions, n_sources, N_NETWORK, N_OWN)),
        sources=sources,
        delay_s=rng.choice([0.02, 0.04, 0.06], (n_regions, n_sources)),
    )


def _profile(n_regions: int) -> Array:
    return np.asarray(PROFILES[np.arange(n_regions) % len(PROFILES)])


def region_latents(
    world: World, task: dict[str, Array], rng: np.random.Generator, bin_s: float
) -> NDArray[np.float32]:
    """(R, T, K) what each region's units see, `world.names` along the last axis.

    Task latents come with the region's latency and strength; the others have unit variance.
    """
    n_regions = len(world.regions)
    encoded = np.stack([task[name] for name in TASK], axis=1)
    own = standard(_networks(world, encoded, rng, bin_s))
    out = np.empty((n_regions, len(encoded), len(world.names)), dtype=np.float32)
    for region in range(n_regions):
        row = region % len(PROFILES)
        late = _delayed(encoded, _bins(LATENCY_S[row], bin_s)) * PROFILES[row]
        delays = zip(world.sources[region], world.delay_s[region], strict=True)
        heard = [_delayed(own[:, s, : N_OWN - 1], _bins(d, bin_s)) for s, d in delays]
        out[region] = np.concatenate([late, own[:, region], *heard], axis=1)
    return out


def _networks(world: World, task: Array, rng: np.random.Generator, bin_s: float) -> Array:
    """(T, R, N_OWN) outputs of the coupled networks, by Euler steps of one bin.

    All regions are one vector here: a step is two matrix-vector products, whatever their number.
    """
    n_bins, n_regions = len(task), len(world.regions)
    size = n_regions * N_NETWORK
    inputs = np.einsum("tk,rnk->trn", task, world.drive).reshape(n_bins, size) * (bin_s / TAU_S)
    noise = NOISE * (bin_s / TAU_S) ** 0.5 * rng.standard_normal((n_bins, size))
    kicks = inputs + noise
    both = np.concatenate([_block_diagonal(world.recurrent), _block_diagonal(world.read)])
    couple = _block_diagonal(world.couple.swapaxes(1, 2).reshape(n_regions, N_NETWORK, -1))
    lag = np.maximum(np.rint(world.delay_s / bin_s).astype(int), 1).repeat(N_OWN, axis=1).ravel()
    column = (world.sources[..., None] * N_OWN + np.arange(N_OWN)).ravel()
    out = np.zeros((n_bins, n_regions * N_OWN))
    state = rng.standard_normal(size)
    for t in range(n_bins):
        product = both @ np.tanh(state)
        out[t] = product[size:]
        flow = product[:size] - state + couple @ out[np.maximum(t - lag, 0), column]
        state = state + bin_s / TAU_S * flow + kicks[t]
    return out.reshape(n_bins, n_regions, N_OWN)


def _block_diagonal(blocks: Array) -> Array:
    """(R * a, R * b) from (R, a, b)."""
    n, a, b = blocks.shape
    out = np.zeros((n, a, n, b))
    out[np.arange(n), :, np.arange(n)] = blocks
    return out.reshape(n * a, n * b)


def _bins(seconds: float, bin_s: float) -> int:
    return round(float(seconds) / bin_s)


def _delayed(values: Array, n_bins: int) -> Array:
    """Values n bins later; the first stands in for what came before the recording."""
    return values[np.maximum(np.arange(len(values)) - n_bins, 0)]
