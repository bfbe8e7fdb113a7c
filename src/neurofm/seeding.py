"""Random numbers as a pure function of a seed and what they are for.

Nothing keeps a random state: `generator(seed, "mask", step, sample)` gives the same stream in any
process, with any number of workers, after any resume.
"""

import hashlib

import numpy as np

Key = int | str


def fold(seed: int, *keys: Key) -> int:
    """A 64-bit integer that depends on the seed and on every key, in order.

    A NumPy integer counts as the integer that it is; 1 and "1" differ.
    """
    named = [f"str:{k}" if isinstance(k, str) else f"int:{int(k)}" for k in keys]
    text = "\x1f".join([str(int(seed)), *named])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, *keys: Key) -> np.random.Generator:
    """A NumPy generator for one purpose, e.g. `generator(seed, "mask", step, sample)`."""
    return np.random.Generator(np.random.Philox(fold(seed, *keys)))
