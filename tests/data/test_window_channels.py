"""`data.window_channels` and `data.band_power`: windows of traces become channels and rows."""

import numpy as np
import pytest

from neurofm.data import binning
from neurofm.data import covariance as cv
from neurofm.data.band_power import log_band_power, own_units
from neurofm.data.recording import Recording
from neurofm.data.window_channels import tangent_channels, tangent_pair
from neurofm.errors import InputError


def traces_of_three_pieces():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3)).astype(np.float32) * np.repeat([1, 4, 2], [230, 40, 230])[:, None]
    edges = np.array([[0, 1.15], [1.15, 1.35], [1.35, 2.5]])
    return Recording.from_arrays(
        "r", traces=x, bin_s=0.005, channel_id=["m/0", "m/1", "m/2"], subject="p", valid=edges,
        trials={"start_s": edges[:, 0], "stop_s": edges[:, 1], "gesture": np.array(["a", "b", "c"])},
    )  # fmt: skip


def test_windows_stay_inside_what_was_recorded_together():
    recording = traces_of_three_pieces()
    made = tangent_channels(recording, 50, [(20, None), (20, 50)], floor=0.01)
    assert made.channels.id[[0, 1, 11]].tolist() == [
        "tangent/20-/m/0 m/0", "tangent/20-/m/0 m/1", "tangent/20-50/m/2 m/2"
    ]  # fmt: skip
    values = binning.activity(made, 0, 8, 0.25)
    alone = cv.covariances(cv.band_passed(recording.activity.values[270:], 200, 20), 50)
    assert np.allclose(values[4:, :6], cv.tangent(cv.shrunk(alone, floor=0.01)), atol=1e-5)
    assert made.valid.pairs.tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert made.trials["gesture"].tolist() == ["a", "c"]
    assert made.trials["start_s"].tolist() == [0.0, 1.0]
    assert made.trials["stop_s"].tolist() == [1.0, 2.0]


def test_seen_from_its_own_mean_a_recording_has_none():
    made = tangent_channels(traces_of_three_pieces(), 50, [(20, None)], own_mean=True)
    assert np.allclose(binning.activity(made, 0, 8, 0.25).mean(axis=0), 0, atol=1e-5)


def test_both_at_once_are_each_alone():
    recording = traces_of_three_pieces()
    bands = [(20, None), (20, 50)]
    for own, made in zip((False, True), tangent_pair(recording, 50, bands), strict=True):
        alone = tangent_channels(recording, 50, bands, own_mean=own)
        assert np.array_equal(made.activity.values, alone.activity.values)
        assert made.trials["gesture"].tolist() == alone.trials["gesture"].tolist()


def test_counts_and_short_pieces_are_refused():
    counts = Recording.from_arrays("c", counts=np.zeros((9, 2), np.uint8), bin_s=0.1)
    with pytest.raises(InputError, match="its activity is no traces"):
        tangent_channels(counts, 2, [(1, None)])
    with pytest.raises(InputError, match="holds 300 samples"):
        tangent_channels(traces_of_three_pieces(), 300, [(20, None)])


def test_a_rhythm_is_in_its_band_and_own_units_have_no_gain():
    t = np.arange(1000) / 125
    x = np.sin(2 * np.pi * 11 * t)[:, None] * [1.0, 3.0]
    rows = log_band_power(x, 125, 500)
    assert rows.shape == (2, 16)
    assert (rows[0].reshape(8, 2).argmax(axis=0) == 3).all()
    noisy = np.random.default_rng(0).normal(size=(40, 5))
    who = np.repeat(["a", "b"], 20)
    gains = np.where(who == "a", 3.0, 0.5)[:, None]
    assert np.allclose(own_units(noisy, who), own_units(gains * noisy + gains, who), atol=1e-5)
    with pytest.raises(InputError, match="tell nothing of 4 to 8 Hz"):
        log_band_power(x, 125, 10, [(4, 8)])
