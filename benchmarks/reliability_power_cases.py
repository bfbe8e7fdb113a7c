"""The writers that `reliability_power` looks at, each with what must hold after a power loss."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from reliability_common import fresh, toy_recording
from reliability_power import Record, examine, recorded

from neurofm import files, results
from neurofm.data.intervals import Intervals
from neurofm.data.store import create_store, open_store, stage
from neurofm.errors import NeurofmError
from neurofm.model import checkpoint, weights
from neurofm.model.weights import Weights
from neurofm.results import Result
from neurofm.run import Run, new_run, open_run
from neurofm.train.pretrain import PretrainConfig, check_and_save, pretrain

TINY = PretrainConfig(
    bin_s=0.02, window_bins=8, windows=2, steps=5, validate_every=1, valid_batches=1,
    precision="fp32", model={"backbone": {"width": 8, "layers": 0, "heads": 1, "mlp": 8}, "kernel": 1},
    optim={"matrix_rate": 0.0},
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """`prepare(folder)`, then `write(folder, record)` under the record, then `recover`."""

    prepare: Callable[[Path], None]
    write: Callable[[Path, Record], None]
    recover: Callable[[Path, Sequence[Any]], str]


def _nothing(_: Path) -> None:
    pass


def _trained(folder: Path, config: PretrainConfig = TINY) -> Run:
    recording = toy_recording("a", 3, 0, 300)
    sides = {"train": {"a": Intervals.of([(0, 4)])}, "valid": {"a": Intervals.of([(4.2, 6)])}}
    run = new_run(folder) if not folder.exists() else Run(folder)
    if not run.config.exists():
        run.describe("steps: 5\n", {})
    torch.set_num_threads(1)
    pretrain([recording], sides, config, run, device=torch.device("cpu"), say=lambda _: None)
    return run


def _write_training(folder: Path, record: Record) -> None:
    """A whole run from an empty folder: description, log, checkpoints, pruning."""
    import neurofm.train.pretrain as module

    def saved(*arguments: Any) -> dict[str, float]:
        done = check_and_save(*arguments)
        record.promise(arguments[0].done)
        return done

    real = module.check_and_save
    module.check_and_save = saved
    try:
        _trained(folder / "run")
    finally:
        module.check_and_save = real


def _recover_training(folder: Path, promised: Sequence[Any]) -> str:
    """A checkpoint that was acknowledged, and every row of the log that led to it, are there."""
    run = Run(folder / "run")
    least = max(promised, default=0)
    if not run.config.exists():
        new_run(run.folder)  # the command can be given again
        return "" if least == 0 else "the run's configuration is lost"
    open_run(run.folder)
    if (
        json.loads((run.folder / "environment.json").read_text()) == {}
        or not run.data_manifest.exists()
    ):
        return "the description is half there"
    newest = checkpoint.newest_intact(run.checkpoints)
    step = 0 if newest is None else checkpoint.load(newest).step
    if step < least:
        return f"the checkpoint of step {least} is lost"
    rows = {(r["event"], r.get("step")) for r in run.log_rows()}
    wanted = {(event, k) for k in range(1, step + 1) for event in ("step", "valid")}
    return (
        ""
        if wanted <= rows
        else f"rows before the checkpoint are lost: {sorted(wanted - rows)[:2]}"
    )


def _prepare_checkpoint(folder: Path) -> None:
    _trained(folder / "run", TINY.model_copy(update={"steps": 2}))


def _fresh_checkpoint(folder: Path) -> tuple[Run, Callable[[], None]]:
    """A run of two steps, and what saves a third checkpoint."""
    if not (folder / "run").exists():
        _prepare_checkpoint(folder)
    run = Run(folder / "run")
    old = checkpoint.folders(run.checkpoints)[-1]
    trained, state = checkpoint.load(old), checkpoint.training_state(old)
    moved = type(trained)(**{**vars(trained), "step": 3})
    return run, lambda: checkpoint.save(run.checkpoints / "step-00000003", moved, state)


def _write_checkpoint(folder: Path, record: Record) -> None:
    """One more checkpoint beside two, and the oldest goes."""
    run, newer = _fresh_checkpoint(folder)
    checkpoints = run.checkpoints
    record.promise(2)
    newer()
    record.promise(3)
    checkpoint.prune(checkpoints, keep=1)


def _recover_checkpoint(folder: Path, promised: Sequence[Any]) -> str:
    checkpoints = folder / "run" / "checkpoints"
    newest = checkpoint.newest_intact(checkpoints)
    if newest is None or checkpoint.load(newest).step < max(promised, default=2):
        return f"the checkpoint of step {max(promised, default=2)} is lost"
    checkpoint.prune(checkpoints)  # whatever was left half done must not stop the next save
    return ""


def _write_store(folder: Path, record: Record) -> None:
    """A store, a session written to it, and one that was staged elsewhere and adopted."""
    store = create_store(folder / "store")
    record.promise("store")
    store.write(toy_recording("first", 2, 0, 40))
    record.promise("first")
    with store.writing(), files.scratch(store.sessions / "ingest") as staging:
        stage(toy_recording("second", 2, 1, 40), staging / "0" / "0")
        store.adopt(staging / "0" / "0")
        record.promise("second")


def _recover_store(folder: Path, promised: Sequence[Any]) -> str:
    if not promised:
        create_store(folder / "store")
        return ""
    store = open_store(folder / "store")
    with store.writing():
        store.verify()  # whatever is visible is whole
        missing = {"first", "second"} & set(promised) - set(store.ids())
    return f"{missing} lost" if missing else ""


def _result(n: int) -> Result:
    return Result("model", f"task-{n}", "a", "test", "bits", 0.5 + n, 0.0, 1.0, 9, "mean", 0)


def _write_results(folder: Path, record: Record) -> None:
    for n in (0, 2):
        results.append(folder / "results.jsonl", [_result(n), _result(n + 1)])
        record.promise(n + 2)


def _recover_results(folder: Path, promised: Sequence[Any]) -> str:
    path = folder / "results.jsonl"
    found = results.load(path)
    want = [_result(n) for n in range(max(promised, default=0))]
    if found[: len(want)] != want:
        return "results that were saved are lost"
    results.append(path, [_result(9)])  # the file goes on as if nothing had happened
    return "" if results.load(path)[-1] == _result(9) else "the next result is lost"


def _write_json(folder: Path, record: Record) -> None:
    for n in (1, 2):
        files.write_json(folder / "deep" / "about.json", {"n": n, "text": "x" * 99})
        record.promise(n)


def _recover_json(folder: Path, promised: Sequence[Any]) -> str:
    path, least = folder / "deep" / "about.json", max(promised, default=0)
    n = files.read_json(path)["n"] if path.exists() else 0
    return "" if n >= least else f"version {least} is lost"


def _write_weights(folder: Path, record: Record) -> None:
    trained = checkpoint.load(checkpoint.folders(folder / "run" / "checkpoints")[-1])
    weights.write(folder / "shared", Weights.of(trained), rows=True, card="# a card")
    record.promise(True)


def _recover_weights(folder: Path, promised: Sequence[Any]) -> str:
    if (folder / "shared").exists():
        weights.read(folder / "shared")
        return ""
    return "the shared weights are lost" if promised else ""


CASES = {
    "a JSON file, written and replaced": Case(_nothing, _write_json, _recover_json),
    "results, appended": Case(_nothing, _write_results, _recover_results),
    "a store and two sessions": Case(_nothing, _write_store, _recover_store),
    "weights for others": Case(_prepare_checkpoint, _write_weights, _recover_weights),
    "a checkpoint beside others, and pruning": Case(
        _prepare_checkpoint, _write_checkpoint, _recover_checkpoint
    ),
    "a run of five steps, from an empty folder": Case(_nothing, _write_training, _recover_training),
}


# An fsync of each case without which something is lost, by its number. Others are done twice, by
# the writer of a file and again when its folder is published, and the loss of one is not seen.
NEEDED = (
    ("a JSON file, written and replaced", 1),
    ("results, appended", 2),
    ("a store and two sessions", 1),
    ("weights for others", 11),
    ("a checkpoint beside others, and pruning", 0),
    ("a checkpoint beside others, and pruning", 5),
    ("a run of five steps, from an empty folder", 0),
)


@dataclass(frozen=True)
class Tried:
    """Distinct states, those that lost something and how, and fsyncs seen and found to be needed."""

    states: int
    wrong: tuple[str, ...]
    n_syncs: int


def tried(case: Case, work: Path, drop_sync: int | None = None, limit: int = 0) -> Tried:
    """Record a case in `work`, and look at every state that a power loss may leave."""
    root = fresh(work / "root")
    case.prepare(root)
    with recorded(root, drop_sync) as record:
        case.write(root, record)
    n, wrong = examine(record, work / "place", judged(case.recover), limit)
    return Tried(n, tuple(wrong), sum(op.what == "sync" for op in record.ops))


def judged(recover: Callable[[Path, Sequence[Any]], str]) -> Callable[[Path, Sequence[Any]], str]:
    """A refusal by neurofm is a loss here: nothing was damaged, so nothing may be refused."""

    def judge(folder: Path, promised: Sequence[Any]) -> str:
        try:
            return recover(folder, promised)
        except (NeurofmError, OSError, ValueError, KeyError) as error:
            return f"{type(error).__name__}: {error}"

    return judge
