"""The rival of `people_emg.py`: a small CNN on raw windows of EMG, on the same draws of training people.

    python benchmarks/people_cnn.py ../shared/data/emg-myo-gestures --out benchmarks/results/people-emg.json

Windows of 0.25 s at 200 Hz above 20 Hz, as the readers of features have; in training they start anywhere in a recording, the
ring of electrodes is rolled by a place and everything made louder. Which of two networks was chosen by cross-validation among the 30
training people (README). Pieces `cnn N DRAW` go into the file of the others, and what is done is kept.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from people_emg import BANDS, DRAWS_ALONE, HELD_OUT, RATE_HZ, WINDOW, scores
from torch import Tensor, nn
from torch.nn import functional

from neurofm import files
from neurofm.data import covariance as cv
from neurofm.model.seeded import seed_torch
from neurofm.seeding import generator
from neurofm.train.crowd_traces import TracesConfig, alike, mixed

N_GESTURES = 7
AT_ONCE = 4096
DRAWS = (2, 8, 16, 30)


@dataclass(frozen=True)
class Cnn:
    """`roll`: chance of a place either way; `gain`, `gains`: SD of the log-gain of all electrodes, of each."""

    ring: bool = True
    width: int = 32
    dropout: float = 0.3
    steps: int = 600
    windows: int = 256
    rate: float = 2e-3
    decay: float = 0.01
    roll: float = 0.15
    gain: float = 0.25
    gains: float = 0.25
    smoothing: float = 0.05


SHARED = 8  # from so many training people on, the network that mixes all electrodes at once is the better one


@dataclass(frozen=True)
class Raw:
    """Recordings of some people: traces (8, T) end to end, `first` and `n` samples of each, and whose they are."""

    traces: np.ndarray
    first: np.ndarray
    n: np.ndarray
    person: np.ndarray
    label: np.ndarray

    def take(self, who: np.ndarray) -> "Raw":
        kept = np.isin(self.person, who)
        return Raw(self.traces, *(a[kept] for a in (self.first, self.n, self.person, self.label)))


def read(folder: Path) -> Raw:
    with np.load(folder / "myo_armband_gestures.npz") as file:
        a = {name: file[name] for name in file.files}
    off = a["offsets"].astype(np.int64)
    passed = [cv.band_passed(a["emg"][i:j], RATE_HZ, *BANDS[0]) for i, j in pairwise(off)]  # fmt: skip
    traces = np.concatenate(passed).T.astype(np.float32)
    return Raw(traces, off[:-1], np.diff(off), a["participant"].astype(str), a["gesture"].astype(np.int64))  # fmt: skip


def network(config: Cnn) -> nn.Module:
    """`ring`: the same filters for every electrode, their power, then neighbours in the ring; else all electrodes at once."""
    build = alike if config.ring else mixed
    return build(8, N_GESTURES, TracesConfig(width=config.width, dropout=config.dropout))


def batch(raw: Raw, config: Cnn, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Windows from anywhere in recordings drawn alike, rolled and made louder."""
    at = rng.integers(0, len(raw.first), config.windows)
    start = raw.first[at] + rng.integers(0, raw.n[at] - WINDOW + 1)
    x = raw.traces[:, start[:, None] + np.arange(WINDOW)].transpose(1, 0, 2)
    places = rng.choice(
        [-1, 0, 1], config.windows, p=[config.roll, 1 - 2 * config.roll, config.roll]
    )
    x = x[np.arange(len(x))[:, None], (np.arange(8) + places[:, None]) % 8]
    louder = rng.normal(0, config.gain, (len(x), 1, 1)) + rng.normal(
        0, config.gains, (len(x), 8, 1)
    )
    x = x * np.exp(louder).astype(np.float32)
    return torch.from_numpy(x[:, None]), torch.from_numpy(raw.label[at])


