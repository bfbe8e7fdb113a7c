"""A run folder as pre-training and evaluation leave it, with several simulated sessions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurofm import files, results
from neurofm.report.page import page
from neurofm.results import Result
from neurofm.run import Run, new_run

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`$\\frac{{{7*7}}"
BASELINES = {"mean": 0.0, "smoothing": 0.11, "ridge": 0.30, "rrr": 0.27, "coupling-glm": 0.25}
CONFIG = "model:\n  width: 128\n  layers: 3\ntrain:\n  steps: 400\n"


def score(predictor: str, recording: str, value: float, **other: Any) -> Result:
    """A result with an interval of 0.03 around its value."""
    row = {"task": "co-smoothing", "split": "test", "metric": "bps_pooled", "n": 40, "seed": 0,
           "null": "mean rate of the training part", "low": value - 0.03, "high": value + 0.03,
           "fingerprint": "f00d"}  # fmt: skip
    return Result(predictor=predictor, recording=recording, value=value, **row | other)


def scores(ids: list[str], gain: float = 0.06, task: str = "co-smoothing") -> list[Result]:
    """Model, baselines and planted truth on every recording, with the paired gains."""
    out = []
    for metric, scale in (("bps_pooled", 1.0), ("bps_per_unit", 0.8), ("d2", 0.3)):
        values: dict[str, list[float]] = {}
        for i, recording in enumerate(ids):
            easy = 0.75 + 0.5 * (i % 5) / 4
            planted = {"planted-shared": 0.42, "planted": 0.5}
            levels = {"model": 0.30 + gain + 0.01 * (i % 3), **BASELINES, **planted}
            for predictor, level in levels.items():
                values.setdefault(predictor, []).append(level * easy * scale)
                out.append(
                    score(predictor, recording, level * easy * scale, metric=metric, task=task)
                )
        means = {p: float(np.mean(v)) for p, v in values.items()}
        out += [score(p, "mean", v, metric=metric, task=task, n=len(ids), unit_of_n="sessions")
                for p, v in means.items()]  # fmt: skip
        for b in BASELINES:
            more = {"metric": f"{metric}_gain", "null": b, "task": task}
            difference = means["model"] - means[b]
            out += [score("model", r, x - y, **more)
                    for r, x, y in zip(ids, values["model"], values[b], strict=True)]  # fmt: skip
            out.append(score("model", "mean", difference, **more))
            if means[b] > 0:
                ratio = more | {"metric": f"{metric}_gain_ratio"}
                out.append(score("model", "mean", difference / means[b], **ratio))
    return out


def probes(ids: list[str]) -> list[Result]:
    """A probe of a trial label, model against smoothed counts."""
    more = {"task": "probe:choice", "metric": "balanced_accuracy", "null": "", "chance": 0.5}
    rows = [("model", 0.81), ("smoothed-counts", 0.74)]
    return [score(p, r, v, **more) for p, v in rows for r in [*ids, "mean"]]


def window(
    rng: np.random.Generator, name: str, regions: list[str], n: int, suffix: str = ""
) -> dict[str, Any]:
    """Counts around low-dimensional rates, which the model knows up to some error."""
    n_bins, bin_s = 250, 0.02
    time = np.arange(n_bins) * bin_s
    phase = rng.uniform(0, 2 * np.pi, n)
    drive = np.cos(2 * np.pi * 0.4 * time[:, None] - phase) + 0.5 * rng.normal(size=(1, n))
    rates = np.exp(0.9 * drive + np.log(rng.lognormal(1.8, 0.8, n) * bin_s))
    return {
        "counts": rng.poisson(rates).astype(np.uint8),
        "rates": rates * np.exp(0.2 * rng.normal(size=n)),
        "bin_s": bin_s,
        "start_s": 1800.0,
        "channel_id": np.array([f"{name}/{i}" for i in range(n)]),
        "region": np.array([regions[i % len(regions)] for i in range(n)]),
        "recording": np.array(name),
        "unit_bps": rng.normal(0.3, 0.25, n),
        f"signal_wheel speed{suffix}": np.cumsum(rng.normal(size=(n_bins, 2)), axis=0) * 0.1,
        "signal_lick": (rng.random((n_bins, 1)) < 0.05).astype(float),
    }


def manifest(ids: list[str], subjects: list[str], regions: list[str], n: int) -> dict[str, Any]:
    def session(i: int, name: str) -> dict[str, Any]:
        flags = [
            {"severity": "warning", "field": "activity", "message": "3 of 90 units are silent."},
            {"severity": "info", "field": "trials", "message": "2 trials end after the recording."},
        ]
        return {
            "id": name, "subject": subjects[i % len(subjects)], "n_channels": n, "kind": "count",
            "regions": {r: n // len(regions) for r in regions}, "step_s": None, "rate_hz": 6.25,
            "hours": 0.75, "n_trials": 320, "signals": {"wheel speed": 2, "lick": 1},
            "flags": flags[: i % 3], "source": f"{name}.nwb", "source_sha256": "ab" * 32,
            "licence": "CC-BY-4.0", "species": "Mus musculus", "lab": "simulated", "consent": None,
        }  # fmt: skip

    text = "session  side   from (s)  to (s)\nall      train  0         1890\nno two sides share a second"
    return {"store": "STORE", "fingerprint": "f00d", "n_parameters": 1_234_567, "splits": text,
            "sessions": [session(i, name) for i, name in enumerate(ids)]}  # fmt: skip


def write_panels(
    run: Run, ids: list[str], subjects: list[str], regions: list[str], n: int, suffix: str
) -> None:
    rng = np.random.default_rng(5)
    run.panels.mkdir()
    for i, name in enumerate(ids):
        arrays = window(rng, name, regions, n, suffix)
        np.savez(run.panels / f"window-{i}.npz", **arrays)
        np.savez(run.panels / f"units-{i}.npz", recording=arrays["recording"],
                 channel_id=arrays["channel_id"], region=arrays["region"],
                 rate_hz=arrays["counts"].mean(axis=0) / 0.02, bps=arrays["unit_bps"],
                 d2=arrays["unit_bps"] / 3)  # fmt: skip
    region = np.array([regions[i % len(regions)] for i in range(n)] * len(ids))
    owner = np.repeat(ids, n)
    subject = np.repeat([subjects[i % len(subjects)] for i in range(len(ids))], n)
    centre = {r: rng.normal(size=2) * 2 for r in regions}
    xy = np.array([centre[r] for r in region]) + rng.normal(size=(len(region), 2))
    np.savez(run.panels / "embeddings.npz", unit_xy=xy, unit_region=region, unit_recording=owner,
             unit_subject=subject, session_xy=rng.normal(size=(len(ids), 2)),
             session_id=np.array(ids),
             session_subject=np.array([subjects[i % len(subjects)] for i in range(len(ids))]))  # fmt: skip


def write_log(run: Run, key: str = "bps") -> None:
    rng = np.random.default_rng(1)
    for step in range(0, 401, 5):
        loss = 0.3 + 0.5 * np.exp(-step / 80) + 0.01 * rng.normal()
        run.log_line({"event": "step", "step": step, "loss": loss, "rate": 900.0, "lr": 1e-3,
                      "seconds": 0.3 * step})  # fmt: skip
        if step % 50 == 0:
            run.log_line({"event": "valid", "step": step, key: 0.36 * (1 - np.exp(-step / 90)),
                          "loss": {"units": loss + 0.02}})  # fmt: skip
    run.log_line({"event": "done", "step": 400, "seconds": 121.0})


def poisoned(value: Any, suffix: str) -> Any:
    """The same tree with the suffix on every text in it, the keys of counts included."""
    if isinstance(value, dict):
        free = {"VISp", "MOs", "CA1", "TH", "wheel speed", "lick"}
        return {k + suffix * (k in free): poisoned(v, suffix) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(v, suffix) for v in value]
    return value + suffix if isinstance(value, str) else value


def poison_files(run: Run, suffix: str) -> None:
    """The suffix on every text of the manifest, the environment and the command."""
    for path in (run.data_manifest, run.folder / "environment.json"):
        files.write_json(path, poisoned(files.read_json(path), suffix))
    files.write_text(run.folder / "command.txt", f"neurofm pretrain {suffix}\n")


MakeRun = Callable[..., Run]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """A function that writes a run; `suffix` is added to every name in it."""

    def make(n_sessions: int = 3, suffix: str = "", gain: float = 0.06, n: int = 60) -> Run:
        run = new_run(tmp_path_factory.mktemp("run") / "first run")
        bare = [f"mouse{i % 3}_2024-05-{i + 1:02d}" for i in range(n_sessions)]
        mice, areas = [f"mouse{i}" for i in range(3)], ["VISp", "MOs", "CA1", "TH"]
        run.describe(CONFIG + f"# {suffix}\n", manifest(bare, mice, areas, n))
        ids, subjects, regions = (
            [name + suffix for name in names] for names in (bare, mice, areas)
        )
        more = scores(ids, gain) + scores(ids, gain, "forward") + probes(ids)
        if suffix:
            more += scores(ids, gain, f"task{suffix}") + [
                score(f"rival{suffix}", ids[0], 0.2, null=f"null{suffix}")
            ]
        results.append(run.results, more)
        write_panels(run, ids, subjects, regions, n, suffix)
        write_log(run, f"bps{suffix}")
        if suffix:
            poison_files(run, suffix)
        return run

    return make


@pytest.fixture(scope="session")
def run_folder(make_run: MakeRun) -> Run:
    """A run of three sessions, complete."""
    return make_run()


@pytest.fixture(scope="session")
def run_page(run_folder: Run) -> Path:
    """The page of the run, drawn once."""
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    return page(run_folder)


@pytest.fixture(scope="session")
def hostile() -> str:
    """Text that would do harm where it is not escaped."""
    return HOSTILE


@pytest.fixture(scope="session")
def empty_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has a configuration and nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "config.yaml").write_text(CONFIG)
    return Run(Path(folder))
