"""An encoder of EEG segments, in parts that may each be random, warm-started or frozen.

Filters over time and electrodes (as in HTNet, Peterson et al. 2021), their mean and their log power
in each frame, the transformer trunk over frames, and a linear head to the target's width.
Shapes: B segments, T samples, C electrodes, F frames of the target, D its width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from neurofm.config import Config
from neurofm.errors import InputError
from neurofm.model.backbone import Backbone, BackboneConfig, Run
from neurofm.model.seeded import seed_torch

CLIP = 5.0  # spreads: artefacts of an electrode are cut off here (Sato et al. 2024)
LEAST_POWER = 1e-3
FEWEST_FRAMES = 8  # of the trunk, where the target has fewer
PARTS = ("front", "trunk", "head", "target")


class EncoderConfig(Config):
    """`filters` of `kernel` samples, taken every `stride` samples; the trunk's sizes.

    `target_width`: 0 compares with the target as it is; else a linear map of it is trained too.
    """

    filters: int = Field(32, ge=1)
    kernel: int = Field(32, ge=1)
    stride: int = Field(4, ge=1)
    backbone: BackboneConfig = BackboneConfig(width=32, layers=1, heads=2, mlp=64)
    target_width: int = Field(0, ge=0)


def standardised(eeg: Tensor) -> Tensor:
    """Each channel of each segment of mean 0 and spread 1 over time, clipped: (B, T, C) -> same."""
    centred = eeg - eeg.mean(1, keepdim=True)
    return (centred / centred.std(1, keepdim=True).clamp(min=1e-6)).clamp(-CLIP, CLIP)


@dataclass(frozen=True)
class Shown:
    """EEG of a batch; it holds nothing of the answers."""

    eeg: Tensor

    @property
    def n_windows(self) -> int:
        return len(self.eeg)

    def to(self, device: torch.device) -> "Shown":
        return Shown(self.eeg.to(device))


class Encoder(nn.Module):
    """(B, T, C) EEG -> (B, F, D). It is given no target: see `Retriever.aim` for that side."""

    def __init__(self, config: EncoderConfig, n_channels: int, frames: int, width: int) -> None:
        super().__init__()
        inner = config.backbone.width
        self.frames, self.n_tokens = frames, max(frames, FEWEST_FRAMES)
        self.stride, self.kernel = config.stride, config.kernel
        self.front = nn.ModuleDict(
            {
                "filters": nn.Conv1d(n_channels, config.filters, config.kernel, config.stride),
                "mix": nn.Linear(2 * config.filters, inner),
            }
        )
        self.trunk = Backbone(config.backbone)
        self.head = nn.Linear(inner, width)

    def forward(self, eeg: Tensor) -> Tensor:
        x = functional.pad(standardised(eeg).transpose(1, 2), (self.kernel // 2, self.kernel // 2))
        found = self.front["filters"](x)
        mean = functional.adaptive_avg_pool1d(found, self.n_tokens)
        power = functional.adaptive_avg_pool1d(found**2, self.n_tokens)
        seen = torch.cat([mean, (power + LEAST_POWER).log()], 1).transpose(1, 2)
        tokens = self.front["mix"](seen)  # (B, N, inner)
        runs = [Run(len(eeg), torch.arange(self.n_tokens, device=eeg.device), 1)]
        z = self.trunk(tokens.flatten(0, 1), runs).view_as(tokens)
        out: Tensor = self.head(z)
        return functional.adaptive_avg_pool1d(out.transpose(1, 2), self.frames).transpose(1, 2)


class Retriever(nn.Module):
    """An encoder of EEG, and what a target is compared as: centred and scaled as in training.

    `mean`, `scale`: (D,) of the targets of the training side.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, config: EncoderConfig, n_channels: int, frames: int, mean: Tensor, scale: Tensor
    ) -> None:
        super().__init__()
        width = config.target_width or len(mean)
        self.encoder = Encoder(config, n_channels, frames, width)
        self.target = nn.Linear(len(mean), width) if config.target_width else nn.Identity()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, shown: Shown) -> Tensor:
        """(B, F x D) what the EEG says."""
        out: Tensor = self.encoder(shown.eeg).flatten(1)
        return out

    def aim(self, target: Tensor) -> Tensor:
        """(B, F, D) -> (B, F x D) what it should say."""
        out: Tensor = self.target((target - self.mean) / self.scale).flatten(1)
        return out

    def part(self, name: str) -> nn.Module:
        """One of `PARTS`."""
        if name not in PARTS:
            raise InputError(f"a retriever has no part {name!r}; it has {', '.join(PARTS)}.")
        part: nn.Module = self.target if name == "target" else getattr(self.encoder, name)
        return part


def start(
    model: Retriever,
    *,
    warm: Mapping[str, Mapping[str, Tensor]] = {},
    frozen: Sequence[str] = (),
) -> dict[str, str]:
    """Give parts their first values and freeze some; what became of each, for the record.

    `warm`: tensors by part, as `state_dict` names them (for the trunk, those of a pre-trained
    model's `backbone`). Raises InputError unless every tensor of a warm part finds its place.
    """
    for name, tensors in warm.items():
        part = model.part(name)
        own = {k: v.shape for k, v in part.state_dict().items()}
        given = {k: v.shape for k, v in tensors.items()}
        if own != given or not own:
            odd = sorted({k for k in own | given if own.get(k) != given.get(k)})
            raise InputError(f"the weights given for {name} do not fit it: {len(odd)} tensors differ, "
                             f"such as {odd[0] if odd else 'all: it has none'}.")  # fmt: skip
        part.load_state_dict(dict(tensors))
    for name in frozen:
        model.part(name).requires_grad_(False)
    told = {}
    for name in PARTS:
        has_weights = any(True for _ in model.part(name).parameters())
        first = "warm-started" if name in warm else "random"
        told[name] = (
            f"{first}, {'frozen' if name in frozen else 'trained'}"
            if has_weights
            else "as given, frozen"
        )
    return told


def build(
    config: EncoderConfig, n_channels: int, frames: int, mean: Tensor, scale: Tensor, seed: int
) -> Retriever:
    """A retriever with weights drawn from the seed."""
    seed_torch(seed, "retriever")
    return Retriever(config, n_channels, frames, mean, scale)
