import numpy as np
import pytest

from neurofm import Intervals, Recording
from neurofm.errors import InputError
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.vocabulary import Vocabulary, statistics


def test_time_bin_hides_before_anything_sees_the_values():
    rng = np.random.default_rng(0)
    activity = rng.poisson(3, (7, 5)).astype(np.uint8) + np.uint8(1)
    hidden = rng.random((7, 5)) < 0.4
    tokens = TimeBin()(activity, hidden)
    assert tokens.values.shape == (7, 5, 1)
    assert (tokens.values[..., 0][hidden] == 0).all()
    assert (tokens.values[..., 0][~hidden] == activity[~hidden]).all()
    assert (tokens.hidden[..., 0] == hidden).all()
    assert tokens.values.dtype == np.uint8


def test_vocabulary_shares_rows_by_id_and_never_renumbers(sessions):
    first = Vocabulary.of(sessions[:2])
    grown = first.grown(sessions)
    assert {k: grown.channels[k] for k in first.channels} == first.channels
    a1, b1, a2 = (grown.rows(r) for r in sessions)
    assert set(a1[0]).isdisjoint(b1[0])  # the same number of channels, no row in common
    assert list(a2[0][:6]) == list(a1[0][:6])  # the same ids, the same rows
    assert len({*a1[1], *b1[1], *a2[1]}) == 12 + 12 + 9  # sites are never shared


def test_unknown_recording_is_refused_by_name(sessions):
    with pytest.raises(InputError, match=r"b-1: 12 of 12 channels"):
        Vocabulary.of(sessions[:1]).rows(sessions[1])


def test_statistics_see_the_training_part_alone():
    counts = np.ones((100, 2), dtype=np.uint8)
    counts[50:] = 200
    recording = Recording.from_arrays("r", counts=counts, bin_s=0.1)
    measured = statistics(recording, Intervals.of([(0, 5)]), 0.1)
    assert measured.mean.tolist() == [1, 1]
    assert measured.rate.tolist() == [1, 1]


def test_statistics_refuse_traces_and_empty_parts():
    traces = Recording.from_arrays("t", traces=np.ones((10, 2), np.float32), bin_s=0.1)
    with pytest.raises(InputError, match="t: its activity is not counts"):
        statistics(traces, Intervals.of([(0, 1)]), 0.1)
    counts = Recording.from_arrays("c", counts=np.ones((10, 2), np.uint8), bin_s=0.1)
    with pytest.raises(InputError, match="no whole bin"):
        statistics(counts, Intervals.of([(0.02, 0.08)]), 0.1)


def test_silent_channel_has_a_positive_rate():
    counts = np.zeros((10, 1), np.uint8)
    recording = Recording.from_arrays("s", counts=counts, bin_s=0.1)
    assert statistics(recording, Intervals.of([(0, 1)]), 0.1).rate[0] > 0
