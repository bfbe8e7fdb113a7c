"""The stage behind `--tasks probes`: frozen latents against smoothed counts, the same probe on both.

A quick look that trains no network and tunes no width; `decoding` is the whole comparison.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.targets import labels_of
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.evaluate.probes import (
    ProbeScore,
    probe_label,
    probe_signal,
    signal_at,
    smoothed_counts,
    trial_means,
)
from neurofm.evaluate.summary import About
from neurofm.pipeline import Say
from neurofm.results import Result

SMOOTHING_S = 0.1
BLOCK_S = 10.0
FEWEST_TRIALS = 10  # a side

Features = dict[str, tuple[NDArray[np.float32], NDArray[np.int64]]]  # side -> (features, bins)


def probe(
    direct: Direct, recording: Recording, sides: dict[str, Intervals], about: About, say: Say
) -> Iterator[Result]:
    """Every signal and every trial label of a recording, from latents and from smoothed counts."""
    bin_s = float(direct.trained.config["bin_s"])
    kinds: dict[str, Features] = {
        "latents": {s: latents(direct, recording, part) for s, part in sides.items()},
        "smoothed-counts": {
            s: smoothed_counts(recording, part, bin_s, SMOOTHING_S) for s, part in sides.items()
        },
    }
    for kind, features in kinds.items():
        columns = [n for n in labels_of(recording) if n in recording.trials.columns]
        for name in [*recording.signals, *columns]:
            try:
                if name in recording.signals:
                    score = _signal(recording, name, features, bin_s, about.seed)
                else:
                    score = _label(recording, name, features, sides, bin_s, about.seed)
            except InputError as reason:
                say(f"skipped: probe of {name} in {recording.id}: {reason}")
                continue
            yield _result(score, kind, name, recording, about)


def _signal(
    recording: Recording, name: str, features: Features, bin_s: float, seed: int
) -> ProbeScore:
    wanted = {s: signal_at(recording, name, bins, bin_s) for s, (_, bins) in features.items()}
    block = features["test"][1] // max(round(BLOCK_S / bin_s), 1)
    return probe_signal({s: f for s, (f, _) in features.items()}, wanted, block=block, seed=seed)


def _label(
    recording: Recording,
    name: str,
    features: Features,
    sides: dict[str, Intervals],
    bin_s: float,
    seed: int,
) -> ProbeScore:
    x, y = {}, {}
    trials = recording.trials
    for side, (values, bins) in features.items():
        whole = sides[side].contains(trials["start_s"]) & sides[side].contains(
            trials["stop_s"] - 1e-6
        )
        rows = trial_means(values, bins, trials["start_s"], trials["stop_s"], bin_s)
        known = whole & np.isfinite(rows).all(axis=1) & (trials[name] == trials[name])
        x[side], y[side] = rows[known], trials[name][known].astype(str)
        if known.sum() < FEWEST_TRIALS:
            raise InputError(
                f"the {side} side holds {known.sum()} trials, fewer than {FEWEST_TRIALS}."
            )
    return probe_label(x, y, seed=seed)


def _result(score: ProbeScore, kind: str, name: str, recording: Recording, about: About) -> Result:
    return Result(
        predictor=kind,
        task=f"probe:{name}",
        recording=recording.id,
        split=about.split,
        metric=score.metric,
        value=score.value,
        low=score.low,
        high=score.high,
        n=score.n,
        null="test mean" if score.metric == "r2" else "chance",
        seed=about.seed,
        unit_of_n=score.unit_of_n,
        chance=score.chance,
        run=about.run,
        fingerprint=about.fingerprint,
    )
