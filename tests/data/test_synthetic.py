from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import cross_val_predict

from neurofm.config import load
from neurofm.data import binning
from neurofm.data.recording import Events
from neurofm.data.synthetic import (
    SimulatedSession,
    SimulationConfig,
    shared_rates,
    simulate,
    true_rates,
)
from neurofm.data.synthetic_latents import TASK, make_world
from neurofm.data.synthetic_truth import load_truth, save_truth, truth_path
from neurofm.errors import ConfigError, InputError

SMALL = SimulationConfig(
    n_animals=2, sessions_per_animal=1, units_min=40, units_max=60, minutes=6.0
)
SHORT = SMALL.model_copy(update={"minutes": 0.5, "units_min": 6, "units_max": 9})


@pytest.fixture(scope="module")
def sessions() -> list[SimulatedSession]:
    return simulate(SMALL, seed=0)


def counts_of(session: SimulatedSession) -> np.ndarray:
    n_bins = len(session.true_rates)
    return binning.activity(session.recording, 0, n_bins, 0.02).astype(np.float64)


def bits_per_spike(counts: np.ndarray, rates: np.ndarray) -> float:
    """Pooled, against each unit's mean."""
    null = np.broadcast_to(counts.mean(axis=0), counts.shape)
    gain = counts * np.log(rates / null) - rates + null
    return float(gain.sum() / counts.sum() / np.log(2))


def test_the_true_rates_score_highest_then_the_shared_ones(sessions) -> None:
    for session in sessions:
        counts = counts_of(session)
        true, shared = (
            bits_per_spike(counts, r) for r in (session.true_rates, session.shared_rates)
        )
        assert true > shared + 0.03, "a unit's private fluctuation is worth something"
        assert 0.2 < shared < 0.5


def test_rates_are_calibrated(sessions) -> None:
    for session in sessions:
        counts, true = counts_of(session), session.true_rates.astype(np.float64)
        assert counts.sum() == pytest.approx(true.sum(), rel=0.02)
        assert counts.sum() == pytest.approx(session.shared_rates.sum(), rel=0.05)
        for low, high in zip(*[iter(np.quantile(true, np.linspace(0, 1, 9)))] * 2, strict=False):
            band = (true >= low) & (true <= high)
            spread = np.sqrt(2.0 * true[band].sum())  # counts are over-dispersed
            assert abs(counts[band].sum() - true[band].sum()) < 4 * spread


def test_rates_look_like_cortex(sessions) -> None:
    means = np.concatenate([s.true_rates.mean(axis=0) / 0.02 for s in sessions])
    assert 4 < means.mean() < 9
    assert np.median(means) < means.mean(), "a long tail of fast units"
    assert means.min() > 0.1
    assert max(s.true_rates.max() for s in sessions) / 0.02 < 400


def test_spikes_are_over_dispersed_only_where_asked() -> None:
    config = SMALL.model_copy(update={"n_animals": 1, "minutes": 3.0})
    excess = []
    for dispersion in (0.0, 0.8):
        session = simulate(config.model_copy(update={"dispersion": dispersion}), seed=2)[0]
        counts, rates = counts_of(session), session.true_rates.astype(np.float64)
        excess.append(((counts - rates) ** 2 - rates).sum() / (rates**2).sum())
    assert excess[0] == pytest.approx(0.0, abs=0.1)
    assert excess[1] > 0.3


def test_the_same_seed_gives_the_same_session_and_another_does_not() -> None:
    one, same, other = (simulate(SHORT, seed)[1] for seed in (5, 5, 6))
    assert (one.recording.activity.ticks == same.recording.activity.ticks).all()
    assert (one.true_rates == same.true_rates).all()
    assert one.recording.channels.id.tolist() == same.recording.channels.id.tolist()
    assert len(one.recording.activity.ticks) != len(other.recording.activity.ticks)


def test_a_session_does_not_depend_on_how_many_there_are() -> None:
    alone = simulate(SHORT.model_copy(update={"n_animals": 1}), seed=5)[0]
    first = simulate(SHORT, seed=5)[0]
    assert (alone.recording.activity.ticks == first.recording.activity.ticks).all()


def test_spike_times_are_distinct_ticks_inside_the_session(sessions) -> None:
    for session in sessions:
        events = session.recording.activity
        assert isinstance(events, Events)
        both = events.ticks * len(session.recording.channels) + events.row
        assert len(np.unique(both)) == len(both), "no unit fires twice in a tick"
        assert events.ticks[-1] / events.ticks_per_s < session.recording.span[1]
        within = events.ticks % 600
        assert within.mean() == pytest.approx(300, abs=10), "anywhere in the bin"


def lagged_correlation(a: np.ndarray, b: np.ndarray, lag: int) -> float:
    n = len(a) - 10
    return float(np.corrcoef(a[5 : 5 + n], b[5 + lag : 5 + lag + n])[0, 1])


