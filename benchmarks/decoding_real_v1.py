"""Contrast side from mouse visual cortex, in a session that the model was not trained on.

Each of three sessions is held out once: a model with computed rows is pre-trained on the other two.
The trials of the held-out session are cut into five contiguous folds; what is told of a fold's
trials comes from the other four (and from the other sessions), without the trials beside the fold.
Windows and penalties are chosen by cross-validation inside these four, the same for every rival.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from decoding_real_common import ANSWERS, CPU, SEED, Work

from neurofm import config as configuration
from neurofm.data.intervals import Intervals
from neurofm.data.readers import arrays
from neurofm.data.recording import Recording
from neurofm.data.splits import split_by_time
from neurofm.data.targets import Labels, labels
from neurofm.evaluate.decode import Decoded
from neurofm.evaluate.decode_scores import Score, label_draws, label_scores
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import balanced_accuracy, bounds
from neurofm.evaluate.nulls import SHIFT, Chance, shifted_labels
from neurofm.evaluate.ours import pooled, told, trial_counts, trial_latents
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.trial_readout import Names
from neurofm.model.checkpoint import Trained
from neurofm.seeding import generator
from neurofm.train.extend import extended
from neurofm.train.finetune import FinetuneConfig, finetune_labels, fresh

TARGET = "contrast_side"
BIN_S = 0.02
ONSET_BINS = 2  # of 20 ms: a bin that begins 40 ms after the stimulus is the first with an answer
CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
N_FOLDS, N_INNER, N_NULL = 5, 4, 20
TUNE = ["steps=120", "windows=32", "validate_every=20", "patience=3", "weight_decay=0.3",
        "trunk_rate=0.0003", "valid_batches=4", "probe_batches=10"]  # fmt: skip
Kinds = Mapping[str, Matrix]  # by window: (n, F)


def windows(trials: Sequence[Matrix]) -> dict[str, Matrix]:
    """Means of (T, D) rows over the whole answer, and over its halves."""
    cut = [one[ONSET_BINS:] for one in trials]
    halves = [np.concatenate([h.mean(axis=0) for h in np.array_split(c, 2)]) for c in cut]
    return {"one": np.stack([c.mean(axis=0) for c in cut]), "halves": np.stack(halves)}


def joined(a: Kinds, b: Kinds) -> dict[str, Matrix]:
    """Both side by side; each block is standardised later, column by column."""
    return {kind: np.concatenate([a[kind], b[kind]], axis=1) for kind in a}


def folds(n: int, k: int) -> list[np.ndarray]:
    """Contiguous parts of n trials."""
    return np.array_split(np.arange(n), k)


def told_by(x: Matrix, label: Names, x_test: Matrix, c: float) -> Names:
    """Logistic regression with standardised columns; every label weighs the same.

    Rotated into the span of the training rows, where its solution lies: the same answer, sooner.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    a, b = ((m.astype(np.float64) - mean) / scale for m in (x, x_test))
    if a.shape[1] > len(a):
        turn = np.linalg.svd(a, full_matrices=False)[2].T
        a, b = a @ turn, b @ turn
    model = LogisticRegression(C=c, max_iter=200, class_weight="balanced")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(model.fit(a, label).predict(b), dtype=np.str_)


def chosen(x: Kinds, label: Names, extra: tuple[Kinds, Names] | None = None) -> tuple[str, float]:
    """The window and inverse penalty of the best mean balanced accuracy over inner folds.

    `extra`: trials of other sessions, which are always trained on.
    """
    best = (-1.0, "", 0.0)
    for kind in x:
        for c in CS:
            scores = []
            for part in folds(len(label), N_INNER):
                rest = np.setdiff1d(np.arange(len(label)), part)
                train, names = with_extra(x[kind][rest], label[rest], kind, extra)
                scores.append(
                    balanced_accuracy(label[part], told_by(train, names, x[kind][part], c))
                )
            if np.mean(scores) > best[0]:
                best = float(np.mean(scores)), kind, c
    return best[1], best[2]


def with_extra(
    x: Matrix, label: Names, kind: str, extra: tuple[Kinds, Names] | None
) -> tuple[Matrix, Names]:
    """Rows of this session, and below them those of others."""
    if extra is None:
        return x, label
    return np.concatenate([x, extra[0][kind]]), np.concatenate([label, extra[1]])


@dataclass(frozen=True)
class Fold:
    """One fold of the held-out session: trials to learn from, and to tell."""

    train: np.ndarray
    test: np.ndarray

    @classmethod
    def all_of(cls, n: int) -> "list[Fold]":
        """Five of them; a trial beside a fold is neither learned from nor told with it."""
        out = []
        for test in folds(n, N_FOLDS):
            near = np.arange(test[0] - 1, test[-1] + 2)
            out.append(cls(np.setdiff1d(np.arange(n), near), test))
        return out


def trial_spans(trials: Labels, at: np.ndarray) -> Intervals:
    """Seconds of some trials."""
    return Intervals.of(
        np.stack([trials.first[at] * BIN_S, trials.stop[at] * BIN_S], axis=1).tolist()
    )


def taken(trials: Labels, at: np.ndarray) -> Labels:
    return Labels(trials.first[at], trials.stop[at], trials.label[at])


def standard(x: Kinds, by: Kinds) -> dict[str, Matrix]:
    """In units of a session's own spread, so that sessions are comparable."""
    return {k: (v - by[k].mean(0)) / np.maximum(by[k].std(0), 1e-6) for k, v in x.items()}


