"""Space-time patches through the trunk (NDT2, Ye et al. 2023)."""

import torch
from torch import Tensor, nn

from neurofm.model.backbone import Run
from neurofm.model.stitch import Sheet, slots, standardised
from neurofm.tokens.patch import Patch
from neurofm.tokens.tokens import Group


class PatchLayout(nn.Module):
    """A token is a patch of K channels by P bins; nothing tells patches apart but their rows.

    Bins of a patch are read in by a matrix each, and out by a matrix each; a patch of one bin needs
    neither. In causal mode a bin reads the last block of bins that ended with it or before, so that
    it never sees later bins of its own patch.
    """

    in_patches = True

    def __init__(self, tokens: Patch, width: int, causal: bool) -> None:
        super().__init__()
        self.bins, self.causal = tokens.bins, causal
        self.gather: nn.Linear | None = None
        self.spread: nn.Linear | None = None
        if tokens.bins > 1:
            each = torch.eye(width)
            self.gather = nn.Linear(tokens.bins * width, width)
            self.spread = nn.Linear(width, tokens.bins * width)
            with torch.no_grad():  # at first, the bins of a patch are summed and answered alike
                self.gather.weight.copy_(torch.cat([each] * tokens.bins, 1) / tokens.bins**0.5)
                self.spread.weight.copy_(torch.cat([each] * tokens.bins, 0))

    def sheet(self, group: Group) -> Sheet:
        """Tokens (M, K, P) put side by side, channel by channel and bin by bin."""
        index = slots(group.channels, len(group.context.rate))
        values, hidden, present = (
            None if x is None else self._side_by_side(x, group)[..., index]
            for x in (group.values, group.hidden, group.present)
        )
        assert values is not None
        assert hidden is not None
        return standardised(values, hidden, group.context, present)

    def _side_by_side(self, x: Tensor, group: Group) -> Tensor:
        n_patches, n_channels = group.channels.shape
        whole = x.view(len(group.lengths), -1, n_patches, n_channels, self.bins)
        return whole.permute(0, 1, 4, 2, 3).flatten(3).flatten(1, 2)[:, : group.n_bins]

    def run(self, group: Group) -> Run:
        """As many tokens a block of bins as there are patches."""
        n_blocks = -(-group.n_bins // self.bins)
        times = torch.arange(n_blocks, device=group.values.device) * self.bins
        return Run(len(group.lengths), times + (self.bins - 1) / 2, len(group.channels))

    def embed(self, read: Tensor | None, group: Group, /) -> Tensor:
        """(B, T, S, D) -> (B, N, D), block by block."""
        assert read is not None
        if self.gather is None:
            return read.flatten(1, 2)
        over = -group.n_bins % self.bins
        whole = nn.functional.pad(read, (0, 0, 0, 0, 0, over))
        blocks = whole.view(len(read), -1, self.bins, *read.shape[2:]).transpose(2, 3).flatten(3)
        out: Tensor = self.gather(blocks).flatten(1, 2)
        return out

    def latents(self, z: Tensor, group: Group, /) -> Tensor:
        """(B, N, D) -> (B, T, S, D)."""
        blocks = z.view(len(z), -1, len(group.channels), z.shape[-1])
        if self.spread is None:
            return blocks
        each: Tensor = self.spread(blocks).view(*blocks.shape[:3], self.bins, -1)
        each = each.transpose(2, 3).flatten(1, 2)
        if self.causal:  # bin t reads block (t + 1) // P - 1; before the first block's end, nothing
            each = nn.functional.pad(each, (0, 0, 0, 0, self.bins - 1, 0))
        return each[:, : group.n_bins]
