"""Laws through the scores of `translator.py` against the number of training sessions.

    python benchmarks/translator_scaling.py --results benchmarks/results/translator.json --out DIR

Each animal that was held out is an anchor; the run of most sessions is held out to judge the laws,
and marked. Writes `scaling.json` and `translator-scaling.png`.
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from neurofm import files
from neurofm.study.forecast import Study, study, text
from neurofm.study.points import Points

PANELS = (("co-smoothing", "bps_pooled"), ("forward", "bps_pooled"), ("intra-region", "bps_pooled"),
          ("inter-region", "bps_pooled"))  # fmt: skip
COLOURS = {"power law": "#0072B2", "log-linear": "#D55E00"}


def points(rows: list[dict[str, Any]], task: str, metric: str, way: str) -> Points | None:
    """Runs by animals held out: what the models of n sessions score after one way of adapting."""
    table: dict[int, dict[str, float]] = {}
    for row in rows:
        name, _, how = row["predictor"].partition(" ")
        kind, _, n = name.partition("-")
        asked = row["task"] == task and row["metric"] == metric and row["split"].endswith("|all")
        if asked and kind == "multi" and how == way and row["recording"] != "mean":
            table.setdefault(int(n), {})[row["recording"]] = row["value"]
    if len(table) < 3:
        return None
    animals = sorted({name for scores in table.values() for name in scores})
    sizes = sorted(table)
    y = [[table[n].get(name, math.nan) for name in animals] for n in sizes]
    return Points.of(sizes, y, metric="bits/spike")


def record(task: str, way: str, made: Study) -> dict[str, Any]:
    """What is kept of one study."""
    sizes, error = made.points.x[:, 0], made.held_out.error
    return {
        "task": task, "way": way, "sessions": sizes.tolist(), "scores": made.points.y.tolist(),
        "chosen": made.chosen, "held_out_error": {k: float(v) for k, v in error.items()},
        "at_twice": text(made.value_at(2 * float(sizes[-1]))), "gain_over_range": text(made.gain()),
    }  # fmt: skip


def panel(axes: Axes, made: Study, title: str) -> None:
    """Animals pale, their mean dark, both laws, the largest run as a diamond."""
    sizes, mean = made.points.x[:, 0], made.points.mean
    axes.plot(sizes, made.points.y, ".", color="0.7", ms=5, zorder=1)
    axes.plot(sizes[:-1], mean[:-1], "o", color="k", ms=6, label="mean of held-out animals")
    axes.plot(
        sizes[-1], mean[-1], "D", color="k", mfc="w", ms=7, label="held out to judge the laws"
    )
    grid = np.geomspace(sizes[0], 2 * sizes[-1], 60)
    _, low, high = made.band(grid)
    axes.fill_between(grid, low, high, color="0.5", alpha=0.15, lw=0, label="95% interval")
    for form, fit in made.fits.items():
        chosen = " (chosen)" if form == made.chosen else ""
        axes.plot(grid, fit.law(grid[:, None]), color=COLOURS.get(form, "#009E73"), lw=1.5,
                  ls="-" if chosen else "--", label=f"{form}{chosen}")  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([*sizes, 2 * sizes[-1]], [f"{n:g}" for n in (*sizes, 2 * sizes[-1])])
    axes.minorticks_off()
    axes.set_title(title)
    axes.set_xlabel("training sessions (other animals)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=6, frameon=False)


def main() -> None:
    """Fit, draw, keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = json.loads(args.results.read_text(encoding="utf-8"))["results"]
    ways = ("zero-shot", "all")
    sheet, grid = plt.subplots(len(ways), len(PANELS), figsize=(15, 7.5), layout="constrained")
    kept = []
    for line, way in zip(grid, ways, strict=True):
        for axes, (task, metric) in zip(line, PANELS, strict=True):
            found = points(rows, task, metric, way)
            if found is None:
                axes.set_visible(False)
                continue
            made = study(found)
            kept.append(record(task, way, made))
            panel(axes, made, f"{task}, {'zero-shot' if way == 'zero-shot' else 'adapted'}")
    for axes in grid[:, 0]:
        axes.set_ylabel("bits/spike")
    args.out.mkdir(parents=True, exist_ok=True)
    sheet.savefig(args.out / "translator-scaling.png", dpi=120)
    files.write_json(args.out / "scaling.json", kept)
    for one in kept:
        print(one["task"], one["way"], one["chosen"], one["held_out_error"], one["gain_over_range"])


if __name__ == "__main__":
    main()
