"""Answers about windows of people, kept in a file as they are made."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurofm import files
from neurofm.errors import StoreError
from neurofm.evaluate.metrics import Floats


@dataclass(frozen=True)
class Answers:
    """`labels` (L,) in the order of `chances`: {method: (N, L)}."""

    labels: NDArray[np.str_]
    chances: dict[str, Floats]


def kept(path: Path, make: Callable[[], Answers]) -> Answers:
    """What a file holds or, where there is none, what `make` says, from then on in the file.

    Raises StoreError if the file is damaged.
    """
    if path.exists():
        return _load(path)
    made = make()
    files.make(path.parent)
    held: Mapping[str, np.ndarray] = made.chances
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, labels=made.labels, **held)
    return made


def _load(path: Path) -> Answers:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            chances = {name: held[name] for name in held.files if name != "labels"}
            return Answers(held["labels"], chances)
    except Exception as error:  # a torn archive fails in many ways
        raise StoreError(
            f"{path} is not readable answers ({type(error).__name__}); remove it and run again."
        ) from None
