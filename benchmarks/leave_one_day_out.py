"""Leave one day out: pre-train without a day, then decode it from its first minutes.

    python benchmarks/leave_one_day_out.py STORE --config benchmarks/configs/m1-wrist.yaml --out FOLDER

For each recording of STORE: a model is pre-trained on all the others, fine-tuned on their targets
and on the first 0, 1, 2, 5, 10 minutes of the day's training side, and scored on its last 20%,
next to ridge on the same minutes, ridge on the whole training side of the day, and ridge of other
days. A day whose results are kept in FOLDER is not done again, and a pre-training that was cut off
goes on. Days named `--together` share a pre-training that has seen none of them, which spares time.
With `--model RUN` nothing is pre-trained: the run's model is used, which may have learned from the
activity of the day's own training side, but from no target of any day. Writes FOLDER/results.json, FOLDER/r2-against-minutes.png, and prints a table.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from neurofm import config as configuration
from neurofm import files, results
from neurofm.data.recording import Recording
from neurofm.data.splits import Splits, split_by_time
from neurofm.data.store import open_store
from neurofm.evaluate.metrics import mean_interval
from neurofm.evaluate.new_session import (
    CURVED,
    LINE,
    MODEL,
    OTHER_DAY,
    OTHER_DAYS,
    RIDGE,
    SAME_DAY,
    NewSession,
    Signals,
    decode_ours,
    decode_rivals,
)
from neurofm.evaluate.summary import About
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import clock, device_named
from neurofm.results import Result
from neurofm.run import Run, new_run, open_run
from neurofm.train.finetune import FinetuneConfig
from neurofm.train.pretrain import (
    PretrainConfig,
    Progress,
    common_bin_s,
    pretrain,
    resolved_precision,
)

METRIC = "r2_flattened"
FEW = ["steps=200", "windows=8", "share=0.8", "rate=0.0003", "trunk_rate=0.0002"]


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--config", type=Path, help="configuration of the pre-training")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--days", default="", help="parts of ids, comma-separated; default: all")
    parser.add_argument("--model", type=Path, help="a run to start from, instead of pre-training")
    parser.add_argument("--together", action="append", default=[], help="parts of ids, by commas")
    parser.add_argument(
        "--others", type=int, help="so many other days teach, the nearest; default: all"
    )
    parser.add_argument("--parts", default="model,ridge", help="what is done now of each day")
    parser.add_argument("--minutes", default="0,1,2,5,10")
    parser.add_argument("--signals", default="cursor_position,cursor_velocity,emg")
    parser.add_argument("--set", action="append", default=[], help="pre-training: key.subkey=value")
    parser.add_argument(
        "--head-start", action="append", default=[], help="fine-tuning on the others"
    )
    parser.add_argument("--few", action="append", default=[], help="fine-tuning on the new day")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def left_out(given, recordings, day: str) -> list[str]:
    """The days that the pre-training for this day does without."""
    for parts in (group.split(",") for group in given.together):
        group = [r.id for r in recordings if any(part in r.id for part in parts)]
        if day in group:
            return group
    return [day]


def pretrained(given, recordings, splits: Splits, without: list[str]) -> tuple[Trained, Run]:
    """The model of the other days, made now or gone on with."""
    folder = given.out / "+".join(without) / "run"
    device = device_named(given.device)
    config = configuration.load(PretrainConfig, given.config, given.set)
    config = config.model_copy(update={
        "bin_s": config.bin_s or common_bin_s(recordings),
        "precision": resolved_precision(config.precision, device),
    })  # fmt: skip
    if (folder / "config.yaml").exists():
        run = open_run(folder)
    else:
        run = new_run(folder)
        splits.save(run.splits)
        run.describe(configuration.dump(config), {"store": str(given.store), "without": without})
    last = [0.0]

    def tell(progress: Progress) -> None:
        if time.monotonic() - last[0] > 15:
            last[0] = time.monotonic()
            step = progress.step
            say(f"  pre-training without {' and '.join(without)}: step {step.number}/{progress.n_steps}, "
                f"loss {step.loss:.4f}, {clock(progress.left_s)} left")  # fmt: skip

    sides = {side: splits.side(side) for side in ("train", "valid")}
    rest = [r for r in recordings if r.id not in without]
    return pretrain(rest, sides, config, run, device=device, say=tell), run


def nearest(others: list[Recording], place: int, n: int | None) -> tuple[Recording, ...]:
    """The n others nearest to the place of the day among them, in their order, the earlier of two first."""
    by_distance = sorted(range(len(others)), key=lambda i: (abs(i + (i >= place) - place), i))
    return tuple(others[i] for i in sorted(by_distance[:n]))


def one_day(given, recordings, splits: Splits, day: str, folder: Path, part: str) -> list[Result]:
    """Results of the model, or of ridge in all its ways."""
    if given.model:
        trained = checkpoint.load(checkpoint.best_intact(open_run(given.model).checkpoints))
        folder.mkdir(parents=True, exist_ok=True)
    else:
        trained, _run = pretrained(given, recordings, splits, left_out(given, recordings, day))
        assert day not in {name for name, _ in trained.vocabulary.sites}
    new = next(r for r in recordings if r.id == day)
    others = nearest(
        [r for r in recordings if r.id != day], [r.id for r in recordings].index(day), given.others
    )
    names = [n for n in given.signals.split(",") if n in new.signals]
    bin_s = float(trained.config["bin_s"])
    session = NewSession(
        trained, others, new, Signals.of(names, new, others, bin_s),
        {side: splits.side(side) for side in ("train", "valid", "test")},
        configuration.load(FinetuneConfig, None, ["steps=800", "windows=8", "validate_every=100", *given.head_start]),
        configuration.load(FinetuneConfig, None, [*FEW, *given.few]),
        device_named(given.device),
    )  # fmt: skip
    out = []
    minutes = [float(m) for m in given.minutes.split(",")]
    decode = {"model": decode_ours, "ridge": decode_rivals}[part]
    for found in decode(session, minutes, About(seed=0, run=folder.name)):
        [row] = [r for r in found if r.metric == METRIC]
        say(f"  {row.task} {row.predictor}: {row.value:.3f} [{row.low:.3f}, {row.high:.3f}]")
        out += found
    return out


def mean_of_days(rows: list[Result]) -> list[Result]:
    """Means over days, with an interval over days drawn again; rows of one metric stay apart."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for r in rows:
        groups.setdefault((r.task, r.predictor, r.metric, r.null), []).append(r)
    out = []
    for found in groups.values():
        values = np.array([r.value for r in found])
        if len(values) < 2:
            continue
        value, low, high = mean_interval(values, np.random.default_rng(0))
        out.append(replace(found[0], recording="mean", value=value, low=low, high=high,
                           n=len(values), unit_of_n="recordings"))  # fmt: skip
    return out


