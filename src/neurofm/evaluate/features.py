"""Frozen latents of a recording: what a probe gets."""

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.task import Question


def latents(
    direct: Direct, recording: Recording, intervals: Intervals
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Latents (n, D) of every bin of the intervals, all channels visible, and their bins (n,).

    Raises InputError if the intervals hold no whole bin.
    """
    bin_s = float(direct.trained.config["bin_s"])
    spans = binning.pieces(intervals.intersect(recording.valid), bin_s)
    if not spans:
        raise InputError(f"{recording.id}: there is no bin of {bin_s:g} s to make latents of.")
    questions = [all_visible(recording, first, stop, bin_s) for first, stop in spans]
    parts = direct.latents(questions)
    bins = [np.arange(first, stop) for first, stop in spans]
    return np.concatenate(parts).astype(np.float32), np.concatenate(bins)


def all_visible(recording: Recording, first: int, stop: int, bin_s: float) -> Question:
    """Bins [first, stop) with nothing hidden."""
    counts = binning.activity(recording, first, stop, bin_s)
    none = np.broadcast_to(np.zeros((1, 1), dtype=bool), counts.shape)
    return Question(
        "latents", 0, recording.id, first, bin_s, recording.channels, counts, none, none
    )
