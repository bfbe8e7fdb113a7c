"""Pre-training: one model over all recordings, by hiding cells and predicting them."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from neurofm import files
from neurofm.config import Config
from neurofm.data.intervals import Intervals
from neurofm.data.nodes import ChannelsConfig
from neurofm.data.recording import KINDS, Recording, Samples
from neurofm.errors import InputError, StoreError
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.run import Run
from neurofm.seeding import fold
from neurofm.tokens.mask_config import MaskConfig
from neurofm.tokens.vocabulary import Statistics, Vocabulary, joined, statistics, with_features
from neurofm.train.ahead import NONE, Ahead, ahead
from neurofm.train.batches import Corpus, MaskedBatches
from neurofm.train.compiled import compile_trunk
from neurofm.train.context import ALONE, Context
from neurofm.train.exact import Divisible
from neurofm.train.linear_start import LinearConfig, start_linear
from neurofm.train.loop import Batches, Step, steps
from neurofm.train.loss import masked_loss
from neurofm.train.optim import OptimConfig, optimisers, schedule, update_average
from neurofm.train.parallel import engine, refuse_unfit, share_of
from neurofm.train.sharded import shard
from neurofm.train.spikes import Spikes
from neurofm.train.training import Training
from neurofm.train.turned import Turned
from neurofm.train.validate import validate


class PretrainConfig(Config):
    """Everything that decides a pre-trained model, beside the store and the splits.

    `bin_s` None: the coarsest step of the binned recordings, or 20 ms where all are spike times.
    `channels`: the signals and labels of trials that are channels too. `linear`: whether a model of
    traces starts with the linear answers.
    """

    bin_s: float | None = Field(None, gt=0)
    window_bins: int = Field(100, ge=4)
    windows: int = Field(32, ge=1, description="windows a step")
    steps: int = Field(2000, ge=1)
    validate_every: int = Field(250, ge=1)
    valid_batches: int = Field(8, ge=1)
    patience: int = Field(0, ge=0, description="validations without a gain; 0 trains to the end")
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    seed: int = 0
    exact: int = Field(0, ge=0, description="slices a step, for the same bits at any world size")
    compile: bool = Field(False, description="compile the trunk (torch.compile)")
    share_rows: bool = Field(True, description="one row for a channel that recordings share")
    channels: ChannelsConfig = ChannelsConfig()
    model: ModelConfig = ModelConfig()
    masks: MaskConfig = MaskConfig()
    optim: OptimConfig = OptimConfig()
    linear: LinearConfig = LinearConfig()

    @model_validator(mode="after")
    def _sees_no_bin_before_its_time(self) -> Self:
        if self.masks.autoregressive and not self.model.backbone.causal:
            raise ValueError("masks.autoregressive needs model.backbone.causal=true")
        return self


@dataclass(frozen=True)
class Progress:
    """Where a training run is: steps done of `n_steps`, windows a second, seconds to go."""

    step: Step
    n_steps: int
    windows_per_s: float
    left_s: float
    valid: Mapping[str, float] | None


Say = Callable[[Progress], None]


def common_bin_s(recordings: Sequence[Recording]) -> float:
    """The coarsest step of the binned recordings, or 20 ms where all are spike times."""
    steps_s: list[Fraction] = [
        r.activity.step_s for r in recordings if isinstance(r.activity, Samples)
    ]
    return float(max(steps_s)) if steps_s else 0.02


def resolved_precision(precision: str, device: torch.device) -> str:
    """`auto` becomes bf16 where the hardware computes in it, else fp32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    if device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return "bf16" if fast else "fp32"
    return "fp32"


def prepare(
    recordings: Sequence[Recording],
    train: Mapping[str, Intervals],
    config: PretrainConfig,
    device: torch.device,
    *,
    cut: bool = False,
) -> tuple[Training, dict[str, Statistics]]:
    """A fresh model for these recordings, and the statistics of their training parts.

    `cut`: its trunk is sharded over the processes.
    """
    assert config.bin_s is not None
    vocabulary = Vocabulary.of(recordings, config.share_rows)
    measured = {r.id: measure(r, train[r.id], config) for r in recordings}
    by_site = joined(vocabulary, recordings, measured)
    seed_torch(config.seed, "initialisation")
    model = checkpoint.build_for(of_kinds(config.model, recordings), vocabulary, by_site).to(device)
    if config.linear.bins:
        first = recordings[0].id
        start_linear(model, recordings, train[first], measured[first], config.bin_s, config.linear)
    average = copy.deepcopy(model)
    if cut:
        for each in (model, average):
            shard(each)
    made = Training(model, average, optimisers(model, config.optim), vocabulary, by_site)
    return made, measured


