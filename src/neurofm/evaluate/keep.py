"""Block scores on disk, so that an evaluation goes on where it stopped and gains stay paired."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from neurofm import files
from neurofm.errors import StoreError
from neurofm.evaluate.metrics import BlockScores
from neurofm.seeding import fold

_NAMES = ("predictor", "task", "recording", "asked", "kind")
_ARRAYS = ("unit", "first", "ll_model", "ll_null", "ll_saturated", "spikes")


def place(folder: Path, task: str, recording: str, predictor: str) -> Path:
    """`folder/<task>/<recording>/<predictor>.npz`; ids are made safe as names and stay distinct."""
    return folder / slug(task) / slug(recording) / f"{slug(predictor)}.npz"


def slug(name: str) -> str:
    """A file name for an id; where letters had to go, a short hash keeps it distinct."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80].lstrip(".")
    return safe if safe and safe == name else f"{safe}-{fold(0, name) % 16**8:08x}"


def save(path: Path, scores: BlockScores) -> None:
    """Write the scores whole or not at all."""
    held = {name: np.array(getattr(scores, name)) for name in (*_NAMES, *_ARRAYS)}
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **held)


def load(path: Path) -> BlockScores:
    """Scores that `save` wrote.

    Raises StoreError that names the file if it is missing or damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            names = [name for name in _NAMES if name in held]  # kinds came later
            fields: dict[str, Any] = {name: str(held[name]) for name in names}
            return BlockScores(**fields, **{name: held[name] for name in _ARRAYS})
    except FileNotFoundError:
        raise StoreError(f"{path} is missing; run `neurofm evaluate` to make it.") from None
    except Exception as error:  # a torn archive fails in many ways
        raise StoreError(
            f"{path} is not readable scores ({type(error).__name__}); remove it and evaluate again."
        ) from None


def load_if_asked(path: Path, asked: str) -> BlockScores | None:
    """Kept scores of the same questions (`score.fingerprint`), else None: missing or out of date."""
    if not path.exists():
        return None
    scores = load(path)
    return scores if scores.asked == asked else None
