from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurofm.data import clock
from neurofm.errors import InputError


def test_absurd_and_missing_times_are_dropped_and_said():
    times = np.array([5.0, np.nan, -1.5e9, 7.0, np.inf, 6.0])
    keep, flags = clock.plausible(times, "units/spike_times")
    assert times[keep].tolist() == [5.0, 7.0, 6.0]
    assert [f.message for f in flags] == [
        "2 times were not finite and were dropped",
        "1 absurd times (-1.5e+09 s) were dropped",
    ]


def test_a_calendar_clock_is_not_absurd_but_moves_the_origin():
    times = 1.6e9 + np.array([0.5, 2.0])
    assert clock.plausible(times, "x")[0].all()
    assert clock.origin([float(times.min())]) == 1_600_000_000
    assert clock.origin([0.2]) == 0
    assert clock.origin([-0.2]) == -1
    assert clock.origin([-1e-9]) == 0


def test_ticks_follow_a_stated_resolution_only_if_the_times_do():
    grid = np.arange(1000) / 30_000
    assert clock.rate_of(grid, 1 / 30_000) == 30_000
    assert clock.rate_of(grid + 1e-5, 1 / 30_000) == clock.MICROSECOND
    assert clock.rate_of(grid, None) == clock.MICROSECOND
    assert clock.rate_of(grid, float("nan")) == clock.MICROSECOND
    assert clock.rate_of(grid, -1.0) == clock.MICROSECOND


def test_times_out_of_order_are_sorted_and_said():
    times, row = np.array([3.0, 1.0, 2.0, 2.5]), np.array([0, 0, 1, 1])
    events, flags = clock.events(times, row, Fraction(10), "f")
    assert events.ticks.tolist() == [10, 20, 25, 30]
    assert events.row.tolist() == [0, 1, 1, 0]
    assert [f.message for f in flags] == ["1 times of 1 units were out of order and sorted"]


def test_times_before_the_clock_are_refused():
    with pytest.raises(InputError, match="before the start"):
        clock.events(np.array([-1.0]), np.array([0]), Fraction(10), "f")


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=50), st.integers(1, 10**6))
def test_ticks_survive_float_seconds(ticks, rate):
    ticks = np.sort(np.array(ticks) % (rate * 604_800))
    events, _ = clock.events(ticks / rate, np.zeros(len(ticks), np.int64), Fraction(rate), "f")
    np.testing.assert_array_equal(events.ticks, ticks)
