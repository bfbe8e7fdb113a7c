"""Fields and the two decoders on them, on an animal that runs up and down a planted track."""

import numpy as np
import pytest

from neurofm.evaluate import bayes
from neurofm.evaluate.decoders.ridge import Ridge
from neurofm.evaluate.fields import Bayes, BayesWalk, Fields
from neurofm.evaluate.readout import Stretch


@pytest.fixture(scope="module")
def track():
    """(train, valid, test) stretches of a standardised position, 25 units, peak 1 spike a bin."""
    rng = np.random.default_rng(0)
    t = np.arange(6000)
    speed = 0.8 + 0.4 * rng.random(6000)
    at = (1.6 * np.sin(np.cumsum(speed) / 40))[:, None]
    centre = rng.uniform(-1.8, 1.8, 25)
    counts = rng.poisson(0.01 + 0.5 * np.exp(-0.5 * ((at - centre) / 0.3) ** 2))
    wanted = at.astype(np.float32)
    wanted[t % 97 == 0] = np.nan
    parts = (slice(0, 3600), slice(3600, 4400), slice(4400, 6000))
    return tuple([Stretch(counts[p], wanted[p])] for p in parts)


def test_fields_are_mean_counts_where_the_animal_was():
    wanted = np.array([[0.05], [0.05], [0.95], [np.nan]], np.float32)
    counts = np.array([[2], [4], [8], [100]])
    fields = Fields.of([Stretch(counts, wanted)], smooth=0.01)
    np.testing.assert_allclose(fields.cells, [[0.05], [0.95]], atol=1e-6)
    np.testing.assert_allclose(fields.rates[:, 0], [6.001 / 2.1, 8.001 / 1.1], rtol=1e-5)
    np.testing.assert_allclose(fields.time, [2, 1], rtol=1e-5)


def test_a_walk_is_nearer_than_counts_alone_and_is_calibrated(track):
    train, valid, [test] = track
    there = np.isfinite(test.wanted).all(axis=1)
    far = {}
    walk = BayesWalk()
    for name, made in {"ridge": Ridge(0.05), "window": Bayes(), "walk": walk}.items():
        made.fit(train, valid)
        told = made.predict([test.counts])[0]
        far[name] = np.median(np.abs(told - test.wanted)[there])
    assert far["walk"] < far["window"] < 0.2
    assert far["walk"] < far["ridge"]
    posterior = walk.posterior([test.counts])[0][there]
    truth = bayes.nearest(walk.fields.cells, test.wanted[there])
    assert (bayes.depth(posterior, truth) <= 0.9).mean() == pytest.approx(0.9, abs=0.06)


def test_a_causal_walk_reads_the_past_alone(track):
    train, valid, [test] = track
    made = BayesWalk(causal=True)
    made.fit(train, valid)
    changed = test.counts.copy()
    changed[500:] += 2
    before, after = (made.posterior([c[:700]])[0] for c in (test.counts, changed))
    assert (before[:500] == after[:500]).all()
    assert not np.allclose(before[500:], after[500:])
