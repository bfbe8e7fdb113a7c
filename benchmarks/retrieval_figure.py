"""Record and figure of `retrieval.py`: the controls, hours of training with a law, and the null."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from neurofm import files
from neurofm.results import Result
from neurofm.study.forecast import Study, sentence, study, text
from neurofm.study.points import Points

RESULTS = Path(__file__).parent / "results"
BAR, CHANCE = "0.15", "0.55"
COLOURS = {"eeg": "#0072B2", "only the brain": "#009E73", "only the leak": "#E69F00",
           "emg on noise, as it leaks": "#56B4E9", "emg alone, as it leaks": "#D55E00",
           "emg alone, each in turn": "#CC79A7"}  # fmt: skip
LABELS = {"eeg": "EEG as recorded", "only the brain": "EEG without the leak",
          "only the leak": "EEG without the brain", "emg on noise, as it leaks": "EMG on noise, as it leaks",
          "emg alone, as it leaks": "EMG, as it leaks",
          "emg alone, each in turn": "EMG, each in turn"}  # fmt: skip
ALWAYS = [p for p in COLOURS if not p.startswith("only")]
Done = dict[str, list[dict[str, Any]]]


def top(rows: list[dict[str, Any]], predictor: str, k: int = 10) -> float:
    [found] = [
        r for r in rows if r["predictor"] == predictor and r["metric"].startswith(f"top_{k}_")
    ]
    return float(found["value"])


def grouped(done: Done, prefix: str) -> dict[str, list[list[dict[str, Any]]]]:
    """{what was trained: rows of each seed}."""
    out: dict[str, list[list[dict[str, Any]]]] = {}
    for name, rows in done.items():
        if name.startswith(prefix):
            out.setdefault(name.removeprefix(prefix).rpartition("-")[0], []).append(rows)
    return out


def hours(done: Done) -> tuple[dict[str, Any], Study]:
    """Top-10 of each row by minutes, (minutes, seeds), and the law of EEG as recorded."""
    found = grouped(done, "hours-")
    minutes = sorted(map(float, found))
    n = min(map(len, found.values()))  # seeds that are done at every size
    values = {p: [[top(rows, p) for rows in found[f"{m:g}"][:n]] for m in minutes] for p in ALWAYS}
    points = Points.of(minutes, values["eeg"], axes=["minutes"], metric="top-10 of 512")
    return {"minutes": minutes, "top_10": values}, study(points)


def draw_controls(axis: Axes, done: Done) -> None:
    found = grouped(done, "controls-")
    for at, seeds in enumerate(found.values()):
        for k, predictor in enumerate(COLOURS):
            y = [top(rows, predictor) for rows in seeds]
            x = at + (k - 2.5) * 0.13
            axis.bar(x, np.mean(y), 0.12, color=COLOURS[predictor],
                     label=LABELS[predictor] if at == 0 else None)  # fmt: skip
            axis.plot([x] * len(y), y, ".", color=BAR, ms=3)
    axis.axhline(10 / 512, color=CHANCE, ls=":", label="chance")
    names = [
        n.replace("brain and muscle-", "brain and muscle:\n").replace("alone-", "alone:\n")
        for n in found
    ]
    axis.set_xticks(range(len(found)), names, fontsize=8)
    axis.set_ylabel("top-10 of 512")
    axis.set_title("Simulated, 20 min of training (dots: each simulated person)", fontsize=10)
    axis.legend(frameon=False, fontsize=8, loc="upper right", ncols=2)
    axis.set_ylim(0, 1)


def draw_hours(axis: Axes, table: dict[str, Any], made: Study) -> None:
    minutes = np.array(table["minutes"])
    for predictor, values in table["top_10"].items():
        y, colour = np.array(values), COLOURS[predictor]
        axis.plot(minutes, y.mean(axis=1), "o-" if predictor != "eeg" else "o", color=colour, ms=4, lw=1,
                  label=LABELS[predictor])  # fmt: skip
        axis.plot(np.repeat(minutes, y.shape[1]), y.ravel(), ".", color=colour, ms=3, alpha=0.5)
    fine = np.geomspace(minutes[0], minutes[-1], 60)
    middle, low, high = made.band(fine)
    axis.fill_between(fine, low, high, color=COLOURS["eeg"], alpha=0.15, lw=0)
    axis.plot(fine, middle, color=COLOURS["eeg"], lw=1.5, label=f"law: {made.chosen}")
    axis.axhline(10 / 512, color=CHANCE, ls=":")
    axis.set_xscale("log")
    axis.set_xticks(minutes, [f"{m:g}" for m in minutes])
    axis.minorticks_off()
    axis.set_ylim(bottom=0)
    axis.set_xlabel("minutes of training")
    axis.set_ylabel("top-10 of 512")
    axis.set_title("Simulated, weaker; EMG taken out and mixed in", fontsize=10)
    axis.legend(frameon=False, fontsize=7)


def draw_null(axis: Axes, found: dict[str, Sequence[Result]]) -> None:
    said = {"own": "one model a person", "all": "one model, all people", "shuffled": "trained on shuffled pairs",
            "leak": "sound planted in\none electrode"}  # fmt: skip
    rows = [r for some in found.values() for r in some if r.metric == "top_1_of_16"]
    for at, r in enumerate(rows):
        axis.plot([r.low, r.high], [at, at], color="#0072B2")
        axis.plot(r.value, at, "o", color="#0072B2", ms=5)
    names = [
        f"{said[r.predictor.partition(', ')[0]]}: {r.predictor.partition(', ')[2]}" for r in rows
    ]
    axis.set_yticks(range(len(rows)), names, fontsize=7)
    axis.invert_yaxis()
    axis.axvline(1 / 16, color=CHANCE, ls=":", label="chance, 0.0625")
    axis.axvline(0.08, color="#D55E00", ls="--", label="a leak, 0.08")
    axis.set_xlabel("top-1 of 16 phonemes, 95% over people")
    axis.set_title("FEIS, fixation: a null", fontsize=10)
    axis.legend(frameon=False, fontsize=7, loc="lower right")


def record(done: Done, null: dict[str, list[Result]]) -> None:
    """Everything into `results/retrieval.json`, and the figure beside it."""
    table, made = hours(done)
    kept = {name: rows for name, rows in done.items() if not name.startswith("feis")}
    law = {"chosen": made.chosen, "law": str(made.fits[made.chosen].law), "held_out_error": dict(made.held_out.error),
           "limit": text(made.limit()), "half": sentence(made, 0.5)}  # fmt: skip
    whole = {"simulated": kept, "hours": {**table, "law": law},
             "feis": {name: [r.record() for r in rows] for name, rows in null.items()}}  # fmt: skip
    files.write_json(RESULTS / "retrieval.json", whole)
    sheet = plt.figure(figsize=(13, 9), layout="constrained")
    grid = sheet.add_gridspec(2, 2)
    wide, left, right = (sheet.add_subplot(grid[at]) for at in ((0, slice(None)), (1, 0), (1, 1)))
    draw_controls(wide, done)
    draw_hours(left, table, made)
    draw_null(right, null)
    for axis in (wide, left, right):
        axis.spines[["top", "right"]].set_visible(False)
    sheet.savefig(RESULTS / "retrieval.png", dpi=90)
    print(law)
