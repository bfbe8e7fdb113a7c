"""The commands as a user calls them, from arrays on disk to the page."""

import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

from neurofm import Recording
from neurofm.cli import main
from neurofm.data.readers.arrays import write_arrays

TOY = ["steps=20", "validate_every=10", "valid_batches=1", "windows=8", "window_bins=40",
       "model.backbone.width=16", "model.backbone.layers=1", "model.backbone.heads=2",
       "model.backbone.mlp=16", "model.kernel=3"]  # fmt: skip
SETTINGS = [word for setting in TOY for word in ("--set", setting)]


def neurofm(*words) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.fixture(scope="module")
def place(sessions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lab")
    (folder / "files").mkdir()
    for r in sessions:
        longer = Recording.from_arrays(
            r.id, counts=np.tile(r.activity.values[:], (6, 1)), bin_s=0.02, subject=r.subject,
            channel_id=r.channels.id, channel_region=r.channels.region,
        )  # fmt: skip
        write_arrays(longer, folder / "files" / f"{r.id}.npz")
    assert neurofm("ingest", folder / "files", "--out", folder / "store") == 0
    assert neurofm("pretrain", folder / "store", "--out", folder / "run", *SETTINGS) == 0
    return folder


@pytest.fixture(scope="module")
def evaluated(place):
    command = [sys.executable, "-m", "neurofm", "evaluate", "run", "--json",
               "--baselines", "mean-rate,ridge", "--tasks", "co-smoothing,forward,inter-region"]  # fmt: skip
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_run_is_self_contained(place):
    names = {path.name for path in (place / "run").iterdir()}
    assert names >= {"config.yaml", "command.txt", "environment.json", "data_manifest.json",
                     "log.jsonl", "checkpoints", "splits.json"}  # fmt: skip
    config = yaml.safe_load((place / "run" / "config.yaml").read_text())
    assert config["bin_s"] == 0.02  # resolved, not null
    assert config["steps"] == 20
    manifest = json.loads((place / "run" / "data_manifest.json").read_text())
    assert [s["id"] for s in manifest["sessions"]] == ["a-1", "a-2", "b-1"]
    assert "proven" in manifest["splits"]


def test_inspect_says_what_is_there(place, capsys):
    assert neurofm("inspect", place / "store") == 0
    out = capsys.readouterr().out
    assert "a-1" in out
    assert "CA1" in out
    assert neurofm("inspect", place / "store", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {r["n_channels"] for r in rows} == {12, 9}


def test_ingesting_again_changes_nothing(place, capsys):
    before = sorted(p.stat().st_mtime_ns for p in (place / "store").rglob("*.npy"))
    assert neurofm("ingest", place / "files", "--out", place / "store") == 0
    assert "3 already there" in capsys.readouterr().out
    assert before == sorted(p.stat().st_mtime_ns for p in (place / "store").rglob("*.npy"))


def test_evaluation_is_one_array_of_flat_results(place, evaluated):
    fields = {"predictor", "task", "recording", "split", "metric", "value", "low", "high", "n",
              "null", "seed"}  # fmt: skip
    assert all(fields <= set(row) for row in evaluated)
    assert {r["predictor"] for r in evaluated} == {"model", "mean-rate", "ridge"}
    assert {r["metric"] for r in evaluated} >= {
        "bps_pooled",
        "bps_per_unit",
        "d2",
        "bps_pooled_gain",
    }
    assert {r["recording"] for r in evaluated} == {"a-1", "a-2", "b-1", "mean"}
    for row in evaluated:
        if row["metric"] == "bps_pooled" and row["recording"] != "mean":
            assert row["low"] <= row["value"] <= row["high"]
    lines = (place / "run" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines[: len(evaluated)]] == evaluated


def test_an_evaluation_is_not_done_twice(place, evaluated, monkeypatch, capsys):
    from neurofm import scoring

    def never(*_, **__):
        raise AssertionError("scored again")

    monkeypatch.setattr(scoring, "score", never)
    assert (
        neurofm("evaluate", place / "run", "--tasks", "co-smoothing", "--baselines", "ridge") == 0
    )
    assert "ridge" in capsys.readouterr().out


def test_the_page_is_written(place, evaluated, capsys):
    assert neurofm("report", place / "run") == 0
    page = place / "run" / "report.html"
    assert capsys.readouterr().out.strip() == str(page)
    text = page.read_text()
    assert text.count("data:image/png") >= 4
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_probes(place, sessions, capsys, tmp_path):
    rng = np.random.default_rng(0)
    counts = np.tile(sessions[0].activity.values[:], (4, 1))
    arm = counts[:, :3].astype(np.float32).cumsum(axis=0) % 7
    start = np.arange(0.1, 119, 0.5)
    np.savez(tmp_path / "b.npz", counts=counts, bin_s=0.02, signal_arm=arm, trial_start_s=start,
             trial_stop_s=start + 0.2, trial_choice=rng.integers(0, 2, len(start)))  # fmt: skip
    assert neurofm("ingest", tmp_path / "b.npz", "--out", tmp_path / "s") == 0
    assert neurofm("pretrain", tmp_path / "s", "--out", tmp_path / "r", *SETTINGS) == 0
    capsys.readouterr()
    assert neurofm("evaluate", tmp_path / "r", "--tasks", "probes", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(r["predictor"], r["task"]) for r in rows} == {
        (p, t) for p in ("latents", "smoothed-counts") for t in ("probe:arm", "probe:choice")
    }
    choice = [r for r in rows if r["task"] == "probe:choice"]
    assert all(r["metric"] == "balanced_accuracy" and 0.3 < r["chance"] < 0.7 for r in choice)
    assert all(r["low"] < 0.6 for r in choice)  # the labels are random


def test_resume_goes_on_and_refuses_another_configuration(place, capsys):
    assert neurofm("pretrain", place / "store", "--out", place / "run", *SETTINGS) == 2
    assert "not empty" in capsys.readouterr().err
    assert neurofm("pretrain", place / "store", "--out", place / "run", "--resume") == 0
    words = ("--resume", "--set", "steps=30")
    assert neurofm("pretrain", place / "store", "--out", place / "run", *words) == 2
    assert "another configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("inspect", "nowhere"), "nowhere is not a store"),
        (("report", "nowhere"), "nowhere is not a run"),
        (("ingest", "nowhere.npz", "--out", "s"), "nowhere.npz"),
        (("pretrain", "{store}", "--out", "r", "--set", "stepz=3"), "did you mean steps?"),
        (
            ("pretrain", "{store}", "--out", "r", "--set", "model.backbone.widht=3"),
            "model.backbone.width",
        ),
        (
            ("pretrain", "{store}", "--out", "r", "--config", "huge"),
            "neither a file nor a recipe (base, ",
        ),
        (("pretrain", "{store}", "--out", "r", "--device", "tpu"), "--device tpu"),
        (("pretrain", "{store}", "--out", "r", "--splits", "none.json"), "none.json"),
        (("evaluate", "{run}", "--tasks", "guess"), "there is no task 'guess'"),
        (("evaluate", "{run}", "--baselines", "guess"), "there is no baseline 'guess'"),
        (("evaluate", "{run}", "--store", "gone"), "gone is not a store"),
        (("nonsense",), "nonsense"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    place, tmp_path, monkeypatch, capsys, words, sentence
):
    monkeypatch.chdir(tmp_path)
    real = {"{store}": place / "store", "{run}": place / "run"}
    capsys.readouterr()
    assert neurofm(*[real.get(word, word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert sentence in out + err
    assert "Traceback" not in err
    assert not (tmp_path / "r").exists()


def test_traces_are_trained_on_alone_and_left_out_beside_spikes(place, tmp_path, sessions, capsys):
    traces = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    np.savez(tmp_path / "calcium.npz", traces=traces, bin_s=0.1)
    write_arrays(sessions[0], tmp_path / "spikes.npz")
    assert neurofm("ingest", tmp_path / "calcium.npz", "--out", tmp_path / "s") == 0
    words = ("pretrain", tmp_path / "s", "--out", tmp_path / "r", *SETTINGS)
    alone = ("pretrain", tmp_path / "s", "--out", tmp_path / "t", *SETTINGS)
    assert neurofm(*alone) == 0
    assert yaml.safe_load((tmp_path / "t" / "config.yaml").read_text())["bin_s"] == 0.1
    assert neurofm("decode", tmp_path / "t", "--device", "cpu") == 2
    assert "evaluate with --tasks decoding" in capsys.readouterr().err
    assert neurofm("ingest", tmp_path / "spikes.npz", "--out", tmp_path / "s") == 0
    assert neurofm(*words) == 0
    assert "left out: calcium holds traces" in capsys.readouterr().err
    config = yaml.safe_load((tmp_path / "r" / "config.yaml").read_text())
    assert config["bin_s"] == 0.02


def test_splits_that_share_a_second_are_refused(place, tmp_path, capsys):
    tree = json.loads((place / "run" / "splits.json").read_text())
    tree["recordings"]["a-1"]["test"] = tree["recordings"]["a-1"]["train"]
    (tmp_path / "leak.json").write_text(json.dumps(tree))
    words = (
        "pretrain",
        place / "store",
        "--out",
        tmp_path / "r",
        "--splits",
        tmp_path / "leak.json",
    )
    assert neurofm(*words) == 3
    assert "a-1" in capsys.readouterr().err


def test_doctor(capsys):
    assert neurofm("doctor") == 0
    assert "torch" in capsys.readouterr().out
