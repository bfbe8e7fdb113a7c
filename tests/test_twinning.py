"""`neurofm twin`: what was planted in what the models learned from is found, and mistakes get one sentence."""

import json
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurofm import Recording, twinning
from neurofm import results as records
from neurofm.cli import main
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.recording import Table
from neurofm.errors import ConfigError, InputError
from neurofm.experiments import Twin, TwinConfig
from neurofm.experiments_told import tune
from neurofm.pipeline import silent
from neurofm.results import Result
from neurofm.scoring import Evaluation, open_evaluation
from neurofm.twinning import Wanted, refuse_unlike, twin_runs

BIN_S, N, TRIAL = 0.05, 1600, 10
LEVELS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
TOY = ["channels.signals=[contrast,wheel]", "channels.stimulus=[contrast]", "steps=30",
       "validate_every=30", "windows=12", "window_bins=20", "valid_batches=1", "precision=fp32",
       "model.backbone.width=16", "model.backbone.layers=1", "model.backbone.heads=2",
       "model.backbone.mlp=16", "model.kernel=1", "masks.units=0.2", "masks.intra_region=0",
       "masks.inter_region=0", "masks.future=0", "masks.bins=0", "masks.across=0", "masks.decode=0.2",
       "masks.encode=0.6", "masks.encode_fewer=0.5", "optim.rate=6e-3", "optim.warmup=3",
       "optim.average=0.9"]  # fmt: skip
CPU = ["--device", "cpu"]
FEW = ["steps=15", "baselines=mean-rate,ridge"]
MEAN = "model, mean of 2"


