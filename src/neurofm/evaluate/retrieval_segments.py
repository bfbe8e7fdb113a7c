"""Segments of a store for retrieval: what they are told apart by, and the sides they lie on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from neurofm.data.log_mel import mel_signal
from neurofm.data.recording import Recording
from neurofm.data.segments import Segments, alike, cut, joined, prove_apart
from neurofm.data.splits import Splits
from neurofm.data.target_rows import TargetRows
from neurofm.data.targets import given
from neurofm.errors import InputError
from neurofm.evaluate.retrieval import Policy
from neurofm.model.sentences import sentence_embeddings
from neurofm.train.retrieval import RetrievalConfig

EDGE_S = 1e-6
Told = list[tuple[Recording, dict[str, Any]]]


class RetrieveConfig(RetrievalConfig):
    """How segments are cut and asked for, beside how an encoder is trained on them.

    `length_s` a segment, `frames` of its target in it, samples of `sample_s` (the recordings' own
    where it is null). `n_mels`: bands of sound. Sides are `gap_s` apart. `new_items`: nothing that
    the test side asks for is trained on. `emg_max`: of the trainings with EMG mixed in.
    """

    length_s: float = Field(3.0, gt=0)
    frames: int = Field(24, ge=1)
    sample_s: float | None = Field(None, gt=0)
    n_mels: int = Field(40, ge=1)
    gap_s: float = Field(6.0, ge=0)
    new_items: bool = False
    emg_max: float = Field(0.95, gt=0, lt=1)
    policy: Policy = Policy()


@dataclass(frozen=True)
class Targets:
    """What segments are told apart by: exactly one of four.

    A `signal` of the recordings; a `sound` of theirs, as log-mel spectra; a `file` of latents; the
    folder of a `text` encoder, of the labels as sentences. `label`: a column of the trials that
    names the item of each; segments are the trials' beginnings then, else they lie end to end, or
    where the file says.
    """

    signal: str | None = None
    sound: str | None = None
    file: Path | str | None = None
    text: Path | str | None = None
    label: str | None = None

    @property
    def said(self) -> str:
        """In words, for the record.

        Raises InputError unless one source is named, and text has a label.
        """
        sources = {"signal": self.signal, "log-mel of": self.sound, "latents of": self.file,
                   "text encoder": self.text}  # fmt: skip
        given = [f"{kind} {Path(name).name}" for kind, name in sources.items() if name is not None]
        if len(given) != 1:
            raise InputError("name one target: a signal, a sound, a file of latents or the folder of a "
                             f"text encoder; {len(given)} were named.")  # fmt: skip
        if self.text is not None and self.label is None:
            raise InputError(
                "a text encoder reads labels of trials; name their column with --label."
            )
        return given[0] if self.label is None else f"{self.label} by {given[0]}"


def segments_of(
    recordings: Sequence[Recording],
    targets: Targets,
    config: RetrieveConfig,
    say: Callable[[str], None],
) -> tuple[Segments, list[Recording]]:
    """Every segment of a store, and the recordings that they are of.

    Raises InputError if no recording has what the targets name, or electrodes differ.
    """
    told = _told(recordings, targets, config, say)
    if len(told) < len(recordings):
        say(f"note: {len(told)} of {len(recordings)} recordings have {targets.said}")
    say(f"cutting segments of {config.length_s:g} s from {len(told)} recordings")
    frames, sample_s = config.frames, config.sample_s
    parts = [cut(r, config.length_s, frames=frames, sample_s=sample_s, **how) for r, how in told]
    whole = joined(parts)
    own = targets.signal or targets.sound
    return (alike(whole) if targets.label and own else whole), [r for r, _ in told]


def _told(
    recordings: Sequence[Recording],
    targets: Targets,
    config: RetrieveConfig,
    say: Callable[[str], None],
) -> Told:
    """Recordings that have the target, with what `cut` is told of each."""
    told: Told = [(r, {}) for r in recordings]
    if targets.label is not None:
        told = _trials(recordings, targets.label, config.length_s, say)
    if targets.signal is not None or targets.sound is not None:
        return _signals(told, targets, config)
    if targets.file is not None and targets.label is None:
        rows = TargetRows.of(targets.file)
        places = rows.places([r.id for r in recordings])
        return [(r, {"target": rows.latents[at], "start_s": rows.start_s[at],
                     "item": rows.item[at] if len(rows.item) else None})
                for r, at in zip(recordings, places, strict=True) if len(at)]  # fmt: skip
    names = np.unique(np.concatenate([how["item"] for _, how in told]))
    if targets.file is not None:
        vectors = TargetRows.of(targets.file).of_items(names)
    else:
        vectors = sentence_embeddings(names.tolist(), str(targets.text))
    return [(r, how | {"target": vectors[np.searchsorted(names, how["item"])]}) for r, how in told]


def _signals(told: Told, targets: Targets, config: RetrieveConfig) -> Told:
    name = str(targets.signal if targets.sound is None else targets.sound)
    held = list(dict.fromkeys(n for r, _ in told for n in r.signals))
    told = [(r, how) for r, how in told if name in r.signals]
    if not told:
        raise InputError(
            f"no recording has a signal {name!r}; there are {', '.join(held) or 'none'}."
        )
    if targets.sound is None:
        return [(r, how | {"target": name}) for r, how in told]
    mel = f"log-mel of {name}"
    return [(replace(r, signals={**r.signals, mel: mel_signal(r.signals[name], config.n_mels)}),
             how | {"target": mel}) for r, how in told]  # fmt: skip


def _trials(
    recordings: Sequence[Recording], label: str, length_s: float, say: Callable[[str], None]
) -> Told:
    """The trials of every recording that are long enough and have the label."""
    told: Told = []
    n_short = 0
    for recording in recordings:
        trials = recording.trials
        if label not in trials.columns:
            continue
        column = trials[label]
        known = given(column)
        long = trials["stop_s"] - trials["start_s"] >= length_s - EDGE_S
        n_short += int((known & ~long).sum())
        if (known & long).any():
            start_s, item = trials["start_s"][known & long], column[known & long].astype(np.str_)
            told.append((recording, {"start_s": start_s, "item": item}))
    if n_short:
        say(f"note: {n_short} trials are shorter than {length_s:g} s and are left out")
    if not told:
        names = ", ".join(dict.fromkeys(n for r in recordings for n in r.trials.columns)) or "none"
        raise InputError(f"no trial of {length_s:g} s or more has a label {label!r}; columns of trials "
                         f"are {names}.")  # fmt: skip
    return told


@dataclass(frozen=True)
class Sides:
    """Segments to train on, to choose weights by, and to ask for.

    `seen`: the share of those asked for that is of an item which is trained on.
    """

    train: Segments
    valid: Segments
    test: Segments
    seen: float

    @classmethod
    def of(cls, whole: Segments, splits: Splits, config: RetrieveConfig) -> "Sides":
        """By the splits, proven apart."""
        train, valid, test = (whole.inside(splits.side(s)) for s in ("train", "valid", "test"))
        if config.new_items:
            train, valid = (s.take(~np.isin(s.item, test.item)) for s in (train, valid))
        for side in (train, valid):
            prove_apart(side, test, splits.gap_s)
        for name, side in (("training", train), ("test", test)):
            if (n := len(np.unique(side.item))) < 2:
                raise InputError(f"the {name} side has {n} items that are whole segments; retrieval takes "
                                 "two: record more, or split otherwise.")  # fmt: skip
        return cls(train, valid, test, float(np.isin(test.item, train.item).mean()))

    @property
    def hours(self) -> float:
        """Of training."""
        return len(self.train) * self.train.length_s / 3600

    def first(self, hours: float | None) -> "Sides":
        """With so much training alone: the first, an equal share of every session."""
        if hours is None:
            return self
        kept = np.zeros(len(self.train), dtype=bool)
        for name in np.unique(self.train.session):
            rows = np.flatnonzero(self.train.session == name)
            rows = rows[np.argsort(self.train.start_s[rows], kind="stable")]
            kept[rows[: max(round(len(rows) * hours / self.hours), 1)]] = True
        return replace(self, train=self.train.take(kept))
