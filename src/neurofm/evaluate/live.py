"""A causal model live: one bin of counts in, expected counts, latents and decoded signals out.

A `Stream` is what `model.online` computes, with its past kept for it; a `Readout` is a fitted line from
latents to a signal. Shapes: T bins, C channels, D width, k axes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import side_pieces, traces
from neurofm.errors import InputError
from neurofm.evaluate.readout import Rows, known, tuned_line
from neurofm.model.checkpoint import Trained
from neurofm.model.online import Online
from neurofm.tokens.mask import prompt_index
from neurofm.tokens.mask_config import MaskConfig
from neurofm.train.finetune import Finetuned
from neurofm.train.heads import SignalHead
from neurofm.train.target_scale import target_scale

Matrix = NDArray[np.float32]
AT_ONCE = 64  # bins, where many are at hand


@dataclass(frozen=True)
class Readout:
    """Latents (..., D) -> (..., k) of a signal in its own units: latents @ `weight` + `bias`."""

    weight: Matrix
    bias: Matrix

    def __call__(self, latents: Matrix) -> Matrix:
        return np.asarray(latents @ self.weight + self.bias)

    @classmethod
    def of_head(cls, tuned: Finetuned, recording: str) -> "Readout":
        """The head of a fine-tuned model, for a recording that it was trained on; stream `tuned.trained`."""
        assert isinstance(tuned.head, SignalHead)
        weight, bias = (p.detach().float().cpu().numpy() for p in tuned.head.read.parameters())
        mean, scale = tuned.mean[recording], tuned.scale[recording]
        return cls(weight.T * scale, bias * scale + mean)


@dataclass(frozen=True)
class Said:
    """Of one bin: `rates` (C,) counts a bin, `latents` (D,), `decoded` {signal: (k,)}."""

    rates: Matrix
    latents: Matrix
    decoded: dict[str, Matrix] = field(default_factory=dict)


class Stream:
    """Bins of one recording in order; what it says of a bin rests on that bin and those before it.

    The first `window` bins are answered as by one pass of the model over them. Later ones are too,
    with attention limited to the last `window` bins. Time and memory a bin do not grow.
    """

    def __init__(self, online: Online, name: str, readouts: Mapping[str, Readout]) -> None:
        self.online, self.name, self.readouts = online, name, dict(readouts)
        self.n_channels = len(online.context.rate)
        self.reset()
        nothing = np.zeros(self.n_channels)
        self.step(nothing)  # the first pass is slow
        self.reset()

    @classmethod
    def of(
        cls, trained: Trained, recording: Recording, readouts: Mapping[str, Readout] | None = None
    ) -> "Stream":
        """For the channels of a recording that the model knows, on one CPU core.

        Raises InputError if the model is not causal, has tokens other than time bins, or has no row
        for a channel.
        """
        window, masks = int(trained.config["window_bins"]), trained.config.get("masks", {})
        prompt = MaskConfig.model_validate(masks).prompt_for("latents")
        context = trained.context(recording)
        online = Online(trained.model, context, window, prompt_index(prompt))
        return cls(online, recording.id, readouts or {})

    @property
    def n_bins(self) -> int:
        """Bins since the start or the last reset."""
        return self.past.n_bins

    def reset(self) -> None:
        """Forget every bin; do so after a gap in the recording."""
        self.past = self.online.fresh()

    def step(self, counts: ArrayLike, hidden: ArrayLike | None = None) -> Said:
        """The next bin: (C,) counts, and which channels are missing in it.

        Counts of missing channels are not looked at. Raises InputError, and forgets nothing, if the
        counts are not one number of at least 0 for each channel.
        """
        seen = np.asarray(counts, dtype=np.float32)
        latents, rates = self.run(seen[None], None if hidden is None else np.asarray(hidden)[None])
        z = latents[0]
        return Said(rates[0], z, {name: read(z) for name, read in self.readouts.items()})

    def run(
        self, counts: NDArray[Any], hidden: NDArray[Any] | None = None
    ) -> tuple[Matrix, Matrix]:
        """The next T bins, (T, C): latents (T, D) and rates (T, C), as bin by bin but sooner."""
        seen = np.asarray(counts, dtype=np.float32)
        gone = np.asarray(np.zeros(seen.shape) if hidden is None else hidden, dtype=bool)
        self._refuse(seen, gone)
        parts = []
        for at in range(0, len(seen), AT_ONCE):
            few, there = (torch.from_numpy(x[at : at + AT_ONCE]) for x in (seen, gone))
            latents, rates, self.past = self.online(few, there, self.past)
            parts.append((latents.numpy(), rates.numpy()))
        if len(parts) == 1:
            return parts[0]
        z, r = zip(*parts, strict=True)
        return np.concatenate(z), np.concatenate(r)

    def _refuse(self, counts: Matrix, hidden: NDArray[np.bool_]) -> None:
        right = counts.shape[1:] == (self.n_channels,) and hidden.shape == counts.shape
        if not right or not len(counts):
            raise InputError(
                f"{self.name}: a bin is {self.n_channels} counts, one a channel in the order of the "
                f"recording, and as many booleans if some are hidden; got shapes {counts.shape[1:]} "
                f"and {hidden.shape[1:]}."
            )
        if not (counts.min(initial=0, where=~hidden) >= 0 and np.isfinite(counts[~hidden]).all()):
            raise InputError(
                f"{self.name}: counts must be finite and at least 0; say of a missing channel that it "
                "is hidden."
            )


def fit_readout(
    trained: Trained, recording: Recording, name: str, sides: Mapping[str, Intervals]
) -> Readout:
    """Ridge from a stream's latents to a signal, on the `train` side; `valid` chooses its penalty.

    Pieces are streamed from their start, as they will be when it is used. Raises InputError as
    `Stream.of`, or if there is no such signal or the training side holds too little of it.
    """
    stream = Stream.of(trained, recording)
    bin_s = float(trained.config["bin_s"])
    wanted = traces(recording, name, bin_s)
    learned = {recording.id: sides.get("train", Intervals.none())}
    moments = target_scale({recording.id: wanted}, learned, bin_s)
    mean, scale = (moment[recording.id] for moment in moments)

    def rows(side: str) -> Iterator[Rows]:
        for first, stop in side_pieces(recording, sides.get(side, Intervals.none()), bin_s):
            stream.reset()
            latents, _ = stream.run(binning.activity(recording, first, stop, bin_s))
            yield known(latents, (wanted[first:stop] - mean) / scale)

    line, _ = tuned_line(list(rows("train")), list(rows("valid")))
    span, fitted = line.fitted.span, line.fitted
    weight = (line.weights if span is None else span @ line.weights) * scale
    return Readout(weight, fitted.y_mean * scale + mean - fitted.x_mean @ weight)


def replay(
    stream: Stream, recording: Recording, side: Intervals, bin_s: float
) -> Iterator[tuple[int, Said, float]]:
    """(bin, what is said of it, seconds that took) for every bin of a side; gaps reset the stream."""
    for first, stop in side_pieces(recording, side, bin_s):
        stream.reset()
        for bin, counts in enumerate(binning.activity(recording, first, stop, bin_s), first):
            began = perf_counter()
            said = stream.step(counts)
            yield bin, said, perf_counter() - began
