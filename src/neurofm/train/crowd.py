"""One network for a crowd: every window of every person is one bin of a sheet that is nobody's.

Features of a window are its `real` channels. The model is pre-trained by hiding some and telling
them from the others, then fine-tuned with a linear head on labels; as no row belongs to a person,
people never seen are answered like all others. Nothing is drawn but from (seed, step).
Shapes: N windows, D features, L labels.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from neurofm.config import Config
from neurofm.data.covariance import turned_rows
from neurofm.data.recording import KINDS
from neurofm.data.ring import turn
from neurofm.errors import InputError
from neurofm.model.backbone import BackboneConfig
from neurofm.model.model import Model, ModelConfig
from neurofm.model.rows import Tables
from neurofm.model.seeded import seed_torch
from neurofm.seeding import fold, generator
from neurofm.tokens.grouped import grouped
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, ChannelContext, Group, Targets
from neurofm.train.finetune import FinetuneConfig, trainable
from neurofm.train.heads import Reader, SignalHead, Wanted
from neurofm.train.loop import steps
from neurofm.train.loss import masked_loss
from neurofm.train.optim import OptimConfig, optimisers, schedule, update_average

Rows = NDArray[np.float32]
Vary = Callable[[Rows, np.random.Generator], Rows]
PARTS = 8  # of a batch, each varied in one way
AT_ONCE = 4096  # windows answered together


class CrowdConfig(Config):
    """Sizes of the network, and how long it is trained.

    `low`, `high`: share of the features hidden in pre-training. `noise`: added to features in
    fine-tuning, in units of their spread.
    """

    backbone: BackboneConfig = BackboneConfig(width=96, layers=2, heads=4, mlp=192, dropout=0.2)
    pretrain_steps: int = Field(300, ge=0)
    steps: int = Field(600, ge=1)
    windows: int = Field(512, ge=PARTS, description="windows a step")
    low: float = Field(0.1, gt=0, lt=1)
    high: float = Field(0.7, gt=0, lt=1)
    noise: float = Field(0.15, ge=0)
    smoothing: float = Field(0.05, ge=0, lt=1)
    rate: float = Field(2e-3, gt=0)
    average: float = Field(0.98, ge=0, lt=1)
    seed: int = 0


@dataclass(frozen=True)
class RingTurns:
    """Varies rows of tangent features as if the ring of electrodes sat elsewhere, or was louder.

    Each part of a batch is turned by its own Gaussian number of places, `matrices` (2 n + 1, D, D)
    of -2 to 2 places; each window's gain is multiplied by e^(`gain` x / 2), which adds to the
    diagonal of the logarithm.
    """

    matrices: Rows
    places: float
    gain: float
    diagonal: Rows

    @classmethod
    def of(cls, n_electrodes: int, n_bands: int, places: float, gain: float = 0.0) -> "RingTurns":
        """`places`: standard deviation in electrodes."""
        every = [turned_rows(turn(n_electrodes, k / 8), n_bands) for k in range(-16, 17)]
        rows, columns = np.triu_indices(n_electrodes)
        diagonal = np.tile((rows == columns).astype(np.float32), n_bands)
        return cls(np.stack(every), places, gain, diagonal)

    def __call__(self, x: Rows, rng: np.random.Generator) -> Rows:
        """(n, D) rows, varied."""
        out = x
        if self.places:
            most = len(self.matrices) // 2
            out = np.concatenate([
                part @ self.matrices[most + int(np.clip(round(rng.normal(0, 8 * self.places)), -most, most))]
                for part in np.array_split(x, PARTS)
            ])  # fmt: skip
        if self.gain:
            out = out + self.gain * rng.normal(size=(len(x), 1)).astype(np.float32) * self.diagonal
        return np.asarray(out, dtype=np.float32)


@dataclass(frozen=True)
class Crowd:
    """A network that answers rows of features. `labels`: in the order of its answers."""

    reader: Reader
    context: ChannelContext
    labels: NDArray[np.str_]

    @torch.no_grad()
    def __call__(self, features: ArrayLike) -> NDArray[np.float32]:
        """(N, D) -> (N, L) chances; each row by itself."""
        self.reader.eval()
        x = torch.from_numpy(np.asarray(features, dtype=np.float32))
        out = [self._logits(part) for part in torch.split(x, AT_ONCE)]
        return np.asarray(torch.softmax(torch.cat(out), -1).numpy())

    def _logits(self, x: Tensor) -> Tensor:
        batch = Batch((_group(x, torch.zeros_like(x, dtype=torch.bool), self.context),))
        read: Tensor = self.reader(batch)[0][:, 0]
        return read


def fit(
    features: ArrayLike, label: ArrayLike, config: CrowdConfig, vary: Vary | None = None
) -> Crowd:
    """Pre-train on the features of training people, then fine-tune on their labels.

    `vary`: what makes other people of them. Raises InputError if the two differ in length or there
    is one label only.
    """
    x = np.asarray(features, dtype=np.float32)
    labels, code = np.unique(np.asarray(label, dtype=np.str_), return_inverse=True)
    if len(x) != len(code) or len(labels) < 2:
        raise InputError(
            f"{len(x)} windows with {len(code)} labels of {len(labels)} names are no task."
        )
    context = _context(x)
    seed_torch(config.seed, "initialisation")
    shape = ModelConfig(backbone=config.backbone, kernel=0, kinds=("real",))
    model = Model(shape, Tables(x.shape[1], 0))
    if config.pretrain_steps:
        batches = _Hidden(x, context, config, vary)
        _pretrain(model, batches, config)
    crowd = Crowd(Reader(model, SignalHead(config.backbone.width, len(labels))), context, labels)
    return _tuned(crowd, x, code, config, vary)


def tune(crowd: Crowd, features: ArrayLike, label: ArrayLike, config: CrowdConfig) -> Crowd:
    """A copy that went on training on a person's own windows; labels must be known to it."""
    x = np.asarray(features, dtype=np.float32)
    names = np.asarray(label, dtype=np.str_)
    if not np.isin(names, crowd.labels).all():
        raise InputError(f"labels must be among {', '.join(crowd.labels)}.")
    return _tuned(crowd, x, np.searchsorted(crowd.labels, names), config, None)


