"""How the cost of a training step grows with sessions, units and the length of windows; and a store beyond memory.

    python benchmarks/speed_growth.py --out benchmarks/results/speed-growth.json    # then the plot beside it

Each point is a process of its own (`--point`), so that peak memory is its own: recipe `small`, time bins, one thread, seconds
of the processor. `beyond`: the same training on a store of 800 MB, counts held in memory, and read window by window by
a process whose address space is limited to less than the store (capped); processes of each kind in turn. The control,
counts held under that limit, must fail.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import speed_common as common
import torch
from speed import one_step

from neurofm import Intervals, Recording
from neurofm.data.recording import Channels, Samples
from neurofm.data.store import create_store, open_store
from neurofm.train import optim

CPU = torch.device("cpu")
SWEEPS = {
    "sessions": (1, 3, 10, 30, 100, 300),
    "units": (10, 30, 100, 300, 1000, 2000),
    "seconds": (1, 2, 5, 10, 20),
}
BEYOND_UNITS, BEYOND_BINS = 500, 1_600_000
CAP = 400 << 20  # bytes beyond what the process starts with
HOW = ("held", "read", "capped")


def steps(recordings: list[Recording], made: Any, n: int, budget: int = 4 << 30) -> dict[str, Any]:
    """Median seconds of a step in parts, the running average of the weights among them."""
    model, batches = common.training(recordings, made, CPU, budget)
    model.model.train()
    rows = []
    for number in range(n + 1):
        drawn: list[Any] = []
        took = common.seconds(lambda k=number, d=drawn: d.extend(batches(k)), CPU)
        parts = [took, *one_step(model, *drawn, made, CPU)]
        parts.append(common.seconds(
            lambda: optim.update_average(model.average, model.model, 0.999, 5), CPU))  # fmt: skip
        rows.append(parts)
    names = ("data", "forward", "backward", "step", "average")
    found = {
        f"{k}_s": common.median(v) for k, v in zip(names, zip(*rows[1:], strict=True), strict=True)
    }
    return {**found, "total_s": common.median([sum(r) for r in rows[1:]])}


def point(sweep: str, value: int, n: int) -> dict[str, Any]:
    """One size of one sweep; what is not swept: 5 sessions, 100 units, 2 s."""
    n_sessions, n_units, length_s = 5, 100, 2.0
    if sweep == "sessions":
        n_sessions = value
    elif sweep == "units":
        n_units = value
    else:
        length_s = float(value)
    minutes = max(0.6, 2 * length_s / 60)
    recordings = common.sessions((n_units,) * n_sessions, minutes)
    before = peak_mb()
    made = common.settings("small", CPU, window_bins=round(length_s / common.BIN_S))
    return {**steps(recordings, made, n), "peak_mb": peak_mb(), "before_mb": before}


def peak_mb() -> float:
    """Most memory resident since this program began; `getrusage` would count the one that started it too."""
    status = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in status if line.startswith("VmHWM"))) / 1024


def large(folder: Path) -> None:
    """A store of 800 MB of counts, written once; mostly holes on disk where nothing fires."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.parent / "counts.npy"
    shape = (BEYOND_BINS, BEYOND_UNITS)
    counts = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for first in range(0, BEYOND_BINS, 100_000):  # a spike every fiftieth cell, or so
        rng = np.random.default_rng(first)
        counts[first : first + 100_000] = rng.random((100_000, BEYOND_UNITS), np.float32) < 0.02
    span = (0.0, BEYOND_BINS * common.BIN_S)
    channels = Channels.of([f"u{i}" for i in range(BEYOND_UNITS)])
    samples = Samples(counts, Fraction(1, 50))
    create_store(folder).write(
        Recording("large", "m", span, Intervals.of([span]), channels, samples)
    )
    del counts
    path.unlink()


def beyond(folder: Path, held: bool, capped: bool, n: int) -> dict[str, Any]:
    """Training on the large store: all in memory, or window by window, with or without a limit."""
    torch.ones(64, 64).bfloat16() @ torch.ones(64, 64).bfloat16()
    if capped:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + CAP, now + CAP))
    recording = open_store(folder).open("large")
    made = common.settings("small", CPU, window_bins=100)
    from neurofm.train.batches import Corpus
    from neurofm.train.pretrain import prepare, sampled

    train = {"large": Intervals.of([(0, 600.0)])}  # measured on ten minutes, drawn from all
    model, measured = prepare([recording], train, made, CPU)
    corpus = Corpus.of(
        [recording], model.vocabulary, measured, common.BIN_S, 4 << 30 if held else 0
    )
    batches = sampled(corpus, {"large": Intervals.of([recording.span])}, made, "train")
    model.model.train()
    rows = []
    for number in range(n + 1):
        drawn: list[Any] = []
        took = common.seconds(lambda k=number, d=drawn: d.extend(batches(k)), CPU)
        rows.append([took, sum(one_step(model, *drawn, made, CPU))])
    data, rest = (common.median(list(v)) for v in zip(*rows[1:], strict=True))
    return {"data_s": data, "total_s": common.median([sum(r) for r in rows[1:]]), "rest_s": rest,
            "peak_mb": peak_mb(), "store_mb": BEYOND_BINS * BEYOND_UNITS / 1e6,
            "limit_mb": CAP / 2**20 if capped else None}  # fmt: skip


