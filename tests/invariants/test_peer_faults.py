"""Faults that were found in published models of this field, and must not come back in any of ours.

Everything runs over SORTS. A tokenizer that is missing from it fails the last test: a new way of
making tokens, rows or latents joins with one entry, and is held to all of this.
"""

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from itertools import islice, permutations
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import neurofm.tokens
from neurofm import Events, Intervals, Recording, Run
from neurofm.config import load
from neurofm.data.quality import QualityConfig
from neurofm.data.recording import Samples
from neurofm.data.repair import repair
from neurofm.data.splits import split_by_trial
from neurofm.errors import ConfigError
from neurofm.model.backbone import BackboneConfig
from neurofm.model.build import build
from neurofm.model.lfads import LFADSConfig
from neurofm.model.model import ModelConfig
from neurofm.model.rows import is_row
from neurofm.model.seeded import seed_torch
from neurofm.seeding import generator
from neurofm.tokens.event import Event
from neurofm.tokens.mask import PROMPTS, Mixture, delayed
from neurofm.tokens.mask_cells import Autoregressive
from neurofm.tokens.mask_config import BY_NODE, MASKS, MaskConfig
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, Group, Output, Targets, Tokenizer, stack
from neurofm.tokens.vocabulary import Vocabulary, statistics
from neurofm.train.batches import Corpus, MaskedBatches
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.optim import OptimConfig, optimisers
from neurofm.train.pretrain import PretrainConfig, common_bin_s, prepare, pretrain

BIN_S = 0.02
SMALL = {"width": 24, "layers": 2, "heads": 2, "mlp": 32, "dropout": 0.1}
CPU = torch.device("cpu")

Maker = Callable[[Vocabulary, bool], nn.Module]


@dataclass(frozen=True)
class Sort:
    """One way from activity to rates. `make(vocabulary, causal)` gives a fresh model.

    `exact`: whether what changes later leaves every sum before it as it is, term by term; where the
    number of tokens changes with activity, sums are equal up to their order.

    `bins`: bins a token; causal mode, where `can_be_causal`, holds from token to token.
    `rows_are_looked_up`: rows of channels are entries of tables, none of them shared by sessions
    without a common channel.
    """

    make: Maker
    tokenizer: Tokenizer = field(default_factory=TimeBin)
    bins: int = 1
    can_be_causal: bool = True
    rows_are_looked_up: bool = True
    exact: bool = True


def tables(**model: Any) -> Maker:
    """A model with rows in tables and these settings."""

    def make(vocabulary: Vocabulary, causal: bool) -> nn.Module:
        config = ModelConfig(backbone=BackboneConfig(**SMALL, causal=causal), **model)
        return build(config, len(vocabulary.channels), len(vocabulary.sites))

    return make


def tokens(tokenizer: Tokenizer, exact: bool = True, **model: Any) -> Sort:
    """The same with other tokens; causal mode holds from bin to bin, whatever a token holds."""
    return Sort(tables(tokens=tokenizer, **model), tokenizer, exact=exact)


def lfads(vocabulary: Vocabulary, causal: bool) -> nn.Module:
    """LFADS between rows in tables; it infers its first state from the whole window."""
    assert not causal
    sizes = {"width": 24, "encoder": 12, "generator": 24, "controller": 12, "inputs": 2}
    config = ModelConfig(backbone=LFADSConfig(**sizes), kernel=0)
    return build(config, len(vocabulary.channels), len(vocabulary.sites))


SORTS = {
    "bare": Sort(tables(kernel=0)),
    "taps": Sort(tables(kernel=5)),
    "spans": Sort(tables(kernel=5, doublings=3, own_past=3)),
    "lfads": Sort(lfads, can_be_causal=False),
    "patch": tokens(Patch(channels=5), kernel=5, own_past=3),
    "patch-3-bins": tokens(Patch(channels=5, bins=3), kernel=5),
    "event": tokens(Event(block_bins=4), exact=False, kernel=5, own_past=3),
}


class Models(dict[bool, nn.Module]):
    """{causal: model}; a test that asks for a causal one skips where there can be none."""

    def __missing__(self, causal: bool) -> nn.Module:
        pytest.skip("it sees the whole window, always")


