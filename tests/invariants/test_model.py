"""What must never change, whatever the architecture: at random and at trained weights."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm.model.backbone import BackboneConfig, Run, drop
from neurofm.model.build import build
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.seeding import generator
from neurofm.tokens.event import Event
from neurofm.tokens.mask import PROMPTS
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokenizers import TOKENIZERS
from neurofm.tokens.tokens import Batch, Group, Tokens, stack
from neurofm.tokens.vocabulary import Vocabulary, statistics
from neurofm.train.batches import Corpus, MaskedBatches
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.optim import OptimConfig, optimisers
from neurofm.train.pretrain import MaskConfig

SMALL = {"width": 32, "layers": 2, "heads": 2, "mlp": 48, "dropout": 0.1}


def corpus_of(sessions, sides):
    vocabulary = Vocabulary.of(sessions)
    measured = {r.id: statistics(r, sides["train"][r.id], 0.02) for r in sessions}
    return vocabulary, measured, Corpus.of(sessions, vocabulary, measured, 0.02)


KINDS = {
    "time-bin": {"kernel": 5},
    "time-bin, spans": {"doublings": 3, "own_past": 3, "kernel": 5},
    "time-bin, few directions": {"kernel": 5, "path_rank": 3},
    "patch": {"tokens": Patch(channels=5), "kernel": 5, "own_past": 3},
    "patch of three bins": {"tokens": Patch(channels=5, bins=3), "kernel": 5},
    "event": {"tokens": Event(block_bins=4), "kernel": 5, "own_past": 3},
    "event alone": {"tokens": Event(block_bins=3, latents=1), "kernel": 0},
    "event, coarse": {"tokens": Event(block_bins=4, budget=20), "kernel": 0, "doublings": 3},
}
"""Models of every tokeniser, with and without the linear paths."""


def batches_of(corpus, sides, seed=0, tokens=None):
    tokens = tokens or TimeBin()
    mixture = MaskConfig().mixture(0.02)
    return MaskedBatches.over(corpus, sides["train"], mixture, tokens, length=30, size=8, seed=seed)


def model_of(corpus, vocabulary, causal, trained, sides, kind="time-bin"):
    seed_torch(3, "test")
    config = ModelConfig(backbone=BackboneConfig(**SMALL, causal=causal), **KINDS[kind])
    model = build(config, len(vocabulary.channels), len(vocabulary.sites))
    for parameter in model.parameters():  # no zero hides a leak at initialisation
        parameter.data += 0.05 * torch.randn_like(parameter)
    if trained:
        optim = OptimConfig(rate=3e-3, warmup=5)
        batches = batches_of(corpus, sides, tokens=config.tokens)
        loop = steps(model, batches, optimisers(model, optim),
                     share=lambda _: 1.0, clip=1.0, seed=0, loss=masked_loss)  # fmt: skip
        for _ in range(8):
            next(loop)
    return model.eval()


@pytest.fixture(scope="module", params=[False, True], ids=["random", "trained"])
def trained(request):
    return request.param


@pytest.fixture(scope="module", params=sorted(KINDS))
def both(request, sessions, sides, trained):
    vocabulary, _, corpus = corpus_of(sessions, sides)
    models = {
        c: model_of(corpus, vocabulary, c, trained, sides, request.param) for c in (False, True)
    }
    return models, corpus


def test_every_tokeniser_is_among_the_models():
    assert {type(ModelConfig(**kind).tokens) for kind in KINDS.values()} == {*TOKENIZERS.values()}


def group_of(model, corpus, index, hidden, first=100, prompt=0, counts=None):
    counts = corpus.window(index, first, first + len(hidden)) if counts is None else counts
    return stack([model.config.tokens(counts, hidden)], corpus.contexts[index], [prompt])


def rates(model, *groups):
    with torch.no_grad():
        return model(Batch(groups)).rates


def test_activity_under_hidden_cells_changes_no_output(both):
    models, corpus = both
    rng = generator(0, "test")
    hidden = rng.random((40, 12)) < 0.4
    counts = corpus.window(0, 100, 140)
    other = np.where(hidden, rng.integers(0, 200, counts.shape), counts).astype(counts.dtype)
    assert (other != counts).any()
    for model in models.values():
        a, b = (
            rates(model, group_of(model, corpus, 0, hidden, counts=c))[0] for c in (counts, other)
        )
        assert torch.equal(a, b)


def test_visible_activity_does_change_the_output(both):
    models, corpus = both
    hidden = np.zeros((40, 12), dtype=bool)
    hidden[:, :3] = True
    a, b = (
        rates(models[False], group_of(models[False], corpus, 0, hidden, at))[0] for at in (100, 101)
    )
    assert not torch.allclose(a, b)


@pytest.mark.parametrize("prompt", range(len(PROMPTS)))
@pytest.mark.parametrize("first_changed", [1, 7, 39])
def test_causal_mode_the_future_changes_no_past(both, prompt, first_changed):
    models, corpus = both
    model = models[True]
    hidden = generator(1, "test").random((40, 12)) < 0.3
    counts = corpus.window(0, 100, 140)
    later, more = counts.copy(), hidden.copy()
    later[first_changed:] = 77
    more[first_changed:, :2] = True  # hiding more of the future changes no past either
    group = group_of(model, corpus, 0, hidden, prompt=prompt)
    changed = group_of(model, corpus, 0, more, prompt=prompt, counts=later)
    a, b = rates(model, group)[0], rates(model, changed)[0]
    assert torch.allclose(a[:, :first_changed], b[:, :first_changed], rtol=1e-5, atol=1e-7)
    late = slice(max(first_changed, 3), None)  # a patch or a block may still be on its way
    assert model.config.kernel == 0 or not torch.allclose(a[:, late], b[:, late])


def test_causal_mode_the_past_does_reach_every_later_bin(both):
    models, corpus = both
    model = models[True]
    counts = corpus.window(0, 100, 140).copy()
    nothing = np.zeros((40, 12), dtype=bool)
    before = rates(model, group_of(model, corpus, 0, nothing, counts=counts))[0]
    counts[:2] = 50
    after = rates(model, group_of(model, corpus, 0, nothing, counts=counts))[0]
    tokens = model.config.tokens
    reach = getattr(tokens, "block_bins", getattr(tokens, "bins", 1))
    assert ((before != after).any(2)[0, max(reach, 2) - 1 :]).all()


def mixed(model, corpus):
    """Groups of one window, and the same windows together: unequal lengths, channels and tokens."""
    rng = generator(2, "test")
    places = [(0, 100, 40), (1, 300, 40), (2, 20, 40), (2, 50, 17)]
    places += [(0, first, 40) for first in (200, 240, 280, 200)]  # the first and last alike
    alone = []
    for index, first, length in places:
        hidden = np.zeros((length, len(corpus.contexts[index].row)), dtype=bool)
        hidden[:, 1], hidden[length // 2 :, 4] = first != 280, first == 240
        hidden[rng.integers(length)] = first not in (100, 200)
        alone.append(group_of(model, corpus, index, hidden, first))
    groups, tokens = alone[:4], []
    for group in alone[4:]:
        columns = (group.values, group.hidden, group.channels, group.bins, group.stops)
        tokens.append(Tokens(*(c.numpy() for c in columns), n_bins=40))
    together = (*groups, stack(tokens, corpus.contexts[0], [0] * 4))
    return alone, together


def test_batch_mates_and_packing_change_nothing(both):
    models, corpus = both
    for model in models.values():
        alone, together = mixed(model, corpus)
        packed = [window for rate in rates(model, *together) for window in rate]
        for group, window in zip(alone, packed, strict=True):
            assert torch.allclose(rates(model, group)[0][0], window, rtol=1e-5, atol=1e-7)


def test_gradients_of_a_packed_batch_are_the_sum_of_its_windows(both):
    models, corpus = both
    for model in models.values():
        alone, together = mixed(model, corpus)

        def gradients(*batches, model=model):
            model.zero_grad()
            for groups in batches:
                sum(r.log().square().sum() for r in model(Batch(groups)).rates).backward()
            return [p.grad.to_dense().clone() for p in model.parameters() if p.grad is not None]

        packed, apart = gradients(together), gradients(*([g] for g in alone))
        model.zero_grad()
        most = max(float(g.abs().max()) for g in apart)
        assert all(
            torch.allclose(a, b, rtol=1e-3, atol=1e-5 * most)
            for a, b in zip(packed, apart, strict=True)
        )


def test_dropout_is_drawn_by_window():
    """Windows of a packed batch are dropped apart, and each token of a window alike."""
    runs = [Run(2, torch.arange(3), 2), Run(1, torch.arange(4), 1)]
    seed_torch(0, "test")
    kept = drop(torch.ones(16, 64), 0.5, True, runs)
    windows = kept[:6], kept[6:12], kept[12:]
    assert all((w == w[0]).all() for w in windows)
    assert not torch.equal(windows[0][0], windows[1][0])
    assert not any(torch.equal(windows[i][0], windows[2][0]) for i in (0, 1))
    assert set(kept.unique().tolist()) == {0.0, 2.0}


def reordered(group: Group, order: torch.Tensor) -> Group:
    """The same tokens of a recording whose channels stand in another order."""
    held = {k: v[order] for k, v in vars(group.context).items() if v is not None}
    context = replace(group.context, **held)
    place = torch.cat([order.argsort(), torch.tensor([-1])])
    return replace(group, context=context, channels=place[group.channels])


def test_order_of_channels_changes_only_the_order_of_the_output(both):
    models, corpus = both
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    counts = corpus.window(0, 100, 140)
    hidden = generator(4, "test").random((40, 12)) < 0.3
    for model in models.values():
        group = group_of(model, corpus, 0, hidden)
        whole = isinstance(model.config.tokens, TimeBin)
        if isinstance(
            model.config.tokens, Patch
        ):  # a patch keeps its channels, wherever they stand
            moved = reordered(group, order)
        else:
            tokens = model.config.tokens(counts[:, order.numpy()], hidden[:, order.numpy()])
            context = reordered(group, order).context
            moved = stack([tokens], context, [0])
        assert not whole or not torch.equal(moved.values, group.values)
        a, b = rates(model, group)[0][:, :, order], rates(model, moved)[0]
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_latents_are_one_a_bin_and_every_rate_is_positive(both):
    models, corpus = both
    for model in models.values():
        with torch.no_grad():
            output = model(Batch(mixed(model, corpus)[1]))
        shapes = [(1, 40, 12), (1, 40, 12), (1, 40, 9), (1, 17, 9), (4, 40, 12)]
        assert [tuple(r.shape) for r in output.rates] == shapes
        assert [tuple(z.shape) for z in output.latents] == [(*s[:2], 32) for s in shapes]
        assert all((r > 0).all() for r in output.rates)


def test_a_window_with_nothing_to_see_is_answered(both):
    models, corpus = both
    for model in models.values():
        for hidden, value in ((True, 5), (False, 0)):
            cells = np.full((7, 12), hidden)
            group = group_of(model, corpus, 0, cells, counts=np.full((7, 12), value, np.uint8))
            assert torch.isfinite(rates(model, group)[0]).all()


def test_sessions_with_equally_many_channels_share_no_rows(sessions, sides):
    vocabulary, _, corpus = corpus_of(sessions, sides)
    model = model_of(corpus, vocabulary, False, False, sides)
    changed = copy.deepcopy(model)
    rows = corpus.contexts[1]
    for table in (changed.read_in.rows, changed.read_out.rows):
        table.shared.data[rows.row] += 1
        table.site.data[rows.site] += 1
    hidden = np.zeros((30, 12), dtype=bool)
    hidden[:, :4] = True
    mine, other = (group_of(model, corpus, index, hidden) for index in (0, 1))
    assert torch.equal(rates(model, mine)[0], rates(changed, mine)[0])
    assert not torch.allclose(rates(model, other)[0], rates(changed, other)[0])


def test_batch_is_a_function_of_seed_and_step(sessions, sides):
    _, _, corpus = corpus_of(sessions, sides)
    one, same, other = (batches_of(corpus, sides, seed) for seed in (0, 0, 1))
    same(17)  # what was drawn before does not matter
    for step in (0, 5):
        a, b = one(step), same(step)
        for x, y in zip(a[0].groups, b[0].groups, strict=True):
            assert torch.equal(x.values, y.values)
            assert torch.equal(x.hidden, y.hidden)
            assert torch.equal(x.prompt, y.prompt)
        assert all(torch.equal(x, y) for x, y in zip(a[1].counts, b[1].counts, strict=True))
    different = other(5)[0].groups
    assert len(different) != len(a[0].groups) or any(
        x.values.shape != y.values.shape or not torch.equal(x.values, y.values)
        for x, y in zip(a[0].groups, different, strict=True)
    )


def test_lazy_and_in_memory_windows_are_the_same(sessions, sides):
    vocabulary, measured, corpus = corpus_of(sessions, sides)
    lazy = Corpus.of(sessions, vocabulary, measured, 0.02, budget=0)
    assert lazy.counts is None
    assert corpus.counts is not None
    a, b = batches_of(corpus, sides)(3), batches_of(lazy, sides)(3)
    for x, y in zip(a[0].groups, b[0].groups, strict=True):
        assert torch.equal(x.values, y.values)


def test_hidden_values_are_zero_and_training_windows_stay_in_training(sessions, sides):
    _, _, corpus = corpus_of(sessions, sides)
    batches = batches_of(corpus, sides)
    for step in range(20):
        for index, first, stop in batches.windows.draw(0, step, 8):
            ((start, end),) = sides["train"][sessions[index].id]
            assert start <= first * 0.02
            assert stop * 0.02 <= end + 1e-9
        for group in batches(step)[0].groups:
            assert (group.values[group.hidden] == 0).all()


def test_a_channels_own_past_says_nothing_of_a_channel_hidden_throughout(sessions, sides):
    vocabulary, _, corpus = corpus_of(sessions, sides)
    model = model_of(corpus, vocabulary, False, False, sides, "time-bin, spans")
    hidden = np.zeros((40, 12), dtype=bool)
    hidden[:, :5] = True
    hidden[30:] = True
    group = group_of(model, corpus, 0, hidden)
    own = model.own_past(model.layout.sheet(group).values, group.context)
    assert (own[0, :, :5] == 0).all()
    assert (own[0, 31:, 5:] != 0).any(dim=0).all()
