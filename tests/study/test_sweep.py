"""The grid, and sweeps that are killed, fail, and go on."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from neurofm import NeurofmError
from neurofm.results import Result
from neurofm.study.grid import RANDOM, WITHOUT, Grid, Point
from neurofm.study.sweep import Workers, all_done, folder_of, run_point, sweep

IDS = [f"day-{i}" for i in range(8)]
GRID = Grid((1, 2, 4, 8), minutes=(2.0, 4.0), draws=2)


class Counting:
    """Measures the number of sessions, and writes down that it was asked; some points fail."""

    def __init__(self, log: Path, fails: str = "none", dies_at: int = 0) -> None:
        self.log, self.fails, self.dies_at = log, fails, dies_at

    def commands(self, point: Point, folder: Path) -> list[list[str]]:
        return [["no-such-command"]] if point.name.startswith(self.fails) else []

    def measured(self, folder: Path) -> tuple[list[Result], dict[str, float]]:
        with self.log.open("a") as file:
            file.write(folder.name + "\n")
        if len(self.log.read_text().splitlines()) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        n = float(folder.name[1:4])
        row = Result("model", "co-smoothing", "day-0", "test", "bps_pooled", n, n, n, 1, "", 0)
        return [row], {"minutes": 2.0, "parameters": 10.0}


def quiet(_: str) -> None:
    pass


def run(points: list[Point], work: Counting, out: Path, n_jobs: int = 1) -> int:
    return len(sweep(points, work, out, Workers(n_jobs), say=quiet, tick=quiet))


def test_a_grid_holds_the_anchors_and_is_the_same_each_time() -> None:
    points = GRID.points(IDS, ["day-3"])
    assert points == GRID.points(list(reversed(IDS)), ["day-3"])
    assert len(points) == 4 * 2 * 2 == len({p.name for p in points})
    assert all(p.sessions[0] == "day-3" and len(set(p.sessions)) == len(p.sessions) for p in points)
    assert [len(p.sessions) for p in points] == sorted(len(p.sessions) for p in points)
    pairs = {p.sessions for p in points if len(p.sessions) == 4}
    assert len(pairs) == 2  # draws differ, minutes of one draw share their sessions
    assert len({p.seed for p in points}) == 4 * 2


def test_a_larger_grid_keeps_the_points_of_a_smaller_one() -> None:
    more = Grid((1, 2, 4, 6, 8), minutes=(2.0, 4.0), draws=3)
    assert {p.name for p in GRID.points(IDS, ["day-0"])} < {
        p.name for p in more.points(IDS, ["day-0"])
    }


def test_all_but_one_leaves_out_each_session_that_is_no_anchor() -> None:
    points = GRID.without_each(IDS, ["day-0"])
    assert {p.why for p in points} == {WITHOUT} != {RANDOM}
    assert {frozenset(IDS) - set(p.sessions) for p in points} == {frozenset([i]) for i in IDS[1:]}
    assert {p.minutes for p in points} == {4.0}


@pytest.mark.parametrize(
    ("grid", "anchors", "words"),
    [
        (Grid((1, 9)), ["day-0"], "--sessions 9 must lie from 1"),
        (Grid((1, 2)), ["day-0", "day-1"], "--sessions 1 must lie from 2, the number of anchors"),
        (Grid((1,)), ["night"], "no session 'night'"),
        (Grid((1,), draws=0), ["day-0"], "--draws is 0"),
        (Grid((1,), minutes=(-1.0,)), ["day-0"], "--minutes must be positive"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid: Grid, anchors: list[str], words: str) -> None:
    with pytest.raises(NeurofmError, match=words):
        grid.points(IDS, anchors)


def test_points_that_are_done_are_not_done_again(tmp_path: Path) -> None:
    points = GRID.points(IDS, ["day-0"])
    work = Counting(tmp_path / "log")
    assert run(points[:5], work, tmp_path / "out") == 5
    assert run(points, work, tmp_path / "out", n_jobs=3) == 16
    done = (tmp_path / "log").read_text().splitlines()
    assert sorted(done) == sorted(p.name for p in points)
    one = next(d for d in all_done(tmp_path / "out") if d.point == points[-1])
    assert (one.results[0].run, one.results[0].value, one.sizes["minutes"]) == (
        points[-1].name, 8.0, 2.0,
    )  # fmt: skip


def test_a_sweep_that_was_killed_goes_on(tmp_path: Path) -> None:
    code = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_sweep import GRID, IDS, Counting, run
run(GRID.points(IDS, ["day-0"]), Counting(Path({str(tmp_path / "log")!r}), dies_at=4),
    Path({str(tmp_path / "out")!r}))
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(all_done(tmp_path / "out")) == 3  # the fourth was measured, not finished
    again = subprocess.run([sys.executable, "-c", code], check=False)
    assert again.returncode == 0
    names = (tmp_path / "log").read_text().splitlines()
    assert len(all_done(tmp_path / "out")) == 16 == len(set(names)) == len(names) - 1


def test_a_point_that_another_process_works_on_is_waited_for(tmp_path: Path) -> None:
    [point] = Grid((1,), draws=1).points(IDS, ["day-0"])
    folder = folder_of(tmp_path, point)
    folder.mkdir(parents=True)
    with (folder / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(
            target=run_point, args=(point, Counting(tmp_path / "log"), folder)
        )
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert not (tmp_path / "log").exists()
    waiting.join(10)
    assert len(all_done(tmp_path)) == 1


def test_a_point_that_fails_names_its_log_and_stops_no_other(tmp_path: Path) -> None:
    points = Grid((1, 2, 4), draws=1).points(IDS, ["day-0"])
    with pytest.raises(NeurofmError, match=r"1 of 3 points failed.*no-such-command.*log\.txt"):
        run(points, Counting(tmp_path / "log", fails="n002"), tmp_path / "out")
    assert len(all_done(tmp_path / "out")) == 2
    log = (folder_of(tmp_path / "out", points[1]) / "log.txt").read_text()
    assert "No such command" in log
    assert run(points, Counting(tmp_path / "log"), tmp_path / "out") == 3


def test_slurm_without_submitit_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    points = Grid((1,)).points(IDS, ["day-0"])
    with pytest.raises(NeurofmError, match="pip install submitit"):
        sweep(points, Counting(tmp_path / "log"), tmp_path, Workers(slurm="gpu"), say=quiet,
              tick=quiet)  # fmt: skip
