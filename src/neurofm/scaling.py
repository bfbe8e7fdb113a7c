"""The stage behind `neurofm scale`: a sweep of runs, the laws fitted to them, and what follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neurofm import config as configuration
from neurofm import files
from neurofm import results as records
from neurofm.data import splits as split
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.splits import Splits
from neurofm.data.store import open_store
from neurofm.errors import ConfigError, InputError, StoreError
from neurofm.pipeline import Say, recipe, silent
from neurofm.results import Result
from neurofm.run import Run
from neurofm.study import account, value
from neurofm.study.grid import RANDOM, Grid, Point
from neurofm.study.sweep import Done, Workers, all_done, sweep
from neurofm.train.pretrain import PretrainConfig

MINUTE_S = 60.0
SAME = ("fingerprint", "anchors", "configuration", "tasks", "seed")  # of all points of a study
METRIC = "bps_pooled"
ABOUT, RECORD, RESULTS = "study.json", "scaling.json", "results.jsonl"


@dataclass(frozen=True)
class PretrainAndEvaluate:
    """A point's work: pre-train on its sessions, ask the tasks of its anchors' test parts.

    Checkpoints are chosen on the anchors' validation parts alone, the same for every point, and
    anchors alone have a test part. `splits`: of all sessions, by time.
    """

    store: Path
    splits: Splits
    config_file: str | None
    settings: tuple[str, ...]
    tasks: str
    device: str

    def commands(self, point: Point, folder: Path) -> list[list[str]]:
        """`pretrain`, or its `--resume` where a run was begun, then `evaluate`."""
        run = folder / "run"
        if Run(run).config.exists():  # the last file of a run's description
            train = ["pretrain", str(self.store), "--out", str(run), "--resume"]
        else:
            if run.exists():  # killed before the run was described: nothing was trained
                files.remove(run)
            restricted(self.splits, point).save(folder / "splits.json")
            train = ["pretrain", str(self.store), "--out", str(run)]
            train += ["--splits", str(folder / "splits.json"), "--seed", str(point.seed)]
            train += ["--config", self.config_file] if self.config_file else []
            for setting in (*self.settings, *_of_width(point.width)):
                train += ["--set", setting]
        ask = ["evaluate", str(run), "--tasks", self.tasks, "--baselines", "none"]
        return [[*command, "--device", self.device] for command in (train, ask)]

    def measured(self, folder: Path) -> tuple[list[Result], dict[str, float]]:
        """The model's results, minutes of training data a session, and parameters."""
        run = Run(folder / "run")
        found = [r for r in records.newest(records.load(run.results)) if r.predictor == "model"]
        train = split.load(run.splits).side("train")
        minutes = sum(part.total_s for part in train.values()) / MINUTE_S / len(train)
        n_parameters = float(files.read_json(run.data_manifest)["n_parameters"])
        return found, {"minutes": minutes, "parameters": n_parameters}


def restricted(splits: Splits, point: Point) -> Splits:
    """The splits of one point: its sessions' training parts, their last minutes if it says so.

    The last, so that the distance in time to the test part does not change with the minutes.
    Raises ConfigError that names the session if one has fewer minutes than asked for.
    """
    sides = {}
    for name in point.sessions:
        whole = splits.recordings[name]
        train = whole["train"]
        if point.minutes is not None:
            if train.total_s < point.minutes * MINUTE_S - 1e-6:
                raise ConfigError(
                    f"--minutes {point.minutes:g}: {name} has {train.total_s / MINUTE_S:.2f} "
                    "minutes of training data; ask for fewer, or leave it out of the store."
                )
            train = last(train, point.minutes * MINUTE_S)
        kept = {"train": train, "valid": Intervals.none(), "test": Intervals.none()}
        sides[name] = whole | {"train": train} if name in point.anchors else kept
    subjects = {name: splits.subjects[name] for name in sides}
    return Splits(sides, f"{splits.how} Of a study: {point.name}.", splits.gap_s, subjects)


def last(intervals: Intervals, seconds: float) -> Intervals:
    """The last `seconds` of some intervals."""
    pairs: list[tuple[float, float]] = []
    for start, end in reversed(list(intervals)):
        if seconds <= 0:
            break
        pairs.insert(0, (max(start, end - seconds), end))
        seconds -= end - start
    return Intervals.of(pairs)


@dataclass(frozen=True)
class Asked:
    """What is asked of a study: a score to reach, sizes to forecast, sessions to value or choose."""

    target: float | None = None
    value: bool = False
    choose: int | None = None
    n_boot: int = 400


