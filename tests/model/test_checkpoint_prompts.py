"""Checkpoints that were saved when there were fewer questions."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from neurofm import Run, files
from neurofm.errors import StoreError
from neurofm.model import checkpoint
from neurofm.tokens.mask import PROMPTS
from neurofm.train.pretrain import PretrainConfig, pretrain

CONFIG = PretrainConfig(
    bin_s=0.02,
    window_bins=20,
    windows=4,
    steps=6,
    validate_every=3,
    valid_batches=1,
    precision="fp32",
    model={"backbone": {"width": 16, "layers": 1, "heads": 2, "mlp": 16}, "kernel": 3},
    optim={"warmup": 2, "rate": 5e-3},
)
ASKED = 5  # questions of the first version


def train(sessions, sides, folder, say=lambda _: None):
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    run = Run(folder)
    return run, pretrain(sessions, sides, CONFIG, run, device=torch.device("cpu"), say=say)


def cut(folder, rows):
    """Write a checkpoint again as if there had been `rows` prompts."""
    for name in ("weights", "training"):
        path = folder / f"{name}.safetensors"
        tensors = load_file(path)
        width = tensors["prompts" if name == "weights" else "model.prompts"].shape[1]
        shape = (len(PROMPTS), width)
        kept = {
            k: v[:rows].clone() if tuple(v.shape) == shape and rows < len(v) else v
            for k, v in tensors.items()
        }
        assert sum(kept[k].shape != tensors[k].shape for k in kept) == (
            1 if name == "weights" else 3
        )
        save_file(kept, path)
    manifest = files.manifest_of(folder)
    manifest.pop("manifest.json", None)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_fewer_prompts_load_as_they_were_and_training_goes_on(sessions, sides, tmp_path):
    whole, _ = train(sessions, sides, tmp_path / "whole")

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step.number == 4:
            raise Stop

    with pytest.raises(Stop):
        train(sessions, sides, tmp_path / "old", stop)
    (folder,) = checkpoint.folders(tmp_path / "old" / "checkpoints")
    new = checkpoint.load(folder).model.state_dict()
    cut(folder, ASKED)
    old = checkpoint.load(folder).model.state_dict()
    assert old["prompts"].shape == new["prompts"].shape
    assert (new["prompts"][:ASKED] != 0).any()
    assert all(torch.equal(old[k], v) for k, v in new.items())
    resumed, _ = train(sessions, sides, tmp_path / "old")
    losses = [
        {r["step"]: float(r["loss"]).hex() for r in run.log_rows() if r["event"] == "step"}
        for run in (whole, resumed)
    ]
    assert losses[0] == losses[1]


def test_fewer_rows_of_anything_else_are_refused(sessions, sides, tmp_path):
    run, _ = train(sessions, sides, tmp_path)
    folder = checkpoint.folders(run.checkpoints)[-1]
    path = folder / "weights.safetensors"
    tensors = load_file(path)
    tensors["read_out.rows.shared"] = tensors["read_out.rows.shared"][:-1].clone()
    save_file(tensors, path)
    manifest = {k: v for k, v in files.manifest_of(folder).items() if k != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match="does not fit its own description"):
        checkpoint.load(folder)
