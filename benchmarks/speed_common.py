"""What the speed benchmarks share: sessions, a clock, and parts whose results are kept as they come."""

import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurofm import Intervals, Recording, config
from neurofm.pipeline import recipe
from neurofm.tokens.event import Event
from neurofm.tokens.patch import Patch
from neurofm.tokens.timebin import TimeBin
from neurofm.train.batches import Corpus, MaskedBatches
from neurofm.train.pretrain import PretrainConfig, Training, prepare, resolved_precision, sampled

UNITS = (520, 568, 612, 668, 700)
BIN_S, MINUTES = 0.02, 3.0
TOKENS = {"time-bin": TimeBin(), "patch": Patch(channels=32, bins=5), "event": Event()}
WINDOWS = {"tiny": 32, "small": 8, "base": 16}


def sessions(units: tuple[int, ...] = UNITS, minutes: float = MINUTES) -> list[Recording]:
    """Poisson counts at about 5 Hz, five equal regions."""
    rng = np.random.default_rng(0)
    out = []
    for number, n in enumerate(units):
        rates = rng.lognormal(np.log(5), 0.8, n) * BIN_S
        counts = rng.poisson(rates, (int(minutes * 60 / BIN_S), n)).astype(np.uint8)
        region = np.array(["VISp", "MOs", "CP", "CA1", "LP"])[np.arange(n) % 5]
        made = Recording.from_arrays(
            f"s{number}", counts=counts, bin_s=BIN_S, channel_region=region
        )
        out.append(made)
    return out


def settings(name: str, device: torch.device, **changes: Any) -> PretrainConfig:
    """A recipe on this grid; `tokens`, `kernel`, `path_rank` change the model, the rest the run."""
    model = {k: changes.pop(k) for k in ("tokens", "kernel", "path_rank") if k in changes}
    plain = config.load(PretrainConfig, recipe(name))
    first = {"bin_s": BIN_S, "precision": resolved_precision("auto", device), "window_bins": 100,
             "windows": WINDOWS[name], "model": plain.model.model_copy(update=model)}  # fmt: skip
    return plain.model_copy(update=first | changes)


def training(
    recordings: list[Recording], made: PretrainConfig, device: torch.device, budget: int = 4 << 30
) -> tuple[Training, MaskedBatches]:
    """A fresh model of these recordings and its batches."""
    train = {r.id: Intervals.of([(0, r.span[1])]) for r in recordings}
    fresh, measured = prepare(recordings, train, made, device)
    corpus = Corpus.of(recordings, fresh.vocabulary, measured, BIN_S, budget, device)
    return fresh, sampled(corpus, train, made, "train")


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Of the processor on one CPU thread, where others' work does not count; else of the clock."""
    alone = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def median(values: list[float]) -> float:
    return statistics.median(values)


def of_medians(
    top: list[float], bottom: list[float] | None = None, n_boot: int = 5000
) -> tuple[float, float, float]:
    """(median of `top` over that of `bottom`, low, high): 95%, rounds drawn again, together."""
    above, below = np.array(top), np.ones(len(top)) if bottom is None else np.array(bottom)
    at = np.random.default_rng(0).integers(0, len(above), (n_boot, len(above)))
    drawn = np.median(above[at], 1) / np.median(below[at], 1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(np.median(above) / np.median(below)), float(low), float(high)


def peak(device: torch.device, precision: str) -> float:
    """FLOP/s of the best square matrix product."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    best = 0.0
    for n in (2048, 4096, 8192) if device.type == "cuda" else (512, 1024):
        a = torch.randn(n, n, dtype=dtype, device=device)
        rounds = [seconds(lambda a=a: a @ a, device) for _ in range(8)]
        best = max(best, 2 * n**3 / min(rounds[2:]))
    return best


def about(device: torch.device) -> dict[str, Any]:
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.processor())  # fmt: skip
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    clock = "processor" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "clock": clock, "date": time.strftime("%Y-%m-%d")}  # fmt: skip


def keep(path: Path, parts: dict[str, Callable[[], Any]], device: torch.device, only: str) -> Any:
    """Run the parts that `path` does not hold yet, writing after each; `only`: those that start so."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name, part in parts.items():
        if name in found or not name.startswith(only):
            continue
        began = time.monotonic()
        found[name] = {**part(), **about(device)}
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
    return found
