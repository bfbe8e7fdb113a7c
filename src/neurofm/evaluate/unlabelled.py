"""What a person's own data say without a label: where their ring sits, and what their labels look like.

Training people may be laid on each other by their labels. A new person has none: of the ring's symmetries,
the one is taken under which a network is surest of its windows while it uses all labels
(Bridle et al. 1991: the information between window and answer), weighed by how often training people
were turned so. This uses the person's data as a whole, so its scores are not those of a model that
sees one window.
Shapes: N windows, D features, L labels, S turns.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.data.covariance import turned_rows
from neurofm.data.ring import symmetries
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.trial_readout import Sorter, sorter

Rows = NDArray[np.float32]
Answer = Callable[[Rows], NDArray[np.float32]]
RARE = -9.0  # the least log-chance of a label
EVIDENCE = 20.0  # what a nat of information is worth against the prior


def turns(n_electrodes: int, n_bands: int) -> list[Rows]:
    """(D, D) for each symmetry of the ring, the first of them no turn: what turns rows of features."""
    return [turned_rows(turn, n_bands) for turn in symmetries(n_electrodes)]


def own_turns(
    features: Rows,
    label: ArrayLike,
    person: ArrayLike,
    by: Sequence[Rows],
    n_rounds: int = 2,
    c: float = 1e-3,
) -> dict[str, int]:
    """{training person: the turn under which a linear reader of all people fits their labels best}.

    The reader and the turns are fitted in turn, `n_rounds` times, from no turn at all.
    """
    names, truth = np.asarray(person, dtype=np.str_), np.asarray(label, dtype=np.str_)
    chosen = {str(who): 0 for who in np.unique(names)}
    for _ in range(n_rounds):
        read = sorter(turned(features, names, chosen, by), truth, c)
        column = np.searchsorted(read.model.classes_, truth)
        for who in chosen:
            own = names == who
            fit = [_told(read, features[own] @ m, column[own]) for m in by]
            chosen[who] = int(np.argmax(fit))
    return chosen


def turned(
    features: Rows, person: ArrayLike, chosen: Mapping[str, int], by: Sequence[Rows]
) -> Rows:
    """The rows of each person, turned."""
    names, out = np.asarray(person, dtype=np.str_), np.array(features, dtype=np.float32)
    for who, k in chosen.items():
        out[names == who] = features[names == who] @ by[k]
    return out


def prior(chosen: Mapping[str, int], n_turns: int, more: float = 0.1) -> Floats:
    """(S,) how likely each turn is, from those of training people, each seen `more` times besides."""
    n = more + np.bincount(list(chosen.values()), minlength=n_turns)
    return np.asarray(n / n.sum())


def best_turn(
    answer: Answer, features: Rows, by: Sequence[Rows], likely: Floats
) -> tuple[int, NDArray[np.float32]]:
    """(turn, chances (N, L) under it) of one person's windows, without labels."""
    told = [answer(np.asarray(features @ m)) for m in by]
    worth = [EVIDENCE * information(p) for p in told] + np.log(likely)
    best = int(np.argmax(worth))
    return best, told[best]


def told_turn(
    answer: Answer, column: NDArray[np.int64], features: Rows, by: Sequence[Rows], likely: Floats
) -> int:
    """The turn under which a network fits a person's own labels best, weighed as above.

    `column` (N,): the label of each window, in the order of its answers.
    """
    rows = np.arange(len(column))
    fit = [np.log(np.maximum(answer(np.asarray(features @ m))[rows, column], 1e-9)).mean() for m in by]  # fmt: skip
    return int(np.argmax(EVIDENCE * np.array(fit) + np.log(likely)))


def information(chance: ArrayLike) -> float:
    """Nats between window and answer: the entropy of the mean of (N, L), less the mean entropy."""
    p = np.asarray(chance, dtype=np.float64)
    return _entropy(p.mean(axis=0)) - float(np.mean([_entropy(row) for row in p]))


def _entropy(p: Floats) -> float:
    return float(-(p * np.log(np.maximum(p, 1e-12))).sum())


def balanced(chance: ArrayLike, strength: float = 0.5, n_rounds: int = 20) -> Floats:
    """(N, L) chances moved towards using all labels alike (Sinkhorn 1964; Asano et al. 2020).

    Right where a person was asked for every label equally often, and wrong where they were not;
    `strength` 1 makes all labels equally frequent in the end, 0 leaves the chances as they are.
    """
    p = np.array(chance, dtype=np.float64)
    for _ in range(n_rounds):
        total = np.maximum(p.sum(axis=0), 1e-12)
        p = p * (total.mean() / total) ** strength
        p /= p.sum(axis=1, keepdims=True)
    return p


def self_taught(
    features: Rows,
    chance: ArrayLike,
    n_rounds: int = 3,
    least: float = 0.6,
    c: float = 0.05,
    strength: float = 0.5,
) -> Floats:
    """(N, L) chances after a linear reader of the person's own windows has learned from the network.

    It is taught by the windows that the network is sure of (`least`, after `balanced`), and the two
    then teach the next (Lee 2013). No label is used; the windows that are answered are those that
    it is taught by. Chances stay balanced ones where fewer than two labels are ever sure.
    """
    first = np.log(np.maximum(np.asarray(chance, dtype=np.float64), 1e-9))
    told = first
    for _ in range(n_rounds):
        p = balanced(np.exp(told), strength)
        sure, said = p.max(axis=1) > least, p.argmax(axis=1)
        if len(np.unique(said[sure])) < 2:
            return p
        read = sorter(features[sure], said[sure].astype(np.str_), c)
        told = 0.5 * first + _logs(read, features, first.shape[1])
        told -= np.log(np.exp(told).sum(axis=1, keepdims=True))
    return np.exp(told)


def _logs(read: Sorter, x: Rows, n_labels: int) -> Floats:
    """(N, L) log-chances of a reader of label codes; those that it does not know are rare."""
    out = np.full((len(x), n_labels), RARE)
    at = read.model.classes_.astype(int)
    out[:, at] = np.maximum(read.model.predict_log_proba((x - read.mean) / read.scale), RARE)
    return out


def _told(read: Sorter, x: Rows, column: NDArray[np.int64]) -> float:
    """Mean log-chance of the true labels."""
    logs = read.model.predict_log_proba((x - read.mean) / read.scale)
    return float(logs[np.arange(len(x)), column].mean())
