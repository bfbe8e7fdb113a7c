"""The stage behind `neurofm evaluate`: every task, recording and predictor, kept as they are done."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from neurofm import results as records
from neurofm.data import splits as split
from neurofm.data.intervals import Intervals
from neurofm.data.nodes import ChannelsConfig
from neurofm.data.recording import Composite, Recording
from neurofm.data.splits import Splits
from neurofm.data.store import open_store
from neurofm.data.synthetic_truth import load_truth
from neurofm.errors import ConfigError, StoreError
from neurofm.evaluate import keep, panels
from neurofm.evaluate.baselines import (
    BASELINES,
    OF_ANY_KIND,
    OF_COUNTS_FROM_ANY,
    SESSION_BASELINES,
)
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.node_tasks import NODE_TASKS, askable, node_tasks
from neurofm.evaluate.planted import Planted
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.score import Answers, Skipped, fingerprint, score
from neurofm.evaluate.summary import About, results_of
from neurofm.evaluate.tasks import TASKS, Task, regions_left_out
from neurofm.files import read_json
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import Say, Watch, device_named, silent
from neurofm.probing import probe
from neurofm.results import Result
from neurofm.run import Run, open_run
from neurofm.seeding import fold
from neurofm.tokens.mask_config import MaskConfig
from neurofm.tokens.vocabulary import known

Factory = Callable[[], Predictor]
OverRecording = Callable[[Recording], Predictor]
EMPTY: Mapping[str, OverRecording] = {}
PROBES = "probes"


def chosen(text: str, table: Mapping[str, object], what: str) -> list[str]:
    """Names from `all`, `none` or a comma-separated list.

    Raises ConfigError, with the valid names, for one that is not in the table.
    """
    if text in {"all", "none"}:
        return list(table) if text == "all" else []
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in table:
            raise ConfigError(f"there is no {what} {name!r}; there are {', '.join(table)}.")
    return names


@dataclass(frozen=True)
class Evaluation:
    """What is evaluated, on what, and who is told how far it is."""

    run: Run
    trained: Trained
    identity: str
    recordings: tuple[Recording, ...]
    splits: Splits
    device: torch.device
    truth: Path | None
    watch: Watch
    say: Say

    @property
    def bin_s(self) -> float:
        """The model's bin width."""
        return float(self.trained.config["bin_s"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.trained.config["seed"])

    @property
    def asks_behaviour(self) -> bool:
        """Whether the model was trained on the future of behaviour."""
        return MaskConfig.model_validate(self.trained.config.get("masks", {})).behaviour > 0

    @property
    def learned_from(self) -> str:
        """A name for the recordings and training parts together."""
        parts = [f"{r.id} {r.provenance.source_sha256} {self.sides(r)['train'].pairs.tolist()}"
                 for r in self.recordings]  # fmt: skip
        return f"sessions-{fold(self.seed, *parts):016x}"

    def sides(self, recording: Recording) -> dict[str, Intervals]:
        """Train, valid and test of one recording; an empty side where there is none."""
        return {
            side: self.splits.side(side).get(recording.id, Intervals.none())
            for side in ("train", "valid", "test")
        }

    def over_sessions(self, task: Task, baselines: Sequence[str]) -> dict[str, OverRecording]:
        """The baselines that learn from all recordings' training parts before one is scored."""
        train = tuple(self.sides(recording)["train"] for recording in self.recordings)
        given = self.recordings, train, self.bin_s, self.seed
        table = SESSION_BASELINES if all(_counts(r) for r in self.recordings) else {}
        return {name: table[name](task, *given) for name in baselines if name in table}

    def predictors(
        self,
        recording: Recording,
        task: Task,
        baselines: Sequence[str],
        over_sessions: Mapping[str, OverRecording] = EMPTY,
    ) -> dict[str, Factory]:
        """The model, the baselines and, for a simulation, the planted truth."""
        direct = Direct.of(self.trained, recording, self.device)
        table: dict[str, Factory] = {"model": partial(same, direct)}
        baselines = _able(recording, task, baselines)
        table |= {name: BASELINES[name] for name in baselines if name in BASELINES}
        table |= {name: partial(make, recording) for name, make in over_sessions.items()}
        if self.truth is not None and not isinstance(recording.activity, Composite):
            planted = load_truth(self.truth / f"{recording.id}.nwb").at(self.bin_s)
            rates = {"planted": planted.true_rates, "planted-shared": planted.shared_rates}
            for name, values in rates.items():
                answer = Planted({recording.id: values}, name)
                table[name] = partial(same, answer)
        return table

    def widened(self) -> list[Recording]:
        """The recordings with the further channels that the model was trained on."""
        nodes = ChannelsConfig.model_validate(self.trained.config.get("channels", {}))
        return known(self.trained.vocabulary, nodes.widen(self.recordings))

    def scores(
        self, task: Task, baselines: Sequence[str], recordings: Sequence[Recording] | None = None
    ) -> list[BlockScores]:
        """Scores of every predictor on every recording; what is kept already is not done again."""
        out: list[BlockScores] = []
        shared = self.over_sessions(task, baselines) if recordings is None else {}
        for recording in self.recordings if recordings is None else recordings:
            if not len(self.sides(recording)["test"]):
                self.say(f"skipped: {recording.id} has no test part in the splits")
                continue
            small = regions_left_out(recording.channels, getattr(task, "fewest_channels", 0))
            if small:
                names = ", ".join(f"{name} ({n})" for name, n in small.items())
                self.say(f"{recording.id}: {task.name} leaves out regions of few channels: {names}")
            for name, factory in self.predictors(recording, task, baselines, shared).items():
                scored = self._one(task, recording, name, factory)
                if isinstance(scored, Skipped):
                    self.say(f"skipped: {scored.reason}")
                    break
                out.append(scored)
        return out

    def probes(self, about: About) -> list[Result]:
        """Signals and trial labels decoded from frozen latents and from smoothed counts."""
        out: list[Result] = []
        for number, recording in enumerate(self.recordings):
            sides = self.sides(recording)
            if all(len(part) for part in sides.values()):
                direct = Direct.of(self.trained, recording, self.device)
                out += probe(direct, recording, sides, about, self.say)
            self.watch.counting("probes", number + 1, len(self.recordings))
        return out

    def draw_embeddings(self) -> None:
        """Units by their read-out rows, sessions by their mean latents over the test part."""
        tested = [r for r in self.recordings if len(self.sides(r)["test"])]
        means = [
            latents(Direct.of(self.trained, r, self.device), r, self.sides(r)["test"])[0].mean(0)
            for r in tested
        ]
        if means:
            panels.save_embeddings(self.run.panels, self.trained, tested, np.stack(means))

    def _one(
        self, task: Task, recording: Recording, name: str, factory: Factory
    ) -> BlockScores | Skipped:
        sides = self.sides(recording)
        train, valid, test = sides["train"], sides["valid"], sides["test"]
        asked = fingerprint(task, recording, train, valid, test, self.bin_s, self.seed)
        folder = self.run.folder / "scores"
        if name == "model":  # kept apart for each checkpoint; baselines do not depend on it
            folder = folder / self.identity
        elif name in SESSION_BASELINES:  # they depend on every recording that they learned from
            folder = folder / self.learned_from
        path = keep.place(folder, task.name, recording.id, name)
        if kept := keep.load_if_asked(path, asked):
            return kept
        draws = name == "model" and task.name == "co-smoothing" and _counts(recording)
        done = score(factory, name, task, recording, train=train, valid=valid, test=test,
                     bin_s=self.bin_s, seed=self.seed, keep_answers=draws,
                     progress=self.watch.counting)  # fmt: skip
        if isinstance(done, Skipped):
            return done
        if draws and isinstance(done.answers, Answers):
            panels.save_recording(self.run.panels, recording, done, self.bin_s)
        keep.save(path, done.scores)
        return done.scores


def open_evaluation(
    folder: Path | str,
    *,
    store: Path | str | None,
    device: str,
    splits_file: Path | str | None,
    truth: Path | str | None,
    say: Say,
    tick: Say,
) -> Evaluation:
    """A run's best checkpoint and the recordings that it knows.

    Raises StoreError if the store is gone or is another one than the run was trained on and holds
    no recording that the model knows.
    """
    run = open_run(folder)
    newest = checkpoint.best_intact(run.checkpoints)
    trained = checkpoint.load(newest)
    manifest = read_json(run.data_manifest)
    opened = open_store(store or Path(manifest["store"]))
    recordings = known(trained.vocabulary, opened.recordings())
    if not recordings:
        raise StoreError(
            f"{opened.folder} holds no recording that the model of {folder} was trained on; name "
            "the right store with --store, or use `neurofm adapt` for new recordings."
        )
    if opened.fingerprint() != manifest["fingerprint"]:
        say(
            f"note: {opened.folder} has changed since training; {len(recordings)} sessions are used"
        )
    splits = split.load(splits_file or run.splits)
    return Evaluation(run, trained, newest.name, tuple(recordings), splits, device_named(device),
                      None if truth is None else Path(truth), Watch(tick), say)  # fmt: skip


def evaluate_run(
    folder: Path | str,
    *,
    store: Path | str | None = None,
    tasks: str = ",".join(TASKS),
    baselines: str = "all",
    device: str = "auto",
    splits_file: Path | str | None = None,
    truth: Path | str | None = None,
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Score, append to the run's results, and return what was measured.

    The defaults are those of `neurofm evaluate`; `truth` is the folder of a simulation.
    """
    folder = Path(folder)
    names = chosen(tasks, {**TASKS, **dict.fromkeys(NODE_TASKS), PROBES: None}, "task")
    rivals = chosen(baselines, {**BASELINES, **SESSION_BASELINES}, "baseline")
    work = open_evaluation(folder, store=store, device=device, splits_file=splits_file,
                           truth=truth, say=say, tick=tick)  # fmt: skip
    fingerprint_of_data = str(read_json(work.run.data_manifest)["fingerprint"])
    about = About(seed=work.seed, run=folder.name, fingerprint=fingerprint_of_data)
    out: list[Result] = []
    for name in names:
        if name == PROBES:
            found = work.probes(about)
        elif name in NODE_TASKS:
            found = _between_nodes(work, name, rivals, about)
        else:
            found = _results(work.scores(TASKS[name], rivals), about)
        records.append(work.run.results, found)
        out += found
    work.draw_embeddings()
    return out


def same(predictor: Predictor) -> Predictor:
    """A predictor that needs no fitting serves every fold."""
    return predictor


def _between_nodes(
    work: Evaluation, name: str, rivals: Sequence[str], about: About
) -> list[Result]:
    """Encoding; or decoding, or the future of behaviour, of every signal (and label) in turn."""
    widened = work.widened()
    if not askable(name, widened):
        beside = "" if name == "behaviour" else " beside activity"
        work.say(f"skipped: {name} needs channels of stimulus or behaviour{beside}; pre-train with "
                 "channels.*")  # fmt: skip
        return []
    if name == "behaviour" and not work.asks_behaviour:
        work.say("skipped: behaviour was never asked in training; pre-train with masks.behaviour "
                 "above 0")  # fmt: skip
        return []
    tasks = node_tasks(name, widened)
    return [r for task in tasks for r in _results(work.scores(task, rivals, widened), about)]


def _counts(recording: Recording) -> bool:
    return bool((recording.channels.kind == "count").all())


def _able(recording: Recording, task: Task, baselines: Sequence[str]) -> list[str]:
    """Those of the baselines that can answer about, and see, the kinds that a task is about."""
    if _counts(recording):
        return list(baselines)
    of_counts = (recording.channels.of_activity.kind == "count").all()
    glm = OF_COUNTS_FROM_ANY if task.name == "encoding" and of_counts else ()
    return [name for name in baselines if name in (*OF_ANY_KIND, *glm)]


def _results(scores: Sequence[BlockScores], about: About) -> list[Result]:
    """Results of all; the model's gains are over the baselines, not over the planted truth."""
    ceilings = [s for s in scores if s.predictor.startswith("planted")]
    rest = [s for s in scores if not s.predictor.startswith("planted")]
    return results_of(rest, about) + results_of(ceilings, about)
