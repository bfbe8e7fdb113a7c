"""Experiments on a trained model in the animal's place: tuning curves, best inputs, lesions.

A model that was trained with stimulus or behaviour as channels answers questions that no recording
holds: what if the wheel had stood still, what drives this unit most, what is lost without this region
(Walker et al. 2019; Bashivan et al. 2019). What it says is of the model, and as good as its score on
`encoding`; `over_seeds` says how far models of different seeds agree, which a recording cannot tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from neurofm.data.recording import Channels
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.regression import solvers
from neurofm.evaluate.task import Example, Question
from neurofm.model.seeded import seed_torch
from neurofm.tokens.grouped import grouped
from neurofm.tokens.mask import prompt_index
from neurofm.tokens.tokens import Batch

TASK = "encoding"
STRIDE = 0.05  # of a step uphill, as a share of the longest answer allowed


def tuning(
    direct: Direct, channels: Channels, held: Mapping[str, ArrayLike], n_bins: int = 21
) -> Floats:
    """(V, U) expected counts a bin of all activity, were the `held` channels at their values (V,).

    `held`: channel id -> V values, which last for `n_bins` bins; the middle one is told. Stimulus and
    behaviour that are not held are hidden, as all activity is: a model knows what to make of that from
    training with `masks.encode_fewer`. With `bayes.poisson_evidence` this is an encoder to be turned around.

    Raises InputError if a channel is not there, or is activity, or the values differ in number.
    """
    values = [np.atleast_1d(np.asarray(v, dtype=np.float32)) for v in held.values()]
    if len({v.shape for v in values}) != 1 or values[0].ndim != 1:
        raise InputError("Channels are held at as many values each, (V,); these differ in shape.")
    courses = [np.tile(at, (n_bins, 1)) for at in np.stack(values, axis=1)]
    return driven(direct, channels, list(held), courses)


def driven(
    direct: Direct, channels: Channels, names: Sequence[str], courses: Sequence[ArrayLike]
) -> Floats:
    """(V, U) expected counts of all activity in the middle bin of each of V courses of `names`.

    A course is (T, k) values of the k channels; whatever else there is, is hidden. Raises InputError
    if a channel is not there, or is activity.
    """
    rows = [_further(channels, name) for name in names]
    questions = []
    for course in courses:
        values = np.asarray(course, dtype=np.float32)
        hidden = np.ones((len(values), len(channels)), dtype=bool)
        hidden[:, rows] = False
        visible = np.zeros(hidden.shape, dtype=np.float32)
        visible[:, rows] = values
        questions.append(_question(direct, channels, visible, hidden))
    told = np.stack([rates[len(rates) // 2] for rates in direct.predict(questions)])
    return told[:, channels.in_activity].astype(np.float64)


@dataclass(frozen=True)
class Exciting:
    """`values` (T, k) of the channels that were searched over, and what they do to the unit.

    `rate`, `null_rate`: its expected count in the middle bin, and that at the channels' means.
    """

    values: Floats
    rate: float
    null_rate: float


def most_exciting(
    direct: Direct,
    channels: Channels,
    unit: str,
    names: Sequence[str],
    *,
    n_bins: int = 21,
    size: float = 1.0,
    n_steps: int = 100,
    seed: int = 0,
) -> Exciting:
    """What `names` (k channels of real values) must do for `unit` to fire most in the middle bin.

    Gradient ascent on the log of its expected count, from noise of a tenth of `size`: the root mean
    square over bins and channels, in standard deviations of the training part, which the answer may
    not exceed. Further channels are hidden. A local optimum: compare seeds.

    Raises InputError if a channel is not there or not of the kind that is asked for.
    """
    rows = torch.tensor([_further(channels, name) for name in names])
    if (channels.kind[rows.numpy()] != "real").any():
        raise InputError("Only channels of real values can be searched over; labels can be held.")
    at = _row(channels, unit)
    mean, scale = direct.context.mean[rows], direct.context.scale[rows]
    seed_torch(seed, "most exciting input", unit)
    z = (0.1 * size * torch.randn(n_bins, len(rows))).to(direct.device).requires_grad_()
    longest = size * float(z.numel()) ** 0.5

    def drive(x: Tensor) -> Tensor:
        return _rate(direct, channels, rows, mean + scale * x)[at].log()

    for _ in range(n_steps):
        (slope,) = torch.autograd.grad(drive(z), [z])
        with torch.no_grad():  # not Adam: it would move what hardly matters as far as what does
            z += STRIDE * longest * slope / slope.norm().clamp(min=1e-12)
            z *= (longest / z.norm()).clamp(max=1.0)
    with torch.no_grad():
        best, null = float(drive(z).exp()), float(drive(torch.zeros_like(z)).exp())
    return Exciting((mean + scale * z).detach().double().cpu().numpy(), best, null)


@dataclass(frozen=True)
class Lesioned:
    """A predictor that is not shown some channels, as if they had not been recorded.

    `away` (C,) booleans. What it scores less than `direct` on any task is what the model had from these channels
    alone: where others know the same, nothing is lost.
    """

    direct: Direct
    away: NDArray[np.bool_]
    name: str = "lesioned"

    @classmethod
    def of(cls, direct: Direct, channels: Channels, region: str) -> "Lesioned":
        """Without the channels of a region. Raises InputError if there is none."""
        away = np.asarray(channels.region == region)
        if not away.any():
            there = ", ".join(sorted(set(channels.region.tolist()) - {""})) or "none"
            raise InputError(f"There is no region {region!r}; there are {there}.")
        return cls(direct, away, f"without {region}")

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Nothing, as for the model itself."""

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """As `Direct.predict`."""
        return self.direct.predict([self._without(q) for q in questions])

    def _without(self, question: Question) -> Question:
        visible = np.where(self.away, np.float32(np.nan), question.visible.astype(np.float32))
        return replace(question, visible=np.where(question.hidden, np.float32(0), visible))


