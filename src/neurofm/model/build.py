"""A fresh model from its configuration."""

import math

import torch

from neurofm.data.unit_factors import N_COLUMNS, N_FACTORS
from neurofm.model.backbone import Backbone
from neurofm.model.inductive import Encoder, Inductive
from neurofm.model.model import Model, ModelConfig
from neurofm.model.rows import Tables
from neurofm.model.temporal import Spans, spans

ENCODED = 32  # numbers that say what a unit, or a direction of its population, is like


def build(
    config: ModelConfig, n_channels: int, n_sites: int, n_regions: int = 0, n_features: int = 0
) -> Model:
    """A model with rows for so many channels and (recording, channel) sites.

    Where rows are computed, for so many regions and columns of features (`Statistics.features`).
    Initialised from torch's generators: seed them before (`neurofm.model.seeded`).
    """
    if config.rows == "table":
        return Model(config, Tables(n_channels, n_sites))
    n_own = n_features - N_FACTORS * N_COLUMNS
    encoder = Encoder(n_own, n_regions, _n_averaged(config), ENCODED)
    refined = (n_channels, n_sites) if config.rows == "both" else (0, 0)
    model = Model(config, Inductive(encoder, ENCODED, *refined))
    model.add_module("encoder", encoder)
    _start_plain(model)
    return model


def _n_averaged(config: ModelConfig) -> float:
    """So many independent bins have the noise of what the path beside the trunk makes of them."""
    if config.doublings:
        path = spans(config.doublings, config.backbone.causal)
        return 1 / sum(weight**2 for weight in _bell(path))
    return float(max(config.kernel, 1))


@torch.no_grad()
def _start_plain(model: Model) -> None:
    """Let what is read in reach the read-out, smoothed over bins and otherwise as it is.

    With computed rows, the model is factor analysis before it is trained.
    """
    width, path = model.config.backbone.width, model.temporal
    if isinstance(model.backbone, Backbone):
        model.backbone.norm.weight.fill_(0.01)
    if path is None:
        return
    path.weight.zero_()
    rank = width
    if path.narrow is not None:  # directions come first: they are kept
        rank = len(path.narrow)
        path.narrow.copy_(torch.eye(rank, width))
    if isinstance(path, Spans):
        for number, weight in enumerate(_bell(path.spans)):
            at = number * rank
            path.weight[:, at : at + rank] = torch.eye(width, rank) * weight
    else:
        share = torch.eye(width, rank)[:, :, None] / path.kernel
        path.weight.copy_(share.expand(-1, -1, path.kernel).flatten(1))


def _bell(over: list[tuple[int, int]]) -> list[float]:
    """Weights of the sums over spans that make a Gaussian of a quarter of their reach, of sum 1."""
    reach = max(max(-first, stop) for first, stop in over)
    middle = [(first + stop - 1) / 2 for first, stop in over]
    width = [stop - first for first, stop in over]
    height = [math.exp(-0.5 * (4 * at / reach) ** 2) for at in middle]
    total = sum(h * n for h, n in zip(height, width, strict=True))
    return [h * math.sqrt(n) / total for h, n in zip(height, width, strict=True)]
