from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Channels, Events, Recording, Signal
from neurofm.errors import InputError

RATES = [Fraction(1000), Fraction(30_000), Fraction(24_414_0625, 10_000), Fraction(1, 3)]
WIDTHS = [0.001, 0.02, 0.05, 1 / 3, 0.1, 0.736727757, 0.0166833, 1.0]


def spikes(ticks: np.ndarray, row: np.ndarray, rate: Fraction, n_channels: int = 3) -> Recording:
    end = float(int(ticks.max(initial=0) + 1) / rate)
    channels = Channels.of([f"u{i}" for i in range(n_channels)])
    span = (0.0, max(end, 1.0))
    return Recording("r", "", span, Intervals.of([span]), channels, Events.of(ticks, row, rate))


@settings(deadline=None)
@given(data=st.data(), rate=st.sampled_from(RATES), bin_s=st.sampled_from(WIDTHS))
def test_spikes_fall_where_exact_fractions_say(data, rate, bin_s) -> None:
    width = Fraction(bin_s).limit_denominator(10**6)
    width = width if abs(float(width) - bin_s) <= 1e-12 * bin_s else Fraction(bin_s)
    # Ticks on and just beside the edges of bins: where arithmetic in floats goes wrong.
    bins = data.draw(st.lists(st.integers(0, 60), max_size=15))
    beside = data.draw(st.lists(st.integers(-1, 1), min_size=len(bins), max_size=len(bins)))
    ticks = sorted(max(floor(b * width * rate) + d, 0) for b, d in zip(bins, beside, strict=True))
    rows = [i % 3 for i in range(len(ticks))]
    first = data.draw(st.integers(0, 40))
    stop = first + data.draw(st.integers(1, 30))
    expected = np.zeros((stop - first, 3), dtype=int)
    for tick, row in zip(ticks, rows, strict=True):
        at = floor(Fraction(tick) / rate / width) - first
        if 0 <= at < stop - first:
            expected[at, row] += 1
    recording = spikes(np.array(ticks, dtype=np.int64), np.array(rows, dtype=np.int32), rate)
    counts = binning.activity(recording, first, stop, bin_s)
    assert (counts == expected).all()
    assert counts.dtype == np.uint8


def test_pieces_of_a_recording_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(0)
    ticks = np.sort(rng.integers(0, 30_000 * 20, 5000))
    recording = spikes(ticks, rng.integers(0, 3, 5000), Fraction(30_000))
    whole = binning.activity(recording, 0, 1000, 0.02)
    parts = [binning.activity(recording, a, a + 125, 0.02) for a in range(0, 1000, 125)]
    assert (np.concatenate(parts) == whole).all()
    assert whole.sum() == 5000
    coarse = binning.activity(recording, 0, 200, 0.1)
    assert (coarse == whole.reshape(200, 5, 3).sum(axis=1)).all()


def test_many_spikes_in_a_bin_widen_the_type() -> None:
    recording = spikes(np.zeros(300, dtype=np.int64), np.zeros(300, dtype=int), Fraction(1000))
    counts = binning.activity(recording, 0, 2, 0.5)
    assert counts.dtype == np.uint16
    assert counts[0, 0] == 300


def test_binned_counts_are_summed_and_traces_averaged() -> None:
    values = np.random.default_rng(0).integers(0, 200, (12, 2)).astype(np.uint8)
    counts = Recording.from_arrays("r", counts=values, bin_s=0.05)
    assert (binning.activity(counts, 2, 5, 0.05) == values[2:5]).all()
    wide = binning.activity(counts, 1, 4, 0.15)
    assert (wide == values[3:].astype(int).reshape(3, 3, 2).sum(axis=1)).all()
    assert wide.dtype == np.uint16
    traces = Recording.from_arrays("r", traces=values.astype(np.float32), bin_s=0.05)
    assert binning.activity(traces, 1, 4, 0.15) == pytest.approx(wide / 3)


