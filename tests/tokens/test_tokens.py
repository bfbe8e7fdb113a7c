import numpy as np
import pytest
import torch

from neurofm import Intervals, Recording
from neurofm.errors import InputError
from neurofm.tokens.event import Event
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import ChannelContext, stack
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


def test_patches_tile_the_window_and_short_ones_repeat_nothing():
    rng = np.random.default_rng(0)
    activity = rng.poisson(3, (7, 5)).astype(np.uint8)
    hidden = rng.random((7, 5)) < 0.4
    tokens = Patch(channels=2, bins=3)(activity, hidden)
    assert tokens.values.shape == (9, 2, 3)
    assert tokens.channels.tolist() == [[0, 1], [2, 3], [4, -1]]
    assert tokens.bins.tolist() == [0] * 3 + [3] * 3 + [6] * 3
    assert tokens.stops.tolist() == [3] * 3 + [6] * 3 + [7] * 3
    seen, cells = np.full((7, 5), -1), np.zeros((7, 5))
    for n, (first, stop) in enumerate(zip(tokens.bins, tokens.stops, strict=True)):
        for k, channel in enumerate(tokens.channels[n % 3]):
            if channel < 0:
                assert not tokens.values[n, k].any()
                assert not tokens.hidden[n, k].any()
                continue
            seen[first:stop, channel] = tokens.values[n, k, : stop - first]
            assert (tokens.hidden[n, k, : stop - first] == hidden[first:stop, channel]).all()
            cells[first:stop, channel] += 1
    assert (cells == 1).all()
    assert (seen == np.where(hidden, 0, activity)).all()


def sheet_of(tokens, shape):
    """Counts and hidden cells that event tokens tell of, bin by bin."""
    counts, hidden = np.zeros(shape, int), np.zeros(shape, bool)
    for n, channel in enumerate(tokens.channels[:, 0]):
        cells = slice(tokens.bins[n], tokens.stops[n]), channel
        hidden[cells] |= tokens.hidden[n, 0, 0]
        counts[tokens.bins[n], channel] += tokens.values[n, 0, 0]
    return counts, hidden


def test_an_event_token_is_a_bin_with_spikes_or_a_hidden_run():
    rng = np.random.default_rng(1)
    activity = rng.poisson(0.3, (23, 6)).astype(np.uint8)
    hidden = rng.random((23, 6)) < 0.3
    hidden[:, 2] = True
    tokens = Event(block_bins=5)(activity, hidden)
    counts, cells = sheet_of(tokens, activity.shape)
    assert (counts == np.where(hidden, 0, activity)).all()
    assert (cells == hidden).all()
    spikes = ~tokens.hidden[:, 0, 0]
    assert spikes.sum() == (counts > 0).sum()
    assert (~spikes & (tokens.channels[:, 0] == 2)).sum() == 5  # a run a block, not a token a bin
    assert (tokens.bins // 5 == (tokens.stops - 1) // 5).all()
    assert (np.diff(tokens.bins // 5) >= 0).all()
    assert tokens.n_coarse == 0


@pytest.mark.parametrize("budget", [1, 12, 25, 60])
def test_more_events_than_the_budget_lose_their_time_and_never_their_number(budget):
    rng = np.random.default_rng(2)
    activity = rng.poisson(2, (22, 8)).astype(np.uint8)
    activity[10:15] = 0  # a quiet block stays fine
    hidden = np.zeros(activity.shape, dtype=bool)
    hidden[:, 3], hidden[7:9, 5] = True, True
    tokens = Event(block_bins=5, budget=budget)(activity, hidden)
    block = tokens.bins // 5
    assert np.bincount(block).max() <= budget + 8
    assert (tokens.n_coarse > 0) == (budget < 40)
    counts, cells = sheet_of(tokens, activity.shape)
    assert (hidden <= cells).all()  # what is hidden stays so; a coarse channel may hide more
    for start in range(0, 22, 5):
        visible = ~cells[start : start + 5].any(axis=0)
        told = counts[start : start + 5].sum(axis=0)[visible]
        assert (told == activity[start : start + 5].sum(axis=0)[visible]).all()
    assert not cells[:, [0, 1, 2, 4, 6, 7]].any()
    assert (tokens.values[tokens.hidden] == 0).all()
    if budget == 12:  # the first bin of a busy block fits; bins 1 to 4 are told together
        assert ((tokens.bins == 1) & (tokens.stops == 5)).sum() == 8
        assert (block == 2).sum() == 1  # the hidden channel alone


def test_the_budget_is_spent_without_looking_ahead():
    rng = np.random.default_rng(3)
    activity = rng.poisson(0.7, (10, 8)).astype(np.uint8)
    later = activity.copy()
    later[8:] = 9
    nothing = np.zeros(activity.shape, dtype=bool)
    a, b = (Event(block_bins=10, budget=45)(x, nothing) for x in (activity, later))
    assert a.n_coarse == 0
    assert b.n_coarse == 1
    before = [
        {(c, f, v) for c, f, v in zip(t.channels[:, 0], t.bins, t.values[:, 0, 0], strict=True)
         if f < 8} for t in (a, b)
    ]  # fmt: skip
    assert before[0] == before[1]


def test_traces_are_no_events():
    with pytest.raises(InputError, match=r"tokens\.kind=time-bin or patch"):
        Event()(np.full((4, 2), 0.7, np.float32), np.zeros((4, 2), dtype=bool))


def test_windows_of_unequal_numbers_of_tokens_are_stacked_without_padding():
    rng = np.random.default_rng(4)
    windows = [rng.poisson(rate, (6, 3)).astype(np.uint8) for rate in (0.1, 2.0, 0.0)]
    nothing = np.zeros((6, 3), dtype=bool)
    tokens = [Event()(w, nothing) for w in windows]
    column = torch.ones(3)
    context = ChannelContext(column.long(), column.long(), column, column, column)
    group = stack(tokens, context, [0, 0, 0])
    assert group.lengths == tuple((w > 0).sum() for w in windows)
    assert len(group.values) == len(group.channels) == sum(group.lengths)
    assert group.values.sum() == sum(int(w.sum()) for w in windows)
    alike = stack([TimeBin()(w, nothing) for w in windows], context, [0, 0, 0])
    assert alike.channels.shape == (1, 3)


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


def test_statistics_of_traces_are_of_what_was_recorded():
    values = np.array([[1, 5], [3, 5], [np.nan, 5], [99, 99]], np.float32)
    traces = Recording.from_arrays("t", traces=values, bin_s=0.1)
    measured = statistics(traces, Intervals.of([(0, 0.3)]), 0.1)
    assert measured.mean.tolist() == measured.rate.tolist() == [2, 5]
    assert measured.scale.tolist() == [1, 1]  # a flat channel is in units of one


def test_statistics_refuse_empty_parts():
    counts = Recording.from_arrays("c", counts=np.ones((10, 2), np.uint8), bin_s=0.1)
    with pytest.raises(InputError, match="no whole bin"):
        statistics(counts, Intervals.of([(0.02, 0.08)]), 0.1)


def test_silent_channel_has_a_positive_rate():
    counts = np.zeros((10, 1), np.uint8)
    recording = Recording.from_arrays("s", counts=counts, bin_s=0.1)
    assert statistics(recording, Intervals.of([(0, 1)]), 0.1).rate[0] > 0