def gains(rows: list[Result]) -> list[Result]:
    """Of the model over ridge of the whole day, with and without a curve, and over itself without, by day."""
    known = {(r.recording, r.task, r.predictor): r for r in rows if r.metric == METRIC}
    out = []
    for (day, task, predictor), mine in known.items():
        if predictor not in (MODEL, LINE):
            continue
        whole = task.split("@")[0]
        rivals = [known.get((day, whole, r)) for r in (SAME_DAY, CURVED)]
        rivals += [known.get((day, task, LINE))] if predictor == MODEL else []
        out += [replace(mine, metric=f"{METRIC}_gain", null=r.predictor, value=mine.value - r.value)
                for r in rivals if r]  # fmt: skip
    return out


def minutes_of(task: str) -> float | None:
    return float(task.split("@")[1].removesuffix("min")) if "@" in task else None


def cell(
    rows: list[Result], name: str, predictor: str, minutes: float | None, metric: str
) -> float:
    values = [r.value for r in rows if r.predictor == predictor and r.metric == metric
              and r.task.split("@")[0] == f"decode:{name}" and minutes_of(r.task) == minutes]  # fmt: skip
    return float(np.mean(values)) if values else float("nan")


def table(rows: list[Result], names: list[str], minutes: list[float]) -> str:
    """Mean over the days done, for each axis that all days have (x, y) or the mean of axes."""
    lines = []
    for name in names:
        metrics = [METRIC, "r2_mean_of_axes"]
        metrics += [] if name == "emg" else ["r2_of_axis_0", "r2_of_axis_1"]
        for metric in metrics:
            head = [f"{name} {metric}", *(f"{m:g} min" for m in minutes)]
            lines.append("  ".join([head[0].ljust(36), *(h.rjust(7) for h in head[1:])]))
            for predictor in (MODEL, LINE, RIDGE):
                cells = [cell(rows, name, predictor, m, metric) for m in minutes]
                lines.append("  ".join([predictor.ljust(36), *(f"{v:7.3f}" for v in cells)]))
            for predictor in (SAME_DAY, CURVED, OTHER_DAY, OTHER_DAYS):
                lines.append(
                    f"{predictor.ljust(36)}  {cell(rows, name, predictor, None, metric):7.3f}"
                )
            lines.append("")
    return "\n".join(lines)


