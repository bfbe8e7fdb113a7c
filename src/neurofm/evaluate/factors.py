"""Gaussian-process factor analysis: EM, and the posterior given some of the cells.

Yu, Cunningham, Santhanam, Ryu, Shenoy & Sahani 2009 (J Neurophysiol 102:614): roots y (C,) of counts
in bin t are C x + d + noise, noise diagonal R; every latent x_i is a Gaussian process in time with
unit variance and a squared-exponential covariance of timescale tau_i (eqs. 1-3). A part of its
variance is white: they fix it at 0.001, here it is an argument, since latents rougher than the
kernel are extrapolated too boldly without it.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
N_ITERATIONS = 20
TAUS = tuple(
    float(tau) for tau in np.geomspace(0.7, 90.0, 120)
)  # bins; coarser ones would hold EM up
Kernel = tuple[float, float]  # timescale in bins, and the part of the variance that is white


@dataclass(frozen=True)
class Windows:
    """Roots of counts (n, T, C) of windows of one length; equal where their `digest` is."""

    digest: str
    roots: Doubles = field(compare=False, repr=False)

    @classmethod
    def of(cls, pieces: list[NDArray[np.integer]], n_most: int) -> "Windows":
        """Pieces of counts (T, C) cut into windows of at most `n_most` bins.

        Three quarters of the pieces hold a window; the shorter ones are left out.
        """
        lengths = [len(piece) for piece in pieces]
        n_bins = max(min(n_most, int(np.quantile(lengths, 0.25))), 1)
        cut = [p[k : k + n_bins] for p in pieces for k in range(0, len(p) - n_bins + 1, n_bins)]
        counts = np.ascontiguousarray(np.stack(cut))
        digest = hashlib.sha256(repr((counts.shape, str(counts.dtype))).encode() + counts.tobytes())
        return cls(digest.hexdigest(), np.sqrt(counts, dtype=np.float64))


@dataclass(frozen=True)
class Factors:
    """A fitted model: `loading` (C, k), `offset` (C,), `noise` (C,) variances, `kernels` (k,)."""

    loading: Doubles
    offset: Doubles
    noise: Doubles
    kernels: tuple[Kernel, ...]

    def posterior(self, n_bins: int, rows: NDArray[np.intp], n_seen: int) -> "Posterior":
        """Given channels `rows` in the first `n_seen` of `n_bins` bins."""
        inverses = np.stack([inverse(kernel, n_bins)[0] for kernel in self.kernels])
        seen = np.arange(n_bins) < n_seen
        weights = self.loading[rows] / self.noise[rows, None]
        covariance = _covariance(inverses, weights.T @ self.loading[rows], seen)
        return Posterior(covariance, weights, self.offset[rows], n_seen)

    def roots(self, latents: Doubles, rows: NDArray[np.intp]) -> Doubles:
        """(..., T, k) latents -> (..., T, len(rows)) expected roots of counts."""
        return np.asarray(latents @ self.loading[rows].T + self.offset[rows])


@dataclass(frozen=True)
class Posterior:
    """Of the latents of a window: one linear map, whatever was seen (Yu et al. 2009, eq. A6)."""

    covariance: Doubles  # (k T, k T), latents slowest
    weights: Doubles
    offset: Doubles
    n_seen: int

    @cached_property
    def n_bins(self) -> int:
        """Of the window."""
        return int(self.covariance.shape[0] // self.weights.shape[1])

    def mean(self, roots: Doubles) -> Doubles:
        """(n, T, k) latents from (n, T, V) visible roots; what follows `n_seen` bins is not read."""
        n, k = len(roots), self.weights.shape[1]
        drive = np.zeros((n, k, self.n_bins))
        seen = (roots[:, : self.n_seen] - self.offset) @ self.weights
        drive[:, :, : self.n_seen] = seen.transpose(0, 2, 1)
        flat = drive.reshape(n, -1) @ self.covariance
        return np.asarray(flat.reshape(n, k, self.n_bins).transpose(0, 2, 1))


@lru_cache(maxsize=16)
def fitted(windows: Windows, n_latents: int, white: float) -> Factors:
    """Maximum likelihood by EM, a part `white` of every latent's variance being white. Folds of one recording share it: it depends on their windows alone."""
    roots = windows.roots
    factors = _start(roots, n_latents, white)
    for _ in range(N_ITERATIONS):
        factors = _step(roots, factors)
    return factors


