"""Checkpoints: immutable folders of safetensors and JSON, with a hash of every file. No pickle.

`weights.safetensors` is the model to use (the running average); `training.safetensors` holds what
resuming needs besides; `checkpoint.json` the configuration, the vocabulary and the step;
`manifest.json` the SHA-256 of each.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from neurofm import files
from neurofm.data.recording import Recording
from neurofm.errors import InputError, StoreError
from neurofm.model.build import build
from neurofm.model.model import Model, ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.tokens.mask import PROMPTS
from neurofm.tokens.tokens import ChannelContext
from neurofm.tokens.vocabulary import Statistics, Vocabulary, context, joined

SCHEMA = 1
HELD = ("weights.safetensors", "training.safetensors", "checkpoint.json")
PROMPT_TABLES = ("prompts", "model.prompts")  # in the weights, and in what resuming needs
STATISTICS = ("mean", "scale", "rate")
UNFIT = (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, InputError)


@dataclass(frozen=True)
class Trained:
    """A model ready to use, with everything that its inputs need.

    `statistics`: per site (n_sites,). `config`: the resolved configuration of its run, as plain
    data. `valid`: validation scores when it was saved.
    """

    model: Model
    vocabulary: Vocabulary
    statistics: Statistics
    config: dict[str, Any]
    step: int
    valid: dict[str, float]

    def measured(self, sites: np.ndarray[Any, np.dtype[np.int64]]) -> Statistics:
        """Statistics of the given sites."""
        return self.statistics.take(sites)

    def context(self, recording: Recording) -> ChannelContext:
        """The channels of a recording as the model wants them.

        Raises InputError if one of them was not in the training set.
        """
        _, sites = self.vocabulary.rows(recording)
        return context(self.vocabulary, recording, self.measured(sites))

    def with_recordings(
        self,
        recordings: Sequence[Recording],
        measured: Mapping[str, Statistics],
        seed: int = 0,
        refine: bool = False,
    ) -> "Trained":
        """The same model with rows for these recordings too; nothing that it knows changes.

        `measured`: by recording id, from data of theirs that may be looked at. A channel that the
        model knows keeps its row. New rows are computed from the channel's own data, or are drawn
        as for a fresh model (`seed`), where rows are a table; the small differences of new sites
        are 0. `refine`: computed rows get a table too, of zeros, which can then be trained.
        Raises InputError if a channel is of a kind that the model was not trained on.
        """
        _refuse_other_kinds(self.model.config, recordings)
        vocabulary = self.vocabulary.grown(recordings)
        added = joined(vocabulary, recordings, measured)
        by_site = _merged(self.statistics, added, vocabulary, recordings)
        config = refined(self.model.config) if refine else self.model.config
        seed_torch(seed, "rows")
        model = build_for(config, vocabulary, by_site)
        _fill(model, self.model)
        plain = self.config | {"model": config.model_dump(mode="json")}
        return Trained(model.eval(), vocabulary, by_site, plain, self.step, self.valid)


def refined(config: ModelConfig) -> ModelConfig:
    """A configuration whose computed rows have a table too."""
    return config.model_copy(update={"rows": "both"}) if config.rows == "inductive" else config


def _refuse_other_kinds(config: ModelConfig, recordings: Sequence[Recording]) -> None:
    for recording in recordings:
        for kind in np.unique(recording.channels.kind).tolist():
            if kind not in config.kinds:
                raise InputError(
                    f"{recording.id} has channels of the kind {kind!r}, and the model was trained on "
                    f"{', '.join(config.kinds)} alone; pre-train one with these channels."
                )


def _merged(
    known: Statistics, added: Statistics, vocabulary: Vocabulary, recordings: Sequence[Recording]
) -> Statistics:
    """By site: what was known, but for the sites of these recordings what was added."""
    at = np.concatenate([vocabulary.rows(recording)[1] for recording in recordings])
    columns = {}
    for name, column in vars(known).items():
        if column is not None:
            fresh = getattr(added, name)
            columns[name] = np.concatenate([column, fresh[len(column) :]])
            columns[name][at] = fresh[at]
    return Statistics(**columns)


@torch.no_grad()
def _fill(grown: Model, known: Model) -> None:
    """Weights of a model into one of the same shape with more rows; further rows stay."""
    weights = grown.state_dict()
    for name, old in known.state_dict().items():
        (weights[name][: len(old)] if old.dim() else weights[name]).copy_(old)


def save(folder: Path, trained: Trained, training: Mapping[str, Tensor]) -> None:
    """Publish a checkpoint folder; raises StoreError if it exists."""
    weights = {k: v.detach().cpu().contiguous() for k, v in trained.model.state_dict().items()}
    for name in (*STATISTICS, "features"):
        column = getattr(trained.statistics, name)
        if column is not None:
            weights[f"statistics.{name}"] = torch.from_numpy(column)
    about = {
        "schema": SCHEMA,
        "step": trained.step,
        "valid": trained.valid,
        "config": trained.config,
        "model": trained.model.config.model_dump(mode="json"),
        "channels": list(trained.vocabulary.channels),
        "sites": [list(site) for site in trained.vocabulary.sites],
        "regions": list(trained.vocabulary.regions),
        "share_rows": trained.vocabulary.shared,
    }
    with files.publish(folder) as temporary:
        _write(temporary / "weights.safetensors", weights)
        kept = {k: v.detach().cpu().contiguous() for k, v in training.items()}
        _write(temporary / "training.safetensors", kept)
        files.put(temporary / "checkpoint.json", json.dumps(about).encode())
        manifest = json.dumps(files.manifest_of(temporary), indent=1)
        files.put(temporary / "manifest.json", manifest.encode())


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Without a copy in memory, as `safetensors.torch.save` would need."""
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # the disk is full: there is no other reason for plain tensors
        raise StoreError(files.unwritten(path, str(error))) from None


