"""The stage behind `neurofm verify`: every hash of a store, a run, a checkpoint or shared weights."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from neurofm import config as configuration
from neurofm import results
from neurofm.data import splits
from neurofm.data.store import Store, open_store
from neurofm.errors import InputError, NeurofmError
from neurofm.model import checkpoint, weights
from neurofm.run import Run
from neurofm.train.pretrain import PretrainConfig


@dataclass(frozen=True)
class Verified:
    """What was checked, and a sentence for each thing that is broken."""

    what: str
    n_parts: int
    broken: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """All of it, one broken thing a line."""
        if not self.broken:
            return f"{self.what}: {self.n_parts} parts, every hash as it was written"
        return "\n".join([f"{self.what}: {len(self.broken)} of {self.n_parts} parts are broken.",
                          *self.broken])  # fmt: skip


def verify(folder: Path | str) -> Verified:
    """Check a store, a run, a checkpoint or a folder of shared weights.

    Raises InputError if it is none of them.
    """
    folder = Path(folder)
    kinds = {
        "store.json": ("store", _store),
        "config.yaml": ("run", _run),
        "checkpoint.json": ("checkpoint", _checkpoint),
        weights.CONFIG: ("shared weights", _weights),
    }
    for name, (what, check) in kinds.items():
        if (folder / name).is_file():
            found = list(check(folder))
            return Verified(f"{folder} ({what})", len(found), tuple(s for s in found if s))
    raise InputError(f"{folder} is no store, run, checkpoint or shared weights; it has none of "
                     f"{', '.join(kinds)}.")  # fmt: skip


def _store(folder: Path) -> Iterator[str]:
    """An empty sentence for each part that is whole; a part is a file."""
    store = Store(folder)
    yield _said(lambda: open_store(folder))
    for home in store.homes():
        broken = list(store.damage(home))
        yield from broken
        n_files = sum(1 for path in home.iterdir() if not path.name.startswith("."))
        yield from [""] * max(n_files - len(broken), 0)


def _run(folder: Path) -> Iterator[str]:
    run = Run(folder)
    yield _said(lambda: configuration.load(PretrainConfig, run.config))
    yield _said(lambda: splits.load(run.splits))
    yield _said(lambda: results.load(run.results))
    yield from _log(run)
    for one in checkpoint.folders(run.checkpoints):
        yield from _checkpoint(one)


def _log(run: Run) -> Iterator[str]:
    """Only the last line may be torn: a kill does that, and a resumed run mends it."""
    lines = run.log.read_bytes().splitlines()[:-1] if run.log.exists() else []
    broken = []
    for number, line in enumerate(lines, 1):
        try:
            json.loads(line)
        except ValueError:
            broken.append(f"{run.log} line {number} is not JSON; remove the line.")
    yield from broken or [""]


def _checkpoint(folder: Path) -> Iterator[str]:
    yield _said(lambda: checkpoint.verify(folder))


def _weights(folder: Path) -> Iterator[str]:
    yield _said(lambda: weights.read(folder))


def _said(check: Callable[[], object]) -> str:
    try:
        check()
    except NeurofmError as error:
        return str(error)
    return ""
