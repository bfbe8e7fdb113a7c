"""Rest against arithmetic with nothing known of the person: features and penalties chosen without the people they are scored on.

    python benchmarks/people_eeg_nested.py ../shared/data/eeg-eegmat --out benchmarks/results/people-eeg-nested.json

Nine groups of four people. For each group, every candidate is scored by leaving out one of the eight others at a time, and the best answers
the group's people, each of whom is left out alone then. Whoever is scored has no part in the choice. What is done is kept.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from people_eeg import BANDS, N_EEG, RATE_HZ, WINDOW

from neurofm import files
from neurofm.data import covariance as cv
from neurofm.data.band_power import EEG_BANDS, log_band_power
from neurofm.evaluate import people
from neurofm.evaluate.people import PeopleScore, paired_gain
from neurofm.evaluate.trial_readout import sorter

SEVEN = ((1, 4), (4, 8), (8, 10), (10, 13), (13, 20), (20, 30), (30, 45))
THREE = ((4, 8), (8, 13), (13, 30))
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
FIXED = "power | 0.001"


@dataclass(frozen=True, eq=False)
class Eeg:
    """Traces of each person's rest and task against their average, and windows of both in this order."""

    traces: list[np.ndarray]
    person: np.ndarray
    label: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> "Eeg":
        with np.load(folder / "eegmat_125hz.npz") as file:
            eeg, who, what = (file[name] for name in ("eeg", "participant", "condition"))
        names = np.unique(who)
        rows = [int(np.flatnonzero((who == p) & (what == c))[0]) for p in names for c in (0, 1)]
        traces = [eeg[i, :N_EEG].T * 0.2 for i in rows]
        n = len(traces[0]) // WINDOW
        label = np.tile(np.repeat(["0", "1"], n), len(names))
        return cls([x - x.mean(axis=1, keepdims=True) for x in traces], np.repeat(names, 2 * n).astype(str), label)  # fmt: skip

    @cache  # noqa: B019  one recording set a run
    def covariances(self, band: tuple[float, float]) -> np.ndarray:
        return np.concatenate([cv.covariances(cv.band_passed(x, RATE_HZ, *band), WINDOW) for x in self.traces])  # fmt: skip

    def tangent(self, bands: Any, share: float = 0.05) -> np.ndarray:
        return np.concatenate([cv.tangent(cv.shrunk(self.covariances(b), share, 0.01)) for b in bands], axis=1)  # fmt: skip

    def correlations(self, bands: Any) -> np.ndarray:
        """Tangent vectors of what is left of covariances without power."""
        parts = []
        for b in bands:
            c = self.covariances(b)
            d = np.sqrt(np.einsum("nii->ni", c))
            parts.append(cv.tangent(cv.shrunk(c / d[:, :, None] / d[:, None, :], 0.05)))
        return np.concatenate(parts, axis=1)

    def power(self, relative: bool = False) -> np.ndarray:
        """Log band power; `relative`: less its mean over electrodes and bands."""
        p = np.concatenate([log_band_power(x, RATE_HZ, WINDOW, EEG_BANDS) for x in self.traces])
        return p - p.mean(axis=1, keepdims=True) if relative else p

    def features(self) -> dict[str, Callable[[], list[np.ndarray]]]:
        """Sets of features by name; of two, `fused` reads each alone and averages log-odds."""
        single = {
            "power": self.power, "power, relative": lambda: self.power(True),
            "tangent 5": lambda: self.tangent(BANDS), "tangent 5, share 0.02": lambda: self.tangent(BANDS, 0.02),
            "tangent 5, share 0.2": lambda: self.tangent(BANDS, 0.2), "tangent 5, share 0.5": lambda: self.tangent(BANDS, 0.5),
            "tangent 7": lambda: self.tangent(SEVEN), "tangent 7, share 0.2": lambda: self.tangent(SEVEN, 0.2),
            "tangent 3": lambda: self.tangent(THREE), "correlations 5": lambda: self.correlations(BANDS),
        }  # fmt: skip
        made: dict[str, Callable[[], list[np.ndarray]]] = {
            name: lambda make=make: [make()] for name, make in single.items()
        }  # type: ignore[misc]
        for first, second in (("power", "tangent 5"), ("power", "tangent 5, share 0.2"), ("power, relative", "tangent 5")):  # fmt: skip
            pair = (single[first], single[second])
            made[f"{first} + {second}"] = lambda p=pair: [np.concatenate([f() for f in p], axis=1)]  # type: ignore[misc]
            made[f"{first} + {second} fused"] = lambda p=pair: [f() for f in p]  # type: ignore[misc]
        return made


