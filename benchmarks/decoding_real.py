"""Decoding on real recordings: what shared rows, computed rows and three tokenisers are worth.

    python benchmarks/decoding_real.py DATA --out DIR [--only ca1|v1|hippocampus] [--smoke]

DATA holds `ca1-sheintuch`, `v1-steinmetz` and `hippocampus-nelpy`. Each part is a few cells, kept in
DIR/cells as they are done, so that a run that is cut off goes on. Then a table is printed, and
DIR/decoding-real.json and .png are written. About 14 minutes on one thread; `--smoke` is the same at
toy size.
"""

import argparse
import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import decoding_real_ca1 as ca1
import decoding_real_figure as figure
import decoding_real_hippocampus as hippocampus
import decoding_real_v1 as v1
import torch
from decoding_real_common import Work, gain

from neurofm import files
from neurofm.evaluate.decode import Decoded
from neurofm.evaluate.decode_results import decoding_results
from neurofm.evaluate.summary import About, results_of
from neurofm.results import Result

PARTS = {"ca1": ca1, "v1": v1, "hippocampus": hippocampus}
RATED = ("r2_flattened", "accuracy", "balanced_accuracy", "median_error")


def of_ca1(work: Work, decoded: Sequence[Decoded]) -> list[Result]:
    """Position by method, gains of shared rows, and co-smoothing with and without them."""
    out = own("ca1:position", decoded)
    shared, apart = ([f"{m} ({rows})" for m in ("model", "probe", "probe, other days")]
                     for rows in ca1.ROWS)  # fmt: skip
    pairs = [*zip(shared, apart, strict=True), (shared[0], "ridge"), (shared[1], "ridge"),
             (shared[2], "ridge, other days")]  # fmt: skip
    for ours, theirs in pairs:
        out += gain("ca1:position", decoded, ours, theirs)
    rows = results_of(ca1.co_smoothing(work), About(run="ca1"), model="model (shared)")
    return out + [r for r in rows if r.metric.startswith("bps_pooled")]


def of_v1(work: Work, decoded: Sequence[Decoded]) -> list[Result]:
    """Contrast side by method, and gains over logistic regression on counts."""
    del work
    out = own("v1:contrast_side", decoded)
    for ours in ("model", "probe and counts", "probe"):
        out += gain("v1:contrast_side", decoded, ours, "logistic")
    return out + gain("v1:contrast_side", decoded, "model", "scratch")


def of_hippocampus(work: Work, decoded: Sequence[Decoded]) -> list[Result]:
    """Position of all tracked bins and of running ones, and gains of each tokeniser over ridge."""
    del work
    out = []
    for target in ("position", "running"):
        task = f"hippocampus:{target}"
        mine = [replace(d, method=d.method.partition("|")[2]) for d in decoded
                if d.method.startswith(f"{target}|")]  # fmt: skip
        out += own(task, mine)
        for kind in hippocampus.TOKENS:
            for method in ("probe", "model"):
                out += gain(task, mine, f"{kind} {method}", "ridge")
            out += gain(task, mine, f"{kind} model", f"{kind} scratch")
    return out


def own(task: str, decoded: Sequence[Decoded]) -> list[Result]:
    """Every method's scores, chance and means over recordings."""
    rows = decoding_results(task, decoded, About(run="decoding-real"))
    kept = [r for r in rows if not r.metric.endswith("_gain") and not r.metric.startswith("r2_of")]
    return kept + means(kept)


def means(rows: Sequence[Result]) -> list[Result]:
    """Plain means over recordings of the metrics that have none; their interval is not estimated."""
    out = []
    for metric in ("accuracy", "median_error"):
        for method in dict.fromkeys(r.predictor for r in rows):
            some = [r for r in rows if r.predictor == method and r.metric == metric]
            if len(some) > 1:
                value = sum(r.value for r in some) / len(some)
                out.append(replace(some[0], recording="mean", value=value, low=math.nan,
                                   high=math.nan, n=len(some), unit_of_n="recordings"))  # fmt: skip
    return out


MADE = {"ca1": of_ca1, "v1": of_v1, "hippocampus": of_hippocampus}


def table(rows: Sequence[Result]) -> str:
    """One line a method of each task: the mean over recordings, or the one that there is."""
    n = {(r.task, r.recording) for r in rows}
    lines = []
    for task in dict.fromkeys(r.task for r in rows):
        several = len({r for t, r in n if t == task}) > 2
        lines += ["", task]
        for r in rows:
            if r.task == task and (r.recording == "mean") == several and shown(r.metric):
                over = f" over {r.null}" if r.metric.endswith("_gain") else ""
                span = f" [{r.low:+.3f}, {r.high:+.3f}]" if math.isfinite(r.low) else ""
                chance = "" if r.chance is None else f", chance {r.chance:+.3f}"
                lines.append(f"  {r.predictor:28} {r.metric + over:48} {r.value:+.3f}{span}{chance}"
                             f", n {r.n} {r.unit_of_n}")  # fmt: skip
    return "\n".join(lines)


def shown(metric: str) -> bool:
    return metric in RATED or metric == "bps_pooled" or metric.endswith("_gain")


def about() -> dict[str, str]:
    """When and on what: words for the file of results."""
    names = [line.partition(":")[2].strip() for line in _cpu_lines()]
    threads = "one thread" if torch.get_num_threads() == 1 else f"{torch.get_num_threads()} threads"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": f"{names[0] if names else 'unknown CPU'}, {threads} of {os.cpu_count()}",
        "command": "python benchmarks/decoding_real.py DATA --out DIR",
    }


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in lines if line.startswith("model name")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is left, then write results, table and figure of what is done."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    work = Work(args.data, args.out, args.smoke)
    names = [args.only] if args.only else list(PARTS)
    todo = [(name, cell, make) for name in names for cell, make in PARTS[name].cells(work).items()]
    done: dict[str, list[Decoded]] = {name: [] for name in names}
    for number, (name, cell, make) in enumerate(todo):
        work.say(f"{number}/{len(todo)} cells: {cell}")
        done[name] += work.kept(cell, make)
    rows = [row for name in names for row in MADE[name](work, done[name])]
    lines = ",\n".join(json.dumps(r.record()) for r in rows)  # a result a line
    head = json.dumps(about(), indent=1).removesuffix("\n}")
    files.write_text(args.out / "decoding-real.json", f'{head},\n "results": [\n{lines}\n]}}\n')
    print(table(rows))
    figure.draw(rows, args.out / "decoding-real.png")


if __name__ == "__main__":
    main()
