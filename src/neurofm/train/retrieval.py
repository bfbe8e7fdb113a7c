"""Training an encoder of EEG to tell which segment of speech it was recorded with, by contrast.

EEG is told from the other items of its batch by cosine, in one direction (Sato et al. 2024, arXiv
2407.07595). Against reading muscle: EMG of *another* segment is mixed into the EEG of training,
X = (1 - a) EEG + a EMG, so that what muscles do says nothing of the item. Shapes as in `data.segments`.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from neurofm.config import Config
from neurofm.data.segments import Segments
from neurofm.errors import InputError
from neurofm.model.retriever import EncoderConfig, Retriever, Shown, build, standardised, start
from neurofm.seeding import generator
from neurofm.train.likelihood import told_apart
from neurofm.train.loop import steps
from neurofm.train.optim import OptimConfig, optimisers, schedule

Floats = NDArray[np.float32]
PIECE = 256  # segments that are encoded at once


class RetrievalConfig(Config):
    """`emg_max`: the largest a of the mixture, drawn evenly from 0 for each segment; 0 mixes none.

    `segments`: of a batch. Every `check_every` steps the validation side is asked, and the best
    weights are kept; without one, the last.
    """

    encoder: EncoderConfig = EncoderConfig()
    steps: int = Field(400, ge=1)
    segments: int = Field(64, ge=2)
    rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    emg_max: float = Field(0.0, ge=0, lt=1)
    check_every: int = Field(50, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Fitted:
    """A trained retriever with what it was trained on.

    `parts`: of each part whether it was random, warm-started or frozen. `valid`: the loss of the
    validation side at `step`, NaN without one. `pattern` (E, C): how muscles reach electrodes.
    """

    model: Retriever
    config: RetrievalConfig
    channel: NDArray[np.str_]
    parts: dict[str, str]
    pattern: Floats
    n_train: int
    step: int
    valid: float

    def embed(self, eeg: Floats) -> Floats:
        """(n, T, C) -> (n, F x D) what the EEG says."""
        pieces = (
            torch.from_numpy(np.ascontiguousarray(eeg[a : a + PIECE]))
            for a in range(0, len(eeg), PIECE)
        )
        with torch.no_grad():
            return np.concatenate([self.model(Shown(piece)).numpy() for piece in pieces])

    def aim(self, target: Floats) -> Floats:
        """(n, F, D) -> (n, F x D) what it should say."""
        with torch.no_grad():
            return np.asarray(self.model.aim(torch.from_numpy(target)).numpy())


@dataclass(frozen=True)
class Items:
    """The distinct targets (m, F, D) of a batch, and which is right (n,)."""

    target: Tensor
    right: Tensor

    def to(self, device: torch.device) -> "Items":
        return Items(self.target.to(device), self.right.to(device))


def emg_pattern(train: Segments) -> Floats:
    """(E, C) how muscles reach the electrodes: least squares of EEG on EMG, centred by segment.

    Raises InputError if no EMG was recorded.
    """
    if not train.emg.shape[2]:
        raise InputError("the segments have no EMG; record it beside the EEG for the control.")
    x, y = (a - a.mean(axis=1, keepdims=True) for a in (train.emg, train.eeg))
    x, y = x.reshape(-1, x.shape[2]), y.reshape(-1, y.shape[2])
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], dtype=np.float32)


def without_muscle(segments: Segments, pattern: Floats) -> Segments:
    """The EEG less what of it is linear in the EMG, by a `pattern` that was fitted in training."""
    return replace(segments, eeg=segments.eeg - segments.emg @ pattern)


def even_pattern(n_muscles: int, n_channels: int) -> Floats:
    """(E, C): each electrode is given one muscle, in turn."""
    return np.eye(n_muscles, dtype=np.float32)[:, np.arange(n_channels) % n_muscles]


def fit(
    train: Segments,
    valid: Segments | None,
    config: RetrievalConfig,
    *,
    warm: Mapping[str, Mapping[str, Tensor]] = {},
    frozen: Sequence[str] = (),
    pattern: Floats | None = None,
) -> Fitted:
    """Train on the segments of one side.

    `pattern`: how muscles reach electrodes, by least squares unless it is given (as it must be where
    muscle was taken out). Raises InputError if there are too few items to be told apart.
    """
    if len(np.unique(train.item)) < 2:
        raise InputError("training needs segments of two items at least, to be told apart.")
    mean, scale = train.target.mean((0, 1)), train.target.std((0, 1))
    _, frames, _ = train.target.shape
    scale = np.where(scale > 1e-6, scale, 1.0).astype(np.float32)
    model = build(config.encoder, train.eeg.shape[2], frames, torch.from_numpy(mean),
                  torch.from_numpy(scale), config.seed)  # fmt: skip
    parts = start(model, warm=warm, frozen=frozen)
    n_muscles = train.emg.shape[2]
    if pattern is None:
        pattern = emg_pattern(train) if n_muscles else np.zeros((0, train.eeg.shape[2]), np.float32)
    if config.emg_max and not n_muscles:
        raise InputError("emg_max is above 0 but the segments have no EMG; set it to 0.")
    best, step, score = _trained(model, train, valid, config, pattern)
    return Fitted(best.eval(), config, train.channel, parts, pattern, len(train), step, score)


def _trained(
    model: Retriever,
    train: Segments,
    valid: Segments | None,
    config: RetrievalConfig,
    pattern: Floats,
) -> tuple[Retriever, int, float]:
    """(the weights of the best check, its step, its loss)."""
    optim = OptimConfig(
        rate=config.rate, weight_decay=config.weight_decay, matrix_rate=0, warmup=20
    )

    def batches(number: int) -> tuple[Shown, Items]:
        return batch(train, config, pattern, number)

    def loss(told: Tensor, items: Items) -> Tensor:
        return told_apart(told, model.aim(items.target), items.right).mean()

    best, at, score = model, config.steps, float("nan")
    for step in steps(
        model,
        batches,
        optimisers(model, optim),
        share=lambda k: schedule(optim, k, config.steps),
        clip=optim.clip,
        seed=config.seed,
        loss=loss,
    ):
        last = step.number == config.steps
        if valid is not None and len(valid) and (last or step.number % config.check_every == 0):
            now = valid_loss(model, valid)
            if not now >= score:  # also the first one
                best, at, score = copy.deepcopy(model), step.number, now
        if last:
            break
    return best, at, score


def batch(
    train: Segments, config: RetrievalConfig, pattern: Floats, number: int
) -> tuple[Shown, Items]:
    """Batch `number`: a pure function of (config.seed, number)."""
    rng = generator(config.seed, "retrieval", number)
    rows = rng.permutation(len(train))[: config.segments]
    eeg = standardised(torch.from_numpy(train.eeg[rows]))
    if config.emg_max:
        emg = train.emg[_other_item(rng, train.item, rows)]
        share = torch.from_numpy(rng.uniform(0, config.emg_max, (len(rows), 1, 1))).float()
        seen = standardised(torch.from_numpy(emg @ _drawn(rng, pattern, len(rows))))
        eeg = (1 - share) * eeg + share * seen
    _, first, right = np.unique(train.item[rows], return_index=True, return_inverse=True)
    return Shown(eeg), Items(torch.from_numpy(train.target[rows[first]]), torch.from_numpy(right))


def _other_item(
    rng: np.random.Generator, item: NDArray[np.str_], rows: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(n,) for each of `rows` a segment of another item, each as likely."""
    order = np.argsort(item, kind="stable")
    first, stop = (np.searchsorted(item[order], item[rows], side) for side in ("left", "right"))
    return np.asarray(order[(stop + rng.integers(0, len(item) - (stop - first))) % len(item)])


def _drawn(rng: np.random.Generator, pattern: Floats, n: int) -> Floats:
    """(n, E, C) ways for muscles to reach electrodes: as they leak, each in turn, or at random."""
    even = even_pattern(*pattern.shape)
    free = rng.normal(size=(n, *pattern.shape)).astype(np.float32)
    which = rng.integers(0, 3, n)[:, None, None]
    return np.where(which == 0, pattern, np.where(which == 1, even, free)).astype(np.float32)


def valid_loss(model: Retriever, valid: Segments) -> float:
    """The mean loss among all items of a side."""
    model.eval()
    _, first, right = np.unique(valid.item, return_index=True, return_inverse=True)
    with torch.no_grad():
        told = model(Shown(torch.from_numpy(valid.eeg)))
        aimed = model.aim(torch.from_numpy(valid.target[first]))
        return float(told_apart(told, aimed, torch.from_numpy(right)).mean())