def plot(rows: list[Result], names: list[str], minutes: list[float], path: Path, n: int) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3.6), squeeze=False,
                                layout="constrained")  # fmt: skip
    colours = {MODEL: "#0072b2", LINE: "#56b4e9", RIDGE: "#d55e00"}
    labels = {MODEL: "model, other days' targets first", LINE: "the same without curves",
              RIDGE: "ridge, same minutes"}  # fmt: skip
    lines = {SAME_DAY: ("#000000", "-"), CURVED: ("#000000", "-."), OTHER_DAYS: ("#777777", "--"),
             OTHER_DAY: ("#777777", ":")}  # fmt: skip
    for name, axis in zip(names, axes[0], strict=True):
        for predictor, colour in colours.items():
            some = [m for m in minutes if np.isfinite(cell(rows, name, predictor, m, METRIC))]
            values = [cell(rows, name, predictor, m, METRIC) for m in some]
            axis.plot(some, values, "o-", color=colour, label=labels[predictor])
        words = {SAME_DAY: "ridge, the whole day", CURVED: "the same with a curve",
                 OTHER_DAYS: "ridge, all other days", OTHER_DAY: "ridge, the nearest day"}  # fmt: skip
        for predictor, (colour, style) in lines.items():
            axis.axhline(cell(rows, name, predictor, None, METRIC), color=colour, ls=style,
                         lw=1, label=words[predictor])  # fmt: skip
        low = min(axis.get_ylim()[0], 0.0)
        axis.set(title=name.replace("_", " "), xlabel="minutes of the new day with targets",
                 ylim=(max(low, -0.5), 1))  # fmt: skip
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel(f"R² over all axes, mean of {n} day{'s' if n > 1 else ''}")
    axes[0, 0].legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    given = arguments()
    torch.set_num_threads(given.threads)
    recordings = open_store(given.store).recordings()
    splits = split_by_time(recordings)
    parts = [part for part in given.days.split(",") if part]
    days = [r.id for r in recordings if not parts or any(part in r.id for part in parts)]
    asked = [(day, part) for part in given.parts.split(",") for day in days]
    kept = {(day, part): given.out / day / f"{part}.jsonl" for day, part in asked}
    started, made = time.monotonic(), 0
    for number, (day, part) in enumerate(asked):
        path = kept[day, part]
        if path.exists():
            say(f"{day}, {part}: kept")
            continue
        waiting = sum(not kept[one].exists() for one in asked[number:])
        left = clock(waiting * (time.monotonic() - started) / made) if made else "not known yet"
        say(f"{day}, {part}: {number + 1} of {len(asked)}, time left {left}")
        found = one_day(given, recordings, splits, day, given.out / day, part)
        torn = path.with_suffix(".part")
        torn.unlink(missing_ok=True)
        results.append(torn, found)
        torn.rename(path)
        made += 1
    rows = [r for path in kept.values() for r in results.load(path)]
    names = given.signals.split(",")
    minutes = [float(m) for m in given.minutes.split(",")]
    every = [r.record() for r in rows + mean_of_days(rows + gains(rows))]
    files.write_json(
        given.out / "results.json",
        {
            "arguments": {
                k: str(v) for k, v in vars(given).items() if k not in ("store", "out", "model")
            },
            "results": every,
        },
    )
    plot(rows, names, minutes, given.out / "r2-against-minutes.png", len(days))
    print(table(rows, names, minutes))


if __name__ == "__main__":
    main()
