"""The stage behind `neurofm twin`: models of several seeds in the animal's place, and experiments on them.

`OUT/RECORDING/EXPERIMENT` holds each experiment as it ends: `arrays.npz`, `figure.png`, `table.txt`,
`results.jsonl`. `OUT/results.jsonl` has all results.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path

import numpy as np

from neurofm import config as configuration
from neurofm import files
from neurofm import results as records
from neurofm.config import Config
from neurofm.data.nodes import names_of
from neurofm.data.recording import Recording
from neurofm.errors import ConfigError, InputError
from neurofm.evaluate.keep import slug
from neurofm.experiments import Made, Twin, TwinConfig
from neurofm.experiments_scored import LESIONED_TASKS, lesion, repeated
from neurofm.experiments_told import excite, tune
from neurofm.pipeline import Say, begin, silent
from neurofm.report.tables import plain
from neurofm.results import Result
from neurofm.scoring import Evaluation, open_evaluation

Job = tuple[str, Callable[[Twin], Made]]
MOST_ROWS = 12  # of a table that is shown; the arrays have all


class Wanted(Config):
    """The experiments that are asked for, in a user's words."""

    recording: str | None = None
    tune: tuple[str, ...] = ()
    hold: tuple[str, ...] = ()
    excite: str = ""
    over: str = ""
    lesion: tuple[str, ...] = ()
    tasks: str = LESIONED_TASKS
    repeats: str = ""
    window: str = ""
    align: str = "start_s"


class Asked(Config):
    """What a folder of experiments was made from; it takes more experiments on the same alone."""

    runs: tuple[str, ...]
    store: str
    splits: str


@dataclass(frozen=True)
class Answered:
    """All results, and each experiment's table as text."""

    results: list[Result]
    tables: list[str]


def twin_runs(
    folders: Sequence[Path | str],
    out: Path | str,
    wanted: Wanted,
    *,
    settings: Sequence[str] = (),
    store: Path | str | None = None,
    device: str = "auto",
    splits_file: Path | str | None = None,
    say: Say = silent,
    tick: Say = silent,
) -> Answered:
    """Ask trained models what no recording holds, and how far models of other seeds agree.

    `folders`: runs of one configuration, store and splits that differ in their seed; with one there
    is no interval over models. What is done is not done again. A recording that cannot be asked is left out
    and named, if another can. Raises InputError if the runs differ in more, nothing is asked or a name is not
    there, and ConfigError if `out` was made from something else.
    """
    out, config = Path(out), configuration.load(TwinConfig, None, settings)
    jobs = _jobs(wanted, config)
    works = tuple(open_evaluation(folder, store=store, device=device, splits_file=splits_file,
                                  truth=None, say=say if number == 0 else silent, tick=tick)
                  for number, folder in enumerate(folders))  # fmt: skip
    refuse_unlike(works)
    fingerprint = _fingerprint(works[0])
    recordings = _recordings(works, wanted, say)
    begin(out / "twin.yaml", Asked(
        runs=tuple(f"{w.run.folder.name} {w.identity} seed {w.seed}" for w in works), store=fingerprint,
        splits=_sides(works[0])))  # fmt: skip
    if len(works) == 1:
        say("note: one model; how sure a curve is, models of other seeds say (pretrain --seed 1, 2): name their "
            "runs too")  # fmt: skip
    twins = [Twin(works, r, config, fingerprint, say, works[0].watch.counting) for r in recordings]
    done = _answered(twins, jobs, out)
    found = [r for folder in done for r in records.load(folder / "results.jsonl")]
    tables = [(folder / "table.txt").read_text(encoding="utf-8") for folder in done]
    kept = [r for path in sorted(out.glob("*/*/results.jsonl")) for r in records.load(path)]
    files.write_text(out / "results.jsonl", _lines(kept))
    return Answered(found, tables)


def _answered(twins: Sequence[Twin], jobs: Sequence[Job], out: Path) -> list[Path]:
    """The folder of each experiment, made unless it is there; a recording that cannot be asked is left out.

    Raises InputError if none can, or the only one cannot.
    """
    done, left = list[Path](), list[InputError]()
    for twin in twins:
        for name, job in jobs:
            folder = out / slug(twin.recording.id) / name
            try:
                if not folder.exists():
                    _keep(folder, job(twin))
                done.append(folder)
            except InputError as reason:
                left.append(reason)
    if left and (not done or len(twins) == 1):
        raise left[-1]
    for why in left:
        twins[0].say(f"left out: {why}")
    return done


