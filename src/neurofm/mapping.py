"""The stage behind `neurofm anatomy`: the region of a unit, from its rows and from simpler things."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm import results as records
from neurofm.data.recording import Recording
from neurofm.data.unit_features import UnitFeatures, unit_features
from neurofm.errors import InputError
from neurofm.evaluate import panels
from neurofm.evaluate.anatomy import METRIC, Told, askable, tell_regions
from neurofm.evaluate.tuning import common_signals, tuning
from neurofm.evaluate.unit_embedding import placeless, unit_embedding
from neurofm.files import read_json
from neurofm.pipeline import Say, silent
from neurofm.results import Result
from neurofm.scoring import Evaluation, open_evaluation

TASK = "anatomy"
MODEL, COMPUTED = "model", "inductive"
RECORDING = "all animals"
NULL = "regions shuffled within each animal"

Features = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class UnitTable:
    """Units of all sessions, each once: `region`, `subject`, `recording` (U,) and features by name.

    `rows`: what the model holds of each unit, by table; where rows are computed, without anything
    that knows regions or places. `own`: from the unit's own data; `tuning` is among them where all
    recordings have a signal in common.
    """

    region: NDArray[np.str_]
    subject: NDArray[np.str_]
    recording: NDArray[np.str_]
    rows: Features
    own: Features


def map_run(
    folder: Path | str,
    *,
    store: Path | str | None = None,
    device: str = "auto",
    splits_file: Path | str | None = None,
    embeddings: Mapping[str, NDArray[np.float32]] | None = None,
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Tell the region of every unit, animal by animal, and append the scores to the run's results.

    `model` is all of the model's rows for a unit side by side or, where they are computed alone
    (model.rows=inductive), what the encoder says of the unit; `anatomy:rows` takes them one by one,
    with the encoder's output as `inductive`. Computed rows are made without regions and places
    (`evaluate.unit_embedding`). `embeddings`: {recording id: (C, F)} other vectors of units to be
    `inductive`; they must not have been made from the region. Raises InputError if fewer than two
    regions are recorded in two animals.
    """
    folder = Path(folder)
    work = open_evaluation(folder, store=store, device=device, splits_file=splits_file,
                           truth=None, say=say, tick=tick)  # fmt: skip
    units = units_of(work, embeddings or {})
    askable(units.region, units.subject)
    told: dict[str, Told] = {}
    tables = {MODEL: _model(work, units.rows), **units.own}
    apart = {name: rows for name, rows in units.rows.items() if len(units.rows) > 1}
    for number, (name, features) in enumerate({**tables, **apart}.items(), 1):
        told[name] = tell_regions(features, units.region, units.subject, seed=work.seed)
        work.watch.counting(TASK, number, len(tables) + len(apart))
    out = _results(work, folder.name, {name: told[name] for name in tables}, TASK)
    out += _results(work, folder.name, {name: told[name] for name in apart}, f"{TASK}:rows")
    records.append(work.run.results, out)
    panels.save_anatomy(work.run.panels, {name: told[name] for name in tables})
    return out


def units_of(work: Evaluation, embeddings: Mapping[str, NDArray[np.float32]]) -> UnitTable:
    """Features of every unit of a run, from the training parts; a unit of many days counts once.

    Raises InputError if an embedding does not fit its recording.
    """
    seen: set[str] = set()
    signals = common_signals(work.recordings)
    parts: list[UnitTable] = []
    for number, recording in enumerate(work.recordings, 1):
        work.watch.counting("units", number, len(work.recordings))
        if not len(work.sides(recording)["train"]):
            work.say(f"skipped: {recording.id} has no training part in the splits")
            continue
        new = np.array([name not in seen for name in recording.channels.id.tolist()])
        seen.update(recording.channels.id.tolist())
        if new.any():
            parts.append(_units_of(work, recording, new, embeddings, signals))
    if not parts:
        raise InputError(f"{work.run.folder}: no recording has a training part to learn from.")
    return UnitTable(
        np.concatenate([p.region for p in parts]),
        np.concatenate([p.subject for p in parts]),
        np.concatenate([p.recording for p in parts]),
        {name: np.concatenate([p.rows[name] for p in parts]) for name in parts[0].rows},
        {name: np.concatenate([p.own[name] for p in parts]) for name in parts[0].own},
    )


