import pytest
import torch

from neurofm.model.build import build
from neurofm.model.model import ModelConfig
from neurofm.model.temporal import Spans, Taps, span_filter, span_sums, spans


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


@pytest.mark.parametrize("kind", [Taps, Spans])
def test_a_path_of_few_directions_is_one_of_all_whose_weights_are_a_product(kind):
    torch.manual_seed(0)
    few, plain, x = kind(6, 3, False, rank=2), kind(6, 3, False), torch.randn(2, 11, 6)
    if kind is Taps:  # (D, rank x taps)
        each = few.weight.view(6, 2, -1)
        product = torch.einsum("drk,re->dek", each, few.narrow).flatten(1)
    else:  # (D, spans x rank)
        product = (few.weight.view(6, -1, 2) @ few.narrow).flatten(1)
    with torch.no_grad():
        plain.weight.copy_(product)
    torch.testing.assert_close(few(x), plain(x))


@pytest.mark.parametrize("path", [{"kernel": 5}, {"doublings": 3}])
def test_computed_rows_start_with_their_first_directions_smoothed_alone(path):
    torch.manual_seed(0)
    config = ModelConfig(backbone={"width": 16, "heads": 2}, rows="inductive", **path)
    few = config.model_copy(update={"path_rank": 12})
    paths = [build(c, 0, 0, n_features=120).temporal for c in (config, few)]
    x = torch.randn(2, 20, 16) * (torch.arange(16) < 12)
    torch.testing.assert_close(paths[0](x), paths[1](x))


def test_a_path_as_wide_as_the_trunk_is_refused():
    with pytest.raises(ValueError, match="path_rank 16 must be below the width 16"):
        ModelConfig(backbone={"width": 16}, path_rank=16)


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
