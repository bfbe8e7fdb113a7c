"""The loss curve of a toy run: a refactor that keeps the model keeps these numbers.

Digits beyond the fifth differ between processors; on one machine the curve is bit-identical, which
`tests/train/test_pretrain.py` holds.
"""

import pytest
import torch

from neurofm import Run
from neurofm.train.pretrain import PretrainConfig, pretrain

GOLDEN = [
    0.9382404,
    0.9251798,
    0.9277798,
    0.9709158,
    0.9369185,
    0.9352637,
    0.9435461,
    0.9151385,
    -0.0077462,
]


def test_the_curve_is_what_it_was(sessions, sides, tmp_path):
    config = PretrainConfig(
        bin_s=0.02,
        window_bins=30,
        windows=8,
        steps=8,
        validate_every=8,
        valid_batches=2,
        precision="fp32",
        model={"backbone": {"width": 32, "layers": 1, "heads": 2, "mlp": 32}, "kernel": 5},
    )
    torch.set_num_threads(1)
    run = Run(tmp_path)
    trained = pretrain(sessions, sides, config, run, device=torch.device("cpu"), say=lambda _: None)
    losses = [row["loss"] for row in run.log_rows() if row["event"] == "step"]
    assert [*losses, trained.valid["score"]] == pytest.approx(GOLDEN, rel=1e-4)
