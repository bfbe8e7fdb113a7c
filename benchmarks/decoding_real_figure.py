"""Figure of `decoding_real.py`: a bar a method with its interval, chance as a tick beside it."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from neurofm.results import Result

OURS, PROBED, RIVAL, NULL = "#0072B2", "#56B4E9", "#E69F00", "0.6"  # Okabe and Ito
PANELS = (
    ("decode:ca1:position", "r2_flattened", "CA1, position on a track (mean of 8 days)", "R²", {
        "model (shared)": "fine-tuned, rows shared", "model (apart)": "fine-tuned, rows apart",
        "probe (shared)": "probe, rows shared", "probe (apart)": "probe, rows apart",
        "ridge": "ridge on events",
        "probe, other days (shared)": "other days: probe, rows shared",
        "probe, other days (apart)": "other days: probe, rows apart",
        "ridge, other days": "other days: ridge on events"}),
    ("decode:v1:contrast_side", "balanced_accuracy", "V1, contrast side (mean of 3 held-out sessions)",
     "balanced accuracy", {
        "model": "fine-tuned", "scratch": "from scratch", "probe": "probe",
        "probe and counts": "probe and counts", "probe, three sessions": "probe, three sessions",
        "zero-shot": "zero-shot", "logistic": "logistic on counts", "majority": "majority"}),
    ("decode:hippocampus:running", "median_error", "Hippocampus, place while running (1 session)",
     "median error (pixels), less is better", {
        "time-bin model": "time-bin, fine-tuned", "patch model": "patch, fine-tuned",
        "event model": "event, fine-tuned", "time-bin probe": "time-bin, probe",
        "patch probe": "patch, probe", "event probe": "event, probe",
        "time-bin scratch": "time-bin, from scratch", "patch scratch": "patch, from scratch",
            "event scratch": "event, from scratch", "ridge": "ridge on counts",
        "wiener": "Wiener filter", "bayes": "Bayesian decoder", "mean": "mean position"}),
)  # fmt: skip


def draw(rows: Sequence[Result], path: Path) -> None:
    """A panel a recording set that was decoded."""
    panels = [p for p in PANELS if any(r.task == p[0] for r in rows)]
    sheet, axes = plt.subplots(1, len(panels), figsize=(6.2 * len(panels), 5.2),
                               layout="constrained", squeeze=False)  # fmt: skip
    for axis, (task, metric, title, unit, names) in zip(axes[0], panels, strict=True):
        _panel(axis, [r for r in rows if r.task == task], metric, names)
        axis.set_title(title, fontsize=11)
        axis.set_xlabel(unit)
    kinds = [(OURS, "the model, fine-tuned"), (PROBED, "its frozen latents"),
             (RIVAL, "rivals"), (NULL, "no activity used")]  # fmt: skip
    handles = [mpl.patches.Patch(color=colour, label=label) for colour, label in kinds]
    handles.append(mpl.lines.Line2D([], [], color="0.15", ls=":", label="chance"))
    sheet.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False,
                 title="95% intervals")  # fmt: skip
    sheet.savefig(path, dpi=110)
    plt.close(sheet)


def _panel(axis: Axes, rows: Sequence[Result], metric: str, names: dict[str, str]) -> None:
    several = len({r.recording for r in rows}) > 2
    held = {r.predictor: r for r in rows
            if r.metric == metric and (r.recording == "mean") == several}  # fmt: skip
    chances = {r.predictor: r.value for r in rows if r.metric == f"{metric}_chance"}
    there = [n for n in names if n in held]
    for at, name in enumerate(there):
        r = held[name]
        axis.barh(at, r.value, color=_colour(name), height=0.7)
        if math.isfinite(r.low):
            axis.errorbar(r.value, at, xerr=[[r.value - r.low], [r.high - r.value]], color="0.15",
                          capsize=3, lw=1.2)  # fmt: skip
        chance = r.chance if r.chance is not None else chances.get(name)
        if chance is not None:
            axis.plot([chance, chance], [at - 0.4, at + 0.4], color="0.15", ls=":", lw=1.5)
        axis.text(0.99, at, f"{r.value:.0f}" if metric == "median_error" else f"{r.value:.2f}", transform=axis.get_yaxis_transform(), ha="right",
                  va="center", fontsize=9)  # fmt: skip
    axis.set_yticks(range(len(there)), [names[n] for n in there])
    axis.invert_yaxis()
    axis.axvline(0, color="0.3", lw=0.8)
    low, high = axis.get_xlim()
    axis.set_xlim(low, high + 0.14 * (high - low))
    axis.spines[["top", "right"]].set_visible(False)


def _colour(name: str) -> str:
    if name in ("majority", "mean"):
        return NULL
    if name.startswith(("ridge", "wiener", "bayes", "logistic")) or "scratch" in name:
        return RIVAL
    return PROBED if "probe" in name or name == "zero-shot" else OURS
