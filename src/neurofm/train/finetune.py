"""Fine-tuning: a head on a model's latents, trained alone or with parts of the model.

One recording or several share a head. It starts as the linear solution on the frozen latents (linear
probing, then fine-tuning; Kumar et al. 2022) and goes on by gradient steps.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from neurofm.config import Config
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import Labels
from neurofm.errors import InputError
from neurofm.model.backbone import BackboneConfig
from neurofm.model.checkpoint import Trained, build_for
from neurofm.model.model import Model
from neurofm.model.rows import is_row
from neurofm.model.seeded import seed_torch
from neurofm.train.head_start import start_at_logistic, start_at_ridge
from neurofm.train.heads import (
    LabelHead,
    Reader,
    SignalHead,
    Wanted,
    label_loss,
    squared_loss,
)
from neurofm.train.loop import autocast, steps
from neurofm.train.optim import RowAdamW, update_average
from neurofm.train.read_batches import Batches, LabelBatches, SignalBatches, corpus_of
from neurofm.train.target_scale import target_scale

Matrix = NDArray[np.float32]
Spans = Mapping[str, Intervals]


class FinetuneConfig(Config):
    """What is trained, for how long, and how it is kept from over-fitting.

    `trains`: the head alone; the rows of channels and the head; the last `last_layers` of the
    trunk and the head; or everything. `hide`: in training, up to this part of the channels is
    hidden in a window. `patience`: checks on the valid side without a gain; 0 trains to the end.
    """

    trains: Literal["head", "rows", "last", "all"] = "all"
    last_layers: int = Field(1, ge=1)
    steps: int = Field(400, ge=1)
    windows: int = Field(16, ge=1, description="windows or trials a step")
    hide: float = Field(0.3, ge=0, lt=1)
    share: float = Field(0.5, ge=0, le=1, description="of a batch, from the session in focus")
    rate: float = Field(1e-3, gt=0, description="of the head and the rows")
    trunk_rate: float = Field(5e-4, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup: int = Field(20, ge=1)
    clip: float = Field(1.0, gt=0)
    average: float = Field(0.98, ge=0, lt=1)
    validate_every: int = Field(50, ge=1)
    valid_batches: int = Field(8, ge=1)
    patience: int = Field(4, ge=0)
    probe_batches: int = Field(40, ge=0, description="windows for the head's first values")
    seed: int = 0


@dataclass(frozen=True)
class Finetuned:
    """A model with a head, and what turns its answers back into units.

    `trained`: the model with the weights after training. `mean`, `scale`: {recording: (K,)}, empty
    for labels; `labels`: their names in the order of the head, empty for signals. `valid`: the loss
    on the valid side, NaN without one; `step`: where it was.
    """

    trained: Trained
    head: SignalHead | LabelHead
    mean: dict[str, Matrix]
    scale: dict[str, Matrix]
    labels: tuple[str, ...]
    valid: float
    step: int


def fresh(trained: Trained, seed: int) -> Trained:
    """The same model with newly drawn weights: what training from scratch starts from."""
    seed_torch(seed, "from scratch")
    made = build_for(trained.model.config, trained.vocabulary, trained.statistics)
    return replace(trained, model=made.eval(), step=0)


def finetune_signals(
    trained: Trained,
    recordings: Sequence[Recording],
    wanted: Mapping[str, Matrix],
    train: Spans,
    valid: Spans,
    config: FinetuneConfig,
    *,
    device: torch.device,
    weight: Matrix | None = None,
    focus: str = "",
    scaled_by: tuple[dict[str, Matrix], dict[str, Matrix]] | None = None,
    head: SignalHead | None = None,
) -> Finetuned:
    """Train on signals of recordings that the model knows.

    `wanted`: {recording: (T, K)} on the grid of bins, NaN where unknown; the K axes mean the same
    in all. `train` may be empty for a recording. `weight` (K,): how much an axis counts. `focus`: a
    recording that `config.share` of each batch comes from. `head`: to go on with, and `scaled_by` its means
    and scales; else it starts as the ridge solution. Raises InputError if no training part holds a
    target.
    """
    mean, scale = scaled_by or target_scale(wanted, train, float(trained.config["bin_s"]))
    standard = {r: ((v - mean[r]) / scale[r]).astype(np.float32) for r, v in wanted.items()}
    n_axes = next(iter(standard.values())).shape[1]
    corpus = corpus_of(trained, recordings)
    make = partial(SignalBatches.over, corpus, standard, size=config.windows,
                   length=int(trained.config["window_bins"]))  # fmt: skip
    batches = make(train, hide=config.hide, seed=config.seed, focus=focus, share=config.share)
    checks = make(valid, hide=0.0, seed=config.seed + 1)
    model = copy.deepcopy(trained.model)
    started = copy.deepcopy(head) or SignalHead(model.config.backbone.width, n_axes)
    reader = Reader(model, started).to(device)
    if head is None and config.probe_batches:
        start_at_ridge(reader, batches, config.probe_batches)
    even = torch.ones(n_axes) if weight is None else torch.from_numpy(weight)
    loss = partial(squared_loss, even.to(device))
    best, score, step = _train(reader, batches, checks, loss, config, _precision(trained))
    return Finetuned(_with(trained, best.model), best.head, mean, scale, (), score, step)


def finetune_labels(
    trained: Trained,
    recordings: Sequence[Recording],
    train: Mapping[str, Labels],
    valid: Mapping[str, Labels],
    config: FinetuneConfig,
    *,
    device: torch.device,
) -> Finetuned:
    """Train on labels of trials, each a window of its own, cut to the model's length.

    `train`, `valid`: {recording: trials of that side}. Raises InputError if training trials have
    fewer than two labels.
    """
    every = np.concatenate([part.label for part in train.values()])
    names, counts = np.unique(every, return_counts=True)
    if len(names) < 2:
        raise InputError("The training trials all have one label; there is nothing to decode.")
    corpus = corpus_of(trained, recordings)
    make = partial(LabelBatches, corpus, names=tuple(names.tolist()), size=config.windows,
                   most=int(trained.config["window_bins"]))  # fmt: skip
    batches = make(trials=train, hide=config.hide, seed=config.seed)
    checks = make(trials=valid, hide=0.0, seed=config.seed + 1)
    model = copy.deepcopy(trained.model)
    reader = Reader(model, LabelHead(model.config.backbone.width, len(names))).to(device)
    weight = torch.tensor(len(every) / counts / len(names), dtype=torch.float32)
    loss = partial(label_loss, weight.to(device))
    if config.probe_batches:
        start_at_logistic(reader, batches, checks, config.probe_batches, weight)
    best, score, step = _train(reader, batches, checks, loss, config, _precision(trained))
    return Finetuned(_with(trained, best.model), best.head, {}, {}, batches.names, score, step)


def _precision(trained: Trained) -> str:
    return str(trained.config["precision"])


def _with(trained: Trained, model: Model) -> Trained:
    return replace(trained, model=model.cpu().eval())


def trainable(reader: Reader, config: FinetuneConfig) -> tuple[torch.optim.Optimizer, ...]:
    """Freeze what is not trained; AdamW for the rest, tables of rows by `RowAdamW`.

    The read-out of rates is never trained: no target reaches it.
    """
    groups: dict[str, list[nn.Parameter]] = {"head": [], "rows": [], "trunk": []}
    trunk = reader.model.config.backbone
    n_layers = trunk.layers if isinstance(trunk, BackboneConfig) else 0  # LFADS has none
    last = n_layers - config.last_layers
    for name, parameter in reader.named_parameters():
        kind = _part_of(name, last)
        allowed = {"head": {"head"}, "rows": {"head", "rows"}, "last": {"head", "last"},
                   "all": {"head", "rows", "last", "trunk"}}[config.trains]  # fmt: skip
        parameter.requires_grad_(kind in allowed)
        if kind in allowed:
            groups["trunk" if kind == "last" else kind].append(parameter)
    dense = [
        {"params": groups["head"], "lr": config.rate},
        {"params": groups["trunk"], "lr": config.trunk_rate},
    ]
    made: list[torch.optim.Optimizer] = [
        torch.optim.AdamW([g for g in dense if g["params"]], weight_decay=config.weight_decay)
    ]
    if groups["rows"]:
        decay = config.weight_decay
        made.append(RowAdamW(groups["rows"], config.rate, (0.9, 0.98), decay))
    for group in (group for optimiser in made for group in optimiser.param_groups):
        group["peak"] = group["lr"]
    return tuple(made)


def _part_of(name: str, last: int) -> str:
    """`head`, `rows`, `last` (layers from `last` on), `trunk`, or `unused`."""
    if name.startswith("head."):
        return "head"
    if name.startswith(("model.read_out.", "model.own_past.", "model.held.", "model.prompts")):
        return "unused"
    if is_row(name.removeprefix("model.")):
        return "rows"
    if name.startswith("model.backbone.blocks."):
        return "last" if int(name.split(".")[3]) >= last else "trunk"
    return "last" if name.startswith("model.backbone.norm") else "trunk"


def _train(
    reader: Reader,
    batches: Batches,
    checks: Batches,
    loss: Callable[[tuple[Tensor, ...], Wanted], Tensor],
    config: FinetuneConfig,
    precision: str,
) -> tuple[Reader, float, int]:
    """The running average at its best check (or at the end), its loss there, and the step."""
    average = copy.deepcopy(reader)
    made = trainable(reader, config)

    def share(k: int) -> float:
        warm = min(1.0, (k + 1) / config.warmup)
        return warm * 0.5 * (1 + float(np.cos(np.pi * min(k / config.steps, 1.0))))

    loop = steps(reader, batches, made, share=share, clip=config.clip, seed=config.seed,
                 precision=precision, loss=loss)  # fmt: skip
    best, since = (average, float("nan"), 0), 0
    if checks:
        best = copy.deepcopy(average), _check(average, checks, loss, config, precision), 0
    for done in loop:
        update_average(average, reader, config.average, done.number)
        over = done.number >= config.steps
        if checks and (over or done.number % config.validate_every == 0):
            score = _check(average, checks, loss, config, precision)
            since = 0 if score < best[1] else since + 1
            if since == 0:
                best = copy.deepcopy(average), score, done.number
        if over or (config.patience and since >= config.patience):
            break
    return best if checks else (average, float("nan"), config.steps)


@torch.no_grad()
def _check(
    reader: Reader,
    checks: Batches,
    loss: Callable[[tuple[Tensor, ...], Wanted], Tensor],
    config: FinetuneConfig,
    precision: str,
) -> float:
    """Mean loss over the same few batches of the valid side."""
    reader.eval()
    device = next(reader.parameters()).device
    total = 0.0
    for k in range(config.valid_batches):
        batch, wanted = checks(k)
        with autocast(device, precision):
            read = reader(batch.to(device))
        total += float(loss(read, wanted.to(device)))
    return total / config.valid_batches
