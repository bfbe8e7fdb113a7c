from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurofm.data.intervals import Intervals
from neurofm.data.plain import exact_seconds
from neurofm.data.recording import Channels, Events, Recording, Signal, Table
from neurofm.errors import InputError

COUNTS = np.arange(40, dtype=np.uint8).reshape(10, 4)


def recording(**changes) -> Recording:
    return Recording.from_arrays(
        **{
            "id": "r",
            "counts": COUNTS,
            "bin_s": 0.1,
            "trials": {"start_s": np.array([0.1, 0.5]), "stop_s": np.array([0.4, 0.9])},
        }
        | changes
    )


def test_from_arrays_fills_in_what_was_not_said() -> None:
    r = recording(signals={"speed": np.ones(10)}, subject="mouse")
    assert r.channels.id.tolist() == ["r/0", "r/1", "r/2", "r/3"]
    assert r.channels.subject.tolist() == ["mouse"] * 4
    assert set(r.channels.kind) == {"count"}
    assert set(r.channels.node) == {"activity"}
    assert r.span == (0.0, 1.0)
    assert list(r.valid) == [(0.0, 1.0)]
    assert r.signals["speed"].values.shape == (10, 1)
    assert r.signals["speed"].sample_times_s() == pytest.approx(np.arange(10) * 0.1)
    assert r.duration_s == 1.0


def test_traces_are_real() -> None:
    r = Recording.from_arrays("r", traces=np.zeros((5, 2)), bin_s=0.5, valid=[(0, 1), (1.5, 2)])
    assert set(r.channels.kind) == {"real"}
    assert list(r.valid) == [(0.0, 1.0), (1.5, 2.0)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"counts": None}, "either counts or traces"),
        ({"traces": np.zeros((10, 4))}, "either counts or traces"),
        ({"counts": COUNTS[0]}, "must be \\(time, channel\\)"),
        ({"counts": COUNTS[:0]}, "must be \\(time, channel\\)"),
        ({"counts": COUNTS.astype(int)}, "unsigned integers"),
        ({"counts": None, "traces": COUNTS}, "floating point"),
        ({"bin_s": 0.0}, "bin_s is 0.0"),
        ({"bin_s": float("nan")}, "bin_s is nan"),
        ({"channel_id": ["a"]}, "1 rows for 4 columns"),
        ({"channel_id": ["a", "a", "b", "c"]}, "same id twice"),
        ({"channel_region": ["V1"]}, "channels.region has 1 rows for 4"),
        ({"signals": {"speed": np.ones(9)}}, "signal speed has shape"),
        ({"trials": {"start_s": [0.0], "stop_s": [1.0, 2.0]}}, "differ in length"),
        ({"valid": [(0, 0.6), (0.5, 1)]}, "overlap"),
    ],
)
def test_arrays_that_do_not_fit_are_named(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        recording(**changes)


def test_a_slice_is_a_recording_on_the_same_clock() -> None:
    part = recording().slice(0.2, 0.7)
    assert part.span == (0.2, 0.7)
    assert list(part.valid) == [(0.2, 0.7)]
    assert part.trials["start_s"].tolist() == [0.5]
    assert part.slice(0.0, 0.4).span == (0.2, 0.4), "a slice of a slice stays inside it"
    with pytest.raises(InputError, match=r"r: \[2.*lies outside"):
        recording().slice(2.0, 3.0)


def test_channels_take_rows_and_refuse_unknown_kinds() -> None:
    channels = Channels.of(
        ["a", "b", "c"], region=["x", "y", "z"], quality={"snr": np.array([1.0, 2.0, 3.0])}
    )
    some = channels.take([2, 0])
    assert some.id.tolist() == ["c", "a"]
    assert some.quality["snr"].tolist() == [3.0, 1.0]
    assert len(channels.take(channels.region == "y")) == 1
    assert np.isnan(channels.coordinates).all()
    with pytest.raises(InputError, match=r"channels\.kind holds 'spikes'"):
        Channels.of(["a"], kind="spikes")
    with pytest.raises(InputError, match=r"channels\.snr has 1 rows"):
        Channels.of(["a", "b"], quality={"snr": np.zeros(1)})


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 500), max_size=40),
    st.fractions(Fraction(1, 2), 40, max_denominator=7),
    st.floats(0, 30),
    st.floats(0, 30),
)
def test_events_between_are_all_of_them_and_sorted(ticks, rate, a, b) -> None:
    a, b = min(a, b), max(a, b)
    sorted_ticks = np.sort(np.array(ticks, dtype=np.int64))
    events = Events.of(sorted_ticks, np.arange(len(ticks)), rate)
    found, rows = events.between(a, b)
    assert (np.diff(rows) == 1).all()
    wanted = {i for i, t in enumerate(sorted_ticks) if a <= Fraction(int(t)) / rate < b}
    assert wanted <= set(rows.tolist())
    extra = set(rows.tolist()) - wanted
    low, high = np.floor(a), np.ceil(b)
    assert all(low <= Fraction(int(sorted_ticks[i])) / rate < high for i in extra)
    assert (sorted_ticks[rows] == found).all()


def test_events_out_of_order_or_before_the_start_are_refused() -> None:
    for ticks in ([3, 2], [-1, 2]):
        with pytest.raises(InputError, match="sorted"):
            Events.of(np.array(ticks), np.zeros(2, int), Fraction(1000))


def test_exact_seconds() -> None:
    assert exact_seconds(0.02, "x") == Fraction(1, 50)
    assert exact_seconds(1 / 3, "x") == Fraction(1, 3)
    assert float(exact_seconds(0.736727757, "x")) == 0.736727757
    for bad in (0.0, -1.0, float("inf"), 1e6):
        with pytest.raises(InputError, match="x is"):
            exact_seconds(bad, "x")


def test_an_irregular_signal_has_its_own_times() -> None:
    signal = Signal(np.zeros((3, 1)), 0.0, times_s=np.array([0.0, 0.5, 2.0]))
    assert signal.sample_times_s().tolist() == [0.0, 0.5, 2.0]
    assert Signal(np.zeros((2, 1)), 0.5, start_s=1.0).sample_times_s().tolist() == [1.0, 1.5]


def test_a_table_without_columns_has_no_rows() -> None:
    assert len(Table({})) == 0
    assert len(Table({"a": np.arange(3)}).take([True, False, True])) == 2


def test_intervals_of_a_slice_keep_gaps() -> None:
    r = recording(valid=[(0.0, 0.3), (0.5, 1.0)])
    assert r.slice(0.2, 0.8).valid.pairs == pytest.approx(np.array([[0.2, 0.3], [0.5, 0.8]]))
    assert isinstance(r.valid, Intervals)
