"""How tokens of each form meet the sheet and the trunk; here, one token a time bin.

A layout puts a group's tokens on the sheet of (bin, channel), makes the tokens of the trunk, and
takes the trunk's latents apart into bins again.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from neurofm.model.backbone import Run
from neurofm.model.stitch import Sheet, standardised
from neurofm.tokens.tokens import Group


class Layout(Protocol):
    """What the model asks of a tokeniser's part of it.

    `in_patches`: whether sums are kept apart for the S patches of channels that a group holds.
    """

    in_patches: bool

    def sheet(self, group: Group) -> Sheet:
        """The group's cells (B, T, C)."""
        ...

    def run(self, group: Group) -> Run:
        """The shape of the group's windows in the trunk."""
        ...

    def embed(self, read: Tensor | None, group: Group, /) -> Tensor:
        """The trunk's tokens (B, N, D), from what was read in: (B, T, D) or (B, T, S, D)."""
        ...

    def latents(self, z: Tensor, group: Group, /) -> Tensor:
        """The trunk's latents (B, N, D) -> (B, T, D) or (B, T, S, D), bin by bin."""
        ...


class BinLayout(nn.Module):
    """One token a time bin: the trunk's tokens are the bins."""

    in_patches = False

    def sheet(self, group: Group) -> Sheet:
        """As the tokens lie."""
        shape = (len(group.lengths), group.n_bins, -1)
        present = None if group.present is None else group.present.view(shape)
        values, hidden = group.values.view(shape), group.hidden.view(shape)
        return standardised(values, hidden, group.context, present)

    def run(self, group: Group) -> Run:
        """A token a bin."""
        times = torch.arange(group.n_bins, device=group.values.device)
        return Run(len(group.lengths), times, 1)

    def embed(self, read: Tensor | None, _group: Group, /) -> Tensor:
        """What was read in, as it is."""
        assert read is not None
        return read

    def latents(self, z: Tensor, _group: Group, /) -> Tensor:
        """As they are."""
        return z
