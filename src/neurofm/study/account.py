"""From finished points to the JSON record that tables, the figure and the page read."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from neurofm.errors import InputError
from neurofm.results import Result
from neurofm.study import forecast
from neurofm.study.forecast import Estimate, Limits, Study
from neurofm.study.grid import CHOSEN, RANDOM, WITHOUT
from neurofm.study.points import Points
from neurofm.study.sweep import Done
from neurofm.study.value import SessionValue, Trained, values

AXES = ("sessions", "minutes a session", "parameters")
UNITS = {"bps_pooled": "bits per spike"}
FEWEST_LEVELS, N_CURVE = 3, 60


def line(result: Result) -> str:
    """A line of JSON."""
    return json.dumps(result.record(), sort_keys=True) + "\n"


def study_record(
    done: Sequence[Done],
    task: str,
    metric: str,
    *,
    target: float | None,
    n_boot: int,
    seed: int,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Points, fits, held-out errors, curve and forecasts of one task; infinities become None."""
    used, points = points_of(done, task, metric)
    rows = _points(used, points, task, metric)
    return record_of(points, rows, task, target=target, n_boot=n_boot, seed=seed, limits=limits)


def record_of(
    points: Points,
    rows: Sequence[dict[str, Any]],
    task: str,
    *,
    target: float | None,
    n_boot: int,
    seed: int,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """`study_record` of points from elsewhere; `rows`: what is said of each, in their order."""
    limits = limits or Limits()
    record: dict[str, Any] = {"task": task, "metric": points.metric, "axes": list(points.axes),
                              "rises": points.rises, "n_boot": n_boot}  # fmt: skip
    reason = forecast.too_small(points, limits)
    if len(points.levels) < FEWEST_LEVELS:
        record |= {"points": _held(rows, np.zeros(len(points), dtype=bool)), "refusal": reason}
        asked = {"score": target, "needed": None, "sentence": reason}
        return record if target is None else record | {"target": asked}
    made = forecast.study(points, n_boot=n_boot, seed=seed)
    record |= {"points": _held(rows, made.held_out.held_out), **_fits(made)}
    record["refusal"] = forecast.refusal(made, limits=limits)
    far = limits.beyond if record["refusal"] is None else 1.0
    record["curve"] = _curve(made, far)
    if record["refusal"] is None:
        record["forecasts"] = [_forecast(made, k * points.levels[-1]) for k in (2.0, limits.beyond)]
    if target is not None:
        needed = (
            _plain(made.needed(target)) if forecast.refusal(made, target=target) is None else None
        )
        words = forecast.sentence(made, target, limits)
        record["target"] = {"score": target, "needed": needed, "sentence": words}
    return record


def points_of(done: Sequence[Done], task: str, metric: str) -> tuple[list[Done], Points]:
    """The random draws as points, over the axes that have three levels or more.

    Of an axis with fewer levels, only the runs at the largest are taken.
    """
    runs = [one for one in done if one.point.why == RANDOM and _scores(one, task, metric)]
    if not runs:
        raise InputError(f"no point was measured on {task}; name it in --tasks and run again.")
    axes = [axis for axis in AXES if len({_size(one, axis, runs) for one in runs}) >= FEWEST_LEVELS]
    for axis in AXES:
        if axis not in axes:
            most = max(_size(one, axis, runs) for one in runs)
            runs = (
                [one for one in runs if _size(one, axis, runs) == most]
                if axis != AXES[0] or axes
                else runs
            )
    axes = axes or [AXES[0]]
    anchors = sorted({a for one in runs for a in _scores(one, task, metric)})
    y = [[_scores(one, task, metric).get(a, math.nan) for a in anchors] for one in runs]
    x = [[_size(one, axis, runs) for axis in axes] for one in runs]
    return runs, Points.of(x, y, axes=axes, metric=UNITS.get(metric, metric))


def largest(done: Sequence[Done], why: str) -> list[Done]:
    """Runs of one kind with the most minutes and the most parameters for their sessions."""
    runs = [one for one in done if one.point.why == why]
    most = max((one.point.minutes or math.inf, one.point.width or 0) for one in done)
    return [one for one in runs if (one.point.minutes or math.inf, one.point.width or 0) == most]


def trained(done: Sequence[Done], task: str, metric: str) -> list[Trained]:
    """Runs for the value of sessions: random draws and those without one, at the largest sizes."""
    runs = [*largest(done, RANDOM), *largest(done, WITHOUT)]
    return [
        Trained(frozenset(one.point.sessions) - set(one.point.anchors), _mean(one, task, metric))
        for one in runs
        if _scores(one, task, metric)
    ]


def value_record(done: Sequence[Done], task: str, metric: str, *, seed: int) -> dict[str, Any]:
    """`values`: of every session, the best first; `no_values`: why there are none, or None."""
    try:
        found: list[SessionValue] = values(trained(done, task, metric), seed=seed)
    except InputError as reason:
        return {"values": [], "no_values": f"No value of sessions: {reason}"}
    rows = [{k: _finite(v) for k, v in asdict(one).items()} for one in found]
    return {"values": rows, "no_values": None}


def chosen_record(done: Sequence[Done], task: str, metric: str) -> list[dict[str, Any]]:
    """Chosen sessions against as many drawn at random, and against all."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for one in done:
        if one.point.why == CHOSEN:
            groups.setdefault(one.point.sessions, []).append(_mean(one, task, metric))
    rest = largest(done, RANDOM)
    most = max((len(one.point.sessions) for one in rest), default=0)

    def mean_at(n: int) -> float | None:
        found = [_mean(one, task, metric) for one in rest if len(one.point.sessions) == n]
        return float(np.mean(found)) if found else None

    return [
        {"sessions": list(sessions), "score": float(np.mean(scores)), "n_runs": len(scores),
         "random": mean_at(len(sessions)), "all": mean_at(most), "n_all": most}
        for sessions, scores in groups.items()
    ]  # fmt: skip


def _scores(one: Done, task: str, metric: str) -> dict[str, float]:
    """{anchor: score} of a run."""
    asked = [r for r in one.results if (r.task, r.metric) == (task, metric)]
    return {r.recording: r.value for r in asked if r.recording != "mean" and math.isfinite(r.value)}


def _mean(one: Done, task: str, metric: str) -> float:
    return float(np.mean(list(_scores(one, task, metric).values())))


def _size(one: Done, axis: str, runs: Sequence[Done]) -> float:
    """A run's size on an axis; runs of one width count as one size, that of the smallest."""
    if axis == "sessions":
        return float(len(one.point.sessions))
    if axis == "minutes a session":
        return one.point.minutes or math.inf
    return min(r.sizes["parameters"] for r in runs if r.point.width == one.point.width)


def _points(used: Sequence[Done], points: Points, task: str, metric: str) -> list[dict[str, Any]]:
    """One row a run; its interval is that of its mean over anchors, or of its one anchor."""
    rows = []
    for one, x, value in zip(used, points.x, points.mean, strict=True):
        asked = [r for r in one.results if (r.task, r.metric) == (task, metric)]
        [about] = [r for r in asked if r.recording == "mean" or len(asked) == 1]
        rows.append({
            "run": one.point.name, "x": x.tolist(), "value": float(value),
            "low": _finite(about.low), "high": _finite(about.high), "n_anchors": points.y.shape[1],
            "parameters": one.sizes["parameters"], "minutes": one.sizes["minutes"],
        })  # fmt: skip
    return rows


def _held(rows: Sequence[dict[str, Any]], held: Any) -> list[dict[str, Any]]:
    """The rows by size, with which runs were held out to judge the laws."""
    told = [row | {"held_out": bool(out)} for row, out in zip(rows, held, strict=True)]
    return sorted(told, key=lambda row: row["x"])


def _fits(made: Study) -> dict[str, Any]:
    rows = {}
    top = float(made.points.levels[-1])
    for form, fit in made.fits.items():
        law = {k: v for k, v in asdict(fit.law).items() if k != "rises"}
        drawn = [asdict(one) for one in made.draws[form]]
        spread = {
            k: np.percentile([d[k] for d in drawn], [2.5, 97.5], axis=0).tolist() for k in law
        }
        rows[form] = {"parameters": law, "interval": spread, "held_out_error": made.held_out.error.get(form),
                      "at_largest": _plain(made.value_at(top, form))}  # fmt: skip
    return {"fits": rows, "chosen": made.chosen, "kept": list(made.kept),
            "limit": _plain(made.limit())}  # fmt: skip


def _curve(made: Study, far: float) -> dict[str, list[float]]:
    """The chosen law with its band, from the smallest run to as far as a forecast goes."""
    ends = np.log(made.points.levels[[0, -1]])
    x = np.exp(np.linspace(ends[0], ends[1] + np.log(far), N_CURVE))
    value, low, high = made.band(x)
    return {"x": x.tolist(), "value": value.tolist(), "low": low.tolist(), "high": high.tolist()}


def _forecast(made: Study, size: float) -> dict[str, Any]:
    return {"size": float(size), **_plain(made.value_at(float(size)))}


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {k: _finite(v) for k, v in asdict(estimate).items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
