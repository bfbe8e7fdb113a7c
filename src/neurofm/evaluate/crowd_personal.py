"""What a person's own labelled seconds add to a network of others, against those seconds alone.

The first trials of a person teach and later ones are asked: those of later recordings where there are any, else the
second half of the trials of each label. Nothing of what is asked is used, not even its mean.
Shapes: N windows, D features, L labels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.data import covariance as cv
from neurofm.evaluate import unlabelled
from neurofm.evaluate.crowd_answers import Answers
from neurofm.evaluate.crowd_readers import PeopleConfig, laid_on
from neurofm.evaluate.crowd_windows import CrowdWindows, Rows
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.trial_readout import sorter
from neurofm.train.crowd import Crowd, tune

METHODS = ("own-linear", "network", "fine-tuned", "fine-tuned-with-linear")
OWN = dict.fromkeys(METHODS, "own-linear")
"""Methods, and what each is compared with: a linear reader of the person's own seconds alone."""
TUNED = {"pretrain_steps": 0, "rate": 1e-3, "average": 0.9}
ENOUGH = 0.9  # of the seconds asked for, where a person has no more trials
RARE = 1e-4  # the chance of a label that a person's seconds do not have


@dataclass(frozen=True)
class Own:
    """Windows (N,) of one person: which may teach, which are asked, and the trial of each."""

    windows: CrowdWindows
    teaches: NDArray[np.bool_]
    asked: NDArray[np.bool_]

    def first(
        self, seconds: float, window_s: float, labels: NDArray[np.str_]
    ) -> NDArray[np.bool_] | None:
        """(N,) the first trials of each of `labels` in turn, as many as fit in `seconds`.

        None if the person has too few, they have one label only, or there is nothing to ask then.
        """
        w, taken, total = self.windows, [], 0.0
        for piece, n in _in_turn(w, self.teaches & np.isin(w.label, labels)):
            if total + n * window_s > seconds + 1e-9:
                break
            taken.append(piece)
            total += n * window_s
        else:
            if total < ENOUGH * seconds:
                return None
        chosen = self.teaches & np.isin(w.piece, taken)
        return chosen if len(np.unique(w.label[chosen])) > 1 and self.asked.any() else None


def own_of(w: CrowdWindows, gap_s: float, window_s: float) -> Own:
    """The windows of one person in two sides, no nearer than `gap_s` where they share a recording."""
    sessions = np.unique(w.session)
    if len(sessions) > 1:
        teaches = w.session == sessions[0]
        return Own(w, teaches, ~teaches)
    teaches = np.zeros(len(w), dtype=bool)
    for label in np.unique(w.label):
        mine = [piece for piece, _ in _in_turn(w, w.label == label)]
        teaches |= np.isin(w.piece, mine[: len(mine) // 2])
    away = np.abs(w.start_s[:, None] - w.start_s[teaches]).min(axis=1, initial=np.inf) - window_s
    return Own(w, teaches, ~teaches & (away >= gap_s - 1e-9))


def _in_turn(w: CrowdWindows, rows: NDArray[np.bool_]) -> list[tuple[str, int]]:
    """(trial, its windows) of some windows: the first trial of every label, then the second ..."""
    at = np.flatnonzero(rows)
    pieces, first, n = np.unique(w.piece[at], return_index=True, return_counts=True)
    order = np.argsort(w.start_s[at][first], kind="stable")
    seen: dict[str, int] = {}
    turns: list[tuple[int, int, str, int]] = []
    for k in order:
        label = str(w.label[at[first[k]]])
        seen[label] = seen.get(label, -1) + 1
        turns.append((seen[label], len(turns), str(pieces[k]), int(n[k])))
    return [(piece, count) for _, _, piece, count in sorted(turns)]


def seen_from(w: CrowdWindows, chosen: NDArray[np.bool_], n_bands: int) -> Rows:
    """(N, D) as seen from the mean of some windows, in each band."""
    parts = []
    for band in np.split(w.alone, n_bands, axis=1):
        cov = cv.exp_map(cv.matrices(band))
        parts.append(cv.tangent(cv.recentred(cov, cv.mean_covariance(cov[chosen]))))
    return np.concatenate(parts, axis=1)


def personal_answers(
    rest: CrowdWindows,
    people: Sequence[Own],
    seconds: Sequence[float],
    config: PeopleConfig,
    say: Callable[[str], None],
) -> dict[float, Answers]:
    """{seconds: what every method says of the windows of all people, one after the other}.

    NaN where a window is not asked. `config` must have a network.
    """
    assert config.network is not None
    say("network")
    network = config.network.model_copy(update={"seed": config.seed})
    told, chosen, by = laid_on(rest, config, network)
    likely = unlabelled.prior(chosen, len(by)) if by else np.ones(1)
    out: dict[float, Answers] = {}
    for amount in seconds:
        say(f"{amount:g} s of their own")
        parts = [_of(own, told, amount, config, by, likely) for own in people]
        chances = {m: np.concatenate([part[m] for part in parts]) for m in OWN}
        out[amount] = Answers(told.labels, chances)
    return out


def _of(
    own: Own, told: Crowd, seconds: float, config: PeopleConfig, by: Sequence[Rows], likely: Floats
) -> dict[str, Floats]:
    w, chosen = own.windows, own.first(seconds, config.window_s, told.labels)
    out = {m: np.full((len(w), len(told.labels)), np.nan) for m in OWN}
    if chosen is None:
        return out
    x, asked = seen_from(w, chosen, len(config.bands)), own.asked
    alone = _alone(x[chosen], w.label[chosen], x[asked], told.labels, config.penalty)
    if by:
        column = np.searchsorted(told.labels, w.label[chosen])
        x = x @ by[unlabelled.told_turn(told, column, x[chosen], by, likely)]
    assert config.network is not None
    tuning = config.network.model_copy(
        update={**TUNED, "steps": config.own_steps, "seed": config.seed}
    )
    tuned = tune(told, x[chosen], w.label[chosen], tuning)(x[asked])
    both = np.sqrt(tuned * alone)
    made = {"own-linear": alone, "network": told(x[asked]), "fine-tuned": tuned,
            "fine-tuned-with-linear": both / both.sum(axis=1, keepdims=True)}  # fmt: skip
    for method, chance in made.items():
        out[method][asked] = chance
    return out


def _alone(
    x: Rows, label: NDArray[np.str_], asked: Rows, labels: NDArray[np.str_], penalty: float
) -> Floats:
    """(n, L) chances of a linear reader of a person's own windows."""
    read = sorter(x, label, penalty)
    out = np.full((len(asked), len(labels)), RARE)
    at = np.searchsorted(labels, read.model.classes_)
    out[:, at] = read.model.predict_proba((asked - read.mean) / read.scale)
    return out
