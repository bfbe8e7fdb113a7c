"""The value of each session: what the anchors' scores lose without it, and a greedy choice.

A few well-chosen sessions can beat all of them (Jiang et al. 2025), so more than their number counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError
from neurofm.seeding import generator

Floats = NDArray[np.float64]
LEAVE_ONE_OUT, INFLUENCE = "leave-one-out", "influence"
RUNS_A_SESSION = 2  # fewer, and the regression says more than the runs know
SHRINK = 1.0  # ridge, in units of a run that holds a session against one that does not


@dataclass(frozen=True)
class Trained:
    """One run: the sessions it was trained on, beside the anchors, and its mean score."""

    sessions: frozenset[str]
    score: float


@dataclass(frozen=True)
class SessionValue:
    """What a session adds to the score, with a 95% interval (NaN with too few runs).

    `how`: `leave-one-out`, the runs with all sessions less those without this one; or `influence`,
    its weight in a ridge regression of the score on who was in, beside how many were. `n_runs`:
    that held it out (leave-one-out) or in (influence).
    """

    session: str
    value: float
    low: float
    high: float
    n_runs: int
    how: str


def values(runs: Sequence[Trained], *, seed: int = 0, n_boot: int = 400) -> list[SessionValue]:
    """The value of every session that some runs were trained on and others not, the best first.

    Leave-one-out where every session has runs without it alone, else influence, whose intervals
    resample runs. The scores are those of the test parts: a choice made by them wants other anchors, or
    other sessions, to be proven on. Raises InputError if no session is in some runs and out of
    others, or influence is asked of too few runs.
    """
    every = frozenset().union(*(run.sessions for run in runs))
    varied = sorted(s for s in every if 0 < sum(s in run.sessions for run in runs) < len(runs))
    if not varied:
        raise InputError("every run was trained on the same sessions; draw different ones.")
    rng = generator(seed, "bootstrap of session values")
    whole = [run.score for run in runs if run.sessions == every]
    without = {s: [run.score for run in runs if run.sessions == every - {s}] for s in sorted(every)}
    if whole and all(without.values()):
        found = _left_out(whole, without)
    else:
        if len(runs) < RUNS_A_SESSION * len(varied):
            raise InputError(
                f"{len(runs)} runs are too few to tell {len(varied)} sessions apart; add draws until "
                f"there are {RUNS_A_SESSION * len(varied)}, or run all but each with --value."
            )
        found = _influences(runs, varied, rng, n_boot)
    return sorted(found, key=lambda v: (-v.value, v.session))


def greedy(runs: Sequence[Trained], n: int, *, shrink: float = SHRINK) -> tuple[str, ...]:
    """`n` sessions, each the one that adds most to the predicted score of those chosen before.

    The prediction is a ridge regression on who was in and on pairs that were in together, so that
    a session much like a chosen one counts for less. Raises InputError if there are fewer than `n`.
    """
    names = sorted(frozenset().union(*(run.sessions for run in runs)))
    if n > len(names):
        raise InputError(f"{n} sessions were asked for and the runs hold {len(names)}.")
    inside = _membership(runs, names)
    pairs = [(i, j) for i in range(len(names)) for j in range(i)]
    table = np.column_stack([inside, *(inside[:, i] * inside[:, j] for i, j in pairs)])
    scores = np.array([run.score for run in runs])
    weights = _ridge(table - table.mean(axis=0), scores - scores.mean(), shrink)
    alone, together = weights[: len(names)], np.zeros((len(names), len(names)))
    for (i, j), weight in zip(pairs, weights[len(names) :], strict=True):
        together[i, j] = together[j, i] = weight
    chosen: list[int] = []
    for _ in range(n):
        gains = alone + together[:, chosen].sum(axis=1)
        gains[chosen] = -np.inf
        chosen.append(int(np.argmax(gains)))
    return tuple(names[i] for i in chosen)


def _left_out(whole: Sequence[float], without: Mapping[str, Sequence[float]]) -> list[SessionValue]:
    """Differences of means, with Student's t on the variance between runs of the same sessions.

    That variance is pooled over all groups of runs, since each holds only a few.
    """
    from scipy.special import stdtrit

    groups = [np.array(whole), *(np.array(scores) for scores in without.values())]
    degrees = sum(len(g) - 1 for g in groups)
    pooled = (
        sum(float(((g - g.mean()) ** 2).sum()) for g in groups) / degrees if degrees else np.nan
    )
    out = []
    for session, scores in without.items():
        value = float(np.mean(whole) - np.mean(scores))
        error = np.sqrt(pooled * (1 / len(whole) + 1 / len(scores)))
        half = float(error * stdtrit(degrees, 0.975)) if degrees else float("nan")
        out.append(
            SessionValue(session, value, value - half, value + half, len(scores), LEAVE_ONE_OUT)
        )
    return out


def _influences(
    runs: Sequence[Trained], names: Sequence[str], rng: np.random.Generator, n_boot: int
) -> list[SessionValue]:
    inside = _membership(runs, names)
    scores = np.array([run.score for run in runs])
    value = _weights(inside, scores)
    drawn = []
    for _ in range(n_boot):
        again = rng.integers(0, len(runs), len(runs))
        drawn.append(_weights(inside[again], scores[again]))
    low, high = np.percentile(np.array(drawn), [2.5, 97.5], axis=0)
    return [
        SessionValue(
            s, float(value[i]), float(low[i]), float(high[i]), int(inside[:, i].sum()), INFLUENCE
        )
        for i, s in enumerate(names)
    ]


def _membership(runs: Sequence[Trained], names: Sequence[str]) -> Floats:
    """(runs, sessions) of 0 and 1."""
    return np.array([[float(s in run.sessions) for s in names] for run in runs])


def _weights(inside: Floats, scores: Floats) -> Floats:
    """Weights of who was in, once the logarithm of how many were is taken out of both."""
    size = np.column_stack([np.ones(len(scores)), np.log1p(inside.sum(axis=1))])
    rest = np.eye(len(scores)) - size @ np.linalg.pinv(size)
    return _ridge(rest @ inside, rest @ scores, SHRINK)


def _ridge(table: Floats, scores: Floats, shrink: float) -> Floats:
    n = table.shape[1]
    return np.asarray(np.linalg.solve(table.T @ table + shrink * np.eye(n), table.T @ scores))
