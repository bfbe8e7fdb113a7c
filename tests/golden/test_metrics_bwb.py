"""Our scores against the metrics of the IBL BrainWideBench on the same arrays."""

import numpy as np
import pytest

from neurofm.evaluate import metrics as m


@pytest.fixture(scope="module")
def theirs():
    pytest.importorskip("torchmetrics", reason="ibl-bwb-eval needs torchmetrics")
    return pytest.importorskip("ibl_bwb_eval.metrics", reason="ibl-bwb-eval is not installed")


def arrays(seed):
    rng = np.random.default_rng(seed)
    mean = np.exp(rng.normal(-1.5, 1.2, 30))
    rates = mean * np.exp(rng.normal(0, 0.7, (800, 1)) * rng.normal(0, 1, 30))
    counts = rng.poisson(rates)
    counts[:, :3] = 0  # silent units
    return counts, rates * np.exp(rng.normal(0, 0.2, rates.shape))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("name", "ours"), [("BPS", m.bps_pooled), ("PoissonD2Score", m.d2)])
def test_same_value_as_brain_wide_bench(theirs, seed, name, ours):
    import torch

    counts, rates = arrays(seed)
    metric = getattr(theirs, name)()
    for rows in np.array_split(np.arange(len(counts)), 3):
        metric.update(torch.tensor(np.log(rates[rows])), torch.tensor(counts[rows]))
    scores = m.block_scores(counts, rates, np.arange(len(counts)) // 50)
    assert m.value(scores, ours) == pytest.approx(float(metric.compute()), abs=1e-4)