def of_kinds(model: ModelConfig, recordings: Sequence[Recording]) -> ModelConfig:
    """The model's configuration for the kinds of channels that these recordings have."""
    held = {kind for r in recordings for kind in np.unique(r.channels.kind).tolist()}
    return model.model_copy(update={"kinds": tuple(k for k in KINDS if k in held)})


def measure(recording: Recording, train: Intervals, config: PretrainConfig) -> Statistics:
    """What the model is told of a recording's channels, from its training part alone."""
    assert config.bin_s is not None
    plain = statistics(recording, train, config.bin_s)
    if config.model.rows == "table":
        return plain
    return with_features(plain, recording, train, config.bin_s)


def pretrain(
    recordings: Sequence[Recording],
    sides: Mapping[str, Mapping[str, Intervals]],
    config: PretrainConfig,
    run: Run,
    *,
    device: torch.device,
    say: Say,
    budget: int = 4 << 30,
    context: Context = ALONE,
    cut: bool = False,
    workers: Ahead = NONE,
) -> Trained:
    """Train to the end (or until patience runs out), or go on from the newest intact checkpoint.

    `sides`: {"train": {recording id: intervals}, "valid": ...}; `config.bin_s` and `precision` are
    resolved. The model of the best validation is returned. Ctrl-C saves a checkpoint first. All
    processes of a `context` must call this; the first one writes. `cut`: the trunk is sharded.
    `workers`: the curve is the same for any.
    """
    refuse_unfit(context, n_windows=config.windows, n_parts=config.exact, cut=cut,
                 muon=config.optim.matrix_rate > 0)  # fmt: skip
    used = [r for r in recordings if len(sides["train"].get(r.id, ()))]
    if not used:
        raise InputError("No recording has a training part; check the splits and the store.")
    config.channels.check(used)
    used = config.channels.widen(used)
    training, measured = prepare(used, sides["train"], config, device, cut=cut)
    if newest := checkpoint.newest_intact(run.checkpoints):
        _go_on(training, newest)
    context.agree("the checkpoint to go on from", str(training.done))
    if config.compile:
        compile_trunk(training.model, device)
    corpus = Corpus.of(used, training.vocabulary, measured, config.bin_s or 0.0, budget, device)
    batches, checks = (sampled(corpus, sides[side], config, side) for side in ("train", "valid"))
    if checks.windows.n_bins == 0:
        raise InputError(
            "No recording that is trained on has a validation part; give these a part by time, as "
            "`split_by_time` does, and keep whole sessions for `neurofm adapt`."
        )
    if context.first:
        run.log_line({"event": "tokens", **token_counts(checks, config.valid_batches)})
    varied: Divisible = batches
    if config.model.rows == "inductive":
        varied = Turned.over(batches, sides["train"], measured)
    if config.linear.bins and not training.done:
        check_and_save(training, checks, config, run, context)  # no step may be better
    mine = share_of(varied, context, config.exact)
    with ahead(mine, range(training.done, config.steps), workers) as made:
        drive(training, made, checks, config, run, say, context)
    context.barrier()  # the first process has saved
    return checkpoint.load(checkpoint.best_intact(run.checkpoints))


def _go_on(training: Training, newest: Path) -> None:
    saved = checkpoint.load(newest)
    try:
        training.restore(saved, checkpoint.training_state(newest))
    except checkpoint.UNFIT as error:
        raise StoreError(
            f"{newest / 'training.safetensors'} is not of this run ({error}); remove {newest}."
        ) from None


def sampled(
    corpus: Corpus, spans: Mapping[str, Intervals], config: PretrainConfig, side: str
) -> MaskedBatches:
    """Masked windows of one side of the corpus's recordings."""
    return MaskedBatches.over(
        corpus,
        {r.id: spans.get(r.id, Intervals.none()) for r in corpus.recordings},
        config.masks.mixture(corpus.bin_s),
        config.model.tokens,
        length=config.window_bins,
        size=config.windows,
        seed=fold(config.seed, side),
    )


