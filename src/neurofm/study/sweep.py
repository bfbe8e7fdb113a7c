"""A sweep: every point of a study in a folder of its own, resumable, in processes side by side.

What a point measures is not known here. A `Work` turns it into command lines, which run one after
the other, and reads results from its folder when they are done. A point is done when `done.json`
stands in its folder; whatever else stands there is the work's to go on with. While a point is
worked on, its processes hold a lock, also when the sweep that started them was killed.
"""

import fcntl
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from neurofm import files
from neurofm import results as records
from neurofm.errors import CheckFailed, ConfigError
from neurofm.results import Result
from neurofm.study.grid import Point, point_of

Say = Callable[[str], None]
POLL_S, EVERY_S = 0.2, 10.0
DONE, ABOUT, LOG = "done.json", "point.json", "log.txt"


class Work(Protocol):
    """What is done for a point, and what it measured."""

    def commands(self, point: Point, folder: Path) -> Sequence[Sequence[str]]:
        """Arguments of `neurofm` commands, in order; called again to go on after a kill."""
        ...

    def measured(self, folder: Path) -> tuple[list[Result], dict[str, float]]:
        """Results of a point whose commands all ended well, and sizes that are known now."""
        ...


@dataclass(frozen=True)
class Workers:
    """Who does the work: at most `n_jobs` processes at once here, or jobs of a `slurm` partition.

    `n_threads`: of each process.
    """

    n_jobs: int = 1
    n_threads: int = 1
    slurm: str | None = None


@dataclass(frozen=True)
class Done:
    """A point that was measured. `sizes`: numbers beside the point's own, e.g. `parameters`."""

    point: Point
    results: tuple[Result, ...]
    sizes: dict[str, float]


def sweep(
    points: Sequence[Point],
    work: Work,
    out: Path,
    workers: Workers,
    *,
    say: Say,
    tick: Say,
) -> list[Done]:
    """Measure every point that is not measured yet; returns all.

    Raises CheckFailed that names the log if a point
    failed, after all others have ended; run the same again to go on.
    """
    left = [p for p in points if not (folder_of(out, p) / DONE).exists()]
    if len(left) < len(points):
        say(f"{len(points) - len(left)} of {len(points)} points are measured already")
    for point in left:
        files.write_json(folder_of(out, point) / ABOUT, point.record())
    jobs = Jobs(work, out, workers.n_threads, threading.Event())
    failed = _drive(left, jobs, workers, tick) if left else []
    if failed:
        raise CheckFailed(
            f"{len(failed)} of {len(points)} points failed; {failed[0]} Run the same command again "
            "to go on with what is left."
        )
    return [loaded(folder_of(out, p)) for p in points]


def folder_of(out: Path, point: Point) -> Path:
    """The folder of a point."""
    return out / "points" / point.name


def loaded(folder: Path) -> Done:
    """What a point measured.

    Raises StoreError if it is not done.
    """
    tree = files.read_json(folder / DONE)
    results = tuple(records.load(folder / "results.jsonl"))
    return Done(point_of(tree["point"]), results, tree["sizes"])


def all_done(out: Path) -> list[Done]:
    """Every point below a folder that is done, in order of name."""
    return [loaded(path.parent) for path in sorted((out / "points").glob(f"*/{DONE}"))]


def run_point(point: Point, work: Work, folder: Path, n_threads: int = 1) -> str:
    """Do a point's work in processes of its own; "" if it is done, else what went wrong."""
    return Jobs(work, folder.parents[1], n_threads, threading.Event()).run(point)


