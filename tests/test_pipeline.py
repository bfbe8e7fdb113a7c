"""The stages behind the commands."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurofm import NeurofmError, Recording, pipeline, planning, results, scoring
from neurofm.commands import main_path
from neurofm.commands.plan import plan
from neurofm.data.export import write_torch_brain
from neurofm.data.ingest import ingest
from neurofm.data.quality import PoseConfig, QualityConfig
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.splits import load, split_by_time
from neurofm.data.store import create_store
from neurofm.sharing import from_pretrained, share_run
from neurofm.verifying import verify


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        (main_path.pretrain, pipeline.pretrain_store),
        (main_path.evaluate, scoring.evaluate_run),
        (plan, planning.plan_store),
    ],
)
def test_a_stage_has_the_defaults_of_its_command(
    command: Callable[..., Any], stage: Callable[..., Any]
) -> None:
    asked, taken = defaults(command), defaults(stage)
    shared = set(asked) & set(taken)
    assert {"device", "splits_file"} <= shared
    assert {k: asked[k] or None for k in shared} == {k: taken[k] or None for k in shared}


def test_a_stage_takes_its_defaults_and_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NeurofmError, match="is not a store"):
        pipeline.pretrain_store(tmp_path / "none", tmp_path / "run")
    with pytest.raises(NeurofmError, match="is not a run"):
        scoring.evaluate_run(tmp_path / "none")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (75, "1:15"), (3_700, "1:01:40"), (-1, "0:00")]
)
def test_time_to_go_is_said_in_minutes(seconds: float, text: str) -> None:
    assert pipeline.clock(seconds) == text


def test_what_cannot_be_trained_leaves_no_run(sessions: list[Recording], tmp_path: Path) -> None:
    store = create_store(tmp_path / "store")
    store.write(sessions[0])
    for setting, said in (("channels.signals=[whel]", "no recording has a signal 'whel'"),
                          ("bin_s=0.03", "not a whole multiple of the data's own step")):  # fmt: skip
        with pytest.raises(NeurofmError, match=said):
            pipeline.pretrain_store(store.folder, tmp_path / "run", settings=[setting])
        assert not (tmp_path / "run").exists()


def test_a_recording_of_behaviour_alone_is_asked_about_its_future(tmp_path: Path) -> None:
    turn = np.arange(800) / 9.0
    at = np.column_stack([np.arange(800), 50 + 40 * np.cos(turn), 50 + 40 * np.sin(turn)])
    head = "scorer,n,n,n\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n"
    text = "".join(f"{i:.0f},{x:.3f},{y:.3f},0.9\n" for i, x, y in at)
    (tmp_path / "mouse.csv").write_text(head + text)
    quality = QualityConfig(pose=PoseConfig(frame_hz=25))
    ingest([tmp_path / "mouse.csv"], tmp_path / "store", quality, n_jobs=1)
    toy = ["steps=2", "windows=2", "window_bins=25", "model.backbone.width=8", "precision=fp32"]
    with pytest.raises(NeurofmError, match=r"mouse holds behaviour and no activity.*behaviour=1"):
        pipeline.pretrain_store(tmp_path / "store", tmp_path / "run", settings=toy, device="cpu")
    assert not (tmp_path / "run").exists()
    pipeline.pretrain_store(tmp_path / "store", tmp_path / "run", config_file="tiny", device="cpu",
                            settings=[*toy, "masks.behaviour=1"])  # fmt: skip
    said: list[str] = []
    found = scoring.evaluate_run(tmp_path / "run", tasks="co-smoothing,encoding,behaviour",
                                 baselines="mean-rate,ridge", device="cpu", say=said.append)  # fmt: skip
    assert {r.task for r in found} == {"behaviour"}
    r2 = {r.predictor: r.value for r in found if r.metric == "r2_per_channel"}
    assert set(r2) == {"model", "mean-rate", "ridge"}
    assert r2["ridge"] > 0.95
    assert any("co-smoothing is about activity, and it has none" in line for line in said)
    assert any("encoding needs channels of stimulus or behaviour beside" in line for line in said)


def test_places_may_be_strings(sessions: list[Recording], tmp_path: Path) -> None:
    def at(name: str) -> str:
        return str(tmp_path / name)

    for recording in sessions[:2]:
        write_arrays(recording, at(f"{recording.id}.npz"))
    write_torch_brain(sessions[0], at("a.h5"))
    ingest([at(f"{r.id}.npz") for r in sessions[:2]], at("store"))
    split_by_time(sessions[:2]).save(at("splits.json"))
    assert load(at("splits.json")).prove() >= 1 - 1e-6
    toy = ["steps=1", "windows=2", "window_bins=20", "model.backbone.width=8", "precision=fp32"]
    wanted = {"config_file": "tiny", "settings": toy, "splits_file": at("splits.json")}
    pipeline.pretrain_store(at("store"), at("run"), **wanted, device="cpu")
    assert not verify(at("run")).broken
    found = scoring.evaluate_run(at("run"), tasks="co-smoothing", baselines="mean-rate",
                                 store=at("store"), splits_file=at("splits.json"))  # fmt: skip
    assert {r.metric for r in found} == {r.metric for r in results.load(at("run/results.jsonl"))}
    assert share_run(at("run"), at("shared")).is_dir()
    assert from_pretrained(at("shared")).used.trunk == 1.0
