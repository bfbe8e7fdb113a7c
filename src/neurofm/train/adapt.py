"""A trained model on recordings that it has not seen: what may move, and on how much of their data."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from neurofm.config import Config
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import ConfigError, InputError
from neurofm.model import checkpoint
from neurofm.model.backbone import BackboneConfig
from neurofm.model.checkpoint import Trained, refined
from neurofm.model.rows import is_row
from neurofm.run import Run
from neurofm.tokens.vocabulary import Vocabulary
from neurofm.train.batches import Corpus
from neurofm.train.optim import optimisers
from neurofm.train.pretrain import (
    PretrainConfig,
    Say,
    check_and_save,
    drive,
    measure,
    pretrain,
    sampled,
)
from neurofm.train.training import Training

HOWS = ("zero-shot", "rows", "last", "all", "scratch")
"""Nothing is trained; the rows of new channels; these, the last block and the norm after it;
everything; a fresh model of the same configuration. Whatever is trained may move every row by
itself, also where rows are computed, so that none has a freedom that another lacks."""

Sides = Mapping[str, Mapping[str, Intervals]]


class AdaptConfig(Config):
    """How a trained model is adapted: short, gentle, and judged on the minutes it was given.

    `scratch_steps`: of the fresh model it is compared with; 0 is as many as the run had.
    `valid_share`: of the minutes, the last part, which chooses the best step. `rate` None: 3e-4
    where rows are computed and start well, 2e-3 where they are drawn and have everything to learn.
    """

    steps: int = Field(300, ge=1)
    scratch_steps: int = Field(0, ge=0)
    windows: int = Field(16, ge=1)
    validate_every: int = Field(50, ge=1)
    valid_batches: int = Field(8, ge=1)
    patience: int = Field(4, ge=0)
    rate: float | None = Field(None, gt=0)
    warmup: int = Field(20, ge=1)
    last: float = Field(0.02, ge=0, le=1, description="of the rate, at the end")
    average: float = Field(0.98, ge=0, lt=1)
    valid_share: float = Field(0.15, gt=0, lt=1)
    seed: int = 0

    def of(self, run: PretrainConfig) -> PretrainConfig:
        """The configuration that trains: what a run was trained with, but for what is said here."""
        rate = self.rate or (2e-3 if run.model.rows == "table" else 3e-4)
        optim = run.optim.model_copy(
            update={"rate": rate, "matrix_rate": 0.0, "warmup": self.warmup, "last": self.last,
                    "average": self.average}
        )  # fmt: skip
        mine = ("steps", "windows", "validate_every", "valid_batches", "patience", "seed")
        return run.model_copy(
            update={k: getattr(self, k) for k in mine} | {"optim": optim, "exact": 0}
        )

    def from_scratch(self, run: PretrainConfig) -> PretrainConfig:
        """The run's own configuration, stopped by the same patience."""
        steps = self.scratch_steps or run.steps
        mine = ("validate_every", "valid_batches", "patience", "seed")
        return run.model_copy(update={k: getattr(self, k) for k in mine} | {"steps": steps})


def divided(given: Intervals, share: float, gap_s: float) -> tuple[Intervals, Intervals]:
    """(train, valid): the last `share` of what is given is for validation, `gap_s` after the rest.

    Raises InputError if one of them would be empty.
    """
    length = given.end - given.start
    before = np.concatenate([[0.0], np.cumsum(length)])
    cut = (1 - share) * before[-1]
    at = int(np.searchsorted(before[1:], cut, side="left"))  # the piece that the cut lies in
    time_s = float(given.start[at] + cut - before[at]) if len(given) else 0.0
    train = given.clip(float(np.min(given.start, initial=time_s)), time_s)
    valid = given.clip(time_s + gap_s, float(np.max(given.end, initial=time_s)))
    if not len(train) or not len(valid):
        raise InputError(
            f"{given.total_s:g} s are too few to train on and to choose by, {gap_s:g} s apart; "
            "give more --minutes."
        )
    return train, valid