def fitted(raw: Raw, config: Cnn, seed: int) -> nn.Module:
    """AdamW, a tenth of the steps rising, then a falling cosine."""
    seed_torch(seed, "small CNN")
    net = network(config)
    with torch.no_grad():
        scale = float(np.std(np.concatenate([raw.traces[:, i : i + n] for i, n in zip(raw.first, raw.n, strict=True)], axis=1)))  # fmt: skip
    optim = torch.optim.AdamW(net.parameters(), lr=config.rate, weight_decay=config.decay)
    plan = torch.optim.lr_scheduler.OneCycleLR(optim, config.rate, config.steps, pct_start=0.1)
    net.train()
    for step in range(config.steps):
        x, label = batch(raw, config, generator(seed, "windows of the CNN", step))
        loss = functional.cross_entropy(net(x / scale), label, label_smoothing=config.smoothing)
        optim.zero_grad(set_to_none=True)
        loss.backward()
        optim.step()
        plan.step()
    return Scaled(net, scale).eval()


class Scaled(nn.Module):
    """Traces in units of the training people's spread."""

    def __init__(self, net: nn.Module, scale: float) -> None:
        super().__init__()
        self.net, self.scale = net, scale

    def forward(self, x: Tensor) -> Tensor:
        told: Tensor = self.net(x / self.scale)
        return told


@dataclass(frozen=True)
class Asked:
    """The windows that are scored: those of `people_emg.Windows`, in the same order."""

    person: np.ndarray
    piece: np.ndarray
    label: np.ndarray
    x: np.ndarray

    @classmethod
    def of(cls, raw: Raw) -> "Asked":
        n = raw.n // WINDOW
        at = np.repeat(np.arange(len(n)), n)
        number = np.concatenate([np.arange(k) for k in n])
        start = raw.first[at] + number * WINDOW
        x = raw.traces[:, start[:, None] + np.arange(WINDOW)].transpose(1, 0, 2)[:, None]
        return cls(raw.person[at], at, raw.label[at].astype(str), x)


@torch.no_grad()
def told(net: nn.Module, asked: Asked) -> np.ndarray:
    """(N, 7) chances."""
    parts = torch.split(torch.from_numpy(asked.x), AT_ONCE)
    return np.asarray(torch.softmax(torch.cat([net(x) for x in parts]), -1))


def answered(raw: Raw, some: np.ndarray, others: np.ndarray, config: Cnn, seed: int) -> dict[str, Any]:  # fmt: skip
    """Scores of `others` by a CNN of `some`."""
    asked = Asked.of(raw.take(others))
    chance = told(fitted(raw.take(some), config, seed), asked)
    return scores(asked, np.arange(N_GESTURES).astype(str), chance)  # type: ignore[arg-type]


def drawn(raw: Raw, n: int, draw: int) -> np.ndarray:
    """The `n` people that `people_emg.drawn` trains on."""
    others = np.unique(raw.person[~np.isin(raw.person, HELD_OUT)])
    return generator(draw, "training people", n).permutation(others)[:n]


def work(sizes: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(training people, draw), the first draw of each size first."""
    for draw in range(max(DRAWS_ALONE.values())):
        for n in sizes:
            if draw < DRAWS_ALONE[n]:
                yield n, draw


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", type=int, nargs="*", help="numbers of training people")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    asked = parser.parse_args()
    start, raw = time.monotonic(), read(asked.data)
    for n, draw in work(asked.only or DRAWS):
        done = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        if (name := f"cnn {n} {draw}") in done:
            continue
        if time.monotonic() - start > 60 * asked.minutes:
            print("more to do")
            return
        made = answered(raw, drawn(raw, n, draw), np.array(HELD_OUT), Cnn(ring=n < SHARED), draw)
        done = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        files.write_text(asked.out, json.dumps(done | {name: {"small CNN": made}}, indent=0, sort_keys=True))  # fmt: skip
        print(
            f"{name}  {np.mean(list(made['window'].values())):.3f}  {time.process_time():.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
