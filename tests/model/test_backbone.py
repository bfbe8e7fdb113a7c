"""The trunk's parts against what they say they are."""

import pytest
import torch

from neurofm.model.backbone import Run, by_run, rotary, rotary_speed, rotate


def test_rotary_time_turns_each_pair_of_features_as_a_complex_number():
    torch.manual_seed(0)
    times, x = torch.tensor([0, 3, 50]), torch.randn(2, 3, 8)
    turned = torch.complex(*x.chunk(2, -1)) * torch.exp(1j * times[:, None] * rotary_speed(8))
    torch.testing.assert_close(
        rotate(x, *rotary(times, 8)), torch.cat([turned.real, turned.imag], -1)
    )


def test_rotary_time_stays_in_the_precision_of_its_input():
    x = torch.randn(2, 3, 8, dtype=torch.bfloat16)
    turned = rotate(x, *rotary(torch.arange(3), 8))
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(
        turned.float(), rotate(x.float(), *rotary(torch.arange(3), 8)), rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("n_runs", [1, 3])
def test_work_on_runs_is_given_each_window_once_and_has_its_gradient(n_runs):
    torch.manual_seed(0)
    runs = [Run(2, torch.arange(3 + n), 1) for n in range(n_runs)]
    x = torch.randn(sum(r.n_windows * r.length for r in runs), 4, requires_grad=True)
    share = torch.randn(2 * n_runs, 1, 4)
    out = by_run(runs, lambda _, part, s: (part * s).flatten(0, 1), x, share)
    each = torch.cat([s.expand(r.length, 4) for r, two in zip(runs, share.split(2), strict=True)
                      for s in two])  # fmt: skip
    torch.testing.assert_close(out, x * each)
    out.sum().backward()
    torch.testing.assert_close(x.grad, each)
