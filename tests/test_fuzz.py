"""A few hundred of the cases of `benchmarks/fuzz.py`, in its own processes, with its own judgement."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_spoilt_files_end_in_a_sentence_or_a_valid_recording(project: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        project / "benchmarks" / "fuzz.py",
        "--out",
        tmp_path,
        "--scale",
        "0.02",
    ]
    subprocess.run(command, check=True, env=os.environ, stdout=subprocess.DEVNULL)
    lines = json.loads((tmp_path / "fuzz.json").read_text())
    cases = [json.loads(line) for line in (tmp_path / "cases.jsonl").read_text().splitlines()]
    bad = [
        case
        for case in cases
        if case["outcome"] not in ("refused", "valid", "refused at the limit")
    ]
    assert bad == []
    assert lines[0]["trials"] == len(cases) > 200
    assert lines[0]["failures"] == 0
    targets = {"arrays", "nwb", "torch_brain", "eeg", "bids", "pose", "store", "splits", "results", "config", "ingest"}  # fmt: skip
    assert targets == {line["target"] for line in lines if "target" in line}
    refused = sum(case["outcome"] == "refused" for case in cases)
    assert 0.2 * len(cases) < refused < 0.95 * len(cases)  # both ends are reached


def test_a_reader_that_breaks_is_a_failure(project: Path, tmp_path: Path) -> None:
    """The judgement can fail: a reader that writes a file, one that makes nonsense, one that raises."""
    script = f"""
import sys; sys.path.insert(0, {str(project / "benchmarks")!r})
from dataclasses import replace
from pathlib import Path
import fuzz, fuzz_cases
from neurofm.data import children, readers, reading
from neurofm.data.readers import arrays
def stray(path, **_):
    Path("../stray").write_text("x")
    yield from arrays.read(path)
def nonsense(path, **_):
    for r in arrays.read(path):
        yield replace(r, span=(0.0, 1.0))
def broken(path, **_):
    raise ZeroDivisionError
    yield
def hungry(path, **_):
    held = bytearray(2 << 30)
    yield from arrays.read(path)
def slow(path, **_):
    while True:
        pass
    yield
place = fuzz.Place(Path(sys.argv[1]).resolve() / "root", Path(sys.argv[1]).resolve() / "seeds")
fuzz_cases.make_seeds(place.seeds)
fuzz.LIMIT_S = 1.0
fuzz_cases.ARRAYS["truncate"] = lambda content, rng: content
case = fuzz.Case("arrays", "truncate", 0)
print(fuzz.as_a_user(case, place)["outcome"])
children.BASE_S = 1e-3
print(fuzz.as_a_user(case, place)["outcome"])
for reader in (arrays.read, stray, nonsense, broken, hungry, slow):
    reading.reader_for = lambda path, *_: reader
    print(fuzz.attempt(case, place)["outcome"])
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path], check=True, env=os.environ,
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.splitlines() == [
        "valid",  # through `ingest`, with its limit, and with one that no file keeps
        "refused at the limit",
        "valid",
        "stray file",
        "invalid",
        "unforeseen",
        "refused",
        "hang",
    ]
