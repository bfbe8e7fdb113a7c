"""The stage behind `neurofm animals`: signals of animals left out, from their first minutes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurofm import config as configuration
from neurofm import files
from neurofm.config import Config
from neurofm.data import binning
from neurofm.data import splits as split
from neurofm.data.intervals import Intervals
from neurofm.data.manifest import slug
from neurofm.data.recording import Recording
from neurofm.data.store import open_store
from neurofm.errors import InputError
from neurofm.evaluate.decode import SIDES, Decoded
from neurofm.evaluate.decode_results import decoding_results
from neurofm.evaluate.drawn import DrawnConfig
from neurofm.evaluate.left_out import Animal, Question, prior_of
from neurofm.evaluate.summary import About
from neurofm.pipeline import Say, Watch, amounts, begin, silent, verified
from neurofm.results import Result
from neurofm.scoring import chosen
from neurofm.train.pretrain import common_bin_s


class Asked(Config):
    """What a folder of answers was made from."""

    store: str
    new: str | None
    signals: str
    minutes: str
    drawn: DrawnConfig


def animals_store(
    store: Path | str,
    out: Path | str,
    *,
    new: Path | str | None = None,
    signals: str = "all",
    minutes: str = "1,2,4,all",
    splits_file: Path | str | None = None,
    config_file: Path | str | None = None,
    settings: Sequence[str] = (),
    seed: int = 0,
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Decode signals of each animal from its first minutes and what the other animals teach.

    Recordings are traces of one step. Those of `new` are asked and the store's teach; without it,
    those of each subject are left out in turn. Scores are of test sides (task
    `decode:SIGNAL@Mmin`): `model`, `ridge` on the same minutes, and their `mean`. Writes
    `results.jsonl` and, for each recording asked, an `.npz` of what is decoded in all of its time.
    Raises InputError for activity that is not traces, and where nobody else has a signal.
    """
    out = Path(out)
    stores = [verified(open_store(one)) for one in (store, new) if one is not None]
    config = configuration.load(DrawnConfig, config_file, settings)
    prints = [one.fingerprint() for one in stores]
    lengths = amounts(minutes, "--minutes")
    crossing = _Crossing.of([one.recordings() for one in stores], splits_file, config, say)
    names = chosen(signals, crossing.names(), "signal")
    begin(out / "animals.yaml", Asked(store=prints[0], new=(*prints[1:], None)[0], signals=signals,
                                      minutes=minutes, drawn=config))  # fmt: skip
    watch, found = Watch(tick), list[Result]()
    about = About(seed=seed, fingerprint=prints[0])
    told: dict[str, dict[str, NDArray[np.float32]]] = {}
    for number, name in enumerate(names):
        watch.counting(f"decoding {name}", number, len(names))
        questions = list(crossing.questions(name))
        for some in lengths:
            decoded: list[Decoded] = []
            after = "" if some is None else f"@{some:g}min"
            for question in questions:
                decoded += question.decoded(some, seed)
                told.setdefault(question.animal.recording.id, {})[name + after] = question.whole(
                    some
                )
            found += decoding_results(name + after, decoded, about)
    for animal in crossing.asked:
        _save(out / "decoded", animal, told.get(animal.recording.id, {}))
    lines = (json.dumps(r.record(), sort_keys=True) for r in found)
    files.write_text(out / "results.jsonl", "\n".join([*lines, ""]))
    return found


@dataclass(frozen=True)
class _Crossing:
    """Animals that teach, and those that are asked; no subject teaches itself."""

    teachers: tuple[Animal, ...]
    asked: tuple[Animal, ...]
    config: DrawnConfig
    say: Say

    @classmethod
    def of(
        cls,
        stores: Sequence[Sequence[Recording]],
        splits_file: Path | str | None,
        config: DrawnConfig,
        say: Say,
    ) -> "_Crossing":
        every = [recording for held in stores for recording in held]
        if len({r.id for r in every}) < len(every):
            raise InputError(
                "a recording of --new is in the store that teaches, too; give new ones."
            )
        bin_s = common_bin_s(every)
        for recording in every:
            binning.refuse_odd_bins(recording, bin_s)
        splits = split.load(splits_file) if splits_file else split.split_by_time(every)
        none = Intervals.none()
        made = [Animal.of(r, {s: splits.side(s).get(r.id, none) for s in SIDES}, bin_s, config)
                for r in every]  # fmt: skip
        return cls(tuple(made[: len(stores[0])]), tuple(made[-len(stores[-1]) :]), config, say)

    def names(self) -> Mapping[str, None]:
        """Signals that any of those asked has."""
        return {name: None for a in self.asked for name in a.recording.signals}

    def questions(self, name: str) -> Iterator[Question]:
        """A question for each animal that has the signal, its prior from others with the same axes."""
        for animal in self.asked:
            if name not in animal.recording.signals:
                continue
            who = animal.recording
            axes = who.signals[name].values.shape[1]
            others = [a for a in self.teachers
                      if a.recording.id != who.id and not (who.subject and a.recording.subject == who.subject)
                      and name in a.recording.signals and a.recording.signals[name].values.shape[1] == axes]  # fmt: skip
            if others:
                yield Question.of(animal, name, prior_of(others, name, self.config))
            else:
                self.say(f"skipped: {name} of {who.id}: no other subject has it, with as many axes")


def _save(folder: Path, animal: Animal, told: Mapping[str, NDArray[np.float32]]) -> None:
    files.make(folder)
    time_s = np.arange(binning.n_bins(animal.recording, animal.bin_s)) * animal.bin_s
    columns: dict[str, np.ndarray] = {"time_s": time_s, **told}
    path = folder / f"{slug(animal.recording.id)}.npz"
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **columns)
