"""The planted rate bounds every score; destroyed data score no better than chance."""

from dataclasses import replace

import numpy as np
import pytest

from neurofm import Intervals
from neurofm.data.binning import activity
from neurofm.data.plain import exact_seconds
from neurofm.data.recording import Samples
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.evaluate.baselines import BASELINES
from neurofm.evaluate.metrics import METRICS, gain, value
from neurofm.evaluate.planted import Planted
from neurofm.evaluate.score import score
from neurofm.evaluate.tasks import TASKS

BIN_S = 0.02
SIDES = {"train": (0, 60), "valid": (60, 75), "test": (75, 120)}


@pytest.fixture(scope="module")
def session():
    config = SimulationConfig(
        n_animals=1, sessions_per_animal=1, units_min=20, units_max=20, minutes=2,
        regions=("VISp", "MOs"),
    )  # fmt: skip
    return simulate(config, seed=0)[0]


def scored(factory, task, recording):
    sides = {side: Intervals.of([span]) for side, span in SIDES.items()}
    return score(factory, "x", TASKS[task], recording, bin_s=BIN_S, block_s=5.0, **sides).scores


@pytest.mark.parametrize("task", ["co-smoothing", "forward"])
@pytest.mark.parametrize("name", ["mean-rate", "ridge", "coupling-glm"])
def test_no_baseline_beats_what_was_planted(session, task, name):
    recording = session.recording
    planted = Planted({recording.id: session.truth.at(BIN_S).true_rates})
    ceiling = scored(lambda: planted, task, recording)
    rival = scored(BASELINES[name], task, recording)
    above, low, _ = gain(ceiling, rival, METRICS["bps_pooled"])
    assert above > 0
    assert low > 0


def test_the_private_part_of_the_truth_is_worth_something(session):
    truth = session.truth.at(BIN_S)
    both = [
        scored(
            lambda r=rates: Planted({session.recording.id: r}), "co-smoothing", session.recording
        )
        for rates in (truth.true_rates, truth.shared_rates)
    ]
    own, shared = (value(s, METRICS["bps_pooled"]) for s in both)
    assert own > shared > 0


@pytest.mark.parametrize("name", sorted(set(BASELINES) - {"mean-rate"}))
def test_channels_shuffled_in_time_score_chance(session, name):
    recording = session.recording
    counts = activity(recording, 0, 6000, BIN_S)
    rng = np.random.default_rng(0)
    order = np.argsort(rng.random(counts.shape), axis=0)  # every channel on its own
    shuffled = np.take_along_axis(counts, order, axis=0)
    broken = replace(recording, activity=Samples(shuffled, exact_seconds(BIN_S, "bin_s")))
    assert abs(value(scored(BASELINES[name], "co-smoothing", broken), METRICS["bps_pooled"])) < 0.02
