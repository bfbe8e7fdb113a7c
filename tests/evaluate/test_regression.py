from itertools import pairwise

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate import glm, lagged, regression, streams
from neurofm.evaluate.baselines.coupling_glm import Problem
from neurofm.evaluate.baselines.reduced_rank import best_rank
from neurofm.evaluate.baselines.ridge import Ridge
from neurofm.evaluate.lagged import Sides, Trial, trials, widest_trial
from neurofm.evaluate.score import score
from neurofm.evaluate.tasks import TASKS

RNG = np.random.default_rng(0)


def test_lagged_features_by_hand():
    values = np.arange(12.0, dtype=np.float32).reshape(6, 2)
    out = streams.lagged(values, ((-2, 0), (0, 1)), np.array([0, 1, 5]))
    assert out.tolist() == [[0, 0, 0, 1], [0, 0.5, 2, 3], [7, 8, 10, 11]]


def test_lag_groups_tile_their_reach():
    assert streams.symmetric(5) == ((-2, -1), (-1, 0), (0, 1), (1, 2), (2, 3))
    assert streams.past(2) == ((-2, -1), (-1, 0))
    for groups in (streams.widening(4), streams.widening_past(4), streams.symmetric(9)):
        assert all(a[1] == b[0] for a, b in pairwise(groups))
    assert streams.reach(streams.widening(4)) == 15
    assert streams.widening_past(4)[-1] == (-1, 0)


def test_forward_windows_are_stitched_back_and_touching_pieces_are_not():
    counts = RNG.poisson(1.0, (120, 4)).astype(np.uint8)
    rec = Recording.from_arrays("r", counts=counts, bin_s=0.05)
    part = Intervals.of([(0.0, 3.15), (3.15, 6.0)])
    for name in ("forward", "co-smoothing"):
        fold = TASKS[name].groups(rec, 0)[0]
        pieces = streams.stitch(TASKS[name].examples(rec, part, 0.05, fold)[::-1])
        assert [len(p) for p in pieces] == [63, 57]
        assert np.array_equal(np.concatenate(pieces), counts)


@pytest.mark.parametrize(("n", "n_features"), [(300, 12), (20, 50)])
def test_ridge_equals_the_textbook_also_with_fewer_samples_than_features(n, n_features):
    x = RNG.normal(size=(n, n_features)).astype(np.float32) + 1
    y = RNG.normal(size=(n, 3)).astype(np.float32)
    fitted = regression.design([(x[:7], y[:7]), (x[7:], y[7:])])
    inside = regression.ridge(fitted, 0.1)
    strength = 0.1 * np.trace(fitted.gram) / len(fitted.gram)
    xc, yc = x - x.mean(axis=0), y - y.mean(axis=0)
    weights = np.linalg.solve(xc.T @ xc + strength * np.eye(n_features), xc.T @ yc)
    assert fitted.project(x) @ inside == pytest.approx(xc @ weights, abs=1e-3)


def test_features_that_are_copies_of_one_another_are_regressed_at_any_penalty():
    cause = RNG.normal(size=(5000, 1)).astype(np.float32)
    x = 30 * cause @ RNG.normal(size=(1, 64)).astype(np.float32)
    fitted = regression.design([(x, cause)])
    assert np.linalg.eigvalsh(fitted.gram)[0] < 0  # single precision: not positive
    told = fitted.project(x) @ regression.ridge(fitted, 1e-12) + fitted.y_mean
    np.testing.assert_allclose(told, cause, atol=0.01)


def test_climb_finds_the_top_from_either_side_and_never_scores_twice():
    for start in (-3.0, 0.0, 2.0):
        seen = []

        def hill(x, seen=seen):
            seen.append(x)
            return -((x - 1.0) ** 2)

        assert regression.climb(hill, start, 0.5) == 1.0
        assert len(seen) == len(set(seen)) <= 12


def small_sides():
    latent = np.convolve(RNG.normal(size=600), np.ones(5) / 2, "same")[:, None]
    counts = RNG.poisson(np.exp(latent * RNG.normal(0, 0.5, 12) - 0.3)).astype(np.uint8)
    rec = Recording.from_arrays("r", counts=counts, bin_s=0.05)
    fold = TASKS["co-smoothing"].groups(rec, 0)[0]
    parts = [(0.0, 24.0), (24.0, 30.0)]
    return Sides.of(
        *[TASKS["co-smoothing"].examples(rec, Intervals.of([p]), 0.05, fold) for p in parts]
    )


def test_reduced_rank_of_full_rank_is_ridge_and_of_one_latent_is_low():
    sides = small_sides()
    trial = Trial.of(sides, streams.symmetric(5))
    _, rank, weights = best_rank(trial, 1.0)
    full = trial.quality(regression.ridge(trial.fitted, 1.0))
    assert np.linalg.matrix_rank(weights, tol=1e-4) == rank
    assert trial.quality(weights) >= full - 1e-2


def test_candidates_that_share_a_gram_matrix_are_fitted_as_if_alone():
    sides = small_sides()
    candidates = sides.plain()
    assert len(candidates) == 4
    for groups, trial in zip(candidates, trials(sides, candidates), strict=True):
        alone = Trial.of(sides, groups)
        assert trial.groups == groups
        assert trial.x_valid == pytest.approx(alone.x_valid, abs=1e-5)
        shared = trial.quality(regression.ridge(trial.fitted, 1.0))
        assert shared == pytest.approx(alone.quality(regression.ridge(alone.fitted, 1.0)), abs=1e-2)


