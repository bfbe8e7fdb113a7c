"""The trunk alone, as a layer for other systems."""

import torch
from torch import Tensor, nn

from neurofm.model.backbone import Run, drop
from neurofm.model.model import Model, through
from neurofm.tokens.mask import prompt_index


class Trunk(nn.Module):
    """(B, N, D) inputs of N successive bins -> (B, N, D) latents, of a trained model.

    It shares its parameters with the model, so that training one trains the other; copy the model
    first if that is not wanted. It knows no channels: bring a read-in of your own, to `width` D.
    Like any layer it drops features in training mode, and is in the model's mode at first.
    `penalty`: what the last batch adds to a loss (LFADS: its divergence; otherwise 0).
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.prompts = model.prompts
        self.temporal = model.temporal
        self.backbone = model.backbone
        self.width = model.config.backbone.width
        self.dropout = model.config.backbone.dropout
        self.penalty = torch.zeros(())
        self.train(model.training)

    def forward(self, x: Tensor, prompt: str = "co-smoothing") -> Tensor:
        """Latents; `prompt` is the kind of question that the trunk is told of."""
        x = x + self.prompts[prompt_index(prompt)]
        runs = [Run(len(x), torch.arange(x.shape[1], device=x.device), 1)]
        dropped = drop(x.flatten(0, 1), self.dropout, self.training, runs)
        z, self.penalty = through(self.backbone, dropped, runs)
        z = z.view_as(x)
        return z if self.temporal is None else z + self.temporal(x)
