"""Which of N candidates was said or heard: top-k beside its chance, and the controls.

A score is the expectation over all draws of N - 1 other candidates from those that the policy allows,
exactly (a hypergeometric tail), so the order of candidates and a seed change nothing. Ties are split.
Shapes: n questions, m candidates, d the width of a vector.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.data.binning import EDGE
from neurofm.data.segments import Segments
from neurofm.errors import InputError
from neurofm.evaluate.metrics import bounds, resamples
from neurofm.results import Result
from neurofm.seeding import generator
from neurofm.train.retrieval import Fitted, even_pattern

Floats = NDArray[np.float64]
EEG, NOISE, SHUFFLED = "eeg", "noise input", "shuffled pairs"
EMG_EVEN, EMG_LEAKED = "emg alone, each in turn", "emg alone, as it leaks"
EMG_ON_NOISE = "emg on noise, as it leaks"


class Policy(Config):
    """Which candidates a question has: `n` at most, the right one among them.

    `same_session`: only of the question's own session. `gap_s`: other segments of its session that
    lie nearer than this are none. `block_s`: segments of one block of a session are resampled
    together; 0 resamples people.
    """

    n: int = Field(512, ge=2)
    same_session: bool = False
    gap_s: float = Field(0.0, ge=0)
    block_s: float = Field(60.0, ge=0)
    top: tuple[Annotated[int, Field(ge=1)], ...] = (1, 10)

    def said(self) -> str:
        """In words, for the record."""
        where = "of the same session" if self.same_session else "of all sessions"
        near = f", none within {self.gap_s:g} s of the right one" if self.gap_s else ""
        return f"up to {self.n} candidates {where}{near}"


ALL = Policy()


@dataclass(frozen=True)
class Ranks:
    """Of each question (n,), how many other candidates are likelier than the right one, or are as likely.

    `others`: how many there are in all.
    """

    above: NDArray[np.int64]
    equal: NDArray[np.int64]
    others: NDArray[np.int64]


def ranks(
    told: NDArray[np.float32],
    asked: Segments,
    aimed: NDArray[np.float32],
    pool: Segments,
    policy: Policy,
) -> Ranks:
    """Cosine of `told` (n, d), of the segments `asked`, with `aimed` (p, d), of those of the `pool`.

    The pool's items are the candidates, one each. Raises InputError if it lacks an item.
    """
    items, first, item = np.unique(pool.item, return_index=True, return_inverse=True)
    if not np.isin(asked.item, items).all():
        raise InputError("the candidates lack an item that is asked for; give a pool of all items.")
    right = np.searchsorted(items, asked.item)
    likeness = _unit(told) @ _unit(aimed[first]).T
    own = likeness[np.arange(len(told)), right][:, None]
    other = allowed(asked, pool, item, policy)
    other[np.arange(len(told)), right] = False
    return Ranks(
        (other & (likeness > own)).sum(1), (other & (likeness == own)).sum(1), other.sum(1)
    )


def allowed(
    asked: Segments, pool: Segments, item: NDArray[np.int64], policy: Policy
) -> NDArray[np.bool_]:
    """(n, m) which items are a candidate for a question; `item` (p,): which one each of the pool is."""
    out = np.ones((len(asked), int(item.max()) + 1), dtype=bool)
    together = asked.session[:, None] == pool.session[None]
    if policy.same_session:
        out &= _of_items(together, item)
    if policy.gap_s:
        apart = np.abs(asked.start_s[:, None] - pool.start_s[None]) - asked.length_s
        out &= ~_of_items(together & (apart < policy.gap_s - EDGE), item)
    return out


def _of_items(pairs: NDArray[np.bool_], item: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n, p) of segments -> (n, m): whether it is so for any segment of an item."""
    return np.asarray(pairs.astype(np.float32) @ np.eye(item.max() + 1, dtype=np.float32)[item] > 0)


def hits(found: Ranks, n: int, top: int) -> tuple[Floats, Floats]:
    """(n,) the probability that the right one is among the `top` of `n`, and that by chance."""
    out, chance = np.empty(len(found.above)), np.empty(len(found.above))
    for others in np.unique(found.others):
        at = found.others == others
        drawn = min(n - 1, int(others))
        below = np.concatenate([[0.0], np.cumsum(_tail(int(others), drawn, top))])
        above, equal = found.above[at], found.equal[at]
        out[at] = (below[above + equal + 1] - below[above]) / (equal + 1)
        chance[at] = min(top / (drawn + 1), 1.0)
    return out, chance


