"""Batch k as a pure function of (seed, k)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.windows import WindowTable
from neurofm.seeding import generator
from neurofm.tokens.mask import Mixture, delayed, prompt_index
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, ChannelContext, Targets, Tokenizer, stack
from neurofm.tokens.vocabulary import Statistics, Vocabulary, context

IN_MEMORY_BYTES = 4 << 30


@dataclass(frozen=True)
class Corpus:
    """Recordings on one grid of bins, with the context of their channels.

    `counts`: whole sessions in memory, or None where they are read window by window; both give the
    same windows. `tokenizer`: of the model that they are for, where one was given.
    """

    recordings: tuple[Recording, ...]
    contexts: tuple[ChannelContext, ...]
    bin_s: float
    counts: tuple[NDArray[Any], ...] | None
    tokenizer: Tokenizer = field(default_factory=TimeBin)

    @classmethod
    def of(
        cls,
        recordings: Sequence[Recording],
        vocabulary: Vocabulary,
        measured: Mapping[str, Statistics],
        bin_s: float,
        budget: int = IN_MEMORY_BYTES,
    ) -> "Corpus":
        """Counts go to memory where all of them fit in `budget` bytes."""
        contexts = tuple(context(vocabulary, r, measured[r.id]) for r in recordings)
        size = sum(binning.n_bins(r, bin_s) * len(r.channels) * _wide(r) for r in recordings)
        counts = None
        if size <= budget:
            counts = tuple(
                binning.activity(r, 0, binning.n_bins(r, bin_s), bin_s) for r in recordings
            )
        return cls(tuple(recordings), contexts, bin_s, counts)

    def window(self, index: int, first: int, stop: int) -> NDArray[Any]:
        """(stop - first, C) counts of one recording."""
        if self.counts is not None:
            return self.counts[index][first:stop]
        return binning.activity(self.recordings[index], first, stop, self.bin_s)


@dataclass(frozen=True)
class MaskedBatches:
    """`(step) -> (Batch, Targets)`: random windows, each with a mask of its own.

    `slice_of`: (m, n) for the m-th of n slices of each batch's windows, in the order they are drawn.
    """

    corpus: Corpus
    windows: WindowTable
    masks: Mixture
    tokenizer: Tokenizer
    size: int
    seed: int
    slice_of: tuple[int, int] = (0, 1)

    @classmethod
    def over(
        cls,
        corpus: Corpus,
        spans: Mapping[str, Intervals],
        masks: Mixture,
        tokenizer: Tokenizer,
        *,
        length: int,
        size: int,
        seed: int,
    ) -> "MaskedBatches":
        """Windows of `length` bins from these intervals of the corpus's recordings."""
        ordered = {r.id: spans[r.id] for r in corpus.recordings}
        table = WindowTable.of(ordered, bin_s=corpus.bin_s, length=length)
        return cls(corpus, table, masks, tokenizer, size, seed)

    def __call__(self, step: int) -> tuple[Batch, Targets]:
        drawn = self.windows.draw(self.seed, step, self.size)
        together: dict[tuple[int, int], list[int]] = {}
        for sample in self._mine():
            index, first, stop = drawn[sample]
            together.setdefault((index, stop - first), []).append(sample)
        parts = [
            self._group(step, index, {sample: drawn[sample][1:] for sample in samples})
            for (index, _), samples in sorted(together.items())
        ]
        groups, counts, scored = zip(*parts, strict=True)
        context = tuple(group.context for group in groups)
        return Batch(groups), Targets(counts, scored, tuple(g.prompt for g in groups), context)

    def part(self, number: int, of: int) -> "MaskedBatches":
        """One of `of` slices of these batches."""
        return replace(self, slice_of=(number, of))

    def _mine(self) -> range:
        number, of = self.slice_of
        return range(number * self.size // of, (number + 1) * self.size // of)

    def numbers(self, step: int) -> list[int]:
        """The places of a slice's groups among those of the whole batch."""
        drawn = self.windows.draw(self.seed, step, self.size)
        groups = [(index, stop - first) for index, first, stop in drawn]
        order = sorted(set(groups))
        return [order.index(group) for group in sorted({groups[sample] for sample in self._mine()})]

    def _group(self, step: int, index: int, spans: dict[int, tuple[int, int]]) -> tuple[Any, ...]:
        channels = self.corpus.recordings[index].channels
        tokens, answers, asked, prompts = [], [], [], []
        for sample, (first, stop) in spans.items():
            rng = generator(self.seed, "mask", step, sample)
            mask = self.masks.draw(channels, rng)
            cells = mask(stop - first, channels, rng)
            activity = self.corpus.window(index, first, stop)
            shown = activity if cells.left_out is None else _without(activity, cells.left_out)
            tokens.append(self.tokenizer(delayed(shown, cells.late), cells.hidden))
            answer, scored = _known(activity, cells.scored)
            answers.append(answer)
            asked.append(scored)
            prompts.append(prompt_index(mask.prompt))
        group = stack(tokens, self.corpus.contexts[index], prompts)
        counts = torch.from_numpy(np.stack(answers))
        return group, counts, torch.from_numpy(np.stack(asked))


def _wide(recording: Recording) -> int:
    """Bytes a cell: counts of one node are small numbers, all else is single precision."""
    return 1 if (recording.channels.kind == "count").all() else 4


def _without(activity: NDArray[Any], left_out: NDArray[np.bool_]) -> NDArray[Any]:
    """The same, as if these channels had not been recorded."""
    return np.where(left_out, np.float32(np.nan), activity)


def _known(
    activity: NDArray[Any], scored: NDArray[np.bool_]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values, 0 where nothing was recorded, and the scored cells where something was."""
    if activity.dtype.kind != "f":
        return activity, scored
    there = np.isfinite(activity)
    return np.where(there, activity, np.float32(0)), scored & there
