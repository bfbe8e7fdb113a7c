"""Training batches in which the directions of a population point either way, and regions go unnamed.

The sign of a direction that was found in one session means nothing in another. A trunk that has seen
both signs of each learns what holds for both.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from neurofm.data.unit_factors import N_COLUMNS, N_FACTORS, SQUARE
from neurofm.seeding import generator
from neurofm.tokens.tokens import Batch, ChannelContext, Group, Targets

UNNAMED = 0.1  # of the groups of windows have no region names


@dataclass(frozen=True)
class Turned:
    """`(step) -> (Batch, Targets)`: those of `batches`, with directions turned by (seed, step)."""

    batches: Callable[[int], tuple[Batch, Targets]]
    seed: int

    def __call__(self, step: int) -> tuple[Batch, Targets]:
        batch, targets = self.batches(step)
        groups = (self._turned(group, step, n) for n, group in enumerate(batch.groups))
        return Batch(tuple(groups)), targets

    def _turned(self, group: Group, step: int, number: int) -> Group:
        if group.context.features is None:
            return group
        rng = generator(self.seed, "turned", step, number)
        return replace(group, context=turned(group.context, rng))


def turned(context: ChannelContext, rng: np.random.Generator) -> ChannelContext:
    """Each direction's sign drawn anew; now and then every region is one that is not known."""
    assert context.features is not None
    assert context.region is not None
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], N_FACTORS).astype(np.float32))
    signs = sign[:, None].repeat(1, N_COLUMNS)
    signs[:, SQUARE] = 1.0  # f^2 has no sign
    n_own = context.features.shape[1] - N_FACTORS * N_COLUMNS
    features = context.features.clone()
    features[:, n_own:] *= signs.flatten()
    region = context.region * int(rng.random() >= UNNAMED)
    return replace(context, features=features, region=region)
