"""What starts several processes: torchrun, and SLURM by way of submitit."""

import shutil
import subprocess
import sys
import time

import pytest

from neurofm import files
from neurofm.cli import main
from neurofm.data.readers.arrays import write_arrays
from neurofm.errors import InputError
from neurofm.launching import Job, submit
from neurofm.model import checkpoint

SMALL = ["steps=4", "validate_every=2", "valid_batches=1", "windows=8", "window_bins=20",
         "precision=fp32", "model.backbone.width=8", "model.backbone.layers=1",
         "model.backbone.heads=1", "model.backbone.mlp=8"]  # fmt: skip


@pytest.fixture(scope="module")
def lab(sessions, tmp_path_factory):
    """A store, and a run in exact mode by one process."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "files").mkdir()
    for recording in sessions[:2]:
        write_arrays(recording, folder / "files" / f"{recording.id}.npz")
    for command in (["ingest", folder / "files", "--out", folder / "store"],
                    ["pretrain", folder / "store", "--out", folder / "alone", *options()]):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in command])
        assert stop.value.code == 0
    return folder


def options():
    return ["--exact", "--device", "cpu", *(word for each in SMALL for word in ("--set", each))]


def hashes(run):
    return files.manifest_of(checkpoint.newest_intact(run / "checkpoints"))


def test_torchrun_trains_by_two_processes_and_one_writes(lab):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
               "2", "-m", "neurofm", "pretrain", "store", "--out", "two", *options()]  # fmt: skip
    done = subprocess.run(command, cwd=lab, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("best validation") == 1
    rows = (lab / "two" / "log.jsonl").read_text().splitlines()
    assert len(rows) == 1 + 4 + 2  # tokens, steps, validations
    assert hashes(lab / "two") == hashes(lab / "alone")


def test_a_submitted_job_goes_on_with_a_run(lab):
    """Without SLURM, submitit starts the task here."""
    shutil.copytree(lab / "alone", lab / "job")
    shutil.rmtree(checkpoint.folders(lab / "job" / "checkpoints")[-1])
    command = [sys.executable, "-m", "neurofm", "pretrain", "store", "--out", "job", "--resume",
               "--slurm", "cpu", "--device", "cpu"]  # fmt: skip
    done = subprocess.run(command, cwd=lab, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "(local) of 1 processes" in done.stderr
    deadline = time.monotonic() + 120
    while not list((lab / "job-job").rglob("*_result.pkl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    logs = "".join(path.read_text() for path in (lab / "job-job").rglob("*.err"))
    assert hashes(lab / "job") == hashes(lab / "alone"), logs


def test_a_job_is_refused_where_there_is_a_run(lab):
    with pytest.raises(InputError, match="is not empty"):
        submit(lab / "store", lab / "alone", Job("cpu"), {"device": "cpu"})
