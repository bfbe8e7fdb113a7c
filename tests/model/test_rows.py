"""Tables of a batch's groups are looked up once, and nothing but the work changes."""

import pytest
import torch

from neurofm.model import model as modelling
from neurofm.model.backbone import BackboneConfig
from neurofm.model.model import Model, ModelConfig
from neurofm.model.rows import Tables
from neurofm.tokens.grouped import grouped
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, ChannelContext

SIZES = (3, 4, 2)


def batch(shared: bool) -> Batch:
    torch.manual_seed(1)
    groups, first = [], 0
    for n in SIZES:
        row = torch.arange(n) if shared else torch.arange(first, first + n)
        site, one = torch.arange(first, first + n), torch.ones(n)
        context = ChannelContext(row, site, 0.3 * one, one, 0.5 * one)
        counts, hidden = torch.randint(0, 3, (2, 6, n)), torch.rand(2, 6, n) < 0.3
        groups.append(grouped(TimeBin(), counts * ~hidden, hidden, context, [0, 0]))
        first += n
    return Batch(tuple(groups))


def gradients(made: Model, asked: Batch) -> dict[str, torch.Tensor]:
    made.zero_grad(set_to_none=True)
    torch.stack([(r**2).sum() for r in made(asked).rates]).sum().backward()
    return {name: p.grad for name, p in made.named_parameters() if p.grad is not None}


@pytest.fixture
def small() -> Model:
    torch.manual_seed(0)
    config = ModelConfig(backbone=BackboneConfig(width=8, layers=1, heads=2, mlp=8), own_past=2)
    made = Model(config, Tables(sum(SIZES), sum(SIZES))).eval()
    for parameter in made.parameters():  # some are zero at first, and so would gradients be
        torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.mark.parametrize("shared", [False, True])
def test_looked_up_at_once_gradients_have_the_same_bits(small, monkeypatch, shared):
    asked = batch(shared)
    at_once, calls = gradients(small, asked), []
    monkeypatch.setattr(modelling, "of_batch", lambda groups: calls.append(1) or groups)
    apart = gradients(small, asked)
    assert calls
    assert at_once.keys() == apart.keys()
    assert all(g.coalesce().values().any() for g in apart.values() if g.is_sparse)
    assert all(torch.equal(at_once[name].to_dense(), g.to_dense()) for name, g in apart.items())


def test_each_table_is_looked_up_once_unless_groups_share_rows(small, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.nn.functional, "embedding",
                        lambda at, table, **_: seen.append(len(at)) or table[at])  # fmt: skip
    small(batch(shared=False))
    assert set(seen) == {sum(SIZES)}
    seen.clear()
    small(batch(shared=True))
    assert set(seen) == set(SIZES)
