"""`train.crowd_traces`: networks of raw traces, fitted on training people alone."""

import numpy as np
import pytest

from neurofm.errors import InputError
from neurofm.train.crowd_traces import TracesConfig, fit_traces

TINY = TracesConfig(width=8, steps=60, windows=64, rate=1e-2, dropout=0.0)
LOUD = {"rest": [1, 1, 1, 1], "fist": [1, 6, 2, 1], "open": [1, 1, 3, 6]}


def windows(n=300, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.choice(list(LOUD), n)
    x = rng.normal(size=(n, 4, 20)) * np.array([LOUD[one] for one in label])[..., None]
    return x.astype(np.float32), label


def right(crowd, x, label):
    return (crowd.labels[crowd(x).argmax(1)] == label).mean()


def test_windows_that_were_not_seen_are_told_each_by_itself():
    crowd = fit_traces(*windows(), TINY)
    x, label = windows(200, seed=1)
    assert right(crowd, x, label) > 0.9
    alone = np.concatenate([crowd(x[i : i + 1]) for i in range(10)])
    assert np.allclose(crowd(x)[:10], alone, atol=1e-5)
    assert np.allclose(crowd(x).sum(1), 1, atol=1e-6)


def test_the_same_seed_gives_the_same_networks_and_shuffled_labels_score_chance():
    x, label = windows()
    short = TINY.model_copy(update={"steps": 8})
    first, again, other = (fit_traces(x, label, short, seed)(x[:20]) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    shuffled = np.random.default_rng(2).permutation(label)
    assert right(fit_traces(x, shuffled, TINY), *windows(300, seed=1)) < 0.5


def test_what_is_no_task_is_refused():
    x, label = windows(20)
    with pytest.raises(InputError, match="shorter than a filter"):
        fit_traces(x[:, :, :10], label, TINY)
    with pytest.raises(InputError, match="no task"):
        fit_traces(x, np.repeat("rest", 20), TINY)
