"""LFADS as a trunk: latent factors by a variational recurrent network.

Shapes: B windows, T bins, D width, U inputs, G generator.
"""

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from neurofm.config import Config

MOST_STATE = 5.0  # the generator's state is kept inside this, as its authors do
LEAST_VARIANCE = 1e-4


class LFADSConfig(Config):
    """Sizes of LFADS (Pandarinath et al. 2018, Nature Methods 15:805, online methods).

    `width`: factors, which are the latents. `inputs` 0 leaves the controller out: an autonomous
    system, whose every window follows from its first state. `inputs_ahead`: whether the controller's
    encoder sees what comes later. `kl_first`, `kl_inputs`: weights of the divergences from the priors
    of the first state and of the inputs, a bin, which grow over the first `kl_steps` steps.
    """

    width: int = Field(64, ge=4)
    encoder: int = Field(64, ge=4)
    generator: int = Field(128, ge=4)
    controller: int = Field(64, ge=4)
    inputs: int = Field(4, ge=0)
    inputs_ahead: bool = True
    first_width: int = Field(64, ge=2, description="numbers in the posterior of the first state")
    kl_first: float = Field(1e-4, ge=0)
    kl_inputs: float = Field(1e-4, ge=0)
    kl_steps: int = Field(500, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)

    @property
    def causal(self) -> bool:
        """Never: the first state is inferred from the whole window."""
        return False


class LFADS(nn.Module):
    """(B, T, D) read-in of a window -> (B, T, D) factors, and the divergence from the priors.

    A bidirectional encoder reads the window into a posterior of the generator's first state; a
    second one drives a controller that infers inputs bin by bin. In training both are sampled,
    keyed by torch's seed of the step; otherwise they are their posterior means. Coordinated dropout
    (Keshtkaran & Pandarinath 2019) is what the mask of random cells does, so it is not done here.
    """

    seen: Tensor  # training steps so far, for the divergence that grows

    def __init__(self, config: LFADSConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.first_encoder = nn.GRU(c.width, c.encoder, batch_first=True, bidirectional=True)
        self.first = nn.Linear(2 * c.encoder, 2 * c.first_width)
        self.to_state = nn.Linear(c.first_width, c.generator)
        self.prior = nn.Parameter(torch.full((c.first_width,), math.log(0.1)))  # of the variance
        self.generator = nn.GRUCell(max(c.inputs, 1), c.generator)
        self.factors = nn.Linear(c.generator, c.width, bias=False)
        if c.inputs:
            sides = 2 if c.inputs_ahead else 1
            self.input_encoder = nn.GRU(
                c.width, c.encoder, batch_first=True, bidirectional=c.inputs_ahead
            )
            self.controller = nn.GRUCell(sides * c.encoder + c.width, c.controller)
            self.inputs = nn.Linear(c.controller, 2 * c.inputs)
            self.memory = nn.Parameter(torch.full((c.inputs,), 2.0))  # of the inputs' prior
            self.noise = nn.Parameter(torch.full((c.inputs,), math.log(0.1)))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.float()
        ahead, back = self.first_encoder(x)[1]
        mean, log_variance = self.first(torch.cat([ahead, back], -1)).chunk(2, -1)
        posterior = _Gaussian.of(mean, log_variance)
        divergence = self.config.kl_first * posterior.divergence(
            torch.zeros_like(mean), self.prior
        ).sum(-1)
        state = self.to_state(posterior.draw(self.training))
        factors, inputs = self._generate(x, state)
        if inputs is not None:
            divergence = divergence + self.config.kl_inputs * self._of_inputs(inputs)
        return factors, self._grown(divergence.mean()) / x.shape[1]

    def _generate(self, x: Tensor, state: Tensor) -> tuple[Tensor, "_Gaussian | None"]:
        encoded = self.input_encoder(x)[0].unbind(1) if self.config.inputs else None
        factors = self.factors(self._dropped(state))
        control = x.new_zeros(len(x), self.config.controller)
        drive = x.new_zeros(len(x), max(self.config.inputs, 1))
        out, posteriors = [], []
        for t in range(x.shape[1]):
            if encoded is not None:
                control = self.controller(torch.cat([encoded[t], factors], -1), control)
                control = control.clamp(-MOST_STATE, MOST_STATE)
                posteriors.append(_Gaussian.of(*self.inputs(control).chunk(2, -1)))
                drive = posteriors[-1].draw(self.training)
            state = self.generator(drive, state).clamp(-MOST_STATE, MOST_STATE)
            factors = self.factors(self._dropped(state))
            out.append(factors)
        if not posteriors:
            return torch.stack(out, 1), None
        mean, variance, sample = (
            torch.stack([getattr(p, name) for p in posteriors], 1)
            for name in ("mean", "log_variance", "sample")
        )
        return torch.stack(out, 1), _Gaussian(mean, variance, sample)

    def _of_inputs(self, inputs: "_Gaussian") -> Tensor:
        """(B,) divergence of the inputs from a stationary process that remembers its last value."""
        memory, variance = torch.sigmoid(self.memory), self.noise
        before = nn.functional.pad(inputs.sample[:, :-1], (0, 0, 1, 0))
        stationary = variance - (1 - memory**2).log()  # log variance of the first bin
        rest = torch.cat([stationary[None], variance.expand(inputs.mean.shape[1] - 1, -1)])
        return inputs.divergence(memory * before, rest).sum((1, 2))

    def _grown(self, divergence: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return divergence * (self.seen / self.config.kl_steps).clamp(max=1)

    def _dropped(self, state: Tensor) -> Tensor:
        return nn.functional.dropout(state, self.config.dropout, self.training)


class _Gaussian:
    """A diagonal posterior and, once drawn, its sample."""

    def __init__(self, mean: Tensor, log_variance: Tensor, sample: Tensor) -> None:
        self.mean, self.log_variance, self.sample = mean, log_variance, sample

    @classmethod
    def of(cls, mean: Tensor, log_variance: Tensor) -> "_Gaussian":
        """Not drawn yet; the variance has a floor."""
        return cls(mean, (log_variance.exp() + LEAST_VARIANCE).log(), mean)

    def draw(self, at_random: bool) -> Tensor:
        """A sample by the reparametrisation trick, or the mean."""
        if at_random:
            self.sample = self.mean + torch.randn_like(self.mean) * (0.5 * self.log_variance).exp()
        return self.sample

    def divergence(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Kullback-Leibler divergence from a Gaussian prior, each number apart, in nats."""
        ratio = (self.log_variance - log_variance).exp()
        apart = (self.mean - mean) ** 2 / log_variance.exp()
        return 0.5 * (ratio + apart - 1 + log_variance - self.log_variance)
