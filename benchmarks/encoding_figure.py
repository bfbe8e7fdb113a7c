"""Figure of `encoding_real.py` and `bayes_real.py`: similarity, voxels and neurons, decoding by Bayes.

`python benchmarks/encoding_figure.py`, in the repository; reads and writes `benchmarks/results`.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from neurofm import files

OURS, OTHER, NULL, BAR = "#0072B2", "#E69F00", "0.6", "0.15"  # Okabe and Ito
RESULTS = Path(__file__).parent / "results"
MODELS = (
    "pixels",
    "Gabor energies",
    "V1 model",
    "HMAX",
    "animacy",
    "behaviour, 16 people",
    "monkey IT",
)
BANDS = (
    "luminance",
    "pixels",
    "Gabor, 3 px",
    "Gabor, 5 px",
    "Gabor, 8 px",
    "one penalty, all bands",
    "banded, all bands",
)
DIGITS = ("digit", "pixels", "Gabor", "banded, all three")
DECODERS = (
    "bayes walk",
    "bayes walk, causal",
    "bayes window",
    "ridge",
    "ridge, causal",
    "wiener",
    "no activity",
)
Rows = Sequence[dict[str, Any]]


def value(rows: Rows, task: str, name: str, metric: str) -> tuple[float, float, float]:
    """(value, low, high) of the mean over recordings, or of the only recording."""
    found = [
        r
        for r in rows
        if (r["task"], r["predictor"], r["metric"]) == (task, name, metric) and not r["null"]
    ]
    one = next((r for r in found if r["recording"] == "mean"), found[0])
    return tuple(math.nan if one[k] is None else one[k] for k in ("value", "low", "high"))  # type: ignore[return-value]


def bars(axis: Axes, rows: Rows, task: str, metric: str, names: Sequence[str], ours: str) -> None:
    for at, name in enumerate(names):
        middle, low, high = value(rows, task, name, metric)
        colour = OURS if ours in name else NULL if name == "no activity" else OTHER
        axis.barh(at, middle, color=colour, height=0.7)
        axis.plot([low, high], [at, at], color="0.1", lw=1.2)
        axis.text(max(high, middle, 0), at, f" {middle:.3g}", va="center", fontsize=8)
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.12)


def main() -> None:
    encoded = files.read_json(RESULTS / "encoding-real.json")["results"]
    decoded = files.read_json(RESULTS / "bayes-real.json")["results"]
    sheet, axes = plt.subplots(2, 3, figsize=(14, 6.6), layout="constrained")
    for axis, target in zip(
        axes[0, :2], ("IT, 15 subjects", "early visual, 15 subjects"), strict=True
    ):
        task = f"encode:{target}"
        bars(axis, encoded, task, "spearman", MODELS, "none of them")
        low, high = (
            value(encoded, task, f"ceiling, {b}", "spearman")[0] for b in ("lower", "upper")
        )
        axis.axvspan(low, high, color="0.85", zorder=0, label="noise ceiling")
        axis.legend(frameon=False, fontsize=8, loc="lower right")
        axis.set_title(f"92 images: {target}", fontsize=10)
        axis.set_xlabel("Spearman, mean of subjects")
    bars(axes[0, 2], encoded, "encode:patterns", "r, mean of 4", BANDS, "banded")
    axes[0, 2].set_title("Macaque V1, 9,500 patterns", fontsize=10)
    axes[0, 2].set_xlabel("r on 1,900 held-out patterns, mean of 4 neurons")
    bars(axes[1, 0], encoded, "encode:digits", "top-1 of 10", DIGITS, "banded")
    axes[1, 0].axvline(0.1, color=BAR, ls=":", label="chance")
    axes[1, 0].axvline(0.2, color=BAR, ls="--", label="the digit alone")
    axes[1, 0].legend(frameon=False, fontsize=8, loc="lower right")
    axes[1, 0].set_title("Digits seen, from V1 to V3 by the encoder", fontsize=10)
    axes[1, 0].set_xlabel("top-1 of 10 images")
    titles = {
        "hippocampus: running": "Rat hippocampus, running",
        "ca1: position": "Mouse CA1, mean of 8 sessions",
    }
    units = {"hippocampus: running": "pixels", "ca1: position": "track lengths"}
    for axis, (task, title) in zip(axes[1, 1:], titles.items(), strict=True):
        bars(axis, decoded, f"decode:{task}", "median_error", DECODERS, "walk")
        for at, name in enumerate(DECODERS):
            chance = value(decoded, f"decode:{task}", name, "median_error_chance")[0]
            axis.plot([chance, chance], [at - 0.35, at + 0.35], color=BAR, ls=":")
        axis.set_title(title, fontsize=10)
        axis.set_xlabel(f"median error ({units[task]}), less is better; dotted: shifted targets")
    sheet.suptitle("Lines: 95% intervals over stimuli or blocks of 10 s", fontsize=9)
    sheet.savefig(RESULTS / "encoding-real.png", dpi=100)


if __name__ == "__main__":
    main()
