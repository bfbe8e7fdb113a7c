"""How well expected values and spreads answer for cells of any kind, one loss for each kind.

`count`: Poisson, or negative binomial where a spread is learned. `real`: Gaussian, in units of the
channel's own spread in training. `category`: cross-entropy, once for all labels of a group.
`embedding`: contrastive, among all that the batch asks of the same embedding (van den Oord et al.
2018, eq. 4), by the cosine in units of its training spread.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from neurofm.data.recording import KINDS
from neurofm.model.kinds import CATEGORY, COUNT, EMBEDDING, REAL
from neurofm.tokens.tokens import ChannelContext, Output, Targets

LEAST_RATE = 1e-6  # counts a bin; keeps the logarithm finite
LEAST_SPREAD = 1e-2  # of counts; below it the gamma functions cancel in single precision
LEAST_CHANCE = 1e-12
TEMPERATURE = 0.1  # of cosines
MOST_COMPARED = 512  # vectors of one embedding in a batch, evenly taken


@dataclass(frozen=True)
class Answered:
    """One group of a batch: what was expected and what was there, (B, T, C) each.

    `spread`: (C,) or None; `overdispersed`: whether that of counts is meant.
    """

    expected: Tensor
    values: Tensor
    scored: Tensor
    prompt: Tensor
    context: ChannelContext | None
    spread: Tensor | None = None
    overdispersed: bool = False

    def cells(self) -> Tensor:
        """(B, T, C) nats of each scored cell; those of embeddings come from `contrasts`."""
        kind = None if self.context is None else self.context.kind
        spread = self.spread if self.overdispersed else None
        if self.context is None or kind is None:
            return count_nll(self.expected, self.values, spread) * self.scored
        counts, rates = (
            v.where(kind == COUNT, x) for v, x in ((self.values, 0.0), (self.expected, 1.0))
        )
        each = count_nll(rates, counts, spread)
        if self.spread is not None:
            one = torch.where(kind == REAL, self.spread, 1.0)
            real = gaussian_nll(self.expected, self.values, one, self.context.scale)
            each = torch.where(kind == REAL, real, each)
        if self.context.group is not None:
            chance = self.expected.where(kind == CATEGORY, 1.0).clamp(min=LEAST_CHANCE)
            each = torch.where(kind == CATEGORY, -self.values * chance.log(), each)
            each = torch.where(kind == EMBEDDING, 0.0, each)
        return each * self.scored


def weights(values: Tensor, scored: Tensor, context: ChannelContext | None) -> Tensor:
    """(B, T, C) how often each scored cell counts.

    A label counts once, in the channel that holds, and a vector once, shared by its channels.
    """
    n = scored.float()
    if context is None or context.kind is None or context.group is None:
        return n
    n = torch.where(context.kind == CATEGORY, n * values, n)
    place = context.group.where(context.group >= 0, len(context.group))
    sizes = n.new_zeros(len(place) + 1).index_add(0, place, torch.ones_like(context.scale))
    return torch.where(context.kind == EMBEDDING, n / sizes[place], n)


def by_kind(cells: Tensor, context: ChannelContext | None) -> Tensor:
    """(B, T, C) -> (B, kinds): sums over the cells of each kind."""
    if context is None or context.kind is None:
        return functional.pad(cells.sum((1, 2))[:, None], (0, len(KINDS) - 1))
    return cells.sum(1) @ functional.one_hot(context.kind, len(KINDS)).to(cells.dtype)


def answered(output: Output, targets: Targets) -> Iterator[Answered]:
    """The groups of a batch, with their answers."""
    n = len(targets.counts)
    contexts, spreads = targets.context or (None,) * n, output.spread or (None,) * n
    columns = output.rates, targets.counts, targets.scored, targets.prompt, contexts, spreads
    for expected, values, scored, prompt, context, spread in zip(*columns, strict=True):
        yield Answered(expected, values.float(), scored, prompt, context, spread,
                       output.overdispersed)  # fmt: skip


def poisson_nll(rates: Tensor, counts: Tensor) -> Tensor:
    """Poisson negative log-likelihood a cell, without the term that has no rate in it."""
    safe = rates.clamp(min=LEAST_RATE)
    return safe - counts * safe.log()


def count_nll(rates: Tensor, counts: Tensor, spread: Tensor | None) -> Tensor:
    """Poisson or, of variance rate + spread * rate^2, negative binomial; both without log(count!)."""
    if spread is None:
        return poisson_nll(rates, counts)
    over, safe = spread.clamp(min=LEAST_SPREAD), rates.clamp(min=LEAST_RATE)
    shape = 1 / over
    cells = (counts + shape) * torch.log1p(over * safe) - counts * (safe.log() + over.log())
    return cells - torch.lgamma(counts + shape) + torch.lgamma(shape)


def gaussian_nll(expected: Tensor, values: Tensor, spread: Tensor, scale: Tensor) -> Tensor:
    """Gaussian negative log-likelihood a cell, of values in units of `scale`; `spread` in the same."""
    off = (values - expected) / (scale * spread)
    return 0.5 * off**2 + spread.log() + 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Contrast:
    """Vectors of one embedding, each to be told from the others: `loss`, `prompt` (n,).

    `each`: how many vectors of the batch one of these stands for.
    """

    loss: Tensor
    prompt: Tensor
    each: float

    @property
    def by_chance(self) -> float:
        """The loss of one who cannot tell them apart."""
        return math.log(len(self.loss))


def contrasts(groups: list[Answered]) -> Iterator[Contrast]:
    """For every embedding that a batch asks about: whichever window or recording, one comparison."""
    found: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
    for one in groups:
        context = one.context
        if context is None or context.kind is None or context.group is None:
            continue
        if context.group.is_meta:  # shapes alone: a comparison is no cost to speak of
            continue
        embedded = context.kind == EMBEDDING
        for group in torch.unique(context.group[embedded]).tolist():
            rows = torch.nonzero(embedded & (context.group == group)).flatten()
            there = one.scored[..., rows].all(-1)
            told, true = (((v[..., rows] - context.mean[rows]) / context.scale[rows])[there]
                          for v in (one.expected, one.values))  # fmt: skip
            prompt = one.prompt[:, None].expand_as(there)[there]
            found.setdefault(int(context.row[rows[0]]), []).append((prompt, told, true))
    for some in found.values():
        prompt, told, true = (torch.cat(column) for column in zip(*some, strict=True))
        every = max(-(-len(prompt) // MOST_COMPARED), 1)
        if len(prompt) > 1:
            loss = told_apart(told[::every], true[::every])
            yield Contrast(loss, prompt[::every], len(prompt) / len(loss))


def told_apart(told: Tensor, true: Tensor, right: Tensor | None = None) -> Tensor:
    """(n,) cross-entropy of which of the vectors `true` (m, d) is meant by each `told` (n, d), by cosine.

    `right` (n,): the one that is; the vector of the same row where it is not given.
    """
    likeness = functional.normalize(told, dim=1) @ functional.normalize(true, dim=1).T
    if right is None:
        right = torch.arange(len(told), device=told.device)
    return functional.cross_entropy(likeness / TEMPERATURE, right, reduction="none")
