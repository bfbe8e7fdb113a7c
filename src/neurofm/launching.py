"""Pre-training by several processes: those that torchrun started, or the tasks of a SLURM job."""

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurofm.errors import clean_lines
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import Say, pretrain_store, silent
from neurofm.run import new_run, open_run
from neurofm.study.sweep import Workers, slurm_executor
from neurofm.train.context import processes

SLICES = 8  # of a step in exact mode: for 1, 2, 4 or 8 processes


@dataclass(frozen=True)
class Job:
    """A job of a SLURM partition: so many processes on each of so many machines."""

    partition: str
    n_nodes: int = 1
    n_each: int = 1
    n_threads: int = 1


def pretrain_together(
    store: Path, out: Path, *, say: Say = silent, tick: Say = silent, **wanted: Any
) -> Trained:
    """`pretrain_store` in whatever processes were started together; the first one speaks."""
    with processes() as context:
        heard = (say, tick) if context.first else (silent, silent)
        done = pretrain_store(store, out, context=context, say=heard[0], tick=heard[1], **wanted)
        heard[0](f"best validation {done.valid['score']:.4f} bits at step {done.step}; run: {out}")
        return done


def submit(store: Path, out: Path, job: Job, wanted: dict[str, Any]) -> str:
    """Submit `pretrain_together` to SLURM; a sentence that names the job and its logs.

    The store and the run's folder must be reachable from every machine. Raises InputError if the
    folder is taken, ConfigError if submitit is not installed.
    """
    folder = out.with_name(f"{out.name}-job")
    on_gpus = 0 if wanted.get("device") == "cpu" else job.n_each
    workers = Workers(n_threads=job.n_threads, slurm=job.partition)
    executor = slurm_executor(folder, workers, name="neurofm-pretrain", nodes=job.n_nodes,
                              tasks_per_node=job.n_each, gpus_per_node=on_gpus)  # fmt: skip
    (open_run if wanted.get("resume") else new_run)(out)
    sent = executor.submit(_task, store.resolve(), out.resolve(), job.n_threads, wanted)
    return f"job {sent.job_id} ({executor.cluster}) of {job.n_nodes * job.n_each} processes; logs: {folder / 'slurm'}"


def _task(store: Path, out: Path, n_threads: int, wanted: dict[str, Any]) -> None:
    """What each process of the job does; a job that SLURM starts again goes on with its run."""
    import torch

    torch.set_num_threads(n_threads)
    importlib.import_module("submitit").helpers.TorchDistributedEnvironment().export(
        set_cuda_visible_devices=False
    )
    begun = (out / "config.yaml").exists()
    if begun:
        wanted = wanted | {"resume": True, "config_file": None, "settings": ()}
    pretrain_together(store, out, say=_say, tick=_say, **wanted)


def _say(text: str) -> None:
    print(clean_lines(text), flush=True)
