"""`neurofm decode` as a user calls it, on a toy run."""

import json

import numpy as np
import pytest

from neurofm.cli import main
from neurofm.data.intervals import Intervals, first_minutes

TOY = ["steps=4", "validate_every=4", "valid_batches=1", "windows=4", "window_bins=40",
       "precision=fp32", "model.backbone.width=16", "model.backbone.layers=1",
       "model.backbone.heads=2", "model.backbone.mlp=16", "model.kernel=3"]  # fmt: skip
BRIEF = ["--set", "steps=4", "--set", "windows=4", "--set", "probe_batches=8"]


def neurofm(*words) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.fixture(scope="module")
def run(sessions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("decode")
    rng = np.random.default_rng(0)
    for name, session in (("one", sessions[0]), ("two", sessions[1])):
        counts = np.tile(session.activity.values[:], (4, 1))
        smooth = np.stack([np.convolve(c, np.ones(25), "same") for c in counts[:, :3].T], axis=1)
        start = np.arange(0.1, 119, 0.6)
        np.savez(folder / f"{name}.npz", counts=counts, bin_s=0.02, signal_arm=smooth,
                 trial_start_s=start, trial_stop_s=start + 0.3,
                 trial_choice=rng.choice(["left", "right"], len(start)))  # fmt: skip
    assert neurofm("ingest", folder, "--out", folder / "store") == 0
    settings = [word for setting in TOY for word in ("--set", setting)]
    assert neurofm("pretrain", folder / "store", "--out", folder / "run", *settings) == 0
    return folder / "run"


def rows(capsys, *words):
    capsys.readouterr()
    assert neurofm("decode", *words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_signals_and_labels_of_every_method_with_both_nulls(run, capsys):
    methods = "model,probe,scratch,ridge,logistic"
    found = rows(capsys, run, "--targets", "arm,choice", "--methods", methods, *BRIEF)
    heads = {
        (r["task"], r["predictor"])
        for r in found
        if r["metric"] in ("r2_flattened", "balanced_accuracy")
    }
    ours = {"model", "probe", "scratch"}
    assert heads == {("decode:arm", m) for m in ours | {"ridge"}} | {
        ("decode:choice", m) for m in ours | {"logistic"}
    }
    by = {(r["task"], r["predictor"], r["recording"], r["metric"], r["null"]): r for r in found}
    ridge = by["decode:arm", "ridge", "one", "r2_flattened", "test mean"]
    assert ridge["value"] > 0.9 > ridge["chance"]
    for recording in ("one", "two"):
        for null in ("shift", "pseudo-session"):
            chance = by["decode:arm", "ridge", recording, "r2_flattened_chance", null]
            assert chance["low"] <= chance["value"] <= chance["high"] < ridge["value"]
            label = by["decode:choice", "logistic", recording, "balanced_accuracy_chance", null]
            assert 0.4 < label["value"] < 0.6  # the labels are random
    gain = by["decode:arm", "model", "mean", "r2_flattened_gain", "ridge"]
    assert gain["value"] == pytest.approx(
        by["decode:arm", "model", "mean", "r2_flattened", "test mean"]["value"]
        - by["decode:arm", "ridge", "mean", "r2_flattened", "test mean"]["value"]
    )
    assert {f"r2_of_axis_{k}" for k in range(3)} | {"r2_per_trial"} <= {r["metric"] for r in found}
    kept = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    assert kept[-len(found) :] == found


def test_minutes_limit_what_is_trained_on_and_are_said(run, capsys):
    found = rows(capsys, run, "--targets", "arm", "--methods", "ridge", "--minutes", "0.2")
    assert {r["task"] for r in found} == {"decode:arm@0.2min"}
    side = Intervals.of([(0.0, 40.0), (50.0, 100.0)])
    assert first_minutes(side, 1.0).pairs.tolist() == [[0, 40], [50, 70]]
    assert len(first_minutes(side, 0)) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [(("--targets", "leg"), "there is no target 'leg'; there are arm, choice"),
     (("--methods", "magic"), "there is no method 'magic'"),
     (("--set", "trains=everything"), "trains = 'everything'")],
)  # fmt: skip
def test_bad_names_are_one_sentence(run, capsys, words, sentence):
    assert neurofm("decode", run, *words) == 2
    assert sentence in capsys.readouterr().err


def test_the_page_shows_what_was_decoded(run):
    assert neurofm("decode", run, "--targets", "arm", "--methods", "probe,ridge") == 0
    assert neurofm("report", run) == 0
    assert "decode:arm" in (run / "report.html").read_text()
