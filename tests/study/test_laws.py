"""Laws, their intervals and refusals, on published points and on points with a known truth."""

import csv
from pathlib import Path

import numpy as np
import pytest

from neurofm import NeurofmError
from neurofm.study.forecast import Limits, refusal, sentence, study
from neurofm.study.holdout import held_out
from neurofm.study.laws import LOG_LINEAR, POWER_LAW, PowerLaw, fit_log_linear, fit_power_law
from neurofm.study.points import Points

SIZES = np.repeat([1.0, 2.0, 4.0, 8.0, 16.0], 3)
TRUTH = PowerLaw(0.45, (0.25,), (0.5,), rises=True)


def measured(
    seed: int, law: PowerLaw = TRUTH, noise: float = 0.01, sizes: np.ndarray = SIZES
) -> Points:
    rng = np.random.default_rng(seed)
    return Points.of(sizes, law(sizes) + noise * rng.standard_normal(len(sizes)))


@pytest.fixture(scope="module")
def chinchilla(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    path = shared_data / "scaling" / "chinchilla_fig4_points.csv"
    if not path.exists():
        pytest.skip(f"no published points at {path}")
    with path.open(encoding="utf-8") as file:
        rows = [
            (float(r["Model Size"]), float(r["Training FLOP"]), float(r["loss"]))
            for r in csv.DictReader(file)
        ]
    size, flop, loss = np.array(rows).T
    kept = np.argsort(loss)[:-5]  # as Besiroglu et al. (2024) do
    return np.column_stack([size, flop / (6 * size)])[kept], loss[kept]


def test_the_published_fit_in_two_variables_is_found(
    chinchilla: tuple[np.ndarray, np.ndarray],
) -> None:
    fit = fit_power_law(*chinchilla, rises=False, exponents=(0.2, 0.5))
    law = fit.law
    assert isinstance(law, PowerLaw)
    found = (law.floor, *law.amplitudes, *law.exponents)
    assert found == pytest.approx((1.8172, 477.8, 2143, 0.3473, 0.3672), rel=3e-4)
    assert fit.loss * 1e-6 == pytest.approx(1.018274e-3, rel=1e-5)  # not the stop after ten steps


def test_on_published_points_the_floor_extrapolates_better_than_a_line(
    chinchilla: tuple[np.ndarray, np.ndarray],
) -> None:
    x, loss = chinchilla
    points = Points.of(x, loss, axes=("parameters", "tokens"), metric="nats", rises=False)
    held = held_out(points, exponents=(0.3,))
    assert held.best == POWER_LAW
    assert held.error[POWER_LAW] < 0.03 < held.error[LOG_LINEAR]
    assert 0.2 < held.held_out.mean() < 0.3


@pytest.mark.parametrize("rises", [True, False])
def test_a_law_without_noise_is_found_again(rises: bool) -> None:
    law = PowerLaw(0.4, (0.3,), (0.7,), rises)
    fit = fit_power_law(SIZES, law(SIZES), rises=rises).law
    assert isinstance(fit, PowerLaw)
    assert (fit.floor, *fit.amplitudes, *fit.exponents) == pytest.approx((0.4, 0.3, 0.7), rel=2e-3)
    target = 0.3 if rises else 0.5
    assert float(fit([fit.needed(target)])[0]) == pytest.approx(target)
    assert fit.needed(0.41 if rises else 0.39) == float("inf")
    line = fit_log_linear(SIZES, 0.2 + 0.05 * np.log(SIZES), rises=True).law
    assert line.needed(0.3) == pytest.approx(np.exp(2), rel=1e-4)


def test_one_run_far_off_moves_the_fit_little() -> None:
    points = measured(3)
    spoilt = points.mean.copy()
    spoilt[7] -= 0.5
    whole, robust = (fit_power_law(points.x, y, rises=True).law for y in (points.mean, spoilt))
    assert abs(whole([16.0]) - robust([16.0]))[0] < 0.02


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    ats = np.array([16.0, 32.0])
    hits = []
    for seed in range(16):
        made = study(measured(seed), n_boot=40, seed=seed)
        for at, true in zip(ats, TRUTH(ats), strict=True):
            found = made.value_at(at)
            hits.append(found.low <= true <= found.high)
    assert np.mean(hits) > 0.8  # 95% less three standard errors of 16 sets of points


def test_anchors_that_differ_widen_the_interval() -> None:
    points = measured(0)
    shift = np.array([-0.1, 0.0, 0.1])
    several = Points.of(points.x, points.y + shift)
    one, many = (study(p, n_boot=60).value_at(16.0) for p in (points, several))
    assert many.value == pytest.approx(one.value)
    assert many.high - many.low > 3 * (one.high - one.low)


def test_what_a_target_needs_has_an_interval_around_the_truth() -> None:
    made = study(measured(1, noise=0.004), n_boot=100)
    needed = made.needed(0.39)  # (0.25 / 0.06)² = 17.4 sessions
    assert needed.low < 17.4 < needed.high < 64
    assert refusal(made, target=0.39) is None
    assert "0.39 bits per spike needs about" in sentence(made, 0.39)
    assert "(95% interval" in sentence(made, 0.39)


@pytest.mark.parametrize(
    ("points", "ask", "words"),
    [
        (measured(0, sizes=np.repeat([1.0, 2.0, 4.0, 8.0], 1)), {}, "4 runs are fewer than 8"),
        (measured(0, sizes=np.repeat([1.0, 8.0], 6)), {}, "2 different numbers of sessions"),
        (measured(0, sizes=np.repeat([1.0, 2.0, 3.0, 4.0], 3)), {}, "over a factor of 4, from 1"),
        (measured(0), {"size": 65.0}, "65 sessions are more than 4 times the 16"),
        (measured(0), {"target": 0.9}, "beyond the ceiling"),
        (measured(0, noise=0.5), {"size": 32.0}, "no gain is shown"),
        (measured(2, noise=1e-4), {"target": 0.44}, "more than 4 times the 16"),
    ],
)
def test_a_forecast_is_refused_in_one_sentence(points: Points, ask: dict, words: str) -> None:
    reason = refusal(study(points, n_boot=40), **ask)
    assert reason is not None
    assert reason.startswith("No forecast: ")
    assert words in reason
    assert reason.count(". ") == 0


def test_limits_can_be_stated() -> None:
    made = study(measured(0, sizes=np.repeat([1.0, 2.0, 3.0, 4.0], 3), noise=0.001), n_boot=20)
    assert refusal(made, size=6.0, limits=Limits(factor=4, beyond=2)) is None


def test_points_that_cannot_be_are_refused() -> None:
    with pytest.raises(NeurofmError, match="positive numbers"):
        fit_power_law([0.0, 1.0, 2.0, 4.0], [1.0, 2.0, 3.0, 4.0], rises=True)
    with pytest.raises(NeurofmError, match="no finite score"):
        Points.of([1.0, 2.0], [0.1, float("nan")])