def _tail(others: int, drawn: int, top: int) -> Floats:
    """(others + 1,) for r = 0 ..: P(fewer than `top` of r are among `drawn` of `others`)."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, others + 2)))])
    r = np.arange(others + 1)
    total = np.zeros(others + 1)
    for k in range(min(top, drawn + 1)):
        fits = (k <= r) & (drawn - k <= others - r)
        a, b = np.where(fits, r, k), np.where(fits, others - r, drawn - k)
        ways = logs[a] - logs[k] - logs[a - k] + logs[b] - logs[drawn - k] - logs[b - drawn + k]
        whole = logs[others] - logs[drawn] - logs[others - drawn]
        total += np.where(fits, np.exp(ways - whole), 0.0)
    return np.minimum(total, 1.0)


def inputs(fitted: Fitted, test: Segments, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """What the encoder is given in each row of the table, (n, T, C) each.

    EMG alone is unlike any EEG. On noise of the EEG's spectrum, as strong as least squares says that
    it leaks, it is not: there a model shows how much it reads.
    """
    out = {EEG: test.eeg, NOISE: noise_like(test.eeg, seed)}
    n_muscles = test.emg.shape[2]
    if n_muscles:
        out[EMG_EVEN] = test.emg @ even_pattern(n_muscles, test.eeg.shape[2])
        out[EMG_LEAKED] = test.emg @ fitted.pattern
        out[EMG_ON_NOISE] = out[NOISE] + out[EMG_LEAKED]
    return out


def evaluate(
    fitted: Fitted,
    test: Segments,
    policy: Policy = ALL,
    *,
    pool: Segments | None = None,
    seed: int = 0,
    name: str = "",
) -> list[Result]:
    """Every row (EEG, noise, shuffled pairs, EMG in place of EEG) at each k, with its interval.

    `pool`: whose items are candidates, by default the test's. `name` goes before the rows'. Raises
    InputError if the electrodes are not those of training, or there is one item alone.
    """
    if not np.array_equal(test.channel, fitted.channel):
        raise InputError("the test segments have other channels than the training's, or in another "
                         "order; cut both from the same montage.")  # fmt: skip
    pool = test if pool is None else pool
    if len(np.unique(pool.item)) < 2:
        raise InputError("a retrieval needs two items at least; cut more test segments.")
    aimed = fitted.aim(pool.target)
    told = {row: fitted.embed(eeg) for row, eeg in inputs(fitted, test, seed).items()}
    told[SHUFFLED] = told[EEG][_elsewhere(test)]
    out = []
    for row, answer in told.items():
        out += results(ranks(answer, test, aimed, pool, policy), test, policy, seed, name + row)
    return out


def results(
    found: Ranks, asked: Segments, policy: Policy, seed: int, predictor: str
) -> list[Result]:
    """Top-k of one row with 95% intervals over blocks of time, or over people."""
    whole = policy.block_s <= 0
    block = (
        asked.subject
        if whole
        else [
            f"{s}/{int(t // policy.block_s)}"
            for s, t in zip(asked.session, asked.start_s, strict=True)
        ]
    )
    names, at = np.unique(block, return_inverse=True)
    weights = resamples(len(names), 2000, seed, "retrieval")
    count = np.bincount(at)
    sessions = np.unique(asked.session)
    out = []
    for top in policy.top:
        hit, chance = hits(found, policy.n, top)
        total = np.bincount(at, hit)
        low, high = bounds((weights @ total) / (weights @ count) if len(names) > 1 else np.empty(0))
        n = min(policy.n, int(np.median(found.others)) + 1)
        out.append(
            Result(predictor=predictor, task=f"retrieval: {policy.said()}", split="test", metric=f"top_{top}_of_{n}",
                   recording=str(sessions[0]) if len(sessions) == 1 else "all", value=float(hit.mean()),
                   low=low, high=high, n=len(names), null="", seed=seed,
                   unit_of_n="people" if whole else "blocks", chance=float(chance.mean()))
        )  # fmt: skip
    return out


def findings(rows: Sequence[Result]) -> list[str]:
    """What the controls say against a model: each that is above chance, in a sentence."""
    means = {
        NOISE: "noise of the EEG's spectrum is retrieved: targets or order in time leak",
        SHUFFLED: "EEG of other segments is retrieved: targets are alike along the session",
        EMG_EVEN: "EMG alone is retrieved: the model reads muscle",
        EMG_LEAKED: "EMG alone is retrieved: the model reads muscle",
        EMG_ON_NOISE: "EMG on noise is retrieved: the model reads muscle",
    }
    return [
        f"{r.predictor}: {r.metric} {r.value:.3f} [{r.low:.3f}, {r.high:.3f}], chance {r.chance:.3f}; {told}"
        for r in rows
        for row, told in means.items()
        if r.predictor.endswith(row) and r.chance is not None and r.low > r.chance
    ]


def noise_like(eeg: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Gaussian noise with the mean spectrum of each electrode, (n, T, C): of no segment in particular."""
    rng = generator(seed, "retrieval noise")
    spectrum = np.sqrt((np.abs(np.fft.rfft(eeg, axis=1)) ** 2).mean(axis=0))
    drawn = rng.normal(size=(2, len(eeg), *spectrum.shape))
    return np.fft.irfft((drawn[0] + 1j * drawn[1]) * spectrum, eeg.shape[1], axis=1).astype(
        np.float32
    )


def shuffled(segments: Segments, part: float = 0.5) -> Segments:
    """The same segments, each with the target of another one, `part` of its session away.

    A model trained on these has learnt some map of EEG by accident, which a single test may favour
    or not: look at several parts.
    """
    at = _elsewhere(segments, part)
    return replace(segments, target=segments.target[at], item=segments.item[at])


def _elsewhere(segments: Segments, part: float = 0.5) -> NDArray[np.int64]:
    """(n,) of each segment the one that is `part` of its session further on, in a circle."""
    out = np.arange(len(segments))
    for name in np.unique(segments.session):
        rows = np.flatnonzero(segments.session == name)
        rows = rows[np.argsort(segments.start_s[rows], kind="stable")]
        out[rows] = np.roll(rows, round(part * len(rows)))
    return out


def _unit(x: NDArray[np.float32]) -> Floats:
    wide = x.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