def chance(
    e: Eeg, sets: list[np.ndarray], train: np.ndarray, asked: np.ndarray, c: float
) -> np.ndarray:
    """(n,) of arithmetic."""
    odds = []
    for x in sets:
        read = sorter(x[train], e.label[train], c)
        odds.append(read.model.decision_function((x[asked] - read.mean) / read.scale))
    return np.asarray(1 / (1 + np.exp(-np.mean(odds, axis=0))))


def scored(e: Eeg, sets: list[np.ndarray], out: np.ndarray, c: float) -> dict[str, float]:
    """Balanced accuracy of people who were left out together."""
    told = np.where(chance(e, sets, ~out, out, c) > 0.5, "1", "0")
    return people.score(e.person[out], e.label[out], told).each


def inner(e: Eeg, groups: list[np.ndarray], sets: list[np.ndarray], c: float) -> list[float]:
    """For each group: the mean over the people of all others, each group left out together with it."""
    found = defaultdict(list)
    for g, h in combinations(range(len(groups)), 2):
        each = scored(e, sets, np.isin(e.person, [*groups[g], *groups[h]]), c)
        found[g] += [each[w] for w in groups[h]]
        found[h] += [each[w] for w in groups[g]]
    return [float(np.mean(found[g])) for g in range(len(groups))]


def families(names: list[str]) -> dict[str, list[str]]:
    """What may be chosen from."""
    return {
        "all": names,
        "tangent alone": [n for n in names if n.startswith("tangent")],
        "power alone": [n for n in names if n.startswith("power") and "+" not in n],
        "power, penalty as in people_eeg.py": [FIXED],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    e = Eeg.read(asked.data)
    names = np.unique(e.person)
    groups = list(names[np.argsort(names.astype(int))].reshape(9, 4))
    done: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {"inner": {}, "left out": {}}  # fmt: skip
    features = {name: cache(make) for name, make in e.features().items()}
    for name, sets in features.items():
        for c in PENALTIES:
            if (key := f"{name} | {c:g}") not in done["inner"]:
                done["inner"][key] = inner(e, groups, sets(), c)
                files.write_text(asked.out, json.dumps(done, indent=0, sort_keys=True))
            print(f"{key}: {np.mean(done['inner'][key]):.3f}", flush=True)
    rows = {}
    for family, keys in families(sorted(done["inner"])).items():
        each = {}
        for g, group in enumerate(groups):
            key = max(keys, key=lambda k: done["inner"][k][g])
            for who in group:
                if (piece := f"{key} @ {who}") not in done["left out"]:
                    name, _, c = key.partition(" | ")
                    out = scored(e, features[name](), e.person == who, float(c))
                    done["left out"][piece] = out[who]
                each[str(who)] = done["left out"][piece]
        files.write_text(asked.out, json.dumps(done, indent=0, sort_keys=True))
        rows[family] = PeopleScore.of({w: each[w] for w in sorted(each)})
        score = rows[family]
        print(f"{family}: {score.value:.3f} [{score.low:.3f}, {score.high:.3f}], worst {score.worst[1]:.2f}")  # fmt: skip
    for ours in ("all", "tangent alone"):
        for other in ("power alone", "power, penalty as in people_eeg.py"):
            gain, n = paired_gain(rows[ours], rows[other])
            print(f"{ours} less {other}: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], above for {n} of {len(gain.each)}")  # fmt: skip


if __name__ == "__main__":
    main()
