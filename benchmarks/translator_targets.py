"""What `translator.py` decodes of the animals held out, and its table and figure.

Choice and whisking, by how many sessions of other animals the model has seen: with no target of the
animal (`neurofm decode --new`), with a tenth of its targets, with all of its training side's.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from neurofm import files
from neurofm.data.store import open_store
from neurofm.decoding import decode_run
from neurofm.decoding_new import decode_new_run
from neurofm.evaluate.metrics import mean_interval

TARGETS = "choice,whisker_motion_energy"
QUICK = "probe,ridge,logistic"
Records = Sequence[dict[str, Any]]
TARGET_PANELS = (
    ("decode:whisker_motion_energy", "r2_flattened", "R² of whisking", "ridge"),
    ("decode:choice", "balanced_accuracy", "balanced accuracy of choice", "logistic"),
)
TARGET_LINES = {  # what reads -> (label, colour of Okabe and Ito, marker)
    "model": ("model, fine-tuned", "#0072B2", "o"),
    "probe": ("a head on its frozen latents", "#009E73", "^"),
    "region-rates": ("rates of regions", "#D55E00", "D"),
}
HEADS = ("r2_flattened", "balanced_accuracy")
METRICS = tuple(f"{head}{end}" for head in HEADS for end in ("", "_chance", "_gain"))
ASIDE = (1.0, 1.05, 0.95)  # so that intervals do not hide one another
Models = Mapping[str, int]  # name of the folder -> sessions that it was trained on


def run_decoding(out: Path, models: Models, tenth: float) -> None:
    """Read from the latents of adapted models; every method beside the last, given all targets.

    Of targets, a tenth or all of the training side; of activity, all of it.
    """
    say = partial(print, "[decoding]", flush=True)
    for minutes, (name, n) in ((m, one) for m in (tenth, None) for one in models.items()):
        words = "all" if minutes is None else f"{minutes:g}min"
        path = out / "decoding" / f"{name}-{words}.json"
        if path.exists() or not (out / "adapted" / name / "done.json").exists():
            continue
        methods = "all" if n == max(models.values()) and minutes is None else QUICK
        found = []
        for recording in open_store(out / "new").recordings():
            found += decode_run(out / "adapted" / name / recording.id, targets=TARGETS, methods=methods,
                                minutes=minutes, device="cpu", say=say, tick=say)  # fmt: skip
        path.parent.mkdir(exist_ok=True)
        files.write_json(path, [r.record() | {"n_sessions": n} for r in found])


def run_untaught(out: Path, models: Models) -> None:
    """Told by the targets of the training animals alone."""
    say = partial(print, "[untaught]", flush=True)
    for name, n in models.items():
        path = out / "untaught" / f"{name}.json"
        if path.exists() or not (out / "runs" / name / "checkpoints").exists():
            continue
        found = decode_new_run(out / "runs" / name, out / "new", targets=TARGETS,
                               store=out / "train", device="cpu", say=say, tick=say)  # fmt: skip
        path.parent.mkdir(exist_ok=True)
        files.write_json(path, [r.record() | {"n_sessions": n} for r in found])


def summary(out: Path, about: dict[str, Any], counts: Sequence[int], tenth: float) -> None:
    """Prints the table, draws the figure and writes the headlines of what there is, if any."""
    found = {}
    for part in ("decoding", "untaught"):
        parts = [json.loads(path.read_text()) for path in sorted((out / part).glob("*.json"))]
        found[part] = [row for some in parts for row in some if row["metric"] in METRICS]
    tables = [("no target of the animal", "@0min", found["untaught"]),
              ("a tenth of its targets, latents frozen", f"@{tenth:g}min", found["decoding"]),
              ("all of its training targets", "", found["decoding"])]  # fmt: skip
    names = [task for task, *_ in TARGET_PANELS]
    tables = [t for t in tables if any(r["task"] == name + t[1] for r in t[2] for name in names)]
    if tables:
        print(targets_table(tables, counts))
        draw_targets(tables, counts, out / "translator-targets.png")
        text = json.dumps(about | found).replace('}, {"chance"', '},\n{"chance"')
        files.write_text(out / "translator-targets.json", text + "\n")


def draw_targets(
    tables: Sequence[tuple[str, str, Records]], counts: Sequence[int], path: Path
) -> None:
    """A row of panels for each of `tables`: (its words, what follows the task's name, records)."""
    n_rows = len(tables)
    sheet, axes = plt.subplots(
        n_rows, 2, figsize=(9, 3.4 * n_rows), squeeze=False, layout="constrained"
    )
    for row, (words, suffix, rows) in zip(axes, tables, strict=True):
        for panel, (task, metric, name, own) in zip(row, TARGET_PANELS, strict=True):
            here = [r for r in rows if r["task"] == task + suffix and r["metric"] == metric]
            _target_panel(panel, here, counts, own)
            panel.set_ylabel(name)
            panel.set_title(words, fontsize=10)
    for panel in axes[-1]:
        panel.set_xlabel("sessions of other animals")
    known = {
        name: handle
        for panel in axes.flat
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    sheet.legend(known.values(), known, loc="outside lower center", ncols=3, frameon=False)
    sheet.savefig(path, dpi=130)
    plt.close(sheet)


def _target_panel(panel: Axes, rows: Records, counts: Sequence[int], own: str) -> None:
    """Means over animals with intervals that draw the animals again; what the animal's own targets give."""
    for aside, (method, (label, colour, marker)) in zip(ASIDE, TARGET_LINES.items(), strict=True):
        found = [(n, *over_animals(rows, method, n)) for n in counts if any(
            r["predictor"] == method and r["n_sessions"] == n for r in rows)]  # fmt: skip
        if found:
            at, mean, low, high = map(np.array, zip(*found, strict=True))
            panel.errorbar(at * aside, mean, [mean - low, high - mean], color=colour, marker=marker, ms=5,
                           lw=1.5, capsize=2, label=label)  # fmt: skip
    for method, words, style in (
        (own, "counts, the same targets", "-."),
        (f"{own}, own targets", "counts, all of its own targets", "--"),
    ):
        if any(r["predictor"] == method for r in rows):
            level = over_animals(rows, method, counts[-1])[0]
            panel.axhline(level, color="0.35", ls=style, lw=1, label=words)
    panel.axhline(0.5 if own == "logistic" else 0.0, color="0.6", ls=":", lw=1, label="chance")
    panel.set_xscale("log")
    panel.set_xticks(counts, [str(n) for n in counts])
    panel.minorticks_off()
    panel.spines[["top", "right"]].set_visible(False)


def over_animals(
    rows: Records, method: str, n: int, less: int | None = None
) -> tuple[float, float, float]:
    """Mean over animals and its interval; of the difference to `less` sessions if that is given."""

    def of(m: int) -> dict[str, float]:
        return {r["recording"]: r["value"] for r in rows
                if r["predictor"] == method and r["n_sessions"] == m and r["recording"] != "mean"}  # fmt: skip

    mine, theirs = of(n), {} if less is None else of(less)
    values = np.array([mine[k] - theirs.get(k, 0.0) for k in sorted(mine)])
    return mean_interval(values, np.random.default_rng(0))


def targets_table(tables: Sequence[tuple[str, str, Records]], counts: Sequence[int]) -> str:
    """Every reader by number of sessions, and the most less the fewest."""
    lines = []
    for words, suffix, rows in tables:
        for task, metric, _, own in TARGET_PANELS:
            here = [r for r in rows if r["task"] == task + suffix and r["metric"] == metric]
            for method in (*TARGET_LINES, own, f"{own}, own targets"):
                there = [
                    n
                    for n in counts
                    if any(r["predictor"] == method and r["n_sessions"] == n for r in here)
                ]
                cells = [
                    f"{n}: {m:.3f} [{a:.3f}, {b:.3f}]"
                    for n in there
                    for m, a, b in [over_animals(here, method, n)]
                ]
                if len(there) > 1:
                    m, a, b = over_animals(here, method, there[-1], there[0])
                    cells.append(f"{there[-1]} less {there[0]}: {m:+.3f} [{a:+.3f}, {b:+.3f}]")
                lines += [f"{words}; {task}; {method}: " + "  ".join(cells)] if cells else []
    return "\n".join(lines)
