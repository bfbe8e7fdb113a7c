"""The figure of `worms_across.py`: R² by minutes of a worm's own targets, mean of worms and each worm.

    python benchmarks/worms_across_figure.py

It reads `results/worms-across.json` and writes `results/worms-across.png`.
"""

import json
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent / "results"
TASKS = ("@1min", "@2min", "@4min", "@all")
LOOKS = {  # Okabe and Ito
    "model": ("#0072B2", "o", "drawn to three other worms"),
    "flat prior": ("#009E73", "s", "the same without shape"),
    "prior of moved targets": ("#CC79A7", "^", "taught by moved targets"),
    "ridge": ("#D55E00", "v", "own ridge, all neurons"),
}
FLOOR = -1.0


def main() -> None:
    """Two panels, velocity and head angle."""
    rows = json.loads((HERE / "worms-across.json").read_text())["results"]
    score = {
        (r["task"], r["predictor"], r["recording"]): r
        for r in rows
        if r["metric"] == "r2_flattened"
    }
    worms = sorted({r["recording"] for r in rows} - {"mean"})
    sheet, panels = plt.subplots(1, 2, figsize=(9.6, 4.0), sharey=True, layout="constrained")
    for panel, signal in zip(panels, ("velocity", "head_angle"), strict=True):
        for k, (method, (colour, marker, label)) in enumerate(LOOKS.items()):
            x = np.arange(len(TASKS)) + 0.16 * (k - 1.5)
            tasks = [f"decode:{signal}{after}" for after in TASKS]
            mean = [score[task, method, "mean"] for task in tasks]
            value = np.array([r["value"] for r in mean])
            low, high = (np.array([r[b] for r in mean]) for b in ("low", "high"))
            panel.vlines(x, low.clip(FLOOR), high.clip(FLOOR), color=colour, lw=1.5)
            shown = value >= FLOOR
            panel.plot(x[shown], value[shown], marker, color=colour, ms=7, label=label)
            for at, v in zip(x[~shown], value[~shown], strict=True):
                panel.annotate(
                    f"{v:.1f}", (at, FLOOR), color=colour, fontsize=7, ha="center", va="bottom"
                )
            for worm in worms:
                own = np.array([score[task, method, worm]["value"] for task in tasks])
                panel.plot(
                    x, np.where(own >= FLOOR, own, np.nan), ".", color=colour, ms=4, alpha=0.5
                )
        panel.axhline(0, color="0.5", lw=0.8)
        panel.set_title(signal.replace("_", " "), fontsize=10)
        panel.set_xticks(range(len(TASKS)), ["1", "2", "4", "all"])
        panel.set_xlabel("minutes of the worm's own targets")
        panel.set_ylim(FLOOR - 0.02, 1)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("R² on test blocks")
    panels[1].legend(frameon=False, fontsize=8, loc="lower right")
    sheet.savefig(HERE / "worms-across.png", dpi=130)


if __name__ == "__main__":
    main()