@pytest.mark.parametrize("bin_s", [0.02, 0.07, 0.075])
def test_bins_that_would_split_binned_data_are_refused(bin_s: float) -> None:
    recording = Recording.from_arrays("r", counts=np.zeros((9, 1), np.uint8), bin_s=0.05)
    with pytest.raises(
        InputError, match=r"r: bin_s .* not a whole multiple of the data's own step"
    ):
        binning.activity(recording, 0, 1, bin_s)


def test_bins_outside_binned_data_are_refused() -> None:
    recording = Recording.from_arrays("r", counts=np.zeros((9, 1), np.uint8), bin_s=0.05)
    for first, stop in ((8, 10), (-1, 3)):
        with pytest.raises(InputError, match="reach past"):
            binning.activity(recording, first, stop, 0.05)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 400), min_size=2, max_size=12, unique=True),
    st.sampled_from([0.02, 0.05, 0.1, 0.3]),
)
def test_pieces_are_the_bins_wholly_inside(edges: list[int], bin_s: float) -> None:
    edges = sorted(edges)[: len(edges) // 2 * 2]
    exact = [Fraction(e, 100) for e in edges]
    width = Fraction(bin_s).limit_denominator(1000)
    pairs = list(zip(exact[::2], exact[1::2], strict=True))
    wanted = [(-(-a // width), b // width) for a, b in pairs]
    found = binning.pieces(Intervals.of([(float(a), float(b)) for a, b in pairs]), bin_s)
    assert found == [(a, b) for a, b in wanted if b > a]


def test_n_bins_counts_whole_bins() -> None:
    recording = Recording.from_arrays("r", counts=np.zeros((30, 1), np.uint8), bin_s=0.1)
    assert binning.n_bins(recording, 0.1) == 30
    assert binning.n_bins(recording, 0.7) == 4


def test_a_fast_signal_is_averaged_over_each_bin() -> None:
    values = np.arange(12.0)[:, None]
    values[4:6] = np.nan
    out = binning.signal(Signal(values, 0.05), 0, 7, 0.1)[:, 0]
    assert out[[0, 1, 3, 4, 5]].tolist() == [0.5, 2.5, 6.5, 8.5, 10.5]
    assert np.isnan(out[[2, 6]]).all(), "not recorded, and past the end"


def test_a_half_known_bin_takes_what_is_known() -> None:
    values = np.array([[1.0], [np.nan], [3.0], [5.0]])
    assert binning.signal(Signal(values, 0.05), 0, 2, 0.1)[:, 0].tolist() == [1.0, 4.0]


def test_a_slow_signal_is_held_and_never_looks_ahead() -> None:
    out = binning.signal(Signal(np.array([[1.0], [2.0], [9.0]]), 0.1, start_s=0.1), 0, 20, 0.02)
    held = out[:, 0]
    assert np.isnan(held[:5]).all(), "nothing was known yet"
    assert held[5:10].tolist() == [1.0] * 5
    assert held[10:15].tolist() == [2.0] * 5
    assert held[15:].tolist() == [9.0] * 5


def test_a_slow_signal_goes_stale_after_one_and_a_half_steps() -> None:
    times = np.array([0.0, 0.1, 0.2, 0.9, 1.0])
    signal = Signal(np.arange(5.0)[:, None], 0.0, times_s=times)
    held = binning.signal(signal, 0, 50, 0.02)[:, 0]
    assert held[10:18].tolist() == [2.0] * 8
    assert np.isnan(held[18:45]).all()
    assert held[45] == 3.0


def test_a_signal_window_is_a_piece_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    signal = Signal(rng.random((200, 2)), 1 / 60)
    whole = binning.signal(signal, 0, 150, 0.02)
    part = binning.signal(signal, 40, 90, 0.02)
    assert np.array_equal(part, whole[40:90], equal_nan=True)


def test_an_empty_signal_is_nowhere() -> None:
    assert np.isnan(binning.signal(Signal(np.zeros((0, 2)), 0.1), 0, 3, 0.1)).all()
