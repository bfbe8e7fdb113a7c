"""Real processes that train together over the loopback, forked from one that has imported torch."""

import multiprocessing
import os
import socket
import sys

import torch

from neurofm.train.context import processes

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["torch", "neurofm.train.pretrain", "torch.distributed.fsdp"])


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def _member(work, rank, world_size, port, output, arguments):
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world_size), "MASTER_ADDR": "127.0.0.1",
                   "MASTER_PORT": str(port), "LOCAL_RANK": str(rank)}  # fmt: skip
    sys.stderr = output.open("a", buffering=1)
    try:
        with processes() as context:
            work(context, *arguments)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", 1))


def start(work, world_size, folder, *arguments):
    """Start `work(context, *arguments)` in so many processes; what they complain of goes to files."""
    port = free_port()
    members = [
        CONTEXT.Process(
            target=_member, args=(work, r, world_size, port, folder / f"stderr-{r}", arguments)
        )
        for r in range(world_size)
    ]
    for member in members:
        member.start()
    return members


def run(work, world_size, folder, *arguments):
    """As `start`, to the end: the exit codes and what was complained of, by rank."""
    folder.mkdir(parents=True, exist_ok=True)
    members = start(work, world_size, folder, *arguments)
    for member in members:
        member.join(120)
    return [m.exitcode for m in members], [complaints(folder, r) for r in range(world_size)]


def complaints(folder, rank):
    return (folder / f"stderr-{rank}").read_text()
