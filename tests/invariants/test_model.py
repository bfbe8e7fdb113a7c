"""What must never change, whatever the architecture: at random and at trained weights."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm.model.backbone import BackboneConfig
from neurofm.model.build import build
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.model.stitch import standardised
from neurofm.seeding import generator
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, Group, stack
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


def batches_of(corpus, sides, seed=0):
    mixture = MaskConfig().mixture(0.02)
    return MaskedBatches.over(
        corpus, sides["train"], mixture, TimeBin(), length=30, size=8, seed=seed
    )


def model_of(corpus, vocabulary, causal, trained, sides, doublings=0):
    seed_torch(3, "test")
    config = ModelConfig(
        backbone=BackboneConfig(**SMALL, causal=causal),
        kernel=5,
        doublings=doublings,
        own_past=doublings,
    )
    model = build(config, len(vocabulary.channels), len(vocabulary.sites))
    for parameter in model.parameters():  # no zero hides a leak at initialisation
        parameter.data += 0.05 * torch.randn_like(parameter)
    if trained:
        optim = OptimConfig(rate=3e-3, warmup=5)
        loop = steps(model, batches_of(corpus, sides), optimisers(model, optim),
                     share=lambda _: 1.0, clip=1.0, seed=0, loss=masked_loss)  # fmt: skip
        for _ in range(15):
            next(loop)
    return model.eval()


@pytest.fixture(scope="module", params=[False, True], ids=["random", "trained"])
def trained(request):
    return request.param


@pytest.fixture(scope="module", params=[0, 3], ids=["taps", "spans"])
def both(request, sessions, sides, trained):
    vocabulary, _, corpus = corpus_of(sessions, sides)
    models = {
        c: model_of(corpus, vocabulary, c, trained, sides, request.param) for c in (False, True)
    }
    return models, corpus


def group_of(corpus, index, hidden, first=100, prompt=0):
    counts = corpus.window(index, first, first + len(hidden))
    return stack([TimeBin()(counts, hidden)], corpus.contexts[index], [prompt])


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
            rates(model, stack([TimeBin()(c, hidden)], corpus.contexts[0], [0]))[0]
            for c in (counts, other)
        )
        assert torch.equal(a, b)


def test_visible_activity_does_change_the_output(both):
    models, corpus = both
    hidden = np.zeros((40, 12), dtype=bool)
    hidden[:, :3] = True
    a = rates(models[False], group_of(corpus, 0, hidden, 100))[0]
    b = rates(models[False], group_of(corpus, 0, hidden, 101))[0]
    assert not torch.allclose(a, b)


def test_batch_mates_change_nothing(both):
    models, corpus = both
    hidden = generator(2, "test").random((40, 12)) < 0.3
    short = generator(3, "test").random((17, 9)) < 0.3
    mine = group_of(corpus, 0, hidden)
    mates = (group_of(corpus, 1, hidden, 300), mine, group_of(corpus, 2, short, 50))
    for model in models.values():
        alone, together = rates(model, mine)[0], rates(model, *mates)[1]
        assert torch.allclose(alone, together, rtol=1e-5, atol=1e-7)


def reordered(group: Group, order: torch.Tensor) -> Group:
    held = {k: v[order] for k, v in vars(group.context).items() if v is not None}
    context = replace(group.context, **held)
    return replace(
        group, context=context, values=group.values[:, :, order], hidden=group.hidden[:, :, order]
    )


def test_order_of_channels_changes_only_the_order_of_the_output(both):
    models, corpus = both
    group = group_of(corpus, 0, generator(4, "test").random((40, 12)) < 0.3)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    for model in models.values():
        a, b = rates(model, group)[0][:, :, order], rates(model, reordered(group, order))[0]
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


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
    mine, other = group_of(corpus, 0, hidden), group_of(corpus, 1, hidden)
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
    model = model_of(corpus, vocabulary, False, False, sides, doublings=3)
    hidden = np.zeros((40, 12), dtype=bool)
    hidden[:, :5] = True
    hidden[30:] = True
    group = group_of(corpus, 0, hidden)
    own = model.own_past(standardised(group).squeeze(-1), group.context)
    assert (own[0, :, :5] == 0).all()
    assert (own[0, 31:, 5:] != 0).any(dim=0).all()
