"""From block scores to results: each recording, the mean over recordings, and paired gains.

Means over recordings are resampled in two levels: recordings, then blocks inside each. Every
predictor of a task shares the draws, so that gains are paired.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neurofm.errors import InputError
from neurofm.evaluate import metrics
from neurofm.evaluate.metrics import METRICS_OF, BlockScores, Floats
from neurofm.results import Result
from neurofm.seeding import generator

NULL = "unit mean on the test part"
CHANCE = "one of the labels at random"
ByRecording = dict[str, BlockScores]


@dataclass(frozen=True)
class About:
    """What every result of one evaluation shares."""

    seed: int = 0
    split: str = "test"
    n_boot: int = 2000
    run: str = ""
    fingerprint: str = ""

    def result(
        self,
        scores: BlockScores,
        metric: str,
        numbers: tuple[float, float, float],
        **other: str | int,
    ) -> Result:
        """A result about the recording of `scores`, unless `other` says otherwise."""
        row = {"predictor": scores.predictor, "task": scores.task, "recording": scores.recording,
               "n": scores.n_blocks, "null": CHANCE if scores.kind == "category" else NULL,
               "unit_of_n": "blocks", **other}  # fmt: skip
        value, low, high = numbers
        return Result(split=self.split, metric=metric, value=value, low=low, high=high,
                      seed=self.seed, run=self.run, fingerprint=self.fingerprint, **row)  # type: ignore[arg-type]  # fmt: skip


def results_of(
    scores: Sequence[BlockScores],
    about: About | None = None,
    model: str = "model",
    ceilings: Collection[str] = ("planted",),
) -> list[Result]:
    """Every result that follows from the scores, in a fixed order.

    Per recording and for `mean` (two recordings or more): `bps_pooled`, `bps_per_unit`, `d2`, or
    what `METRICS_OF` has for the kind. For `model` also `bps_pooled_gain` over each other
    predictor, with `null` its name, and for `mean` `bps_pooled_gain_ratio` = mean of the model /
    mean of the best other predictor − 1, over the recordings that both answered; of other kinds, of
    their first metric. `ceilings` know the truth: they get scores, and nothing is
    compared with them. Raises InputError if two scores hold the same place, or if
    predictors were scored on different questions.
    """
    about = about or About()
    table: dict[str, dict[str, ByRecording]] = {}
    for s in scores:
        row = table.setdefault(s.task, {}).setdefault(s.predictor, {})
        if s.recording in row:
            raise InputError(f"{s.predictor} has two scores of {s.recording} ({s.task}).")
        row[s.recording] = s
    out: list[Result] = []
    for predictors in table.values():
        for row in predictors.values():
            out += _own(row, about)
        aside = {model, *ceilings}
        others = {name: row for name, row in predictors.items() if name not in aside}
        if model in predictors and others:
            out += _gains(predictors[model], others, about)
    return out


def _own(row: ByRecording, about: About) -> list[Result]:
    out = []
    kind = next(iter(row.values())).kind
    for name, metric in METRICS_OF[kind].items():
        numbers = {r: metrics.interval(s, metric, about.n_boot, about.seed) for r, s in row.items()}
        out += [about.result(row[r], name, numbers[r]) for r in row]
        if len(row) > 1:
            values = {r: v for r, (v, _, _) in numbers.items() if math.isfinite(v)}
            sampled = _mean_draws({r: row[r] for r in values}, name, about)
            mean = float(np.mean(list(values.values()))) if values else math.nan
            out.append(
                _mean_result(row, name, (mean, *metrics.bounds(sampled)), len(values), about)
            )
    return out


def _mean_result(
    row: ByRecording,
    metric: str,
    numbers: tuple[float, float, float],
    n: int,
    about: About,
    null: str = "",
) -> Result:
    first = next(iter(row.values()))
    where = {"recording": "mean", "unit_of_n": "recordings"} | ({"null": null} if null else {})
    return about.result(first, metric, numbers, n=n, **where)


def _mean_draws(row: ByRecording, metric: str, about: About) -> Floats:
    """(n_boot,) means over recordings drawn with replacement, each on blocks drawn anew."""
    if len(row) < 2:
        return np.empty(0)
    names, task = sorted(row), next(iter(row.values())).task
    drawn = [metrics.draws(row[r], METRICS_OF[row[r].kind][metric], about.n_boot, about.seed)
             for r in names]  # fmt: skip
    values = np.array(drawn)
    rng = generator(about.seed, "bootstrap recordings", task, len(names), *names)
    which = rng.integers(0, len(names), (about.n_boot, len(names)))
    again = rng.integers(0, about.n_boot, (about.n_boot, len(names)))
    return np.asarray(values[which, again].mean(axis=1))


def _gains(model: ByRecording, others: Mapping[str, ByRecording], about: About) -> list[Result]:
    out, main = [], _main(model)
    metric = METRICS_OF[next(iter(model.values())).kind][main]
    for name, row in others.items():
        shared = [r for r in model if r in row]
        for r in shared:
            numbers = metrics.gain(model[r], row[r], metric, about.n_boot, about.seed)
            out.append(about.result(model[r], f"{main}_gain", numbers, null=name))
        if len(shared) > 1:
            a, b, mean_a, mean_b = _pair(model, row, shared, about)
            numbers = (mean_a - mean_b, *metrics.bounds(a - b))
            out.append(_mean_result(model, f"{main}_gain", numbers, len(shared), about, name))
    return out + _ratio_to_best(model, others, about)


def _main(row: ByRecording) -> str:
    """The metric that methods are compared by."""
    return next(iter(METRICS_OF[next(iter(row.values())).kind]))


def _ratio_to_best(
    model: ByRecording, others: Mapping[str, ByRecording], about: About
) -> list[Result]:
    """The gain over the best rival that answered every recording of the model, as a ratio."""
    complete = {name: row for name, row in others.items() if set(model) <= set(row)}
    if len(model) < 2 or not complete:
        return []
    names = sorted(model)
    pairs = {name: _pair(model, row, names, about) for name, row in complete.items()}
    best = max(pairs, key=lambda name: pairs[name][3])
    a, b, mean_a, mean_b = pairs[best]
    if not mean_b > 0:
        return []  # a ratio to nothing says nothing
    ratio = a / np.where(b > 0, b, np.nan) - 1
    numbers = (mean_a / mean_b - 1, *metrics.bounds(ratio))
    metric = f"{_main(model)}_gain_ratio"
    return [_mean_result(model, metric, numbers, len(names), about, best)]


def _pair(
    model: ByRecording, row: ByRecording, names: Sequence[str], about: About
) -> tuple[Floats, Floats, float, float]:
    """Paired draws of both means, and both means, over the named recordings."""
    a, b = ({r: side[r] for r in names} for side in (model, row))
    for r in names:
        metrics.comparable(a[r], b[r])
    main = _main(model)
    metric = METRICS_OF[next(iter(model.values())).kind][main]
    means = [float(np.mean([metrics.value(s, metric) for s in side.values()])) for side in (a, b)]
    draws = [_mean_draws(side, main, about) for side in (a, b)]
    return draws[0], draws[1], means[0], means[1]
