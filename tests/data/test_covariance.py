"""`data.covariance` and `data.ring`: what recentring removes, what a ring is, and how rows turn."""

import numpy as np
import pytest
from numpy.linalg import norm

from neurofm.data import covariance as cv
from neurofm.data import ring
from neurofm.errors import InputError


def traces(n=4000, c=5, seed=0):
    rng = np.random.default_rng(seed)
    loud = np.repeat(np.exp(rng.normal(0, 0.7, (n // 50 + 1, c))), 50, axis=0)[:n]
    return (rng.normal(size=(n, c)) * loud) @ rng.normal(size=(c, c))


def distances(cov):
    rows = cv.tangent(cov)
    return norm(rows[:, None] - rows[None], axis=-1)


def test_log_and_exp_undo_each_other_and_vectors_keep_lengths():
    cov = cv.shrunk(cv.covariances(traces(), 50))
    flat = cv.log_map(cov)
    assert np.allclose(cv.exp_map(flat), cov)
    assert np.allclose(norm(cv.vectors(flat), axis=1), norm(flat, axis=(1, 2)), rtol=1e-5)
    assert np.allclose(cv.matrices(cv.vectors(flat)), flat, atol=1e-5)


def test_windows_are_whole_and_do_not_overlap():
    x = traces(230, 3)
    cov = cv.covariances(x, 50)
    assert len(cov) == 4
    assert np.allclose(cov[1], x[50:100].T @ x[50:100] / 50)
    with pytest.raises(InputError, match="no window of 300"):
        cv.covariances(x, 300)


def test_recentring_forgets_any_gain_and_mixing_of_the_electrodes():
    x, rng = traces(), np.random.default_rng(1)
    mixing = rng.normal(size=(5, 5)) + 2 * np.eye(5)
    cov, other = (cv.covariances(each, 50) for each in (x, x @ mixing.T))
    assert not np.allclose(distances(cov), distances(other), rtol=0.1)
    assert np.allclose(distances(cv.recentred(cov)), distances(cv.recentred(other)), rtol=1e-3)
    assert np.allclose(cv.mean_covariance(cv.recentred(cov)), np.eye(5), atol=1e-6)


def test_the_symmetries_of_a_ring_are_a_group():
    group = ring.symmetries(8)
    assert len({g.tobytes() for g in group + 0.0}) == 16
    assert np.array_equal(group[0], np.eye(8))
    products = np.einsum("aij,bjk->abik", group, group).reshape(-1, 8, 8)
    assert {g.tobytes() for g in products + 0.0} == {g.tobytes() for g in group + 0.0}
    assert np.allclose(ring.turn(8, 3) @ np.arange(8.0), np.roll(np.arange(8.0), 3))


def test_turns_between_places_add_up_and_keep_neighbours():
    assert np.allclose(ring.turn(7, 0.4) @ ring.turn(7, 0.6), ring.turn(7, 1))
    assert np.allclose(ring.turn(7, 0.3) @ ring.turn(7, 0.3).T, np.eye(7))
    with pytest.raises(InputError, match="two electrodes"):
        ring.turn(1, 0)


def test_rows_turn_as_their_electrodes_do():
    cov = cv.shrunk(cv.covariances(traces(c=8), 50))
    for by in (ring.turn(8, 3), ring.mirror(8)):
        wanted = cv.tangent(by @ cov @ by.T)
        assert np.allclose(cv.tangent(cov) @ cv.turned_rows(by), wanted, atol=1e-4)
        twice = np.tile(cv.tangent(cov), 2) @ cv.turned_rows(by, 2)
        assert np.allclose(twice, np.tile(wanted, 2), atol=1e-4)
        assert np.allclose(cv.recentred(by @ cov @ by.T), by @ cv.recentred(cov) @ by.T, atol=1e-6)


def test_a_band_takes_off_what_is_outside_it():
    t = np.arange(2000) / 200
    x = np.stack([np.sin(2 * np.pi * f * t) for f in (5, 40, 80)], axis=1)
    kept = cv.band_passed(x, 200, 20)[300:-300].std(axis=0)
    assert kept[0] < 0.01 < 0.7 < min(kept[1:])
    assert cv.band_passed(x, 200, 20, 50)[300:-300].std(axis=0)[2] < 0.05
    with pytest.raises(InputError, match="does not fit 200 samples"):
        cv.band_passed(x, 200, 20, 140)