def _start(roots: Doubles, n_latents: int, white: float) -> Factors:
    """Principal axes, the variance beyond them as noise, timescales between 2 bins and half a window."""
    flat = roots.reshape(-1, roots.shape[2])
    offset = flat.mean(axis=0)
    covariance = (flat - offset).T @ (flat - offset) / len(flat)
    power, axes = np.linalg.eigh(covariance)
    rest = power[:-n_latents].mean() if n_latents < len(power) else 0.0
    size = np.sqrt(np.maximum(power[-n_latents:] - rest, 1e-6))
    loading = axes[:, -n_latents:] * size
    noise = _noise(np.diag(covariance) - (loading**2).sum(axis=1), np.diag(covariance))
    wanted = np.geomspace(2.0, max(roots.shape[1] / 2, 2.0), n_latents + 2)[1:-1]
    nearest = [int(np.argmin(np.abs(np.array(TAUS) - tau))) for tau in wanted]  # largest axis last
    return Factors(loading, offset, noise, tuple((TAUS[i], white) for i in nearest))


def _step(roots: Doubles, factors: Factors) -> Factors:
    """One round of EM (Yu et al. 2009, eqs. A6-A11), with timescales from a grid."""
    n, n_bins, n_channels = roots.shape
    k = len(factors.kernels)
    posterior = factors.posterior(n_bins, np.arange(n_channels), n_bins)
    latents = posterior.mean(roots)
    blocks = posterior.covariance.reshape(k, n_bins, k, n_bins)
    flat, y = latents.reshape(-1, k), roots.reshape(-1, n_channels)
    second = np.zeros((k + 1, k + 1))
    second[:k, :k] = flat.T @ flat + n * np.einsum("itjt->ij", blocks)
    second[:k, k] = second[k, :k] = flat.sum(axis=0)
    second[k, k] = len(flat)
    cross = np.concatenate([y.T @ flat, y.sum(axis=0)[:, None]], axis=1)
    solution = np.linalg.solve(second, cross.T).T
    square = (y**2).mean(axis=0)
    noise = square - (solution * cross).sum(axis=1) / len(flat)
    noise = _noise(noise, square - y.mean(axis=0) ** 2)
    white = factors.kernels[0][1]
    kernels = [_likeliest(latents[:, :, i], n * blocks[i, :, i], white) for i in range(k)]
    return Factors(solution[:, :k], solution[:, k], noise, tuple(kernels))


def _likeliest(latent: Doubles, spread: Doubles, white: float) -> Kernel:
    """The timescale with the highest expected log-likelihood of one latent (n, T), and `white`."""
    second = (latent.T @ latent + spread).reshape(-1)
    precisions, log_determinants = _grid(len(spread), white)
    likelihood = -len(latent) * log_determinants - precisions @ second
    return TAUS[int(np.argmax(likelihood))], white


@lru_cache(maxsize=4)
def _grid(n_bins: int, white: float) -> tuple[Doubles, Doubles]:
    """(n_taus, T * T) inverse covariances of all timescales, and the logs of their determinants."""
    pairs = [inverse((tau, white), n_bins) for tau in TAUS]
    return np.stack([p.reshape(-1) for p, _ in pairs]), np.array([d for _, d in pairs])


def inverse(kernel: Kernel, n_bins: int) -> tuple[Doubles, float]:
    """Of a latent's covariance over `n_bins` bins: its inverse, and the log of its determinant."""
    tau, white = kernel
    distance = np.subtract.outer(np.arange(n_bins), np.arange(n_bins)) / tau
    covariance = (1 - white) * np.exp(-0.5 * distance**2) + white * np.eye(n_bins)
    return np.asarray(np.linalg.inv(covariance), dtype=np.float64), float(
        np.linalg.slogdet(covariance)[1]
    )


def _covariance(inverses: Doubles, information: Doubles, seen: NDArray[np.bool_]) -> Doubles:
    """(k T, k T) inverse of (inverse prior + `information` (k, k) in every seen bin)."""
    k, n_bins = inverses.shape[:2]
    precision = np.zeros((k, n_bins, k, n_bins))
    for i in range(k):
        precision[i, :, i] = inverses[i]
    at = np.flatnonzero(seen)
    precision[:, at, :, at] += information
    flat = precision.reshape(k * n_bins, k * n_bins)
    return np.asarray(np.linalg.inv(flat), dtype=np.float64)


def _noise(variance: Doubles, total: Doubles) -> Doubles:
    """At least a hundredth of the whole variance, and never 0: silent channels have none."""
    return np.asarray(np.maximum(variance, np.maximum(0.01 * total, 1e-6)))
