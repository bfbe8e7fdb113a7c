import numpy as np
import pytest

from neurofm import Intervals, Recording
from neurofm.errors import InputError
from neurofm.evaluate.tuning import LAGS_S, common_signals, tuning
from neurofm.seeding import generator

N_BINS = 10_000


def recording(wheel: np.ndarray, counts: np.ndarray) -> Recording:
    signals = {"wheel": wheel.astype(np.float32), "still": np.zeros(N_BINS, dtype=np.float32)}
    return Recording.from_arrays(
        "r", counts=counts.astype(np.uint8), bin_s=0.02, signals=signals, valid=[(0, 150)]
    )


def test_a_unit_behind_a_signal_is_found_at_its_lag_from_the_intervals_alone() -> None:
    rng = generator(0, "tuning")
    wheel = np.repeat(rng.standard_normal(N_BINS // 10), 10)
    late = np.roll(wheel, 10)  # 0.2 s
    counts = rng.poisson(np.stack([np.exp(0.8 * late), np.exp(-0.8 * late), np.ones(N_BINS)], 1))
    wheel[8000:], counts[9000:] = np.nan, 9
    r = recording(wheel, np.where(np.arange(N_BINS)[:, None] < 5000, counts, 40))
    found = tuning(r, Intervals.of([(0, 100), (170, 200)]), ["wheel"], 0.02)
    assert found.shape == (3, len(LAGS_S))
    assert found[:2].argmax(axis=1).tolist() == [3, 3]
    assert found[:2, 3].min() > 0.6
    assert found[2].max() < 0.15
    assert not tuning(r, Intervals.of([(0, 100)]), ["still"], 0.02).any()
    with pytest.raises(InputError, match="no bin has all"):
        tuning(r, Intervals.of([(170, 200)]), ["wheel"], 0.02)


def test_signals_in_common_have_one_shape() -> None:
    a = recording(np.zeros(N_BINS), np.zeros((N_BINS, 2)))
    b = Recording.from_arrays(
        "b", counts=np.zeros((10, 2), np.uint8), bin_s=0.02,
        signals={"wheel": np.zeros((10, 2), np.float32), "still": np.zeros(10, np.float32)},
    )  # fmt: skip
    assert common_signals([a, b]) == ("still",)
    assert common_signals([]) == ()