@dataclass(frozen=True)
class OverSeeds:
    """Mean over models of `n` seeds and the bounds of its 95% interval, of any one shape.

    `agreement`: the mean correlation of two seeds' answers, NaN for a single number or one
    that never changes.
    """

    mean: Floats
    low: Floats
    high: Floats
    n: int
    agreement: float


def over_seeds(answers: Sequence[ArrayLike]) -> OverSeeds:
    """The same experiment on models of different seeds; Student's t over seeds.

    Raises InputError if there are fewer than two, or their shapes differ.
    """
    each = [np.asarray(a, dtype=np.float64) for a in answers]
    if len(each) < 2 or len({a.shape for a in each}) != 1:
        raise InputError("An interval over seeds needs two answers or more, of one shape.")
    solvers()  # a clear sentence where scipy is missing
    from scipy.stats import t

    values, n = np.stack(each), len(each)
    reach = t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / n**0.5
    mean = values.mean(axis=0)
    agreement = float("nan")
    if mean.size > 1:
        with np.errstate(invalid="ignore"):  # an answer that never changes agrees with none
            between = np.atleast_2d(np.corrcoef(values.reshape(n, -1)))
        agreement = float(between[np.triu_indices(n, 1)].mean())
    return OverSeeds(mean, mean - reach, mean + reach, n, agreement)


def _question(
    direct: Direct, channels: Channels, visible: NDArray[np.float32], hidden: NDArray[np.bool_]
) -> Question:
    return Question(TASK, 0, "in silico", 0, direct.bin_s, channels, visible, hidden, hidden)


def _rate(direct: Direct, channels: Channels, rows: Tensor, values: Tensor) -> Tensor:
    """(C,) expected counts in the middle of a window where `rows` take (T, k) values."""
    n_bins = len(values)
    cells = values.new_zeros(n_bins, len(channels))
    cells[:, rows] = values
    hidden = torch.ones(1, n_bins, len(channels), dtype=torch.bool, device=values.device)
    hidden[..., rows] = False
    model = direct.trained.model
    prompt = prompt_index(direct.masks.prompt_for(TASK))
    group = grouped(model.config.tokens, cells[None], hidden, direct.context, [prompt])
    rates: Tensor = model(Batch((group,))).rates[0][0, n_bins // 2]
    return rates


def _row(channels: Channels, name: str) -> int:
    found = np.flatnonzero(channels.id == name)
    if not len(found):
        raise InputError(f"There is no channel {name!r}; `recording.channels.id` lists them.")
    return int(found[0])


def _further(channels: Channels, name: str) -> int:
    row = _row(channels, name)
    if channels.in_activity[row]:
        raise InputError(
            f"{name} is activity; stimulus and behaviour can be set, activity is told."
        )
    return row