def elsewhere(*arguments: str) -> dict[str, Any]:
    """What this script prints for one point, in a process of its own."""
    command = [sys.executable, __file__, "--out", "-", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(run.stderr[-2000:])
    return dict(json.loads(run.stdout.splitlines()[-1]))


def in_turn(folder: Path, rounds: int) -> dict[str, Any]:
    """Processes of each kind in turn; seconds a step against those of counts in memory, 95% over rounds."""
    at = ("--point", "beyond")
    rows = [
        {how: elsewhere(*at, how, str(folder), "--steps", "12") for how in HOW}
        for _ in range(rounds)
    ]
    spent = {how: [row[how]["total_s"] for row in rows] for how in HOW}
    out: dict[str, Any] = {"rounds": rounds, **{f"{how}_s": spent[how] for how in HOW}}
    out |= {f"{how}_over_held": common.of_medians(spent[how], spent["held"]) for how in HOW[1:]}
    out |= {f"{how}_peak_mb": max(row[how]["peak_mb"] for row in rows) for how in HOW}
    refused = ""
    try:
        elsewhere(*at, "held-capped", str(folder), "--steps", "1")
    except SystemExit as ended:
        refused = str(ended).splitlines()[-1]
    return out | {
        "control": refused,
        "limit_mb": CAP / 2**20,
        "store_mb": BEYOND_BINS * BEYOND_UNITS / 1e6,
    }


def exponent(x: list[float], y: list[float]) -> float:
    """Of the upper half of the sweep: what small sizes cost whatever their size says nothing of growth."""
    half = len(x) // 2
    return float(np.polyfit(np.log(x[half:]), np.log(y[half:]), 1)[0])


def plot(found: dict[str, Any], path: Path) -> dict[str, float]:
    """Seconds and memory of each sweep; the exponents."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 3, figsize=(10, 5.2), layout="constrained")
    fitted = {}
    for column, (sweep, values) in enumerate(SWEEPS.items()):
        x = [float(v) for v in values if f"{sweep}/{v}" in found]
        rows = [found[f"{sweep}/{v:g}"] for v in x]
        for row, (key, label) in enumerate((("total_s", "s a step"), ("peak_mb", "MB at most"))):
            y, axis = [r[key] for r in rows], axes[row, column]
            fitted[f"{sweep} {key}"] = power = exponent(x, y)
            axis.loglog(x, y, "o-", color="#3366aa")
            line = [y[-1] * v / x[-1] for v in x]
            axis.loglog(x, line, ":", color="grey")
            axis.set_ylim(min(y) * 0.6, max(y) * 1.6)
            axis.set_title(f"{sweep}: grows as size to the {power:.2f}", fontsize=9)
            axis.set_xlabel({"seconds": "window, s"}.get(sweep, sweep))
            axis.set_ylabel(label)
            axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].text(
        0.03, 0.9, "dotted: linear", transform=axes[0, 0].transAxes, fontsize=8, color="grey"
    )
    figure.savefig(path, dpi=130)
    return fitted


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=6, help="processes of each kind in `beyond`")
    parser.add_argument("--point", nargs="+")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.point:
        sweep, value, *where = asked.point
        if sweep == "beyond":
            print(
                json.dumps(beyond(Path(where[0]), "held" in value, "capped" in value, asked.steps))
            )
        else:
            print(json.dumps(point(sweep, int(value), asked.steps)))
        return
    out, n = Path(asked.out), ("--steps", str(asked.steps))
    parts: dict[str, Any] = {
        f"{sweep}/{v}": lambda s=sweep, v=v: elsewhere("--point", s, str(v), *n)
        for sweep, values in SWEEPS.items() for v in values
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"

        def apart() -> dict[str, Any]:
            large(store)
            return in_turn(store, asked.rounds)

        parts["beyond"] = apart
        found = common.keep(out, parts, CPU, asked.only)
    if all(name in found for name in parts):
        fitted = plot(found, out.with_suffix(".png"))
        print(json.dumps(fitted, indent=1))
        print(time.strftime("%Y-%m-%d"), {k: found["beyond"][f"{k}_over_held"] for k in HOW[1:]})


if __name__ == "__main__":
    main()
