"""Questions about activity: which cells are hidden, which are scored.

A question never holds its answer: hiding happens here, before any predictor is called.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.recording import Channels


@dataclass(frozen=True)
class Question:
    """One piece of one recording with cells hidden.

    `visible` (T, C) counts, 0 where hidden; values of channels of other kinds, NaN where they were
    not recorded. `hidden`, `scored` (T, C) booleans; scored cells are
    hidden. `first`: the bin of the recording where the piece starts. `task` and `fold` name the
    pattern: questions of one (recording, task, fold) hide the same channels or the same horizon.
    """

    task: str
    fold: int
    recording: str
    first: int
    bin_s: float
    channels: Channels
    visible: NDArray[Any]
    hidden: NDArray[np.bool_]
    scored: NDArray[np.bool_]


@dataclass(frozen=True)
class Example:
    """A question and its answer: `counts` (T, C), everything that was recorded."""

    question: Question
    counts: NDArray[Any]
