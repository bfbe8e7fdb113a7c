"""Rows per channel: what a model knows of one channel, as vectors that it looks up.

A session's read-in matrix is the stack of its channels' rows, so a new session is new rows and two
sessions share exactly the rows of the channels that they share. A small row per (recording,
channel), zero at first, lets a shared channel differ a little between days.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from neurofm.tokens.tokens import ChannelContext, Group

ENDINGS = (".shared", ".site")
COMPUTING = ("encoder.", ".by_unit.", ".by_factor.")

Like = Literal["weights", "loadings", "slopes"]
"""What a row is for: to read a unit in, to guess its root count, to read its rate out."""


class Rows(nn.Module):
    """A table of rows for channels and, with `n_sites`, of small differences for sites.

    Gradients are sparse: a step costs the same however many sessions are not in its batch.
    """

    def __init__(self, n_channels: int, n_sites: int, width: int, spread: float) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.randn(n_channels, width) * spread)
        self.site = nn.Parameter(torch.zeros(n_sites, width)) if n_sites else None

    def forward(self, context: ChannelContext) -> Tensor:
        """(C, width) rows of a recording's channels."""
        if isinstance(context, OfBatch):
            return context.rows(self)
        return self.look_up(context.row, context.site)

    def look_up(self, row: Tensor, site: Tensor) -> Tensor:
        """(n, width) of (n,) places in the two tables."""
        rows = nn.functional.embedding(row, self.shared, sparse=True)
        if self.site is None:
            return rows
        return rows + nn.functional.embedding(site, self.site, sparse=True)


@dataclass(frozen=True)
class OfBatch(ChannelContext):
    """Channels of one of a batch's groups, whose rows are looked up with those of all others.

    A table's gradient is then one piece. Pieces of groups would be joined one by one, by a copy of
    all before, which took 3% of a step at `base`. `every`: contexts of all groups, and `number` this
    one's among them. `found`: what was looked up, for all groups.
    """

    every: tuple[ChannelContext, ...] = ()
    number: int = 0
    found: dict[Rows, tuple[Tensor, ...]] = field(default_factory=dict)

    def rows(self, table: Rows) -> Tensor:
        """(C, width) of this group."""
        if table not in self.found:
            row, site = (torch.cat([getattr(c, k) for c in self.every]) for k in ("row", "site"))
            sizes = [len(context.row) for context in self.every]
            self.found[table] = torch.split(table.look_up(row, site), sizes)
        return self.found[table][self.number]


def of_batch(groups: Sequence[Group]) -> Sequence[Group]:
    """The same groups for one forward pass on a CPU, in which each table is looked up once.

    As they are where groups share rows: sums over a row would have other last digits.
    """
    every = tuple(group.context for group in groups)
    row = torch.cat([context.row for context in every])
    if len(groups) == 1 or row.device.type != "cpu" or not bool((row[1:] > row[:-1]).all()):
        return groups
    found: dict[Rows, tuple[Tensor, ...]] = {}
    return tuple(
        replace(group, context=OfBatch(**vars(group.context), every=every, number=i, found=found))
        for i, group in enumerate(groups)
    )


class RowMaker(Protocol):
    """Makes modules `(ChannelContext) -> (C, width)`; every part of a model asks it for its rows."""

    def __call__(
        self, width: int, spread: float, *, by_site: bool = True, like: Like | None = None
    ) -> nn.Module:
        """Rows of `width`, of about `spread` at first; `by_site` lets them differ between days.

        `like`: what they start as where that can be computed from a unit's own data.
        """
        ...


@dataclass(frozen=True)
class Tables:
    """Rows from tables that grow with the number of channels: what a channel is, is learned."""

    n_channels: int
    n_sites: int

    def __call__(
        self, width: int, spread: float, *, by_site: bool = True, like: Like | None = None
    ) -> nn.Module:
        del like
        return Rows(self.n_channels, self.n_sites if by_site else 0, width, spread)


def is_row(parameter: str) -> bool:
    """Whether a parameter of this name belongs to channels, not to the trunk."""
    return parameter.endswith(ENDINGS)


def computes_rows(parameter: str) -> bool:
    """Whether a parameter of this name computes rows from what was measured (`model.inductive`)."""
    return any(part in parameter for part in COMPUTING)
