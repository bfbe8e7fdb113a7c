"""Rolling a recording on: expected counts of the next bins, spikes drawn from them, and so forth."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.plain import exact_seconds
from neurofm.data.quality import Flag
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.task import Question
from neurofm.seeding import generator

AT_ONCE = 8  # samples a pass, always: the last digits of a product depend on the batch's size
MOST = 65_535  # counts a bin


@dataclass(frozen=True)
class Rollout:
    """S samples of what may follow bin `first` of a recording.

    `rates`: (S, T, C) float32 expected counts a bin, given the sample's own past. `counts`:
    (S, T, C) uint16, drawn from them. `n_context`: recorded bins that the first bin was given.
    """

    recording: str
    first: int
    bin_s: float
    seed: int
    n_context: int
    rates: NDArray[np.float32]
    counts: NDArray[np.uint16]


def generate(
    direct: Direct,
    recording: Recording,
    first: int,
    n_bins: int,
    *,
    seed: int,
    n_samples: int = 1,
    stride: int = 1,
) -> Rollout:
    """What a trained model says may follow: `n_bins` bins from bin `first`, drawn `n_samples` times.

    The model is asked by what it was trained on most of forward prediction, the next bin and
    autoregression. Raises InputError if `stride` reaches beyond the future that it was trained on,
    if the channels are not counts, or as `roll` does.
    """
    if (recording.channels.kind != "count").any():
        raise InputError(f"{recording.id}: spikes are drawn here, and not all of it is counts.")
    task, horizon = direct.masks.onward(direct.bin_s)
    if not 1 <= stride <= min(horizon, direct.window_bins - 1):
        raise InputError(
            f"a stride of {stride} bins is outside what the model was trained to predict at once, "
            f"1 to {horizon} bins by {task}; choose a stride in it."
        )
    return roll(direct, recording, first, n_bins, bin_s=direct.bin_s, seed=seed,
                n_samples=n_samples, context=direct.window_bins - stride, stride=stride,
                task=task)  # fmt: skip


def roll(
    predictor: Predictor,
    recording: Recording,
    first: int,
    n_bins: int,
    *,
    bin_s: float,
    seed: int,
    n_samples: int,
    context: int,
    stride: int = 1,
    task: str = "forward",
) -> Rollout:
    """Roll any predictor of the future forward from bin `first`, `stride` bins at a time.

    It sees `context` bins, or as many as were recorded without a gap before `first`: first recorded
    ones, later its own. Counts are independent Poisson draws given the rates of a stride. Sample s
    depends on (seed, recording, first, s), not on how many there are, and a longer rollout begins
    with the shorter one. Nothing from `first` on is read. Raises InputError if the bin before
    `first` was not recorded or a size is not positive.
    """
    if min(n_bins, n_samples, context, stride) < 1:
        raise InputError("generate needs at least one bin, one sample, a context and a stride.")
    seen = _before(recording, first, context, bin_s)
    parts = [
        _some(predictor, recording, seen, first, n_bins, bin_s, context, stride, task,
              [generator(seed, "generate", recording.id, first, s) for s in samples])
        for samples in _chunks(n_samples)
    ]  # fmt: skip
    rates, counts = (np.concatenate(kind)[:n_samples] for kind in zip(*parts, strict=True))
    return Rollout(recording.id, first, bin_s, seed, len(seen), rates, counts)


def _some(
    predictor: Predictor,
    recording: Recording,
    seen: NDArray[Any],
    first: int,
    n_bins: int,
    bin_s: float,
    context: int,
    stride: int,
    task: str,
    rngs: list[np.random.Generator],
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """(S, n_bins, C) rates and counts of as many samples as there are generators."""
    n, n_channels = len(rngs), len(recording.channels)
    past = np.repeat(seen[None].astype(np.uint16), n, axis=0)
    blank = np.zeros((n, stride, n_channels), dtype=np.uint16)
    all_rates: list[NDArray[np.float32]] = []
    for at in range(first, first + n_bins, stride):
        window = np.concatenate([past[:, -context:], blank], axis=1)
        hidden = np.zeros(window.shape[1:], dtype=bool)
        hidden[-stride:] = True
        place = (task, 0, recording.id, at - window.shape[1] + stride, bin_s, recording.channels)
        answers = predictor.predict([Question(*place, one, hidden, hidden) for one in window])
        rates = np.stack([answer[-stride:] for answer in answers]).astype(np.float32)
        drawn = [rng.poisson(rate) for rng, rate in zip(rngs, rates, strict=True)]
        past = np.concatenate([past, np.minimum(drawn, MOST).astype(np.uint16)], axis=1)
        all_rates.append(rates)
    return np.concatenate(all_rates, axis=1)[:, :n_bins], past[:, len(seen) :][:, :n_bins]


def _before(recording: Recording, first: int, context: int, bin_s: float) -> NDArray[Any]:
    """(at most context, C) counts right before `first`, as far as they were recorded in one piece."""
    for start, stop in binning.pieces(recording.valid, bin_s):
        if start < first <= stop:
            return binning.activity(recording, max(start, first - context), first, bin_s)
    raise InputError(
        f"{recording.id}: nothing was recorded right before {first * bin_s:g} s; generate from a "
        "time inside what was recorded."
    )


def _chunks(n_samples: int) -> Iterator[range]:
    """Samples in chunks of one size; the last ones of the last chunk may be too many."""
    for low in range(0, n_samples, AT_ONCE):
        yield range(low, low + AT_ONCE)


def as_recording(rollout: Rollout, source: Recording) -> Recording:
    """The samples one after another as a recording, each a piece and a trial of its own.

    Its channels are those of `source`; `signals["rates"]` (S T, C) are the rates; `trials` says
    which `sample` each is. Its id tells where it came from.
    """
    n_samples, n_bins, n_channels = rollout.counts.shape
    step = exact_seconds(rollout.bin_s, "bin_s")
    edges = [float(k * n_bins * step) for k in range(n_samples + 1)]
    at_s = float(rollout.first * step)
    made = Recording.from_arrays(
        f"{source.id}-from-{at_s:g}s-seed-{rollout.seed}",
        counts=rollout.counts.reshape(-1, n_channels),
        bin_s=rollout.bin_s,
        channel_id=source.channels.id,
        subject=source.subject,
        signals={"rates": rollout.rates.reshape(-1, n_channels)},
        trials={"start_s": edges[:-1], "stop_s": edges[1:], "sample": np.arange(n_samples)},
        valid=list(pairwise(edges)),
    )
    facts = {"generated_from": source.id, "generated_at_s": at_s, "generated_seed": rollout.seed}
    notes = tuple(Flag("note", f"meta.{k}", json.dumps(v)).text for k, v in facts.items())
    told = replace(source.provenance, source="generated", source_sha256="", notes=notes)
    return replace(made, channels=source.channels, provenance=told)
