"""A Gaussian process over time as the prior of behaviour, and its posterior given activity.

Values (k axes) are Matérn processes of smoothness 5/2 (Rasmussen and Williams 2006, eq. 4.17), which a state
of values, slopes and curvatures carries from bin to bin (Hartikainen and Särkkä 2010). Noise that channels share and
that lasts is part of the state too, or every bin would count as news (Wu et al. 2009). Where activity is linear in the state,
with noise, the posterior is Gaussian and exact: a Kalman filter (1960) from the past alone, a smoother
(Rauch, Tung and Striebel 1965) from the whole piece.
"""

from dataclasses import dataclass

import numpy as np

from neurofm.evaluate.metrics import Floats

STATIONARY = np.array([[1.0, 0.0, -1 / 3], [0.0, 1 / 3, 0.0], [-1 / 3, 0.0, 1.0]])
NILPOTENT = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [-1.0, -3.0, -2.0]])
SETTLED = 1e-9  # change of a covariance from bin to bin, of its largest entry


@dataclass(frozen=True)
class Process:
    """A prior of mean 0 over states (3k + q,): values, slopes and curvatures of k axes, and q shared noises.

    `rate`: sqrt(5) / length scale, a bin; slopes are told over it, curvatures over its square. `covariance`
    (k, k) of the values at one time. `carried` (q,): what is left of each noise, of variance 1, a bin later.
    """

    rate: float
    covariance: Floats
    carried: Floats

    @property
    def stationary(self) -> Floats:
        """(S, S) covariance of a state of which nothing is known."""
        return _beside(np.kron(STATIONARY, self.covariance), np.eye(len(self.carried)))

    @property
    def move(self) -> Floats:
        """(S, S): the expected state a bin later is this times the state."""
        turned = np.eye(3) + self.rate * NILPOTENT + 0.5 * self.rate**2 * NILPOTENT @ NILPOTENT
        values = np.kron(np.exp(-self.rate) * turned, np.eye(len(self.covariance)))
        return _beside(values, np.diag(self.carried))


def _beside(a: Floats, b: Floats) -> Floats:
    """Two square matrices as blocks of one."""
    out = np.zeros((len(a) + len(b),) * 2)
    out[: len(a), : len(a)] = a
    out[len(a) :, len(a) :] = b
    return out


@dataclass(frozen=True)
class Gaussians:
    """One Gaussian a bin: `mean` (T, k), `covariance` (T, k, k)."""

    mean: Floats
    covariance: Floats

    def log_density(self, values: Floats) -> Floats:
        """(T,) nats: of `values` (T, k); NaN where one is unknown."""
        size = np.linalg.slogdet(self.covariance)[1] + values.shape[1] * np.log(2 * np.pi)
        return np.asarray(-0.5 * (self.distance(values) + size))

    def log_densities(self, cells: Floats) -> Floats:
        """(T, G) nats: of each candidate (G, k) in each bin."""
        precision = np.linalg.inv(self.covariance)
        pull = np.einsum("tij,tj->ti", precision, self.mean)
        pairs = (cells[:, :, None] * cells[:, None]).reshape(len(cells), -1)
        square = precision.reshape(len(precision), -1) @ pairs.T - 2 * pull @ cells.T
        size = np.linalg.slogdet(self.covariance)[1] + cells.shape[1] * np.log(2 * np.pi)
        own = (pull * self.mean).sum(axis=1) + size
        return np.asarray(-0.5 * (square + own[:, None]))

    def distance(self, values: Floats) -> Floats:
        """(T,) squared Mahalanobis distance of `values` (T, k): chi-squared of k where calibrated."""
        off = values - self.mean
        told = np.linalg.solve(self.covariance, off[..., None])[..., 0]
        return np.asarray((off * told).sum(axis=1))


def filtered(process: Process, pull: Floats, information: Floats) -> Gaussians:
    """The posterior of each bin's values given it and the bins before it; one contiguous piece.

    The log-likelihood of bin t is `pull[t]` @ s - s @ `information` @ s / 2 of its state s: `pull` (T, S),
    `information` (S, S).
    """
    known = _Covariances.of(process, information, len(pull))
    k = len(process.covariance)
    return Gaussians(
        known.means(pull)[:, :k], np.stack([known.after(t)[:k, :k] for t in range(len(pull))])
    )


def smoothed(process: Process, pull: Floats, information: Floats) -> Gaussians:
    """The posterior of each bin's values given the whole piece; arguments as of `filtered`."""
    known, n = _Covariances.of(process, information, len(pull)), len(pull)
    move, mean, k = process.move, known.means(pull), len(process.covariance)
    covariance, gain = known.after(n - 1), np.zeros_like(move)
    out = np.empty((n, k, k))
    out[-1] = covariance[:k, :k]
    for t in range(n - 2, -1, -1):
        if t == n - 2 or t < known.settled:
            gain = np.asarray(np.linalg.solve(known.ahead(t + 1), move @ known.after(t))).T
        mean[t] += gain @ (mean[t + 1] - move @ mean[t])
        covariance = np.asarray(known.after(t) + gain @ (covariance - known.ahead(t + 1)) @ gain.T)
        out[t] = covariance[:k, :k]
    return Gaussians(mean[:, :k], out)


@dataclass(frozen=True)
class _Covariances:
    """(S, S) of the state of each bin from the past, which no activity changes and which settle soon."""

    process: Process
    information: Floats
    of_each: list[tuple[Floats, Floats]]  # given the bin and its past; given the past alone

    @classmethod
    def of(cls, process: Process, information: Floats, n_bins: int) -> "_Covariances":
        move, still = process.move, process.stationary
        new, before = still - move @ still @ move.T, still
        found: list[tuple[Floats, Floats]] = []
        while len(found) < n_bins:
            now = np.linalg.solve(np.eye(len(still)) + before @ information, before)
            found.append((0.5 * (now + now.T), before))
            if len(found) > 1 and _same(found[-1][0], found[-2][0]):
                break
            before = move @ found[-1][0] @ move.T + new
        return cls(process, information, found)

    @property
    def settled(self) -> int:
        """From this bin on they stay."""
        return len(self.of_each) - 1

    def after(self, t: int) -> Floats:
        return self.of_each[min(t, self.settled)][0]

    def ahead(self, t: int) -> Floats:
        return self.of_each[min(t, self.settled)][1]

    def means(self, pull: Floats) -> Floats:
        """(T, S) of the states, from the past."""
        move, out, at = self.process.move, np.zeros_like(pull), np.zeros(pull.shape[1])
        for t, slope in enumerate(pull):
            ahead = move @ at
            at = out[t] = ahead + self.after(t) @ (slope - self.information @ ahead)
        return out


def _same(a: Floats, b: Floats) -> bool:
    return bool(np.abs(a - b).max() < SETTLED * np.abs(b).max())
