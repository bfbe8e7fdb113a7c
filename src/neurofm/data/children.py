"""Disposable processes that read files side by side: one that hangs or crashes is replaced.

Plain subprocesses and JSON lines, not `multiprocessing`: no pickle, a caller's script is not run
again, and a child that dies takes no queue and no lock with it.
"""

import contextlib
import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

START_S = 60.0  # for Python to start; the limit of a file counts from when its reading begins
AHEAD = 8  # files a process may be ahead of the oldest unfinished one; bounds what a kill loses
WATCHED = sys.platform != "linux"  # there the kernel keeps the memory limit, and nobody need look
LOOK_S = 0.5  # between two looks at how much memory processes hold
PYTHON_BYTES = 200 << 20  # what a process holds before it reads anything
# The default limit: a small file that hangs is ended after ten seconds, an honest one may be read twice, to
# be hashed and to be read, from a network share of 4 MB/s.
BASE_S, PER_MB_S = 10.0, 0.5


@dataclass(frozen=True)
class Request:
    """One file to read, the folder its sessions are staged in, its limits in seconds and bytes.

    `per_mb_s`: seconds more for each MB of the further files of its recording.
    """

    path: Path
    folder: Path
    limit_s: float
    memory_bytes: float
    quality: dict[str, Any]
    per_mb_s: float = 0.0

    @property
    def line(self) -> str:
        """What the child is told."""
        tree = {"path": str(self.path), "folder": str(self.folder), "limit_s": self.limit_s,
                "memory_bytes": self.memory_bytes, "quality": self.quality, "per_mb_s": self.per_mb_s}  # fmt: skip
        return json.dumps(tree) + "\n"


def limit_for(n_bytes: int) -> float:
    """The default time limit of a file, in seconds of the clock from when its reading begins."""
    return BASE_S + PER_MB_S * n_bytes / 1e6


def memory_bytes() -> float:
    """The default memory limit of a file: three quarters of the machine's, in bytes."""
    return 0.75 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def free_bytes() -> float:
    """Memory that this process may still take: what the machine has left, or its limits if they leave less.

    Its limits are those of addresses (`ulimit -v`) and of its control groups (containers, SLURM). Where the system tells
    none of this, which Linux does, half of the machine's memory.
    """
    try:
        told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        left = [1024.0 * int(told["MemAvailable"].split()[0])]
    except (OSError, KeyError, ValueError):
        return memory_bytes() / 1.5
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        left.append(max(limit - pages * resource.getpagesize(), 0))
    with contextlib.suppress(OSError):
        left += [one for group in _control_groups() if (one := left_of(group)) is not None]
    return min(left)


def _control_groups() -> list[Path]:
    """Folders of the groups that this process is in, from its own upwards; none before version 2."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    names = [line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    root = Path("/sys/fs/cgroup")
    return [
        at
        for name in names
        for at in (root / name, *(root / name).parents)
        if root in (at, *at.parents)
    ]


def left_of(group: Path) -> float | None:
    """Bytes that a group may still take; what it holds of files is given up when it is wanted."""
    try:
        most = int((group / "memory.max").read_text())  # `max` is no number: no limit
        held = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        return max(most - int(held["anon"]), 0.0)
    except (OSError, KeyError, ValueError):
        return None


def resident_bytes(process: int) -> int:
    """Memory that a process holds now; 0 if it is gone or cannot be told. Works on Linux and macOS."""
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        command = ["ps", "-o", "rss=", "-p", str(process)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        return int(done.stdout) * 1024
    return 0


class Child:
    """One process and the request it is busy with."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "neurofm.data.reading"]
        path = os.pathsep.join(p or str(Path.cwd()) for p in sys.path)
        env = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path}
        # A process group of its own: Ctrl-C reaches the parent alone, which ends its children.
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, process_group=0
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        self.unread = b""
        self.number, self.request = -1, Request(Path(), Path(), 0.0, 0.0, {})
        self.until_s = 0.0

    def ask(self, number: int, request: Request) -> None:
        """Give it a file; `number` tells the answers apart."""
        self.number, self.request = number, request
        self.until_s = time.monotonic() + START_S + request.limit_s
        self.write(request.line)

    def grant(self, more_s: float) -> None:
        """Give the file that it reads more time."""
        self.request = replace(self.request, limit_s=self.request.limit_s + more_s)
        self.until_s += more_s

    def write(self, line: str) -> None:
        """Write a line; a process that is gone is noticed when it is read from."""
        with contextlib.suppress(BrokenPipeError):
            self.stdin.write(line.encode())
            self.stdin.flush()

    def is_too_big(self) -> bool:
        """Whether it holds more memory than its file may take, beside what Python takes itself."""
        return resident_bytes(self.process.pid) > PYTHON_BYTES + self.request.memory_bytes

    def lines(self) -> list[dict[str, Any]] | None:
        """What it said since; None if it has ended. To be called when there is something to read."""
        block = os.read(self.stdout.fileno(), 1 << 16)
        *whole, self.unread = (self.unread + block).split(b"\n")
        return [json.loads(line) for line in whole] if block else None

    def end(self) -> None:
        """Kill it and wait. One that is stuck in a dead disk cannot be waited for and is left."""
        self.process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        with contextlib.suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()

    def last_words(self) -> str:
        """Why a process that ended by itself did, as a sentence that names the file."""
        path = self.request.path
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = 0
        if code == -signal.SIGALRM:
            return _too_slow(self.request)
        if code == -signal.SIGKILL:
            return (f"{path}: the system killed the process that read it, most likely for want of "
                    "memory; give --jobs 1, or use a machine with more.")  # fmt: skip
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return (f"{path} ended the process that read it ({how}), so it is damaged; copy or export "
                "it again.")  # fmt: skip


