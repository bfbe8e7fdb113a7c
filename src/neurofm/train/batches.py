"""Batch k as a pure function of (seed, k)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurofm.data import binning
from neurofm.data.children import free_bytes
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.windows import WindowTable
from neurofm.seeding import generator
from neurofm.tokens.grouped import grouped
from neurofm.tokens.mask import Cells, Mixture, prompt_index
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, ChannelContext, Targets, Tokenizer
from neurofm.tokens.vocabulary import Statistics, Vocabulary, context

IN_MEMORY_BYTES = 4 << 30
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Corpus:
    """Recordings on one grid of bins, with the context of their channels.

    `counts`: (T, C) of whole sessions, on the device where they fit there, else in memory; None
    where they are read window by window. All give the same windows. Contexts lie where counts do.
    `tokenizer`: of the model that they are for, where one was given.
    """

    recordings: tuple[Recording, ...]
    contexts: tuple[ChannelContext, ...]
    bin_s: float
    counts: tuple[Tensor, ...] | None
    tokenizer: Tokenizer = field(default_factory=TimeBin)

    @classmethod
    def of(
        cls,
        recordings: Sequence[Recording],
        vocabulary: Vocabulary,
        measured: Mapping[str, Statistics],
        bin_s: float,
        budget: int = IN_MEMORY_BYTES,
        device: torch.device = CPU,
    ) -> "Corpus":
        """Counts are kept where all of them fit in `budget` bytes and in the `room` there is."""
        size = sum(binning.n_bins(r, bin_s) * len(r.channels) * _wide(r) for r in recordings)
        held = size <= min(budget, room(CPU))
        where = device if held and size <= room(device) else CPU
        contexts = tuple(context(vocabulary, r, measured[r.id]).to(where) for r in recordings)
        counts = None
        if held:
            counts = tuple(
                _tensor(binning.activity(r, 0, binning.n_bins(r, bin_s), bin_s)).to(where)
                for r in recordings
            )
        return cls(tuple(recordings), contexts, bin_s, counts)

    def window(self, index: int, first: int, stop: int) -> NDArray[Any]:
        """(stop - first, C) counts of one recording."""
        if self.counts is not None:
            return self.counts[index][first:stop].cpu().numpy()
        return binning.activity(self.recordings[index], first, stop, self.bin_s)

    def windows(self, index: int, spans: Sequence[tuple[int, int]]) -> Tensor:
        """(B, T, C) counts of [first, stop) bins of one recording, all of one length."""
        if self.counts is not None:
            return torch.stack([self.counts[index][first:stop] for first, stop in spans])
        return _tensor(np.stack([self.window(index, *span) for span in spans]))


def room(device: torch.device) -> float:
    """Bytes that counts may take: a quarter of what a GPU has free, half of what is left of memory."""
    return torch.cuda.mem_get_info(device)[0] / 4 if device.type == "cuda" else free_bytes() / 2


def _tensor(counts: NDArray[Any]) -> Tensor:
    """As a tensor; an array that may not be written to is copied."""
    return torch.from_numpy(counts if counts.flags.writeable else counts.copy())


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
        cells, prompts = [], []
        for sample, (first, stop) in spans.items():
            rng = generator(self.seed, "mask", step, sample)
            mask = self.masks.draw(channels, rng)
            cells.append(mask(stop - first, channels, rng))
            prompts.append(prompt_index(mask.prompt))
        values = self.corpus.windows(index, list(spans.values()))
        hidden, scored = (
            torch.from_numpy(np.stack(part)).to(values.device)
            for part in ([c.hidden for c in cells], [c.scored for c in cells])
        )
        context = self.corpus.contexts[index]
        shown = _shown(values, cells)
        answers, scored = _known(values, scored)
        return grouped(self.tokenizer, shown, hidden, context, prompts), answers, scored


def _wide(recording: Recording) -> int:
    """Bytes a cell: counts of one node are small numbers, all else is single precision."""
    return 1 if (recording.channels.kind == "count").all() else 4


def _shown(values: Tensor, cells: Sequence[Cells]) -> Tensor:
    """(B, T, C) what the masks show: without the channels that are left out, and late."""
    shown = values
    if any(c.left_out is not None for c in cells):
        shown = torch.stack([_without(x, c) for x, c in zip(values.float(), cells, strict=True)])
    if any(c.late for c in cells):
        shown = torch.stack([_later(x, c.late) for x, c in zip(shown, cells, strict=True)])
    return shown


def _without(values: Tensor, cells: Cells) -> Tensor:
    """The same, as if the channels that are left out had not been recorded."""
    if cells.left_out is None:
        return values
    away = torch.from_numpy(cells.left_out).to(values.device)
    return values.masked_fill(away, float("nan"))


def _known(values: Tensor, scored: Tensor) -> tuple[Tensor, Tensor]:
    """Values, 0 where nothing was recorded, and the scored cells where something was."""
    if not values.is_floating_point():
        return values, scored
    there = values.isfinite()
    return values.masked_fill(~there, 0.0), scored & there


def _later(values: Tensor, late: int) -> Tensor:
    """(T, C) values `late` bins later, after zeros."""
    return torch.cat([torch.zeros_like(values[:late]), values[: len(values) - late]])
