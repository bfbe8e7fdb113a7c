"""What must never change where stimulus and behaviour are channels too, for every kind of channel."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm.data.recording import KINDS, Recording, Signal, Table
from neurofm.model.build import build
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.seeding import generator
from neurofm.tokens.mask_config import BY_NODE, MaskConfig
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, stack
from neurofm.tokens.vocabulary import Vocabulary, context, statistics
from neurofm.train.batches import Corpus, MaskedBatches
from neurofm.train.likelihood import answered
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.optim import OptimConfig, optimisers
from neurofm.train.pretrain import of_kinds

BIN_S = 0.02
KINDS_OF_MODEL = {
    "time-bin": {"kernel": 5, "own_past": 3, "hold": True},
    "negative binomial": {"doublings": 3, "counts": "negative-binomial"},
    "patch": {"tokens": Patch(channels=5), "kernel": 5},
}
TRUNK = {"width": 16, "layers": 1, "heads": 2, "mlp": 24, "dropout": 0.1}
TAKEN = {"signals": ["wheel", "cue"], "embeddings": ["clip"], "trials": ["choice"],
         "stimulus": ["cue", "clip"]}  # fmt: skip


def loop_of(session: Recording) -> Recording:
    """The session with channels of every kind, each missing for a while."""
    rng = np.random.default_rng(len(session.id))
    n, end = round(session.span[1] / BIN_S), session.span[1]
    wheel = np.cumsum(rng.normal(size=(n, 2)), axis=0).astype(np.float32)
    wheel[n // 3 : n // 3 + 60] = np.nan
    cue = np.sin(np.arange(n // 3) / 5).astype(np.float32)[:, None]
    clip = rng.normal(size=(n, 3)).astype(np.float32)
    clip[::7] = np.nan
    start = np.arange(0.3, end - 1, 0.9)
    trials = {"start_s": start, "stop_s": start + 0.6,
              "choice": rng.choice(["left", "none", "right"], len(start))}  # fmt: skip
    signals = {"wheel": Signal(wheel, BIN_S), "cue": Signal(cue, 2 * BIN_S),
               "clip": Signal(clip, BIN_S)}  # fmt: skip
    return replace(session, signals=signals, trials=Table(trials))


@pytest.fixture(scope="module")
def bare(sessions):
    return [loop_of(session) for session in sessions]


@pytest.fixture(scope="module")
def corpus(bare, sides):
    whole = [r.with_channels(**TAKEN) for r in bare]
    vocabulary = Vocabulary.of(whole)
    measured = {r.id: statistics(r, sides["train"][r.id], BIN_S) for r in whole}
    return Corpus.of(whole, vocabulary, measured, BIN_S), vocabulary, measured


def batches_of(corpus, sides, tokens=None, seed=0, **masks):
    mixture = MaskConfig(**masks).mixture(BIN_S)
    return MaskedBatches.over(corpus, sides["train"], mixture, tokens or TimeBin(),
                              length=30, size=8, seed=seed)  # fmt: skip


def model_of(corpus, vocabulary, sides, name="time-bin", causal=False, n_steps=6):
    seed_torch(3, "test")
    config = ModelConfig(backbone=dict(TRUNK, causal=causal), **KINDS_OF_MODEL[name])
    config = of_kinds(config, corpus.recordings)
    assert set(config.kinds) == set(KINDS)
    model = build(config, len(vocabulary.channels), len(vocabulary.sites))
    for parameter in model.parameters():  # no zero hides a leak at initialisation
        parameter.data += 0.05 * torch.randn_like(parameter)
    batches = batches_of(corpus, sides, config.tokens)
    loop = steps(model, batches, optimisers(model, OptimConfig(rate=3e-3, warmup=5)),
                 share=lambda _: 1.0, clip=1.0, seed=0, loss=masked_loss)  # fmt: skip
    losses = [next(loop).loss for _ in range(n_steps)]
    assert np.isfinite(losses).all()
    return model.eval()


@pytest.fixture(scope="module", params=list(KINDS_OF_MODEL))
def models(request, corpus, sides):
    return {c: model_of(*corpus[:2], sides, request.param, c) for c in (False, True)}


def asked(model, corpus, hidden, values, index=0, prompt="decoding", channels=None):
    from neurofm.tokens.mask import prompt_index

    about = corpus.contexts[index] if channels is None else channels
    group = stack([model.config.tokens(values, hidden)], about, [prompt_index(prompt)])
    with torch.no_grad():
        return model(Batch((group,)))


def window(corpus, first=500, n=40, index=0):
    """A window in which every kind is there for a while."""
    return corpus.window(index, first, first + n).copy()


def test_every_kind_and_node_is_there_and_missing_now_and_then(corpus):
    made = corpus[0].recordings[0]
    assert set(made.channels.kind.tolist()) == set(KINDS)
    assert set(made.channels.node.tolist()) == {"activity", "stimulus", "behaviour"}
    values = corpus[0].counts[0].numpy()
    known = np.isfinite(values)
    assert known[:, made.channels.in_activity].all()
    assert known[:, ~made.channels.in_activity].any(axis=0).all()
    assert not known[:, ~made.channels.in_activity].all(axis=0).any()


def test_what_lies_under_hidden_cells_changes_no_output(models, corpus):
    """Neither its value nor whether it was recorded, for a channel of any kind."""
    corpus, rng = corpus[0], generator(0, "test")
    values = window(corpus)
    for model in models.values():
        hidden = rng.random(values.shape) < 0.4
        other = np.where(hidden, rng.normal(size=values.shape) * 50, values).astype(np.float32)
        gone = np.where(hidden, np.float32(np.nan), values)
        outs = [asked(model, corpus, hidden, v) for v in (values, other, gone)]
        assert all(torch.equal(outs[0].rates[0], o.rates[0]) for o in outs[1:])
        shown = np.where(hidden, values, other * 0 + 1).astype(np.float32)
        assert not torch.equal(outs[0].rates[0], asked(model, corpus, hidden, shown).rates[0])


def test_targets_reach_the_loss_alone_and_only_where_they_are_known(models, corpus, sides):
    batches = batches_of(corpus[0], sides, models[False].config.tokens)
    seen = set()
    for step in range(12):
        batch, targets = batches(step)
        for group, counts, scored in zip(batch.groups, targets.counts, targets.scored, strict=True):
            assert (group.values[group.hidden] == 0).all()
            assert torch.isfinite(group.values).all()
            assert torch.isfinite(counts).all()
            label = group.context.kind == KINDS.index("category")
            asked_about = scored[..., label].any(-1)
            assert (counts[..., label].sum(-1)[asked_about] == 1).all()  # where it is known
            kinds = group.context.kind[scored.any(0).any(0)]
            seen |= {(int(p), int(k)) for p in group.prompt for k in kinds}
        with torch.no_grad():
            output = models[False](batch)
        loss = masked_loss(output, targets)
        assert torch.isfinite(loss)
        off = [
            torch.where(s, c, c + 9) for s, c in zip(targets.scored, targets.counts, strict=True)
        ]
        assert torch.equal(masked_loss(output, replace(targets, counts=tuple(off))), loss)
    assert {k for _, k in seen} == set(range(len(KINDS)))


@pytest.mark.parametrize("signal", ["wheel", "clip", "choice"])
def test_a_signal_that_is_missing_is_a_recording_without_it(models, corpus, bare, signal):
    """Where a token is a bin: an empty patch is still a token."""
    corpus, vocabulary, measured = corpus
    names = {k: tuple(n for n in v if n != signal) for k, v in TAKEN.items()}
    without = bare[0].with_channels(**names)
    rows = np.isin(corpus.recordings[0].channels.id, without.channels.id)
    here = context(vocabulary, without, measured["a-1"].take(np.flatnonzero(rows)))
    values = window(corpus)
    values[:, ~rows] = np.nan
    hidden = generator(1, "test").random(values.shape) < 0.3
    hidden[:, ~rows] = False
    for model in models.values():
        if isinstance(model.config.tokens, Patch):
            continue
        a = asked(model, corpus, hidden, values).rates[0][..., torch.from_numpy(rows)]
        b = asked(model, corpus, hidden[:, rows], values[:, rows], channels=here).rates[0]
        assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)
        values[:, ~rows] = 0.0
        assert not torch.allclose(
            a, asked(model, corpus, hidden, values).rates[0][..., torch.from_numpy(rows)], atol=1e-5
        )
        values[:, ~rows] = np.nan


def test_a_signal_without_a_single_value_is_no_channel(bare):
    wheel = bare[0].signals["wheel"]
    empty = replace(wheel, values=np.full_like(wheel.values, np.nan))
    half = wheel.values.copy()
    half[:, 1] = np.nan
    for values, ids in ((empty.values, []), (half, ["wheel[0]"])):
        one = replace(bare[0], signals={"wheel": replace(wheel, values=values)})
        made = one.with_channels(signals=["wheel"])
        assert made.channels.id[len(bare[0].channels) :].tolist() == ids


def test_order_of_channels_changes_only_the_order_of_the_output(models, corpus):
    corpus = corpus[0]
    n = len(corpus.recordings[0].channels)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    values = window(corpus)
    hidden = generator(4, "test").random(values.shape) < 0.3
    about = corpus.contexts[0]
    held = {k: v[order] for k, v in vars(about).items() if v is not None}
    for model in models.values():
        if isinstance(model.config.tokens, Patch):
            continue
        a = asked(model, corpus, hidden, values)
        b = asked(
            model, corpus, hidden[:, order], values[:, order], channels=replace(about, **held)
        )
        assert torch.allclose(a.rates[0][..., order], b.rates[0], rtol=1e-4, atol=1e-5)


def test_causal_mode_the_future_of_any_node_changes_no_past(models, corpus):
    corpus = corpus[0]
    values = window(corpus)
    hidden = generator(1, "test").random(values.shape) < 0.3
    for at in (1, 11, 39):
        later, more = values.copy(), hidden.copy()
        later[at:] = np.where(np.isnan(later[at:]), 3.0, np.nan)
        more[at:, -4:] = True
        a, b = (asked(models[True], corpus, h, v).rates[0]
                for h, v in ((hidden, values), (more, later)))  # fmt: skip
        assert torch.allclose(a[:, :at], b[:, :at], rtol=1e-5, atol=1e-5)
        assert not torch.allclose(a[:, at:], b[:, at:])


def test_batch_mates_change_nothing(models, corpus):
    corpus = corpus[0]
    for model in models.values():
        groups, alone = [], []
        for index, first in ((0, 500), (1, 60), (2, 200), (0, 30)):
            values = window(corpus, first, index=index)
            hidden = np.random.default_rng(first).random(values.shape) < 0.4
            groups.append(stack([model.config.tokens(values, hidden)], corpus.contexts[index], [0]))
            alone.append(asked(model, corpus, hidden, values, index, "co-smoothing").rates[0])
        with torch.no_grad():
            packed = model(Batch(tuple(groups))).rates
        for a, b in zip(alone, packed, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def test_windows_with_and_without_missing_cells_lie_in_one_group(corpus):
    about = corpus[0].contexts[0]
    whole = np.ones((4, len(about.row)), np.float32)
    holed = whole.copy()
    holed[1, -1] = np.nan
    none = np.zeros(whole.shape, dtype=bool)
    group = stack([TimeBin()(v, none) for v in (whole, holed)], about, [0, 0])
    assert group.present.sum() == group.present.numel() - 1


def test_labels_are_chances_and_a_fresh_model_says_how_frequent_they_were(corpus):
    corpus, vocabulary, measured = corpus
    config = of_kinds(ModelConfig(backbone=TRUNK), corpus.recordings)
    model = build(config, len(vocabulary.channels), len(vocabulary.sites)).eval()
    for table in (model.read_out.rows, model.read_out.bias):
        table.shared.data.zero_()
    values = window(corpus)
    rates = asked(model, corpus, np.zeros(values.shape, bool), values).rates[0]
    group = corpus.recordings[0].channels.group == "choice"
    assert torch.allclose(rates[..., group].sum(-1), torch.ones(1, 40))
    told = torch.from_numpy(measured["a-1"].rate)
    assert torch.allclose(rates[0], told.expand_as(rates[0]), atol=1e-4)


def test_a_fresh_model_that_holds_says_the_value_that_was_seen_last_and_of_counts_the_mean(corpus):
    corpus, vocabulary, measured = corpus
    config = of_kinds(ModelConfig(backbone=TRUNK, hold=True), corpus.recordings)
    model = build(config, len(vocabulary.channels), len(vocabulary.sites)).eval()
    for table in (model.read_out.rows, model.read_out.bias):
        table.shared.data.zero_()
    values, kind = window(corpus, 100), corpus.recordings[0].channels.kind
    hidden = np.zeros(values.shape, bool)
    hidden[30:] = True
    values[28:30, kind == "real"] = np.nan  # seen last two bins before
    rates = asked(model, corpus, hidden, values).rates[0][0]
    about = corpus.contexts[0]
    off = ((rates - about.mean) / about.scale).numpy()[30:, kind == "real"]
    last = ((torch.from_numpy(values[27]) - about.mean) / about.scale).numpy()[kind == "real"]
    fade = np.log1p(np.exp(-5.0))
    wanted = last * np.exp(-fade * np.arange(3, 13))[:, None]
    assert np.abs(last).max() > 0.2
    assert np.allclose(off, wanted, rtol=1e-4, atol=1e-4)
    told = torch.from_numpy(measured["a-1"].rate)[torch.from_numpy(kind == "count")]
    assert torch.allclose(
        rates[:, torch.from_numpy(kind == "count")], told.expand(40, -1), atol=1e-4
    )


def test_every_question_by_node_is_asked(corpus, sides):
    batches = batches_of(corpus[0], sides, units=0.2, behaviour=0.2)
    prompts = {int(p) for step in range(12) for g in batches(step)[0].groups for p in g.prompt}
    from neurofm.tokens.mask import prompt_index

    assert {prompt_index(p) for p in BY_NODE} <= prompts


def test_kinds_do_not_weigh_on_each_other(corpus, sides):
    """The gradient of the counts' rates is the same whether values are asked about too or not."""
    model = model_of(*corpus[:2], sides, n_steps=0)
    batches = batches_of(corpus[0], sides, units=0, future=0, intra_region=0, inter_region=0,
                         bins=0, encode=0, decode=0, across=1)  # fmt: skip
    batch, targets = batches(0)
    with torch.no_grad():
        output = model(batch)

    def slope(scored):
        rates = tuple(r.clone().requires_grad_() for r in output.rates)
        loss = masked_loss(replace(output, rates=rates), replace(targets, scored=scored))
        return torch.autograd.grad(loss, rates)

    counts = [g.context.kind == 0 for g in batch.groups]
    whole = slope(targets.scored)
    alone = slope(tuple(s & c for s, c in zip(targets.scored, counts, strict=True)))
    assert any((s & ~c).any() for s, c in zip(targets.scored, counts, strict=True))
    for a, b, c in zip(whole, alone, counts, strict=True):
        assert torch.allclose(a[..., c], b[..., c], rtol=1e-5, atol=1e-9)
        assert (b[..., ~c] == 0).all()
    assert len(list(answered(output, targets))) == len(batch.groups)
