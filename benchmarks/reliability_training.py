"""Same seed, same curve; losses that leap or are not numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reliability_common import Count, curve, fresh, same, toy_recording
from reliability_kills import Bench

from neurofm.data.intervals import Intervals
from neurofm.errors import CheckFailed
from neurofm.model import checkpoint
from neurofm.run import Run, new_run
from neurofm.train import pretrain as module
from neurofm.train.pretrain import PretrainConfig, pretrain

WAYS = tuple((n, how) for n in (1, 2) for how in ("fork", "spawn", "forkserver"))
CONFIG = PretrainConfig(
    bin_s=0.02, window_bins=20, windows=4, steps=60, validate_every=10, valid_batches=1,
    precision="fp32", model={"backbone": {"width": 16, "layers": 1, "heads": 2, "mlp": 16}, "kernel": 5},
    optim={"warmup": 5, "average": 0.9},
)  # fmt: skip
SIDES = {"train": {"a": Intervals.of([(0, 20)])}, "valid": {"a": Intervals.of([(21, 30)])}}


def repeated(bench: Bench, out: Path) -> bool:
    """Whether the same command gives the same curve and weights again."""
    return bench.nursery.run(bench.arguments(fresh(out)), bench.log) == 0 and same(
        out, bench.unbroken
    )


def with_workers(bench: Bench, out: Path, n_workers: int, how: str) -> bool:
    """Whether a run whose batches other processes make is the same."""
    more = ["--workers", str(n_workers), "--start-method", how]
    code = bench.nursery.run([*bench.arguments(fresh(out)), *more], bench.log)
    return code == 0 and same(out, bench.unbroken)


def window_by_window(bench: Bench, out: Path) -> bool:
    """Whether counts that are read from the store window by window give the same run."""
    from neurofm import config as configuration
    from neurofm.data import splits
    from neurofm.data.store import open_store

    torch.set_num_threads(1)
    done = Run(bench.unbroken)
    config, sides = configuration.load(PretrainConfig, done.config), splits.load(done.splits)
    recordings = open_store(bench.store).recordings()
    spans = {side: sides.side(side) for side in ("train", "valid")}
    pretrain(recordings, spans, config, new_run(fresh(out)), device=torch.device("cpu"),
             say=lambda _: None, budget=0)  # fmt: skip
    return curve(out) == curve(bench.unbroken)


def leaping(out: Path, at: set[int], factor: float, first: int = 0) -> tuple[Run, str]:
    """A run whose loss is multiplied by `factor` at some steps, and the error that ended it, or ""."""
    torch.set_num_threads(1)
    run = Run(out) if first else new_run(fresh(out))
    numbers: Iterator[int] = iter(range(first + 1, 10**6))
    real = module.masked_loss

    def spoiled(*arguments: Any) -> torch.Tensor:
        loss = real(*arguments)
        return loss * factor if next(numbers) in at else loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "masked_loss", spoiled)
        try:
            pretrain([toy_recording("a", 8, 0)], SIDES, CONFIG, run, device=torch.device("cpu"),
                     say=lambda _: None)  # fmt: skip
        except CheckFailed as error:
            return run, str(error)
    return run, ""


def not_a_number(work: Path, rng: np.random.Generator) -> bool:
    """A loss of NaN or infinity at a random step: said, and the last checkpoint good."""
    at = int(rng.integers(1, 61))
    factor = float(rng.choice([np.nan, np.inf]))
    run, said = leaping(work / "nan", {at}, factor)
    newest = checkpoint.newest_intact(run.checkpoints)
    rows = {r["step"] for r in run.log_rows() if r["event"] == "step"}
    good = newest is None or all(
        torch.isfinite(v).all() for v in checkpoint.training_state(newest).values()
    )
    expected = None if at <= 10 else f"step-{(at - 1) // 10 * 10:08d}"
    return (f"step {at}: the loss is" in said and good and rows == set(range(1, at))
            and (newest.name if newest else None) == expected)  # fmt: skip


def spike(work: Path, rng: np.random.Generator) -> bool:
    """A loss of a hundred times its size: the batch alone is skipped, and the run ends as usual.

    Skipping must not touch the weights, so the size of the leap must not matter at all; and a run
    that goes on from a checkpoint after it must be the same.
    """
    at = int(rng.integers(34, 61))
    ends = []
    for factor in (100.0, 1e4):
        run, said = leaping(work / f"spike-{factor:g}", {at}, factor)
        rows = {r["step"]: r for r in run.log_rows() if r["event"] == "step"}
        if said or [k for k, r in rows.items() if r.get("skipped")] != [at]:
            return False
        ends.append(checkpoint.training_state(checkpoint.folders(run.checkpoints)[-1]))
    return all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())


def lasting_spike(work: Path, rng: np.random.Generator) -> bool:
    """Every loss from a step on leaps: the run is stopped with a sentence, a good checkpoint kept."""
    at = int(rng.integers(34, 50))
    run, said = leaping(work / "diverged", set(range(at, 99)), 100.0)
    newest = checkpoint.newest_intact(run.checkpoints)
    return "11 steps in a row" in said and newest is not None


def calm(work: Path, seed: int) -> tuple[int, int]:
    """(steps, those skipped) of a run without any leap: there should be none."""
    run, _ = leaping(work / f"calm-{seed}", set(), 1.0)
    rows = [r for r in run.log_rows() if r["event"] == "step"]
    return len(rows), sum(bool(r.get("skipped")) for r in rows)


def counted(outcomes: list[bool], **notes: Any) -> Count:
    return Count(len(outcomes), outcomes.count(False), notes)
