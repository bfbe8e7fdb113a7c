"""What the first labelled seconds of people who were left out are worth, with a network and without.

`OUT/seconds` holds the answers of each fold and amount.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neurofm.data.quality import some
from neurofm.errors import ConfigError, InputError
from neurofm.evaluate.crowd_answers import Answers, kept
from neurofm.evaluate.crowd_personal import OWN, Own, own_of, personal_answers
from neurofm.evaluate.crowd_readers import PeopleConfig, people_results
from neurofm.evaluate.crowd_windows import CrowdWindows
from neurofm.evaluate.people import folds
from neurofm.pipeline import Say, Watch, amounts
from neurofm.results import Result


def seconds_of(text: str) -> list[float]:
    """`35,140` -> [35, 140]; raises ConfigError for what is no number above 0."""
    found = [s for s in amounts(text, "--seconds") if s is not None]
    if not found or "all" in text:
        raise ConfigError(f"--seconds {text} must be numbers above 0, as 35,140.")
    return found


@dataclass(frozen=True)
class Personal:
    """People left out fold by fold, who then teach by their own first seconds."""

    windows: CrowdWindows
    config: PeopleConfig
    folder: Path
    say: Say
    watch: Watch

    def results(self, seconds: Sequence[float], label: str) -> list[Result]:
        """Scores of later windows by every method and amount, each against own data alone.

        Where people have several recordings, those with one are not asked. Raises InputError if
        nobody can be asked.
        """
        asked = self._people()
        seconds = [amount for amount in seconds if self._anyone(amount, asked)]
        if not seconds:
            raise InputError("nobody has as many seconds of labels before what is asked.")
        groups = folds(self.windows.person, min(self.config.n_folds, len(np.unique(self.windows.person))), self.config.seed)  # fmt: skip
        made = [
            self._fold(k, len(groups), group.tolist(), asked, seconds)
            for k, group in enumerate(groups)
        ]
        labels = np.unique(self.windows.label)
        out = []
        for amount in seconds:
            whole, chances = _joined([m[amount] for m in made if m], labels)
            there = ~np.isnan(chances["own-linear"]).any(axis=1)
            told = Answers(labels, {m: c[there] for m, c in chances.items()})
            split = f"later windows|{amount:g} s"
            out += people_results(whole.take(there), told, label, split, self.config.seed, OWN)
        return out

    def _anyone(self, seconds: float, asked: dict[str, Own]) -> bool:
        labels = np.unique(self.windows.label)
        short = [who for who, own in asked.items() if own.first(seconds, self.config.window_s, labels) is None]  # fmt: skip
        if short:
            self.say(f"note: {len(short)} of {len(asked)} people ({some(short)}) lack {seconds:g} s of labels before what is asked")  # fmt: skip
        return len(short) < len(asked)

    def _people(self) -> dict[str, Own]:
        w, out = self.windows, {}
        for who in np.unique(w.person):
            mine = w.take(w.person == who)
            out[str(who)] = own_of(mine, self.config.gap_s, self.config.window_s)
        several = {who for who, own in out.items() if len(np.unique(own.windows.session)) > 1}
        if several and len(several) < len(out):
            self.say(
                f"note: of {len(out)} people, {len(several)} have later recordings and are asked"
            )
        return {who: own for who, own in out.items() if who in several} if several else out

    def _fold(
        self, number: int, of: int, group: Sequence[str], asked: dict[str, Own], seconds: Sequence[float]
    ) -> dict[float, tuple[CrowdWindows, Answers]]:  # fmt: skip
        people = [asked[who] for who in group if who in asked]
        if not people:
            return {}
        paths = {s: self.folder / f"fold-{number:03d}-{s:g}s.npz" for s in seconds}
        new = [s for s in seconds if not paths[s].exists()]
        rest = self.windows.take(~np.isin(self.windows.person, group))
        made = personal_answers(rest, people, new, self.config,
                                lambda what: self.watch.counting(f"fold {number + 1}: {what}", number, of)) if new else {}  # fmt: skip
        whole = CrowdWindows.joined([own.windows for own in people])
        return {s: (whole, kept(path, lambda: made[s])) for s, path in paths.items()}  # noqa: B023  called at once


def _joined(
    parts: Sequence[tuple[CrowdWindows, Answers]], labels: np.ndarray
) -> tuple[CrowdWindows, dict[str, np.ndarray]]:
    """Windows of all folds with their chances (N, L) in the order of `labels`."""
    whole = CrowdWindows.joined([w for w, _ in parts])
    chances = {}
    for method in OWN:
        rows = []
        for _, told in parts:
            one = np.zeros((len(told.chances[method]), len(labels)))
            one[:, np.searchsorted(labels, told.labels)] = told.chances[method]
            rows.append(one)
        chances[method] = np.concatenate(rows)
    return whole, chances
