"""The trunk of a pre-trained model as a plain layer inside another torch system, trained with it.

python examples/trunk_inside.py --steps 300 --out trunk

Another lab's animal comes with two kinds of data: spike counts, and the motion energy of its
whiskers. A small network of its own reads the wheel's speed from both: counts go through a new
read-in and the shared trunk, whiskers through a recurrent net. Less than a minute on one core. So
little data shows the path, not what a trunk is worth.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neurofm.data import binning
from neurofm.data.recording import Recording
from neurofm.data.store import create_store
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.model.seeded import seed_torch
from neurofm.model.trunk import Trunk
from neurofm.pipeline import pretrain_store
from neurofm.seeding import generator
from neurofm.sharing import from_pretrained, share_run

BIN_S, LENGTH, LAST = 0.02, 50, 10  # one second is seen, its last 0.2 s are read


class WheelReader(nn.Module):
    """Counts (B, T, C) and whiskers (B, T) -> the wheel's speed at the end of the window, (B,)."""

    def __init__(self, n_channels: int, trunk: Trunk) -> None:
        super().__init__()
        self.read_in = nn.Linear(n_channels, trunk.width)
        self.trunk = trunk  # a layer like any other
        self.whiskers = nn.GRU(1, 16, batch_first=True)
        self.head = nn.Linear(trunk.width + 16, 1)

    def forward(self, counts: Tensor, whiskers: Tensor) -> Tensor:
        latents = self.trunk(self.read_in(counts))[:, -LAST:].mean(dim=1)
        _, seen = self.whiskers(whiskers[..., None])
        return self.head(torch.cat([latents, seen[-1]], dim=-1)).squeeze(-1)


class Windows:
    """A recording on the grid, scaled by its first 70%: that part trains, the last 30% test."""

    def __init__(self, recording: Recording) -> None:
        n = binning.n_bins(recording, BIN_S)
        self.cut = int(0.7 * n)
        counts = np.sqrt(binning.activity(recording, 0, n, BIN_S).astype(np.float32))
        signals = recording.signals
        whiskers = binning.signal(signals["whisker_motion_energy"], 0, n, BIN_S)[:, 0]
        speed = np.abs(binning.signal(signals["wheel_velocity"], 0, n, BIN_S)[:, 0])
        self.counts, self.whiskers, self.speed = map(self.scaled, (counts, whiskers, speed))
        self.test = np.arange(self.cut, n - LENGTH, LAST)

    def scaled(self, x: np.ndarray) -> Tensor:
        train = x[: self.cut]
        return torch.from_numpy((x - train.mean(axis=0)) / (train.std(axis=0) + 1e-3))

    def __call__(self, first: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """(counts, whiskers, speed) of windows that start at these bins."""
        at = torch.from_numpy(first)[:, None] + torch.arange(LENGTH)
        return self.counts[at], self.whiskers[at], self.speed[at[:, -LAST:]].mean(dim=1)


def r2(system: WheelReader, windows: Windows) -> float:
    """Share of the speed's variance on the test part, against the mean of the training part, 0."""
    system.eval()
    with torch.no_grad():
        counts, whiskers, speed = windows(windows.test)
        wrong = (system(counts, whiskers) - speed).square().mean()
    return float(1 - wrong / speed.square().mean())


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("--out", type=Path, default=Path("trunk"), help="a new folder")
    wanted.add_argument("--steps", type=int, default=300, help="steps of each training")
    wanted.add_argument("--minutes", type=float, default=5.0, help="length of a session")
    given = wanted.parse_args()

    # One lab pre-trains on two animals and passes on the trunk alone: no ids, rows or rates.
    config = SimulationConfig(n_animals=3, sessions_per_animal=1, minutes=given.minutes,
                              units_min=30, units_max=30)  # fmt: skip
    *animals, other = [session.recording for session in simulate(config, seed=0)]
    store = create_store(given.out / "store")
    for recording in animals:
        store.write(recording)
    settings = [f"steps={given.steps}", f"validate_every={given.steps}", "precision=fp32",
                "valid_batches=2"]  # fmt: skip
    pretrain_store(store.folder, given.out / "run", config_file="tiny", settings=settings)
    folder = share_run(given.out / "run", given.out / "shared", rows=False, say=print)

    # Another lab takes it in. How much of the checkpoint was used is said, and too little refused.
    loaded = from_pretrained(folder)
    print(loaded.used)
    trunk = Trunk(loaded.trained.model)
    windows = Windows(other)
    seed_torch(0, "initialisation")
    system = WheelReader(windows.counts.shape[1], trunk)

    # Everything learns together, the trunk in smaller steps than what is new.
    own = [p for name, p in system.named_parameters() if not name.startswith("trunk.")]
    groups = [{"params": own, "lr": 3e-3}, {"params": trunk.parameters(), "lr": 3e-4}]
    optimiser = torch.optim.AdamW(groups, weight_decay=0.05)
    before = [p.detach().clone() for p in trunk.parameters()]
    print(f"speed of the wheel, test R2 before training {r2(system, windows):.3f}")
    for step in range(given.steps):
        rng = generator(0, "windows", step)
        counts, whiskers, speed = windows(rng.integers(windows.cut - LENGTH, size=32))
        system.train()
        loss = (system(counts, whiskers) - speed).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    moved = sum(bool((p != q).any()) for p, q in zip(trunk.parameters(), before, strict=True))
    print(f"{moved} of {len(before)} parameters of the trunk moved")
    n = len(windows.test)
    print(f"speed of the wheel, test R2 {r2(system, windows):.3f} (0: the training mean; n {n})")


if __name__ == "__main__":
    main()
