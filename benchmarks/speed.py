"""How fast neurofm is on this machine, in ratios to references in the same process; goes on where it stopped.

    python benchmarks/speed.py --out benchmarks/results/speed.json          # all parts, then the table
    python benchmarks/speed.py --out gpu.json --only train                  # parts whose names start so
    python benchmarks/speed.py --out gpu.json --only train --windows 1024   # on a GPU: larger batches

On one CPU thread times are of the processor, since a clock would count the work of others. Parts: `train/SIZE/TOKENS`
(data, forward, backward, step, beside the peak of matrix products), `trunk/SIZE`, `peer` (`speed_peer.py`), `store`
(ingest, a window), `evaluate`, `import`.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import speed_common as common
import speed_peer
import torch
import window_read
from speed_common import median, seconds

from neurofm import Intervals
from neurofm.data.export import write_torch_brain
from neurofm.data.ingest import ingest
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.score import score
from neurofm.evaluate.tasks import TASKS
from neurofm.model.backbone import Run
from neurofm.model.checkpoint import Trained
from neurofm.train.cost import one_pass
from neurofm.train.loop import autocast
from neurofm.train.loss import masked_loss
from neurofm.train.sharded import clipped

PARTS = ("data", "forward", "backward", "step")


def one_step(model: Any, batch: Any, targets: Any, made: Any, device: torch.device) -> list[float]:
    """Seconds of the forward pass, the backward pass and the optimisers."""
    kept: dict[str, Any] = {}

    def forward() -> None:
        with autocast(device, made.precision):
            output = model.model(batch)
        kept["loss"] = masked_loss(output, targets)

    def step() -> None:
        clipped(list(model.model.parameters()), 1.0)
        for optimiser in model.optimisers:
            optimiser.step()

    for optimiser in model.optimisers:
        optimiser.zero_grad(set_to_none=True)
    return [seconds(forward, device), seconds(lambda: kept["loss"].backward(), device),
            seconds(step, device)]  # fmt: skip


def train(
    name: str, tokens: str, device: torch.device, n: int, windows: int = 0, **changes: Any
) -> dict[str, float]:
    """A step, in parts; fresh batches against one that is kept."""
    if windows:
        changes["windows"] = windows
    made = common.settings(name, device, tokens=common.TOKENS[tokens], **changes)
    model, batches = common.training(common.sessions(), made, device)
    model.model.train()
    rows, kept = [], []
    before = common.peak(device, made.precision)
    for number in range(n + 1):
        drawn: list[Any] = []

        def data(k: int = number, drawn: list[Any] = drawn) -> None:
            drawn.extend(part.to(device) for part in batches(k))

        took = seconds(data, device)
        rows.append([took, *one_step(model, *drawn, made, device)])
        kept.append(sum(one_step(model, *drawn, made, device)))
    highest = max(before, common.peak(device, made.precision))
    counted = one_pass(model.model, *drawn, made.precision)
    parts = {f"{k}_s": median(v) for k, v in zip(PARTS, zip(*rows[1:], strict=True), strict=True)}
    total = median([sum(row) for row in rows[1:]])
    n_tokens = sum(sum(group.lengths) for group in drawn[0].groups)
    return {**parts, "total_s": total, "windows": made.windows, "trials_a_s": made.windows / total,
            "tokens_a_s": n_tokens / total, "over_cached_batch": total / median(kept[1:]),
            "gflop_a_trial": counted.total / made.windows / 1e9, "peak_tflop_a_s": highest / 1e12,
            "share_of_peak": counted.total / total / highest}  # fmt: skip


def trunk(name: str, device: torch.device, n: int, windows: int = 0) -> dict[str, float]:
    """The trunk alone, there and back, against the peak of matrix products right before and after."""
    made = common.settings(name, device)
    model, _ = common.training(common.sessions((40,), 0.5), made, device)
    net, b, t = model.model.backbone.train(), windows or made.windows, made.window_bins
    for parameter in net.parameters():  # blocks start as the identity: nothing may be zero
        torch.nn.init.normal_(parameter, std=0.02)
    x = torch.randn(b * t, made.model.backbone.width, device=device, requires_grad=True)
    runs, back = [Run(b, torch.arange(t, device=device), 1)], torch.randn_like(x)

    def work() -> None:
        with autocast(device, made.precision):
            out = net(x, runs)
        out.backward(back)

    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        work()
    peaks, rounds = [common.peak(device, made.precision)], []
    for number in range(n + 1):
        spent_s = seconds(work, device)
        rounds += [spent_s] if number else []
        peaks.append(common.peak(device, made.precision))
    flops, now = counter.get_total_flops(), [max(pair) for pair in pairwise(peaks[1:])]
    found = common.of_medians([flops / s / p for s, p in zip(rounds, now, strict=True)])
    return {"windows": b, "rounds": n, "s": median(rounds), "tflop_a_s": flops / median(rounds) / 1e12,
            "peak_tflop_a_s": median(now) / 1e12, **dict(zip(("share_of_peak", "low", "high"), found, strict=True)),
            "highest_peak_tflop_a_s": max(peaks) / 1e12}  # fmt: skip


def peer(device: torch.device, n: int) -> dict[str, float]:
    """The plain reference of NDT1-stitch and ours of the same size, a step of each in turn.

    Ours as in the recipe, with linear paths of the whole width, and without (`kernel=0`).
    """
    torch.manual_seed(0)
    net, loader = speed_peer.Peer(common.UNITS).to(device).train(), speed_peer.Loader(common.UNITS)
    adam = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.01, eps=1e-8)
    made = [common.settings("base", device), common.settings("base", device, path_rank=0),
            common.settings("base", device, kernel=0)]  # fmt: skip
    ours = [common.training(common.sessions(), m, device) for m in made]
    theirs: list[list[float]] = []
    mine: list[list[list[float]]] = [[] for _ in made]
    kept: dict[str, Any] = {}

    def load(step: int) -> None:
        kept.update({k: v.to(device) if torch.is_tensor(v) else v for k, v in loader(step).items()})

    for number in range(n + 1):
        data = seconds(lambda k=number: load(k), device)
        adam.zero_grad()
        forward = seconds(lambda: kept.update(loss=net(kept)), device)
        back = seconds(lambda: kept["loss"].backward(), device)
        theirs.append([data, forward, back, seconds(adam.step, device)])
        for row, m, (model, batches) in zip(mine, made, ours, strict=True):
            model.model.train()
            drawn: list[Any] = []
            took = seconds(
                lambda k=number, b=batches, d=drawn: d.extend(p.to(device) for p in b(k)), device
            )
            row.append([took, *one_step(model, *drawn, m, device)])
    split = {
        f"peer_{k}_s": median(v) for k, v in zip(PARTS, zip(*theirs[1:], strict=True), strict=True)
    }
    slow = [sum(row) for row in theirs[1:]]
    out = {**split, "rounds": n, "peer_trials_a_s": 16 / median(slow)}
    for name, rows in zip(("", "whole_paths_", "kernel_0_"), mine, strict=True):
        fast = [sum(row) for row in rows[1:]]
        ratio = dict(zip(("ratio", "low", "high"), common.of_medians(slow, fast), strict=True))
        out |= {f"{name}{k}": v for k, v in ratio.items()} | {
            f"{name or 'ours_'}trials_a_s": 16 / median(fast)
        }
    return out


def evaluate(device: torch.device) -> dict[str, float]:
    """The model's answers to the four tasks on the test fifth, scored; beside an epoch of the first 70%.

    An epoch is as many windows as the training part holds without overlap, forward and back. Two sessions of
    5 minutes, `small`. By default windows overlap by half; without, scores are others.
    """
    made = common.settings("small", device, windows=32)
    recordings = common.sessions((120, 90), 5.0)
    model, batches = common.training(recordings, made, device)
    plain = made.model_dump(mode="json")
    trained = Trained(model.model, model.vocabulary, model.statistics, plain, 0, {})
    train_s, bins = 0.0, 0.7 * sum(r.span[1] for r in recordings) / common.BIN_S
    took: dict[str, float] = {}
    apart: dict[str, float] = {}
    model.model.train()
    n = round(bins / made.window_bins / made.windows)
    for number in range(n):
        drawn: list[Any] = []
        train_s += seconds(
            lambda k=number, d=drawn: d.extend(p.to(device) for p in batches(k)), device
        )
        train_s += sum(one_step(model, *drawn, made, device))
    model.model.eval()
    for name, task in TASKS.items():
        for recording in recordings:
            end = recording.span[1]
            cuts = {
                "train": (0, 0.7 * end),
                "valid": (0.7 * end, 0.8 * end),
                "test": (0.8 * end, end),
            }
            sides = {side: Intervals.of([cut]) for side, cut in cuts.items()}
            direct = Direct.of(trained, recording, device)
            for kept, overlap in ((took, direct.overlap), (apart, 0.0)):
                asked = replace(direct, overlap=overlap)
                spent_s = seconds(lambda d=asked, t=task, r=recording, k=sides: score(
                    lambda: d, "model", t, r, bin_s=common.BIN_S, **k), device)  # fmt: skip
                kept[name] = kept.get(name, 0.0) + spent_s
    return {**{f"{name}_s": value for name, value in took.items()}, "epoch_s": train_s, "epoch_steps": n,
            "four_tasks_over_epoch": sum(took.values()) / train_s,
            "without_overlap_over_epoch": sum(apart.values()) / train_s}  # fmt: skip


def spent() -> float:
    """Processor seconds of this process and of those that it waited for: files are read in processes."""
    return sum(os.times()[:4])


def store() -> dict[str, float]:
    """Ingest of spike times beside a plain copy of the file, and a window of an hour of 300 units."""
    recording = window_read.hour()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hour.h5"
        write_torch_brain(recording, path)
        size = path.stat().st_size / 1e6
        began = spent()
        ingest([path], Path(folder) / "store")
        took, began = spent() - began, spent()
        (Path(folder) / "copy").write_bytes(path.read_bytes())
        copied = spent() - began
    window = window_read.measure()
    return {"file_mb": size, "ingest_mb_a_s": size / took, "over_a_copy": took / copied,
            "window_ms": window["window_ms"], "window_over_memory": window["ratio"]}  # fmt: skip


def imports() -> dict[str, float]:
    """Processor seconds of a process that imports, the fastest of three; and its peak memory."""

    def cost(what: str) -> tuple[float, float]:
        code = (
            f"import {what}, os; print(sum(os.times()[:2])); "
            "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
        )
        runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
                for _ in range(3)]  # fmt: skip
        words = [run.stdout.split() for run in runs]
        pairs = [(float(w[0]), float(w[2])) for w in words]
        return min(p[0] for p in pairs), min(p[1] for p in pairs) / 1024

    found = {name: cost(what) for name, what in (("numpy", "numpy"), ("neurofm", "neurofm"), ("torch", "torch"),
             ("training", "neurofm.train.pretrain"))}  # fmt: skip
    out = {f"{name}_{unit}": value for name, pair in found.items()
           for unit, value in zip(("s", "mb"), pair, strict=True)}  # fmt: skip
    return {**out, "neurofm_over_numpy": out["neurofm_s"] / out["numpy_s"],
            "training_over_torch": out["training_s"] / out["torch_s"]}  # fmt: skip


def few(name: str, tokens: str, n: int) -> int:
    """Steps to time: a token a spike at base takes many seconds a step."""
    return min(n, 2) if (name, tokens) == ("base", "event") else n


def memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument(
        "--windows", type=int, default=0, help="a step; 0: the recipe's of this benchmark"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device, n, w = torch.device(asked.device), asked.steps, asked.windows
    parts: dict[str, Any] = {
        f"train/{name}/{tokens}": lambda a=name, t=tokens: train(a, t, device, few(a, t, n), w)
        for name in common.WINDOWS for tokens in common.TOKENS
    } | {f"trunk/{name}": lambda a=name: trunk(a, device, n, w) for name in common.WINDOWS}  # fmt: skip
    parts |= {
        "peer": lambda: peer(device, n),
        "store": store,
        "import": imports,
        "evaluate": lambda: evaluate(device),
    }
    found = common.keep(asked.out, parts, device, asked.only)
    for name, row in found.items():
        print(name, "  ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float)))
    print(time.strftime("%Y-%m-%d"), f"{memory():.0f} MB at most")


if __name__ == "__main__":
    main()
