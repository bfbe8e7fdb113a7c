"""Directions of a population: what is planted is found, and the order of channels changes nothing."""

from dataclasses import replace

import numpy as np
import pytest

from neurofm import Intervals
from neurofm.data.recording import Recording
from neurofm.data.unit_factors import (
    LAGS_S,
    LOADINGS,
    N_COLUMNS,
    N_FACTORS,
    PRECISE,
    SQUARE,
    unit_factors,
)
from neurofm.errors import InputError


def permuted(recording: Recording, order) -> Recording:
    activity = replace(recording.activity, values=recording.activity.values[:][:, order])
    return replace(recording, channels=recording.channels.take(order), activity=activity)


def test_planted_direction_is_found():
    rng = np.random.default_rng(0)
    slow = np.sin(np.arange(6000) / 40) > 0.8  # rare and slow: skewed, and like itself later
    strength = np.linspace(0.5, 2.5, 20)
    rates = 0.4 * np.exp(slow[:, None] * strength)
    noise = np.full((6000, 4), 0.5)
    counts = rng.poisson(np.concatenate([rates, noise], 1)).astype(np.uint8)
    recording = Recording.from_arrays("r", counts=counts, bin_s=0.02)
    found = unit_factors(recording, recording.valid, 0.02)
    assert found.shape == (24, N_FACTORS, N_COLUMNS)
    first = found[:, 0]
    assert np.corrcoef(first[:20, LOADINGS], strength)[0, 1] > 0.9
    assert np.abs(first[20:, LOADINGS]).max() < 0.15
    own = first[:, PRECISE] @ first[:, SQUARE:]  # of the direction: its third moment, then lags
    assert own[0] > 0
    near, far = own[1], own[len(LAGS_S)]
    assert near > 0
    assert near > 3 * far  # a period is 5 s: after 1 s it is another phase


def test_order_and_other_times_change_nothing(sessions):
    recording, train = sessions[0], Intervals.of([(0.0, 15.0)])
    order = np.random.default_rng(0).permutation(len(recording.channels))
    found = unit_factors(recording, train, 0.02)
    assert np.array_equal(unit_factors(permuted(recording, order), train, 0.02), found[order])
    values = recording.activity.values[:].copy()
    values[800:] = 3  # after 16 s
    later = replace(recording, activity=replace(recording.activity, values=values))
    assert np.array_equal(unit_factors(later, train, 0.02), found)


def test_nothing_to_measure_on_is_refused(sessions):
    with pytest.raises(InputError, match="no whole bin"):
        unit_factors(sessions[0], Intervals.of([(0.001, 0.012)]), 0.02)
