"""The loss of hidden cells."""

import torch
from torch import Tensor

from neurofm.data.recording import KINDS
from neurofm.model.kinds import EMBEDDING
from neurofm.tokens.mask import PROMPTS
from neurofm.tokens.tokens import Output, Targets
from neurofm.train.likelihood import answered, by_kind, contrasts, weights


def asked(targets: Targets) -> Tensor:
    """(3, masks, kinds of channels): cells that are scored, all windows, windows that score any.

    All windows stand in the first kind alone.
    """
    device = targets.prompt[0].device
    cells = torch.zeros(len(PROMPTS), len(KINDS), device=device)
    windows, every = torch.zeros_like(cells), torch.zeros_like(cells)
    contexts = targets.context or (None,) * len(targets.counts)
    for values, scored, prompt, context in zip(
        targets.counts, targets.scored, targets.prompt, contexts, strict=True
    ):
        n = by_kind(weights(values.float(), scored, context), context)
        cells = cells.index_add(0, prompt, n)
        windows = windows.index_add(0, prompt, (n > 0).float())
        every[:, 0] = every[:, 0].index_add(0, prompt, torch.ones(len(prompt), device=device))
    return torch.stack([cells, every, windows])


def masked_loss(output: Output, targets: Targets, whole: Tensor | None = None) -> Tensor:
    """Mean loss of the scored cells, taken for each kind of mask and each kind of channel apart.

    The masks are then averaged by their share of the windows: a mask that scores ten times more
    cells than another does not weigh ten times more. The kinds of channels are summed, each by the
    windows that ask about it: that values are asked about takes nothing from counts. `whole`: what
    is `asked` by a batch of which this one is a part; the parts' losses then add up to the loss of
    the whole (vectors are told from those of their part).
    """
    device = output.rates[0].device
    total = torch.zeros(len(PROMPTS), len(KINDS), device=device)
    groups = list(answered(output, targets))
    for group in groups:
        total = total.index_add(0, group.prompt, by_kind(group.cells(), group.context))
    for contrast in contrasts(groups):
        column = torch.nn.functional.one_hot(contrast.prompt, len(PROMPTS)).T.to(total.dtype)
        lost = (column @ contrast.loss) * contrast.each
        total = total + torch.nn.functional.pad(
            lost[:, None], (EMBEDDING, len(KINDS) - 1 - EMBEDDING)
        )
    own = asked(targets)
    cells, every, windows = own if whole is None else whole
    means = total / cells.clamp(min=1)
    loss: Tensor = (means * windows).sum() / every.sum()
    if output.penalty is not None:
        loss = loss + output.penalty * (own[1].sum() / every.sum())
    return loss