def verify(folder: Path) -> None:
    """Check every hash.

    Raises StoreError that names the file.
    """
    manifest = files.read_json(folder / "manifest.json")
    for name in HELD:
        path = folder / name
        known = isinstance(manifest, dict) and manifest.get(name)
        if not path.is_file() or known != files.sha256(path):
            raise StoreError(f"{path} is damaged or missing; use another checkpoint of the run.")
    for path in folder.iterdir():
        if path.name not in {*HELD, "manifest.json"} and not path.name.startswith("."):
            raise StoreError(f"{path} belongs to no checkpoint; remove it.")


def load(folder: Path) -> Trained:
    """A verified checkpoint, in evaluation mode on the CPU.

    Raises StoreError if it is damaged, of a newer schema, or does not hold the model it describes.
    """
    verify(folder)
    about = files.read_json(folder / "checkpoint.json")
    weights = _tensors(folder / "weights.safetensors")
    held = [name for name in weights if name.startswith("statistics.")]
    columns = {n.removeprefix("statistics."): weights.pop(n).numpy() for n in held}
    try:
        if about["schema"] != SCHEMA:
            raise StoreError(f"{folder} has schema {about['schema']}; this version reads {SCHEMA}.")
        vocabulary, measured = _vocabulary(about), Statistics(**columns)
        config = ModelConfig.model_validate(about["model"])
        step, valid, plain = int(about["step"]), dict(about["valid"]), dict(about["config"])
        misfits(config, vocabulary, measured, weights)
        model = build_for(config, vocabulary, measured)
        model.load_state_dict(weights)
    except UNFIT as error:
        reason = " ".join(str(error).split())
        raise StoreError(f"{folder} does not fit its own description: {reason}.") from None
    return Trained(model.eval(), vocabulary, measured, plain, step, valid)


def _vocabulary(about: Mapping[str, Any]) -> Vocabulary:
    channels = {name: row for row, name in enumerate(about["channels"])}
    sites = {(str(r), str(c)): row for row, (r, c) in enumerate(about["sites"])}
    regions = {str(name): row for row, name in enumerate(about.get("regions", ()), 1)}
    return Vocabulary(channels, sites, regions, about.get("share_rows", True))


