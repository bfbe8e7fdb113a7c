"""Table and figure of `translator.py`: scores on held-out animals against training sessions."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from neurofm.results import Result

TASKS = ("co-smoothing", "forward", "intra-region", "inter-region")
MINE = {  # predictor kind and way -> (label, colour of Okabe and Ito, marker)
    "multi {} all": ("all questions, adapted", "#0072B2", "o"),
    "multi {} rows": ("all questions, rows adapted", "#56B4E9", "s"),
    "multi {} zero-shot": ("all questions, zero-shot", "#009E73", "^"),
    "temporal {} all": ("bins alone (NDT), adapted", "#D55E00", "D"),
}
NULLS = ("mean-rate", "region-mean")
LEVELS = (("scratch", "from scratch", "--"), ("best", "best rival", "-."),
          ("region-mean", "region mean", ":"))  # fmt: skip


def values(found: Sequence[Result], label: str) -> dict[tuple[str, str], Result]:
    """(task, predictor) -> pooled bits per spike, mean over the animals held out."""
    return {
        (r.task, r.predictor): r
        for r in found
        if r.metric == "bps_pooled" and r.recording == "mean" and r.split.endswith(f"|{label}")
    }


def rivals(table: dict[tuple[str, str], Result], task: str) -> dict[str, Result]:
    """Classical rivals by name: not a model, not a ceiling."""
    known = ("multi", "temporal", "lfads", "scratch", "planted")
    return {p: r for (t, p), r in table.items() if t == task and not p.startswith(known)}


def of(table: dict[tuple[str, str], Result], task: str, kind: str, n: int) -> Result | None:
    """The score of one model: `multi {} all` and a number of sessions."""
    head, _, way = kind.partition(" {} ")
    return table.get((task, f"{head}-{n:03d} {way}"))


def table(found: Sequence[Result], counts: Sequence[int], tenth: str) -> str:
    """Every method by task, on a tenth and on all of the new sessions' data."""
    lines = []
    for label in (tenth, "all"):
        held = values(found, label)
        lines += ["", f"pooled bits/spike on held-out animals, {label} of their training data",
                  f"{'method':34}" + "".join(f"{t:>26}" for t in TASKS)]  # fmt: skip
        names = sorted({p for _, p in held}, key=lambda p: -_value(held, p))
        for name in names:
            cells = [held.get((t, name)) for t in TASKS]
            text = [f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" if r else "-" for r in cells]
            lines.append(f"{name:34}" + "".join(f"{c:>26}" for c in text))
    lines += ["", "paired gains of the model of all sessions, all data"]
    gains = [r for r in found if r.metric == "bps_pooled_gain" and r.recording == "mean"]
    for r in gains:
        low = r.low is not None
        span = f"[{r.low:+.3f}, {r.high:+.3f}]" if low else ""
        lines.append(
            f"{r.split:14} {r.task:14} {r.predictor:22} - {r.null:28} {r.value:+.4f} {span}"
        )
    return "\n".join(lines) + f"\ntraining sessions: {', '.join(map(str, counts))}"


def _value(held: dict[tuple[str, str], Result], name: str) -> float:
    return sum(r.value for (_, p), r in held.items() if p == name)


def draw(found: Sequence[Result], counts: Sequence[int], tenth: str, path: Path) -> None:
    """Tasks across, a tenth of the data above and all of it below."""
    sheet, axes = plt.subplots(2, len(TASKS), figsize=(15, 7), sharex=True, layout="constrained")
    for row, label in zip(axes, (tenth, "all"), strict=True):
        held = values(found, label)
        for panel, task in zip(row, TASKS, strict=True):
            _panel(panel, held, task, counts)
            part = "10%" if label == tenth else "all"
            planted = _level(held, task, "planted")  # far above: said, not drawn
            said = "" if planted is None else f" (planted {planted:.2f})"
            panel.set_title(f"{task}, {part} of new data{said}", fontsize=10)
    for panel in axes[-1]:
        panel.set_xlabel("training sessions (other animals)")
    for panel in axes[:, 0]:
        panel.set_ylabel("bits/spike, held-out animals")
    handles, labels = axes[1, 0].get_legend_handles_labels()
    sheet.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    sheet.savefig(path, dpi=130)
    plt.close(sheet)


def _panel(
    panel: Axes, held: dict[tuple[str, str], Result], task: str, counts: Sequence[int]
) -> None:
    for kind, (label, colour, marker) in MINE.items():
        points = [(n, r) for n in counts if (r := of(held, task, kind, n))]
        if points:
            at, rs = zip(*points, strict=True)
            mean = [r.value for r in rs]
            error = [[r.value - r.low for r in rs], [r.high - r.value for r in rs]]
            panel.errorbar(at, mean, error, color=colour, marker=marker, ms=5, lw=1.5, capsize=2,
                           label=label)  # fmt: skip
    for name, label, style in LEVELS:
        level = _level(held, task, name)
        if level is not None:
            panel.axhline(level, color="0.35", ls=style, lw=1, label=label)
    panel.set_xscale("log")
    panel.set_xticks(counts, [str(n) for n in counts])
    panel.minorticks_off()
    panel.spines[["top", "right"]].set_visible(False)


def _level(held: dict[tuple[str, str], Result], task: str, name: str) -> float | None:
    if name == "best":
        others = [r.value for p, r in rivals(held, task).items() if p not in NULLS]
        return max(others, default=None)
    if name == "scratch":
        found = held.get((task, "scratch-000 scratch"))
        return found.value if found else None
    found = held.get((task, name))
    return found.value if found else None
