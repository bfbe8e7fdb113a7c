import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurofm.data import binning
from neurofm.data.quality import QualityConfig
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.reading import read_into
from neurofm.data.recording import Recording, Signal
from neurofm.data.resampling import resampled
from neurofm.data.store import create_store
from neurofm.data.targets import traces
from neurofm.errors import InputError

OWN_S = 0.6


def worm(values, own_s=OWN_S, **more) -> Recording:
    """Traces (T, C), with a signal on their grid."""
    values = np.asarray(values, dtype=np.float32)
    return Recording.from_arrays("w", traces=values, bin_s=own_s,
                                 **{"signals": {"speed": values[:, :1] * 2}, **more})  # fmt: skip


def noise(n=40, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)


def test_a_longer_step_is_the_mean_by_overlap_of_what_has_ended() -> None:
    new = resampled(worm([[1.0], [2.0], [4.0], [8.0], [16.0]]), 0.75)
    # 0.60-1.20 lies in step 1 by 0.45 s; 1.80-2.40 ends after step 2, 2.25; step 3 has 0.15 and 0.60 s
    expected = [[1.0], [2.0], [4.0], [(0.15 * 8 + 0.6 * 16) / 0.75]]
    assert new.activity.values == pytest.approx(np.array(expected), rel=1e-6)
    assert new.signals["speed"].values == pytest.approx(2 * np.array(expected), rel=1e-6)
    assert (new.activity.step_s, new.signals["speed"].step_s) == (0.75, 0.75)
    assert new.span == (0.0, 3.0)
    assert new.provenance.notes == (
        "repair: activity: samples of 0.6 s were averaged over steps of 0.75 s",
    )


@given(st.floats(1.0, 4.0), st.integers(1, 30), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_nothing_after_a_steps_end_changes_it(ratio, step, seed) -> None:
    before = noise(seed=seed)
    after = before.copy()
    step_s = ratio * OWN_S
    first = int(np.floor(step * step_s / OWN_S + 1e-6))  # the first sample that has not ended
    after[first:] += 1.0
    old, new = (resampled(worm(v), step_s) for v in (before, after))
    assert np.array_equal(old.activity.values[:step], new.activity.values[:step])
    assert np.array_equal(old.signals["speed"].values[:step], new.signals["speed"].values[:step])
    assert not np.array_equal(old.activity.values[step:], new.activity.values[step:]) or (
        step >= len(new.activity.values)
    )


def test_the_own_step_changes_nothing_and_a_multiple_is_what_bins_are() -> None:
    own = worm(noise(), own_s=0.6000188810285181)
    assert resampled(own, 0.6000188835896552) is own
    for factor in (2, 3):
        step_s = factor * 0.6000188810285181
        new = resampled(own, step_s)
        n = binning.n_bins(own, step_s)
        assert np.array_equal(new.activity.values, binning.activity(own, 0, n, step_s))
        assert np.array_equal(traces(new, "speed", step_s), traces(own, "speed", step_s)[:n])


def test_what_is_not_valid_or_unknown_is_left_out() -> None:
    values = noise()
    values[3:6] = 99.0  # 1.8 to 3.6 s: not valid, or partly
    values[20, 1] = np.nan
    new = resampled(worm(values, valid=[(0.0, 1.8), (3.2, 24.0)]), 0.65)
    assert new.valid.pairs.tolist() == [[0.0, 1.8], [pytest.approx(3.9), pytest.approx(23.4)]]
    assert np.nanmax(new.activity.values) < 10  # the first sample that is whole ends at 4.2 s
    inside = [k for a, b in binning.pieces(new.valid, 0.65) for k in range(a, b)]
    assert np.isnan(new.activity.values[inside]).sum(axis=0).tolist() == [0, 1, 0]


def test_signals_of_another_grid_are_left_as_they_are() -> None:
    own = worm(noise())
    licks = Signal(np.ones((2, 1), np.float32), 0.0, 0.0, np.array([1.0, 2.0]))
    fast = Signal(np.ones((240, 1), np.float32), 0.1)
    new = resampled(Recording(**{**vars(own), "signals": {"licks": licks, "fast": fast}}), 1.0)
    assert new.signals == {"licks": licks, "fast": fast}


def test_counts_events_and_shorter_steps_are_refused() -> None:
    counts = Recording.from_arrays("c", counts=np.zeros((9, 2), np.uint8), bin_s=0.1)
    with pytest.raises(InputError, match=r"c: step_s is for traces.*choose bin_s instead"):
        resampled(counts, 0.2)
    with pytest.raises(InputError, match=r"step_s 0\.5 is shorter than the data's own step 0\.6 s"):
        resampled(worm(noise()), 0.5)
    with pytest.raises(InputError, match="step_s is -1"):
        resampled(worm(noise()), -1.0)


def test_a_read_file_has_the_step_that_is_set_and_says_so(tmp_path) -> None:
    path, settings = tmp_path / "b.npz", QualityConfig(step_s=0.75)
    write_arrays(Recording.from_arrays("b", traces=noise(), bin_s=0.74), path)
    assert read_into(path, tmp_path / "staged", settings, lambda _: True)["n_recordings"] == 1
    store = create_store(tmp_path / "s")
    store.sessions.mkdir()
    store.adopt(tmp_path / "staged" / "0")
    said = "repair: activity: samples of 0.74 s were averaged over steps of 0.75 s"
    assert [flag.text for flag in store.flags("b")] == [said]
    assert store.open("b").provenance.notes == (said,)
    assert float(store.open("b").activity.step_s) == store.manifest("b")["settings"]["step_s"]
