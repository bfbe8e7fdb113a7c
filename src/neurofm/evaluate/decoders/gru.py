"""A small recurrent network (Cho et al. 2014) on root counts, stopped early on the validation side."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from neurofm.data.windows import tile
from neurofm.evaluate.readout import Counts, Stretch, last_fifth
from neurofm.evaluate.streams import Matrix, Scale
from neurofm.evaluate.trial_readout import Names, Trials
from neurofm.model.seeded import seed_torch
from neurofm.seeding import generator

WIDTH, DROPOUT, RATE, DECAY = 64, 0.3, 3e-3, 1e-3
STEPS, EVERY, PATIENCE, SIZE, LENGTH = 600, 25, 4, 16, 100
TEST_LENGTH = 400  # bins of the windows that answers come from
SEED = 0


class Net(nn.Module):
    """(B, T, C) -> (B, T, K): one recurrent layer, both ways unless causal, and a linear one."""

    def __init__(self, n_channels: int, n_out: int, causal: bool) -> None:
        super().__init__()
        self.gru = nn.GRU(n_channels, WIDTH, batch_first=True, bidirectional=not causal)
        self.read = nn.Linear(WIDTH if causal else 2 * WIDTH, n_out)

    def states(self, x: Tensor) -> Tensor:
        """(B, T, H); some channels and states are left out in training."""
        x = functional.dropout(x, DROPOUT, self.training)
        return functional.dropout(self.gru(x)[0], DROPOUT, self.training)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.read(self.states(x))
        return out


def _train(net: Net, loss: Callable[[int], Tensor], check: Callable[[], float]) -> Net:
    """The weights at the best check; the last ones where a check is never a number."""
    optimiser = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    best, score, since = net, float("inf"), 0
    for step in range(STEPS):
        seed_torch(SEED, "gru", step)
        net.train()
        optimiser.zero_grad()
        loss(step).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        if (step + 1) % EVERY == 0:
            net.eval()
            with torch.no_grad():
                now = check()
            since = 0 if now < score else since + 1
            if now < score:
                best, score = copy.deepcopy(net), now
            if since == PATIENCE:
                break
    return best.eval()


class Gru:
    """Signals: squared error on random windows.

    Without a validation side, the last fifth of the training bins serves as one.
    """

    def __init__(self, bin_s: float, causal: bool = False) -> None:
        del bin_s
        self.causal = causal

    def fit(self, train: Sequence[Stretch], valid: Sequence[Stretch]) -> None:
        """Raises InputError if no stretch holds ten bins."""
        if not valid:
            train, valid = last_fifth(train)
        n_channels, n_out = train[0].counts.shape[1], train[0].wanted.shape[1]
        self.scale = Scale.of([s.counts for s in train], np.arange(n_channels))
        pairs = [(self._x(s.counts), torch.from_numpy(s.wanted)) for s in train]
        checks = [(self._x(s.counts), torch.from_numpy(s.wanted)) for s in valid]
        seed_torch(SEED, "gru initialisation")
        net = Net(n_channels, n_out, self.causal)

        def loss(step: int) -> Tensor:
            x, y = _windows(pairs, step)
            return _error(net(x), y)

        def check() -> float:
            return float(sum(_error(net(x[None]), y[None]) * len(x) for x, y in checks))

        self.net = _train(net, loss, check)

    def features(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, H) states a piece."""
        with torch.no_grad():
            return [_tiled(self._x(counts), self.net.states) for counts in pieces]

    def predict(self, pieces: Sequence[Counts]) -> list[Matrix]:
        """(T, k) a piece."""
        with torch.no_grad():
            return [_tiled(self._x(counts), self.net) for counts in pieces]

    def _x(self, counts: Counts) -> Tensor:
        return torch.from_numpy(self.scale(counts))


