"""Which questions are asked in training, and how often."""

from pydantic import Field

from neurofm.config import Config
from neurofm.tokens.mask import (
    PROMPTS,
    HideBins,
    HideFuture,
    HideRegion,
    HideUnits,
    HideWithinRegion,
    Mask,
    Mixture,
)
from neurofm.tokens.mask_cells import Autoregressive, Both, HideCells, HideNext, HidePatches
from neurofm.tokens.mask_nodes import Across, Decode, Encode, HideBehaviour, Inside

BY_NODE = ("encoding", "decoding", "behaviour", "across")

MASKS = {
    "units": HideUnits,
    "future": HideFuture,
    "intra-region": HideWithinRegion,
    "inter-region": HideRegion,
    "bins": HideBins,
    "patches": HidePatches,
    "cells": HideCells,
    "next-bin": HideNext,
    "autoregressive": Autoregressive,
    "units-and-future": Both,
    "encode": Encode,
    "decode": Decode,
    "behaviour": HideBehaviour,
    "across": Across,
}
"""Every kind of mask; each has its weight in `MaskConfig`, by the same name with underscores."""


class MaskConfig(Config):
    """How often each question is asked in training, and how much it hides.

    `low`, `high`: share of the channels, where channels are hidden for a whole window. `horizon_s`:
    the longest future. `autoregressive` needs `model.backbone.causal`. `encode`, `decode`,
    `behaviour`, `across` are asked where stimulus or behaviour are channels; the others then are
    of the activity alone. `encode_fewer`: the share of `encode` that sees some of the signals and
    labels alone, where there are two or more, and tells the others.
    """

    units: float = Field(0.6, ge=0)
    future: float = Field(0.15, ge=0)
    intra_region: float = Field(0.1, ge=0)
    inter_region: float = Field(0.1, ge=0)
    bins: float = Field(0.05, ge=0)
    patches: float = Field(0.0, ge=0)
    cells: float = Field(0.0, ge=0)
    next_bin: float = Field(0.0, ge=0)
    autoregressive: float = Field(0.0, ge=0)
    units_and_future: float = Field(0.0, ge=0)
    encode: float = Field(0.2, ge=0)
    decode: float = Field(0.2, ge=0)
    behaviour: float = Field(0.0, ge=0)
    across: float = Field(0.1, ge=0)
    encode_fewer: float = Field(0.25, ge=0, le=1)
    low: float = Field(0.1, gt=0, lt=1)
    high: float = Field(0.4, gt=0, lt=1)
    horizon_s: float = Field(0.4, gt=0)
    bins_fraction: float = Field(0.25, gt=0, lt=1)
    bins_span: int = Field(2, ge=1)
    patch_fraction: float = Field(0.5, gt=0, lt=1)
    patch_channels: int = Field(8, ge=1)
    patch_bins: int = Field(5, ge=1)
    cells_fraction: float = Field(0.3, gt=0, lt=1)

    def prompt_for(self, task: str) -> str:
        """The prompt to ask a task by: its own, or the most asked one where that was never trained.

        A task without a prompt of its own is asked as co-smoothing.
        """
        weights = self.weights()
        prompt = task if task in PROMPTS else PROMPTS[0]
        usual = {name: weights[name] for name in weights if name not in BY_NODE}
        return prompt if weights[prompt] or not any(usual.values()) else _most(usual)

    def onward(self, bin_s: float) -> tuple[str, int]:
        """(prompt, bins at once): how the model was trained on the future most, and how far."""
        weights = self.weights()
        asked = {name: weights[name] for name in ("forward", "next-bin", "autoregressive")}
        prompt = _most(asked)
        return prompt, self._horizon(bin_s) if asked[prompt] and prompt == "forward" else 1

    def weights(self) -> dict[str, float]:
        """How often each prompt is asked, unnormalised."""
        mixture = self.mixture(1.0)
        pairs = zip(mixture.masks, mixture.weights, strict=True)
        return {mask.prompt: weight for mask, weight in pairs}

    def _horizon(self, bin_s: float) -> int:
        return max(round(self.horizon_s / bin_s), 1)

    def mixture(self, bin_s: float) -> Mixture:
        """The masks on a grid of bins."""
        units = HideUnits(self.low, self.high)
        future = HideFuture(1, self._horizon(bin_s))
        asked: tuple[tuple[Mask, float], ...] = (
            (units, self.units),
            (future, self.future),
            (HideWithinRegion(self.low, self.high), self.intra_region),
            (HideRegion(), self.inter_region),
            (HideBins(self.bins_fraction, self.bins_span), self.bins),
            (HidePatches(self.patch_fraction, self.patch_channels, self.patch_bins), self.patches),
            (HideCells(self.cells_fraction), self.cells),
            (HideNext(), self.next_bin),
            (Autoregressive(), self.autoregressive),
            (Both(units, future), self.units_and_future),
        )
        by_node: tuple[tuple[Mask, float], ...] = (
            (Encode(self.encode_fewer), self.encode),
            (Decode(), self.decode),
            (HideBehaviour(future), self.behaviour),
            (Across(), self.across),
        )
        masks: list[Mask] = [*(Inside(mask) for mask, _ in asked), *(mask for mask, _ in by_node)]
        return Mixture(tuple(masks), tuple(weight for _, weight in (*asked, *by_node)))


def _most(weights: dict[str, float]) -> str:
    """The largest, the first of equals."""
    return max(weights, key=weights.__getitem__)
