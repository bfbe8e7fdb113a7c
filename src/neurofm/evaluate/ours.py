"""The model as a decoder: latents of windows with every channel visible, and a head on them."""

from dataclasses import dataclass

import numpy as np
import torch

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import Labels
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import all_visible, latents
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.trial_readout import Names
from neurofm.train.finetune import Finetuned
from neurofm.train.heads import LabelHead, SignalHead


@dataclass(frozen=True)
class SignalAnswers:
    """A fine-tuned model's answers about one recording."""

    tuned: Finetuned
    direct: Direct
    recording: Recording

    @classmethod
    def of(cls, tuned: Finetuned, recording: Recording, device: torch.device) -> "SignalAnswers":
        """Raises InputError if the model does not know the recording."""
        return cls(tuned, Direct.of(tuned.trained, recording, device), recording)

    def features(self, side: Intervals) -> Matrix:
        """(n, D) latents of every bin of the intervals."""
        return latents(self.direct, self.recording, side)[0]

    def read(self, features: Matrix) -> Matrix:
        """(n, K) in the units of the target."""
        assert isinstance(self.tuned.head, SignalHead)
        read = self.tuned.head.read
        weight, bias = (p.detach().float().cpu().numpy() for p in (read.weight, read.bias))
        name = self.recording.id
        standard = features @ weight.T + bias
        return np.asarray(standard * self.tuned.scale[name] + self.tuned.mean[name])


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
