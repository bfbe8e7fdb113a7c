"""Every file of `examples/` runs, at toy size, as a user would run it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from neurofm import results

ROOT = Path(__file__).parents[2]
TOY = {
    "quickstart.py": ["--steps", "6", "--minutes", "1", "--units", "15", "--out", "out"],
    "trunk_inside.py": ["--steps", "6", "--minutes", "1", "--out", "out"],
}


def run(name: str, folder: Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(ROOT / "examples" / name), *TOY[name]],
        cwd=folder, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_example_has_a_toy_run() -> None:
    assert sorted(TOY) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", ["quickstart.py"])
def test_the_quickstart_goes_from_nwb_to_a_page(name: str, tmp_path: Path) -> None:
    said = run(name, tmp_path)
    out = tmp_path / "out"
    assert said.splitlines()[-1] == str(Path("out") / "run" / "report.html")
    assert "sim-02_ses-01" in (out / "run" / "report.html").read_text(encoding="utf-8")
    assert "proven: no two sides share a second" in said
    found = results.load(out / "run" / "results.jsonl")
    answered = {(r.task, r.predictor) for r in found}
    predictors = {"model", "mean-rate", "ridge", "planted", "planted-shared"}
    assert answered == {(t, p) for t in ("co-smoothing", "forward") for p in predictors}
    mean = {r.predictor: r.value for r in found
            if (r.task, r.metric, r.recording) == ("co-smoothing", "bps_pooled", "mean")}  # fmt: skip
    assert mean["mean-rate"] < mean["planted-shared"] < mean["planted"]


def test_a_trunk_learns_inside_another_system(tmp_path: Path) -> None:
    said = run("trunk_inside.py", tmp_path).splitlines()
    assert said[-4].startswith("100.0% of the checkpoint is used")
    before, after = (float(re.findall(r"-?\d+\.\d+", said[line])[-1]) for line in (-3, -1))
    assert after > before
    moved, of = (int(word) for word in said[-2].split()[:3:2])
    assert moved == of > 10
    names = {path.name for path in (tmp_path / "out" / "shared").iterdir()}
    assert names == {"README.md", "config.json", "manifest.json", "trunk.safetensors"}
