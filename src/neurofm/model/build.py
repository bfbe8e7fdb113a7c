"""A fresh model from its configuration."""

from neurofm.model.model import Model, ModelConfig
from neurofm.model.rows import Tables


def build(config: ModelConfig, n_channels: int, n_sites: int) -> Model:
    """A model with rows for so many channels and (recording, channel) sites.

    Initialised from torch's generators: seed them before (`neurofm.model.seeded`).
    """
    return Model(config, Tables(n_channels, n_sites))
