"""Batches made ahead by other processes, in the order of the steps; batch k is still f(seed, k)."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from neurofm.errors import ConfigError, InputError

EACH = 2  # batches that a process may be ahead


@dataclass(frozen=True)
class Ahead:
    """How many processes make batches, and how they are started: fork, spawn or forkserver.

    `start_method` None: as the platform does. All but fork send every worker a copy of the counts.
    """

    n_workers: int = 0
    start_method: str | None = None

    def __bool__(self) -> bool:
        return self.n_workers != 0


NONE = Ahead()


class _Steps(Dataset[Any]):
    """Batch k as item k."""

    def __init__(self, batches: Callable[[int], Any]) -> None:
        self.batches = batches

    def __getitem__(self, step: int) -> Any:
        return self.batches(step)


def _as_it_is(made: Any) -> Any:
    """Batches are whole already."""
    return made


@contextlib.contextmanager
def ahead(
    batches: Callable[[int], Any], steps: Sequence[int], how: Ahead
) -> Iterator[Callable[[int], Any]]:
    """`batches`, made by other processes for these steps, which must be asked in order.

    0 workers: `batches` itself. The processes end with the context. Raises ConfigError for a number
    or method that cannot be, InputError if a worker dies.
    """
    n_workers, start_method = how.n_workers, how.start_method
    known = multiprocessing.get_all_start_methods()
    if n_workers < 0 or (start_method is not None and start_method not in known):
        raise ConfigError(
            f"--workers must be 0 or more, and the start method one of {', '.join(known)}."
        )
    if not how:
        yield batches
        return
    loader = DataLoader(
        _Steps(batches),
        batch_size=None,
        sampler=steps,
        num_workers=n_workers,
        prefetch_factor=EACH,
        collate_fn=_as_it_is,
        multiprocessing_context=multiprocessing.get_context(start_method),
        generator=torch.Generator(),  # torch's own stays untouched
    )
    made = iter(loader)
    try:
        yield _in_turn(made, steps)
    finally:
        del made  # ends the processes


def _in_turn(made: Iterator[Any], steps: Sequence[int]) -> Callable[[int], Any]:
    turn = iter(steps)

    def batch(step: int) -> Any:
        assert step == next(turn), "batches made ahead are asked for in order"
        try:
            return next(made)
        except RuntimeError as error:  # torch's, when a worker was killed
            raise InputError(
                f"a process that makes batches ended ({' '.join(str(error).split())[:200]}); go on "
                "with --resume, with fewer --workers if memory was short."
            ) from None

    return batch
