"""Measured points of a study: sizes of every run, and its score on every anchor session."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """R runs over K axes, each measured on S anchor sessions.

    `axes`: names of the sizes, the main one first. `x` (R, K) positive sizes, `y` (R, S) scores,
    NaN where a run was not measured on a session. `metric`: what `y` is, with its unit.
    `rises`: higher is better, as for bits per spike; else `y` is a positive loss.
    """

    axes: tuple[str, ...]
    x: Floats
    y: Floats
    metric: str
    rises: bool

    @classmethod
    def of(
        cls,
        x: NDArray[np.generic] | Sequence[object],
        y: NDArray[np.generic] | Sequence[object],
        *,
        axes: Sequence[str] = ("sessions",),
        metric: str = "bits per spike",
        rises: bool = True,
    ) -> "Points":
        """Points from arrays or lists; `x` (R,) or (R, K), `y` (R,) or (R, S).

        Raises InputError if the lengths differ or a run was measured nowhere.
        """
        values = np.asarray(y, dtype=np.float64)
        values = values.reshape(len(values), -1)
        sizes = np.asarray(x, dtype=np.float64).reshape(-1, len(axes))
        if len(sizes) != len(values):
            raise InputError(
                f"{len(sizes)} sizes and {len(values)} scores; give one of each a run."
            )
        if not np.isfinite(values).any(axis=1).all():
            raise InputError("a run has no finite score; leave it out of the points.")
        return cls(tuple(axes), sizes, values, metric, rises)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def mean(self) -> Floats:
        """(R,) each run's mean over the anchors."""
        return np.asarray(np.nanmean(self.y, axis=1))

    @property
    def levels(self) -> Floats:
        """Distinct sizes of the main axis, rising."""
        return np.unique(self.x[:, 0])

    @property
    def largest(self) -> Floats:
        """(K,) the largest size of each axis."""
        return np.asarray(self.x.max(axis=0))

    def only(self, chosen: NDArray[np.bool_]) -> "Points":
        """Some of the runs."""
        return replace(self, x=self.x[chosen], y=self.y[chosen])
