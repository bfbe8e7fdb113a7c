from itertools import pairwise

import pytest
import torch
from torch import nn

from neurofm.train import optim
from neurofm.train.optim import OptimConfig, RowAdamW, schedule, update_average
from neurofm.train.sharded import clipped


def run(optimiser, table, grads):
    for grad in grads:
        table.grad = grad.clone()
        optimiser.step()
    return table.detach()


def test_row_adamw_equals_adamw_on_rows_that_are_always_there():
    torch.manual_seed(0)
    start, grads = torch.randn(5, 3), [torch.randn(5, 3) for _ in range(7)]
    settings = {"lr": 0.01, "betas": (0.9, 0.98), "weight_decay": 0.1}
    a, b = (nn.Parameter(start.clone()) for _ in range(2))
    mine = run(RowAdamW([a], **settings), a, grads)
    reference = run(torch.optim.AdamW([b], eps=1e-8, **settings), b, grads)
    assert torch.allclose(mine, reference, rtol=1e-5, atol=1e-7)


def test_row_adamw_leaves_absent_rows_alone_and_counts_their_own_steps():
    torch.manual_seed(0)
    start, grads = torch.randn(4, 3), [torch.randn(4, 3) for _ in range(6)]
    absent = [g.clone() for g in grads]
    for number in (1, 3, 4):
        absent[number][2] = 0
    table = nn.Parameter(start.clone())
    run(RowAdamW([table], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1), table, absent)
    alone = nn.Parameter(start[2:3].clone())
    present = [grads[n][2:3] for n in (0, 2, 5)]
    run(RowAdamW([alone], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1), alone, present)
    assert torch.equal(table.detach()[2:3], alone.detach())
    never = nn.Parameter(start.clone())
    run(RowAdamW([never], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1), never, [torch.zeros(4, 3)])
    assert torch.equal(never.detach(), start)


def lookups(sparse):
    """A table of which rows 1, 4 and 1 were looked up, with the gradient of that."""
    torch.manual_seed(0)
    table = nn.Parameter(torch.randn(6, 3))
    at, weights = torch.tensor([1, 4, 1]), torch.randn(3, 3)
    (nn.functional.embedding(at, table, sparse=sparse) * weights).sum().backward()
    return table


@pytest.mark.parametrize("limit", [0.1, 100.0])
def test_sparse_gradients_are_clipped_and_stepped_as_dense_ones(limit):
    dense, sparse = lookups(False), lookups(True)
    assert sparse.grad.is_sparse
    reference = float(nn.utils.clip_grad_norm_([dense], limit))
    assert clipped([sparse], limit) == pytest.approx(reference)
    assert torch.allclose(sparse.grad.to_dense(), dense.grad)
    settings = {"lr": 0.01, "betas": (0.9, 0.98), "weight_decay": 0.1}
    for table in (dense, sparse):
        RowAdamW([table], **settings).step()
    assert torch.allclose(sparse, dense)
    assert not torch.equal(sparse[4], lookups(True)[4])
    assert torch.equal(sparse[0], lookups(True)[0])


def test_a_table_stepped_in_pieces_is_the_table_stepped_at_once(monkeypatch):
    torch.manual_seed(0)
    start, grads = torch.randn(9, 3), [torch.randn(9, 3) for _ in range(3)]
    tables = []
    for cached in (6, 1 << 20):
        monkeypatch.setattr(optim, "CACHED", cached)
        table = nn.Parameter(start.clone())
        tables.append(
            run(RowAdamW([table], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1), table, grads)
        )
    assert torch.equal(*tables)


def test_learning_rate_warms_up_and_comes_down():
    config = OptimConfig(last=0.1, warmup=10)
    rates = [schedule(config, k, 100) for k in range(101)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == pytest.approx(1.0, rel=0.05)
    assert rates[100] == pytest.approx(0.1)
    assert all(b < a for a, b in pairwise(rates[10:]))


def test_average_forgets_the_first_steps_and_then_is_slow():
    model, average = nn.Linear(2, 2), nn.Linear(2, 2)
    before = average.weight.detach().clone()
    update_average(average, model, 0.99, 0)
    assert torch.allclose(average.weight, before + 0.9 * (model.weight - before))
    before = average.weight.detach().clone()
    update_average(average, model, 0.99, 10_000)
    assert torch.allclose(average.weight, before + 0.01 * (model.weight - before))
    for step in range(200):
        update_average(average, model, 0.9, step)
    assert torch.allclose(average.weight, model.weight, atol=1e-4)
