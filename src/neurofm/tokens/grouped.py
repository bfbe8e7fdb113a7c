"""Windows of one recording and one length, tokenised together on the device where their counts lie."""

import torch
from torch import Tensor
from torch.nn import functional

from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import ChannelContext, Group, Tokenizer, stack


def grouped(
    tokenizer: Tokenizer,
    shown: Tensor,
    hidden: Tensor,
    context: ChannelContext,
    prompts: list[int],
) -> Group:
    """The group of (B, T, C) windows: what `stack` makes of each window's tokens.

    Bins and patches have the same form whatever the counts are, so all windows are cut at once.
    """
    if isinstance(tokenizer, TimeBin):
        return _cut(Patch(channels=shown.shape[2], bins=1), shown, hidden, context, prompts)
    if isinstance(tokenizer, Patch):
        return _cut(tokenizer, shown, hidden, context, prompts)
    pairs = zip(shown.cpu().numpy(), hidden.cpu().numpy(), strict=True)
    return stack([tokenizer(*pair) for pair in pairs], context, prompts).to(shown.device)


def _cut(
    patch: Patch, shown: Tensor, hidden: Tensor, context: ChannelContext, prompts: list[int]
) -> Group:
    n_windows, n_bins, n_channels = shown.shape
    device = shown.device
    n_blocks, n_patches = -(-n_bins // patch.bins), -(-n_channels // patch.channels)
    first = (torch.arange(n_blocks, device=device) * patch.bins).repeat_interleave(n_patches)
    index = torch.arange(n_patches * patch.channels, device=device)
    over = (0, len(index) - n_channels, 0, n_blocks * patch.bins - n_bins)

    def sides(sheet: Tensor) -> Tensor:
        """(B, T, C) -> (M, K, P)."""
        whole = functional.pad(sheet, over) if any(over) else sheet
        cut = whole.view(n_windows, n_blocks, patch.bins, n_patches, patch.channels)
        return cut.permute(0, 1, 3, 4, 2).reshape(-1, patch.channels, patch.bins)

    values, present = _seen(shown, hidden)
    return Group(
        context=context,
        values=sides(values),
        hidden=sides(hidden),
        channels=torch.where(index < n_channels, index, -1).view(n_patches, patch.channels),
        bins=first.repeat(n_windows),
        stops=(first + patch.bins).clamp(max=n_bins).repeat(n_windows),
        prompt=torch.tensor(prompts, dtype=torch.int64, device=device),
        lengths=(len(first),) * n_windows,
        n_bins=n_bins,
        present=None if present is None else sides(present),
    )


def _seen(shown: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
    """(values, present), as `tokens.shown` has them of one window."""
    if shown.is_floating_point():
        absent = shown.isnan() & ~hidden
        values = torch.where(hidden | absent, 0.0, shown).float()
        return values, ~absent if bool(absent.any()) else None
    if shown.dtype == torch.uint8:
        return shown * ~hidden, None
    nothing = torch.zeros((), dtype=shown.dtype, device=shown.device)  # these know no other way
    return torch.where(hidden, nothing, shown), None