@pytest.fixture(scope="module")
def herd(sessions, sides):
    """The three sessions and one with a single channel; (recordings, vocabulary, corpus, train)."""
    counts = generator(0, "one channel").poisson(1.0, (400, 1)).astype(np.uint8)
    recordings = [*sessions, Recording.from_arrays("one", counts=counts, bin_s=BIN_S)]
    train = sides["train"] | {"one": Intervals.of([(0, 6)])}
    vocabulary = Vocabulary.of(recordings)
    measured = {r.id: statistics(r, train[r.id], BIN_S) for r in recordings}
    return recordings, vocabulary, Corpus.of(recordings, vocabulary, measured, BIN_S), train


def all_masks(causal: bool) -> Mixture:
    """Every kind of mask, equally often."""
    weights = {name.replace("-", "_"): 1.0 for name in MASKS}
    return MaskConfig(**weights | {"autoregressive": float(causal)}).mixture(BIN_S)


def batches_of(corpus, train, sort, causal=False, masks=None):
    return MaskedBatches.over(corpus, train, masks or all_masks(causal), sort.tokenizer,
                              length=20, size=8, seed=0)  # fmt: skip


def after(n_steps, model, batches):
    """The model after some steps of training, ready to answer."""
    optim = optimisers(model, OptimConfig(rate=3e-3, warmup=5))
    loop = steps(model, batches, optim, share=lambda _: 1.0, clip=1.0, seed=0, loss=masked_loss)
    list(islice(loop, n_steps))
    return model.eval()


@pytest.fixture(scope="module", params=sorted(SORTS))
def sort(request):
    return SORTS[request.param]


@pytest.fixture(scope="module", params=[0, 10], ids=["random", "trained"])
def models(request, sort, herd):
    """{causal: model}, at random weights (none of them zero, to hide a leak) or at trained ones."""
    torch.set_num_threads(1)
    _, vocabulary, corpus, train = herd
    out = Models()
    for causal in (False, True) if sort.can_be_causal else (False,):
        seed_torch(3, "test")
        model = sort.make(vocabulary, causal)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        out[causal] = after(request.param, model, batches_of(corpus, train, sort, causal))
    return out


def group_of(sort, context, windows, prompts=None, late=0) -> Group:
    """Windows of (counts, hidden), tokenised; each asks its own question."""
    tokens = [sort.tokenizer(delayed(c, late), delayed(h, late, True)) for c, h in windows]
    return stack(tokens, context, [0] * len(tokens) if prompts is None else prompts)


def ask(model, *groups) -> Output:
    with torch.no_grad():
        return model(Batch(groups))


def changed_from(t, counts, hidden, rng):
    """Other counts and another hidden pattern from bin t on."""
    counts, hidden = counts.copy(), hidden.copy()
    counts[t:] = rng.integers(0, 50, counts[t:].shape)
    hidden[t:] = rng.random(hidden[t:].shape) < rng.random()
    return counts, hidden


# Causality: prefix tokens that attend everywhere, and masks built by the wrong arithmetic, leaked.


@pytest.mark.parametrize("late", [False, True], ids=["at-its-bin", "late"])
def test_the_future_changes_no_past_to_the_last_bit(models, sort, herd, late):
    """From every bin on, the first one too, under every prompt; hidden patterns change as well.

    A sum over bins that leaves the later ones out has the same terms in the same order, so that
    equality is exact. Shown late, a bin changes not even its own output.
    """
    corpus, rng, n_bins = herd[2], generator(1, "test"), 12
    shift = sort.bins if late else 0
    asked = [(t, p) for t in range(sort.bins, n_bins, sort.bins) for p in range(len(PROMPTS))]
    counts, hidden = corpus.window(0, 100, 100 + n_bins), rng.random((n_bins, 12)) < 0.3
    same = [(counts, hidden)] * len(asked)
    other = [changed_from(t, counts, hidden, rng) for t, _ in asked]
    before, moved = (
        ask(models[True], group_of(sort, corpus.contexts[0], w, [p for _, p in asked], shift))
        for w in (same, other)
    )
    alike = torch.equal if sort.exact else partial(torch.allclose, rtol=1e-5, atol=1e-6)
    for kind in ("rates", "latents"):
        a, b = getattr(before, kind)[0], getattr(moved, kind)[0]
        for row, (t, _) in enumerate(asked):
            at = t + shift if kind == "rates" or a.shape[1] == n_bins else t // sort.bins
            assert alike(a[row, :at], b[row, :at]), (kind, t)
            if at < a.shape[1]:
                assert not torch.equal(a[row, at:], b[row, at:])