def refuse_unlike(works: Sequence[Evaluation]) -> None:
    """Raises InputError unless the runs are seeds of one configuration, store and splits."""
    first = works[0]
    for work in works[1:]:
        a, b = first.run.folder, work.run.folder
        ours, theirs = first.trained.config, work.trained.config
        unlike = sorted(k for k in {*ours, *theirs} - {"seed"} if ours.get(k) != theirs.get(k))
        if "channels" in unlike or _ids(first) != _ids(work):
            raise InputError(f"{b} knows other channels than {a}; a twin is of runs of one store and one "
                             "configuration that differ in their seed.")  # fmt: skip
        if unlike:
            raise InputError(f"{b} was trained with another {', '.join(unlike)} than {a}; a twin is of runs "
                             "that differ in their seed alone.")  # fmt: skip
        if _fingerprint(first) != _fingerprint(work) or _sides(first) != _sides(work):
            raise InputError(f"{b} was trained on another store or other splits than {a}; a twin is of runs "
                             "that differ in their seed alone.")  # fmt: skip
    seeds = [work.seed for work in works]
    if len(set(seeds)) < len(seeds):
        raise InputError(f"the runs have the seeds {', '.join(map(str, seeds))}; an interval over models needs "
                         "another seed for each (pretrain --seed).")  # fmt: skip


def _ids(work: Evaluation) -> list[tuple[str, list[str]]]:
    return [(r.id, r.channels.id.tolist()) for r in work.widened()]


def _sides(work: Evaluation) -> str:
    """One hash of every second of every side."""
    sides = {name: {side: part.pairs.tolist() for side, part in one.items()}
             for name, one in work.splits.recordings.items()}  # fmt: skip
    return _digest(json.dumps(sides, sort_keys=True))


def _fingerprint(work: Evaluation) -> str:
    return str(files.read_json(work.run.data_manifest)["fingerprint"])


def _recordings(works: Sequence[Evaluation], wanted: Wanted, say: Say) -> list[Recording]:
    """The recordings that are asked about. Raises InputError for one that is not there, or if none can be."""
    there = works[0].widened()
    ids = [r.id for r in there]
    if wanted.recording is not None and wanted.recording not in ids:
        near = get_close_matches(wanted.recording, ids, n=1)
        said = f"did you mean {near[0]}?" if near else f"there are {', '.join(ids)}."
        raise InputError(f"{works[0].run.folder} has no recording {wanted.recording!r}; {said}")
    chosen = [r for r in there if wanted.recording in (None, r.id)]
    if not (wanted.tune or wanted.excite or wanted.repeats):
        return chosen  # a lesion of a region needs activity alone
    able = [r for r in chosen if names_of(r.channels)]
    if not able:
        raise InputError(f"{works[0].run.folder} was trained on activity alone; pre-train with stimulus or "
                         "behaviour as channels (channels.signals, channels.trials) to ask it about "
                         "them.")  # fmt: skip
    for r in chosen:
        if r not in able:
            say(f"left out: {r.id} has none of the stimulus and behaviour that the model knows")
    return able


def _jobs(wanted: Wanted, config: TwinConfig) -> list[Job]:
    """Folders and experiments. Raises ConfigError if nothing is asked, or what belongs to nothing asked."""
    for option, there, needs in (("--hold", wanted.hold, "tune"), ("--over", wanted.over, "excite"),
                                 ("--window", wanted.window, "repeats")):  # fmt: skip
        if there and not getattr(wanted, needs):
            raise ConfigError(f"{option} belongs to --{needs}, which was not given.")
    jobs: list[tuple[str, Callable[..., Made], dict[str, object]]] = []
    for text in wanted.tune:
        jobs.append((f"tune-{text.partition('=')[0]}", tune, {"text": text, "hold": wanted.hold}))
    if wanted.excite:
        jobs.append(("excite", excite, {"asked": wanted.excite, "over": wanted.over}))
    if wanted.lesion:
        jobs.append(("lesion", lesion, {"asked": wanted.lesion, "tasks": wanted.tasks}))
    if wanted.repeats:
        how = {"window": wanted.window, "align": wanted.align}
        jobs.append((f"repeats-{wanted.repeats}", repeated, {"columns": wanted.repeats, **how}))
    if not jobs:
        raise ConfigError("nothing is asked; give --tune NAME, --excite best:3, --lesion REGION or --repeats "
                          "COLUMN.")  # fmt: skip
    return [(_folder(name, f"{how} {config}"), partial(job, **how)) for name, job, how in jobs]


def _folder(name: str, asked: str) -> str:
    """A name for what is asked, another one for each way to ask it."""
    safe = re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:60]
    return f"{safe}-{_digest(asked)[:6]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _keep(folder: Path, made: Made) -> None:
    """All of an experiment or nothing."""
    grid = made.drawn.grid
    left = len(grid.rows) - MOST_ROWS
    more = f"\n... and {left} more rows; {folder / 'arrays.npz'} has all" if left > 0 else ""
    text = f"{made.drawn.alt}\n{plain(type(grid)(grid.header, grid.rows[:MOST_ROWS]))}{more}\n"
    with files.publish(folder) as inside:
        files.put(inside / "figure.png", made.drawn.png)
        files.put(inside / "table.txt", text.encode())
        files.put(inside / "results.jsonl", _lines(made.results).encode())
        with (inside / "arrays.npz").open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **dict(made.arrays))


def _lines(found: Sequence[Result]) -> str:
    return "".join(json.dumps(r.record(), sort_keys=True) + "\n" for r in found)
