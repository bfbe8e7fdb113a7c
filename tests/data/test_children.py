"""Files that hang, crash or are killed while they are read: real processes, real hostile files."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import pytest

from neurofm import files
from neurofm.data.children import Child, Request, _listen, limit_for
from neurofm.data.ingest import ALREADY, REFUSED, WRITTEN, ingest, progress
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.reading import further_bytes
from neurofm.data.store import open_store
from neurofm.errors import InputError

PROC = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's /proc")


def write_hanging(path):
    """A few kB whose 40 columns claim 1 M chunks of one number each, just few enough to be read.

    HDF5 lists them all, deep in C, for seconds a column.
    """
    with h5py.File(path, "w") as file:
        file.attrs["nwb_version"] = "2.0.0"
        for name in ("start_time", *(f"x{i}" for i in range(39))):
            file.create_dataset(f"intervals/t/{name}", shape=(1 << 20,), dtype="f8", chunks=(1,))


def write_crashing(path):
    """A group whose B-tree has itself as its child: HDF5 recurses until the stack is full."""
    with h5py.File(path, "w", libver="earliest") as file:
        file.attrs["nwb_version"] = "2.0.0"
        for i in range(400):
            file.create_group(f"acquisition/g{i:04d}")
    blob = bytearray(path.read_bytes())
    nodes = [i for i in range(len(blob)) if blob[i : i + 5] == b"TREE\0"]
    root = max(nodes, key=lambda i: blob[i + 5])  # by level: the one whose children are nodes
    assert blob[root + 5] == 1
    struct.pack_into("<Q", blob, root + 32, root)
    path.write_bytes(blob)


def readers_of(path):
    """Processes that have the file open."""
    found = []
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if fd.readlink() == path:
                found.append(int(fd.parts[2]))
        except OSError:
            continue
    return found


def wait_for(what, limit_s=30):
    end = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def leftovers(store):
    return list((store / "sessions").glob(".*"))


def test_a_hang_and_a_crash_refuse_one_file_each(tmp_path, samples_of):
    names = ("a.npz", "crash.nwb", "hang.nwb", "z.npz")
    paths = [tmp_path / name for name in names]
    write_arrays(samples_of("a", seed=1), paths[0])
    write_crashing(paths[1])
    write_hanging(paths[2])
    write_arrays(samples_of("z", seed=2), paths[3])
    said = []
    report = ingest(paths, tmp_path / "s", say=said.append, n_jobs=2, timeout_s=2)
    assert [o.status for o in report.outcomes] == [WRITTEN, REFUSED, REFUSED, WRITTEN]
    assert all(path.name in line for path, line in zip(paths, said, strict=True))
    crash, hang = (one.sentence for one in report.refused)
    assert "(signal SIGSEGV), so it is damaged" in crash or "not a readable HDF5" in crash
    assert "hang.nwb was not read within 2 s" in hang
    assert "--timeout-s" in hang
    assert report.exit_code == 2
    assert open_store(tmp_path / "s").ids() == ("a", "z")
    assert leftovers(tmp_path / "s") == []


@PROC
def test_a_killed_child_refuses_its_file_alone(tmp_path, samples_of):
    write_hanging(tmp_path / "hang.nwb")
    write_arrays(samples_of("z"), tmp_path / "z.npz")

    def kill():
        for process in wait_for(lambda: readers_of(tmp_path / "hang.nwb")):
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    report = ingest([tmp_path / "hang.nwb", tmp_path / "z.npz"], tmp_path / "s", n_jobs=1)
    killer.join()
    assert [o.status for o in report.outcomes] == [REFUSED, WRITTEN]
    assert "hang.nwb: the system killed the process that read it" in report.refused[0].sentence
    assert "--jobs 1" in report.refused[0].sentence
    assert leftovers(tmp_path / "s") == []


@PROC
def test_a_killed_ingest_takes_its_children_along_and_goes_on(tmp_path, samples_of):
    source, store = tmp_path / "in", tmp_path / "s"
    source.mkdir()
    for name in ("a", "z"):
        write_arrays(samples_of(name, seed=ord(name)), source / f"{name}.npz")
    write_hanging(source / "hang.nwb")
    command = [sys.executable, "-m", "neurofm", "ingest", source, "--out", store, "--jobs", "2"]
    with subprocess.Popen(command, env=os.environ, stderr=subprocess.DEVNULL) as parent:
        staged = ".ingest.tmp-*/2/0/manifest.json"
        wait_for(
            lambda: list((store / "sessions").glob(staged)) and readers_of(source / "hang.nwb")
        )
        parent.kill()
    wait_for(lambda: not readers_of(source / "hang.nwb"), limit_s=5)
    assert leftovers(store) != []
    assert open_store(store).ids() == ("a",)
    open_store(store).verify()
    (source / "hang.nwb").unlink()
    assert [o.status for o in ingest([source], store).outcomes] == [ALREADY, WRITTEN]
    ingest([source], tmp_path / "serial", n_jobs=1)
    assert files.manifest_of(store) == files.manifest_of(tmp_path / "serial")


def test_by_default_a_small_file_that_hangs_is_ended_after_ten_seconds(tmp_path, samples_of):
    write_hanging(tmp_path / "hang.nwb")
    write_arrays(samples_of("z"), tmp_path / "z.npz")
    began = time.monotonic()
    report = ingest([tmp_path / "hang.nwb", tmp_path / "z.npz"], tmp_path / "s", n_jobs=2)
    took_s = time.monotonic() - began
    assert 10 <= took_s < 10 + 8  # the rest: starting processes on a busy machine
    assert [o.status for o in report.outcomes] == [REFUSED, WRITTEN]
    assert "hang.nwb was not read within 10 s" in report.refused[0].sentence
    assert "more time with --timeout-s 100" in report.refused[0].sentence


def test_data_beside_a_header_count_towards_its_time(tmp_path):
    header = "Brain Vision Data Exchange Header File Version 1.0\n[Common Infos]\nDataFile=a.eeg\n"
    (tmp_path / "a.vhdr").write_text(header)
    (tmp_path / "a.eeg").write_bytes(bytes(3_000_000))
    assert further_bytes(tmp_path / "a.vhdr") == 3_000_000
    (tmp_path / "b.vhdr").write_text(header.replace("a.eeg", "../a.eeg"))
    assert further_bytes(tmp_path / "b.vhdr") == 0
    child = Child()
    child.ask(0, Request(tmp_path / "a.vhdr", tmp_path / "o", 10.0, 1e9, {}, 0.5))
    began = time.monotonic()
    while child.request.limit_s == 10:
        assert _listen(child, lambda _: False) is None
    child.end()
    assert child.request.limit_s == 11.5
    assert began + 11.5 <= child.until_s <= time.monotonic() + 11.5


def test_any_number_of_processes_makes_the_same_store(tmp_path, samples_of):
    big = samples_of("big", seed=1)
    for i, recording in enumerate(
        (big, samples_of("first"), samples_of("twin"), samples_of("first", seed=3), big)
    ):
        write_arrays(recording, tmp_path / f"{i}.npz")
    reports = [ingest([tmp_path / f"{i}.npz" for i in range(5)], tmp_path / f"s{n}", n_jobs=n)
               for n in (1, 3)]  # fmt: skip
    status = [o.status for o in reports[0].outcomes]
    assert status == [WRITTEN, WRITTEN, WRITTEN, REFUSED, ALREADY]
    assert any("same as that of first" in flag.message for flag in reports[0].outcomes[2].flags)
    plain = [[(o.path, o.status, o.id, o.flags) for o in r.outcomes] for r in reports]
    assert plain[0] == plain[1]
    assert files.manifest_of(tmp_path / "s1") == files.manifest_of(tmp_path / "s3")


def test_limits_and_progress_are_said(tmp_path):
    assert limit_for(0) == 10
    assert limit_for(10**9) == 510
    text = progress(2, 8, 20_000_000, 80_000_000, took_s=30.0)
    assert text == "read 2 of 8 files, 0.7 MB/s, about 1 min 30 s left"
    with pytest.raises(InputError, match="--jobs must be 1 or more"):
        ingest([tmp_path], tmp_path / "s", n_jobs=0)
    with pytest.raises(InputError, match="--timeout-s must be above 0"):
        ingest([tmp_path], tmp_path / "s", timeout_s=0)
