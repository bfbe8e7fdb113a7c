"""The model as a decoder: latents of windows with every channel visible, and a head on them."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import Labels, side_pieces
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import all_visible, latents
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.trial_readout import Names
from neurofm.train.curve import Curve
from neurofm.train.finetune import Finetuned
from neurofm.train.heads import LabelHead, SignalHead


@dataclass(frozen=True)
class SignalAnswers:
    """A fine-tuned model's answers about one recording, on a curve of each axis if there is one."""

    tuned: Finetuned
    direct: Direct
    recording: Recording
    curve: Curve | None = None

    @classmethod
    def of(cls, tuned: Finetuned, recording: Recording, device: torch.device) -> "SignalAnswers":
        """Raises InputError if the model does not know the recording."""
        return cls(tuned, Direct.of(tuned.trained, recording, device), recording)

    def features(self, side: Intervals) -> Matrix:
        """(n, D) latents of every bin of the intervals."""
        return latents(self.direct, self.recording, side)[0]

    def read(self, features: Matrix) -> Matrix:
        """(n, K) in the units of the target."""
        name, standard = self.recording.id, self._standard(features)
        standard = standard if self.curve is None else self.curve(standard)
        return np.asarray(standard * self.tuned.scale[name] + self.tuned.mean[name])

    def on_curve(self, curve: Curve) -> "SignalAnswers":
        """The same answers, bent by a curve."""
        return replace(self, curve=curve)

    def pair(self, side: Intervals, wanted: Matrix) -> tuple[Matrix, Matrix]:
        """(said, wanted) standardised, of the bins of a side: what a curve is fitted to.

        `wanted` (T, K) is on the recording's grid, in the units of the target.
        """
        name, bin_s = self.recording.id, float(self.tuned.trained.config["bin_s"])
        bins = [np.arange(a, b) for a, b in side_pieces(self.recording, side, bin_s)]
        standard = (wanted[np.concatenate(bins)] - self.tuned.mean[name]) / self.tuned.scale[name]
        return self._standard(self.features(side)), standard

    def _standard(self, features: Matrix) -> Matrix:
        assert isinstance(self.tuned.head, SignalHead)
        read = self.tuned.head.read
        weight, bias = (p.detach().float().cpu().numpy() for p in (read.weight, read.bias))
        return np.asarray(features @ weight.T + bias)


def trial_latents(direct: Direct, recording: Recording, trials: Labels) -> list[Matrix]:
    """(T, D) latents of each trial, which is a window of its own, cut to the model's length."""
    bin_s, most = float(direct.trained.config["bin_s"]), int(direct.trained.config["window_bins"])
    questions = [
        all_visible(recording, int(a), min(int(b), int(a) + most), bin_s)
        for a, b in zip(trials.first, trials.stop, strict=True)
    ]
    return direct.latents(questions)


def trial_counts(recording: Recording, trials: Labels, bin_s: float, most: int) -> list[Matrix]:
    """(T, C) counts of each trial, cut to `most` bins."""
    return [
        binning.activity(recording, int(a), min(int(b), int(a) + most), bin_s)
        for a, b in zip(trials.first, trials.stop, strict=True)
    ]


def pooled(tuned: Finetuned, trials: list[Matrix]) -> Matrix:
    """(n, D): each trial's latents as the head pools them."""
    assert isinstance(tuned.head, LabelHead)
    head = tuned.head.cpu()
    with torch.no_grad():
        rows = [head.pooled(torch.from_numpy(z)[None])[0].numpy() for z in trials]
    return np.stack(rows)


def told(tuned: Finetuned, pooled_rows: Matrix) -> Names:
    """(n,) labels from pooled latents."""
    assert isinstance(tuned.head, LabelHead)
    with torch.no_grad():
        at = tuned.head.cpu().read(torch.from_numpy(pooled_rows)).argmax(1).numpy()
    return np.asarray(np.array(tuned.labels)[at], dtype=np.str_)
