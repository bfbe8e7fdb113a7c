"""Training batches in which what is known of units varies as it will in new animals.

The sign of a direction that was found in one session means nothing in another, so a trunk should see
both signs of each. Features of a new animal come from a few minutes, and not from the windows that
are predicted, so some batches have features of a part of the training side alone. Now and then
regions go unnamed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from neurofm.data.intervals import Intervals
from neurofm.data.unit_factors import N_COLUMNS, N_FACTORS, SQUARE
from neurofm.seeding import generator
from neurofm.tokens.tokens import Batch, ChannelContext, Group, Targets
from neurofm.tokens.vocabulary import Statistics, with_features
from neurofm.train.batches import MaskedBatches

UNNAMED = 0.1  # of the groups of windows have no region names
PARTLY = 0.6  # have features of one part of the training side
N_PARTS = 4
LEAST_S = 20.0  # of a part; shorter ones say too little


@dataclass(frozen=True)
class Turned:
    """`(step) -> (Batch, Targets)`: those of `batches`, with features varied by (seed, step).

    `parts`: {first site of a recording: its features (C, K) on each part of its training side}.
    """

    batches: MaskedBatches
    seed: int
    parts: Mapping[int, Sequence[Tensor]]

    @classmethod
    def over(
        cls,
        batches: MaskedBatches,
        train: Mapping[str, Intervals],
        measured: Mapping[str, Statistics],
    ) -> "Turned":
        """With features measured on the parts of every recording's training side."""
        corpus, parts = batches.corpus, {}
        for recording, context in zip(corpus.recordings, corpus.contexts, strict=True):
            found = [
                with_features(measured[recording.id], recording, part, corpus.bin_s).features
                for part in parts_of(train[recording.id])
            ]
            where = context.site.device
            parts[int(context.site[0])] = [
                torch.from_numpy(f).to(where) for f in found if f is not None
            ]
        return cls(batches, batches.seed, parts)

    def __call__(self, step: int) -> tuple[Batch, Targets]:
        batch, targets = self.batches(step)
        numbered = zip(self.batches.numbers(step), batch.groups, strict=True)
        return Batch(tuple(self._turned(group, step, n) for n, group in numbered)), targets

    def part(self, number: int, of: int) -> "Turned":
        """One of `of` slices of these batches; what varies is that of the whole batch."""
        return replace(self, batches=self.batches.part(number, of))

    def _turned(self, group: Group, step: int, number: int) -> Group:
        if group.context.features is None:
            return group
        rng = generator(self.seed, "turned", step, number)
        context, parts = group.context, self.parts.get(int(group.context.site[0]), ())
        if len(parts) and rng.random() < PARTLY:
            chosen = parts[int(rng.integers(len(parts)))]
            context = replace(context, features=chosen)
        return replace(group, context=turned(context, rng))


def turned(context: ChannelContext, rng: np.random.Generator) -> ChannelContext:
    """Each direction's sign drawn anew; now and then every region is one that is not known."""
    assert context.features is not None
    assert context.region is not None
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], N_FACTORS).astype(np.float32))
    signs = sign[:, None].repeat(1, N_COLUMNS)
    signs[:, SQUARE] = 1.0  # f^2 has no sign
    n_own = context.features.shape[1] - N_FACTORS * N_COLUMNS
    features = context.features.clone()
    features[:, n_own:] *= signs.flatten().to(features.device)
    region = context.region * int(rng.random() >= UNNAMED)
    return replace(context, features=features, region=region)


def parts_of(train: Intervals) -> list[Intervals]:
    """The training side in up to N_PARTS equal lengths of time; none if they were too short."""
    n = min(N_PARTS, int(train.total_s / LEAST_S))
    if n < 2:
        return []
    before = np.concatenate([[0.0], np.cumsum(train.end - train.start)])
    cuts = np.linspace(0, before[-1], n + 1)[1:-1]
    piece = np.searchsorted(before, cuts, side="right") - 1
    inner = train.start[piece] + cuts - before[piece]
    edges = [float(train.start[0]), *inner.tolist(), float(train.end[-1])]
    return [train.clip(a, b) for a, b in pairwise(edges)]
