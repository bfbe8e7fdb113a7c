"""`neurofm adapt` from run to run: scores on the same minutes, resumable, a run that goes on."""

from dataclasses import replace
from shutil import copytree

import numpy as np
import pytest

from neurofm import results as records
from neurofm.adapting import Ways, adapt_run, parse_hows
from neurofm.data.recording import Recording
from neurofm.data.splits import split_by_time
from neurofm.data.store import create_store
from neurofm.errors import ConfigError, InputError, StoreError
from neurofm.files import read_json, write_json
from neurofm.pipeline import amounts, data_manifest, pretrain_store
from neurofm.report.minutes import minutes_of, minutes_table, over_minutes, split_name
from neurofm.results import Result
from neurofm.scoring import evaluate_run

TOY = ["bin_s=0.02", "steps=3", "windows=4", "valid_batches=1", "precision=fp32",
       "window_bins=30", "model.rows=inductive", "model.kernel=3",
       "model.backbone={width: 16, layers: 1, heads: 2, mlp: 16}"]  # fmt: skip
SHORT = ["steps=2", "validate_every=2", "valid_batches=1", "windows=4"]
WAYS = Ways("zero-shot,rows", "0.2,all", "co-smoothing", "mean-rate")


@pytest.fixture(scope="module")
def stores(sessions, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapting")
    for name, some in {"known": sessions[:1], "new": sessions[1:]}.items():
        store = create_store(folder / name)
        for recording in some:
            store.write(recording)
    pretrain_store(folder / "known", folder / "run", settings=TOY, device="cpu")
    return folder


def test_adapts_scores_resumes_and_goes_on(stores):
    ask = {"settings": SHORT, "device": "cpu"}
    places = (str(stores / name) for name in ("run", "new", "run2"))  # may be strings
    first = adapt_run(*places, WAYS, **ask)
    assert {(r.predictor, r.split) for r in first} == {
        (p, s) for p in ("model:zero-shot", "model:rows", "mean-rate")
        for s in ("test|0.2min", "test|all")
    }  # fmt: skip
    assert all(np.isfinite(r.value) for r in first)
    gains = [r for r in first if r.metric == "bps_pooled_gain" and r.recording == "mean"]
    assert {r.null for r in gains} == {"model:zero-shot", "mean-rate"}
    said: list[str] = []
    told: list[str] = []
    again = adapt_run(stores / "run", stores / "new", stores / "run2", WAYS, resume=True,
                      tick=said.append, say=told.append, **ask)  # fmt: skip
    [one, other] = [t for t in told if "was the best on validation" in t]
    assert one.startswith("rows: step ")
    assert other.startswith("rows: step ")  # after 0.2 minutes, and after all
    assert list(map(repr, again)) == list(map(repr, first))
    assert not said  # nothing was trained or scored again
    assert len(records.load(stores / "run2" / "adapting.jsonl")) == 2 * len(first)
    assert (stores / "run2" / "adapting.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(ConfigError, match=r"made from another adapt \(adapting\.yaml\)"):
        adapt_run(stores / "run", stores / "new", stores / "run2", WAYS, resume=True,
                  settings=["steps=3"], device="cpu")  # fmt: skip
    here = evaluate_run(stores / "run2", tasks="co-smoothing", baselines="none", device="cpu")
    assert {r.recording for r in here} == {"b-1", "a-2", "mean"}
    with pytest.raises(StoreError, match="no recording"):
        evaluate_run(stores / "run", store=stores / "new", tasks="co-smoothing", device="cpu")


def test_a_recording_of_another_montage_is_refused(stores, monkeypatch):
    """The run says what it was trained on; EEG at another rate is refused before any training."""

    def eeg(name, bin_s):
        values = np.random.default_rng(0).normal(size=(6000, 2)).astype(np.float32)
        made = Recording.from_arrays(
            name, traces=values, bin_s=bin_s, channel_id=["eeg/Fz", "eeg/Cz"]
        )
        said = {"type": np.full(2, "eeg"), "unit": np.full(2, "uV")}
        return replace(made, channels=replace(made.channels, quality=said))

    copytree(stores / "run", stores / "eeg-run")
    store = create_store(stores / "eeg-store")
    store.write(eeg("old", 0.01))
    manifest = read_json(stores / "eeg-run" / "data_manifest.json")
    manifest["sessions"] = data_manifest(store, split_by_time(store.recordings()))["sessions"]
    write_json(stores / "eeg-run" / "data_manifest.json", manifest)
    new = eeg("new", 0.005)
    monkeypatch.setattr("neurofm.adapting.recordings_of_one_kind", lambda *_: [new])
    with pytest.raises(
        InputError, match="new has 200 samples a second and the model was trained on 100"
    ):
        adapt_run(stores / "eeg-run", stores / "new", stores / "run3", WAYS, device="cpu")


def test_ways():
    assert parse_hows("all") == ["all"]
    assert parse_hows("rows, scratch") == ["rows", "scratch"]
    for wrong in ("", "none", "rows,lora"):
        with pytest.raises(ConfigError, match="zero-shot, rows, last, all, scratch"):
            parse_hows(wrong)


def test_minutes():
    assert amounts("all, 5,1", "--minutes") == [1.0, 5.0, None]
    assert [minutes_of(split_name(m)) for m in (0.5, None)] == [0.5, None]
    for wrong in ("0", "-1", "two", "nan", ""):
        with pytest.raises(ConfigError, match="above 0"):
            amounts(wrong, "--minutes")


def test_table_over_minutes():
    def result(predictor, split, recording, value):
        return Result(predictor, "forward", recording, split, "bps_pooled", value, value - 0.1,
                      value + 0.1, 5, "null", 0)  # fmt: skip

    rows = [result("model:rows", s, r, v) for s, r, v in (
        ("test|all", "a", 0.3), ("test|all", "mean", 0.2), ("test|2min", "a", 0.1),
        ("test|10min", "a", 0.15))]  # fmt: skip
    [(task, grid)] = over_minutes([*rows, result("model", "test", "a", 9.0)])
    assert task == "forward"
    assert grid.header[1:] == ("2min", "10min", "all")
    assert grid.rows == (("model:rows", "0.100 [0.000, 0.200]", "0.150 [0.050, 0.250]",
                          "0.200 [0.100, 0.300]"),)  # fmt: skip
    assert "0.150 [0.050, 0.250]" in minutes_table(rows)