def token_counts(batches: MaskedBatches, n_batches: int) -> dict[str, float]:
    """Tokens a window, the most of any window, and stretches a window told coarsely for want of them."""
    groups = [group for k in range(n_batches) for group in batches(k)[0].groups]
    lengths = [length for group in groups for length in group.lengths]
    n_coarse = sum(group.n_coarse for group in groups)
    return {
        "mean": float(np.mean(lengths)),
        "most": max(lengths),
        "coarse": n_coarse / len(lengths),
    }


def drive(
    training: Training,
    batches: Callable[[int], Any],
    checks: Batches,
    config: PretrainConfig,
    run: Run,
    say: Say,
    context: Context = ALONE,
) -> None:
    """The script around the loop: average, log, validate, save, stop."""
    started, first = time.monotonic(), training.done
    model, backward = engine(training.model, context, config.exact)
    loop = steps(
        model,
        batches,
        training.optimisers,
        share=lambda k: schedule(config.optim, k, config.steps),
        clip=config.optim.clip,
        seed=config.seed,
        precision=config.precision,
        start=first,
        loss=masked_loss,
        backward=backward,
        spikes=Spikes.after(run.log_rows(), first, config.optim.skip_above),
    )
    try:
        while training.done < config.steps and not _patience_is_out(run, config, training, context):
            step = next(loop)
            update_average(training.average, training.model, config.optim.average, training.done)
            training.done = step.number
            seconds = time.monotonic() - started
            per_s = (step.number - first) / seconds
            row = {"event": "step", "step": step.number, "loss": step.loss, "lr": step.rate,
                   "gradient": step.gradient, "seconds": seconds, "rate": per_s * step.windows}  # fmt: skip
            if context.first:
                run.log_line(row | ({"skipped": True} if step.skipped else {}))
            valid = None
            if step.number % config.validate_every == 0 or step.number == config.steps:
                valid = check_and_save(training, checks, config, run, context)
            left = (config.steps - step.number) / per_s
            say(Progress(step, config.steps, per_s * step.windows, left, valid))
    except KeyboardInterrupt:
        if context.first and not training.cut:
            check_and_save(training, checks, config, run)
        raise


def check_and_save(
    training: Training,
    checks: Batches,
    config: PretrainConfig,
    run: Run,
    context: Context = ALONE,
) -> dict[str, float]:
    """Validation scores of the running average, logged and kept with a checkpoint of it.

    Every process works the scores out, since it would only wait otherwise; the first one writes.
    """
    valid = validate(training.average, checks, config.valid_batches, config.precision)
    average, state = training.whole_average(), training.state()
    if not context.first:
        return valid
    run.log_line({"event": "valid", "step": training.done, **valid})
    files.sync_entry(run.log)  # a checkpoint never outlives the rows that led to it
    folder = run.checkpoints / f"step-{training.done:08d}"
    if folder.exists() and not checkpoint.is_intact(folder):
        files.remove(folder)
    if not folder.exists():
        plain: dict[str, Any] = config.model_dump(mode="json")
        trained = Trained(average, training.vocabulary, training.statistics, plain,
                          training.done, valid)  # fmt: skip
        checkpoint.save(folder, trained, state)
        checkpoint.prune(run.checkpoints)
    return valid


def _patience_is_out(
    run: Run, config: PretrainConfig, training: Training, context: Context
) -> bool:
    done = training.done
    if config.patience == 0 or done % config.validate_every:
        return False
    return context.first_says(context.first and _no_gain(run, config, done))


def _no_gain(run: Run, config: PretrainConfig, done: int) -> bool:
    rows = [r for r in run.log_rows() if r.get("event") == "valid" and r["step"] <= done]
    scores = [row["score"] for row in sorted(rows, key=lambda row: row["step"])]
    best = max(range(len(scores)), key=scores.__getitem__, default=0)
    return len(scores) - 1 - best >= config.patience


def refuse_other_config(run: Run, saved: str, asked: str) -> None:
    """Raise StoreError if a run is resumed with another configuration than its own."""
    if saved != asked:
        raise StoreError(
            f"{run.folder} was started with another configuration (config.yaml); resume without "
            "--config and --set, or choose a new --out."
        )