def test_bidirectional_mode_sees_the_future_so_that_the_test_above_can_fail(models, sort, herd):
    corpus, rng = herd[2], generator(1, "test")
    counts, hidden = corpus.window(0, 100, 112), rng.random((12, 12)) < 0.3
    other = changed_from(6, counts, hidden, rng)
    a, b = (
        ask(models[False], group_of(sort, corpus.contexts[0], [w])).rates[0]
        for w in ((counts, hidden), other)
    )
    assert not torch.equal(a[:, :6], b[:, :6])


def test_every_bin_at_once_is_for_causal_trunks_alone():
    with pytest.raises(ConfigError, match=r"masks\.autoregressive needs model\.backbone\.causal"):
        load(PretrainConfig, None, ["masks.autoregressive=1"])
    load(PretrainConfig, None, ["masks.autoregressive=1", "model.backbone.causal=true"])


# Sessions: tables keyed by the number of channels; a lone session that lost its embedding.


@pytest.mark.parametrize("causal", [False, True], ids=["both-ways", "causal"])
@pytest.mark.parametrize("n_bins", [1, 12])
def test_a_session_alone_in_a_batch_is_what_it_is_among_others(models, sort, herd, causal, n_bins):
    """Equal up to the order of sums, which depends on the size of a matrix product."""
    if n_bins % sort.bins:
        pytest.skip("no whole token")
    _, _, corpus, _ = herd
    rng, groups = generator(2, "test"), []
    for index, n in enumerate((12, 12, 9, 1)):
        window = corpus.window(index, 100, 100 + n_bins), rng.random((n_bins, n)) < 0.3
        groups.append(group_of(sort, corpus.contexts[index], [window]))
    together = ask(models[causal], *groups)
    for index, group in enumerate(groups):
        alone = ask(models[causal], group)
        for kind in ("rates", "latents"):
            a, b = getattr(alone, kind)[0], getattr(together, kind)[index]
            assert a.shape == b.shape
            assert torch.allclose(a, b, rtol=1e-5, atol=1e-6), (kind, index)


def test_the_same_counts_in_another_session_of_equal_size_mean_something_else(models, sort, herd):
    corpus = herd[2]
    window = corpus.window(0, 100, 112), np.zeros((12, 12), dtype=bool)
    mine, other = (
        ask(models[False], group_of(sort, replace(corpus.contexts[i], **stats(corpus)), [window]))
        for i in (0, 1)
    )
    assert not torch.allclose(mine.latents[0], other.latents[0], rtol=1e-2)


def stats(corpus):
    """What was measured of the first session: only the rows are to differ."""
    return {name: getattr(corpus.contexts[0], name) for name in ("mean", "scale", "rate")}


@pytest.mark.parametrize("trained", [0, 1])
def test_training_on_one_session_moves_no_row_of_another(models, sort, herd, trained):
    if not sort.rows_are_looked_up:
        pytest.skip("its rows are computed, from the units' own data")
    recordings, _, corpus, train = herd
    model, name = copy.deepcopy(models[False]), recordings[trained].id
    mine, other = corpus.contexts[trained], corpus.contexts[1 - trained]
    before = {k: v.clone() for k, v in model.state_dict().items() if is_row(k)}
    alone = {r.id: train[r.id] if r.id == name else Intervals.none() for r in recordings}
    after(3, model, batches_of(corpus, alone, sort))
    assert before
    for key, old in before.items():
        new, at = model.state_dict()[key], "site" if key.endswith(".site") else "row"
        theirs, ours = getattr(other, at), getattr(mine, at)
        assert torch.equal(new[theirs], old[theirs]), key
        assert not torch.equal(new[ours], old[ours]), key


