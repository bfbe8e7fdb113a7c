"""From a folder of measured points to the record, the table, the figure and the page."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurofm import Intervals, NeurofmError, Recording, scaling
from neurofm.data import splits as split
from neurofm.report import growth
from neurofm.results import Result
from neurofm.scaling import Asked, PretrainAndEvaluate, fit_study, restricted
from neurofm.study import account
from neurofm.study.grid import Grid, Point
from neurofm.study.sweep import Workers, sweep

IDS = [f"day-{i:02d}" for i in range(16)]
ANCHORS = ("day-00", "day-01")


class Planted:
    """Bits per spike that follow a known law, with a better and a worse anchor."""

    def commands(self, point: Point, folder: Path) -> list[list[str]]:
        return []

    def measured(self, folder: Path) -> tuple[list[Result], dict[str, float]]:
        point = json.loads((folder / "point.json").read_text())
        n, minutes = len(point["sessions"]), point["minutes"] or 10.0
        value = 0.45 - 0.25 * n**-0.5 - 0.1 / minutes
        value += 0.004 * np.random.default_rng(point["seed"]).standard_normal()
        value -= 0.02 * (n == 15 and "day-07" not in point["sessions"])
        row = Result("model", "co-smoothing", "mean", "test", "bps_pooled", value, value - 0.03,
                     value + 0.03, 2, "", 0)  # fmt: skip
        rows = [replace(row, recording=a, value=value + d, n=9)
                for a, d in zip(ANCHORS, (0.01, -0.01), strict=True)]  # fmt: skip
        return [row, *rows], {"minutes": minutes, "parameters": 1000.0 + 10 * n}


def study_in(out: Path, grid: Grid, value: bool = False) -> Path:
    points = grid.points(IDS, ANCHORS) + (grid.without_each(IDS, ANCHORS) if value else [])
    sweep(points, Planted(), out, Workers(), say=lambda _: None, tick=lambda _: None)
    return out


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return study_in(tmp_path_factory.mktemp("study"), Grid((2, 4, 8, 16), draws=3), value=True)


def test_the_record_finds_what_was_planted(planted: Path) -> None:
    record = fit_study(planted, asked=Asked(target=0.4, n_boot=40))
    assert record == json.loads((planted / "scaling.json").read_text())
    [study] = record["studies"]
    assert (study["axes"], study["refusal"], len(study["points"])) == (["sessions"], None, 12)
    assert sum(row["held_out"] for row in study["points"]) == 3
    assert all(row["low"] < row["value"] < row["high"] for row in study["points"])
    for row in study["forecasts"]:
        assert row["low"] < 0.44 - 0.25 * row["size"] ** -0.5 < row["high"]
    assert "0.4 bits per spike needs" in study["target"]["sentence"]
    assert record["values"][0]["session"] == "day-07"
    assert record["values"][0]["how"] == "leave-one-out"
    assert len((planted / "results.jsonl").read_text().splitlines()) == 3 * (12 + 14 * 3)


def test_the_page_and_the_table_show_it(planted: Path) -> None:
    record = fit_study(planted, asked=Asked(n_boot=20))
    html = (planted / growth.PAGE).read_text()
    text = growth.as_text(record)
    [study] = record["studies"]
    for words in ("power law", "log-linear", "held-out error", "day-07", growth.words(study)):
        assert words in html
        assert words in text
    assert "http" not in html.replace("http-equiv", "")
    assert (planted / "scaling-co-smoothing.png").read_bytes()[:4] == b"\x89PNG"
    assert growth.growth_figure(study).alt.startswith("bits per spike of co-smoothing against")


def test_a_range_that_is_too_small_is_drawn_and_refused(tmp_path: Path) -> None:
    record = fit_study(study_in(tmp_path, Grid((2, 3), draws=2)), asked=Asked(target=0.5))
    [study] = record["studies"]
    assert study["refusal"].startswith("No forecast: 4 runs are fewer than 8")
    assert growth.words(study) == study["target"]["sentence"] == study["refusal"]
    assert (tmp_path / growth.PAGE).exists()


def test_two_axes_are_fitted_together(tmp_path: Path) -> None:
    grid = Grid((2, 4, 8, 16), minutes=(2.0, 4.0, 8.0), draws=2)
    [study] = fit_study(study_in(tmp_path, grid), asked=Asked(n_boot=10))["studies"]
    assert study["axes"] == ["sessions", "minutes a session"]
    assert len(study["fits"]["power law"]["parameters"]["exponents"]) == 2
    assert growth.fit_grid(study).rows[0][2].count("[") == 2


def test_of_an_axis_with_two_levels_the_larger_is_fitted(tmp_path: Path) -> None:
    grid = Grid((2, 4, 8, 16), minutes=(2.0, 8.0), draws=2)
    done = study_in(tmp_path, grid)
    runs, points = account.points_of(account_done(done), "co-smoothing", "bps_pooled")
    assert points.axes == ("sessions",)
    assert {one.point.minutes for one in runs} == {8.0}
    assert points.y.shape == (8, 2)


def account_done(out: Path) -> list[account.Done]:
    from neurofm.study.sweep import all_done

    return all_done(out)


def test_chosen_sessions_stand_beside_as_many_at_random(planted: Path, tmp_path: Path) -> None:
    grid = Grid((2, 4, 8, 16), draws=2)
    study_in(tmp_path, grid)
    first = grid.points(IDS, ANCHORS)[0]
    points = grid.chosen(["day-07", "day-03"], ANCHORS, first)
    sweep(points, Planted(), tmp_path, Workers(), say=lambda _: None, tick=lambda _: None)
    [row] = fit_study(tmp_path, asked=Asked(n_boot=5))["chosen"]
    assert set(row["sessions"]) == {*ANCHORS, "day-03", "day-07"}
    assert row["n_runs"] == 2
    assert row["score"] == pytest.approx(row["random"], abs=0.015)
    assert "favours itself" in growth.chosen_words({"chosen": [row]})[0]


def sessions_of(minutes: float) -> list[Recording]:
    counts = np.ones((int(minutes * 60 * 50), 2), np.uint8)
    return [Recording.from_arrays(i, counts=counts, bin_s=0.02, subject="a") for i in IDS[:4]]


def test_a_point_trains_on_its_sessions_and_tests_on_its_anchors() -> None:
    whole = split.split_by_time(sessions_of(10))
    point = Grid((3,), minutes=(2.0,), draws=1).points(IDS[:4], IDS[:1])[0]
    made = restricted(whole, point)
    assert made.prove() >= 1.0 - 1e-6
    assert set(made.side("train")) == set(point.sessions)
    assert set(made.side("valid")) == set(made.side("test")) == {IDS[0]}
    for name, part in made.side("train").items():
        assert part.total_s == pytest.approx(120)
        assert part.pairs[-1, 1] == whole.side("train")[name].pairs[-1, 1]  # the last minutes
    long = Grid((3,), minutes=(9.0,), draws=1).points(IDS[:4], IDS[:1])[0]
    with pytest.raises(NeurofmError, match=r"--minutes 9: day-0. has 6\.98 minutes"):
        restricted(whole, long)


def test_a_configuration_that_no_run_could_have_is_refused_at_once() -> None:
    text = scaling._configuration("tiny", ["steps=7"], (16, 32))
    assert "steps: 7" in text
    with pytest.raises(NeurofmError, match="step"):
        scaling._configuration("tiny", ["stepz=7"], (None,))
    with pytest.raises(NeurofmError, match="width"):
        scaling._configuration("tiny", [], (2,))


def test_the_last_seconds_cross_gaps() -> None:
    parts = Intervals.of([(0, 10), (20, 30), (40, 45)])
    assert list(scaling.last(parts, 12)) == [(23, 30), (40, 45)]
    assert scaling.last(parts, 100).total_s == 25


def test_a_point_that_was_begun_is_resumed(tmp_path: Path) -> None:
    whole = split.split_by_time(sessions_of(10))
    work = PretrainAndEvaluate(tmp_path, whole, "tiny", ("steps=3",), "forward", "cpu")
    point = Grid((2,), widths=(32,), draws=1).points(IDS[:4], IDS[:1])[0]
    (tmp_path / "run").mkdir()  # killed before it had a configuration
    train, ask = work.commands(point, tmp_path)
    assert "--resume" not in train
    assert {"steps=3", "model.backbone.width=32", "tiny"} <= set(train)
    assert ask[:4] == ["evaluate", str(tmp_path / "run"), "--tasks", "forward"]
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("{}")  # the last file of its description
    assert "--resume" in work.commands(point, tmp_path)[0]


def test_two_kinds_of_points_are_not_fitted_together(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text('{"tasks": "forward", "store": "elsewhere"}')
    scaling._same_study(tmp_path, {"tasks": "forward", "store": "here"})
    with pytest.raises(NeurofmError, match="its tasks is not what is asked for"):
        scaling._same_study(tmp_path, {"tasks": "co-smoothing"})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(NeurofmError, match="holds no study"):
        scaling._same_study(tmp_path / "mine", {})
    with pytest.raises(NeurofmError, match="holds no measured point"):
        fit_study(tmp_path / "mine")


def test_too_few_runs_to_value_sessions_by_are_refused_in_the_record(tmp_path: Path) -> None:
    record = fit_study(study_in(tmp_path, Grid((2, 4, 8, 16), draws=2)), asked=Asked(n_boot=5))
    assert record["values"] == []
    assert "8 runs are too few to tell 14 sessions apart" in record["no_values"]
    assert record["no_values"] in growth.as_text(record)


def test_sizes_double_up_to_all() -> None:
    assert [scaling.doubling(n) for n in (1, 2, 6, 8)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8)]