def _units_of(
    work: Evaluation,
    recording: Recording,
    new: NDArray[np.bool_],
    embeddings: Mapping[str, NDArray[np.float32]],
    signals: tuple[str, ...],
) -> UnitTable:
    n = len(recording.channels)
    rows = _rows(work, recording)
    if embeddings:
        given = embeddings.get(recording.id)
        if given is None or given.ndim != 2 or len(given) != n:
            shape = "none" if given is None else given.shape
            raise InputError(
                f"{recording.id}: its embeddings have shape {shape} for {n} channels; give one row "
                "a channel for every recording."
            )
        rows[COMPUTED] = given
    train = work.sides(recording)["train"]
    own = _own(unit_features(recording, train, work.bin_s))
    if signals:
        own["tuning"] = tuning(recording, train, signals, work.bin_s)
    subject, id = np.full(n, recording.subject)[new], np.full(n, recording.id)[new]
    return UnitTable(recording.channels.region[new], subject, id,
                     {k: v[new] for k, v in rows.items()}, {k: v[new] for k, v in own.items()})  # fmt: skip


def _rows(work: Evaluation, recording: Recording) -> Features:
    """What the model reads of a unit and how it says the unit's rate, (C, D) each.

    Where rows are computed, nothing that knows regions enters, and what they are computed from by
    then, the encoder's output, is there too.
    """
    model, context = work.trained.model.to(work.device), work.trained.context(recording)
    computed = model.config.rows != "table"
    if computed:
        train = work.sides(recording)["train"]
        context = placeless(work.trained, recording, train, work.bin_s)
    context = context.to(work.device)
    tables = {"read-in": model.rows_in, "read-out": model.read_out.rows}
    with torch.no_grad():
        rows = {name: rows(context).float().cpu().numpy() for name, rows in tables.items()}
    return rows | ({COMPUTED: unit_embedding(work.trained, context)} if computed else {})


def _model(work: Evaluation, rows: Features) -> NDArray[np.float32]:
    """(U, D) what stands for the model: computed rows hang on a session's directions, units do not."""
    if work.trained.model.config.rows == "inductive":
        return rows[COMPUTED]
    return np.concatenate(list(rows.values()), axis=1)


def _own(features: UnitFeatures) -> Features:
    """What a unit's own data say, whole and in parts.

    Without the couplings that know which channels share a region, and without the place, which
    gives the region away.
    """
    parts = {"unit-features": "", "rate": "rate", "isi-histogram": "isi_",
             "autocorrelation": "autocorrelation_"}  # fmt: skip
    allowed = features.where(lambda name: "_region_" not in name and not name.startswith("place_"))
    return {
        name: allowed.where(lambda column, start=start: column.startswith(start)).values  # type: ignore[misc]
        for name, start in parts.items()
    }


def _results(work: Evaluation, run: str, told: Mapping[str, Told], task: str) -> list[Result]:
    fingerprint = str(read_json(work.run.data_manifest)["fingerprint"])

    def result(
        name: str, metric: str, numbers: Sequence[float], null: str, chance: float | None
    ) -> Result:
        one = told[name]
        n_animals = len(np.unique(one.subject))
        n, unit = (n_animals, "animals") if one.by_animal else (len(one.region), "units")
        value, low, high = numbers
        return Result(predictor=name, task=task, recording=RECORDING, split="held-out animals",
                      metric=metric, value=value, low=low, high=high, n=n, null=null,
                      seed=work.seed, unit_of_n=unit, chance=chance, run=run,
                      fingerprint=fingerprint)  # fmt: skip

    out = [result(name, METRIC, one.interval(), NULL, one.chance) for name, one in told.items()]
    if MODEL in told:
        out += [
            result(MODEL, f"{METRIC}_gain", told[MODEL].gain(other), name, None)
            for name, other in told.items()
            if name != MODEL
        ]
    return out
