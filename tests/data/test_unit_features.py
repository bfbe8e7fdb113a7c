"""Features of units: hand-made units have the values that their making implies."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Events, Recording
from neurofm.data.unit_features import UnitFeatures, population_loadings, unit_features
from neurofm.errors import InputError
from neurofm.seeding import generator

BIN_S = 0.02
N_BINS = 30_000


def recording_of(counts: np.ndarray, region: list[str] | None = None) -> Recording:
    return Recording.from_arrays(
        "r", counts=counts.astype(np.uint8), bin_s=BIN_S, channel_region=region
    )


def whole(recording: Recording) -> Intervals:
    return Intervals.of([recording.span])


def column(features: UnitFeatures, start: str) -> np.ndarray:
    return features.where(lambda name: name.startswith(start)).values


@pytest.fixture(scope="module")
def made() -> Recording:
    """Poisson, bursty, silent, three that follow one signal, one on its own; regions a and b."""
    rng = generator(0, "unit-features")
    signal = np.repeat(rng.standard_normal(N_BINS // 10), 10)
    burst = np.zeros(N_BINS)
    burst[rng.integers(0, N_BINS - 5, 400)[:, None] + np.arange(4)] = 2
    driven = rng.poisson(0.2 * np.exp(0.8 * signal[:, None]), (N_BINS, 3))
    counts = np.column_stack([
        rng.poisson(0.2, N_BINS), burst, np.zeros(N_BINS), driven, rng.poisson(0.1, N_BINS)
    ])  # fmt: skip
    return recording_of(counts, ["b", "b", "b", "a", "a", "a", "b"])


@pytest.fixture(scope="module")
def features(made: Recording) -> UnitFeatures:
    return unit_features(made, whole(made), BIN_S)


def test_a_poisson_unit_has_fano_one_and_no_autocorrelation(features: UnitFeatures) -> None:
    assert column(features, "rate")[0, 0] == pytest.approx(np.log(10.05 / 5) / 1.5, abs=0.02)
    assert np.abs(column(features, "fano")[0]).max() < 0.15
    assert np.abs(column(features, "autocorrelation")[0]).max() < 0.15


def test_a_bursty_unit_has_high_fano_and_autocorrelation_at_short_lags_alone(
    features: UnitFeatures,
) -> None:
    assert column(features, "fano")[1].min() > np.log(4) / 1.5
    shape = column(features, "autocorrelation")[1]
    assert shape[0] > 1.5
    assert np.abs(shape[-3:]).max() < 0.3


def test_coupling_tells_who_follows_the_population_and_whose(features: UnitFeatures) -> None:
    to_all, own = column(features, "coupling_all_0.1s")[:, 0], column(
        features, "coupling_region_own_0.1s"
    )[:, 0]  # fmt: skip
    assert own[3:6].min() > 0.8
    assert to_all[3:6].min() > 0.3
    assert np.abs(to_all[[0, 1, 6]]).max() < 0.15
    assert np.abs(own[[0, 1, 6]]).max() < 0.15
    assert np.abs(column(features, "coupling_region_greatest")[0]).max() < 0.3


def test_a_silent_unit_is_finite_and_everything_is_of_unit_scale(features: UnitFeatures) -> None:
    assert np.isfinite(features.values).all()
    assert np.abs(features.values).max() < 4
    assert features.values.dtype == np.float32
    assert features.values.shape == (7, len(features.names))
    assert len(set(features.names)) == len(features.names)
    assert column(features, "rate")[2, 0] < -3
    assert not column(features, "isi")[2].any()
    assert not column(features, "coupling")[2].any()


def test_channels_in_another_order_give_the_same_rows_in_that_order(
    made: Recording, features: UnitFeatures
) -> None:
    order = np.array([4, 2, 6, 0, 1, 5, 3])
    values = made.activity.values[:][:, order]
    activity = replace(made.activity, values=values)
    moved = replace(made, activity=activity, channels=made.channels.take(order))
    np.testing.assert_array_equal(
        unit_features(moved, whole(made), BIN_S).values, features.values[order]
    )
    rows = population_loadings(made, whole(made), BIN_S, 3)
    np.testing.assert_array_equal(population_loadings(moved, whole(made), BIN_S, 3), rows[order])


def test_nothing_outside_the_intervals_matters(made: Recording) -> None:
    part = Intervals.of([(20.0, 100.0), (130.0, 250.5)])
    values = made.activity.values[:].copy()
    kept = part.contains(np.arange(N_BINS) * BIN_S)
    values[~kept] = 9
    other = replace(made, activity=replace(made.activity, values=values))
    first, second = (unit_features(r, part, BIN_S).values for r in (made, other))
    np.testing.assert_array_equal(first, second)
    first, second = (population_loadings(r, part, BIN_S, 2) for r in (made, other))
    np.testing.assert_array_equal(first, second)


def test_spike_times_give_the_intervals_that_they_have() -> None:
    regular = np.arange(0, 100_000, 30)  # every 30 ms
    poisson = np.sort(generator(1, "isi").integers(0, 100_000, 3000))
    ticks, row = np.concatenate([regular, poisson]), np.repeat([0, 1], [len(regular), 3000])
    order = np.argsort(ticks, kind="stable")
    events = Events.of(ticks[order], row[order], Fraction(1000))
    source = recording_of(np.zeros((5000, 2)))
    recording = replace(source, activity=events)
    features = unit_features(recording, whole(recording), BIN_S)
    histogram = column(features, "isi")
    assert (np.square(histogram[0]) / 4)[4] == 1  # from 21.5 to 46.4 ms, nothing else
    assert np.square(histogram).sum(axis=1) == pytest.approx([4, 4], abs=1e-5)
    assert column(features, "lv")[:, 0] == pytest.approx([-1, 0], abs=0.05)
    assert column(features, "cv2")[:, 0] == pytest.approx([-1, 0], abs=0.05)
    coarse = unit_features(source, whole(source), BIN_S)
    assert not coarse.values[:, coarse.names.index("isi_0.001s")].any()


def test_loadings_are_those_that_were_planted_and_noise_has_none() -> None:
    rng = generator(2, "loadings")
    shared = np.repeat(rng.standard_normal((N_BINS // 5, 2)), 5, axis=0)
    planted = np.zeros((24, 2))
    planted[:8, 0], planted[8:16, 1] = 0.5, np.where(np.arange(8) % 2, 0.35, -0.35)
    own = np.repeat(rng.standard_normal((N_BINS // 50, 24)), 50, axis=0) * (np.arange(24) > 19)
    recording = recording_of(rng.poisson(np.exp(-1 + shared @ planted.T + own)))
    rows = population_loadings(recording, whole(recording), BIN_S, 5)
    assert rows.shape == (24, 5)
    assert not rows[:, 2:].any()
    assert np.abs(rows[16:]).max() < 0.04  # the last four drift on their own
    assert np.abs(rows[:8, 0]).min() > 0.1
    assert np.abs(np.corrcoef(rows[:, 1], planted[:, 1])[0, 1]) > 0.98
    assert (rows.astype(float) ** 3).sum(axis=0).min() >= 0
    noise = recording_of(rng.poisson(0.3, (N_BINS, 24)))
    assert not population_loadings(noise, whole(noise), BIN_S, 5).any()


def test_places_and_waveforms_where_the_channels_hold_them(made: Recording) -> None:
    n = len(made.channels)
    where = np.full((n, 3), np.nan, dtype=np.float32)
    where[1] = [100, -2000, 30]
    quality = {"waveform_duration": np.full(n, 0.0004), "snr": np.arange(n)}
    channels = replace(made.channels, coordinates=where, quality=quality)
    features = unit_features(replace(made, channels=channels), whole(made), BIN_S)
    assert column(features, "place_known")[:, 0].tolist() == [0, 1, 0, 0, 0, 0, 0]
    assert column(features, "place_y")[1, 0] == pytest.approx(-np.log(2001) / 5)
    assert column(features, "waveform_duration")[0, 0] == pytest.approx(np.log(1.4))
    assert column(features, "waveform_known").all()


def test_intervals_without_a_bin_are_refused(made: Recording) -> None:
    with pytest.raises(InputError, match="no whole bin"):
        unit_features(made, Intervals.of([(0.001, 0.002)]), BIN_S)


def test_of_traces_only_couplings_are_known() -> None:
    rng = generator(3, "traces")
    values = rng.standard_normal((4000, 4)) + rng.standard_normal((4000, 1))
    recording = Recording.from_arrays("r", traces=values.astype(np.float32), bin_s=BIN_S)
    features = unit_features(recording, whole(recording), BIN_S)
    assert column(features, "coupling_all_0.1s").min() > 1
    assert not features.where(lambda name: not name.startswith("coupling")).values.any()
