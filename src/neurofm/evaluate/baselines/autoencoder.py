"""A small denoising autoencoder: the channels of a window through a narrow code, and back."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neurofm.evaluate.glm import LOG2
from neurofm.evaluate.lagged import Sides, answers, shaped
from neurofm.evaluate.regression import fit_quality, floored, least
from neurofm.evaluate.streams import Groups, Matrix, Pattern
from neurofm.evaluate.task import Example, Question
from neurofm.seeding import generator

if TYPE_CHECKING:
    import torch

N_HIDDEN, N_CODE = 128, 32
N_STEPS, BATCH, EVERY, PATIENCE = 600, 256, 25, 4
RATE, DECAY = 2e-3, 0.05  # of AdamW
MOST_NOISE = 0.5  # of the visible channels


@dataclass
class Autoencoder:
    """Channels hidden at random as the noise (Vincent et al. 2008), Poisson likelihood as the loss.

    Input: standardised square-root counts of the visible channels, averaged over 1, 2, 4 ... bins
    away from the predicted one (the past alone, forward). In every sample up to half of them are
    set to their mean and the rest scaled up. Output: rates of the scored channels, and of those that
    the noise hid. AdamW for at most 600 steps, stopped where `valid` is best; the same seed, the
    same answers.
    """

    name: str = "autoencoder"
    seed: int = 0
    chosen: dict[str, float] = field(default_factory=dict)
    fitted: "Trained | None" = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Train until `valid` has not gained for 100 steps; keep its best weights."""
        sides = Sides.of(train, valid)
        groups = sides.wide()[-1]
        x, y = _side(sides, sides.train, groups)
        x_valid, y_valid = _side(sides, sides.valid, groups)
        n_scored = len(sides.pattern.scored) * sides.pattern.n_ahead
        everything = replace(sides.pattern, scored=_outputs(sides.pattern))
        flat = shaped(y.mean(axis=0, dtype=np.float64).astype(np.float32), everything)[0]
        mean = np.maximum(flat, least(len(x)))
        net = network(x.shape[1], y.shape[1], self.seed)
        self.fitted = Trained(sides, groups, net, mean[:n_scored], len(x))
        best, weights = -np.inf, net.state_dict()
        for step in batches(self, x, y, mean, net):
            if step % EVERY:
                continue
            quality = fit_quality(y_valid[:, :n_scored], self.fitted.rates(x_valid))
            if quality > best:
                best, self.chosen = quality, {"steps": step}
                weights = {name: value.clone() for name, value in net.state_dict().items()}
            elif step - self.chosen["steps"] >= PATIENCE * EVERY:
                break
        net.load_state_dict(weights)

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.fitted is not None, "fit comes before predict"
        f = self.fitted
        return answers(questions, f.sides.pattern, f.sides.scale, f.groups, f.rates)


@dataclass(frozen=True)
class Trained:
    """A network and what its inputs and outputs are; `mean` (M,) of the outputs asked about."""

    sides: Sides
    groups: Groups
    net: "torch.nn.Module"
    mean: Matrix
    n: int

    def rates(self, x: Matrix) -> Matrix:
        """(n, M) expected counts from features (n, F) without noise."""
        import torch

        with torch.inference_mode():
            drive = self.net(torch.from_numpy(x))[:, : len(self.mean)].numpy()
        return floored(self.mean * np.logaddexp(drive, 0) / LOG2, self.mean, self.n)


def network(n_in: int, n_out: int, seed: int) -> "torch.nn.Module":
    """A code of 32 between two hidden layers of 128; the rates that it starts with are the means."""
    from torch import nn

    from neurofm.model.seeded import seed_torch

    seed_torch(seed, "autoencoder")
    last = nn.Linear(N_HIDDEN, n_out)
    net = nn.Sequential(nn.Linear(n_in, N_HIDDEN), nn.GELU(), nn.Linear(N_HIDDEN, N_CODE),
                        nn.Linear(N_CODE, N_HIDDEN), nn.GELU(), last)  # fmt: skip
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return net


def batches(settings: Autoencoder, x: Matrix, y: Matrix, mean: Matrix, net: Any) -> Any:
    """Train `net` on batches, yielding how many steps were done, from 0 on."""
    import torch
    from torch.nn.functional import softplus

    assert settings.fitted is not None
    pattern, groups = settings.fitted.sides.pattern, settings.fitted.groups
    level = torch.from_numpy(mean / LOG2)
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    yield 0
    for step in range(1, N_STEPS + 1):
        rng = generator(settings.seed, "autoencoder", step)
        rows = rng.integers(len(x), size=min(BATCH, len(x)))
        kept = rng.random((len(rows), len(pattern.visible))) >= rng.uniform(
            0, MOST_NOISE, (len(rows), 1)
        )
        share = np.maximum(kept.mean(axis=1, keepdims=True), 1e-3) if kept.size else 1.0
        noisy = x[rows] * np.tile(kept / share, (1, len(groups)))
        asked = torch.from_numpy(_asked(kept, pattern, y.shape[1]))
        soft = softplus(net(torch.from_numpy(noisy.astype(np.float32)))).clamp_min(1e-6)
        counts = torch.from_numpy(y[rows])
        cells = (level * soft - counts * soft.log()) * asked
        loss = cells.sum() / asked.sum().clamp_min(1)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        yield step


def _outputs(pattern: Pattern) -> NDArray[np.intp]:
    """Channels that are predicted: those scored first, then, without a horizon, the visible ones."""
    if pattern.n_horizon:
        return pattern.scored
    return np.concatenate([pattern.scored, np.setdiff1d(pattern.visible, pattern.scored)])


def _asked(kept: NDArray[np.bool_], pattern: Pattern, n_targets: int) -> Matrix:
    """(n, n_targets) 1 where a cell was not among the inputs; a horizon never is."""
    n_scored = len(pattern.scored)
    asked = np.ones((len(kept), n_targets), dtype=np.float32)
    if not pattern.n_horizon:
        asked[:, n_scored:] = ~kept  # after the scored channels come the visible ones, in order
    return asked


def _side(sides: Sides, pieces: Sequence[NDArray[Any]], groups: Groups) -> tuple[Matrix, Matrix]:
    """Features (n, F) and counts (n, n_ahead * outputs), those scored first where channels are hidden."""
    wide = replace(sides, pattern=replace(sides.pattern, scored=_outputs(sides.pattern)))
    parts = wide.samples(pieces, groups)
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