def test_a_region_hears_another_after_its_delay(sessions) -> None:
    world = make_world(SMALL.regions, seed=0)
    assert set(world.delay_s.ravel().tolist()) <= {0.02, 0.04, 0.06}
    names = sessions[0].latent_names
    own = names.index("own_0")
    for region in range(len(SMALL.regions)):
        source, delay_s = world.sources[region, 0], world.delay_s[region, 0]
        sent = sessions[0].seen[source][:, own]
        heard = sessions[0].seen[region][:, names.index("input_0_0")]
        peak = max(range(-5, 6), key=lambda lag: lagged_correlation(sent, heard, lag))
        assert peak == round(delay_s / 0.02)


def test_the_delay_is_there_in_the_rates_of_units(sessions) -> None:
    """The part of a region's rates that its input explains explains them best at the true delay."""
    world = make_world(SMALL.regions, seed=0)
    own = sessions[0].latent_names.index("own_0")
    lags, wins = range(-5, 6), []
    for session in sessions:
        log = np.log(session.shared_rates)
        for region, name in enumerate(session.regions):
            units = log[:, session.recording.channels.region == name]
            if units.shape[1] < 5:
                continue
            source, delay = world.sources[region, 0], round(world.delay_s[region, 0] / 0.02)
            column = session.latent_names.index("input_0_0")
            others = np.delete(session.seen[region], column, axis=1)
            others = np.column_stack([others, np.ones(len(others))])
            rest = units - others @ np.linalg.lstsq(others, units, rcond=None)[0]
            sent = session.seen[source][:, own]
            fit = {
                lag: max(abs(lagged_correlation(sent, unit, lag)) for unit in rest.T)
                for lag in lags
            }
            wins.append(abs(max(fit, key=fit.get) - delay) <= 1)
    assert len(wins) >= 5
    assert np.mean(wins) >= 0.7  # chance: 3 of 11 lags


def test_choice_can_be_read_from_counts(sessions) -> None:
    for session in sessions:
        trials = session.recording.trials
        response = trials["stimulus_s"] + trials["reaction_s"]
        at = (response / 0.02).astype(int)
        counts = counts_of(session)
        features = np.stack([np.sqrt(counts[i - 10 : i + 5].sum(axis=0)) for i in at])
        model = LogisticRegression(C=0.03, max_iter=500)
        shuffled = np.random.default_rng(0).permutation(trials["choice"])
        score, chance = (
            np.mean(cross_val_predict(model, features, y, cv=5) == y)
            for y in (trials["choice"], shuffled)
        )
        assert score > 0.75
        assert chance < 0.6


def test_wheel_speed_can_be_read_from_counts(sessions) -> None:
    for session in sessions:
        counts = counts_of(session)
        window = np.cumsum(np.sqrt(counts), axis=0)
        features = window[10:] - window[:-10]
        wheel = np.sqrt(np.abs(session.recording.signals["wheel_velocity"].values[5:-5, 0]))
        cut = int(0.7 * len(wheel))
        model = Ridge(alpha=1000.0).fit(features[:cut], wheel[:cut])
        assert model.score(features[cut:], wheel[cut:]) > 0.3


def test_the_animal_does_the_task() -> None:
    trials = simulate(SMALL.model_copy(update={"n_animals": 1, "minutes": 20.0,
                                               "units_min": 1, "units_max": 1}), 0)[0].recording.trials  # fmt: skip
    contrast = trials["contrast_left"] + trials["contrast_right"]
    correct = trials["feedback"] == 1
    assert set(contrast.tolist()) == {0.0, 0.0625, 0.125, 0.25, 1.0}
    assert correct[contrast == 1].mean() > 0.9 > correct[contrast == 0.0625].mean()
    left = trials["choice"] == -1
    unseen = contrast == 0
    assert left[unseen & (trials["prior"] == 0.8)].mean() > 0.65, "the prior biases a guess"
    assert left[unseen & (trials["prior"] == 0.2)].mean() < 0.35
    reaction = trials["reaction_s"]
    assert np.median(reaction[contrast == 1]) < np.median(reaction[unseen])
    shown = (trials["contrast_left"] > 0)[(contrast > 0) & (trials["prior"] == 0.8)]
    assert shown.mean() == pytest.approx(0.8, abs=0.1)
    assert (trials["stop_s"][:-1] < trials["start_s"][1:]).all()
    assert (trials["prior"][:15] == 0.5).all()


