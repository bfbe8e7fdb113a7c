"""Torch's own random numbers (initialisation, dropout), set for one purpose at a time."""

import torch

from neurofm.seeding import Key, fold


def seed_torch(seed: int, *keys: Key) -> None:
    """Set torch's generators for one purpose, e.g. `seed_torch(seed, "dropout", step)`."""
    torch.manual_seed(fold(seed, *keys) >> 1)