def neurofm(*words: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return int(stop.value.code or 0)


def mouse() -> Recording:
    """Units 0 to 3 (A) rise with the contrast of a trial, 4 and 5 (A) fall, 6 and 7 (B) and the wheel know nothing."""
    rng = np.random.default_rng(0)
    start = np.arange(0, N, TRIAL) * BIN_S
    level = rng.integers(0, len(LEVELS), len(start))
    trace = np.repeat(LEVELS[level], TRIAL)
    gain = np.array([1.5] * 4 + [-1.5] * 2 + [0.0] * 2)
    counts = rng.poisson(1.2 * np.exp((trace[:, None] - 0.5) * gain))
    return Recording.from_arrays(
        "mouse-1", counts=counts.astype(np.uint8), bin_s=BIN_S, channel_region=["A"] * 6 + ["B"] * 2,
        channel_id=[f"u{i}" for i in range(8)],
        valid=[(0.0, 40.0), (40.5, N * BIN_S)],
        signals={"contrast": trace.astype(np.float32), "wheel": rng.normal(size=N).astype(np.float32)},
        trials={"start_s": start, "stop_s": start + TRIAL * BIN_S, "level": LEVELS[level],
                "name": unrelated(level)},
    )  # fmt: skip


def unrelated(level: np.ndarray) -> np.ndarray:
    """Labels that take turns within each level, so that trials of one label are of all levels alike."""
    out = np.empty(len(level), dtype="U1")
    for one in np.unique(level):
        out[level == one] = np.resize(list("abc"), (level == one).sum())
    return out


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin")
    (folder / "files").mkdir()
    write_arrays(mouse(), folder / "files" / "mouse-1.npz")
    assert neurofm("ingest", folder / "files", "--out", folder / "store") == 0
    for seed in (0, 1):
        words = [w for one in (*TOY, f"seed={seed}") for w in ("--set", one)]
        assert (
            neurofm("pretrain", folder / "store", "--out", folder / f"run-{seed}", *words, *CPU)
            == 0
        )
    return folder


@pytest.fixture(scope="module")
def asked(lab: Path) -> list[Result]:
    wanted = Wanted(
        tune=("contrast=0:1:5",), excite="u0,u4", lesion=("A", "B", "contrast"), repeats="level"
    )
    return twin_runs(
        [lab / "run-0", lab / "run-1"], lab / "out", wanted, settings=FEW, device="cpu"
    ).results


def arrays(lab: Path, start: str) -> dict[str, np.ndarray]:
    [found] = (lab / "out" / "mouse-1").glob(f"{start}*/arrays.npz")
    with np.load(found) as held:
        return dict(held)


def value(found: list[Result], task: str, metric: str, predictor: str = MEAN, null: str = "") -> float:  # fmt: skip
    [one] = [
        r
        for r in found
        if (r.task, r.metric, r.predictor, r.null) == (task, metric, predictor, null)
    ]
    return one.value


def test_tuning_is_what_was_planted_and_what_was_recorded(lab: Path, asked: list[Result]) -> None:
    held = arrays(lab, "tune-contrast")
    slope = np.log(
        held["rates"][:, -1] / held["rates"][:, 0]
    )  # 1.5 planted; a short training tells less
    assert held["rates"].shape == (2, 5, 8)
    assert (slope[:, :4] > 0.8).all()
    assert (slope[:, 4:6] < -0.8).all()
    assert (np.abs(slope[:, 6:]) < 0.4).all()
    np.testing.assert_allclose(
        held["recorded"][:, 0], 1.2 * np.exp((LEVELS - 0.5) * 1.5), rtol=0.35
    )
    of_one = [r for r in asked if r.task == "tuning: contrast" and r.predictor == "model"]
    assert {(r.seed, r.unit_of_n) for r in of_one} == {(0, "units"), (1, "units")}
    assert {r.split for r in of_one} == {"test, held for 1 s"}
    assert value(asked, "tuning: contrast", "pearson_with_recorded") > 0.5
    assert (
        value(asked, "tuning: contrast", "pearson_with_recorded", "recorded, training side") > 0.5
    )
    [over] = [r for r in asked if r.metric == "modulation" and r.predictor == MEAN]
    a, b = (r.value for r in of_one if r.metric == "modulation")
    assert over.value == pytest.approx((a + b) / 2)
    assert over.high - over.value == pytest.approx(
        12.706 * abs(a - b) / 2, rel=1e-3
    )  # Student's t, 1 degree
    assert (over.n, over.unit_of_n) == (2, "models")


def test_what_excites_a_unit_is_contrast_up_or_down(lab: Path, asked: list[Result]) -> None:
    held = arrays(lab, "excite")
    assert held["over"].tolist() == ["contrast", "wheel"]
    for number, sign in ((0, 1), (1, -1)):
        at_told = held[f"course_{number}"][:, 10, 0] - 0.5
        assert (sign * at_told > 0.3).all()
    assert (
        value(asked, "most exciting: u0", "times_rate_at_means", null="channels at their means")
        > 1.5
    )
    other = "times_rate_at_means_on_others_courses"
    assert value(asked, "most exciting: u0", other, null="channels at their means") > 1.4


def test_a_lesion_costs_where_the_answer_lay_and_nowhere_else(asked: list[Result]) -> None:
    def lost(task: str, what: str, metric: str) -> float:
        return value(asked, task, f"{metric}_gain", null=f"without {what}")

    assert lost("decoding: contrast", "A", "r2_per_channel") > 0.4
    assert abs(lost("decoding: contrast", "B", "r2_per_channel")) < 0.1
    assert lost("encoding", "contrast", "bps_pooled") > 0.1
    assert not [
        r for r in asked if r.task == "encoding" and r.null == "without A"
    ]  # it never saw A


def test_of_what_repeats_share_nearly_all_is_told_and_of_names_there_is_nothing_to_tell(
    lab: Path, asked: list[Result]
) -> None:
    task = "repeats of level"
    assert value(asked, task, "feve") > 0.85
    assert value(asked, task, "feve", "mean-rate") == pytest.approx(0, abs=0.1)
    assert value(asked, task, "feve", "condition-mean") > 0.9
    assert value(asked, task, "explainable", "recording") > 0.3
    gain = value(asked, task, "feve_gain", null="ridge")
    assert gain == pytest.approx(value(asked, task, "feve") - value(asked, task, "feve", "ridge"))
    with pytest.raises(
        InputError, match=r"repeats of name on the test side .3[0-9] trials.*of no channel a share"
    ):
        twin_runs([lab / "run-0"], lab / "none", Wanted(repeats="name"), settings=FEW, device="cpu")


def test_more_is_asked_into_the_same_folder_and_nothing_is_done_twice(
    lab: Path,
    asked: list[Result],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr("neurofm.evaluate.insilico.most_exciting", never)
    wanted = Wanted(excite="u0,u4")
    again = twin_runs(
        [lab / "run-0", lab / "run-1"], lab / "out", wanted, settings=FEW, device="cpu"
    )
    assert again.results == [r for r in asked if r.task.startswith("most exciting")]
    kept = records.load(lab / "out" / "results.jsonl")
    assert {r.task for r in kept} >= {r.task for r in asked}
    with pytest.raises(ConfigError, match="another runs"):
        twin_runs([lab / "run-1"], lab / "out", wanted, device="cpu")
    capsys.readouterr()
    words = ["--lesion", "A", "--tasks", "decoding", "--json", "--out", lab / "one", *CPU]
    assert neurofm("twin", lab / "run-0", *words) == 0
    said = capsys.readouterr()
    assert "one model" in said.err
    assert {r["predictor"] for r in json.loads(said.out)} == {"model", "without A"}


def long_one(run: Path, out: Path) -> None:
    """Its second experiment outlasts any test."""
    twin_runs(
        [run],
        out,
        Wanted(tune=("contrast",), excite="best:8"),
        settings=["steps=100000"],
        device="cpu",
    )


def test_a_killed_command_goes_on(lab: Path, tmp_path: Path) -> None:
    running = multiprocessing.get_context("fork").Process(
        target=long_one, args=(lab / "run-0", tmp_path / "o")
    )
    running.start()
    end = time.monotonic() + 120
    while not list(tmp_path.glob("o/mouse-1/tune-*")) and time.monotonic() < end:
        time.sleep(0.02)
    running.kill()
    running.join()
    assert running.exitcode == -9
    [done] = tmp_path.glob("o/mouse-1/tune-*")
    before = {p.name: p.stat().st_mtime_ns for p in done.iterdir()}
    assert set(before) == {"arrays.npz", "figure.png", "results.jsonl", "table.txt"}
    wanted = Wanted(tune=("contrast",), lesion=("A",), tasks="decoding")
    twin_runs([lab / "run-0"], tmp_path / "o", wanted, settings=["steps=100000"], device="cpu")
    assert before == {p.name: p.stat().st_mtime_ns for p in done.iterdir()}
    tasks = {r.task for r in records.load(tmp_path / "o" / "results.jsonl")}
    assert {"tuning: contrast", "decoding: contrast"} <= tasks


MISTAKES = [
    ({"tune": ("contrst",)}, "did you mean contrast"),
    ({"tune": ("contrast=0:1",)}, "low:high:n"),
    ({"tune": ("contrast",), "hold": ("wheel",)}, "takes one value"),
    ({"tune": ("contrast",), "hold": ("contrast=1",)}, "hold it once"),
    ({"excite": "best:9"}, "K from 1 to 8"),
    ({"excite": "u9"}, "no unit 'u9'"),
    ({"excite": "u0", "over": "whel"}, "did you mean wheel"),
    ({"lesion": ("C",)}, "there are A, B, contrast, wheel"),
    ({"lesion": ("A",), "tasks": "encoding"}, "nothing can be lost"),
    ({"repeats": "levl"}, "did you mean level"),
    ({"repeats": "level", "window": "1:0"}, "two times in seconds"),
    ({"repeats": "level", "align": "go_s"}, "column of times"),
    ({"recording": "mouse-2", "tune": ("wheel",)}, "did you mean mouse-1"),
]


@pytest.mark.parametrize(("wanted", "said"), MISTAKES)
def test_a_mistake_gets_a_sentence(lab: Path, tmp_path: Path, wanted: dict[str, object], said: str) -> None:  # fmt: skip
    with pytest.raises(InputError, match=said):
        twin_runs([lab / "run-0"], tmp_path / "out", Wanted.model_validate(wanted), device="cpu")


def test_a_recording_that_cannot_be_asked_is_left_out_and_named(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, said = twinning._recordings, list[str]()

    def bare_beside(works: list[Evaluation], *rest: object) -> list[Recording]:
        [whole] = there(works, *rest)
        return [
            replace(whole, trials=Table({k: v[:1] for k, v in whole.trials.columns.items()})),
            whole,
        ]

    monkeypatch.setattr(twinning, "_recordings", bare_beside)
    ask = Wanted(repeats="level")
    found = twin_runs(
        [lab / "run-0"], tmp_path / "out", ask, settings=FEW, device="cpu", say=said.append
    )
    assert found.results
    assert len(found.tables) == 1
    assert [one for one in said if one.startswith("left out: mouse-1, repeats of level")]


def opened(lab: Path, run: str) -> Evaluation:
    return open_evaluation(lab / run, store=None, device="cpu", splits_file=None, truth=None,
                           say=silent, tick=silent)  # fmt: skip


def test_runs_that_are_not_seeds_of_one_configuration_are_refused(
    lab: Path, tmp_path: Path
) -> None:
    a, b = opened(lab, "run-0"), opened(lab, "run-1")
    refuse_unlike([a, b])

    def other(**changed: object) -> Evaluation:
        return replace(b, trained=replace(b.trained, config={**b.trained.config, **changed}))

    with pytest.raises(InputError, match=r"run-1 knows other channels than .*run-0"):
        refuse_unlike([a, other(channels={"signals": ["contrast"]})])
    with pytest.raises(InputError, match="another steps than"):
        refuse_unlike([a, other(steps=7)])
    with pytest.raises(InputError, match="other splits"):
        refuse_unlike([a, replace(b, splits=replace(b.splits, recordings={}))])
    with pytest.raises(InputError, match="seeds 0, 0"):
        refuse_unlike([a, a])
    with pytest.raises(ConfigError, match="nothing is asked"):
        twin_runs([lab / "run-0"], tmp_path / "o", Wanted(), device="cpu")


def test_a_model_that_was_never_asked_such_a_thing_is_not_asked_it(
    lab: Path, tmp_path: Path
) -> None:
    work = opened(lab, "run-0")

    def about(**masks: float) -> Twin:
        own = work.trained.config
        config = {**own, "masks": {**own["masks"], **masks}}
        changed = replace(work, trained=replace(work.trained, config=config))
        return Twin((changed,), work.widened()[0], TwinConfig(), "", silent, lambda *_: None)

    with pytest.raises(
        InputError, match=r"encode_fewer=0.* cannot do without wheel; .*hold these too"
    ):
        tune(about(encode_fewer=0.0), "contrast", ())
    assert tune(about(encode_fewer=0.0), "contrast", ("wheel=0",)).results
    with pytest.raises(InputError, match=r"masks.encode=0"):
        tune(about(encode=0.0), "contrast", ())
    words = [w for one in TOY if not one.startswith("channels") for w in ("--set", one)]
    words += ["--set", "steps=1", "--set", "validate_every=1"]
    assert neurofm("pretrain", lab / "store", "--out", tmp_path / "alone", *words, *CPU) == 0
    with pytest.raises(InputError, match="activity alone; pre-train with stimulus or behaviour"):
        twin_runs([tmp_path / "alone"], tmp_path / "o", Wanted(tune=("contrast",)), device="cpu")
