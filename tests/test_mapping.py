"""Anatomy of a run: results, the part of the page, the place for other embeddings."""

import json
from pathlib import Path

import numpy as np
import pytest

from neurofm import Recording
from neurofm import results as records
from neurofm.cli import main
from neurofm.data.readers.arrays import write_arrays
from neurofm.errors import InputError
from neurofm.mapping import map_run
from neurofm.seeding import generator

TOY = ["steps=2", "validate_every=2", "valid_batches=1", "windows=4", "window_bins=40",
       "model.backbone.width=16", "model.backbone.layers=1", "model.backbone.heads=2",
       "model.backbone.mlp=16", "model.kernel=3"]  # fmt: skip
SETTINGS = [word for setting in TOY for word in ("--set", setting)]
N_UNITS = 14


def neurofm(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


def recording(name: str, subject: str) -> Recording:
    """Units of CA1 fire four times as much as those of VISp."""
    rng = generator(0, "mapping", name)
    region = np.array(["CA1", "VISp"] * (N_UNITS // 2))
    counts = rng.poisson(np.where(region == "CA1", 0.4, 0.1), (3000, N_UNITS))
    return Recording.from_arrays(
        name, counts=counts.astype(np.uint8), bin_s=0.02, subject=subject, channel_region=region,
        channel_id=[f"{subject}/{i}" for i in range(N_UNITS)],
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    folder = tmp_path_factory.mktemp("anatomy")
    (folder / "files").mkdir()
    for name, subject in (("a-1", "a"), ("a-2", "a"), ("b-1", "b"), ("c-1", "c")):
        write_arrays(recording(name, subject), folder / "files" / f"{name}.npz")
    assert neurofm("ingest", folder / "files", "--out", folder / "store") == 0
    assert neurofm("pretrain", folder / "store", "--out", folder / "run", *SETTINGS) == 0
    return folder / "run"


def test_regions_are_told_from_rows_and_from_what_is_simpler(run: Path, capsys) -> None:
    capsys.readouterr()
    assert neurofm("anatomy", run, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    found = {(r["task"], r["predictor"]): r for r in rows if r["metric"] == "macro_f1"}
    assert set(found) == {
        *(("anatomy", name) for name in
          ("model", "unit-features", "rate", "isi-histogram", "autocorrelation")),
        ("anatomy:rows", "read-in"), ("anatomy:rows", "read-out"),
    }  # fmt: skip
    rate = found["anatomy", "rate"]
    assert rate["value"] == 1.0  # planted
    assert rate["n"] == 3 * N_UNITS  # the unit of two days counts once
    assert rate["chance"] < 0.75
    gains = {r["null"] for r in rows if r["metric"] == "macro_f1_gain"}
    assert gains == {"unit-features", "rate", "isi-histogram", "autocorrelation"}
    assert len(records.load(run / "results.jsonl")) >= len(rows)
    assert neurofm("report", run) == 0
    assert "Regions of units" in (run / "report.html").read_text()


def test_other_embeddings_of_units_are_scored_beside_the_rows(run: Path) -> None:
    known = {
        name: np.tile(np.array([[1.0], [0.0]], dtype=np.float32), (N_UNITS // 2, 1))
        for name in ("a-1", "a-2", "b-1", "c-1")
    }
    found = {r.predictor: r for r in map_run(run, embeddings=known) if r.task == "anatomy:rows"}
    assert found["inductive"].value == 1.0
    with pytest.raises(InputError, match="one row a channel"):
        map_run(run, embeddings={"a-1": np.zeros((3, 1), dtype=np.float32)})


def test_computed_rows_are_told_from_without_any_region(run: Path, tmp_path: Path) -> None:
    """The encoder's output stands for the model and is told from by itself; no flag has to be set."""
    computed = tmp_path / "run"
    more = ("--set", "model.rows=inductive")
    assert neurofm("pretrain", run.parent / "store", "--out", computed, *SETTINGS, *more) == 0
    found = {(r.task, r.predictor): r for r in map_run(computed) if r.metric == "macro_f1"}
    own = {name for task, name in found if task == "anatomy:rows"}
    assert own == {"read-in", "read-out", "inductive"}
    model, embedding = found["anatomy", "model"], found["anatomy:rows", "inductive"]
    assert (model.value, model.low) == (embedding.value, embedding.low)
    assert found["anatomy", "unit-features"].n == model.n
