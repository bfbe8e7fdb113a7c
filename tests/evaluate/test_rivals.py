"""What each rival promises beyond the contract of all baselines."""

from dataclasses import replace

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.errors import InputError
from neurofm.evaluate import factors, streams
from neurofm.evaluate.baselines import BASELINES, SESSION_BASELINES
from neurofm.evaluate.baselines.coupled_glm import CoupledGLM, penalties
from neurofm.evaluate.baselines.gpfa import rate_of_root, windows_over
from neurofm.evaluate.baselines.region_mean import RegionMean, shares
from neurofm.evaluate.baselines.rrr_sessions import fit_sessions
from neurofm.evaluate.baselines.trailing_mean import TrailingMean
from neurofm.evaluate.metrics import bps_pooled, value
from neurofm.evaluate.score import score
from neurofm.evaluate.tasks import TASKS

BIN_S = 0.05
SIDES = {"train": (0, 80), "valid": (80, 95), "test": (95, 150)}


@pytest.fixture(scope="module")
def sessions():
    config = SimulationConfig(n_animals=1, sessions_per_animal=3, units_min=24, units_max=24,
                              minutes=2.5, rate_hz=12, regions=("VISp", "MOs"))  # fmt: skip
    return [s.recording for s in simulate(config, seed=4)]


def scored(factory, task, recording, sides=SIDES):
    parts = {side: Intervals.of([span]) for side, span in sides.items()}
    return value(
        score(factory, "x", TASKS[task], recording, bin_s=BIN_S, **parts).scores, bps_pooled
    )


def over_sessions(task, recordings, train):
    parts = tuple(Intervals.of([span]) for span in train)
    return SESSION_BASELINES["rrr-sessions"](TASKS[task], tuple(recordings), parts, BIN_S, 0)


@pytest.mark.parametrize(
    ("name", "task"),
    [("trailing-mean", "forward"), ("coupled-glm", "forward"),
     ("gpfa", "co-smoothing"), ("autoencoder", "co-smoothing"), ("rrr-sessions", "forward")],
)  # fmt: skip
def test_each_beats_the_mean_on_a_simulated_session(sessions, name, task):
    factory = BASELINES.get(name)
    if factory is None:
        made = over_sessions(task, sessions, [SIDES["train"]] * 3)
        factory = lambda: made(sessions[0])  # noqa: E731
    gain = scored(factory, task, sessions[0]) - scored(BASELINES["mean-rate"], task, sessions[0])
    assert gain > 0.08


def asked(counts, task, region="A", parts=((0.0, 60.0), (60.0, 80.0), (80.0, 100.0)), fold=0):
    rec = Recording.from_arrays("r", counts=counts, bin_s=BIN_S, channel_region=region)
    pattern = TASKS[task].groups(rec, 0)[fold]
    return [TASKS[task].examples(rec, Intervals.of([p]), BIN_S, pattern) for p in parts]


