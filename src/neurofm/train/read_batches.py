"""Batches for decoding: windows with signals, trials with labels. Batch k is a function of (seed, k)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import Labels
from neurofm.data.windows import WindowTable
from neurofm.model.checkpoint import Trained
from neurofm.seeding import generator
from neurofm.tokens.mask import prompt_index
from neurofm.tokens.tokens import Batch, Group, stack
from neurofm.train.batches import Corpus
from neurofm.train.heads import Wanted

Spans = Mapping[str, Intervals]
Place = tuple[int, int, int]  # (recording, first bin, stop bin)


class Batches(Protocol):
    """`(step) -> (Batch, Wanted)`; false where there is nothing to draw from."""

    def __call__(self, step: int) -> tuple[Batch, Wanted]: ...

    def __bool__(self) -> bool: ...


def corpus_of(trained: Trained, recordings: Sequence[Recording]) -> Corpus:
    """Recordings that a model knows, with its own statistics of their channels."""
    measured = {r.id: trained.measured(trained.vocabulary.rows(r)[1]) for r in recordings}
    made = Corpus.of(recordings, trained.vocabulary, measured, float(trained.config["bin_s"]))
    return replace(made, tokenizer=trained.model.config.tokens)


@dataclass(frozen=True)
class SignalBatches:
    """Random windows and the signals on them, (T, K) a recording of the corpus, NaN unknown.

    `share` of the windows comes from `focused`, where that holds a place.
    """

    corpus: Corpus
    wanted: tuple[NDArray[np.float32], ...]
    windows: WindowTable
    focused: WindowTable
    size: int
    hide: float
    seed: int
    share: float = 0.5

    @classmethod
    def over(
        cls,
        corpus: Corpus,
        wanted: Mapping[str, NDArray[np.float32]],
        spans: Spans,
        *,
        length: int,
        size: int,
        hide: float,
        seed: int,
        focus: str = "",
        share: float = 0.5,
    ) -> "SignalBatches":
        """Windows of `length` bins inside `spans`; `share` of them are of the recording `focus`."""
        ids = [r.id for r in corpus.recordings]
        none = Intervals.none()

        def table(names: set[str]) -> WindowTable:
            inside = {
                r.id: spans.get(r.id, none).intersect(r.valid) if r.id in names else none
                for r in corpus.recordings
            }
            return WindowTable.of(inside, bin_s=corpus.bin_s, length=length)

        values = tuple(wanted[name] for name in ids)
        return cls(corpus, values, table(set(ids)), table({focus}), size, hide, seed, share)

    def __bool__(self) -> bool:
        return self.windows.n_bins > 0

    def __call__(self, step: int) -> tuple[Batch, Wanted]:
        n_focused = round(self.share * self.size) if self.focused.n_bins else 0
        drawn = self.windows.draw(self.seed, step, self.size - n_focused)
        if n_focused:
            drawn = drawn + self.focused.draw(self.seed + 1, step, n_focused)
        groups, answers = [], []
        for index, places in _together(drawn):
            groups.append(_group(self.corpus, index, places, self.hide, (self.seed, step)))
            values = [self.wanted[index][first:stop] for _, first, stop in places]
            answers.append(torch.from_numpy(np.stack(values)))
        return Batch(tuple(groups)), Wanted(tuple(answers))


@dataclass(frozen=True)
class LabelBatches:
    """Random trials, each a window of at most `most` bins from its start, and their labels."""

    corpus: Corpus
    trials: Mapping[str, Labels]
    names: tuple[str, ...]
    size: int
    most: int
    hide: float
    seed: int

    def __bool__(self) -> bool:
        return any(np.isin(part.label, self.names).any() for part in self.trials.values())

    def __call__(self, step: int) -> tuple[Batch, Wanted]:
        places, answers = self._every()
        rng = generator(self.seed, "trials", step)
        chosen = rng.integers(0, len(places), self.size)
        drawn = [places[i] for i in chosen]
        groups, labels = [], []
        for index, some in _together(drawn):
            groups.append(_group(self.corpus, index, some, self.hide, (self.seed, step)))
            labels.append(torch.tensor([answers[chosen[sample]] for sample, _, _ in some]))
        return Batch(tuple(groups)), Wanted(tuple(labels))

    def _every(self) -> tuple[list[Place], list[int]]:
        """Places and labels of all trials whose label has a name."""
        places: list[Place] = []
        answers: list[int] = []
        for index, recording in enumerate(self.corpus.recordings):
            part = self.trials.get(recording.id)
            for first, stop, label in (
                zip(part.first, part.stop, part.label, strict=True) if part else ()
            ):
                if label in self.names:
                    places.append((index, int(first), min(int(stop), int(first) + self.most)))
                    answers.append(self.names.index(str(label)))
        return places, answers


def _together(drawn: Sequence[Place]) -> list[tuple[int, list[Place]]]:
    """(recording, [(sample, first, stop)]) for each recording and length among the places drawn."""
    out: dict[tuple[int, int], list[Place]] = {}
    for sample, (index, first, stop) in enumerate(drawn):
        out.setdefault((index, stop - first), []).append((sample, first, stop))
    return [(index, places) for (index, _), places in sorted(out.items())]


def _group(
    corpus: Corpus, index: int, places: list[Place], hide: float, key: tuple[int, int]
) -> Group:
    """Windows of one recording and length, each with up to `hide` of its channels hidden."""
    tokens = []
    for sample, first, stop in places:
        activity = corpus.window(index, first, stop)
        rng = generator(key[0], "hidden channels", key[1], sample)
        hidden = rng.random(activity.shape[1]) < rng.uniform(0, hide)
        tokens.append(corpus.tokenizer(activity, np.broadcast_to(hidden, activity.shape)))
    prompts = [prompt_index("co-smoothing")] * len(places)
    return stack(tokens, corpus.contexts[index], prompts)
