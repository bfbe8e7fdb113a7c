"""Two small convolutional networks on the raw traces of a window of EMG, for a crowd.

Covariances forget the course of a window, so readers of both err apart, and their mean is better than
either (`evaluate.crowd_readers`). One reads every electrode by the same filters and then neighbours in the
ring, which needs few people; one mixes all electrodes at once, which needs more. In training the ring is
rolled by a place and windows are made louder. Nothing is drawn but from (seed, step).
Shapes: N windows, C electrodes, W samples, L labels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from neurofm.config import Config
from neurofm.errors import InputError
from neurofm.model.seeded import seed_torch
from neurofm.seeding import fold, generator
from neurofm.train.heads import Wanted
from neurofm.train.loop import steps
from neurofm.train.optim import OptimConfig, optimisers, schedule

Traces = NDArray[np.float32]
FILTER, POWER_FLOOR = 13, 0.05  # samples of a filter; of the spread, below which power is noise
AT_ONCE = 4096  # windows answered together


class TracesConfig(Config):
    """Sizes and training. `roll`: chance of a place either way; `gain`: SD of log-gains, of all electrodes and of each."""

    width: int = Field(32, ge=2)
    dropout: float = Field(0.3, ge=0, lt=1)
    steps: int = Field(600, ge=1)
    windows: int = Field(256, ge=2)
    rate: float = Field(2e-3, gt=0)
    decay: float = Field(0.01, ge=0)
    roll: float = Field(0.15, ge=0, le=0.5)
    gain: float = Field(0.25, ge=0)
    smoothing: float = Field(0.05, ge=0, lt=1)


class LogPower(nn.Module):
    """Power of muscles spans decades."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(x + POWER_FLOOR)


def alike(n_electrodes: int, n_labels: int, config: TracesConfig) -> nn.Module:
    """(B, 1, C, W) -> (B, L): the same filters for every electrode, their power, then neighbours in the ring."""
    w, drop = config.width, config.dropout
    return nn.Sequential(
        nn.Conv2d(1, w // 2, (1, FILTER)), nn.BatchNorm2d(w // 2), nn.ReLU(), nn.AdaptiveAvgPool2d((None, 1)),
        LogPower(), nn.Conv2d(w // 2, w, (3, 1), padding=(1, 0), padding_mode="circular"), nn.BatchNorm2d(w),
        nn.ReLU(), nn.Flatten(), nn.Dropout(drop), nn.Linear(n_electrodes * w, 2 * w), nn.BatchNorm1d(2 * w),
        nn.ReLU(), nn.Dropout(drop), nn.Linear(2 * w, n_labels),
    )  # fmt: skip


def mixed(n_electrodes: int, n_labels: int, config: TracesConfig) -> nn.Module:
    """(B, 1, C, W) -> (B, L): filters over all electrodes at once, then two layers over time."""
    w = config.width
    return nn.Sequential(
        nn.Conv2d(1, w, (n_electrodes, 9), padding=(0, 4)), nn.BatchNorm2d(w), nn.ReLU(), nn.Flatten(1, 2),
        nn.Conv1d(w, 2 * w, 7, stride=2, padding=3), nn.BatchNorm1d(2 * w), nn.ReLU(), nn.Dropout(config.dropout),
        nn.Conv1d(2 * w, 2 * w, 5, stride=2, padding=2), nn.BatchNorm1d(2 * w), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(2 * w, n_labels),
    )  # fmt: skip


@dataclass(frozen=True)
class TracesCrowd:
    """The networks, the spread of the training traces, and `labels` in the order of their answers."""

    networks: tuple[nn.Module, ...]
    scale: float
    labels: NDArray[np.str_]

    @torch.no_grad()
    def __call__(self, traces: ArrayLike) -> NDArray[np.float64]:
        """(N, C, W) -> (N, L) chances: the geometric mean of the networks; each window by itself."""
        x = torch.from_numpy(np.asarray(traces, dtype=np.float32)[:, None] / self.scale)
        told = torch.zeros(len(x), len(self.labels))
        for network in self.networks:
            parts = [network(part) for part in torch.split(x, AT_ONCE)]
            told += torch.log_softmax(torch.cat(parts), -1) / len(self.networks)
        return np.asarray(torch.softmax(told, -1).double().numpy())


def fit_traces(
    traces: ArrayLike, label: ArrayLike, config: TracesConfig, seed: int = 0
) -> TracesCrowd:
    """Train both networks on windows of training people, (N, C, W), whose electrodes are a ring.

    Raises InputError if windows are shorter than a filter, or there is one label only.
    """
    x = np.asarray(traces, dtype=np.float32)
    labels, code = np.unique(np.asarray(label, dtype=np.str_), return_inverse=True)
    if len(x) != len(code) or len(labels) < 2:
        raise InputError(
            f"{len(x)} windows with {len(code)} labels of {len(labels)} names are no task."
        )
    if x.shape[2] < FILTER:
        raise InputError(f"windows of {x.shape[2]} samples are shorter than a filter of {FILTER}.")
    scale = max(float(x.std()), 1e-12)
    networks = []
    for k, build in enumerate((alike, mixed)):
        seed_torch(seed, "network of traces", k)
        network = build(x.shape[1], len(labels), config)
        networks.append(_trained(network, _Drawn(x / scale, code, config, seed, k)))
    return TracesCrowd(tuple(networks), scale, labels)


@dataclass(frozen=True)
class _Batch:
    """Windows (B, 1, C, W)."""

    x: Tensor

    @property
    def n_windows(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> "_Batch":
        return _Batch(self.x.to(device))


@dataclass(frozen=True)
class _Drawn:
    """Windows drawn alike, rolled and made louder: a function of (seed, step)."""

    x: Traces
    code: NDArray[np.int64]
    config: TracesConfig
    seed: int
    number: int

    def __call__(self, step: int) -> tuple[_Batch, Wanted]:
        config, rng = self.config, generator(self.seed, "windows of traces", self.number, step)
        at = rng.integers(0, len(self.x), config.windows)
        n, n_electrodes = config.windows, self.x.shape[1]
        places = rng.choice([-1, 0, 1], n, p=[config.roll, 1 - 2 * config.roll, config.roll])
        electrode = (np.arange(n_electrodes) + places[:, None]) % n_electrodes
        louder = rng.normal(0, config.gain, (n, 1)) + rng.normal(0, config.gain, (n, n_electrodes))
        x = self.x[at[:, None], electrode] * np.exp(louder)[..., None].astype(np.float32)
        return _Batch(torch.from_numpy(x[:, None])), Wanted((torch.from_numpy(self.code[at]),))


class _OfBatch(nn.Module):
    """The network as the training loop calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: _Batch) -> Tensor:
        read: Tensor = self.network(batch.x)
        return read


def _trained(network: nn.Module, batches: _Drawn) -> nn.Module:
    config = batches.config
    optim = OptimConfig(matrix_rate=0.0, rate=config.rate, weight_decay=config.decay, last=0.0,
                        warmup=max(config.steps // 10, 1))  # fmt: skip

    def loss(read: Tensor, wanted: Wanted) -> Tensor:
        return functional.cross_entropy(read, wanted.values[0], label_smoothing=config.smoothing)

    whole = _OfBatch(network)
    loop = steps(whole, batches, optimisers(whole, optim), clip=1.0, loss=loss,
                 seed=fold(batches.seed, "networks of traces", batches.number),
                 share=lambda k: schedule(optim, k, config.steps))  # fmt: skip
    for done in loop:
        if done.number >= config.steps:
            break
    return network.eval()
