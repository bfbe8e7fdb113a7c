"""The pre-trained model as a predictor: a task is one more mask, nothing is fitted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurofm.data.recording import Recording
from neurofm.data.windows import tile
from neurofm.errors import InputError
from neurofm.evaluate.task import Example, Question
from neurofm.model.checkpoint import Trained
from neurofm.tokens.mask import delayed, prompt_index
from neurofm.tokens.mask_cells import Autoregressive
from neurofm.tokens.mask_config import MaskConfig
from neurofm.tokens.tokens import Batch, ChannelContext, Group, Output, stack
from neurofm.train.loop import autocast

WINDOWS_AT_ONCE = 32
ONWARD = ("forward", "next-bin", "autoregressive", "behaviour")


@dataclass(frozen=True)
class Direct:
    """Asks the model itself; `name` is how its results are called.

    `overlap`: the share of a window of a long piece that the next one covers too, 0 to below 1. At 0
    half the windows do, and bins at a window's edge have a past or a future alone.
    """

    trained: Trained
    context: ChannelContext
    device: torch.device
    precision: str = "fp32"
    name: str = "model"
    overlap: float = 0.5

    @classmethod
    def of(cls, trained: Trained, recording: Recording, device: torch.device) -> "Direct":
        """For one recording of the model's training set.

        Raises InputError if its channels have no rows, or the model has another bin width.
        """
        trained.model.to(device)
        return cls(
            trained, trained.context(recording).to(device), device, str(trained.config["precision"])
        )

    @property
    def bin_s(self) -> float:
        """The model's bin width."""
        return float(self.trained.config["bin_s"])

    @property
    def window_bins(self) -> int:
        """The model's window."""
        return int(self.trained.config["window_bins"])

    @property
    def masks(self) -> MaskConfig:
        """The questions that the model was trained on."""
        return MaskConfig.model_validate(self.trained.config.get("masks", {}))

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Nothing: the model was trained before, on the training part alone."""

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """Expected counts a bin, (T, C) for each question, from overlapping windows.

        A long piece is cut into windows that overlap, and each bin is taken from the window in whose
        middle it lies.
        """
        return self._answers(questions, lambda output: output.rates[0])

    def latents(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """Latents, (T, D) for each question; windows are cut as in `predict`."""
        return self._answers(questions, lambda output: output.latents[0])

    def _answers(
        self, questions: Sequence[Question], pick: Callable[[Output], Tensor]
    ) -> list[NDArray[Any]]:
        out: list[NDArray[Any]] = [np.empty(0)] * len(questions)
        pieces = [(i, *cut) for i, q in enumerate(questions) for cut in self._cuts(q)]
        pieces.sort(key=lambda piece: piece[2] - piece[1])  # one length at a time
        for chunk in _chunks(pieces, WINDOWS_AT_ONCE):
            group = self._group([(questions[i], a, b) for i, a, b, _, _ in chunk])
            with torch.no_grad(), autocast(self.device, self.precision):
                answer = pick(self.trained.model(Batch((group,)))).float().cpu().numpy()
            for (i, a, _, low, high), part in zip(chunk, answer, strict=True):
                if not out[i].size:
                    shape = (len(questions[i].visible), part.shape[1])
                    out[i] = np.zeros(shape, dtype=np.float32)
                out[i][low:high] = part[low - a : high - a]
        return out

    def _cuts(self, question: Question) -> list[tuple[int, int, int, int]]:
        """(first, stop, low, high): windows, and which of their bins to keep."""
        n, length = len(question.visible), self.window_bins
        if (
            question.task.partition(":")[0] in ONWARD
        ):  # the horizon is the window's end, as in training
            first = max(n - length, 0)
            return [(first, n, first, n)]
        windows = tile(0, n, length, max(int(length * (1 - self.overlap)), 1))
        middles = [(a[1] + b[0]) // 2 for a, b in pairwise(windows)]
        lows, highs = [0, *middles], [*middles, n]
        return [(a, b, lo, hi) for (a, b), lo, hi in zip(windows, lows, highs, strict=True)]

    def _group(self, pieces: list[tuple[Question, int, int]]) -> Group:
        tokenize, masks, tokens = self.trained.model.config.tokens, self.masks, []
        for q, a, b in pieces:
            late = Autoregressive().late if q.task == "autoregressive" else 0
            hidden = delayed(q.hidden[a:b], late, before=True)
            tokens.append(tokenize(delayed(q.visible[a:b], late), hidden))
        asked = [q.task.split(":")[0] for q, _, _ in pieces]  # decoding is of one of many targets
        prompts = [prompt_index(masks.prompt_for(task)) for task in asked]
        width = self.bin_s
        if any(abs(q.bin_s - width) > 1e-9 for q, _, _ in pieces):
            raise InputError(f"The model has bins of {width:g} s; ask it questions in the same.")
        return stack(tokens, self.context, prompts).to(self.device)


def _chunks(pieces: list[Any], most: int) -> Iterator[list[Any]]:
    """Runs of at most `most` pieces of one length."""
    chunk: list[Any] = []
    for piece in pieces:
        if chunk and (len(chunk) == most or piece[2] - piece[1] != chunk[0][2] - chunk[0][1]):
            yield chunk
            chunk = []
        chunk.append(piece)
    if chunk:
        yield chunk
