from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.quality import Flag, QualityConfig, check, reported, totals
from neurofm.data.recording import Channels, Events, Recording, Table
from neurofm.data.repair import repair, take_channels


def spikes(ticks, row, n=3, end=100.0, **more):
    activity = Events.of(np.array(ticks, np.int64), np.array(row), Fraction(1000))
    return Recording("r", "s", (0.0, end), Intervals.of([(0, end)]),
                     Channels.of([f"u{i}" for i in range(n)]), activity, **more)  # fmt: skip


def dense(n=3, end=100, extra=()):
    """Every unit fires at 10 Hz for `end` seconds; `extra` (tick, row) pairs are added."""
    pairs = sorted([(t * 100 + u, u) for t in range(end * 10) for u in range(n)] + list(extra))
    return spikes([p[0] for p in pairs], [p[1] for p in pairs], n, float(end))


def traces(values):
    return Recording.from_arrays("r", traces=values, bin_s=0.1)


def test_a_clean_recording_has_no_flag():
    assert check(dense()) == []


def test_flags_are_read_back_from_their_text():
    flag = Flag("repair", "units/spike_times", "3 times: sorted")
    assert Flag.parse(flag.text) == flag
    assert Flag.parse("anything else") == Flag("note", "provenance", "anything else")
    recording = dense()
    noted = replace(recording, provenance=replace(recording.provenance, notes=(flag.text,)))
    assert reported(noted) == [flag]


def one(flags, field):
    (found,) = [flag for flag in flags if flag.field == field]
    return found.message


def test_silent_and_slow_units():
    recording = spikes(range(0, 100_000, 10), [0] * 9_997 + [1] * 3, n=3)
    flags = check(recording)
    messages = [f.message for f in flags if f.field == "channels"]
    assert messages == ["1 have no event: u2", "1 below 0.05 Hz: u1"]
    kept, said = repair(recording, QualityConfig(drop_below_floor=True))
    assert kept.channels.id.tolist() == ["u0"]
    assert said == [Flag("repair", "channels", "2 were left out: u1, u2")]
    assert totals(kept).tolist() == [9_997]
    kept, _ = repair(recording, QualityConfig(drop_silent=True))
    assert kept.channels.id.tolist() == ["u0", "u1"]
    assert repair(recording, QualityConfig())[1] == []


def test_duplicate_spikes_are_counted_and_dropped_only_when_asked():
    recording = dense(extra=[(100, 0), (100, 0), (100, 2)])
    assert one(check(recording), "activity.ticks").startswith("2 spikes repeat")
    assert repair(recording, QualityConfig())[0] is recording
    kept, said = repair(recording, QualityConfig(drop_duplicate_spikes=True))
    assert len(kept.activity.ticks) == len(recording.activity.ticks) - 2
    assert said[0].message == "2 repeated spikes were dropped"
    assert check(kept) == []


def test_pauses_of_all_channels():
    recording = dense()
    keep = (recording.activity.ticks < 40_000) | (recording.activity.ticks > 60_000)
    gap = Events.of(recording.activity.ticks[keep], recording.activity.row[keep], Fraction(1000))
    assert one(check(replace(recording, activity=gap)), "activity").startswith("1 pauses")
    known = Intervals.of([(0, 40), (60, 100)])
    flags = check(replace(recording, activity=gap, valid=known))
    assert [f.field for f in flags] == ["valid"]
    assert "2 pieces; 20 s of 100 s" in flags[0].message


def test_a_session_shorter_than_a_window():
    message = one(check(spikes(range(0, 900, 10), [0, 1, 2] * 30, end=1.0)), "valid")
    assert message == "the longest piece lasts 1 s, under one window of 2 s"
    assert check(dense(end=3), QualityConfig(window_s=3.0)) == []


def test_one_channel_is_said():
    assert "one channel only" in one(check(dense(n=1)), "channels")


def test_trials_that_cannot_be():
    table = Table(
        {
            "start_s": np.array([-1.0, 10.0, 20.0, 30.0, 31.0, 99.0, np.nan]),
            "stop_s": np.array([2.0, 9.0, np.nan, 33.0, 32.0, 105.0, 5.0]),
        }
    )
    flags = check(replace(dense(), trials=table))
    said = [(f.field, f.message.split(";")[0]) for f in flags]
    assert said == [
        ("trials.start_s", "1 of 7 rows have no start"),
        ("trials.stop_s", "1 of 7 rows have no stop"),
        ("trials.stop_s", "1 of 7 rows stop before they start"),
        ("trials.start_s", "2 of 7 rows reach outside the recording"),
        ("trials.start_s", "1 of 7 rows start before the one before them stops"),
    ]


def test_missing_stops_are_filled_with_the_next_start_when_asked():
    table = Table({"start_s": np.array([5.0, 1.0, 50.0]), "stop_s": np.array([np.nan, 2, np.nan])})
    recording = replace(dense(), trials=table)
    assert repair(recording, QualityConfig())[0] is recording
    kept, said = repair(recording, QualityConfig(missing_stop="next_start"))
    assert kept.trials["stop_s"].tolist() == [50.0, 2.0, 100.0]
    assert said[0].message.startswith("2 missing stops")


def test_samples_that_are_not_finite():
    values = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    values[40:50] = np.nan
    values[10, 1] = np.inf
    recording = traces(values)
    assert one(check(recording), "activity.values") == "31 samples of 3 channels are not finite"
    kept, said = repair(recording, QualityConfig())
    np.testing.assert_allclose(kept.valid.pairs, [[0, 4], [5, 10]])
    assert said[0].message.startswith("10 samples")
    assert one(check(kept), "activity.values") == "1 samples of 1 channels are not finite"
    assert repair(recording, QualityConfig(cut_not_finite=False))[1] == []


def test_flat_traces_are_silent_and_counts_are_counted_in_the_valid_time():
    values = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    values[:, 2] = 4.0
    assert one(check(traces(values)), "channels") == "1 never change: r/2"
    counts = Recording.from_arrays("c", counts=np.ones((100, 2), np.uint8), bin_s=0.1,
                                   valid=[(0, 3), (5, 6)])  # fmt: skip
    assert totals(counts).tolist() == [40, 40]


def test_infinite_signals(events_of):
    recording = events_of()
    recording.signals["wheel"].values[3, 0] = np.inf
    assert one(check(recording), "signals.wheel") == "1 values are infinite"


@pytest.mark.parametrize("kind", ["events", "samples"])
def test_taking_channels_moves_activity_with_them(kind, events_of, samples_of):
    recording = events_of() if kind == "events" else samples_of()
    rows = np.array([3, 0])
    taken = take_channels(recording, rows)
    assert taken.channels.id.tolist() == recording.channels.id[rows].tolist()
    np.testing.assert_array_equal(totals(taken), totals(recording)[rows])
