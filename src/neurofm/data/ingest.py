"""From files of any known format to a store; one bad file stops no other."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurofm import files
from neurofm.data import children
from neurofm.data.children import PER_MB_S, Request, limit_for
from neurofm.data.quality import DEFAULT, Flag, QualityConfig
from neurofm.data.readers import EXTENSIONS, found_in, pose
from neurofm.data.store import MANIFEST, Store, create_store
from neurofm.errors import InputError, NeurofmError, clean

TRUTH = ".truth.npz"  # what a simulation planted: no recording
EVERY_S = 1.0  # between remarks on progress
WRITTEN, ALREADY, REFUSED = "written", "already there", "refused"


@dataclass(frozen=True)
class Outcome:
    """What became of one file: its status, the id of its recording, the reason if it was refused."""

    path: str
    status: str
    id: str = ""
    sentence: str = ""
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class IngestReport:
    """What became of every file, in order."""

    outcomes: tuple[Outcome, ...]

    @property
    def refused(self) -> tuple[Outcome, ...]:
        """The files that were not ingested."""
        return tuple(one for one in self.outcomes if one.status == REFUSED)

    @property
    def exit_code(self) -> int:
        """0, or 2 if any file was refused."""
        return 2 if self.refused else 0


def _silent(_: str) -> None:
    """Say nothing."""


def ingest(
    paths: Sequence[Path | str],
    folder: Path | str,
    quality: QualityConfig = DEFAULT,
    say: Callable[[str], None] = _silent,
    *,
    n_jobs: int | None = None,
    timeout_s: float | None = None,
    memory_gb: float | None = None,
    tick: Callable[[str], None] = _silent,
) -> IngestReport:
    """Read files, or every file of a known extension in folders, into the store at `folder`.

    A file whose bytes the store holds already is passed over; one that cannot be read is reported
    and the others go on, also if it hangs or crashes the process that reads it. `n_jobs` processes
    read at once (default: as many as cores, or files if there are fewer); sessions and outcomes
    come in the order of the files and are the same for any number. A file may take `timeout_s`
    (default: `children.limit_for` its size) and `memory_gb` (default: three quarters of the
    machine's); one that needs more is refused. `tick` is told how far it is, at most once a second.
    Raises InputError if there is nothing to read, StoreError if `folder` is no store or is in use.
    """
    _check_limits(n_jobs, timeout_s, memory_gb)
    n_bytes = children.memory_bytes() if memory_gb is None else memory_gb * 1e9
    store = create_store(Path(folder))
    outcomes: list[Outcome] = []
    with store.writing(), files.scratch(store.sessions / "ingest") as staging:
        found = find(paths)
        sizes = [_size(path) for path in found]
        requests = [
            Request(
                path,
                staging / str(i),
                timeout_s or limit_for(size),
                n_bytes,
                quality.model_dump(mode="json"),
                0.0 if timeout_s else PER_MB_S,
            )
            for i, (path, size) in enumerate(zip(found, sizes, strict=True))
        ]
        shelf = Shelf.of(store, quality)
        answers = children.answers(
            requests, min(n_jobs or _n_cores(), len(found)), lambda digest: not shelf.known(digest)
        )
        with contextlib.closing(answers):
            for request, answer in _in_order(requests, _timed(answers, sizes, tick)):
                for outcome in shelf.put(request, answer):
                    outcomes.append(outcome)
                    say(_line(outcome))
                if request.folder.exists():
                    files.remove(request.folder)
    return IngestReport(tuple(outcomes))


def _check_limits(n_jobs: int | None, timeout_s: float | None, memory_gb: float | None) -> None:
    if n_jobs is not None and n_jobs < 1:
        raise InputError("--jobs must be 1 or more.")
    for name, value in (("--timeout-s", timeout_s), ("--memory-gb", memory_gb)):
        if value is not None and not value > 0:
            raise InputError(f"{name} must be above 0.")


def find(paths: Sequence[Path | str]) -> list[Path]:
    """The files that are meant, each once: files as they are, folders searched by extension.

    Poses that go with a recording that is meant too are left out: they are read with it.

    Raises InputError if a folder holds none, or nothing was given.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(path)
            continue
        inside = [file for file in found_in(path) if not file.name.endswith(TRUTH)]
        if not inside:
            raise InputError(f"{path} holds no file that ends in {', '.join(EXTENSIONS)}.")
        found += inside
    if not found:
        raise InputError("no file was given; give recordings, or folders of them.")
    return pose.without_attached(list(dict.fromkeys(found)))


@dataclass(frozen=True)
class Shelf:
    """The store while it is filled.

    `held`: the part of each manifest that tells files apart, by id and kept up to date, so that a
    file costs no reading of every other session's manifest.
    """

    store: Store
    quality: QualityConfig
    held: dict[str, dict[str, Any]]

    @classmethod
    def of(cls, store: Store, quality: QualityConfig) -> "Shelf":
        """What the store holds now."""
        held = {name: _about(tree) for name, tree in store.manifests().items()}
        return cls(store, quality, held)

    def known(self, digest: str) -> list[str]:
        """Ids of the recordings that came, with these settings, from a file of this SHA-256."""
        about = {"source": digest, "settings": self.quality.model_dump(mode="json")}
        return sorted(name for name, one in self.held.items() if about.items() <= one.items())

    def put(self, request: Request, answer: dict[str, Any]) -> Iterator[Outcome]:
        """Adopt the sessions that were staged for a file."""
        path = str(request.path)
        if "sentence" in answer:
            yield Outcome(path, REFUSED, sentence=answer["sentence"])
        elif known := self.known(answer["sha256"]):
            yield from (Outcome(path, ALREADY, name) for name in known)
        else:
            try:
                for number in range(answer["n_recordings"]):
                    yield self._adopt(path, request.folder / str(number))
            except (NeurofmError, OSError) as error:
                sentence = str(error) if isinstance(error, NeurofmError) else (
                    f"{path} could not be stored ({error}); make room or mend the disk, and ingest "
                    "it again.")  # fmt: skip
                yield Outcome(path, REFUSED, sentence=sentence)

    def _adopt(self, path: str, folder: Path) -> Outcome:
        tree = files.read_json(folder / MANIFEST)
        name, more = tree["id"], []
        twins = sorted(other for other, one in self.held.items()
                       if one["activity"] == tree["activity_sha256"] and other != name)  # fmt: skip
        if twins:
            message = f"its activity is the same as that of {', '.join(twins)}"
            if self.quality.duplicated_content == "refuse":
                raise InputError(f"{path}: {message}; leave one of them out.")
            more.append(Flag("warning", "activity", f"{message}; scores across them would leak"))
        written = self.store.adopt(folder, more)
        if written:
            self.held[name] = _about(tree)
        flags = (*(Flag(**flag) for flag in tree["flags"]), *more)
        return Outcome(path, WRITTEN if written else ALREADY, name, flags=flags)


def _about(tree: dict[str, Any]) -> dict[str, Any]:
    return {"source": tree["provenance"]["source_sha256"], "settings": tree["settings"],
            "activity": tree["activity_sha256"]}  # fmt: skip


def _in_order(
    requests: Sequence[Request], answers: Iterator[tuple[int, dict[str, Any]]]
) -> Iterator[tuple[Request, dict[str, Any]]]:
    """Answers in the order of the requests, each as soon as those before it are there."""
    early: dict[int, dict[str, Any]] = {}
    following = 0
    for number, answer in answers:
        early[number] = answer
        while following in early:
            yield requests[following], early.pop(following)
            following += 1


def _timed(
    answers: Iterator[tuple[int, dict[str, Any]]], sizes: Sequence[int], tick: Callable[[str], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The answers, with a remark on rate and time left, at most once a second."""
    start_s = said_s = time.monotonic()
    n_done, n_bytes = 0, 0
    for number, answer in answers:
        n_done, n_bytes = n_done + 1, n_bytes + sizes[number]
        now_s = time.monotonic()
        if now_s - said_s >= EVERY_S and n_done < len(sizes):
            tick(progress(n_done, len(sizes), n_bytes, sum(sizes), now_s - start_s))
            said_s = now_s
        yield number, answer


def progress(n_done: int, n: int, n_bytes: int, n_bytes_all: int, took_s: float) -> str:
    """One line: files read, rate, and the time left if what is left goes at the same rate."""
    left_s = took_s * (n_bytes_all - n_bytes) / max(n_bytes, 1)
    return (f"read {n_done} of {n} files, {n_bytes / 1e6 / took_s:.1f} MB/s, about "
            f"{int(left_s) // 60} min {int(left_s) % 60} s left")  # fmt: skip


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # its reader says what is wrong with it
        return 0


def _n_cores() -> int:
    """Cores this process may use, which may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _line(outcome: Outcome) -> str:
    if outcome.status == REFUSED:
        return f"refused        {clean(outcome.sentence)}"
    found = [flag for flag in outcome.flags if flag.severity != "note"]
    more = "".join(f"\n{'':15}{clean(flag.text)}" for flag in found)
    return f"{outcome.status:<14} {clean(outcome.id)}  ({clean(outcome.path)}){more}"
