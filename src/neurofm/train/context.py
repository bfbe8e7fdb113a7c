"""The processes that train one model together: which one this is, and what they tell each other.

They are started from outside, by `torchrun` or by SLURM, and find each other through torch's own
environment variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT).
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from neurofm.errors import CheckFailed, ConfigError, NeurofmError

LOST = ("gloo", "nccl", "connection", "timed out", "broken pipe")  # of a collective's own errors


@dataclass(frozen=True)
class Context:
    """One of `world_size` processes, counted from 0. A single process says nothing to anyone.

    The device is not here: each process names its own, as a single one does.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes the run."""
        return self.rank == 0

    def all_reduce(self, tensor: Tensor) -> Tensor:
        """The sum of the processes' tensors, in place and on every process."""
        if self.world_size > 1:
            dist.all_reduce(tensor)
        return tensor

    def exchange(self, tensor: Tensor, partner: int) -> Tensor:
        """The tensor of another process, which asks for this one's at the same time."""
        other = torch.empty_like(tensor)
        both = [dist.P2POp(dist.isend, tensor, partner), dist.P2POp(dist.irecv, other, partner)]
        for work in dist.batch_isend_irecv(both):
            work.wait()
        return other

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.all_reduce(torch.zeros(1))

    def first_says(self, answer: bool) -> bool:
        """What the first process answers."""
        return bool(self.all_reduce(torch.tensor(float(answer and self.first))))

    def agree(self, what: str, value: str) -> None:
        """Raise ConfigError on every process unless all hold the same `value`."""
        digest = torch.frombuffer(
            bytearray(hashlib.sha256(value.encode()).digest()), dtype=torch.uint8
        )
        spread = torch.zeros(self.world_size, len(digest))
        spread[self.rank] = digest.float()
        if (self.all_reduce(spread) != spread[0]).any():
            raise ConfigError(
                f"{what} is not the same in all {self.world_size} processes; give every machine the "
                "same command, the same version of neurofm and the same files."
            )

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Work that may fail in some processes: then all end, those with nothing wrong as well."""
        wrong: NeurofmError | None = None
        try:
            yield
        except NeurofmError as error:
            wrong = error
        failed = self.all_reduce(torch.tensor(float(wrong is not None)))
        if wrong is not None:
            raise wrong
        if failed:
            raise CheckFailed(f"process {self.rank} stops, since another one could not go on.")


ALONE = Context()

_GROUPS: list[object] = []  # every group that this process joined, for as long as it lives


@contextlib.contextmanager
def processes() -> Iterator[Context]:
    """The context of this process, for as long as it trains; ALONE where nothing started others.

    On a machine with GPUs, each process takes that of its LOCAL_RANK. Raises ConfigError if the
    processes are not as many as they should be or a GPU is missing, CheckFailed if one dies.
    """
    wanted = _asked()
    if wanted == 1:
        yield ALONE
        return
    on_gpus = torch.cuda.is_available()
    if on_gpus:
        _take_gpu(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo")
    # A group that Python frees waits, under Python's lock, for a thread of its own, which may be waiting
    # for that lock to free the last message: a process that had lost another one hung there for ever.
    _GROUPS.append(dist.group.WORLD)
    try:
        context = Context(dist.get_rank(), dist.get_world_size())
        present = int(context.all_reduce(torch.ones(1)))
        if not wanted == context.world_size == present:
            raise ConfigError(f"WORLD_SIZE is {wanted} but {present} processes answered.")
        yield context
    except RuntimeError as error:
        if any(word in str(error).lower() for word in LOST):
            raise CheckFailed(
                f"process {os.environ['RANK']} of {wanted} lost another one ({_first_line(error)}); "
                "the run keeps its last checkpoint: start all of them again with --resume."
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _asked() -> int:
    """How many processes were started together.

    Raises ConfigError if SLURM started several that do not know of each other.
    """
    wanted = int(os.environ.get("WORLD_SIZE", "1"))
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if wanted == 1 and tasks > 1:
        raise ConfigError(
            f"SLURM started {tasks} tasks that do not know of each other, and each would train a "
            "model of its own; start one `torchrun` a node, or use `neurofm pretrain --slurm`."
        )
    return wanted


def _take_gpu(local: int) -> None:
    if local >= torch.cuda.device_count():
        raise ConfigError(
            f"process {local} of this machine has no GPU: it has {torch.cuda.device_count()}; lower "
            "--nproc-per-node, or hide the GPUs with CUDA_VISIBLE_DEVICES= to train on the CPU."
        )
    torch.cuda.set_device(local)


def _first_line(error: Exception) -> str:
    return str(error).split("] ", 1)[-1].strip().splitlines()[0][:80]  # not the line of its source
