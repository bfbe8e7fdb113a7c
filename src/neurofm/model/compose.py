"""Weights put into a model, of other channels or of another shape, with an account of what fitted.

A loader that lets misfits pass (`strict=False`) has handed out random weights for months elsewhere
(braindecode 992: 0 of 99 tensors matched); here each number is accounted for, and too few are refused.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError, StoreError
from neurofm.model.checkpoint import STATISTICS, Trained, build_for
from neurofm.model.model import Model, ModelConfig
from neurofm.model.rows import is_row
from neurofm.model.seeded import seed_torch
from neurofm.model.weights import Weights, is_site
from neurofm.tokens.vocabulary import Statistics, Vocabulary, joined, statistics, with_features

MIN_USED = 0.9
Id = TypeVar("Id", bound=Hashable)


@dataclass(frozen=True)
class Used:
    """What of a checkpoint went into a model, as shares of numbers (0 to 1).

    `trunk`: the smaller of the share of the checkpoint's trunk that was used and the share of the
    model's trunk that it filled. `checkpoint`: of all its numbers, rows too. `model`: of all the
    model's numbers, how many were filled. `left`, `fresh`: parameters of the checkpoint without a
    place, and of the model without weights. `left_channels`, `fresh_channels`: ids likewise.
    """

    trunk: float
    checkpoint: float
    model: float
    left: tuple[str, ...]
    fresh: tuple[str, ...]
    left_channels: tuple[str, ...]
    fresh_channels: tuple[str, ...]

    def __str__(self) -> str:
        text = (
            f"{self.checkpoint:.1%} of the checkpoint is used, its trunk at {self.trunk:.1%}, and "
            f"fills {self.model:.1%} of the model"
        )
        for what, names in (("left over", self.left), ("fresh", self.fresh)):
            if names:
                text += f"; {what}: {_some(names)}"
        for what, names in (("left", self.left_channels), ("fresh", self.fresh_channels)):
            if names:
                text += f"; rows of {len(names)} channels {what}"
        return text


@dataclass(frozen=True)
class Loaded:
    """A model with weights in it, and how much of it they are."""

    trained: Trained
    used: Used


def compose(
    weights: Weights,
    *,
    config: ModelConfig | None = None,
    recordings: Sequence[Recording] | None = None,
    train: Mapping[str, Intervals] | None = None,
    min_used: float = MIN_USED,
    seed: int = 0,
) -> Loaded:
    """A model of `config` (default: the weights' own) for the channels of `recordings`.

    Rows are found by the channels' ids; a channel without a row gets a fresh one, of `seed`.
    Without `recordings`, the channels are the weights' own. What the weights have not measured is
    measured on `train` {recording id: intervals}, else on all valid time of the recordings.
    Raises InputError if less than `min_used` of the trunk fits, on either side; StoreError if the
    weights describe a model that this version cannot build.
    """
    vocabulary = weights.vocabulary
    if recordings is not None:  # the regions that it knows are the weights' own
        vocabulary = vocabulary.empty().grown(recordings)
    wanted = _wanted(weights, config)
    measured = _measured(weights, wanted, vocabulary, recordings, train or {})
    if config is None:
        _refuse_bombs(weights, wanted, measured)
    with torch.random.fork_rng(devices=[]):
        seed_torch(seed, "initialisation")
        model = build_for(wanted, vocabulary, measured)
    counts = _fill(model, weights, vocabulary)
    used = counts.used(weights.vocabulary, vocabulary)
    if used.trunk < min_used:
        raise InputError(_refusal(weights, model, used, min_used))
    trained = Trained(
        model=model.eval(),
        vocabulary=vocabulary,
        statistics=measured,
        config=weights.config | {"model": model.config.model_dump(mode="json")},
        step=weights.step,
        valid=weights.valid,
    )
    return Loaded(trained, used)


def _wanted(weights: Weights, config: ModelConfig | None) -> ModelConfig:
    try:
        return config or ModelConfig.model_validate(weights.model)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StoreError(f"{weights.source} describes a model that this version does not know "
                         f"(model.{name}: {first['msg'].lower()}); update neurofm.") from None  # fmt: skip


def _refuse_bombs(weights: Weights, wanted: ModelConfig, measured: Statistics) -> None:
    """Raise StoreError if the model described is far larger than the weights, before it is built.

    `measured` says how many features rows are computed from: a trunk without its rows does not.
    """
    held = sum(tensor.numel() for tensor in weights.tensors.values())
    n_layers = wanted.backbone.model_dump().get("layers", 0)
    if n_layers <= len(weights.tensors):
        with torch.device("meta"):
            model = build_for(wanted, weights.vocabulary.empty(), measured)
        if sum(v.numel() for k, v in model.state_dict().items() if not is_row(k)) <= 4 * held:
            return
    raise StoreError(f"{weights.source} describes a far larger model than it holds; do not use it.")


@dataclass
class _Counts:
    """Numbers of the weights and of the model, and those that were copied; trunk and all."""

    of_weights: dict[str, int]
    of_model: dict[str, int]
    copied: dict[str, int]

    def used(self, old: Vocabulary, new: Vocabulary) -> Used:
        def share(of: dict[str, int], *, rows: bool) -> float:
            whole = sum(n for name, n in of.items() if rows or not is_row(name))
            done = sum(n for name, n in self.copied.items() if rows or not is_row(name))
            return done / whole if whole else 1.0

        tables = any(is_row(name) for name in self.of_weights)
        return Used(
            trunk=min(share(self.of_weights, rows=False), share(self.of_model, rows=False)),
            checkpoint=share(self.of_weights, rows=True),
            model=share(self.of_model, rows=True),
            left=tuple(name for name in self.of_weights if name not in self.copied),
            fresh=tuple(
                name
                for name in self.of_model
                if name not in self.copied and (tables or not is_row(name))
            ),
            left_channels=tuple(name for name in old.channels if name not in new.channels),
            fresh_channels=tuple(name for name in new.channels if name not in old.channels),
        )


@torch.no_grad()
def _fill(model: Model, weights: Weights, vocabulary: Vocabulary) -> _Counts:
    """Copy what fits, whole tensors of the trunk and single rows of the tables."""
    state = model.state_dict()
    channels = _shared(weights.vocabulary.channels, vocabulary.channels)
    sites = _shared(weights.vocabulary.sites, vocabulary.sites)
    copied = {}
    for name, target in state.items():
        source = weights.tensors.get(name)
        if source is None:
            continue
        if is_row(name):
            if source.shape[1:] == target.shape[1:]:
                here, there = sites if is_site(name) else channels
                target[here] = source[there].to(target)
                copied[name] = len(here) * target[:1].numel() if len(target) else 0
        elif name == "prompts" and source.shape[1:] == target.shape[1:]:
            n = min(len(source), len(target))  # kinds of questions are added at the end alone
            target[:n] = source[:n]
            copied[name] = target[:n].numel()
        elif source.shape == target.shape:
            target.copy_(source)
            copied[name] = target.numel()
    of_weights = {k: v.numel() for k, v in weights.tensors.items()}
    return _Counts(of_weights, {k: v.numel() for k, v in state.items()}, copied)


def _shared(old: Mapping[Id, int], new: Mapping[Id, int]) -> tuple[Tensor, Tensor]:
    """Rows of the new table, and of the old one, for the ids that are in both."""
    both = [(row, old[name]) for name, row in new.items() if name in old]
    here, there = torch.tensor(both, dtype=torch.int64).reshape(-1, 2).unbind(1)
    return here, there


def _measured(
    weights: Weights,
    config: ModelConfig,
    vocabulary: Vocabulary,
    recordings: Sequence[Recording] | None,
    train: Mapping[str, Intervals],
) -> Statistics:
    """Per site: as the weights say, else measured now."""
    if recordings is None:
        return weights.statistics
    old, computed, found = weights.vocabulary.sites, config.rows != "table", {}
    for recording in recordings:
        ids = recording.channels.id.tolist()
        known = np.array([old.get((recording.id, name), -1) for name in ids], dtype=np.int64)
        had = weights.statistics if computed else replace(weights.statistics, features=None)
        if (known >= 0).all() and (had.features is not None or not computed):
            found[recording.id] = had.take(known)
            continue
        part, bin_s = train.get(recording.id, recording.valid), float(weights.config["bin_s"])
        fresh = statistics(recording, part, bin_s)
        fresh = with_features(fresh, recording, part, bin_s) if computed else fresh
        for name in STATISTICS:
            getattr(fresh, name)[known >= 0] = getattr(had, name)[known[known >= 0]]
        found[recording.id] = fresh
    return joined(vocabulary, recordings, found)


def _refusal(weights: Weights, model: Model, used: Used, min_used: float) -> str:
    shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    misfits = [n for n in dict.fromkeys((*used.left, *used.fresh)) if not is_row(n)]
    first = misfits[0] if misfits else ""
    there = weights.tensors.get(first)
    here = f"{shapes[first]} in the model" if first in shapes else "not in the model"
    said = "not in the checkpoint" if there is None else f"{tuple(there.shape)} in the checkpoint"
    return (
        f"{weights.source}: {used.trunk:.1%} of the trunk fits, less than min_used {min_used:.0%} "
        f"({len(misfits)} parameters do not; {first} is {said} and {here}). Use the checkpoint's "
        "own config, or lower min_used if so few are wanted."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
