"""Laws through the scores of `translator.py` and of `leave_one_day_out.py`, drawn with what was held out.

    python benchmarks/scaling_plots.py --results benchmarks/results/translator.json --out DIR
    python benchmarks/scaling_plots.py --days benchmarks/results/leave-one-day-out.json --out DIR

Against the number of training sessions, each animal that was held out is an anchor; against minutes
of a new day, each day. The run of the largest size is held out to judge the laws, and marked.
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

TASKS = ("co-smoothing", "forward", "intra-region", "inter-region")
SIGNALS = ("cursor_position", "cursor_velocity", "emg")
COLOURS = {"power law": "#0072B2", "log-linear": "#D55E00"}


def sessions_points(rows: list[dict[str, Any]], task: str, way: str) -> Points | None:
    """Models of n sessions by animals held out: bits per spike after one way of adapting."""
    table: dict[float, dict[str, float]] = {}
    for row in rows:
        name, _, how = row["predictor"].partition(" ")
        kind, _, n = name.partition("-")
        asked = row["task"] == task and row["metric"] == "bps_pooled"
        asked = asked and row["split"].endswith("|all") and row["recording"] != "mean"
        if asked and kind == "multi" and how == way:
            table.setdefault(float(n), {})[row["recording"]] = row["value"]
    return _points(table, "sessions", "bits/spike")


def minutes_points(rows: list[dict[str, Any]], signal: str, predictor: str) -> Points | None:
    """Minutes of a new day by days: R2 of a signal over all its axes."""
    table: dict[float, dict[str, float]] = {}
    for row in rows:
        target, _, minutes = row["task"].removeprefix("decode:").partition("@")
        asked = target == signal and row["metric"] == "r2_flattened" and minutes
        if asked and row["predictor"] == predictor and row["recording"] != "mean":
            size = float(minutes.removesuffix("min"))
            if size > 0:
                table.setdefault(size, {})[row["recording"]] = row["value"]
    return _points(table, "minutes", "R²")


def _points(table: dict[float, dict[str, float]], axis: str, metric: str) -> Points | None:
    if len(table) < 3:
        return None
    anchors = sorted({name for scores in table.values() for name in scores})
    sizes = sorted(table)
    y = [[table[n].get(name, math.nan) for name in anchors] for n in sizes]
    return Points.of(sizes, y, axes=(axis,), metric=metric)


def record(what: str, made: Study) -> dict[str, Any]:
    """What is kept of one study."""
    sizes, error = made.points.x[:, 0], made.held_out.error
    return {
        "what": what, "axis": made.points.axes[0], "sizes": sizes.tolist(),
        "scores": made.points.y.tolist(), "chosen": made.chosen,
        "held_out_error": {form: float(value) for form, value in error.items()},
        "at_twice": text(made.value_at(2 * float(sizes[-1]))), "gain_over_range": text(made.gain()),
    }  # fmt: skip


def panel(axes: Axes, made: Study, title: str) -> None:
    """Animals pale, their mean dark, both laws, the largest run as a diamond."""
    sizes, mean = made.points.x[:, 0], made.points.mean
    axes.plot(sizes, made.points.y, ".", color="0.7", ms=5, zorder=1)
    axes.plot(sizes[:-1], mean[:-1], "o", color="k", ms=6, label="mean of what was held out")
    axes.plot(
        sizes[-1], mean[-1], "D", color="k", mfc="w", ms=7, label="held out to judge the laws"
    )
    grid = np.geomspace(sizes[0], 2 * sizes[-1], 60)
    _, low, high = made.band(grid)
    axes.fill_between(grid, low, high, color="0.5", alpha=0.15, lw=0, label="95% interval")
    for form, fit in made.fits.items():
        solid = "-" if form == made.chosen else "--"
        axes.plot(grid, fit.law(grid[:, None]), color=COLOURS[form], lw=1.5, ls=solid, label=form)
    axes.set_xscale("log")
    axes.set_xticks([*sizes, 2 * sizes[-1]], [f"{n:g}" for n in (*sizes, 2 * sizes[-1])])
    axes.minorticks_off()
    axes.set_title(f"{title}\n(held-out error least: {made.chosen})", fontsize=10)
    axes.set_xlabel(f"{made.points.axes[0]} (logarithmic scale)")
    axes.set_ylabel(made.points.metric)
    axes.spines[["top", "right"]].set_visible(False)


def of_sessions(rows: list[dict[str, Any]]) -> list[list[tuple[str, Points | None]]]:
    """Zero-shot above, adapted below, tasks across."""
    ways = {"zero-shot": "zero-shot", "all": "adapted"}
    return [
        [(f"{task}, {words}", sessions_points(rows, task, way)) for task in TASKS]
        for way, words in ways.items()
    ]


def of_minutes(rows: list[dict[str, Any]]) -> list[list[tuple[str, Points | None]]]:
    """The model above, ridge on the same minutes below, signals across."""
    names = {"model": "model", "ridge": "ridge"}
    return [
        [(f"{signal.replace('_', ' ')}, {words}", minutes_points(rows, signal, predictor))
         for signal in SIGNALS]
        for predictor, words in names.items()
    ]  # fmt: skip


def main() -> None:
    """Fit, draw, keep."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--results", type=Path, help="translator.json")
    parser.add_argument("--days", type=Path, help="leave-one-day-out.json")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for path, lay, name in ((args.results, of_sessions, "scaling-sessions"),
                            (args.days, of_minutes, "scaling-minutes")):  # fmt: skip
        if path is None:
            continue
        lines, kept = lay(json.loads(path.read_text(encoding="utf-8"))["results"]), []
        n = len(lines[0])
        sheet, grid = plt.subplots(len(lines), n, figsize=(3.8 * n, 7.5), layout="constrained")
        for axes, (title, found) in zip(
            grid.flat, [c for line in lines for c in line], strict=True
        ):
            axes.set_visible(found is not None)
            if found is not None:
                made = study(found)
                kept.append(record(title, made))
                panel(axes, made, title)
        shown = next((axes for axes in grid.flat if axes.get_visible()), grid.flat[0])
        handles, labels = shown.get_legend_handles_labels()
        sheet.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        sheet.savefig(args.out / f"{name}.png", dpi=110)
        files.write_json(args.out / f"{name}.json", kept)
        for one in kept:
            print(one["what"], one["chosen"], one["held_out_error"], one["gain_over_range"])


if __name__ == "__main__":
    main()
