"""A causal model bin by bin is the forward pass over the same bins, with attention that slides."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm.errors import InputError
from neurofm.model import backbone
from neurofm.model.backbone import BackboneConfig, Geometry
from neurofm.model.checkpoint import build_for
from neurofm.model.lfads import LFADSConfig
from neurofm.model.model import ModelConfig
from neurofm.model.online import Online
from neurofm.model.seeded import seed_torch
from neurofm.seeding import generator
from neurofm.tokens.event import Event
from neurofm.tokens.patch import Patch
from neurofm.tokens.tokens import Batch, stack
from neurofm.tokens.vocabulary import Vocabulary, context, joined, statistics, with_features

SIZE = {"width": 16, "layers": 3, "heads": 2, "mlp": 24}
PATHS = {
    "short": {"kernel": 5},
    "spans": {"kernel": 5, "doublings": 3, "own_past": 4},
    "no linear path": {"kernel": 0},
    "few directions": {"kernel": 5, "path_rank": 3},
    "few directions of spans": {"kernel": 5, "doublings": 3, "path_rank": 3},
    "rows computed": {"kernel": 3, "own_past": 2, "rows": "both"},
}
W, N = 20, 70


def build(recording, **paths):
    """(model, context) with no weight at zero."""
    vocabulary = Vocabulary.of([recording])
    measured = statistics(recording, recording.valid, 0.02)
    if paths.get("rows"):
        measured = with_features(measured, recording, recording.valid, 0.02)
    config = ModelConfig(**({"backbone": BackboneConfig(**SIZE, causal=True)} | paths))
    seed_torch(1, "test")
    model = build_for(config, vocabulary, joined(vocabulary, [recording], {recording.id: measured}))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval(), context(vocabulary, recording, measured)


@pytest.fixture(scope="module", params=sorted(PATHS))
def made(request, sessions):
    return build(sessions[0], **PATHS[request.param])


@pytest.fixture(scope="module")
def bins(sessions):
    """(N, C) counts and hidden cells: none, some, a whole bin, whole channels."""
    counts = sessions[0].activity.values[:N].astype(np.float32)
    hidden = generator(0, "test").random(counts.shape) < 0.3
    hidden[:8] = hidden[40:45] = False
    hidden[12] = True
    hidden[50:60] = np.arange(counts.shape[1]) < 4
    return torch.from_numpy(counts), torch.from_numpy(hidden)


def forward(model, channels, counts, hidden, prompt=0):
    tokens = model.config.tokens(counts.numpy(), hidden.numpy())
    with torch.no_grad():
        output = model(Batch((stack([tokens], channels, [prompt]),)))
    return output.latents[0][0], output.rates[0][0]


def one_by_one(online, counts, hidden, past=None):
    past, said = past or online.fresh(), []
    for one, gone in zip(counts.split(1), hidden.split(1), strict=True):
        *parts, past = online(one, gone, past)
        said.append(parts)
    latents, rates = (torch.cat(part) for part in zip(*said, strict=True))
    return latents, rates, past


def same(a, b, tolerance=2e-5):
    for x, y in zip(a[:2], b[:2], strict=True):
        torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)


def test_within_a_window_it_is_the_forward_pass(made, bins):
    model, channels = made
    counts, hidden = (part[:W] for part in bins)
    for prompt in (0, 3):
        online = Online(model, channels, W, prompt)
        same(one_by_one(online, counts, hidden), forward(model, channels, counts, hidden, prompt))


def test_after_it_attention_is_limited_to_the_last_window_of_bins(made, bins, monkeypatch):
    model, channels = made
    of = Geometry.of

    def sliding(run, size, causal):
        whole = of(run, size, causal)
        at = torch.arange(len(run.times))
        return replace(whole, blocked=whole.blocked | (at[:, None] - at >= W))

    plain = forward(model, channels, *bins)
    monkeypatch.setattr(backbone.Geometry, "of", sliding)
    wanted = forward(model, channels, *bins)
    assert not torch.allclose(plain[0][W:], wanted[0][W:], atol=1e-3)
    same(one_by_one(Online(model, channels, W, 0), *bins), wanted)


def test_many_bins_at_once_are_the_same_bins(made, bins):
    online = Online(*made, W, 0)
    alone = one_by_one(online, *bins)
    for cuts in ([N], [3, 30, 1, N - 34]):
        past, said = online.fresh(), []
        for parts in zip(*(part.split(cuts) for part in bins), strict=True):
            *both, past = online(*parts, past)
            said.append(both)
        same([torch.cat(part) for part in zip(*said, strict=True)], alone)
        same(one_by_one(online, *bins, past), one_by_one(online, *bins, alone[2]))


def test_what_is_kept_does_not_grow(made, bins):
    online = Online(*made, W, 0)

    def held(n):
        past = one_by_one(online, *(part[:n] for part in bins))[2]
        return [x.shape for x in (past.cells, past.sums, past.tokens, *past.keys, *past.values)]

    assert held(W) == held(N)
    assert held(N)[3] == (2, W - 1, 8)


def test_it_may_run_for_years(made, bins):
    """Only ages of bins matter: a stream of two thousand million bins says what a fresh one says."""
    online = Online(*made, W, 0)
    late = replace(online.fresh(), n_bins=2_000_000_000)
    same(one_by_one(online, *bins, late), one_by_one(online, *bins), 1e-4)


def test_counts_of_hidden_cells_are_not_looked_at(made, bins):
    online, (counts, hidden) = Online(*made, W, 0), bins
    other = counts.masked_fill(hidden, float("nan"))
    a, b = one_by_one(online, counts, hidden), one_by_one(online, other, hidden)
    assert torch.equal(a[0], b[0])
    assert torch.equal(a[1], b[1])


def test_a_past_is_never_changed(made, bins):
    online = Online(*made, W, 0)
    past = one_by_one(online, *(part[:30] for part in bins))[2]
    first = one_by_one(online, *(part[30:] for part in bins), past)
    one_by_one(online, *(part[:9] for part in bins), past)
    again = one_by_one(online, *(part[30:] for part in bins), past)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


def test_training_on_does_not_reach_it(sessions, bins):
    model, channels = build(sessions[0], **PATHS["spans"])
    online = Online(model, channels, W, 0)
    before = one_by_one(online, *bins)
    for parameter in model.parameters():
        parameter.data += 1
    assert torch.equal(one_by_one(online, *bins)[1], before[1])


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        ({"backbone": BackboneConfig(**SIZE)}, "not causal.*--set model.backbone.causal=true"),
        ({"backbone": LFADSConfig(width=16), "kernel": 0}, "not causal.*LFADS reads whole windows"),
        ({"tokens": Patch(channels=4)}, "patch tokens.*model.tokens.kind=time-bin"),
        ({"tokens": Event(block_bins=4)}, "event tokens.*model.tokens.kind=time-bin"),
    ],
)
def test_other_models_are_refused_with_the_remedy(sessions, paths, reason):
    with pytest.raises(InputError, match=reason):
        Online(*build(sessions[0], **paths), W, 0)
