"""The stage behind `neurofm adapt`: a trained model on new recordings, by minutes of their data.

RUN2 is a run: its checkpoint is the best of what was adapted on the most minutes, chosen on
validation. `RUN2/adapting/<minutes>/<how>` holds the runs of each way and its scores,
`RUN2/adapting.jsonl` the results, `RUN2/adapting.png` the figure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from neurofm import config as configuration
from neurofm import files
from neurofm import results as records
from neurofm.config import Config
from neurofm.data import splits as split
from neurofm.data.intervals import Intervals, first_minutes
from neurofm.data.montage import montages, refuse_unlike_all
from neurofm.data.recording import Recording
from neurofm.data.splits import Splits
from neurofm.data.store import open_store
from neurofm.errors import ConfigError, InputError
from neurofm.evaluate import keep
from neurofm.evaluate.baselines import BASELINES
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.score import Skipped, fingerprint, score
from neurofm.evaluate.summary import About, results_of
from neurofm.evaluate.tasks import TASKS, Task
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import (
    Say,
    Watch,
    amounts,
    data_manifest,
    device_named,
    recordings_of_one_kind,
    refuse_other_note,
    silent,
)
from neurofm.report.minutes import minutes_figure, split_name
from neurofm.results import Result
from neurofm.run import Run, new_run, open_run
from neurofm.scoring import chosen
from neurofm.train.adapt import HOWS, AdaptConfig, NewData, adapt, divided
from neurofm.train.pretrain import PretrainConfig

Factory = Callable[[], Predictor]
RIVALS = tuple(name for name in ("mean-rate", "region-mean", "ridge") if name in BASELINES)


@dataclass(frozen=True)
class Ways:
    """What is compared, as comma-separated names: ways to adapt (HOWS), minutes, tasks, baselines."""

    how: str = "zero-shot,rows,scratch"
    minutes: str = "all"
    tasks: str = "co-smoothing,forward"
    baselines: str = ",".join(RIVALS)


class Asked(Config):
    """What a run of adaptations was asked for; a resume must ask for the same."""

    run: str
    checkpoint: str
    store: str
    adapt: AdaptConfig


@dataclass(frozen=True)
class Adaptation:
    """One model, new recordings, and the folder where the ways of adapting to them are kept."""

    trained: Trained
    identity: str
    recordings: tuple[Recording, ...]
    splits: Splits
    config: AdaptConfig
    run: Run
    device: torch.device
    watch: Watch
    say: Say

    def data(self, minutes: float | None) -> NewData:
        """The first minutes of the new recordings' training side, cut in two.

        Raises InputError if they are too few.
        """
        train: dict[str, Intervals] = {}
        valid: dict[str, Intervals] = {}
        for recording in self.recordings:
            given = first_minutes(self.splits.side("train")[recording.id], minutes)
            train[recording.id], valid[recording.id] = divided(
                given, self.config.valid_share, self.splits.gap_s
            )
        return NewData(self.recordings, {"train": train, "valid": valid})

    def cell(self, minutes: float | None, how: str) -> Run:
        """The run of one way at so many minutes."""
        name = split_name(minutes).partition("|")[2]
        folder = self.run.folder / "adapting" / name / how
        files.make(folder)
        return Run(folder)

    def adapted(self, minutes: float | None, how: str) -> Trained:
        """The model after so many minutes, from the folder where that is done already."""
        old = PretrainConfig.model_validate(self.trained.config)
        mine = self.config.from_scratch(old) if how == "scratch" else self.config.of(old)
        run, data = self.cell(minutes, how), self.data(minutes)
        self.say(f"{how} on {split_name(minutes).partition('|')[2]}: at most {mine.steps} steps")
        return adapt(self.trained, data, how, mine, run, device=self.device,
                     say=self.watch.training)  # fmt: skip

    def scores(
        self,
        minutes: float | None,
        hows: Sequence[str],
        tasks: Sequence[str],
        rivals: Sequence[str],
    ) -> list[BlockScores]:
        """Every way and every baseline on the test part, after the same minutes."""
        data, out = self.data(minutes), []
        models = {how: self.adapted(minutes, how) for how in hows}
        for how, model in models.items():
            if how != "zero-shot":
                idle = "" if model.step else "; training brought nothing"
                self.say(f"{how}: step {model.step} was the best on validation{idle}")
        for task in tasks:
            for recording in self.recordings:
                table: dict[str, Factory] = {}
                for how, model in models.items():
                    table[f"model:{how}"] = partial(_asked, model, recording, self.device)
                table |= {name: BASELINES[name] for name in rivals}
                for name, factory in table.items():
                    done = self._one(TASKS[task], recording, name, factory, data, minutes)
                    if isinstance(done, Skipped):
                        self.say(f"skipped: {done.reason}")
                        break
                    out.append(done)
        return out

    def _one(
        self,
        task: Task,
        recording: Recording,
        name: str,
        factory: Factory,
        data: NewData,
        minutes: float | None,
    ) -> BlockScores | Skipped:
        train, valid = (data.sides[side][recording.id] for side in ("train", "valid"))
        test = self.splits.side("test")[recording.id]
        bin_s = float(self.trained.config["bin_s"])
        asked = fingerprint(task, recording, train, valid, test, bin_s, self.config.seed)
        folder = self.cell(minutes, "scores").folder
        path = keep.place(folder, task.name, recording.id, name)
        if kept := keep.load_if_asked(path, asked):
            return kept
        done = score(factory, name, task, recording, train=train, valid=valid, test=test,
                     bin_s=bin_s, seed=self.config.seed, progress=self.watch.counting)  # fmt: skip
        if isinstance(done, Skipped):
            return done
        keep.save(path, done.scores)
        return done.scores

    def publish(self, minutes: float | None, hows: Sequence[str]) -> str:
        """The best way by validation becomes the run's own checkpoint; returns its name."""
        ours = [how for how in hows if how != "scratch"] or list(hows)
        models = {how: self.adapted(minutes, how) for how in ours}
        best = max(models, key=lambda how: models[how].valid["score"])
        found = checkpoint.best_intact(self.cell(minutes, best).checkpoints)
        target = self.run.checkpoints / found.name
        if not target.exists():
            checkpoint.save(target, models[best], checkpoint.training_state(found))
        trained = PretrainConfig.model_validate(models[best].config)
        files.write_text(self.run.config, configuration.dump(trained))
        sides = self.data(minutes).sides
        whole = {
            r.id: {"train": sides["train"][r.id], "valid": sides["valid"][r.id],
                   "test": self.splits.side("test")[r.id]}
            for r in self.recordings
        }  # fmt: skip
        how = f"The minutes that a model was adapted on ({self.splits.how})"
        Splits(whole, how, self.splits.gap_s, self.splits.subjects).save(self.run.splits)
        return best


