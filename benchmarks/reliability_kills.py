"""kill -9 of `neurofm pretrain`, at random moments and inside saves, then `--resume`.

A chain is one run that is killed several times and then goes on to its end; its curve and its last
checkpoint must be those of an unbroken run, bit for bit, or all its kills count as failures.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from reliability_common import Nursery, curve, final, kill, pretrain, same
from safetensors.torch import load_file, save_file

from neurofm import files
from neurofm.model import checkpoint
from neurofm.run import Run

POLL_S = 0.0002
KILLED = -signal.SIGKILL


@dataclass
class Bench:
    """A toy store and what a run on it is without kills."""

    nursery: Nursery
    folder: Path
    store: Path
    more: tuple[str, ...]
    unbroken: Path = field(init=False)
    took_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.unbroken = self.folder / f"unbroken-{len(self.more)}"
        shutil.rmtree(self.unbroken, ignore_errors=True)
        start = time.monotonic()
        code = self.nursery.run(pretrain(self.store, self.unbroken, *self.more), self.log)
        assert code == 0, self.log.read_text()
        self.took_s = time.monotonic() - start

    @property
    def log(self) -> Path:
        return self.folder / "output.txt"

    def arguments(self, out: Path) -> list[str]:
        """What a user would type: the command, or --resume where a run was begun."""
        begun = (out / "config.yaml").exists()
        return pretrain(self.store, out, *(("--resume",) if begun else self.more))


@dataclass(frozen=True)
class Chain:
    """One run and its kills: how many, how many of them inside a save or before the run was one."""

    kills: int
    in_save: int
    at_start: int
    same: bool
    why: str = ""


def leftovers(run: Path) -> int:
    """Unfinished checkpoints, which a kill inside a save leaves."""
    return sum(1 for _ in (run / "checkpoints").glob(".step-*.tmp-*"))


def chain(bench: Bench, out: Path, n_kills: int, rng: np.random.Generator, aimed: bool) -> Chain:
    """Kill a run `n_kills` times (fewer if it ends before), then let it go on to its end."""
    shutil.rmtree(out, ignore_errors=True)
    kills = in_save = at_start = 0
    for _ in range(n_kills):
        before = leftovers(out)
        pid = bench.nursery.start(bench.arguments(out), bench.log)
        if aimed:
            _wait_for_a_save(out, before, until=time.monotonic() + 10 * bench.took_s + 20)
            time.sleep(10 ** rng.uniform(-3.3, -1.2))  # a save takes 10 to 100 ms: the disk decides
        else:
            time.sleep(rng.uniform(0, 0.6 * bench.took_s))
        kill(pid)
        if bench.nursery.wait() != KILLED:
            break  # it had ended by itself
        kills += 1
        in_save += leftovers(out) > before
        at_start += not (out / "config.yaml").exists()
    code = bench.nursery.run(bench.arguments(out), bench.log)
    if code:  # counted also if no kill had hit it
        kills, in_save = max(kills, 1), max(in_save, 1)
        return Chain(kills, in_save, at_start, False, f"the resume ended with {code}")
    return Chain(kills, in_save, at_start, same(out, bench.unbroken), "another curve or weights")


def _wait_for_a_save(out: Path, before: int, until: float) -> None:
    """Until a temporary folder of a checkpoint appears; a save sweeps those of earlier kills."""
    seen = {path.name for path in (out / "checkpoints").glob(".step-*.tmp-*")}
    assert len(seen) == before
    while time.monotonic() < until:
        if {path.name for path in (out / "checkpoints").glob(".step-*.tmp-*")} - seen:
            return
        time.sleep(POLL_S)


def killed_command(bench: Bench, out: Path, rng: np.random.Generator) -> Chain:
    """As `chain` with one kill, of a `python -m neurofm` that is started anew, importing and all."""
    shutil.rmtree(out, ignore_errors=True)
    with bench.log.open("ab") as log:
        command = [sys.executable, "-m", "neurofm", *bench.arguments(out)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while curve_length(out) < rng.integers(1, 30) and process.poll() is None:
            time.sleep(0.01)
        process.kill()
        kills = process.wait() == KILLED
        command = [sys.executable, "-m", "neurofm", *bench.arguments(out)]
        code = subprocess.run(command, stdout=log, stderr=log, check=False).returncode
    return Chain(int(kills), 0, 0, code == 0 and same(out, bench.unbroken), f"ended with {code}")


def curve_length(run: Path) -> int:
    return len(curve(run)) if (run / "log.jsonl").exists() else 0


def without_optimiser(run: Path) -> None:
    """A checkpoint that verifies but has lost the moments of its optimisers."""
    _edit(run, lambda state: {k: v for k, v in state.items() if not k.startswith("optim.")})


def without_raw_weights(run: Path) -> None:
    """A checkpoint whose raw weights are those of the running average."""
    average = load_file(checkpoint.folders(run / "checkpoints")[-1] / "weights.safetensors")
    _edit(
        run, lambda state: {k: average.get(k.removeprefix("model."), v) for k, v in state.items()}
    )


def with_another_seed(run: Path) -> None:
    """A run that goes on with other random numbers."""
    text = Run(run).config.read_text()
    assert "\nseed: 0\n" in text
    Run(run).config.write_text(text.replace("\nseed: 0\n", "\nseed: 1\n"))


def _edit(run: Path, change: Callable[[dict], dict]) -> None:
    folder = checkpoint.folders(run / "checkpoints")[-1]
    path = folder / "training.safetensors"
    save_file(change(load_file(path)), path)
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").write_text(json.dumps(files.manifest_of(folder)))


SABOTAGE = {
    "optimiser state dropped": without_optimiser,
    "average in place of the raw weights": without_raw_weights,
    "another seed": with_another_seed,
}


def control(bench: Bench, out: Path, sabotage: Callable[[Path], None], at_step: int) -> bool:
    """Whether a resume from a sabotaged checkpoint is noticed: another curve, or a refusal."""
    shutil.rmtree(out, ignore_errors=True)
    pid = bench.nursery.start(bench.arguments(out), bench.log)
    while curve_length(out) < at_step:
        time.sleep(0.001)
    kill(pid)
    killed = bench.nursery.wait() == KILLED
    if not killed or not checkpoint.folders(out / "checkpoints"):
        raise RuntimeError("the run was over, or had no checkpoint; nothing was tried")
    sabotage(out)
    code = bench.nursery.run(bench.arguments(out), bench.log)
    return code != 0 or curve(out) != curve(bench.unbroken) or final(out) != final(bench.unbroken)
