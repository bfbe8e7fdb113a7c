"""How reading people grows with the people who were trained on: draws of them, and a law for each method.

`OUT/sizes` holds the answers of each draw about the same people, the anchors, who are never trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.config import Config
from neurofm.data.quality import some
from neurofm.errors import ConfigError, InputError
from neurofm.evaluate.crowd_answers import kept
from neurofm.evaluate.crowd_readers import RIVALS, PeopleConfig, answers, people_results
from neurofm.evaluate.crowd_windows import CrowdWindows
from neurofm.evaluate.people import folds
from neurofm.pipeline import Say, Watch, amounts, begin
from neurofm.report.people import METRIC, size_of
from neurofm.results import Result
from neurofm.seeding import generator
from neurofm.study.account import record_of
from neurofm.study.points import Points

AXIS = "training people"


@dataclass(frozen=True)
class Sizes:
    """How many training people (None: all there are), draws of each, and who is asked about.

    No anchors: a quarter of the people.
    """

    n: tuple[int | None, ...]
    draws: int = 2
    anchors: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, draws: int = 2, anchors: str | None = None) -> "Sizes":
        """From `2,8,all` and `p1,p2`; raises ConfigError for what is no whole number of people."""
        asked = amounts(text, "--sizes")
        if odd := [n for n in asked if n is not None and n != int(n)]:
            raise ConfigError(f"--sizes {odd[0]:g} is no whole number of people.")
        names = tuple(name.strip() for name in (anchors or "").split(",") if name.strip())
        return cls(tuple(None if n is None else int(n) for n in asked), draws, names)

    def among(self, names: NDArray[np.str_], seed: int) -> "Sizes":
        """With anchors, of people of these names.

        Raises InputError if an anchor is not there, or no size can be drawn from the others.
        """
        if missing := sorted(set(self.anchors) - set(names.tolist())):
            raise InputError(
                f"there is no {some(missing)} with this label; there are {some(names)}."
            )
        anchors = self.anchors or tuple(folds(names, min(4, len(names)), seed)[0].tolist())
        n_others = len(np.setdiff1d(names, anchors))
        if not any(k is None or k <= n_others for k in self.n) or not n_others:
            raise InputError(f"no size can be drawn; there are {n_others} people to train on.")
        return replace(self, anchors=anchors)


class Drawn(Config):
    """What kept answers were made about; a folder goes on with the same alone."""

    anchors: tuple[str, ...]


def size_results(
    windows: CrowdWindows, config: PeopleConfig, sizes: Sizes, label: str, folder: Path,
    say: Say, watch: Watch,
) -> list[Result]:  # fmt: skip
    """Scores of the anchors by every method, for every draw of training people.

    `sizes` must have anchors; the first people of a draw are the same for all sizes. Raises
    ConfigError if the folder was made about others.
    """
    names, anchors = np.unique(windows.person), sizes.anchors
    others = np.setdiff1d(names, anchors)
    out = np.isin(windows.person, anchors)
    jobs = _jobs(sizes, len(others), say)
    begin(folder / "sizes.yaml", Drawn(anchors=anchors))
    found = []
    for number, (n, draw) in enumerate(jobs):
        seed = config.seed + draw
        chosen = generator(seed, AXIS).permutation(others)[:n]
        rest = windows.take(np.isin(windows.person, chosen))
        what = f"from {n} people, draw {draw}"
        told = kept(folder / f"{n:03d}-{draw}.npz", lambda: answers(
            rest, windows.take(out), config.model_copy(update={"seed": seed}),  # noqa: B023  called at once
            lambda at: watch.counting(f"{what}: {at}", number, len(jobs))))  # noqa: B023  # fmt: skip
        split = f"{len(anchors)} people held out|{n}|{draw}"
        made = people_results(windows.take(out), told, label, split, config.seed)
        found += [replace(r, seed=seed) for r in made]
    return found


def _jobs(sizes: Sizes, n_others: int, say: Say) -> list[tuple[int, int]]:
    """(people, draw) from the smallest; sizes that cannot be drawn are left out, and said."""
    n = sorted({n_others if k is None else k for k in sizes.n})
    if above := [k for k in n if k > n_others]:
        say(f"left out: {some(list(map(str, above)))} people; there are {n_others} to train on")
    return [(k, draw) for k in n if k <= n_others for draw in range(sizes.draws)]


def laws(found: Sequence[Result], n_boot: int = 200) -> list[dict[str, Any]]:
    """The record of a study for each method: runs, the fitted laws, their limits and forecasts."""
    out = []
    for method in (m for m in RIVALS if any(r.predictor == m for r in found)):
        mine = [r for r in found if (r.predictor, r.metric) == (method, METRIC)]
        runs = list(dict.fromkeys((r.split, r.seed) for r in mine))
        means = [r for r in mine if r.recording == "mean"]
        who = [r.recording for r in mine if r.split == runs[0][0] and r.recording != "mean"]
        by = {(r.split, r.recording): r.value for r in mine}
        y = [[by[split, name] for name in who] for split, _ in runs]
        points = Points.of([size_of(r) for r in means], y, axes=(AXIS,), metric="balanced accuracy")
        rows = [{"run": f"{size_of(r)} people, seed {r.seed}", "x": [float(size_of(r))], "value": r.value,
                 "low": r.low, "high": r.high, "n_anchors": len(who)} for r in means]  # fmt: skip
        record = record_of(points, rows, method, target=None, n_boot=n_boot, seed=0)
        for row in record.get("forecasts", ()):  # the laws do not know that no score is above 1
            row |= {k: min(row[k], 1.0) for k in ("value", "low", "high") if row[k] is not None}
        out.append(record | {"chance": means[0].chance})
    return out