def _tiled(x: Tensor, answer: Callable[[Tensor], Tensor]) -> Matrix:
    """(T, C) -> (T, H) from overlapping windows, each bin from the later one that holds its past."""
    out: Matrix | None = None
    for first, stop in tile(0, len(x), TEST_LENGTH, TEST_LENGTH // 2):
        part = answer(x[None, first:stop])[0].numpy()
        out = np.zeros((len(x), part.shape[1]), np.float32) if out is None else out
        skip = TEST_LENGTH // 4 if first else 0
        out[first + skip : stop] = part[skip:]
    assert out is not None
    return out


def _error(read: Tensor, wanted: Tensor) -> Tensor:
    there = torch.isfinite(wanted)
    lost = torch.where(there, read - wanted.nan_to_num(), 0.0) ** 2
    return lost.sum() / there.sum().clamp(min=1)


def _windows(pairs: list[tuple[Tensor, Tensor]], step: int) -> tuple[Tensor, Tensor]:
    """Random windows of one length, that of the shortest piece drawn."""
    rng = generator(SEED, "gru windows", step)
    sizes = np.array([len(x) for x, _ in pairs], dtype=float)
    drawn = [pairs[i] for i in rng.choice(len(pairs), SIZE, p=sizes / sizes.sum())]
    length = min(LENGTH, *(len(x) for x, _ in drawn))
    starts = [int(rng.integers(0, len(x) - length + 1)) for x, _ in drawn]
    cut = [(x[a : a + length], y[a : a + length]) for (x, y), a in zip(drawn, starts, strict=True)]
    return torch.stack([x for x, _ in cut]), torch.stack([y for _, y in cut])


class GruLabels:
    """Labels: states are averaged over the trial; cross-entropy that weighs every label the same."""

    def __init__(self, bin_s: float, causal: bool = False) -> None:
        del bin_s
        self.causal = causal

    def fit(self, train: Trials, valid: Trials) -> None:
        """Trials whose label does not occur in training cannot be told, and are not checked."""
        self.names, at, counted = np.unique(train.label, return_inverse=True, return_counts=True)
        n_channels = train.counts[0].shape[1]
        self.scale = Scale.of(train.counts, np.arange(n_channels))
        seed_torch(SEED, "gru initialisation")
        net = Net(n_channels, len(self.names), self.causal)
        weight = torch.tensor(len(at) / counted / len(self.names), dtype=torch.float32)
        known = np.isin(valid.label, self.names)
        checked = [c for c, k in zip(valid.counts, known, strict=True) if k]
        wanted = torch.from_numpy(np.searchsorted(self.names, valid.label[known]))

        def loss(step: int) -> Tensor:
            drawn = generator(SEED, "gru trials", step).integers(0, len(at), SIZE)
            logits = net.read(self._pooled(net, [train.counts[i] for i in drawn]))
            return functional.cross_entropy(logits, torch.from_numpy(at[drawn]), weight=weight)

        def check() -> float:
            if not checked:
                return float("nan")
            logits = net.read(self._pooled(net, checked))
            return float(functional.cross_entropy(logits, wanted, weight=weight))

        self.net = _train(net, loss, check)

    def _pooled(self, net: Net, counts: Sequence[NDArray[Any]]) -> Tensor:
        """(n, H): trials of one length go through the network together."""
        by_length: dict[int, list[int]] = {}
        for i, one in enumerate(counts):
            by_length.setdefault(len(one), []).append(i)
        parts, order = [], []
        for rows in by_length.values():
            x = torch.from_numpy(np.stack([self.scale(counts[i]) for i in rows]))
            parts.append(net.states(x).mean(1))
            order += rows
        return torch.cat(parts)[torch.tensor(np.argsort(order))]

    def features(self, counts: Sequence[NDArray[Any]]) -> Matrix:
        """(n, H) mean states."""
        with torch.no_grad():
            return np.asarray(self._pooled(self.net, counts).numpy())

    def predict(self, counts: Sequence[NDArray[Any]]) -> Names:
        """(n,) labels."""
        with torch.no_grad():
            logits = self.net.read(self._pooled(self.net, counts))
        return np.asarray(self.names[logits.argmax(1).numpy()])