def test_folds_share_one_gram_matrix_and_are_fitted_as_if_alone():
    rec = Recording.from_arrays(
        "r", counts=RNG.poisson(0.8, (500, 10)).astype(np.uint8), bin_s=0.05
    )
    task, groups = TASKS["co-smoothing"], streams.symmetric(3)
    before = lagged._of_all.cache_info()
    for fold in task.groups(rec, 0):
        parts = [Intervals.of([p]) for p in ((0.0, 20.0), (20.0, 25.0))]
        sides = Sides.of(*[task.examples(rec, p, 0.05, fold) for p in parts])
        shared, alone = widest_trial(sides, groups), Trial.of(sides, groups)
        for name in ("x_mean", "y_mean", "gram", "cross"):
            a, b = getattr(shared.fitted, name), getattr(alone.fitted, name)
            assert a == pytest.approx(b, rel=1e-4, abs=1e-3)
        assert shared.x_valid == pytest.approx(alone.x_valid, abs=1e-6)
        assert np.array_equal(shared.y_valid, alone.y_valid)
    after = lagged._of_all.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 4)
    other = Recording.from_arrays("r", counts=1 + rec.activity.values, bin_s=0.05)
    sides = Sides.of(*[task.examples(other, p, 0.05, fold) for p in parts])
    assert not np.array_equal(widest_trial(sides, groups).fitted.gram, shared.fitted.gram)


@pytest.mark.parametrize("at", [np.arange(40), np.arange(35, 40), np.array([3, 9, 31])])
def test_lagged_features_are_means_over_offsets_and_zero_outside(at):
    values = RNG.normal(size=(40, 3)).astype(np.float32)
    groups = ((-50, -45), (-7, -3), (-1, 0), (0, 1), (2, 9), (60, 61))
    wanted = [
        [sum(values[t + o] for o in range(*g) if 0 <= t + o < 40) / (g[1] - g[0]) for g in groups]
        for t in at
    ]
    flat = np.array([np.concatenate([np.broadcast_to(x, 3) for x in row]) for row in wanted])
    assert streams.lagged(values, groups, at) == pytest.approx(flat, abs=1e-6)
    assert streams.lagged(values, groups, at[:0]).shape == (0, 18)


def test_glm_weights_are_at_the_minimum():
    sides = small_sides()
    problem = Problem.of(sides, streams.symmetric(3), 3)
    weights = problem.solve(10.0, None)

    def loss(w):
        rates = problem.rates(problem.x, w).astype(np.float64)
        ridge = 0.5 * 10.0 * (w[:-1] ** 2).sum() + 0.5e-3 * (w[-1] ** 2).sum()
        return -regression.fit_quality(problem.y, rates) + ridge

    best = loss(weights)
    for _ in range(20):
        nearby = weights + RNG.normal(0, 0.02, weights.shape).astype(np.float32)
        assert loss(nearby) > best
    again = problem.solve(10.0, weights + np.float32(0.1))
    assert loss(again) == pytest.approx(best, abs=0.05)


def test_glm_loss_over_blocks_is_the_likelihood_written_out(monkeypatch):
    x = RNG.normal(size=(50, 4)).astype(np.float32)
    weights = RNG.normal(size=(4, 3)).astype(np.float32) * 3  # drives from about -18 to 18
    y = RNG.poisson(0.5, (50, 3)).astype(np.float32)
    mean = np.array([0.1, 0.5, 2.0], np.float32)
    drive = x.astype(np.float64) @ weights
    soft = np.logaddexp(drive, 0)
    likely = -(y * np.log(np.maximum(soft, 1e-9)) - mean / glm.LOG2 * soft).sum()
    slope = x.T @ ((mean / glm.LOG2 - y / soft) / (1 + np.exp(-drive)))
    monkeypatch.setattr(glm, "CELLS", 21)  # blocks of seven rows, the last of one
    value, gradient = glm.loss(x, y, mean, weights)
    assert value == pytest.approx(likely, rel=1e-5)
    assert gradient == pytest.approx(slope, rel=1e-3, abs=0.02)


def test_hidden_cells_in_no_known_pattern_are_refused():
    rec = Recording.from_arrays("r", counts=np.ones((50, 4), np.uint8), bin_s=0.05)
    fold = TASKS["co-smoothing"].groups(rec, 0)[0]
    (example,) = TASKS["co-smoothing"].examples(rec, Intervals.of([(0.0, 2.0)]), 0.05, fold)
    hidden = np.zeros((40, 4), bool)
    hidden[5, 1] = True
    object.__setattr__(example.question, "hidden", hidden)
    with pytest.raises(InputError, match="neither"):
        streams.pattern_of([example.question])


@pytest.mark.slow
def test_ridge_lands_on_its_published_floor(shared_data):
    """Pooled bits per spike of m1-wrist 08-24, 9 lags: 0.189; 13 lags tuned on test: 0.209."""
    from neurofm.evaluate import metrics

    with np.load(shared_data / "m1-wrist" / "Spike_08-24-12_WF_001.npz") as held:
        counts = held["counts"]
    rec = Recording.from_arrays("r", counts=counts, bin_s=0.05)
    end = rec.span[1]
    parts = [Intervals.of([(round(a * end, 1), round(b * end, 1))]) for a, b in
             ((0, 0.7), (0.7, 0.8), (0.8, 1))]  # fmt: skip
    names = dict(zip(("train", "valid", "test"), parts, strict=True))
    scored = score(Ridge, "ridge", TASKS["co-smoothing"], rec, **names, bin_s=0.05)
    assert metrics.value(scored.scores, metrics.bps_pooled) == pytest.approx(0.205, abs=0.01)
