import json
import sys
from pathlib import Path

import pytest
import yaml

from neurofm import files
from neurofm.errors import InputError, StoreError
from neurofm.run import Run, environment, new_run, open_run


def test_a_run_describes_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["neurofm", "pretrain", "a folder"])
    run = new_run(tmp_path / "run")
    run.describe("steps: 3\n", {"sessions": ["m1"]})
    assert yaml.safe_load(run.config.read_text()) == {"steps": 3}
    assert (run.folder / "command.txt").read_text() == "neurofm pretrain 'a folder'\n"
    assert json.loads(run.data_manifest.read_text()) == {"sessions": ["m1"]}
    versions = json.loads((run.folder / "environment.json").read_text())["packages"]
    assert versions["numpy"]
    assert open_run(run.folder) == run


def test_every_path_of_a_run_lies_in_its_folder() -> None:
    run = Run(Path("run"))
    paths = [value for name in dir(Run) if isinstance(value := getattr(run, name), Path)]
    inside = [path for path in paths if path != run.folder]
    assert len(inside) == len(set(inside)) >= 8
    assert all(path.parent == run.folder for path in inside)


def test_a_run_needs_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert new_run(tmp_path / "empty").folder == tmp_path / "empty"
    (tmp_path / "empty" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    for taken in ("empty", "file"):
        with pytest.raises(InputError, match="not empty; choose another --out"):
            new_run(tmp_path / taken)
    assert (tmp_path / "empty" / "notes.txt").read_text() == "mine"


def test_a_folder_without_a_config_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not a run"):
        open_run(tmp_path)


def test_the_log_survives_a_kill_and_a_resume(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    assert run.log_rows() == []
    for step in (1, 2):
        run.log_line({"step": step, "loss": float(step)})
    run.log.write_bytes(run.log.read_bytes()[:-5])  # killed while it wrote step 2
    run.log_line({"event": "valid", "step": 2, "loss": 9.0})
    run.log_line({"step": 2, "loss": 2.5})  # the resumed run writes step 2 again
    run.log_line({"step": 2, "loss": 2.6})
    assert run.log_rows() == [
        {"step": 1, "loss": 1.0},
        {"event": "valid", "step": 2, "loss": 9.0},
        {"step": 2, "loss": 2.6},
    ]


def test_the_environment_is_json_and_says_what_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurofm.run.PACKAGES", ("numpy", "no-such-package"))
    found = json.loads(json.dumps(environment()))
    assert found["packages"]["no-such-package"] is None
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))


def test_a_run_that_was_killed_before_its_config_can_be_begun_anew(tmp_path):
    run = new_run(tmp_path / "run")
    for name in ("splits.json", "command.txt", "data_manifest.json", ".config.yaml.tmp-0a1b"):
        (run.folder / name).write_text("{}")
    assert new_run(run.folder).folder == run.folder
    run.describe("seed: 0\n", {})
    with pytest.raises(InputError, match="is not empty"):
        new_run(run.folder)


def test_the_config_is_written_last(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(files, "write_text", lambda path, _: written.append(path.name))
    new_run(tmp_path / "run").describe("", {})
    assert written[-1] == "config.yaml"
    assert len(written) == 4
