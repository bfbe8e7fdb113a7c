"""The trunk alone, as a layer for other systems."""

import torch
from torch import Tensor, nn

from neurofm.model.backbone import drop
from neurofm.model.model import Model
from neurofm.tokens.mask import prompt_index


class Trunk(nn.Module):
    """(B, N, D) inputs of N successive bins -> (B, N, D) latents, of a trained model.

    It shares its parameters with the model, so that training one trains the other; copy the model
    first if that is not wanted. It knows no channels: bring a read-in of your own, to `width` D.
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.prompts = model.prompts
        self.temporal = model.temporal
        self.backbone = model.backbone
        self.width = model.config.backbone.width
        self.dropout = model.config.backbone.dropout

    def forward(self, x: Tensor, prompt: str = "co-smoothing") -> Tensor:
        """Latents; `prompt` is the kind of question that the trunk is told of."""
        x = x + self.prompts[prompt_index(prompt)]
        bins = torch.arange(x.shape[1], device=x.device)
        z: Tensor = self.backbone(drop(x, self.dropout, self.training), bins)
        return z if self.temporal is None else z + self.temporal(x)
