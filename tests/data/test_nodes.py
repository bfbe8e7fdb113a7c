"""Signals and labels of trials on the sheet of the activity."""

from dataclasses import replace

import numpy as np
import pytest

from neurofm.data import binning
from neurofm.data.nodes import ChannelsConfig, names_of, rows_of, signals_of
from neurofm.data.recording import Recording, Signal, Table
from neurofm.data.store import create_store
from neurofm.errors import InputError

BIN_S = 0.05


def recording(**more):
    counts = np.random.default_rng(0).poisson(1.0, (200, 4)).astype(np.uint8)
    made = Recording.from_arrays("r", counts=counts, bin_s=BIN_S, subject="rat")
    return replace(made, **more)


def cells(made, first=0, stop=200, bin_s=BIN_S):
    return binning.activity(made, first, stop, bin_s)


def test_signals_come_to_the_grid_and_the_counts_stay():
    fast = Signal(np.arange(400, dtype=np.float32)[:, None], BIN_S / 2, node="stimulus")
    made = recording(signals={"cue": fast}).with_channels(signals=["cue"])
    assert made.channels.id.tolist()[4:] == ["cue"]
    assert made.channels.node[4] == "stimulus"
    assert made.channels.subject[4] == "rat"
    assert (cells(made)[:, :4] == cells(recording())).all()
    assert (cells(made)[:, 4] == 2 * np.arange(200) + 0.5).all()


def test_a_slow_signal_is_held_and_never_looked_ahead_at():
    slow = Signal(np.arange(40, dtype=np.float32)[:, None], 5 * BIN_S)
    later = slow.values.copy()
    later[21:] = -1
    a, b = (recording(signals={"w": replace(slow, values=v)}).with_channels(signals=["w"])
            for v in (slow.values, later))  # fmt: skip
    assert (cells(a)[:105, 4] == cells(b)[:105, 4]).all()
    assert cells(a)[104, 4] == 20
    assert cells(b)[105, 4] == -1


@pytest.mark.parametrize("step_s", [BIN_S, BIN_S / 3, 7 * BIN_S, 0.0])
def test_a_window_is_a_piece_of_the_whole(step_s):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(300, 2)).astype(np.float32)
    values[rng.random(300) < 0.1] = np.nan
    times = np.sort(rng.uniform(0, 10, 300)) if step_s == 0 else None
    signal = Signal(values, step_s, start_s=0.013, times_s=times)
    made = recording(signals={"w": signal}).with_channels(signals=["w"])
    whole = cells(made)
    for first, stop in ((0, 10), (37, 90), (150, 200), (199, 200)):
        assert np.array_equal(cells(made, first, stop), whole[first:stop], equal_nan=True)


def trials(**columns):
    return Table({"start_s": np.array([1.0, 3.02, 3.5]), "stop_s": np.array([2.0, 4.0, 5.0]),
                  "side": np.array(["l", "r", "l"]), **columns})  # fmt: skip


def test_a_label_holds_in_whole_bins_of_its_trial_and_the_later_one_wins():
    made = recording(trials=trials()).with_channels(trials=["side"])
    assert made.channels.id.tolist()[4:] == ["side=l", "side=r"]
    assert made.channels.group.tolist() == ["", "", "", "", "side", "side"]
    sheet = cells(made)[:, 4:]
    known = np.flatnonzero(np.isfinite(sheet[:, 0]))
    assert known.tolist() == [*range(20, 40), *range(61, 100)]  # 3.02 s lies inside bin 60
    assert (sheet[20:40] == [1, 0]).all()
    assert (sheet[61:70] == [0, 1]).all()
    assert (sheet[70:100] == [1, 0]).all()


def test_a_label_may_hold_over_a_part_of_its_trial():
    made = recording(trials=trials()).with_channels(trials=["side"], part=(0.5, 1.0))
    known = np.flatnonzero(np.isfinite(cells(made)[:, 4]))
    assert known[0] == 30
    assert 39 in known


