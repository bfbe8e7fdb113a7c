"""Experiments of a twin that are scored against what was recorded: lesions, repeats of a condition."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

import numpy as np
from numpy.typing import NDArray

from neurofm.data.nodes import names_of
from neurofm.data.recording import Channels, Recording
from neurofm.errors import InputError
from neurofm.evaluate import repeats
from neurofm.evaluate.baselines import BASELINES, OF_ANY_KIND, OF_COUNTS_FROM_ANY
from neurofm.evaluate.ceilings import (
    LEAST,
    Repeats,
    Told,
    encoding_gains,
    encoding_scores,
    explainable,
)
from neurofm.evaluate.curves import further_named
from neurofm.evaluate.decode_scores import Score
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.insilico import Lesioned
from neurofm.evaluate.metrics import BlockScores, Floats
from neurofm.evaluate.node_tasks import NODE_TASKS, Encoding, node_tasks
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.score import Skipped, score
from neurofm.evaluate.summary import About, results_of
from neurofm.evaluate.task import Example
from neurofm.evaluate.tasks import TASKS, Fold, NotAskable, Task
from neurofm.experiments import MODEL, TEST, Made, Twin, over_models, spread
from neurofm.report.twin_scores import lesion_figure, repeats_figure
from neurofm.results import Result
from neurofm.scoring import Evaluation, chosen, same

CONDITION_MEAN = "condition-mean"
FEW = 6  # conditions that are drawn again
LESIONED_TASKS = "encoding,decoding,co-smoothing"
SIDES = ("train", "valid", "test")


# ------------------------------------------------------------------------------------- lesions


def lesion(twin: Twin, asked: Sequence[str], tasks: str) -> Made:
    """What is lost on each task by models that are not shown a region, a signal or some channels.

    A task that would not have shown them in any case is left out. Raises InputError if that is so of
    all tasks, or for a name that is not there.
    """
    names = chosen(tasks, {**dict.fromkeys(NODE_TASKS), **TASKS}, "task")
    away = {f"without {one}": away_of(twin.recording.channels, one) for one in asked}
    found: list[Result] = []
    for number, work in enumerate(twin.works, 1):
        about = About(seed=work.seed, run=work.run.folder.name, fingerprint=twin.fingerprint)
        for task, recording in _questions(twin, names):
            scored = _lesioned(twin, work, task, recording, away)
            found += [r for r in results_of(scored, about) if r.recording != "mean"]
        twin.tick("lesions", number, len(twin.works))
    if not found:
        raise InputError(f"{twin.recording.id}: none of {', '.join(names)} shows {', '.join(asked)} to the "
                         "model, so nothing can be lost; name another task with --tasks.")  # fmt: skip
    found = over_models(found, len(twin.works))
    table = {f"away_{k}": mask for k, mask in enumerate(away.values())}
    arrays = table | {"lesion": np.array(list(away)), "channel": twin.recording.channels.id}
    return Made(found, arrays, lesion_figure(found))


def away_of(channels: Channels, text: str) -> NDArray[np.bool_]:
    """(C,) the channels behind `A,wheel,unit-3`: regions, signals or labels, single channels.

    Raises InputError, with the names that there are.
    """
    out = np.zeros(len(channels), dtype=bool)
    for part in (part.strip() for part in text.split(",")):
        own = (channels.region == part) & (part != "")
        own |= channels.id == part
        if not own.any() and part in names_of(channels):
            own |= np.isin(channels.id, further_named(part, channels))
        if not own.any():
            regions = sorted(set(channels.region.tolist()) - {""})
            known = [*regions, *names_of(channels)]
            near = get_close_matches(part, [*known, *channels.id.tolist()], n=1)
            there = (
                f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'}."
            )
            raise InputError(f"there is no region, signal, label or channel {part!r}; {there}")
        out |= own
    return out


def _questions(twin: Twin, names: Sequence[str]) -> Iterator[tuple[Task, Recording]]:
    """Tasks between nodes of the whole sheet; those of activity alone, of the activity alone."""
    whole = twin.recording
    for name in names:
        if name not in NODE_TASKS:
            yield TASKS[name], next(r for r in twin.works[0].recordings if r.id == whole.id)
        elif names_of(whole.channels):
            for task in node_tasks(name, [whole]):
                yield task, whole


def _lesioned(twin: Twin, work: Evaluation, task: Task, recording: Recording,
              away: dict[str, NDArray[np.bool_]]) -> list[BlockScores]:  # fmt: skip
    """Scores of the model, and of it without each; none where the task shows it none of them."""
    try:
        folds = task.groups(recording, work.seed)
    except NotAskable as reason:
        twin.say(f"skipped: {reason}")
        return []
    direct = Direct.of(work.trained, recording, work.device)
    n = len(recording.channels)
    asked = {name: Lesioned(direct, mask[:n], name) for name, mask in away.items()
             if _sees(folds, mask[:n])}  # fmt: skip
    sides, out = work.sides(recording), []
    answering: dict[str, Predictor] = {MODEL: direct, **asked} if asked else {}
    for name, predictor in answering.items():
        done = score(partial(same, predictor), name, task, recording, train=sides["train"],
                     valid=sides["valid"], test=sides["test"], bin_s=work.bin_s, seed=work.seed)  # fmt: skip
        if isinstance(done, Skipped):
            twin.say(f"skipped: {done.reason}")
            return []
        out.append(done.scores)
    return out


def _sees(folds: Sequence[Fold], away: NDArray[np.bool_]) -> bool:
    return any(bool((away & ~fold.hidden).any()) for fold in folds)


# ------------------------------------------------------------------------------------- repeats


def repeated(twin: Twin, columns: str, *, window: str, align: str) -> Made:
    """How much of what the test side's trials of one condition share the models tell, and rivals.

    All are shown stimulus and behaviour of the test side alone. Scores are of the mean over a trial's window;
    what is told of a trial is what is told of the others of its condition (`ceilings.Told`). Raises InputError
    if nothing is repeated, or explained by the condition.
    """
    ask = _Trials.of(twin, [c.strip() for c in columns.split(",")], window, align)
    least, found = twin.config.least, []
    share = explainable(ask.repeats, ask.repeats.once)[0]
    if not (share >= least).any():
        raise InputError(f"{ask.about}: of no channel a share of {least:g} is explained (at most "
                         f"{np.nanmax(share):.2f}); take another --window, or --set least=0.05.")  # fmt: skip
    told = ask.told()
    mine = {_seeded(w): told[_seeded(w)] for w in twin.works}
    rivals = {name: values for name, values in told.items() if name not in mine}
    for work, values in zip(twin.works, mine.values(), strict=True):
        for name, other in rivals.items():
            gains = encoding_gains(ask.repeats, values, other, least=least)
            found += [ask.result(MODEL, s, work, null=name) for s in gains]
        found += ask.scores(MODEL, values, work)
    found = over_models(found, len(twin.works))
    for name, values in rivals.items():
        found += ask.scores(name, values)
    some = encoding_scores(ask.repeats, next(iter(mine.values())), least=least)
    found += [ask.result("recording", s) for s in some if s.metric in _OF_DATA]
    means = [values.mean for values in mine.values()]
    arrays = {"condition": ask.repeats.stimulus, "n": ask.repeats.n, "recorded": ask.repeats.mean,
              "explainable": share, "unit": twin.unit, "seed": np.array([w.seed for w in twin.works]),
              "model": np.stack(means), "rival": np.array(list(rivals)),
              "rivals": np.stack([values.mean for values in rivals.values()])}  # fmt: skip
    drawn = repeats_figure(found, ask.repeats.mean, spread(means).mean, share >= least)
    return Made(found, arrays, drawn)


_OF_DATA = ("explainable", "ceiling", "channels_left_out")


def _seeded(work: Evaluation) -> str:
    """What tells models of one configuration apart, whatever their folders are called."""
    return f"{MODEL}, seed {work.seed}"


@dataclass(frozen=True)
class _Trials:
    """Trials of the test side, their responses, and whoever is asked about them."""

    twin: Twin
    task: str
    split: str
    about: str
    train: repeats.Shown
    test: repeats.Shown
    responses: Floats
    repeats: Repeats

    @classmethod
    def of(cls, twin: Twin, columns: Sequence[str], window: str, align: str) -> "_Trials":
        sides, r = twin.works[0].sides(twin.recording), twin.recording
        window_s = repeats.window_of(window)
        train, whole = (repeats.shown(r, columns, sides[side], twin.bin_s, window_s=window_s, align=align)
                        for side in ("train", TEST))  # fmt: skip
        task, test = f"repeats of {', '.join(columns)}", whole.repeated
        about = f"{r.id}, {task} on the test side ({len(whole)} trials with the whole window)"
        if not len(train) or len(np.unique(test.condition)) < 2:
            raise InputError(f"{about}: a ceiling needs two conditions that are shown twice there, and trials on "
                             "the training side; take other columns, another --window or --splits.")  # fmt: skip
        if len(test) < len(whole):
            twin.say(
                f"note: {about}: {len(whole) - len(test)} are of a condition that is there once, and left out"
            )
        if test.overlap:
            twin.say(
                f"note: {about}: windows overlap, so trials are not independent and a ceiling is too high"
            )
        n_conditions = len(np.unique(test.condition))
        if n_conditions < FEW:
            twin.say(
                f"note: {about}: {n_conditions} conditions are few, and an interval over them says little"
            )
        responses = test.responses(_pieces(twin, TEST))
        span = f"{window} s from {align}" if window else "whole trials"
        least = twin.config.least
        span += "" if least == LEAST else f", least {least:g}"
        return cls(twin, task, f"test, {span}", about, train, test, responses,
                   Repeats.of(responses, test.condition))  # fmt: skip

    def told(self) -> dict[str, Told]:
        """What each model and rival says of every condition of the test trials."""
        twin = self.twin
        out: dict[str, Told] = {}
        sides = {side: _examples(twin, side) for side in SIDES}
        questions = [e.question for e in sides[TEST]]
        own = twin.recording.channels.in_activity
        for name, predictor in self._predictors().items():
            twin.tick(f"{self.task}: {name}", len(out), len(twin.works) + 3)
            predictor.fit(sides["train"], sides["valid"])
            rates = predictor.predict(questions)
            cells = [(q.first, r[:, own]) for q, r in zip(questions, rates, strict=True)]
            out[name] = self._summed(self.test.responses(cells))
        seen = self.train.responses(_pieces(twin, "train"))
        out[CONDITION_MEAN] = self._summed(
            repeats.trained_means(seen, self.train.condition, self.test.condition))  # fmt: skip
        return out

    def _summed(self, predicted: Floats) -> Told:
        return Told.of_trials(self.responses, predicted, self.test.condition)

    def _predictors(self) -> dict[str, Predictor]:
        twin = self.twin
        able = (*OF_ANY_KIND, *(OF_COUNTS_FROM_ANY if twin.counts else ()))
        rivals = chosen(twin.config.baselines, dict.fromkeys(able), "baseline of encoding")
        models: dict[str, Predictor] = {
            _seeded(w): d for w, d in zip(twin.works, twin.directs, strict=True)
        }
        return models | {name: BASELINES[name]() for name in rivals}

    def scores(self, predictor: str, told: Told, work: Evaluation | None = None) -> list[Result]:
        """What is scored of a prediction."""
        found = encoding_scores(self.repeats, told, least=self.twin.config.least)
        return [self.result(predictor, s, work) for s in found if s.metric not in _OF_DATA]

    def result(self, predictor: str, s: Score, work: Evaluation | None = None, null: str = "") -> Result:  # fmt: skip
        """A score as a result; of a rival or the data it belongs to no run."""
        first = self.twin.works[0]
        run = "" if work is None else work.run.folder.name
        return Result(predictor, self.task, self.twin.recording.id, self.split, s.metric, s.value, s.low,
                      s.high, s.n, null, (work or first).seed, s.unit_of_n, None, run,
                      self.twin.fingerprint)  # fmt: skip


def _examples(twin: Twin, side: str) -> list[Example]:
    """All activity hidden in every piece of a side."""
    task, part = Encoding(), twin.works[0].sides(twin.recording)[side]
    fold = task.groups(twin.recording, 0)[0]
    return task.examples(twin.recording, part, twin.bin_s, fold) if len(part) else []


def _pieces(twin: Twin, side: str) -> list[repeats.Piece]:
    """What was recorded of the activity in every piece of a side."""
    own = twin.recording.channels.in_activity
    return [(e.question.first, e.counts[:, own]) for e in _examples(twin, side)]
