"""The stage behind `neurofm retrieve`: which segment of N was said or heard, from EEG.

`OUT/fits` holds the scores of each training as it ends, `OUT/results.jsonl` all of them,
`OUT/retrieval.png` the figure.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from neurofm import config as configuration
from neurofm import files
from neurofm import results as records
from neurofm.config import Config
from neurofm.data import splits as split
from neurofm.data.segments import Segments
from neurofm.data.store import open_store
from neurofm.errors import InputError
from neurofm.evaluate.retrieval import evaluate
from neurofm.evaluate.retrieval_segments import RetrieveConfig, Sides, Targets, segments_of
from neurofm.pipeline import Say, amounts, begin, silent, verified
from neurofm.report.retrieval import retrieval_figure
from neurofm.results import Result
from neurofm.train.retrieval import emg_pattern, fit, without_muscle

FEW = 10  # blocks or people that are drawn again
PLAIN, MIXED, TAKEN_OUT = "plain", "EMG mixed in", "EMG taken out, mixed in"


class Asked(Config):
    """What a folder of scores was made from; a folder goes on with the same alone."""

    store: str
    target: str
    targets: str
    splits: str
    settings: RetrieveConfig


def retrieve_store(
    store: Path | str,
    out: Path | str,
    targets: Targets,
    *,
    hours: str = "all",
    config_file: Path | str | None = None,
    settings: Sequence[str] = (),
    splits_file: Path | str | None = None,
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Train on the first side of each session, and retrieve the segments of the last.

    Where muscles were recorded, training is plain, with EMG of other segments mixed in, and with
    what is linear in the EMG taken out before; each is asked with EEG, and with the controls.
    `hours`: of training, `0.5,1,all`, an equal share of every session. What is done is not done
    again. Raises InputError if nothing can be cut, CheckFailed if sides are nearer than their gap,
    and ConfigError if `out` was made from something else.
    """
    out, said = Path(out), targets.said
    opened = verified(open_store(store))
    config = configuration.load(RetrieveConfig, config_file, settings)
    asked_hours = amounts(hours, "--hours")
    whole, used = segments_of(opened.recordings(), targets, config, say)
    splits = (
        split.load(splits_file) if splits_file else split.split_by_time(used, gap_s=config.gap_s)
    )
    sides = Sides.of(whole, splits, config)
    say(f"{splits.how} {len(sides.train)} segments of {config.length_s:g} s to train on, "
        f"{len(sides.valid)} to choose by, {len(sides.test)} to ask for.")  # fmt: skip
    jobs = [(h, way) for h in asked_hours if _long_enough(sides, h, say) for way in _ways(whole)]
    if not jobs:
        raise InputError(f"there are no {hours} hours to train on; the training side has "
                         f"{sides.hours:.2f}.")  # fmt: skip
    asked = Asked(store=opened.fingerprint(), target=said, targets=_sha256(whole),
                  splits=hashlib.sha256(splits.table().encode()).hexdigest(),
                  settings=config)  # fmt: skip
    begin(out / "retrieve.yaml", asked)
    found = []
    for number, (h, way) in enumerate(jobs, 1):
        path = out / "fits" / f"{_name(h)}-{way.replace(',', '').replace(' ', '-').lower()}.jsonl"
        if not path.exists():
            tick(f"training {number} of {len(jobs)}: {way}, {_name(h)}")
            made = _scores(sides.first(h), way, config)
            _write(path, [_about(r, said, sides.seen, h, asked.store) for r in made])
        found += records.load(path)
    _publish(out, found, say)
    return found


def _publish(out: Path, found: Sequence[Result], say: Say) -> None:
    if found[0].n < FEW:
        say(
            f"note: {found[0].n} {found[0].unit_of_n} are few, and an interval over them is too narrow"
        )
    _write(out / "results.jsonl", found)
    with files.replacing(out / "retrieval.png") as temporary:
        files.put(temporary, retrieval_figure(found).png)


def _ways(whole: Segments) -> tuple[str, ...]:
    return (PLAIN, MIXED, TAKEN_OUT) if whole.emg.shape[2] else (PLAIN,)


def _scores(sides: Sides, way: str, config: RetrieveConfig) -> list[Result]:
    """Every row of one training; what is fitted is fitted on its training side alone."""
    train, valid, test = sides.train, sides.valid, sides.test
    pattern = emg_pattern(train) if train.emg.shape[2] else None
    if way == TAKEN_OUT and pattern is not None:
        train, valid, test = (without_muscle(s, pattern) for s in (train, valid, test))
    own = config.model_copy(update={"emg_max": 0.0 if way == PLAIN else config.emg_max})
    fitted = fit(train, valid, own, pattern=pattern)
    return evaluate(fitted, test, config.policy, seed=config.seed, name=f"{way}: ")


def _about(r: Result, target: str, seen: float, hours: float | None, store: str) -> Result:
    """A result with what was asked: the target, what was trained on, the store."""
    items = f"{seen:.0%} of them of items trained on" if seen else "no item trained on"
    return replace(r, task=r.task.replace("retrieval", f"retrieval of {target}", 1),
                   split=f"test, {items}|{_name(hours)}", fingerprint=store)  # fmt: skip


def _long_enough(sides: Sides, hours: float | None, say: Say) -> bool:
    if hours is None or hours <= sides.hours:
        return True
    say(f"left out: {hours:g} hours; the training side has {sides.hours:.2f}")
    return False


def _name(hours: float | None) -> str:
    return "all" if hours is None else f"{hours:g}h"


def _sha256(whole: Segments) -> str:
    digest = hashlib.sha256("\n".join(whole.item.tolist()).encode())
    digest.update(np.ascontiguousarray(whole.target).tobytes())
    return digest.hexdigest()


def _write(path: Path, found: Sequence[Result]) -> None:
    lines = (json.dumps(r.record(), sort_keys=True) for r in found)
    files.write_text(path, "\n".join([*lines, ""]))