def test_a_label_that_is_unknown_and_a_trial_without_an_end_are_nowhere():
    table = trials(side=np.array(["l", "", "r"]))
    made = recording(trials=table).with_channels(trials=["side"])
    assert not np.isfinite(cells(made)[61:70, 4:]).any()
    endless = replace(table, columns={**table.columns, "stop_s": np.array([2.0, 4.0, np.nan])})
    made = recording(trials=endless).with_channels(trials=["side"])
    assert np.flatnonzero(np.isfinite(cells(made)[:, 4])).tolist() == list(range(20, 40))


def test_embeddings_are_groups_and_names_are_found_again():
    signals = {"clip": Signal(np.ones((200, 3), np.float32), BIN_S),
               "pos": Signal(np.ones((200, 2), np.float32), BIN_S)}  # fmt: skip
    made = recording(signals=signals, trials=trials()).with_channels(
        signals=["pos"], embeddings=["clip"], trials=["side"], stimulus=["clip"]
    )
    assert names_of(made.channels) == ["pos", "clip", "side"]
    assert rows_of(made.channels, "clip").tolist() == [6, 7, 8]
    assert rows_of(made.channels, "pos").tolist() == [4, 5]
    number = signals_of(made.channels)
    assert number.tolist()[:9] == [-1] * 4 + [0, 0, 1, 1, 1]
    assert set(number.tolist()[9:]) == {2}
    assert set(made.channels.kind[6:9].tolist()) == {"embedding"}
    assert set(made.channels.node[6:9].tolist()) == {"stimulus"}
    assert names_of(recording().channels) == []
    assert (signals_of(recording().channels) == -1).all()
    picked = made.channels.take([0, 6, 7, 8])
    assert picked.group.tolist() == ["", "clip", "clip", "clip"]


@pytest.mark.parametrize(
    ("name", "axes", "ids"),
    [
        ("emg", ("PT", "Bi"), ["emg[PT]", "emg[Bi]"]),
        ("emg", (), ["emg[0]", "emg[1]"]),
        ("emg", ("PT", "PT"), ["emg[0]", "emg[1]"]),  # names that say nothing
        ("v[cm/s]", ("x", "y"), ["v[cm/s][x]", "v[cm/s][y]"]),
        ("v", ("x[0]", "y"), ["v[0]", "v[1]"]),
        ("v", ("x",), ["v"]),
        ("v[cm/s]", (), ["v[cm/s][0]"]),
    ],
)
def test_columns_go_by_the_names_of_their_axes(name, axes, ids):
    """Muscles of two days lie in other places; a column of one name is one channel in both."""
    signal = Signal(np.zeros((400, len(ids)), np.float32), BIN_S / 2, axes=axes)
    made = recording(signals={name: signal}).with_channels(signals=[name])
    assert made.channels.id.tolist()[4:] == ids
    assert names_of(made.channels) == [name]
    assert rows_of(made.channels, name).tolist() == [4 + k for k in range(len(ids))]


def test_each_recording_gives_what_it_has_and_a_name_of_none_is_refused():
    wheel = {"wheel": Signal(np.ones((200, 1), np.float32), BIN_S)}
    with_it, without = recording(signals=wheel), recording()
    nodes = ChannelsConfig(signals=("wheel",))
    nodes.check([with_it, without])
    a, b = nodes.widen([with_it, without])
    assert len(a.channels) == 5
    assert b is without
    assert nodes.widen([a])[0] is a
    assert ChannelsConfig().widen([with_it])[0] is with_it
    with pytest.raises(InputError, match="no recording has a signal 'whee'; did you mean wheel"):
        ChannelsConfig(signals=("whee",)).check([with_it, without])
    with pytest.raises(InputError, match="stimulus 'cue'"):
        ChannelsConfig(signals=("wheel",), stimulus=("cue",)).check([with_it])


def test_a_view_is_not_stored(tmp_path):
    wheel = {"wheel": Signal(np.ones((200, 1), np.float32), BIN_S)}
    made = recording(signals=wheel).with_channels(signals=["wheel"])
    with pytest.raises(InputError, match="view with further channels"):
        create_store(tmp_path / "s").write(made)


def test_a_slice_of_a_view_is_a_view():
    wheel = {"wheel": Signal(np.arange(200, dtype=np.float32)[:, None], BIN_S)}
    made = recording(signals=wheel).with_channels(signals=["wheel"])
    piece = made.slice(2.0, 4.0)
    assert np.array_equal(cells(piece, 40, 80), cells(made)[40:80])