def scale_store(
    store: Path | str,
    out: Path | str,
    *,
    grid: Grid | None = None,
    anchors: Sequence[str] = (),
    asked: Asked | None = None,
    config_file: str | None = None,
    settings: Sequence[str] = (),
    tasks: str = "co-smoothing,forward",
    device: str = "auto",
    workers: Workers | None = None,
    say: Say = silent,
    tick: Say = silent,
) -> dict[str, Any]:
    """Run what the grid asks for and is not there yet, then `fit_study`; returns its record.

    `grid` None: sessions 1, 2, 4, ... up to all. `anchors` empty: the first sessions, as many as
    the smallest run has. Raises ConfigError for a grid that cannot be, StoreError if `out` holds
    a study of another store or configuration, CheckFailed if a point failed.
    """
    store, out = Path(store), Path(out)
    asked = asked or Asked()
    opened = open_store(store)
    recordings = _of_counts(store)
    ids = [r.id for r in recordings]
    grid = grid or Grid(doubling(len(ids)))
    anchors = tuple(anchors) or tuple(ids[: min(grid.n_sessions)])
    about = {"store": str(store.resolve()), "fingerprint": opened.fingerprint(),
             "anchors": list(anchors), "config": config_file, "settings": list(settings),
             "configuration": _configuration(config_file, settings, grid.widths),
             "tasks": tasks, "seed": grid.seed}  # fmt: skip
    _same_study(out, about)
    work = PretrainAndEvaluate(store.resolve(), split.split_by_time(recordings), config_file,
                               tuple(settings), tasks, device)  # fmt: skip
    points = grid.points(ids, anchors)
    points += grid.without_each(ids, anchors) if asked.value else []
    for point in points:
        restricted(work.splits, point)  # what cannot be is said before anything is run
    files.write_json(out / ABOUT, about)
    say(f"{len(points)} points; anchors: {', '.join(anchors)}")
    workers = workers or Workers()
    sweep(points, work, out, workers, say=say, tick=tick)
    if asked.choose is not None:
        picked = _chosen(out, grid, anchors, asked.choose)
        sweep(picked, work, out, workers, say=say, tick=tick)
    return fit_study(out, asked=asked, say=say)


def fit_study(out: Path | str, *, asked: Asked | None = None, say: Say = silent) -> dict[str, Any]:
    """Fit every task of the points that are done; writes results, record, figures and page.

    Raises StoreError if no point is done.
    """
    out = Path(out)
    from neurofm.report.growth import write_growth

    asked = asked or Asked()
    done = all_done(out)
    if not done:
        raise StoreError(f"{out} holds no measured point; run `neurofm scale STORE --out {out}`.")
    found = [result for one in done for result in one.results]
    lines = [account.line(result) for result in found]
    files.write_text(out / RESULTS, "".join(lines))
    tasks = list(dict.fromkeys(r.task for r in found if r.metric == METRIC))
    say(f"fitting {len(done)} points, {asked.n_boot} resamples")
    record = files.read_json(out / ABOUT) if (out / ABOUT).exists() else {}
    seed = int(record.get("seed", 0))
    record["studies"] = [
        account.study_record(
            done, task, METRIC, target=asked.target, n_boot=asked.n_boot, seed=seed
        )
        for task in tasks
    ]
    record |= account.value_record(done, tasks[0], METRIC, seed=seed)
    record["chosen"] = account.chosen_record(done, tasks[0], METRIC)
    files.write_json(out / RECORD, record)
    plain: dict[str, Any] = files.read_json(out / RECORD)
    write_growth(plain, out)
    return plain


def default_sessions(store: Path | str) -> tuple[int, ...]:
    """1, 2, 4, ... and all sessions of a store that can be trained on."""
    store = Path(store)
    return doubling(len(_of_counts(store)))


def _of_counts(store: Path) -> list[Recording]:
    """Recordings of spikes or counts.

    Raises InputError if there is none.
    """
    kept = [r for r in open_store(store).recordings() if (r.channels.kind == "count").all()]
    if not kept:
        raise InputError(f"{store} holds no recording of spikes or counts to train on.")
    return kept


def doubling(n: int) -> tuple[int, ...]:
    """1, 2, 4, ... and `n` itself."""
    sizes = [1]
    while sizes[-1] * 2 < n:
        sizes.append(sizes[-1] * 2)
    return tuple(sorted({*sizes, n}))


def _of_width(width: int | None) -> list[str]:
    """Settings of a trunk of this width, with the recipes' proportion of its inner layer."""
    if width is None:
        return []
    return [f"model.backbone.width={width}", f"model.backbone.mlp={2 * width}"]


def _chosen(out: Path, grid: Grid, anchors: Sequence[str], n: int) -> list[Point]:
    """Points of the `n` sessions, anchors counted, that the finished runs speak for."""
    done: list[Done] = all_done(out)
    task = next(r.task for one in done for r in one.results if r.metric == METRIC)
    runs = account.trained(done, task, METRIC)
    if n <= len(anchors):
        raise ConfigError(f"--choose {n} must exceed the number of anchors, {len(anchors)}.")
    sessions = value.greedy(runs, n - len(anchors))
    like = account.largest(done, why=RANDOM)[0].point
    return grid.chosen(sessions, anchors, like)


def _configuration(file: str | None, settings: Sequence[str], widths: Sequence[int | None]) -> str:
    """The resolved configuration (YAML) of the points of no stated width.

    Raises ConfigError for a key or a width that no run could have, before anything is run.
    """
    for width in widths:
        configuration.load(PretrainConfig, recipe(file), [*settings, *_of_width(width)])
    return configuration.dump(configuration.load(PretrainConfig, recipe(file), settings))


def _same_study(out: Path, about: dict[str, Any]) -> None:
    """Raise StoreError if a folder holds a study of something else."""
    if not (out / ABOUT).exists():
        if out.exists() and any(out.iterdir()):
            raise StoreError(f"{out} is not empty and holds no study; choose another --out.")
        return
    saved = files.read_json(out / ABOUT)
    for key in SAME:
        if saved.get(key) != about.get(key):
            raise StoreError(
                f"{out / ABOUT}: its {key} is not what is asked for; points of two kinds are not "
                "fitted together, so choose another --out."
            )
