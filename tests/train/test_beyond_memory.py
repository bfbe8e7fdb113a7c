"""A store that is larger than the memory that a process may take is trained on, window by window."""

import os
import resource
import subprocess
import sys

import numpy as np

from neurofm import Recording
from neurofm.data import children
from neurofm.data.store import create_store

SCRIPT = """
import resource, sys
from pathlib import Path
from neurofm.pipeline import pretrain_store
from neurofm.train import batches

small, large, out, most_bytes = *sys.argv[1:4], int(sys.argv[4])
toy = ["bin_s=0.02", "window_bins=20", "windows=2", "steps=2", "validate_every=2", "valid_batches=1",
       *(f"model.{key}" for key in ("kernel=0", "backbone.width=8", "backbone.layers=1",
                                    "backbone.heads=2", "backbone.mlp=8")), "optim.matrix_rate=0"]
pretrain_store(small, f"{out}/run-small", settings=toy)  # whatever is loaded late
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + most_bytes, held + most_bytes))
pretrain_store(large, f"{out}/run-large", settings=toy)
batches.room = lambda _: float("inf")  # the control: counts are held in memory
try:
    pretrain_store(large, f"{out}/run-held", settings=toy)
except MemoryError:
    print("too large")
"""


def made(folder, n_bins):
    counts = np.zeros((n_bins, 400), np.uint8)
    counts[::7] = 1
    create_store(folder).write(Recording.from_arrays("a", counts=counts, bin_s=0.02))
    return folder


def test_a_store_beyond_the_memory_of_a_process_is_trained_on(tmp_path):
    places = made(tmp_path / "small", 3000), made(tmp_path / "large", 90_000)
    command = [sys.executable, "-c", SCRIPT, *places, tmp_path, str(32 << 20)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "too large\n"), done.stderr[-2000:]


def test_what_may_still_be_taken_is_what_limits_leave(tmp_path):
    left = children.free_bytes()
    assert 0 < left <= os.sysconf("SC_PHYS_PAGES") * resource.getpagesize()
    (tmp_path / "memory.max").write_text("5000\n")
    (tmp_path / "memory.stat").write_text("anon 2000\nfile 900\n")
    assert children.left_of(tmp_path) == 3000
    (tmp_path / "memory.max").write_text("max\n")
    assert children.left_of(tmp_path) is None