def answers(
    requests: Sequence[Request], n_jobs: int, wanted: Callable[[str], bool]
) -> Generator[tuple[int, dict[str, Any]], None, None]:
    """(number of the request, what `reading.read_into` answered), in the order of finishing.

    Of a request whose process hung, crashed or was killed the answer has a `sentence`. Nothing is
    running any more when the iterator has ended or is closed.
    """
    busy: list[Child] = []
    idle: list[Child] = []
    given = 0
    try:
        while busy or given < len(requests):
            while given < len(requests) and _may_start(given, busy, n_jobs):
                child = idle.pop() if idle else Child()
                busy.append(child)
                child.ask(given, requests[given])
                given += 1
            for child, answer in _heard(busy, wanted):
                busy.remove(child)
                if "sentence" in answer:
                    child.end()
                else:
                    idle.append(child)
                yield child.number, answer
    finally:
        for child in busy + idle:
            child.end()


def _may_start(number: int, busy: Sequence[Child], n_jobs: int) -> bool:
    oldest = min((child.number for child in busy), default=number)
    return len(busy) < n_jobs and number - oldest <= AHEAD * n_jobs


def _heard(
    busy: Sequence[Child], wanted: Callable[[str], bool]
) -> list[tuple[Child, dict[str, Any]]]:
    """Final answers of children, after waiting until one speaks or is out of time."""
    final: list[tuple[Child, dict[str, Any]]] = []
    with selectors.DefaultSelector() as selector:
        for child in busy:
            selector.register(child.stdout, selectors.EVENT_READ, child)
        left_s = min(child.until_s for child in busy) - time.monotonic()
        wait_s = min(left_s, LOOK_S) if WATCHED else left_s
        ready = [key.data for key, _ in selector.select(max(wait_s, 0.0))]
    for child in busy:
        answer = _listen(child, wanted) if child in ready else None
        if answer is None and time.monotonic() >= child.until_s:
            answer = {"sentence": _too_slow(child.request)}
        if answer is None and WATCHED and child not in ready and child.is_too_big():
            answer = {"sentence": too_big(child.request.path)}
        if answer is not None:
            final.append((child, answer))
    return final


def _listen(child: Child, wanted: Callable[[str], bool]) -> dict[str, Any] | None:
    """The final answer of a child, or None if it is still reading."""
    lines = child.lines()
    if lines is None:
        return {"sentence": child.last_words()}
    for line in lines:
        if "started" in line:
            child.until_s = time.monotonic() + child.request.limit_s
        elif "more_s" in line:  # its further files were found
            child.grant(line["more_s"])
        elif "hashed" in line:
            child.write("read\n" if wanted(line["hashed"]) else "skip\n")
        else:
            return line
    return None


def too_big(path: Path) -> str:
    """The sentence about a file that needs more memory than it may take."""
    return (f"{path} needs more memory than it may take, so it is damaged or very large; give it more "
            "with --memory-gb, or use a machine with more.")  # fmt: skip


def _too_slow(request: Request) -> str:
    return (f"{request.path} was not read within {request.limit_s:.3g} s, so it is damaged, slow to reach "
            "or the machine is busy; copy or export it again, or give it more time with "
            f"--timeout-s {10 * request.limit_s:.3g}.")  # fmt: skip