@dataclass
class Answers:
    """Labels told by every method, and for linear ones what is told under shifted labels."""

    n: int
    label: Names

    def __post_init__(self) -> None:
        self.told: dict[str, Names] = {}
        self.null: dict[str, list[Names]] = {}
        self.draws = shifted_labels(self.label, SEED, N_NULL)

    def put(self, method: str, at: np.ndarray, names: Names) -> None:
        self.told.setdefault(method, np.full(self.n, "", dtype="<U16"))[at] = names

    def linear(
        self, method: str, x: Kinds, fold: Fold, extra: tuple[Kinds, Names] | None = None
    ) -> None:
        """Logistic regression on the fold, its choices made inside, and the same on shifted labels."""
        train = {k: v[fold.train] for k, v in x.items()}
        kind, c = chosen(train, self.label[fold.train], extra)

        def tell(label: Names) -> Names:
            rows, names = with_extra(train[kind], label[fold.train], kind, extra)
            return told_by(rows, names, x[kind][fold.test], c)

        self.put(method, fold.test, tell(self.label))
        null = self.null.setdefault(method, [np.full(self.n, "", "<U16") for _ in self.draws])
        if extra is None:
            for kept, draw in zip(null, self.draws, strict=True):
                kept[fold.test] = tell(draw)
        else:
            del self.null[method]

    def decoded(self, recording: str) -> list[Decoded]:
        out = []
        for method, told_names in self.told.items():
            scores = label_scores(self.label, told_names, SEED)
            scores.append(accuracy(self.label, told_names))
            if method in self.null:
                pairs = zip(self.draws, self.null[method], strict=True)
                chance = Chance.of(SHIFT, [balanced_accuracy(d, t) for d, t in pairs])
            else:
                moved = shifted_labels(self.label, SEED, 40)
                chance = Chance.of(ANSWERS, [balanced_accuracy(d, told_names) for d in moved])
            drawn = label_draws(self.label, told_names, SEED)
            out.append(Decoded(method, recording, scores, drawn, [chance] if chance else []))
        return out


def accuracy(label: Names, told_names: Names) -> Score:
    """Share of trials told right."""
    right = (label == told_names).astype(float)
    n = len(right)
    drawn = generator(SEED, "bootstrap trials").multinomial(n, np.full(n, 1 / n), 2000) @ right / n
    return Score("accuracy", float(right.mean()), *bounds(drawn), n, "trials")


def held_out(work: Work, every: Sequence[Recording], held: Recording) -> list[Decoded]:
    """All methods on one session."""
    rest = [r for r in every if r is not held]
    splits = split_by_time(rest)
    sides = {s: splits.side(s) for s in ("train", "valid")}
    base = work.pretrained(f"v1-without-{held.id}", "decoding-v1", [], rest, sides)
    trials = labels(held, TARGET, BIN_S)
    most = int(base.config["window_bins"])
    counts = windows([np.sqrt(c) for c in trial_counts(held, trials, BIN_S, most)])
    answers = Answers(len(trials), trials.label)
    others = other_sessions(base, rest)
    tune = configuration.load(FinetuneConfig, None, [*TUNE, *(["steps=4"] if work.smoke else ())])
    for number, fold in enumerate(Fold.all_of(len(trials))):
        spans = {held.id: trial_spans(trials, fold.train)}
        known = extended(base, [held], spans, SEED)
        latents = windows(trial_latents(Direct.of(known, held, CPU), held, trials))
        names, times = np.unique(trials.label[fold.train], return_counts=True)
        answers.put("majority", fold.test, np.repeat(names[times.argmax()], len(fold.test)))
        answers.linear("logistic", counts, fold)
        answers.linear("probe", latents, fold)
        answers.linear("probe and counts", joined(latents, counts), fold)
        own = standard(latents, {k: v[fold.train] for k, v in latents.items()})
        answers.linear("probe, three sessions", own, fold, others)
        kind, c = chosen(*others)
        answers.put(
            "zero-shot", fold.test, told_by(others[0][kind], others[1], own[kind][fold.test], c)
        )
        for method, start in (("model", known), ("scratch", fresh(known, SEED))):
            answers.put(method, fold.test, finetuned(start, held, trials, fold, tune))
        work.say(f"  {held.id}: fold {number + 1} of {N_FOLDS}")
    return answers.decoded(held.id)


def other_sessions(base: Trained, rest: Sequence[Recording]) -> tuple[dict[str, Matrix], Names]:
    """Standardised latents of the trials of the sessions that the model knows, and their labels."""
    kinds, names = [], []
    for recording in rest:
        trials = labels(recording, TARGET, BIN_S)
        x = windows(trial_latents(Direct.of(base, recording, CPU), recording, trials))
        kinds.append(standard(x, x))
        names.append(trials.label)
    return {k: np.concatenate([x[k] for x in kinds]) for k in kinds[0]}, np.concatenate(names)


def finetuned(
    start: Trained, held: Recording, trials: Labels, fold: Fold, config: FinetuneConfig
) -> Names:
    """Told by the model and its head, both trained; the last 15% of the trials choose the step."""
    cut = round(0.85 * len(fold.train))
    parts = [{held.id: taken(trials, at)} for at in (fold.train[:cut], fold.train[cut:])]
    tuned = finetune_labels(start, [held], *parts, config, device=CPU)
    direct = Direct.of(tuned.trained, held, CPU)
    return told(tuned, pooled(tuned, trial_latents(direct, held, taken(trials, fold.test))))


def cells(work: Work) -> dict[str, Callable[[], list[Decoded]]]:
    """One a session."""
    files = sorted((work.data / "v1-steinmetz").glob("*.npz"))
    every: list[Any] = [recording for path in files for recording in arrays.read(path)]
    return {f"v1-{held.id}": partial(held_out, work, every, held) for held in every}
