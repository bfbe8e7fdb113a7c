"""From decoded targets to flat results: each recording, chance, the mean, and paired gains.

The predictor `model` is the fine-tuned model; `probe` reads its frozen latents; `scratch` is the
same network fine-tuned from fresh weights.
"""

from collections.abc import Sequence

import numpy as np

from neurofm.evaluate.decode import MODEL, Decoded
from neurofm.evaluate.decode_scores import Score
from neurofm.evaluate.metrics import Floats, bounds
from neurofm.evaluate.summary import About
from neurofm.results import Result
from neurofm.seeding import generator

NULLS = {"balanced_accuracy": "chance"}
MEAN_OF_TEST = "test mean"


def decoding_results(target: str, decoded: Sequence[Decoded], about: About) -> list[Result]:
    """Every result about one target, task `decode:TARGET`.

    `METRIC_chance` is the mean over null targets, its bounds their 5th and 95th percentile, its
    null which one. `METRIC_gain` is the model's paired gain over the predictor named as null.
    """
    task = f"decode:{target}"
    out: list[Result] = []
    for one in decoded:
        out += _of_recording(task, one, about)
    methods = list(dict.fromkeys(one.method for one in decoded))
    table = {(d.method, d.recording): d for d in decoded}
    recordings = list(dict.fromkeys(d.recording for d in decoded))
    for method in methods:
        row = [table[method, r] for r in recordings if (method, r) in table]
        if len(row) > 1:
            metric = row[0].scores[0].metric
            values = np.array([d.scores[0].value for d in row])
            drawn = np.array([d.draws for d in row])
            chances = [d.chances[0].mean for d in row if d.chances]
            out.append(_mean(task, method, metric, values, drawn, about, chance=chances))
        if method != MODEL:
            pairs = [(table[MODEL, r], table[method, r]) for r in recordings
                     if (MODEL, r) in table and (method, r) in table]  # fmt: skip
            out += _gains(task, method, pairs, about)
    return out


def _of_recording(task: str, one: Decoded, about: About) -> list[Result]:
    out = []
    chance = one.chances[0].mean if one.chances else None
    head = one.scores[0].metric
    for score in one.scores:
        given = chance if score.metric == head else None
        out.append(_result(task, one.method, one.recording, score, about, chance=given))
    for null in one.chances:
        row = Score(f"{head}_chance", null.mean, null.low, null.high, null.n, "draws")
        out.append(_result(task, one.method, one.recording, row, about, null=null.null))
    return out


def _result(
    task: str,
    method: str,
    recording: str,
    score: Score,
    about: About,
    null: str = "",
    chance: float | None = None,
) -> Result:
    return Result(predictor=method, task=task, recording=recording, split=about.split,
                  metric=score.metric, value=score.value, low=score.low, high=score.high,
                  n=score.n, null=null or NULLS.get(score.metric, MEAN_OF_TEST), seed=about.seed,
                  unit_of_n=score.unit_of_n, chance=chance, run=about.run,
                  fingerprint=about.fingerprint)  # fmt: skip


def _mean(
    task: str,
    method: str,
    metric: str,
    values: Floats,
    drawn: Floats,
    about: About,
    null: str = "",
    chance: Sequence[float] = (),
) -> Result:
    """Mean over recordings, resampled in two levels: recordings, then the data of each."""
    rng = generator(about.seed, "bootstrap recordings", task, metric, len(values))
    n_boot = drawn.shape[1]
    which = rng.integers(0, len(values), (n_boot, len(values)))
    again = rng.integers(0, n_boot, (n_boot, len(values)))
    limits = bounds(drawn[which, again].mean(axis=1))
    score = Score(metric, float(values.mean()), *limits, len(values), "recordings")
    level = float(np.mean(chance)) if chance else None
    return _result(task, method, "mean", score, about, null=null, chance=level)


def _gains(
    task: str, rival: str, pairs: Sequence[tuple[Decoded, Decoded]], about: About
) -> list[Result]:
    """On the same resampled data, so paired."""
    out, values, drawn = [], [], []
    metric = ""
    for ours, theirs in pairs:
        first = ours.scores[0]
        metric = f"{first.metric}_gain"
        values.append(first.value - theirs.scores[0].value)
        drawn.append(ours.draws - theirs.draws)
        score = Score(metric, values[-1], *bounds(drawn[-1]), first.n, first.unit_of_n)
        out.append(_result(task, MODEL, ours.recording, score, about, null=rival))
    if len(pairs) > 1:
        out.append(_mean(task, MODEL, metric, np.array(values), np.array(drawn), about, null=rival))
    return out