def _context(x: Rows) -> ChannelContext:
    """D channels of values, the same for everyone."""
    rows = torch.arange(x.shape[1])
    mean, scale = x.mean(axis=0), x.std(axis=0)
    told = torch.from_numpy(mean), torch.from_numpy(np.where(scale > 0, scale, np.float32(1)))
    kind = torch.full_like(rows, KINDS.index("real"))
    return ChannelContext(rows, rows, told[0], told[1], rate=told[0], kind=kind)


def _group(x: Tensor, hidden: Tensor, context: ChannelContext) -> Group:
    return grouped(TimeBin(), x[:, None], hidden[:, None], context, [0] * len(x))


@dataclass(frozen=True)
class _Windows:
    """Windows of training people, drawn alike and varied: a function of (seed, step)."""

    x: Rows
    context: ChannelContext
    config: CrowdConfig
    vary: Vary | None

    def drawn(self, step: int, what: str) -> tuple[NDArray[np.int64], Rows, np.random.Generator]:
        rng = generator(self.config.seed, what, step)
        at = rng.integers(0, len(self.x), self.config.windows)
        return at, self.x[at] if self.vary is None else self.vary(self.x[at], rng), rng


@dataclass(frozen=True)
class _Hidden(_Windows):
    """Batches of pre-training: some features of each window are hidden."""

    def __call__(self, step: int) -> tuple[Batch, Targets]:
        _, x, rng = self.drawn(step, "pre-training")
        share = rng.uniform(self.config.low, self.config.high, (len(x), 1))
        hidden = torch.from_numpy(rng.random(x.shape) < share)
        values = torch.from_numpy(x)
        group = _group(values, hidden, self.context)
        return Batch((group,)), Targets(
            (values[:, None],), (hidden[:, None],), (group.prompt,), (self.context,)
        )


@dataclass(frozen=True)
class _Labelled(_Windows):
    """Batches of fine-tuning: noise on the features, and labels."""

    code: NDArray[np.int64]

    def __call__(self, step: int) -> tuple[Batch, Wanted]:
        at, x, rng = self.drawn(step, "fine-tuning")
        noise = torch.from_numpy(rng.normal(size=x.shape).astype(np.float32))
        values = torch.from_numpy(x) + self.config.noise * self.context.scale * noise
        group = _group(values, torch.zeros(x.shape, dtype=torch.bool), self.context)
        return Batch((group,)), Wanted((torch.from_numpy(self.code[at]),))


def _pretrain(model: Model, batches: _Hidden, config: CrowdConfig) -> None:
    optim = OptimConfig(matrix_rate=0.0, rate=config.rate, warmup=30)
    loop = steps(model, batches, optimisers(model, optim), clip=optim.clip, loss=masked_loss,
                 seed=fold(config.seed, "pre-training"),
                 share=lambda k: schedule(optim, k, config.pretrain_steps))  # fmt: skip
    for done in loop:
        if done.number >= config.pretrain_steps:
            return


def _tuned(
    crowd: Crowd, x: Rows, code: NDArray[np.int64], config: CrowdConfig, vary: Vary | None
) -> Crowd:
    """The running average of a copy after `config.steps` steps."""
    reader, average = (copy.deepcopy(crowd.reader) for _ in range(2))
    batches = _Labelled(x, crowd.context, config, vary, code)
    share = np.bincount(code, minlength=len(crowd.labels)) / len(code)
    weight = torch.from_numpy(
        np.where(share > 0, 1 / np.maximum(share, 1e-9), 0.0).astype(np.float32)
    )

    def loss(read: tuple[Tensor, ...], wanted: Wanted) -> Tensor:
        return functional.cross_entropy(read[0][:, 0], wanted.values[0], weight=weight,
                                        label_smoothing=config.smoothing)  # fmt: skip

    told = FinetuneConfig(rate=config.rate, trunk_rate=config.rate)
    optim = OptimConfig(warmup=min(50, max(config.steps // 5, 1)))
    loop = steps(reader, batches, trainable(reader, told), clip=1.0, loss=loss,
                 seed=fold(config.seed, "fine-tuning"),
                 share=lambda k: schedule(optim, k, config.steps))  # fmt: skip
    for done in loop:
        update_average(average, reader, config.average, done.number)
        if done.number >= config.steps:
            break
    return replace(crowd, reader=average.eval())