def parse_hows(text: str) -> list[str]:
    """`rows,scratch` -> those ways; `all` is the way of that name, not all ways.

    Raises ConfigError, with the names, for what is not a way to adapt, or if none is named.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or set(names) - set(HOWS):
        raise ConfigError(f"--how {text!r} must name some of {', '.join(HOWS)}.")
    return names


def adapt_run(
    folder: Path | str,
    store: Path | str,
    out: Path | str,
    ways: Ways = Ways(),
    *,
    config_file: Path | str | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    splits_file: Path | str | None = None,
    resume: bool = False,
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Adapt a run's model to a store of new recordings, score each way, and return what was measured.

    The defaults are those of `neurofm adapt`. Results have `predictor` `model:<how>` or a
    baseline's name, and `split` `test|2min`; gains are those of the first way that is trained and
    not from scratch, over the others.
    """
    folder, store, out = Path(folder), Path(store), Path(out)
    hows = parse_hows(ways.how)
    asked_minutes = amounts(ways.minutes, "--minutes")
    names = chosen(ways.tasks, TASKS, "task")
    rivals = chosen(ways.baselines, BASELINES, "baseline")
    work = _opened(
        folder, store, out, config_file, settings, device, splits_file, resume, say, tick
    )
    possible = [m for m in asked_minutes if _long_enough(work, m)]
    if not possible:
        raise InputError(
            f"{store} holds no recording with {ways.minutes} minutes on its training side."
        )
    first = next((h for h in hows if h not in ("zero-shot", "scratch")), hows[0])
    identity = open_store(store).fingerprint()
    found: list[Result] = []
    for m in possible:
        scores = work.scores(m, hows, names, rivals)
        about = About(work.config.seed, split_name(m), run=out.name, fingerprint=identity)
        found += results_of(scores, about, model=f"model:{first}")
    records.append(out / "adapting.jsonl", found)
    say(f"{out} holds the model adapted by {work.publish(possible[-1], hows)}")
    _draw(work, found)
    return found


def _opened(
    folder: Path,
    store: Path,
    out: Path,
    config_file: Path | str | None,
    settings: Sequence[str],
    device: str,
    splits_file: Path | str | None,
    resume: bool,
    say: Say,
    tick: Say,
) -> Adaptation:
    best = checkpoint.best_intact(open_run(folder).checkpoints)
    config = configuration.load(AdaptConfig, config_file, settings)
    opened = open_store(store)
    asked = Asked(run=str(folder.resolve()), checkpoint=best.name, store=opened.fingerprint(),
                  adapt=config)  # fmt: skip
    recordings = recordings_of_one_kind(opened, say)
    refuse_unlike_all(recordings, montages(files.read_json(open_run(folder).data_manifest)))
    trained = checkpoint.load(best)
    note = out / "adapting.yaml"
    if resume:
        refuse_other_note(note, asked)
        splits = split.load(out / "adapting-splits.json")
        run = Run(out)
    else:
        splits = split.load(splits_file) if splits_file else split.split_by_time(recordings)
        run = new_run(out)
        files.write_text(note, configuration.dump(asked))
        splits.save(out / "adapting-splits.json")
        splits.save(run.splits)
        run.describe(configuration.dump(PretrainConfig.model_validate(trained.config)),
                     data_manifest(opened, splits))  # fmt: skip
    usable = tuple(
        r for r in recordings if r.id in splits.side("train") and r.id in splits.side("test")
    )
    if not usable:
        raise InputError(f"{store} holds no recording with a training and a test side.")
    return Adaptation(trained, best.name, usable, splits, config, run, device_named(device),
                      Watch(tick), say)  # fmt: skip


def _long_enough(work: Adaptation, minutes: float | None) -> bool:
    if minutes is None:
        return True
    longest = max(work.splits.side("train")[r.id].total_s for r in work.recordings) / 60
    if longest < minutes:
        work.say(f"left out: {minutes:g} minutes; no training side is longer than {longest:.2f}")
    return longest >= minutes


def _draw(work: Adaptation, found: Sequence[Result]) -> None:
    train = [work.splits.side("train")[r.id].total_s / 60 for r in work.recordings]
    drawn = minutes_figure(found, float(np.mean(train)))
    with files.replacing(work.run.folder / "adapting.png") as temporary:
        files.put(temporary, drawn.png)


def _asked(model: Trained, recording: Recording, device: torch.device) -> Predictor:
    return Direct.of(model, recording, device)
