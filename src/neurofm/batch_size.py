"""How many windows a step should have on this device: tried, not guessed.

Whole steps of a model that is thrown away are timed, data and optimiser with them, at 1, 2, 4 ... windows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from neurofm.data.children import free_bytes
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.pipeline import Say, asked_for, silent
from neurofm.train.batches import Corpus, MaskedBatches
from neurofm.train.compiled import compile_trunk
from neurofm.train.cost import moment_bytes, one_pass, timed
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.pretrain import PretrainConfig, prepare, sampled
from neurofm.train.training import Training

GAIN = 1.05  # a doubling that brings less than 5% more windows a second is not worth its memory
FEWEST_STEPS, SECONDS = 3, 1.0  # a size is timed for so many steps, and for so long


@dataclass(frozen=True)
class Tried:
    """`windows` a step: windows a second of whole steps, and bytes that a step needs on the device."""

    windows: int
    windows_per_s: float
    n_bytes: int


def tune_store(
    store: Path | str,
    *,
    config_file: str | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    splits_file: Path | str | None = None,
    say: Say = silent,
) -> list[Tried]:
    """What was tried for `pretrain_store` with the same arguments; writes nothing."""
    asked = asked_for(store, config_file, settings, device, splits_file, say)
    recordings, where, config, splits = asked
    return list(tried(recordings, splits.side("train"), config, where, room_bytes(where)))


def tried(
    recordings: Sequence[Recording],
    train: Mapping[str, Intervals],
    config: PretrainConfig,
    device: torch.device,
    most_bytes: float,
    seconds: float = SECONDS,
) -> Iterator[Tried]:
    """Windows doubled until memory is full, a doubling gains too little, or no more can be drawn.

    Raises InputError if no recording has a training part.
    """
    used = [r for r in recordings if len(train.get(r.id, ()))]
    if not used:
        raise InputError("No recording has a training part; check the splits and the store.")
    used = config.channels.widen(used)
    training, measured = prepare(used, train, config, device)
    if config.compile:
        compile_trunk(training.model, device)
    corpus = Corpus.of(used, training.vocabulary, measured, config.bin_s or 0.0, device=device)
    windows, best = 1, 0.0
    while True:
        asked = config.model_copy(update={"windows": windows})
        try:
            one = _timed(training, corpus, train, asked, device, seconds)
        except torch.OutOfMemoryError:
            return
        yield one
        full = 2 * one.n_bytes > most_bytes
        all_drawn = 2 * windows * config.window_bins > _n_bins(corpus, train, asked)
        if full or all_drawn or one.windows_per_s < GAIN * best:
            return
        windows, best = 2 * windows, one.windows_per_s


def chosen(rows: Sequence[Tried]) -> Tried:
    """The last size whose doubling was worth it. Raises InputError if nothing could be tried."""
    if not rows:
        raise InputError("Not even one window a step fits on the device; take a smaller model.")
    best = rows[0]
    for one in rows[1:]:
        if one.windows_per_s >= GAIN * best.windows_per_s:
            best = one
    return best


def room_bytes(device: torch.device) -> float:
    """Bytes that training may take: 0.9 of what a GPU has free, half of a machine's free memory."""
    if device.type == "cuda":
        return 0.9 * torch.cuda.mem_get_info(device)[0]
    return 0.5 * free_bytes()


def _n_bins(corpus: Corpus, train: Mapping[str, Intervals], config: PretrainConfig) -> int:
    return sampled(corpus, train, config, "train").windows.n_bins


def _timed(
    training: Training,
    corpus: Corpus,
    train: Mapping[str, Intervals],
    config: PretrainConfig,
    device: torch.device,
    seconds: float,
) -> Tried:
    """Whole steps of this size, after one that is not counted."""
    batches = sampled(corpus, train, config, "train")
    loop = steps(training.model, batches, training.optimisers, share=lambda _: 0.0,
                 clip=config.optim.clip, seed=config.seed, precision=config.precision,
                 loss=masked_loss)  # fmt: skip
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    next(loop)
    n_bytes = _bytes(training, batches, config, device)
    n, took_s = 0, 0.0
    while n < FEWEST_STEPS or took_s < seconds:
        took_s += timed(lambda: next(loop), device)
        n += 1
    return Tried(config.windows, n * config.windows / took_s, n_bytes)


def _bytes(
    training: Training, batches: MaskedBatches, config: PretrainConfig, device: torch.device
) -> int:
    """On a GPU what was taken at most; elsewhere weights, gradients, moments, average and activations."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    batch, targets = batches(0)
    counted = one_pass(training.model, batch.to(device), targets.to(device), config.precision)
    weights = sum(p.nbytes for p in training.model.parameters())
    return int(3 * weights + moment_bytes(training.optimisers) + counted.kept_bytes)
