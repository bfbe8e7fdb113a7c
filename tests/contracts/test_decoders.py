"""What every decoder of signals and of labels must do, one table each."""

import numpy as np
import pytest

from neurofm.evaluate.decoders import LABEL_DECODERS, SIGNAL_DECODERS, gru
from neurofm.evaluate.readout import Stretch
from neurofm.evaluate.trial_readout import Trials

BIN_S = 0.05


@pytest.fixture(scope="module", autouse=True)
def _a_short_training():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gru, "STEPS", 75)
        patch.setattr(gru, "LENGTH", 40)
        patch.setattr(gru, "SIZE", 8)
        yield


def slow(n, k, seed):
    noise = np.random.default_rng(seed).normal(size=(n + 20, k))
    return np.stack([np.convolve(c, np.ones(11) / 3.3, "valid")[:n] for c in noise.T], axis=1)


def stretch(n, seed):
    """Counts of ten units that are tuned to two slow axes, and the axes."""
    axes = slow(n, 2, seed)
    loads = np.random.default_rng(9).normal(size=(2, 10))
    counts = np.random.default_rng(seed + 1).poisson(2 * np.exp(0.5 * axes @ loads))
    return Stretch(np.minimum(counts, 200).astype(np.uint8), axes.astype(np.float32))


@pytest.fixture(scope="module", params=[(n, c) for n in SIGNAL_DECODERS for c in (False, True)])
def fitted(request):
    name, causal = request.param
    made = SIGNAL_DECODERS[name](BIN_S, causal)
    made.fit([stretch(500, 0), stretch(300, 10)], [stretch(200, 20)])
    return made, causal


def test_a_signal_is_found(fitted):
    test = stretch(300, 30)
    [decoded] = fitted[0].predict([test.counts])
    assert decoded.shape == (300, 2)
    assert 1 - ((decoded - test.wanted) ** 2).mean() / test.wanted.var() > 0.6
    [features] = fitted[0].features([test.counts])
    assert features.shape[0] == 300


def test_no_piece_changes_another_and_no_future_changes_a_causal_past(fitted):
    made, causal = fitted
    one, other = stretch(200, 40).counts, stretch(150, 50).counts
    together = made.predict([one, other])
    assert np.allclose(made.predict([one])[0], together[0], atol=1e-5)
    assert np.allclose(made.predict([other])[0], together[1], atol=1e-5)
    changed = one.copy()
    changed[120:] = 9
    assert np.allclose(made.predict([changed])[0][:120], together[0][:120], atol=1e-5) is causal


@pytest.mark.parametrize("name", SIGNAL_DECODERS)
def test_unknown_targets_are_left_out_and_a_valid_side_is_not_needed(name):
    train = stretch(600, 0)
    wanted = train.wanted.copy()
    wanted[100:200] = np.nan
    made = SIGNAL_DECODERS[name](BIN_S, False)
    made.fit([Stretch(train.counts, wanted)], [])
    test = stretch(200, 30)
    decoded = made.predict([test.counts])[0]
    assert 1 - ((decoded - test.wanted) ** 2).mean() / test.wanted.var() > 0.5


def trials(n, seed):
    """Trials of 8 to 12 bins; two labels differ in one unit's second half."""
    rng = np.random.default_rng(seed)
    label = np.where(rng.random(n) < 0.3, "left", "right")
    counts = []
    for one in label:
        spikes = rng.poisson(1.0, (rng.integers(8, 13), 6))
        spikes[5:, 0] += rng.poisson(3.0 * (one == "left"), len(spikes) - 5)
        counts.append(spikes.astype(np.uint8))
    return Trials(counts, label)


@pytest.mark.parametrize("name", LABEL_DECODERS)
def test_a_label_is_found_whatever_the_length_and_order_of_trials(name):
    made = LABEL_DECODERS[name](BIN_S, False)
    made.fit(trials(120, 0), trials(40, 1))
    test = trials(60, 2)
    told = made.predict(test.counts)
    recall = [(told[test.label == c] == c).mean() for c in ("left", "right")]
    assert min(recall) > 0.7
    backwards = made.predict(test.counts[::-1])
    assert np.array_equal(backwards[::-1], told)
    assert made.features(test.counts).shape[0] == 60