def follower(n=2000, seed=0):
    """Channels 0-3 share a slow rate, channels 4-7 another."""
    rng = np.random.default_rng(seed)
    drive = np.repeat(rng.gamma(2.0, 0.5, (n // 40, 2)), 40, axis=0)
    return rng.poisson(np.repeat(drive, 4, axis=1)).clip(0, 255).astype(np.uint8)


def test_trailing_mean_by_hand_and_blind_to_the_future():
    counts = follower()
    train, valid, test = asked(counts, "forward", ["A"] * 8)
    predictor = TrailingMean()
    predictor.fit(train, valid)
    width, prior = int(predictor.chosen["width"]), predictor.chosen["prior"]
    mean = counts[:1200].mean(axis=0)
    question = test[3].question
    spikes = question.visible[-4 - width : -4].sum(axis=0)
    by_hand = mean * (prior + spikes) / (prior + width * mean)
    assert predictor.predict([question])[0][-4:] == pytest.approx(
        np.tile(by_hand, (4, 1)), rel=1e-4
    )

    train, valid, test = asked(counts, "co-smoothing", ["A"] * 8)
    predictor.fit(train, valid)
    question = test[0].question
    later = question.visible.copy()
    later[101:, ~question.hidden[0]] += 3
    before, after = predictor.predict([question, replace(question, visible=later)])
    assert np.array_equal(before[:101], after[:101])
    assert not np.array_equal(before[101:], after[101:])


def test_region_mean_listens_to_its_own_region():
    counts = follower()
    sides = asked(counts, "co-smoothing", ["A"] * 4 + ["B"] * 4)
    predictor = RegionMean()
    predictor.fit(sides[0], sides[1])
    assert predictor.chosen["gain"] > 0.5
    rec = Recording.from_arrays(
        "r", counts=counts, bin_s=BIN_S, channel_region=["A"] * 4 + ["B"] * 4
    )
    parts = {"train": (0, 60), "valid": (60, 80), "test": (80, 100)}
    own, mean = (
        scored(BASELINES[n], "co-smoothing", rec, parts) for n in ("region-mean", "mean-rate")
    )
    assert own > mean + 0.1
    question = sides[2][0].question
    hidden = int(np.flatnonzero(question.scored[0])[0])
    others = np.flatnonzero(~question.hidden[0])
    same = others[(others < 4) == (hidden < 4)]
    base = predictor.predict([question])[0][:, hidden]
    for rows, moves in ((same, True), (np.setdiff1d(others, same), False)):
        louder = question.visible.copy()
        louder[:, rows] += 2
        rates = predictor.predict([replace(question, visible=louder)])[0][:, hidden]
        assert (not np.array_equal(rates, base)) is moves


def test_a_region_without_visible_channels_is_stood_for_by_all():
    pattern = streams.Pattern(np.array([0, 1]), np.array([2, 3, 4]), 5, 0, 0)
    share = shares(np.array(["A", "", "A", "B", ""]), pattern, np.array([1.0, 3.0, 1, 1, 1]))
    assert share.T.tolist() == [[1, 0], [0.25, 0.25], [0.25, 0.25]]


def test_the_posterior_is_that_of_the_joint_gaussian():
    rng = np.random.default_rng(0)
    model = factors.Factors(rng.normal(size=(4, 2)), rng.normal(size=4), np.array([0.5, 1, 2, 0.3]),
                            ((3.0, 0.01), (1.5, 0.2)))  # fmt: skip
    n_bins, rows, n_seen = 6, np.array([0, 2, 3]), 4
    prior = np.zeros((2 * n_bins, 2 * n_bins))
    for i, kernel in enumerate(model.kernels):
        block = slice(i * n_bins, (i + 1) * n_bins)
        prior[block, block] = np.linalg.inv(factors.inverse(kernel, n_bins)[0])
    read = np.zeros((n_seen * 3, 2 * n_bins))
    for t in range(n_seen):
        read[t * 3 : t * 3 + 3, [t, n_bins + t]] = model.loading[rows]
    cell_noise = np.diag(np.tile(model.noise[rows], n_seen))
    roots = rng.normal(size=(1, n_bins, 3))
    residual = (roots[0, :n_seen] - model.offset[rows]).reshape(-1)
    joint = prior @ read.T @ np.linalg.solve(read @ prior @ read.T + cell_noise, residual)
    found = model.posterior(n_bins, rows, n_seen).mean(roots)[0]
    assert found.T.reshape(-1) == pytest.approx(joint, abs=1e-8)


def test_em_finds_planted_latents_and_their_timescale():
    rng = np.random.default_rng(0)
    covariance = np.linalg.inv(factors.inverse((12.0, 0.01), 64)[0])
    x = rng.multivariate_normal(np.zeros(64), covariance, 40)[:, :, None]
    loading = rng.normal(size=(1, 15))
    roots = x @ loading + 1 + rng.normal(size=(40, 64, 15))
    model = factors.fitted(factors.Windows("planted", roots), 1, 0.01)
    found = model.posterior(64, np.arange(15), 64).mean(roots)
    assert abs(np.corrcoef(found.ravel(), x.ravel())[0, 1]) > 0.95
    assert 9 < model.kernels[0][0] < 16


def test_roots_are_read_as_poisson_rates():
    for rate in (0.02, 0.5, 4.0, 60.0):
        root = np.sqrt(np.random.default_rng(0).poisson(rate, 400_000)).mean()
        assert rate_of_root(np.array(root)) == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("n_bins", [1, 5, 127, 128, 129, 1000])
def test_windows_read_every_bin_once(n_bins):
    cut = windows_over(n_bins, 0)
    assert np.array_equal(
        np.concatenate([np.arange(a, b) for _, _, a, b in cut]), np.arange(n_bins)
    )
    assert all(start <= a <= b <= stop <= n_bins for start, stop, a, b in cut)


def test_penalties_are_weaker_on_a_units_own_past():
    pattern = streams.Pattern(np.array([0, 1]), np.array([1]), 2, 2, 9)
    ridge = penalties(pattern, n_groups=2, n_targets=2, strength=10.0, own=0.1)
    assert ridge[:-1].tolist() == [[10, 10], [1, 1], [10, 10], [1, 1]]
    assert streams.widening_ahead(10) == ((0, 1), (1, 3), (3, 7), (7, 10))


def test_a_coupling_is_found_in_its_direction():
    """Unit 1 fires two bins after unit 0; nothing drives unit 0."""
    rng = np.random.default_rng(0)
    first = rng.poisson(0.3, 2000)
    second = rng.poisson(0.05 + 0.9 * np.roll(first, 2).clip(0, 1))
    quiet = rng.poisson(0.3, 2000)
    train, valid, test = asked(
        np.stack([first, second, quiet], 1).astype(np.uint8), "forward", ["A"] * 3
    )
    predictor = CoupledGLM()
    predictor.fit(train, valid)
    question = test[0].question
    fired, silent = question.visible.copy(), question.visible.copy()
    fired[-5], silent[-5] = [1, 0, 0], [0, 0, 0]  # the last bin of the context
    after, without = predictor.predict([replace(question, visible=v) for v in (fired, silent)])
    change = after[-4:] - without[-4:]
    assert change[1:3, 1].max() > 0.3
    assert np.abs(change[:, [0, 2]]).max() < 0.1


def test_a_basis_shared_by_sessions_helps_short_ones(sessions):
    sides = {"train": (0, 20), "valid": (20, 35), "test": (60, 150)}
    gains = []
    for short in sessions:
        spans = [sides["train"] if s is short else (0, 150) for s in sessions]
        many = over_sessions("co-smoothing", sessions, spans)
        alone = over_sessions("co-smoothing", [short], [sides["train"]])
        shared, own = (scored(lambda m=m, s=short: m(s), "co-smoothing", short, sides)
                       for m in (many, alone))  # fmt: skip
        gains.append(shared - own)
    assert np.mean(gains) > 0.01, gains


def test_a_basis_is_orthonormal_and_refuses_sessions_of_different_tasks(sessions):
    sides = [asked(follower(seed=s), "co-smoothing", ["A"] * 8)[0] for s in (0, 1)]
    basis = fit_sessions(sides, rank=3)
    assert basis.filters.T @ basis.filters == pytest.approx(np.eye(3), abs=1e-8)
    with pytest.raises(InputError, match="one task"):
        fit_sessions([sides[0], asked(follower(), "forward", ["A"] * 8)[0]])
    with pytest.raises(InputError, match="one or more sessions"):
        fit_sessions([])
