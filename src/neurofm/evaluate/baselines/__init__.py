"""Rival methods, one a file; each is a `Predictor`, called for each fold anew.

Those of `SESSION_BASELINES` learn from several recordings before: they are given a task, recordings,
their training parts, the bin width and a seed, and return what makes a predictor for a recording.
"""

from collections.abc import Callable

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.evaluate.baselines.autoencoder import Autoencoder
from neurofm.evaluate.baselines.coupled_glm import CoupledGLM
from neurofm.evaluate.baselines.coupling_glm import CouplingGLM
from neurofm.evaluate.baselines.gpfa import GPFA
from neurofm.evaluate.baselines.mean_rate import MeanRate
from neurofm.evaluate.baselines.reduced_rank import ReducedRank
from neurofm.evaluate.baselines.region_mean import RegionMean
from neurofm.evaluate.baselines.ridge import Ridge
from neurofm.evaluate.baselines.ridge_wide import RidgeWide
from neurofm.evaluate.baselines.rrr_sessions import Sessions
from neurofm.evaluate.baselines.smoothing import Smoothing
from neurofm.evaluate.baselines.trailing_mean import TrailingMean
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.tasks import Task

Sides = tuple[Intervals, ...]
OverSessions = Callable[
    [Task, tuple[Recording, ...], Sides, float, int], Callable[[Recording], Predictor]
]

BASELINES: dict[str, Callable[[], Predictor]] = {
    "mean-rate": MeanRate,
    "trailing-mean": TrailingMean,
    "region-mean": RegionMean,
    "smoothing": Smoothing,
    "ridge": Ridge,
    "ridge-wide": RidgeWide,
    "reduced-rank": ReducedRank,
    "coupling-glm": CouplingGLM,
    "coupled-glm": CoupledGLM,
    "gpfa": GPFA,
    "autoencoder": Autoencoder,
}

SESSION_BASELINES: dict[str, OverSessions] = {
    "rrr-sessions": Sessions,
}

OF_ANY_KIND = ("mean-rate", "ridge", "ridge-wide")
"""Those that are asked about values and labels, and see them."""

OF_COUNTS_FROM_ANY = ("coupled-glm",)
"""Those that are asked about counts alone, and see values and labels too."""
