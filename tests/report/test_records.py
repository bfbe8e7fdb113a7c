"""Reading a run folder: what is missing is listed, what is damaged is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from neurofm.errors import StoreError
from neurofm.report import records
from neurofm.run import Run


@pytest.fixture
def run(run_folder: Run, tmp_path: Path) -> Run:
    shutil.copytree(run_folder.folder, tmp_path / "run")
    return Run(tmp_path / "run")


def test_a_complete_run_misses_nothing(run_folder):
    r = records.load(run_folder)
    assert r.missing == ()
    assert len(r.windows) == len(r.units) == len(r.manifest.sessions) == 3
    assert r.windows[0].signals["wheel speed"].shape == (250, 2)
    assert r.windows[0].time_s[0] == pytest.approx(1800.01)


def test_everything_but_the_configuration_may_be_missing(empty_run):
    r = records.load(empty_run)
    files = [m.file for m in r.missing]
    assert "data_manifest.json" in files
    assert {m.command for m in r.missing if m.file == "log.jsonl"} == {
        "neurofm pretrain STORE --out RUN"}  # fmt: skip
    assert {m.command for m in r.missing if m.file.startswith(("panels", "results"))} == {
        "neurofm evaluate RUN"}  # fmt: skip


def test_a_torn_panel_is_named_with_the_remedy(run):
    path = run.panels / "window-1.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(StoreError, match=r"window-1.npz.*neurofm evaluate RUN"):
        records.load(run)


@pytest.mark.parametrize("pattern", ["window-0.npz", "units-0.npz", "embeddings.npz"])
def test_an_absent_array_is_named(run, pattern):
    path = run.panels / pattern
    arrays = dict(np.load(path))
    name = sorted(set(arrays) & {"rates", "bps", "unit_xy"})[0]
    del arrays[name]
    np.savez(path, **arrays)
    with pytest.raises(StoreError, match=f"{pattern} has no array '{name}'"):
        records.load(run)


def test_arrays_of_different_lengths_are_refused(run):
    path = run.panels / "window-0.npz"
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"region": arrays["region"][:-1]})
    with pytest.raises(StoreError, match="region has shape"):
        records.load(run)
    np.savez(path, **arrays | {"rates": arrays["rates"][:-1]})
    with pytest.raises(StoreError, match="rates has shape"):
        records.load(run)
    np.savez(path, **arrays | {"bin_s": 0.0})
    with pytest.raises(StoreError, match="bin_s"):
        records.load(run)


def test_pickled_objects_are_never_loaded(run):
    path = run.panels / "units-0.npz"
    arrays = dict(np.load(path)) | {"region": np.array([{}], dtype=object)}
    np.savez(path, **arrays)
    with pytest.raises(StoreError, match=r"units-0.npz is not a readable .npz"):
        records.load(run)


def test_a_wrong_manifest_names_the_field(run):
    run.data_manifest.write_text('{"sessions": [{"id": "a", "n_channels": "many"}]}')
    with pytest.raises(StoreError, match=r"data_manifest.json: sessions.0.n_channels"):
        records.load(run)
    run.data_manifest.write_text("[]")
    with pytest.raises(StoreError, match="must hold an object"):
        records.load(run)


def test_a_session_needs_only_an_id(run):
    run.data_manifest.write_text('{"sessions": [{"id": "a", "step_s": 0.01, "more": 1}]}')
    (session,) = records.load(run).manifest.sessions
    assert (session.step_s, session.licence, session.hours) == ("0.01", None, None)
