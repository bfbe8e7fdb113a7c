"""Every method on every task, with the seconds that it takes: one table.

    python benchmarks/methods.py --out DIR

Two simulated animals of one session each. Rivals are fitted for every fold and asked; models are
pre-trained on both sessions (one LFADS on each alone), all for the same number of steps, and asked.
Seconds are of the processor, not of the clock, on one thread. What is kept in DIR is not done again;
a model that was cut off starts anew, so that its seconds are right. `--smoke` is the same at toy
size. Writes DIR/methods.json and, with `--record`, benchmarks/results/methods.json.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from neurofm import config as configuration
from neurofm import files
from neurofm.data.recording import Recording
from neurofm.data.splits import Splits, split_by_time
from neurofm.data.synthetic import SimulatedSession, SimulationConfig, simulate
from neurofm.evaluate import keep
from neurofm.evaluate.baselines import BASELINES, SESSION_BASELINES
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.planted import Planted
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.score import Scored, score
from neurofm.evaluate.summary import About, results_of
from neurofm.evaluate.task import Example, Question
from neurofm.evaluate.tasks import TASKS
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import recipe
from neurofm.results import Result
from neurofm.run import new_run
from neurofm.train.pretrain import PretrainConfig, pretrain

BIN_S = 0.02
CPU = torch.device("cpu")
HARDWARE = "AMD EPYC Zen 5, one thread"
RECORD = Path(__file__).parent / "results" / "methods.json"
MODEL = "model: time bins"  # its gains over all others are kept


@dataclass(frozen=True)
class Size:
    """How large the table is."""

    simulation: SimulationConfig
    steps: int
    settings: tuple[str, ...] = ()
    baselines: tuple[str, ...] = (*BASELINES, *SESSION_BASELINES)


FULL = Size(SimulationConfig(n_animals=2, sessions_per_animal=1, units_min=40, units_max=60,
                             minutes=5), steps=400)  # fmt: skip
SMOKE = Size(
    SimulationConfig(n_animals=2, sessions_per_animal=1, units_min=15, units_max=15, minutes=1),
    steps=4, settings=("window_bins=40", "windows=4", "valid_batches=1"),
    baselines=("mean-rate", "ridge", "rrr-sessions"),
)  # fmt: skip

COMPUTED = ("model.rows=inductive", "optim.matrix_rate=0", "optim.rate=1e-3")
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {  # name -> (recipe, settings)
    MODEL: ("tiny", ()),
    "model: time bins, computed rows": ("tiny", COMPUTED),
    "model: patches, 16 units x 5 bins": (
        "tiny", ("model.tokens.kind=patch", "model.tokens.channels=16", "model.tokens.bins=5")),
    "model: events": ("tiny", ("model.tokens.kind=event",)),
    "NDT (bins hidden)": ("ndt", ()),
    "LFADS": ("lfads", ()),
}  # fmt: skip
ALONE = "LFADS, each session alone"


@dataclass
class Seconds:
    """Of the processor: fitting or pre-training, and answering."""

    fit: float = 0.0
    answer: float = 0.0

    def timed(self, part: str, work: Callable[[], Any]) -> Any:
        """What `work` returns, its seconds added to `part`."""
        began = time.process_time()
        out = work()
        setattr(self, part, getattr(self, part) + time.process_time() - began)
        return out


@dataclass(frozen=True)
class Timed:
    """A predictor whose seconds are counted."""

    inner: Predictor
    seconds: Seconds

    @property
    def name(self) -> str:
        """That of the method."""
        return self.inner.name

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """As the method does."""
        self.seconds.timed("fit", lambda: self.inner.fit(train, valid))

    def predict(self, questions: Sequence[Question]) -> list[Any]:
        """As the method does."""
        out: list[Any] = self.seconds.timed("answer", lambda: self.inner.predict(questions))
        return out


@dataclass(frozen=True)
class Bench:
    """The sessions, their sides, and where scores and seconds are kept."""

    out: Path
    size: Size
    sessions: tuple[SimulatedSession, ...]
    splits: Splits

    @property
    def recordings(self) -> tuple[Recording, ...]:
        return tuple(session.recording for session in self.sessions)

    def ask(self, method: str, make: Callable[[str], Callable[[Recording], Predictor]]) -> None:
        """Score a method on all tasks and sessions; `make(task)` is learnt before, from all of them."""
        for task in TASKS.values():
            done = self.out / "seconds" / task.name / f"{keep.slug(method)}.json"
            if done.exists():
                continue
            seconds = Seconds()
            predictor = seconds.timed("fit", partial(make, task.name))
            for recording in self.recordings:
                sides = {s: self.splits.side(s)[recording.id] for s in ("train", "valid", "test")}

                def factory(to: Recording = recording, p: Any = predictor) -> Predictor:
                    return Timed(seconds.timed("fit", lambda: p(to)), seconds)  # noqa: B023

                found = score(factory, method, task, recording, bin_s=BIN_S, **sides)
                assert isinstance(found, Scored), found
                keep.save(keep.place(self.out / "scores", task.name, recording.id, method),
                          found.scores)  # fmt: skip
            files.write_json(done, vars(seconds))
            print(f"{method} · {task.name}: {seconds.fit:.1f} s and {seconds.answer:.1f} s",
                  file=sys.stderr, flush=True)  # fmt: skip

    def trained(self, method: str, recordings: Sequence[Recording], name: str) -> Trained:
        """A model of these recordings, pre-trained now or kept; its seconds beside it."""
        folder = self.out / "runs" / keep.slug(name)
        done = folder / "seconds.json"
        if done.exists():
            return checkpoint.load(checkpoint.best_intact(folder / "checkpoints"))
        shutil.rmtree(folder, ignore_errors=True)
        kept, settings = MODELS[method]
        config = configuration.load(PretrainConfig, recipe(kept), [
            "windows=16", f"steps={self.size.steps}", f"bin_s={BIN_S}", "precision=fp32",
            f"validate_every={max(self.size.steps // 4, 1)}", *settings, *self.size.settings,
        ])  # fmt: skip
        sides = {side: self.splits.side(side) for side in ("train", "valid")}
        seconds, run = Seconds(), new_run(folder)
        found: Trained = seconds.timed("fit", lambda: pretrain(
            recordings, sides, config, run, device=CPU, say=lambda _: None))  # fmt: skip
        files.write_json(done, vars(seconds) | {"n_parameters": found.model.n_parameters})
        print(f"{name}: trained in {seconds.fit:.0f} s", file=sys.stderr, flush=True)
        return found

    def run(self) -> None:
        """Everything that is not done."""
        planted = {s.recording.id: s.truth.at(BIN_S) for s in self.sessions}
        for name in ("true_rates", "shared_rates"):
            rates = {id: getattr(truth, name) for id, truth in planted.items()}
            called = "planted" if name == "true_rates" else "planted, shared"
            self.ask(called, lambda _, r=rates, n=called: lambda _: Planted(r, n))
        for name in MODELS:
            trained = self.trained(name, self.recordings, name)
            self.ask(name, lambda _, t=trained: lambda r: Direct.of(t, r, CPU))
        alone = {r.id: self.trained("LFADS", [r], f"{ALONE} {r.id}") for r in self.recordings}
        self.ask(ALONE, lambda _: lambda r: Direct.of(alone[r.id], r, CPU))
        train = tuple(self.splits.side("train")[r.id] for r in self.recordings)
        for name in self.size.baselines:
            if name in BASELINES:
                self.ask(name, lambda _, n=name: lambda _: BASELINES[n]())
            else:
                learn = SESSION_BASELINES[name]
                self.ask(name, lambda t, f=learn: f(TASKS[t], self.recordings, train, BIN_S, 0))

    def seconds(self) -> dict[str, dict[str, float]]:
        """By method: `train_s` (fitting in all tasks, or pre-training once) and `answer_s`."""
        out: dict[str, dict[str, float]] = {}
        for path in sorted((self.out / "scores").glob("*/*/*.npz")):
            out.setdefault(keep.load(path).predictor, {})
        for name, row in out.items():
            parts = [files.read_json(self.out / "seconds" / task / f"{keep.slug(name)}.json")
                     for task in TASKS]  # fmt: skip
            row["train_s"] = sum(part["fit"] for part in parts)
            row["answer_s"] = sum(part["answer"] for part in parts)
            runs = [name] if name in MODELS else []
            if name == ALONE:
                runs = [f"{ALONE} {r.id}" for r in self.recordings]
            for run in runs:
                about = files.read_json(self.out / "runs" / keep.slug(run) / "seconds.json")
                row["train_s"] += about["fit"]
                row["n_parameters"] = row.get("n_parameters", 0) + about["n_parameters"]
        return out

    def results(self) -> list[Result]:
        """Scores and paired gains of the first model."""
        scores: list[BlockScores] = [
            keep.load(path) for path in sorted((self.out / "scores").glob("*/*/*.npz"))
        ]
        about = About(run="methods", n_boot=2000)
        found = results_of(scores, about, model=MODEL, ceilings=("planted", "planted, shared"))
        return [r for r in found if r.metric in ("bps_pooled", "bps_pooled_gain")]


def table(found: Sequence[Result], seconds: dict[str, dict[str, float]]) -> str:
    """Markdown: methods by tasks, the best first, the ceilings last."""
    cells = {(r.predictor, r.task): r for r in found
             if r.metric == "bps_pooled" and r.recording == "mean"}  # fmt: skip
    tasks = list(TASKS)

    def order(name: str) -> tuple[bool, float]:
        mean = sum(cells[name, task].value for task in tasks) / len(tasks)
        return name.startswith("planted"), -mean

    names = sorted({name for name, _ in cells}, key=order)
    ours = [name for name in names if not name.startswith("planted")]
    best = {task: max(ours, key=lambda n: cells[n, task].value) for task in tasks}
    lines = ["| method | " + " | ".join(tasks) + " | training, s | answering, s |",
             "|---" * (len(tasks) + 3) + "|"]  # fmt: skip
    for name in names:
        row = []
        for task in tasks:
            r = cells[name, task]
            value = f"**{r.value:.3f}**" if best[task] == name else f"{r.value:.3f}"
            row.append(f"{value} [{r.low:.3f}, {r.high:.3f}]")
        took = seconds[name]
        times = [f"{took['train_s']:.1f}", f"{took['answer_s']:.1f}"]
        row += ["-", "-"] if name.startswith("planted") else times
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def command(given: argparse.Namespace) -> str:
    """What makes the record again, wherever its folder lies."""
    smoke = " --smoke" if given.smoke else ""
    steps = f" --steps {given.steps}" if given.steps else ""
    return f"python benchmarks/methods.py --out DIR{smoke}{steps}"


def refuse_other(note: Path, asked: str) -> None:
    """Stop where a folder holds what another command made."""
    if note.exists() and note.read_text().strip() != asked:
        raise SystemExit(f"{note.parent} was made by `{note.read_text().strip()}`; take another.")
    note.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(note, asked + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--steps", type=int, help="of every model; default 400")
    parser.add_argument("--record", action="store_true", help="write benchmarks/results too")
    given = parser.parse_args()
    torch.set_num_threads(1)
    size = SMOKE if given.smoke else FULL
    size = replace(size, steps=given.steps or size.steps)
    refuse_other(given.out / "command.txt", command(given))
    sessions = tuple(simulate(size.simulation, seed=0))
    bench = Bench(given.out, size, sessions, split_by_time([s.recording for s in sessions]))
    bench.run()
    found, seconds = bench.results(), bench.seconds()
    text = json.dumps({
        "date": time.strftime("%Y-%m-%d"), "command": command(given),
        "hardware": HARDWARE, "steps": size.steps, "windows_a_step": 16,
        "simulation": size.simulation.model_dump(mode="json"),
        "n_units": {r.id: len(r.channels) for r in bench.recordings},
        "seconds": seconds, "results": [r.record() for r in found],
    }, indent=1)  # fmt: skip
    for path in [given.out / "methods.json", *([RECORD] if given.record else [])]:
        files.write_text(path, text + "\n")
    print(table(found, seconds))


if __name__ == "__main__":
    main()