@dataclass(frozen=True)
class Jobs:
    """How a point's work is run; setting `stop` ends what is at work."""

    work: Work
    out: Path
    n_threads: int
    stop: threading.Event

    def run(self, point: Point) -> str:
        """Do one point; "" if it is done, else what went wrong.

        A sweep that was killed may have left processes at work here: they are waited for.
        """
        folder = folder_of(self.out, point)
        with _locked(folder / "lock") as lock:
            if (folder / DONE).exists():
                return ""
            for arguments in self.work.commands(point, folder):
                code = self._command(arguments, folder / LOG, lock)
                if code:
                    return f"`neurofm {arguments[0]}` ended with {code}: see {folder / LOG}."
            found, sizes = self.work.measured(folder)
            named = [replace(result, run=point.name) for result in found]
            lines = [json.dumps(result.record(), sort_keys=True) + "\n" for result in named]
            files.write_text(folder / "results.jsonl", "".join(lines))
            files.write_json(folder / DONE, {"point": point.record(), "sizes": sizes})
        return ""

    def _command(self, arguments: Sequence[str], log: Path, lock: int) -> int:
        """The exit code of a command that writes to a log; it is ended if `stop` is set."""
        command = [sys.executable, "-m", "neurofm", *arguments]
        threads = dict.fromkeys(("NEUROFM_NUM_THREADS", "OMP_NUM_THREADS"), str(self.n_threads))
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=(lock,),
                env=os.environ | threads,
            )  # fmt: skip
            while process.poll() is None:
                if self.stop.wait(POLL_S):
                    process.terminate()
                    process.wait()
        return process.returncode


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """A lock that lives as long as any process that inherited its descriptor."""
    files.make(path.parent)
    handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _drive(left: Sequence[Point], jobs: Jobs, workers: Workers, tick: Say) -> list[str]:
    """What went wrong, a sentence a point; all points are tried."""
    far = workers.slurm is not None
    with ThreadPoolExecutor(len(left) if far else workers.n_jobs) as pool:
        try:
            futures = (
                {pool.submit(job.result) for job in _submitted(left, jobs, workers)}
                if far
                else {pool.submit(jobs.run, point) for point in left}
            )
            return _watched(futures, len(left) if far else workers.n_jobs, tick)
        except BaseException:
            jobs.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _submitted(left: Sequence[Point], jobs: Jobs, workers: Workers) -> list[Any]:
    """SLURM jobs, one a point."""
    executor = slurm_executor(jobs.out, workers)
    return [
        executor.submit(run_point, point, jobs.work, folder_of(jobs.out, point), jobs.n_threads)
        for point in left
    ]


def _watched(jobs: set[Future[str]], n_jobs: int, tick: Say) -> list[str]:
    """Wait for all, with a line of progress for every one that ends."""
    started, n, failed = time.monotonic(), len(jobs), []
    while jobs:
        ended, jobs = wait(jobs, timeout=EVERY_S, return_when=FIRST_COMPLETED)
        failed += [text for text in (job.result() for job in ended) if text]
        n_done, minutes = n - len(jobs), (time.monotonic() - started) / 60
        line = f"points {n_done}/{n}, {min(n_jobs, len(jobs))} at work, {minutes:.1f} min"
        if n_done:
            per_min = n_done / minutes
            line += f", {per_min:.2f} points/min, {len(jobs) / per_min:.1f} min left"
        if ended or sys.stderr.isatty():
            tick(line + (f", {len(failed)} failed" if failed else ""))
    return failed


def slurm_executor(
    out: Path, workers: Workers, name: str = "neurofm-scale", **parameters: int
) -> Any:
    """Submits to SLURM, with logs in a folder of `out`; `parameters` are submitit's own.

    Raises ConfigError if submitit is not installed.
    """
    try:
        submitit = importlib.import_module("submitit")
    except ImportError:
        raise ConfigError(
            "--slurm needs submitit, which is not installed; run `pip install submitit`, or leave "
            "--slurm out to run on this machine."
        ) from None
    executor = submitit.AutoExecutor(folder=out / "slurm")
    executor.update_parameters(
        slurm_partition=workers.slurm,
        cpus_per_task=workers.n_threads,
        name=name,
        timeout_min=1440,
        **parameters,
    )
    return executor
