import pytest
import torch

from neurofm.model.temporal import Spans, span_filter, span_sums, spans


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("n_bins", [3, 20])
def test_the_filter_is_the_sum_over_spans_that_it_says(causal, n_bins):
    torch.manual_seed(0)
    path, x = Spans(3, 3, causal), torch.randn(2, n_bins, 3)
    weight = path.weight.view(3, len(path.spans), 3)
    expected = path.bias.expand(2, n_bins, 3).clone()
    for number, (first, stop) in enumerate(path.spans):
        for t in range(n_bins):
            inside = x[:, max(t + first, 0) : max(t + stop, 0)].sum(1) / (stop - first) ** 0.5
            expected[:, t] += inside @ weight[:, number].T
    assert torch.allclose(path(x), expected, atol=1e-5)


def test_spans_tile_their_reach_and_causal_ones_stop_at_the_bin():
    both, past = spans(4, causal=False), spans(4, causal=True)
    assert [b for first, stop in both for b in range(first, stop)] == list(range(-15, 16))
    assert [b for first, stop in past for b in range(first, stop)] == list(range(-15, 1))


@pytest.mark.parametrize("causal", [False, True])
def test_a_span_filter_is_the_weighted_sum_of_span_sums(causal):
    torch.manual_seed(0)
    over = spans(3, causal)
    x, weights = torch.randn(2, 11, 4), torch.randn(4, len(over))
    parts = torch.stack(span_sums(x, over), -1)
    assert torch.allclose(span_filter(x, weights, over), (parts * weights).sum(-1), atol=1e-5)


def test_a_span_filter_has_the_gradients_of_what_it_computes():
    torch.manual_seed(0)
    over = spans(2, causal=False)
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, len(over), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, b: span_filter(a, b, over), (x, weights))
