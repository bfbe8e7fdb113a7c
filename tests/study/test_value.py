"""The value of single sessions, where it is known."""

import numpy as np
import pytest

from neurofm import NeurofmError
from neurofm.study.value import INFLUENCE, LEAVE_ONE_OUT, Trained, greedy, values

NAMES = [f"s{i}" for i in range(8)]
WORTH = dict(zip(NAMES, [0.08, 0.05, 0.0, 0.0, 0.0, 0.0, -0.02, -0.06], strict=True))


def run(sessions: frozenset[str], rng: np.random.Generator, noise: float = 0.003) -> Trained:
    score = 0.2 + 0.05 * np.log1p(len(sessions)) + sum(WORTH[s] for s in sessions)
    return Trained(sessions, float(score + noise * rng.standard_normal()))


def drawn(n: int, seed: int = 0) -> list[Trained]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 8, n)
    return [run(frozenset(rng.choice(NAMES, k, replace=False).tolist()), rng) for k in sizes]


def test_leave_one_out_finds_the_worth_of_each() -> None:
    rng = np.random.default_rng(0)
    whole = frozenset(NAMES)
    runs = [run(whole, rng) for _ in range(4)]
    runs += [run(whole - {s}, rng) for s in NAMES for _ in range(4)]
    found = {v.session: v for v in values(runs)}
    assert {v.how for v in found.values()} == {LEAVE_ONE_OUT}
    step = 0.05 * (np.log1p(8) - np.log1p(7))
    for name, worth in WORTH.items():
        assert found[name].value == pytest.approx(worth + step, abs=0.008)
    assert found["s0"].low > 0 > found["s7"].high
    halves = {v.value - v.low for v in found.values()}  # 1.96 x 0.003 x sqrt(2 / 4) and more
    assert 0.002 < min(halves) <= max(halves) < 0.008
    [alone] = {v.low for v in values([run(whole, rng), *(run(whole - {s}, rng) for s in NAMES)])
               if v.session == "s0"}  # fmt: skip
    assert np.isnan(alone)  # one run of each says nothing of their spread


def test_influence_ranks_sessions_by_random_draws_alone() -> None:
    found = values(drawn(40))
    assert {v.how for v in found} == {INFLUENCE}
    assert [v.session for v in found[:2]] == ["s0", "s1"]
    assert [v.session for v in found[-2:]] == ["s6", "s7"]
    assert found[0].low > 0 > found[-1].high


def test_greedy_takes_the_best_and_avoids_a_twin() -> None:
    runs = drawn(60)
    assert set(greedy(runs, 2)) == {"s0", "s1"}
    twin = [
        Trained(r.sessions, r.score - 0.05 * ({"s0", "s1"} <= r.sessions))  # s1 adds nothing to s0
        for r in drawn(200, seed=1)
    ]
    assert greedy(twin, 1) == ("s0",)
    assert "s1" not in greedy(twin, 2)
    with pytest.raises(NeurofmError, match="9 sessions were asked for and the runs hold 8"):
        greedy(runs, 9)


def test_runs_that_all_held_the_same_say_nothing() -> None:
    with pytest.raises(NeurofmError, match="the same sessions"):
        values([Trained(frozenset(NAMES), 0.1), Trained(frozenset(NAMES), 0.2)])


def test_few_runs_do_not_tell_sessions_apart() -> None:
    with pytest.raises(NeurofmError, match="10 runs are too few to tell 8 sessions apart"):
        values(drawn(10))