def test_latents_have_unit_variance_and_move_the_units(sessions) -> None:
    session = sessions[0]
    for name in TASK:
        assert session.latents[name].mean() == pytest.approx(0, abs=1e-6)
        assert session.latents[name].std() == pytest.approx(1, abs=1e-6)
    log = np.log(session.shared_rates)
    assert 0.4 < log.std(axis=0).mean() < 1.2
    values = np.linalg.svd(log[::5] - log[::5].mean(axis=0), compute_uv=False) ** 2
    assert 3 < values.sum() ** 2 / (values**2).sum() < 20, "low-dimensional, but not one mode"


def test_dynamics_are_shared_by_animals_and_units_are_not(sessions) -> None:
    a, b = (s.recording for s in sessions)
    assert not set(a.channels.id) & set(b.channels.id)
    assert a.subject != b.subject
    assert 4 <= len(set(a.channels.region)) <= 5
    own = sessions[0].latent_names.index("own_0")
    for region in range(len(SMALL.regions)):
        x, y = (s.seen[region][:, own] for s in sessions)
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.35, "the same law, another course"
        memory = [lagged_correlation(v, v, 5) for v in (x, y)]
        assert memory[0] == pytest.approx(memory[1], abs=0.15)


def test_units_can_be_found_again_on_another_day() -> None:
    config = SHORT.model_copy(update={"sessions_per_animal": 2, "same_units": 0.5, "units_min": 20,
                                      "units_max": 20, "minutes": 4.0})  # fmt: skip
    first, second, elsewhere, _ = simulate(config, seed=1)
    ids = [set(s.recording.channels.id) for s in (first, second, elsewhere)]
    same = sorted(ids[0] & ids[1])
    assert len(same) == 10
    assert not ids[0] & ids[2]
    rows = [[s.recording.channels.id.tolist().index(i) for i in same] for s in (first, second)]
    mean_log = [np.log(s.shared_rates[:, r].mean(axis=0)) for s, r in zip((first, second), rows, strict=True)]  # fmt: skip
    assert np.corrcoef(*mean_log)[0, 1] > 0.8, "the same unit has about the same rate"
    assert first.recording.provenance.started < second.recording.provenance.started


def test_truth_in_wider_bins_is_the_sum(sessions) -> None:
    session = sessions[0]
    wide = true_rates(session, 0.1)
    assert np.allclose(wide, session.true_rates.reshape(-1, 5, wide.shape[1]).sum(axis=1))
    assert shared_rates(session, 0.14).shape[0] == len(session.shared_rates) // 7
    assert (true_rates(session, 0.02) == session.true_rates).all()
    for bin_s in (0.01, 0.03):
        with pytest.raises(InputError, match=r"not a whole multiple of the simulation's 0.02 s"):
            true_rates(session, bin_s)


def test_truth_is_loaded_as_it_was_saved(sessions, tmp_path: Path) -> None:
    truth = sessions[0].truth
    path = truth_path(tmp_path / "a.nwb")
    save_truth(truth, path)
    back = load_truth(tmp_path / "a.nwb")
    assert load_truth(path).bin_s == back.bin_s == 0.02
    assert back.recording == truth.recording
    assert back.channel_id.tolist() == truth.channel_id.tolist()
    assert np.allclose(back.true_rates, truth.true_rates, rtol=1e-3, atol=0)
    assert np.allclose(back.shared_rates, truth.shared_rates, rtol=1e-3, atol=0)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nwb.truth.npz"]


def test_a_truth_that_cannot_be_used_is_named(sessions, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.nwb.truth.npz is missing; only simulated"):
        load_truth(tmp_path / "a.nwb")
    (tmp_path / "b.npz").write_bytes(b"PK not a zip")
    with pytest.raises(InputError, match=r"b.npz is not a readable truth"):
        load_truth(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", schema=1)
    with pytest.raises(InputError, match=r"c.npz: field '.*' is missing"):
        load_truth(tmp_path / "c.npz")
    save_truth(replace(sessions[0].truth, channel_id=np.array(["a"])), tmp_path / "d.npz")
    with pytest.raises(InputError, match=r"d.npz: .* do not fit"):
        load_truth(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["units_min=50", "units_max=40"], "units_max = 40 is below units_min = 50"),
        (["minutes=0.1"], "at least half a minute"),
        (["bin_s=0.000007"], "must be a multiple of 1/30000 s"),
        (["minute=1"], "did you mean minutes"),
        (["same_units=2"], "same_units = 2"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        simulate(load(SimulationConfig, settings=settings), seed=0)


@pytest.mark.parametrize("regions", [("V1",), ("A", "B"), tuple("ABCDEFG")])
def test_any_number_of_regions(regions: tuple[str, ...]) -> None:
    session = simulate(SHORT.model_copy(update={"regions": regions, "n_animals": 1}), seed=0)[0]
    assert set(session.recording.channels.region) <= set(regions)
    assert np.isfinite(session.true_rates).all()
    assert session.seen.shape[0] == len(regions)
    assert session.seen.shape[2] == len(session.latent_names)
