from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm import Recording
from neurofm.data.intervals import Intervals
from neurofm.tokens.event import Event
from neurofm.tokens.grouped import grouped
from neurofm.tokens.mask_config import MaskConfig
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import ChannelContext, stack
from neurofm.tokens.vocabulary import Vocabulary, statistics
from neurofm.train.batches import Corpus, MaskedBatches

TOKENIZERS = [TimeBin(), Patch(channels=2, bins=3), Patch(channels=7), Event(block_bins=4)]


def same(a, b):
    """Every tensor of two groups or batches equal, of one type and shape."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return all(map(same, vars(a).values(), vars(b).values())) if hasattr(a, "__dict__") else a == b


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda t: f"{t.kind}-{len(str(t))}")
def test_windows_cut_at_once_are_what_each_window_is(tokenizer, dtype):
    rng = np.random.default_rng(0)
    counts, hidden = rng.poisson(1, (3, 10, 5)).astype(dtype), rng.random((3, 10, 5)) < 0.4
    context = ChannelContext(*[torch.arange(5)] * 5)
    one_by_one = stack(
        [tokenizer(a, h) for a, h in zip(counts, hidden, strict=True)], context, [0, 1, 1]
    )
    at_once = grouped(
        tokenizer, torch.from_numpy(counts), torch.from_numpy(hidden), context, [0, 1, 1]
    )
    assert same(at_once, one_by_one)


@pytest.mark.parametrize("tokenizer", TOKENIZERS[:3], ids=lambda t: f"{t.kind}-{len(str(t))}")
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_values_that_were_not_recorded_are_absent_in_windows_cut_at_once_too(tokenizer, share):
    rng = np.random.default_rng(0)
    values, hidden = rng.normal(size=(3, 10, 5)).astype(np.float32), rng.random((3, 10, 5)) < 0.4
    values[:2][rng.random((2, 10, 5)) < share] = np.nan  # the last window has them all
    context = ChannelContext(*[torch.arange(5)] * 5)
    one_by_one = stack(
        [tokenizer(a, h) for a, h in zip(values, hidden, strict=True)], context, [0, 1, 1]
    )
    assert (one_by_one.present is None) == (share == 0)
    tensors = torch.from_numpy(values), torch.from_numpy(hidden)
    at_once = grouped(tokenizer, *tensors, context, [0, 1, 1])
    assert same(replace(at_once, present=None), replace(one_by_one, present=None))
    if share:  # cells of a short patch that hold nothing are neither present nor absent
        full = tokenizer(np.ones((10, 5), np.uint8), np.zeros((10, 5), bool)).values > 0
        real = np.concatenate([full] * 3)
        assert torch.equal(at_once.present[real], one_by_one.present[real])
        assert not at_once.present[real].all()


@pytest.mark.parametrize("tokenizer", TOKENIZERS[::3], ids=lambda t: t.kind)
def test_counts_that_are_held_and_counts_that_are_read_give_the_same_batches(tokenizer):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.5, (400, 6)).astype(np.uint8)
    counts.flags.writeable = False
    region = np.array(["a", "a", "b", "b", "b", "c"])
    recording = Recording.from_arrays("s", counts=counts, bin_s=0.02, channel_region=region)
    spans = {"s": Intervals.of([(0, 4.3), (5, 8)])}
    vocabulary = Vocabulary.of([recording])
    measured = {"s": statistics(recording, spans["s"], 0.02)}
    masks = MaskConfig(cells=0.3, autoregressive=0.3, units_and_future=0.3).mixture(0.02)
    both = []
    for budget in (0, 1 << 20):
        corpus = Corpus.of([recording], vocabulary, measured, 0.02, budget)
        assert (corpus.counts is None) == (budget == 0)
        both.append(MaskedBatches.over(corpus, spans, masks, tokenizer, length=30, size=12, seed=1))
    assert all(same(both[0](k), both[1](k)) for k in range(3))