def test_a_group_holds_windows_of_the_recording_whose_context_it_has(sort):
    recordings = [
        Recording.from_arrays(f"r{i}", counts=np.full((300, 5), i + 1, np.uint8), bin_s=BIN_S)
        for i in range(3)
    ]
    spans = {r.id: Intervals.of([(0, 6)]) for r in recordings}
    vocabulary = Vocabulary.of(recordings)
    measured = {r.id: statistics(r, spans[r.id], BIN_S) for r in recordings}
    corpus = Corpus.of(recordings, vocabulary, measured, BIN_S)
    for step in range(10):
        batch, targets = batches_of(corpus, spans, sort)(step)
        for group, counts in zip(batch.groups, targets.counts, strict=True):
            index = int(group.context.site[0]) // 5
            assert set(group.values.unique().tolist()) <= {0, index + 1}
            assert (counts == index + 1).all()


# Masks: samples zeroed by another sample's mask and scored by their own; hidden like silent.


def grid(group: Group, what: str, n_bins: int, n_channels: int) -> torch.Tensor:
    """Tokens back on the (B, T, C) plane; a cell that no token holds is 0.

    A token that is told for several bins though it has one value belongs to all of them.
    """
    values = getattr(group, what).long()
    n_tokens, _, width = values.shape
    window = torch.arange(len(group.lengths)).repeat_interleave(torch.tensor(group.lengths))
    channels = group.channels.repeat(n_tokens // max(len(group.channels), 1), 1)
    out = torch.zeros((len(group.lengths), n_bins, n_channels), dtype=torch.int64)
    for p in range(int((group.stops - group.bins).max())):
        at = (group.bins + p)[:, None].expand_as(channels)
        kept = (at < group.stops[:, None]) & (channels >= 0)
        place = (window[:, None].expand_as(channels)[kept], at[kept], channels[kept])
        out[place] = torch.maximum(out[place], values[..., min(p, width - 1)][kept])
    return out


def test_each_window_is_scored_on_what_was_hidden_for_it(sort, herd):
    _, _, corpus, train = herd
    late = PROMPTS.index("autoregressive")
    differ, seen = 0, set()
    for step in range(12):
        batch, targets = batches_of(corpus, train, sort, causal=True)(step)
        for group, counts, scored in zip(batch.groups, targets.counts, targets.scored, strict=True):
            hidden, values = (grid(group, k, *counts.shape[1:]) for k in ("hidden", "values"))
            assert (values[hidden == 1] == 0).all()
            for b, prompt in enumerate(group.prompt.tolist()):
                shown = counts[b].numpy()
                if prompt == late:
                    shown = delayed(shown, Autoregressive().late)
                else:
                    assert (hidden[b][scored[b]] == 1).all()
                visible = hidden[b] == 0
                assert (values[b][visible] == torch.from_numpy(shown.astype(int))[visible]).all()
                seen.add(PROMPTS[prompt])
            differ += sum(not torch.equal(hidden[0], other) for other in hidden[1:])
    assert differ > 10
    assert seen == set(PROMPTS) - set(BY_NODE)  # those are in test_nodes


def test_when_masks_change_places_the_losses_go_with_them(models, sort, herd):
    corpus, rng = herd[2], generator(4, "test")
    windows = [corpus.window(0, at, at + 12) for at in (100, 300, 500)]
    patterns = [rng.random((12, 12)) < share for share in (0.2, 0.4, 0.7)]

    def losses(pairs):
        group = group_of(sort, corpus.contexts[0], pairs)
        counts, scored = (torch.from_numpy(np.stack(x)) for x in zip(*pairs, strict=True))
        targets = Targets((counts,), (scored,), (group.prompt,))
        output = replace(ask(models[False], group), penalty=None)
        return float(masked_loss(output, targets)) * int(scored.sum())

    alone = {
        (i, j): losses([(w, h)]) for i, w in enumerate(windows) for j, h in enumerate(patterns)
    }
    found = []
    for order in permutations(range(3)):
        found.append(losses([(windows[i], patterns[j]) for i, j in enumerate(order)]))
        assert found[-1] == pytest.approx(sum(alone[i, j] for i, j in enumerate(order)), rel=1e-4)
    assert max(found) - min(found) > 1e-3 * abs(found[0])


@pytest.mark.parametrize("causal", [False, True], ids=["both-ways", "causal"])
@pytest.mark.parametrize("cells", [(slice(None), 3), (5, slice(None)), (5, 3)],
                         ids=["channel", "bin", "cell"])  # fmt: skip
def test_hidden_and_silent_differ(models, sort, herd, causal, cells):
    corpus = herd[2]
    counts, none = corpus.window(0, 100, 112).copy(), np.zeros((12, 12), dtype=bool)
    counts[cells], hidden = 0, none.copy()
    hidden[cells] = True
    a, b = (
        ask(models[causal], group_of(sort, corpus.contexts[0], [(counts, h)])).rates[0]
        for h in (none, hidden)
    )
    assert float((a - b).abs().max()) > 1e-4


# Losses: summed over cells, so that one kind of mask weighed ten times another.


def test_more_scored_cells_of_one_kind_leave_its_share_of_the_gradient():
    rng = torch.Generator().manual_seed(0)
    rates = torch.rand(4, 6, 5, generator=rng) + 0.2
    counts = torch.poisson(rates, generator=rng)
    few = torch.zeros(4, 6, 5, dtype=torch.bool)
    few[:, :1, :2] = True
    prompt = torch.tensor([0, 1, 1, 0])

    def shares(repeats):
        """Each kind's gradient where one kind's scored cells are there `repeats` times."""
        drive = torch.zeros(2, requires_grad=True)
        parts = []
        for kind in (0, 1):
            n = repeats if kind == 1 else 1
            wide = [x[prompt == kind].repeat(1, n, 1) for x in (rates, counts, few)]
            parts.append([wide[0] * drive[kind].exp(), *wide[1:], prompt[prompt == kind]])
        answers, told, scored, asked = (tuple(p) for p in zip(*parts, strict=True))
        loss = masked_loss(Output((), answers), Targets(told, scored, asked))
        loss.backward()
        return float(loss.detach()), drive.grad

    (once, gradient), (often, again) = shares(1), shares(50)
    assert often == pytest.approx(once, rel=1e-5)
    assert torch.allclose(gradient, again, rtol=1e-4)
    assert (gradient != 0).all()


# Data: scales and thresholds fitted on all trials; trials of the test part in training.

CONFIG = PretrainConfig(
    bin_s=BIN_S, window_bins=20, windows=8, steps=3, validate_every=3, valid_batches=2,
    precision="fp32", model={"backbone": SMALL, "doublings": 3, "own_past": 3},
    optim={"warmup": 2, "rate": 5e-3},
)  # fmt: skip


def after_s(recording: Recording, start_s: float, seed: int) -> Recording:
    """Other counts from `start_s` on: larger ones, and some channels silent."""
    assert isinstance(recording.activity, Samples)
    counts = np.asarray(recording.activity.values).copy()
    first = round(start_s / BIN_S)
    counts[first:] = generator(seed, "other").poisson(40, counts[first:].shape)
    counts[first:, ::3] = 0
    return replace(recording, activity=Samples(counts, recording.activity.step_s))


def test_the_test_part_decides_nothing_that_is_trained(sessions, sides, tmp_path):
    torch.set_num_threads(1)
    others = [after_s(r, sides["valid"][r.id].end[-1], 0) for r in sessions]
    found = []
    for name, recordings in (("a", sessions), ("b", others)):
        run = Run(tmp_path / name)
        run.folder.mkdir()
        training, measured = prepare(recordings, sides["train"], CONFIG, CPU)
        trained = pretrain(recordings, sides, CONFIG, run, device=CPU, say=lambda _: None)
        tensors = {f"trained.{k}": v for k, v in trained.model.state_dict().items()}
        tensors |= {f"fresh.{k}": v for k, v in training.model.state_dict().items()}
        for key, one in (measured | {"all": trained.statistics}).items():
            tensors |= {
                f"{key}.{k}": torch.as_tensor(v) for k, v in vars(one).items() if v is not None
            }
        kept = [repair(r, QualityConfig())[0].channels.id.tolist() for r in recordings]
        found.append((tensors, trained.valid, common_bin_s(recordings), kept))
    (tensors, *rest), (others_tensors, *others_rest) = found
    assert rest == others_rest
    assert tensors.keys() == others_tensors.keys()
    assert all(torch.equal(v, others_tensors[k]) for k, v in tensors.items())


def test_the_training_part_does_decide_so_that_the_test_above_can_fail(sessions, sides):
    recording = sessions[0]
    spans = sides["train"]["a-1"]
    other = after_s(recording, spans.end[-1] - 1, 0)
    a, b = (statistics(r, spans, BIN_S) for r in (recording, other))
    assert not np.allclose(a.mean, b.mean)


def spikes(seed: int, until_s: float, n_after: int) -> Recording:
    """Spike times of four channels, the same ones until `until_s`, and then so many."""
    rng, cut = generator(seed, "spikes"), int(until_s * 1000)
    early, early_row = np.sort(rng.integers(0, cut, 900)), rng.integers(0, 4, 900)
    late, late_row = np.sort(rng.integers(cut, 20_000, n_after)), rng.integers(0, 4, n_after)
    ticks, row = np.concatenate([early, late]), np.concatenate([early_row, late_row])
    shell = Recording.from_arrays("s", counts=np.zeros((1000, 4), np.uint8), bin_s=BIN_S)
    return replace(shell, activity=Events.of(ticks, row, Fraction(1000)))


@pytest.mark.parametrize("budget", [0, 1 << 30], ids=["read-by-window", "in-memory"])
def test_spikes_right_after_the_training_part_are_in_no_batch(budget):
    train, cut_s = {"s": Intervals.of([(0.0, 12.34)])}, 12.34
    found = []
    for n_after in (50, 5000):
        recording = spikes(1, cut_s, n_after)
        vocabulary, measured = Vocabulary.of([recording]), statistics(recording, train["s"], BIN_S)
        corpus = Corpus.of([recording], vocabulary, {"s": measured}, BIN_S, budget)
        batches = batches_of(corpus, train, SORTS["bare"])
        values = [g.values for step in range(10) for g in batches(step)[0].groups]
        answers = [c for step in range(10) for c in batches(step)[1].counts]
        found.append((vars(measured), values + answers))
    assert all(np.array_equal(v, found[1][0][k]) for k, v in found[0][0].items())
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


def test_trials_of_the_test_part_never_train():
    n = 60
    starts = np.arange(n) * 2.0
    trials = {"start_s": starts, "stop_s": starts + 1.5}
    counts = np.ones((6000, 3), np.uint8)
    recording = Recording.from_arrays("t", counts=counts, bin_s=BIN_S, trials=trials)
    split = split_by_trial([recording], seed=3, gap_s=0.5, block_trials=5)
    train, test = (split.side(side)["t"] for side in ("train", "test"))
    tested = [i for i in range(n) if test.contains(np.array([starts[i] + 0.7]))[0]]
    assert len(tested) >= 5
    for i in tested:
        counts[int(starts[i] / BIN_S) : int((starts[i] + 1.5) / BIN_S)] = 99
    vocabulary = Vocabulary.of([recording])
    measured = statistics(recording, train, BIN_S)
    assert measured.mean.max() == 1
    corpus = Corpus.of([recording], vocabulary, {"t": measured}, BIN_S)
    batches = batches_of(corpus, {"t": train}, SORTS["bare"])
    for step in range(40):
        assert all(int(c.max()) == 1 for c in batches(step)[1].counts)


def test_every_tokenizer_is_held_to_this():
    found = set()
    for module in pkgutil.iter_modules(neurofm.tokens.__path__, "neurofm.tokens."):
        for kind in vars(importlib.import_module(module.name)).values():
            if inspect.isclass(kind) and "__call__" in vars(kind) and kind is not Tokenizer:
                names = list(inspect.signature(kind.__call__).parameters)
                if names[1:3] == ["activity", "hidden"]:
                    found.add(kind)
    assert TimeBin in found
    assert found == {type(sort.tokenizer) for sort in SORTS.values()}