def moves(parameter: str, how: str, n_blocks: int) -> bool:
    """Whether a parameter of this name is trained."""
    if how == "all" or is_row(parameter):
        return True
    last = (f"backbone.blocks.{n_blocks - 1}.", "backbone.norm.")
    return how == "last" and parameter.startswith(last)


@dataclass(frozen=True)
class NewData:
    """Recordings to adapt to, and what of them may be looked at: train and valid, by id."""

    recordings: tuple[Recording, ...]
    sides: Sides


def adapt(
    trained: Trained,
    data: NewData,
    how: str,
    config: PretrainConfig,
    run: Run,
    *,
    device: torch.device,
    say: Say,
) -> Trained:
    """The model adapted to recordings; `how` is one of HOWS, `config` the one that trains.

    The step of the best validation is returned, and may be the first: no adaptation at all. Rows of
    channels that the model knew stay as they are; the small differences of their new sites move.
    A run that holds checkpoints goes on from the newest. Raises ConfigError if nothing can be said
    of new channels without training.
    """
    data = NewData(tuple(config.channels.widen(data.recordings)), data.sides)
    if how == "scratch":
        own = config.model_copy(update={"model": refined(config.model)})
        return pretrain(data.recordings, data.sides, own, run, device=device, say=say)
    if how == "zero-shot":
        _refuse_unknown(trained, data.recordings)
    measured = {r.id: measure(r, data.sides["train"][r.id], config) for r in data.recordings}
    known = trained.vocabulary
    grown = trained.with_recordings(
        data.recordings, measured, config.seed, refine=how != "zero-shot"
    )
    plain = config.model_copy(update={"model": grown.model.config})
    bin_s = config.bin_s or 0.0
    corpus = Corpus.of(data.recordings, grown.vocabulary, measured, bin_s, device=device)
    batches, checks = (
        sampled(corpus, data.sides[side], plain, side) for side in ("train", "valid")
    )
    training = _training(grown, how, plain, known, device)
    if newest := checkpoint.newest_intact(run.checkpoints):
        training.restore(checkpoint.load(newest), checkpoint.training_state(newest))
    else:
        check_and_save(training, checks, plain, run)
    if how != "zero-shot":
        drive(training, batches, checks, plain, run, say)
    return checkpoint.load(checkpoint.best_intact(run.checkpoints))


def _training(
    grown: Trained, how: str, config: PretrainConfig, known: Vocabulary, device: torch.device
) -> Training:
    model = grown.model.to(device)
    average = copy.deepcopy(model)
    made = optimisers(model, config.optim)
    n_blocks = _n_blocks(config, how)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(moves(name, how, n_blocks))
        if how != "all" and name.endswith(".shared"):
            _hold(parameter, len(known.channels))
    return Training(model, average, made, grown.vocabulary, grown.statistics)


def _n_blocks(config: PretrainConfig, how: str) -> int:
    trunk = config.model.backbone
    if isinstance(trunk, BackboneConfig):
        return trunk.layers
    if how == "last":
        raise ConfigError("--how last needs a transformer; adapt this trunk by rows, or all of it.")
    return 0


def _hold(table: nn.Parameter, n_known: int) -> None:
    """No gradient for the rows that the model had, so that they are left as they are."""

    def only_new(gradient: Tensor) -> Tensor:
        found = gradient.coalesce()
        new = (found.indices()[0] >= n_known)[:, None]
        held = torch.where(new, found.values(), 0)
        return torch.sparse_coo_tensor(
            found.indices(), held, found.shape, is_coalesced=True, check_invariants=False
        )

    table.register_hook(only_new)  # type: ignore[no-untyped-call]


def _refuse_unknown(trained: Trained, recordings: Sequence[Recording]) -> None:
    if trained.model.config.rows != "table":
        return
    known = trained.vocabulary
    for recording in recordings:
        names = (known.name(recording, name) for name in recording.channels.id.tolist())
        if any(name not in known.channels for name in names):
            raise ConfigError(
                f"{recording.id} has channels that the model does not know, and its rows are a "
                "table, which must be trained: adapt with --how rows, or pre-train with "
                "--set model.rows=inductive."
            )
