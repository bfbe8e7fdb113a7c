"""A worm none of whose targets is known: its leading directions turned onto those of another worm.

Neurons have no names, so all that two worms share is dynamics. An orthogonal turn of the new worm's
first few standardised principal components is looked for by which their lagged covariances and
third moments, which know a sign and a direction of time, are those of another worm; that worm's
ridge then decodes. Its answers are averaged over the other worms and over settings, since none was
clearly best and with four worms none can be chosen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.targets import traces
from neurofm.evaluate.drawn import lagged
from neurofm.evaluate.left_out import Animal, activity_pieces

Array = NDArray[np.float64]
SIZES = (3, 4, 5)
LAGS = ((1, 2, 4, 8, 16), (4, 8, 16, 32), (2, 4, 8))
THIRD = (0, 2, 6)  # lags of third moments
BY_THIRD = 0.1  # how much these count
STARTS, STEPS = 16, 150
REACH, PENALTY = 4, 0.1  # lags of the ridge on both sides, in bins, and its penalty
LARGEST = 4.0  # standard deviations of a component


@dataclass(frozen=True)
class Moments:
    """Second moments (lags, n, n) and third ones (lags, n, n, n) of components."""

    second: torch.Tensor
    third: torch.Tensor

    @classmethod
    def of(cls, pieces: Sequence[Array], lags: Sequence[int]) -> "Moments":
        """Of pieces (T, n), within each."""

        def mean(what: str, lag: int, *late: int) -> Array:
            total, count = 0.0, 0
            for p in pieces:
                if len(p) > lag:
                    early, later = p[: len(p) - lag], p[lag:]
                    total = total + np.einsum(what, *(later if k else early for k in late))
                    count += len(early)
            return np.asarray(total) / max(count, 1)

        second = [mean("ti,tj->ij", lag, 0, 1) for lag in lags]
        third = [mean("ti,tj,tk->ijk", lag, 0, 0, 1) for lag in THIRD]
        third += [mean("ti,tj,tk->ijk", lag, 1, 1, 0) for lag in THIRD if lag]
        return cls(torch.tensor(np.stack(second)), torch.tensor(np.stack(third)))


def turned(new: Moments, other: Moments, seed: int) -> Array:
    """(n, n) orthogonal Q such that components @ Q.T of the new worm move as the other's do."""
    n = new.second.shape[-1]
    free = torch.tensor(
        np.random.default_rng(seed).standard_normal((STARTS, n, n)), requires_grad=True
    )
    mirrored = torch.ones(STARTS, 1, n, dtype=torch.float64)
    mirrored[STARTS // 2 :, :, 0] = -1  # a rotation cannot turn one direction around alone
    optimizer = torch.optim.Adam([free], lr=0.1)
    for step in range(STEPS):
        turn = torch.matrix_exp(free - free.transpose(1, 2)) * mirrored
        back = turn.transpose(1, 2)
        second = turn[:, None] @ new.second @ back[:, None]
        third = turn[:, None, None] @ new.third @ back[:, None, None]
        third = torch.einsum("bia,blajk->blijk", turn, third)
        lost = ((second - other.second) ** 2).sum((1, 2, 3))
        lost = lost + BY_THIRD * ((third - other.third) ** 2).sum((1, 2, 3, 4))
        optimizer.zero_grad()
        lost.sum().backward()
        optimizer.step()
        if step == int(0.7 * STEPS):
            optimizer.param_groups[0]["lr"] = 0.02
    return turn[int(lost.argmin())].detach().numpy()


def components(animal: Animal, part: Intervals, n: int) -> list[Array]:
    """The first n of an animal, piece by piece of a part."""
    found = [
        animal.factors(p)[:, :n] for p in activity_pieces(animal.recording, part, animal.bin_s)
    ]
    return [p.clip(-LARGEST, LARGEST) for p in found]


def told(new: Animal, others: Sequence[Animal], names: Sequence[str]) -> dict[str, Array]:
    """{signal: (bins of the test side,)} by the others' decoders, each in its own standard deviations."""
    total = dict.fromkeys(names, 0.0)
    for n in SIZES:
        asked = components(new, new.sides["test"], n)
        for lags in LAGS:
            own = Moments.of(components(new, new.sides["train"], n), lags)
            for other in others:
                theirs = components(other, other.sides["train"], n)
                turn = turned(own, Moments.of(theirs, lags), seed=n)
                x, z = lagged(theirs, REACH), lagged([p @ turn.T for p in asked], REACH)
                gram = x.T @ x
                gram += PENALTY * np.trace(gram) / len(gram) * np.eye(len(gram))
                for name in names:
                    y = traces(other.recording, name, other.bin_s)[
                        other.bins(other.sides["train"]), 0
                    ]
                    y = (y - y.mean()) / y.std()
                    total[name] = total[name] + z @ np.linalg.solve(gram, x.T @ y)
    return {name: np.asarray(one) for name, one in total.items()}
