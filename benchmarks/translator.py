"""What pooling sessions gives to animals that were held out, on simulated recordings.

    python benchmarks/translator.py --out DIR --jobs 2

Models are pre-trained on 1, 2, 5, 10 and all sessions of the training animals, by all questions
(`multi`) or by hiding bins alone (`temporal`, the NDT baseline), and adapted to animals that they
have not seen. They are scored on these animals' test parts next to models from scratch, rivals and
the planted rates. Every model has the same configuration and a constant rate, and is trained until
validation on its own sessions has not risen for `PATIENCE` checks, at most `steps`; the running
average of the best check is kept. So no model is cut short for having more to learn from. Each
animal is adapted to by itself, as a user with one new animal would: together, four new sessions
are themselves a training set, beside which it matters little what came before. Adapting is gentle
(`GENTLE`), since a rate that throws a model back at its first steps keeps the start as the best. A cell is one model with its adaptations: it runs in a process of its own, and what is
done is not done again. `--smoke` is the same at toy size.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import translator_figure as figure
import translator_targets as targets

from neurofm import files
from neurofm import results as records
from neurofm.adapting import Ways, adapt_run
from neurofm.data import splits as split
from neurofm.data.ingest import ingest
from neurofm.data.store import open_store
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.data.synthetic_nwb import write_nwb
from neurofm.data.synthetic_truth import load_truth
from neurofm.evaluate import keep
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.planted import Planted
from neurofm.evaluate.score import Scored, score
from neurofm.evaluate.summary import About, results_of
from neurofm.evaluate.tasks import TASKS
from neurofm.pipeline import Say, pretrain_store

BIN_S = 0.02
ALL_TASKS = ",".join(TASKS)
FEW = "mean-rate,region-mean,ridge,reduced-rank"  # on a tenth of the data


@dataclass(frozen=True)
class Size:
    """How large the figure is. `counts`: training sessions; `tenth`: minutes that are 10%.

    `steps`: of a pre-training, at most, checked `every` so many; `adapt_steps`, `adapt_every`: likewise.
    """

    simulation: SimulationConfig
    n_held_out: int
    counts: tuple[int, ...]
    steps: int
    every: int
    adapt_steps: int
    adapt_every: int
    tenth: float
    settings: tuple[str, ...] = ()


FULL = Size(
    SimulationConfig(n_animals=14, sessions_per_animal=2, units_min=40, units_max=60, minutes=10),
    n_held_out=4, counts=(1, 2, 5, 10, 20), steps=6000, every=250, adapt_steps=600, adapt_every=50, tenth=0.7,
)  # fmt: skip
SMOKE = Size(
    SimulationConfig(n_animals=4, sessions_per_animal=1, units_min=15, units_max=15, minutes=2),
    n_held_out=2, counts=(1, 2), steps=6, every=3, adapt_steps=4, adapt_every=2, tenth=0.7,
    settings=("windows=4", "window_bins=40", "precision=fp32"),
)  # fmt: skip
MULTI = ["masks.units=0.35", "masks.future=0.3", "masks.intra_region=0.2", "masks.inter_region=0.15",
         "masks.bins=0"]  # fmt: skip
REGULAR = ["model.rows=inductive", "model.backbone.dropout=0.2", "optim.weight_decay=0.3",
           "optim.matrix_rate=0", "optim.rate=1e-3", "windows=16", "precision=fp32"]  # fmt: skip
PATIENCE = 4
GENTLE = ["rate=1e-3", "warmup=50", "average=0.98", "last=0.05"]
STEADY = ["optim.last=1", "optim.average=0.998", f"patience={PATIENCE}", "valid_batches=16"]


@dataclass(frozen=True)
class Cell:
    """One pre-trained model. `kind`: multi, temporal, lfads or scratch; `n` training sessions."""

    kind: str
    n: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.kind}-{self.n:03d}"


SCRATCH = Cell("scratch", 0)
"""No model: a fresh one of the same configuration for each animal, stopped as pre-training is."""


def ways(cell: Cell, size: Size) -> Ways:
    """How a cell is adapted to the animals held out.

    On a tenth of the data, the model of all sessions and what is from scratch alone.
    """
    how, minutes = "zero-shot,rows,all", "all"
    if cell.kind == "scratch" or cell == Cell("multi", size.counts[-1]):
        minutes = f"{size.tenth:g},all"
    if cell.kind in ("lfads", "scratch"):
        how = {"lfads": "all", "scratch": "scratch"}[cell.kind]
    return Ways(how, minutes, ALL_TASKS, "none")


def cells(size: Size) -> list[Cell]:
    """All models, the slowest first."""
    most = size.counts[-1]
    multi = [Cell("multi", n) for n in reversed(size.counts)]
    temporal = [Cell("temporal", n) for n in (most, size.counts[0])]
    return [multi[0], temporal[0], Cell("lfads", most), *multi[1:], *temporal[1:], SCRATCH]


def make_stores(out: Path, size: Size) -> None:
    """Simulated sessions as NWB, and two stores: animals to train on, animals held out."""
    if (out / "new").exists():
        return
    shutil.rmtree(out / "nwb", ignore_errors=True)
    shutil.rmtree(out / "train", ignore_errors=True)
    sessions = simulate(size.simulation, seed=0)
    held_out = sorted({s.recording.subject for s in sessions})[-size.n_held_out :]
    for session in sessions:
        new = session.recording.subject in held_out
        if new and not session.recording.id.endswith("ses-01"):
            continue  # one session of each animal that is held out
        folder = out / "nwb" / ("new" if new else "train")
        folder.mkdir(parents=True, exist_ok=True)
        write_nwb(session, folder / f"{session.recording.id}.nwb")
    ingest([out / "nwb" / "train"], out / "train")
    ingest([out / "nwb" / "new"], out / "new.tmp")
    (out / "new.tmp").rename(out / "new")


def training_splits(out: Path, n: int) -> Path:
    """Time blocks of the first n sessions: first sessions of all animals come before second ones."""
    path = out / f"splits-{n:03d}.json"
    if not path.exists():
        recordings = open_store(out / "train").recordings()
        ordered = sorted(recordings, key=lambda r: (r.id.rpartition("_")[2], r.id))
        split.split_by_time(ordered[:n]).save(path)
    return path


def splits_of_one(out: Path, id: str) -> Path:
    """Time blocks of one animal held out."""
    path = out / f"splits-new-{id}.json"
    if not path.exists():
        split.split_by_time([open_store(out / "new").open(id)]).save(path)
    return path


def settings(cell: Cell, size: Size) -> list[str]:
    """What differs from the recipe."""
    own = {
        "multi": [*MULTI, *REGULAR, *STEADY],
        "temporal": [*REGULAR, *STEADY],
        "lfads": ["windows=16"],
    }[cell.kind]
    steps = size.steps if cell.kind != "lfads" else max(size.steps // 12, 1)  # far from converged
    return [*own, f"steps={steps}", f"validate_every={size.every}", *size.settings]


def run_cell(out: Path, cell: Cell, size: Size) -> None:
    """Pre-train, adapt on a tenth and on all of the data, score on the animals held out."""
    began = time.perf_counter()
    say = partial(print, f"[{cell.name}]", flush=True)
    adapted = out / "adapted" / cell.name
    if cell == SCRATCH:
        adapt_one_by_one(out, Cell("multi", size.counts[-1]), cell, size, say)
        (adapted / "done.json").write_text(json.dumps({"all_s": time.perf_counter() - began}))
        return
    run = out / "runs" / cell.name
    recipe = {"multi": "tiny", "temporal": "ndt", "lfads": "lfads"}[cell.kind]
    there = (run / "config.yaml").exists()
    pretrain_store(
        out / "train", run, config_file=None if there else recipe, resume=there, device="cpu",
        settings=() if there else settings(cell, size), splits_file=training_splits(out, cell.n),
        say=say, tick=say,
    )  # fmt: skip
    trained_s = time.perf_counter() - began
    adapt_one_by_one(out, cell, cell, size, say)
    (adapted / "done.json").write_text(
        json.dumps({"pretrain_s": trained_s, "all_s": time.perf_counter() - began})
    )


def adapt_one_by_one(out: Path, start: Cell, cell: Cell, size: Size, say: Say) -> None:
    """A model of its own for each animal held out, from the model of `start`."""
    for recording in open_store(out / "new").recordings():
        alone = out / "adapted" / cell.name / recording.id
        # whatever is trained may stand still for 1,000 steps, as in pre-training; `adapt_steps` are fewer
        patience = PATIENCE * size.every // size.adapt_every
        adapt_run(
            out / "runs" / start.name, out / "new", alone, ways(cell, size),
            settings=[f"steps={size.adapt_steps}", f"scratch_steps={size.steps}",
                      f"validate_every={size.adapt_every}", *GENTLE, f"patience={patience}"],
            splits_file=splits_of_one(out, recording.id), device="cpu",
            resume=(alone / "adapting.yaml").exists(), say=say, tick=say,
        )  # fmt: skip


def run_rivals(out: Path, size: Size, baselines: str) -> None:
    """Every baseline on the same minutes of the animals held out, and what was planted."""
    say = partial(print, "[rivals]", flush=True)
    run, rivals = out / "runs" / Cell("multi", size.counts[-1]).name, out / "rivals"
    for minutes, asked in ((f"{size.tenth:g}", FEW), ("all", baselines)):
        out_here = rivals / minutes
        adapt_run(
            run, out / "new", out_here, Ways("zero-shot", minutes, ALL_TASKS, asked), device="cpu",
            resume=(out_here / "adapting.yaml").exists(), say=say, tick=say,
        )  # fmt: skip
    splits = split.load(rivals / "all" / "adapting-splits.json")
    for recording in open_store(out / "new").recordings():
        planted = load_truth(out / "nwb" / "new" / f"{recording.id}.nwb").at(BIN_S)
        for task in TASKS.values():
            path = keep.place(out / "planted", task.name, recording.id, "planted")
            if path.exists():
                continue
            answer = Planted({recording.id: planted.true_rates}, "planted")
            sides = {s: splits.side(s)[recording.id] for s in ("train", "valid", "test")}
            done = score(lambda a=answer: a, "planted", task, recording, bin_s=BIN_S, **sides)
            if isinstance(done, Scored):
                keep.save(path, done.scores)
    (rivals / "done.json").write_text("{}")


def kept(folder: Path, rename: str) -> list[BlockScores]:
    """Scores of one folder, each predictor under a name that says which model it was."""
    scores = [keep.load(path) for path in sorted(folder.glob("*/*/*.npz"))]
    return [replace(s, predictor=rename.format(s.predictor.removeprefix("model:"))) for s in scores]


def gather(out: Path, size: Size) -> list[records.Result]:
    """Results of all cells on the same blocks, with paired gains over each rival."""
    found: list[records.Result] = []
    last = f"multi-{size.counts[-1]:03d}"
    for label in (f"{size.tenth:g}min", "all"):
        scores: list[BlockScores] = []
        for cell in cells(size):
            for alone in sorted((out / "adapted" / cell.name).glob("*/adapting")):
                said = kept(alone / label / "scores", cell.name + " {}")
                scores += [
                    s for s in said if cell == SCRATCH or not s.predictor.endswith("scratch")
                ]
        folder = out / "rivals" / label.removesuffix("min")
        rivals = kept(folder / "adapting" / label / "scores", "{}")
        scores += [s for s in rivals if s.predictor != "zero-shot"]
        asked = {(s.task, s.recording): s.asked for s in scores}
        scores += [
            replace(s, asked=asked[s.task, s.recording]) for s in kept(out / "planted", "{}")
        ]
        about = About(split=f"test|{label}", run="translator")
        for model in ("zero-shot", "rows", "all"):
            found += results_of(scores, about, model=f"{last} {model}")
    return records.newest(found)


def command(args: argparse.Namespace, only: str) -> list[str]:
    """This script again, for one cell."""
    smoke = ["--smoke"] if args.smoke else []
    return [sys.executable, __file__, "--out", str(args.out), "--baselines", args.baselines,
            *smoke, "--only", only]  # fmt: skip


def run_all(args: argparse.Namespace, size: Size) -> None:
    """Every cell in a process of its own, `--jobs` at once; the rivals come after the first."""
    todo = [c for c in cells(size) if not (args.out / "adapted" / c.name / "done.json").exists()]
    began, done = time.monotonic(), 0

    def one(name: str) -> None:
        nonlocal done
        subprocess.run(command(args, name), check=True)
        done += 1
        spent = time.monotonic() - began
        left = spent / done * (len(todo) + 3 - done)
        print(
            f"{done}/{len(todo) + 3} models, {spent / 60:.0f} min, {left / 60:.0f} left", flush=True
        )

    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(one, cell.name) for cell in todo]
        for job in jobs:
            job.result()
    one("rivals")
    one("decoding")
    one("untaught")


def chosen(size: Size, only: str) -> Iterable[Cell]:
    """The cells of one name."""
    return [cell for cell in cells(size) if cell.name == only]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left, then write results, table and figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--baselines", default="all")
    parser.add_argument("--hardware", default=platform.machine(), help="what the record says")
    parser.add_argument("--only", help="one cell, `rivals`, `decoding`, `untaught` or `summary`")
    args = parser.parse_args(arguments)
    size = SMOKE if args.smoke else FULL
    args.out.mkdir(parents=True, exist_ok=True)
    models = {cell.name: cell.n for cell in cells(size) if cell.kind == "multi"}
    others = {
        "rivals": partial(run_rivals, args.out, size, args.baselines),
        "decoding": partial(targets.run_decoding, args.out, models, size.tenth),
        "untaught": partial(targets.run_untaught, args.out, models),
    }
    if args.only and args.only not in (*others, "summary"):
        for cell in chosen(size, args.only):
            run_cell(args.out, cell, size)
        return
    if args.only in others:
        others[args.only]()
        return
    make_stores(args.out, size)
    if args.only != "summary":
        run_all(args, size)
    found = gather(args.out, size)
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": "python benchmarks/translator.py",
        "hardware": args.hardware,
    }
    targets.summary(args.out, about, size.counts, size.tenth)
    rows = [r.record() for r in found if r.metric in ("bps_pooled", "bps_pooled_gain")]
    about |= {"results": rows}
    text = json.dumps(about).replace('}, {"predictor"', '},\n{"predictor"')  # one result a line
    files.write_text(args.out / "translator.json", text + "\n")
    print(figure.table(found, size.counts, f"{size.tenth:g}min"))
    figure.draw(found, size.counts, f"{size.tenth:g}min", args.out / "translator.png")


if __name__ == "__main__":
    main()
