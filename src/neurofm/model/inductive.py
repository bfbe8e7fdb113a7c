"""Rows computed from a unit's own data: a new animal works with no training at all.

Its units were never seen, but what they do can be measured: how they fire, and how they go with the
leading directions of their population (`data.unit_factors`). With the rows that they start from, read
in and read out are factor analysis in the session's own directions. A set encoder (Zaheer et al.
2017) looks at what each direction is like, from sums over the units that take part in it, and says
where in the model's latents it belongs, so that one trunk can serve all animals.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from neurofm.data.unit_factors import LOADINGS, N_COLUMNS, N_FACTORS, PRECISE, SLOPES
from neurofm.model.rows import Like, Rows
from neurofm.tokens.tokens import ChannelContext

SLOPE_AT_REST = 0.632  # of softplus where it gives 1, so that the slopes of a count come out right


@dataclass(frozen=True)
class Encoded:
    """C units and n directions. `units`: (C, E). `factors`: (n, E). `going`: (C, n) each, by `Like`."""

    units: Tensor
    factors: Tensor
    going: dict[str, Tensor]


class Encoder(nn.Module):
    """What units and directions are like, from features: one for a whole model.

    A direction is described by sums over its units, so that the order of units changes nothing and
    the parameters do not grow with their number. `n_bins`: over so many is what is read in averaged
    later, at first; the fewer, the less do weak directions count.
    """

    def __init__(
        self, n_features: int, n_regions: int, n_bins: float, size: int = 32, hidden: int = 64
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.log_bins = nn.Parameter(torch.tensor([math.log(n_bins)]))
        self.region = nn.Embedding(n_regions + 1, 8)
        nn.init.normal_(self.region.weight, std=0.3)
        self.unit = nn.Sequential(
            nn.Linear(n_features + 8, hidden), nn.GELU(), nn.Linear(hidden, size)
        )
        self.factor = nn.Sequential(
            nn.Linear(N_COLUMNS - 1 + size + 8, hidden), nn.GELU(), nn.Linear(hidden, size)
        )

    def forward(self, context: ChannelContext) -> Encoded:
        assert context.features is not None
        assert context.region is not None
        region = self.region(context.region)
        own = torch.cat([context.features[:, : self.n_features], region], 1)
        units = self.unit(own)
        columns = context.features[:, self.n_features :].view(len(units), N_FACTORS, N_COLUMNS)
        weights = self._weights(columns[:, :, PRECISE], columns[:, :, LOADINGS])
        share = weights * columns[:, :, LOADINGS]  # sums to the part of a factor that is known
        like = torch.einsum("cn,cnm->nm", weights, columns[:, :, 1:])
        who = torch.cat([units, region], 1)
        factors = self.factor(torch.cat([like, share.T @ who], 1))
        slopes = columns[:, :, SLOPES] / SLOPE_AT_REST
        going = {"weights": weights, "loadings": columns[:, :, LOADINGS], "slopes": slopes}
        return Encoded(units, factors, going)

    def _weights(self, precise: Tensor, loadings: Tensor) -> Tensor:
        """(C, n) that make the posterior mean of the factors; in full precision, for the inverse."""
        kind = "cpu" if precise.is_meta else precise.device.type  # shapes alone know no autocast
        with torch.autocast(kind, enabled=False):
            noise = torch.diag((-self.log_bins).exp().expand(precise.shape[1]))
            out: Tensor = precise @ torch.linalg.inv(noise + precise.T @ loadings)
            return out


class InductiveRows(nn.Module):
    """(C, width) rows: directions where they belong, by how a unit goes with them, and its own part.

    `table`: rows that are zero at first and are added, so that a unit starts well and is refined.
    """

    def __init__(
        self, encoder: Encoder, size: int, width: int, like: Like | None, table: Rows | None
    ) -> None:
        super().__init__()
        self.encoders = (encoder,)  # a tuple: the model holds its weights, under one name
        self.like = like
        self.table = table
        self.by_unit = nn.Linear(size, width)
        nn.init.zeros_(self.by_unit.weight)
        nn.init.zeros_(self.by_unit.bias)
        self.by_factor: nn.Linear | None = None
        if like is not None:
            self.by_factor = nn.Linear(size, width)
            nn.init.normal_(self.by_factor.weight, std=0.02)
            nn.init.zeros_(self.by_factor.bias)

    def forward(self, context: ChannelContext) -> Tensor:
        encoded = self.encoders[0](context)
        rows: Tensor = self.by_unit(encoded.units)
        if self.like is not None and self.by_factor is not None:
            by = encoded.going[self.like]
            start = torch.eye(by.shape[1], rows.shape[1], device=rows.device)
            rows = rows + by @ (start + self.by_factor(encoded.factors))
        return rows if self.table is None else rows + self.table(context)


class Inductive:
    """Makes computed rows for every part of a model; with channels, refined by tables."""

    def __init__(self, encoder: Encoder, size: int, n_channels: int = 0, n_sites: int = 0) -> None:
        self.encoder, self.size = encoder, size
        self.n_channels, self.n_sites = n_channels, n_sites

    def __call__(
        self, width: int, spread: float, *, by_site: bool = True, like: Like | None = None
    ) -> nn.Module:
        del spread
        table = None
        if self.n_channels:
            table = Rows(self.n_channels, self.n_sites if by_site else 0, width, 0.0)
        return InductiveRows(self.encoder, self.size, width, like, table)