def misfits(
    config: ModelConfig, vocabulary: Vocabulary, measured: Statistics, weights: Mapping[str, Tensor]
) -> None:
    """Compare tensors with what a configuration asks for, before any memory is taken for that.

    Raises ValueError that names the first tensor of another shape or type.
    """
    sizes = config.backbone.model_dump()
    if sizes.get("layers", 0) > len(weights):
        raise ValueError(f"{sizes['layers']} layers in {len(weights)} tensors")
    with torch.device("meta"):
        wanted = build_for(config, vocabulary, measured).state_dict()
    for name, tensor in weights.items():
        like = wanted.get(name)
        if like is not None and (tensor.shape, tensor.dtype) != (like.shape, like.dtype):
            said = [
                f"{list(t.shape)} of {str(t.dtype).removeprefix('torch.')}" for t in (tensor, like)
            ]
            raise ValueError(f"{name} is {said[0]} and should be {said[1]}")


def build_for(config: ModelConfig, vocabulary: Vocabulary, measured: Statistics) -> Model:
    """A fresh model of the size that the vocabulary and the statistics ask for."""
    n_features = 0 if measured.features is None else measured.features.shape[1]
    n_rows = len(vocabulary.channels), len(vocabulary.sites), len(vocabulary.regions)
    return build(config, *n_rows, n_features)


def training_state(folder: Path) -> dict[str, Tensor]:
    """What resuming needs besides the weights: raw weights and the optimisers' moments."""
    return _tensors(folder / "training.safetensors")


def with_new_prompts(rows: Tensor) -> Tensor:
    """A table with one row a prompt, or its moments; rows of zeros for prompts that came later.

    Zeros are what a prompt has that was never asked: a new question starts as no prompt at all.
    """
    missing = len(PROMPTS) - len(rows)
    return rows if missing <= 0 else torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} is not readable ({error}); use another checkpoint.") from None
    return {
        _renamed(name): with_new_prompts(tensor) if name in PROMPT_TABLES else tensor
        for name, tensor in found.items()
    }


def _renamed(name: str) -> str:
    """Names of 0.1: the rows of hidden channels were a bare parameter."""
    return f"{name}.shared" if name.endswith("read_in.hidden") else name


def folders(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    return sorted(checkpoints.glob("step-*")) if checkpoints.exists() else []


def newest_intact(checkpoints: Path) -> Path | None:
    """The newest checkpoint whose hashes verify, or None."""
    return next(filter(is_intact, reversed(folders(checkpoints))), None)


def is_intact(folder: Path) -> bool:
    """Whether every hash of a checkpoint verifies."""
    try:
        verify(folder)
    except StoreError:
        return False
    return True


def score(folder: Path) -> float:
    """The validation score a checkpoint was saved with."""
    return float(files.read_json(folder / "checkpoint.json")["valid"]["score"])


def best_intact(checkpoints: Path) -> Path:
    """The intact checkpoint with the best validation score, the later of equals.

    Raises StoreError if there is none.
    """
    intact = [folder for folder in folders(checkpoints) if is_intact(folder)]
    if not intact:
        raise StoreError(
            f"{checkpoints} holds no intact checkpoint; train with `neurofm pretrain`."
        )
    return max(intact, key=lambda folder: (score(folder), folder.name))


def prune(checkpoints: Path, keep: int = 2) -> None:
    """Remove all but the newest `keep` and the best of the intact; leftovers of kills go too.

    Damaged ones count for nothing and stay, for `neurofm verify` to name.
    """
    intact = [folder for folder in folders(checkpoints) if is_intact(folder)]
    kept = {*intact[-keep:], best_intact(checkpoints)}
    for folder in intact:
        if folder not in kept:
            files.remove(folder)
    files.sweep(checkpoints, "step-*")
