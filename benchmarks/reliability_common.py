"""What the parts of `reliability.py` share: counts, a toy store, and real commands in real processes."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neurofm import Recording
from neurofm.data.store import Store, create_store

CONFIDENCE = 0.95
TOY = ("bin_s=0.02", "window_bins=20", "windows=4", "steps=40", "validate_every=5", "valid_batches=1",
       "precision=fp32", "model.kernel=5", "optim.warmup=5", "optim.average=0.9",
       "model.backbone={width: 16, layers: 1, heads: 2, mlp: 16}")  # fmt: skip


@dataclass(frozen=True)
class Count:
    """Trials of one claim and how many failed; `notes` say what else was seen."""

    trials: int
    failures: int
    notes: dict[str, Any]

    def record(self) -> dict[str, Any]:
        return {"trials": self.trials, "failures": self.failures, **self.notes,
                "upper": upper_bound(self.trials, self.failures)}  # fmt: skip


def upper_bound(n: int, k: int, confidence: float = CONFIDENCE) -> float:
    """One-sided Clopper-Pearson bound of a rate (1934): the rate at which k or fewer of n are just
    improbable. For k = 0 it is 1 - (1 - confidence)^(1/n), about 3/n."""
    if n == 0 or k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        logs = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
                + i * math.log(middle) + (n - i) * math.log1p(-middle) for i in range(k + 1)]  # fmt: skip
        above = sum(map(math.exp, logs)) > 1 - confidence
        low, high = (middle, high) if above else (low, middle)
    return high


def toy_recording(name: str, n_channels: int, seed: int, n_bins: int = 1500) -> Recording:
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(n_bins)[:, None] / 9 + rng.uniform(0, 6, n_channels))
    counts = rng.poisson(0.4 * np.exp(wave)).astype(np.uint8)
    ids = [f"{name}-{i}" for i in range(n_channels)]
    return Recording.from_arrays(name, counts=counts, bin_s=0.02, channel_id=ids, subject=name)


def toy_store(folder: Path) -> Store:
    """Two sessions of 8 and 6 channels and half a minute."""
    store = create_store(folder)
    for seed, (name, n_channels) in enumerate({"a-1": 8, "b-1": 6}.items()):
        store.write(toy_recording(name, n_channels, seed))
    return store


class Nursery:
    """A process that has everything imported and forks a child for each command.

    The child runs the command line's own `main`, and can be killed like any process; only the
    seconds of importing are saved. Nothing was computed before the fork.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def start(self, arguments: Sequence[str], log: Path) -> int:
        """The id of the child that runs `neurofm ARGUMENTS`; its output is appended to `log`."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"arguments": list(arguments), "log": str(log)}) + "\n")
        self.process.stdin.flush()
        return int(self._read()["pid"])

    def wait(self) -> int:
        """The exit code of the child, minus the signal if one ended it."""
        assert self.process.stdin is not None
        self.process.stdin.write("wait\n")  # until then its process id stays its own
        self.process.stdin.flush()
        return int(self._read()["code"])

    def run(self, arguments: Sequence[str], log: Path) -> int:
        self.start(arguments, log)
        return self.wait()

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def serve() -> None:
    """The nursery's side."""

    from neurofm import cli, pipeline  # noqa: F401

    print(json.dumps({"ready": True}), flush=True)
    while line := sys.stdin.readline():
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked["arguments"], asked["log"])
        print(json.dumps({"pid": child}), flush=True)
        sys.stdin.readline()
        status = os.waitpid(child, 0)[1]
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _become(arguments: Sequence[str], log: str) -> None:
    from neurofm.cli import main

    handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for number, to in ((0, os.open(os.devnull, os.O_RDONLY)), (1, handle), (2, handle)):
        os.dup2(to, number)
    code = 70
    try:
        main(list(arguments))
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def pretrain(store: Path, out: Path, *more: str) -> list[str]:
    """Arguments of a toy run, or of going on with one."""
    if "--resume" in more:
        return ["pretrain", str(store), "--out", str(out), "--device", "cpu", *more]
    sets = [word for setting in (*TOY, *more) for word in ("--set", setting)]
    return ["pretrain", str(store), "--out", str(out), "--device", "cpu", *sets]


def curve(run: Path) -> dict[int, str]:
    """The loss of every step, as hexadecimal floats."""
    from neurofm.run import Run

    return {r["step"]: float(r["loss"]).hex() for r in Run(run).log_rows() if r["event"] == "step"}


def final(run: Path) -> dict[str, str]:
    """Hashes of all files of the last checkpoint: weights, average, moments, scores, configuration."""
    from neurofm.model import checkpoint

    folder = checkpoint.folders(run / "checkpoints")[-1]
    checkpoint.verify(folder)
    return {"name": folder.name, **json.loads((folder / "manifest.json").read_text())}


def same(run: Path, unbroken: Path) -> bool:
    """Whether curve and final checkpoint are bit-identical."""
    return curve(run) == curve(unbroken) and final(run) == final(unbroken)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def fresh(folder: Path) -> Path:
    """An empty folder of that name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


class Pace:
    """Lines of progress: what, how many, how fast, how long still."""

    def __init__(self, what: str, n: int, say: Callable[[str], None]) -> None:
        self.what, self.n, self.say, self.start = what, n, say, time.monotonic()
        self.said = self.start

    def at(self, done: int, failed: int) -> None:
        now = time.monotonic()
        if now - self.said < 5 and done < self.n:
            return
        self.said = now
        rate = done / max(now - self.start, 1e-9)
        left = max(self.n - done, 0) / max(rate, 1e-9)
        self.say(
            f"{self.what}: {done} of {self.n} or more, {failed} failed, {rate:.2f} a second, {left:.0f} s left"
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
