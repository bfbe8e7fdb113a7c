"""The stage behind `neurofm people`: labels of trials of people who were left out, from EEG or EMG."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from neurofm import config as configuration
from neurofm import files
from neurofm.config import Config
from neurofm.data.montage import electrodes
from neurofm.data.recording import Recording
from neurofm.data.repair import take_channels
from neurofm.data.store import Store, open_store
from neurofm.data.targets import labels_of
from neurofm.errors import InputError
from neurofm.evaluate.crowd_answers import Answers, kept
from neurofm.evaluate.crowd_readers import PeopleConfig, answers, people_results, windows_of
from neurofm.evaluate.crowd_windows import CrowdWindows
from neurofm.evaluate.people import folds
from neurofm.people_seconds import Personal
from neurofm.people_sizes import Sizes, laws, size_results
from neurofm.pipeline import Say, Watch, begin, silent, verified
from neurofm.report.figures import Drawn
from neurofm.report.people import people_figure, seconds_figure, sizes_figure
from neurofm.results import Result


class Asked(Config):
    """What a folder of answers was made from; a folder goes on with the same alone."""

    store: str
    label: str
    people: PeopleConfig


def people_store(
    store: Path | str,
    out: Path | str,
    label: str,
    *,
    sizes: Sizes | None = None,
    seconds: Sequence[float] = (),
    config_file: Path | str | None = None,
    settings: Sequence[str] = (),
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Leave every person out once, read their windows by every method, and score person by person.

    A person is a subject of the store, whose recordings are traces of the same electrodes with
    trials that have `label`. Writes answers of each fold, `results.jsonl` and `people.png` to `out`;
    what is done is not done again. With `sizes`, some people are also asked by readers of few others
    (`people-sizes.json`, `.png`); with `seconds`, all by readers of their own first seconds too
    (`people-seconds.png`). Raises InputError if fewer than three people have the label, and
    ConfigError if `out` was made from something else.
    """
    out = Path(out)
    opened = verified(open_store(store))
    config = configuration.load(PeopleConfig, config_file, settings)
    if seconds and config.network is None:
        raise InputError("--seconds tunes a network; leave network=null out.")
    used = _labelled(opened, label, say)
    begin(out / "people.yaml", Asked(store=opened.fingerprint(), label=label, people=config))
    say(f"cutting windows of {config.window_s:g} s from {len(used)} recordings")
    windows, watch = windows_of(used, label, config), Watch(tick)
    sizes = sizes and sizes.among(np.unique(windows.person), config.seed)
    told = _Left(windows, config, out / "folds", watch).answers()
    found = people_results(windows, told, label, "people left out", config.seed)
    _put(out / "people.png", people_figure(found))
    if sizes:
        grown = size_results(windows, config, sizes, label, out / "sizes", say, watch)
        studies = laws(grown)
        files.write_json(out / "people-sizes.json", studies)
        _put(out / "people-sizes.png", sizes_figure(studies))
        found += grown
    if seconds:
        personal = Personal(windows, config, out / "seconds", say, watch).results(seconds, label)
        _put(out / "people-seconds.png", seconds_figure(personal))
        found += personal
    lines = (json.dumps(r.record(), sort_keys=True) for r in found)
    files.write_text(out / "results.jsonl", "\n".join([*lines, ""]))
    return found


def _put(path: Path, drawn: Drawn) -> None:
    with files.replacing(path) as temporary:
        files.put(temporary, drawn.png)


def _labelled(store: Store, label: str, say: Say) -> list[Recording]:
    """Electrodes of the recordings that have the label. Raises InputError if none has."""
    every = store.recordings()
    there = [r for r in every if len(r.trials)]
    used = [r for r in there if label in labels_of(r)]
    if not used:
        names = ", ".join(dict.fromkeys(n for r in there for n in labels_of(r))) or "none"
        raise InputError(f"{store.folder} has no trials with the label {label!r}; it has {names}.")
    if len(used) < len(every):
        say(f"note: {len(used)} of {len(every)} recordings have trials with {label}")
    return [_electrodes_alone(r, say) for r in used]


def _electrodes_alone(recording: Recording, say: Say) -> Recording:
    read = electrodes(recording)
    if read.all():
        return recording
    say(
        f"note: {recording.id}: {', '.join(recording.channels.id[~read])} are no electrodes, and not read"
    )
    return take_channels(recording, np.flatnonzero(read))


@dataclass(frozen=True)
class _Left:
    """People left out, fold by fold; answers are kept in `folder`."""

    windows: CrowdWindows
    config: PeopleConfig
    folder: Path
    watch: Watch

    def answers(self) -> Answers:
        """Answers of all windows, each from readers that never saw its person."""
        n_people = len(np.unique(self.windows.person))
        if n_people < 3:
            raise InputError(f"{n_people} people have this label; leaving people out takes three.")
        groups = folds(self.windows.person, min(self.config.n_folds, n_people), self.config.seed)
        labels = np.unique(self.windows.label)
        chances: dict[str, np.ndarray] = {}
        for number, group in enumerate(groups):
            out = np.isin(self.windows.person, group)
            made = kept(
                self.folder / f"fold-{number:03d}.npz",
                partial(self._fold, number, len(groups), out),
            )
            at = np.searchsorted(labels, made.labels)
            for method, chance in made.chances.items():
                whole = chances.setdefault(method, np.zeros((len(self.windows), len(labels))))
                whole[np.ix_(out, at)] = chance
        return Answers(labels, chances)

    def _fold(self, number: int, of: int, out: np.ndarray) -> Answers:
        self.watch.tick(f"fold {number + 1} of {of}: {out.sum()} windows are left out")
        return answers(self.windows.take(~out), self.windows.take(out), self.config,
                       lambda what: self.watch.counting(f"fold {number + 1}: {what}", number, of))  # fmt: skip
