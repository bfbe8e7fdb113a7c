"""The main job from end to end on simulated sessions: what `neurofm demo` does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from neurofm.data.ingest import ingest
from neurofm.data.inspect import summary, table
from neurofm.data.store import open_store
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.data.synthetic_nwb import write_nwb
from neurofm.errors import CheckFailed, InputError
from neurofm.pipeline import pretrain_store
from neurofm.report.page import page
from neurofm.report.tables import table as result_table
from neurofm.results import Result
from neurofm.run import open_run
from neurofm.scoring import evaluate_run

Say = Callable[[str], None]

SIMULATION = SimulationConfig(
    n_animals=4, sessions_per_animal=1, units_min=60, units_max=90, minutes=10.0
)
SETTINGS = [  # little data a session: strong regularisation; all four questions in training
    "steps=1500",
    "validate_every=500",
    "model.backbone.dropout=0.35",
    "optim.weight_decay=0.3",
    "optim.row_decay=1.0",
    "masks.units=0.35",
    "masks.future=0.3",
    "masks.intra_region=0.2",
    "masks.inter_region=0.15",
]
BASELINES = "mean-rate,smoothing,ridge,reduced-rank"
TASKS = ("intra-region", "co-smoothing,forward,inter-region")  # about as much work each


def run_demo(out: Path, *, seed: int, say: Say, tick: Say) -> Path:
    """Simulate to NWB, ingest, pre-train, evaluate, write the page; returns the page.

    Raises InputError if `out` holds anything, CheckFailed if the model does not lie between the
    mean rate and the planted truth.
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty; remove it or choose another --out.")
    files = out / "nwb"
    say(f"1/5 simulating {SIMULATION.n_animals} animals to {files}")
    for session in simulate(SIMULATION, seed):
        write_nwb(session, files / f"{session.recording.id}.nwb")
    say("2/5 ingesting them")
    report = ingest([files], out / "store", say=say)
    if report.refused:
        raise CheckFailed(report.refused[0].sentence)
    say(table(summary(open_store(out / "store"))))
    say("3/5 pre-training one model on all of them")
    run = out / "run"
    pretrain_store(out / "store", run, config_file="tiny", settings=[*SETTINGS, f"seed={seed}"],
                   device="auto", splits_file=None, resume=False, say=say, tick=tick)  # fmt: skip
    say("4/5 evaluating it against baselines and the planted truth")
    _side_by_side(run)
    tasks = "co-smoothing,forward,intra-region,inter-region"
    results = evaluate_run(run, store=None, tasks=tasks, baselines=BASELINES, device="auto",
                           splits_file=None, truth=files, say=say, tick=tick)  # fmt: skip
    say("5/5 writing the page")
    written = page(open_run(run))
    say(result_table([r for r in results if r.metric == "bps_pooled"]))
    _check(results)
    return written


def _side_by_side(run: Path) -> None:
    """Score tasks by processes of one thread each, which two threads of one would take longer for.

    Scores are kept in the run, so that what a process did not do is done by who asks next.
    """
    one = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    asked = [
        sys.executable,
        "-m",
        "neurofm",
        "evaluate",
        str(run),
        "--baselines",
        BASELINES,
        "--json",
    ]
    children = [
        subprocess.Popen([*asked, "--tasks", t], env=os.environ | one, stdout=subprocess.DEVNULL)
        for t in TASKS
    ]
    try:
        for child in children:
            child.wait()
    except BaseException:
        for child in children:
            child.kill()
        raise


def _check(results: list[Result]) -> None:
    """The model of each task lies above the mean rate and below what was planted."""
    mean = {(r.predictor, r.task): r.value for r in results
            if r.metric == "bps_pooled" and r.recording == "mean"}  # fmt: skip
    for task in sorted({task for _, task in mean}):
        low, own, high = (mean[p, task] for p in ("mean-rate", "model", "planted"))
        if not low < own < high:
            raise CheckFailed(
                f"{task}: the model's {own:.3f} bits/spike is not between the mean rate's {low:.3f} "
                f"and the planted truth's {high:.3f}; please report this with the run's folder."
            )
