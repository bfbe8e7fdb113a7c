"""Rest against mental arithmetic from EEG of people never seen: all 36 are left out, one after the other.

    python benchmarks/people_eeg.py ../shared/data/eeg-eegmat --out benchmarks/results/people-eeg.json

Windows of 4 s, 19 electrodes against their average. `inductive`: a window is answered from itself alone.
`own units`: features in units of the person's own windows, without labels; `self-taught` goes on from there and
takes it that a person rested as long as they reckoned. What is done is kept. Nine groups of four people show what one split is worth.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from neurofm import files
from neurofm.data import covariance as cv
from neurofm.data.band_power import log_band_power, own_units
from neurofm.evaluate import people, unlabelled
from neurofm.evaluate.people import PeopleScore
from neurofm.evaluate.trial_readout import sorter
from neurofm.model.backbone import BackboneConfig
from neurofm.seeding import generator
from neurofm.train.crowd import CrowdConfig, fit

RATE_HZ, WINDOW, N_EEG = 125, 500, 19
BANDS = ((1, 4), (4, 8), (8, 13), (13, 30), (30, 45))
C = 1e-3
NETWORK = CrowdConfig(backbone=BackboneConfig(width=32, layers=1, heads=4, mlp=64, dropout=0.3),
                      pretrain_steps=100, steps=60, windows=128, noise=0.5, rate=1e-3)  # fmt: skip
Parts = dict[str, np.ndarray]


def read(folder: Path) -> Parts:
    """Features of every window, and who and what it is of; the order is person, then condition."""
    with np.load(folder / "eegmat_125hz.npz") as file:
        eeg, who, what = (file[name] for name in ("eeg", "participant", "condition"))
    made: dict[str, list[np.ndarray]] = {
        k: [] for k in ("power", "tangent", "recentred", "person", "label")
    }
    for person in np.unique(who):
        rows = [int(np.flatnonzero((who == person) & (what == c))[0]) for c in (0, 1)]
        traces = [eeg[i, :N_EEG].T * 0.2 for i in rows]
        traces = [x - x.mean(axis=1, keepdims=True) for x in traces]
        made["power"].append(np.concatenate([log_band_power(x, RATE_HZ, WINDOW) for x in traces]))
        cov = [
            np.concatenate([
                cv.shrunk(cv.covariances(cv.band_passed(x, RATE_HZ, *band), WINDOW), 0.05, 0.01)
                for x in traces
            ])
            for band in BANDS
        ]  # fmt: skip
        made["tangent"].append(np.concatenate([cv.tangent(c) for c in cov], axis=1))
        made["recentred"].append(np.concatenate([cv.tangent(cv.recentred(c)) for c in cov], axis=1))
        n = len(cov[0])
        made["person"].append(np.full(n, str(person)))
        made["label"].append(np.repeat(["0", "1"], n // 2))
    return {name: np.concatenate(parts) for name, parts in made.items()}


def linear(x: np.ndarray, label: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """(n,) chance of arithmetic."""
    read_out = sorter(x, label, C)
    return np.asarray(read_out.model.predict_proba((theirs - read_out.mean) / read_out.scale)[:, 1])


def network(x: np.ndarray, label: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    mean = np.mean(
        [fit(x, label, NETWORK.model_copy(update={"seed": s}))(theirs)[:, 1] for s in (0, 1)], 0
    )
    return np.asarray(mean)


def answers(
    a: Parts, x: np.ndarray, groups: list[np.ndarray], how: Callable[..., np.ndarray]
) -> np.ndarray:
    """(n,) chance of arithmetic for every window, its person's group being left out."""
    out = np.zeros(len(x))
    for group in groups:
        theirs = np.isin(a["person"], group)
        out[theirs] = how(x[~theirs], a["label"][~theirs], x[theirs])
    return out


def taught(a: Parts, x: np.ndarray, chance: np.ndarray) -> np.ndarray:
    out = np.zeros(len(x))
    for who in np.unique(a["person"]):
        mine = a["person"] == who
        both = np.stack([1 - chance[mine], chance[mine]], axis=1)
        out[mine] = unlabelled.self_taught(x[mine], both, c=1e-3)[:, 1]
    return out


def record(a: Parts, chance: np.ndarray, groups: list[np.ndarray]) -> dict[str, Any]:
    """Scores by person, and by group the mean over its people."""
    person, label = a["person"], a["label"]
    accuracy = people.score(person, label, np.where(chance > 0.5, "1", "0")).each
    area = {
        str(w): float(roc_auc_score(label[person == w], chance[person == w]))
        for w in np.unique(person)
    }
    by_group = [float(np.mean([accuracy[w] for w in group])) for group in groups]
    return {"balanced accuracy": accuracy, "auroc": area, "groups": by_group}


def swapped(a: Parts, x: np.ndarray, groups: list[np.ndarray], draw: int) -> np.ndarray:
    """The control: half of the training people of every group call rest arithmetic, and arithmetic rest."""
    out = np.zeros(len(x))
    for k, group in enumerate(groups):
        theirs = np.isin(a["person"], group)
        rest = np.setdiff1d(a["person"], group)
        some = generator(draw, "swapped", k).permutation(rest)[: len(rest) // 2]
        wrong = np.isin(a["person"], some)
        label = np.where(wrong, np.where(a["label"] == "1", "0", "1"), a["label"])
        out[theirs] = linear(x[~theirs], label[~theirs], x[theirs])
    return out


def halves_of_rest(a: Parts, own: np.ndarray) -> tuple[Parts, np.ndarray]:
    """The control: the first half of rest against the second."""
    at_rest = a["label"] == "0"
    label = np.concatenate([np.repeat(["0", "1"], [n // 2, n - n // 2])
                            for n in np.unique(a["person"][at_rest], return_counts=True)[1]])  # fmt: skip
    kept = {name: rows[at_rest] for name, rows in a.items()} | {"label": label}
    return kept, own[at_rest]


def work(a: Parts) -> Iterator[tuple[str, Callable[[], tuple[Parts, np.ndarray]]]]:
    """Every row by its name."""
    names = np.unique(a["person"])
    alone, fours = [np.array([who]) for who in names], groups_of_four(a)
    power, tangent = a["power"], a["tangent"]
    both = np.concatenate([power, tangent], axis=1)
    units = own_units(power, a["person"])
    own = np.concatenate([units, own_units(a["recentred"], a["person"])], axis=1)
    for where, groups in (("one", alone), ("four", fours)):
        rows = (("power", power), ("tangent space", tangent), ("power and tangent space", both),
                ("power in own units", units), ("both in own units", own))  # fmt: skip
        for name, x in rows:
            yield f"{where} left out: {name}", lambda x=x, g=groups: (a, answers(a, x, g, linear))
        yield f"{where} left out: both in own units, self-taught", lambda g=groups: (
            a, taught(a, own, answers(a, own, g, linear)))  # fmt: skip
    for name, x in (("tangent space", tangent), ("both in own units", own)):
        yield f"four left out: {name}, network", lambda x=x: (a, answers(a, x, fours, network))
    yield "control: halves of rest", lambda: (
        (c := halves_of_rest(a, own))[0], answers(c[0], c[1], alone, linear))  # fmt: skip
    for draw in range(5):
        yield (
            f"control: half of the people swapped, {draw}",
            lambda d=draw: (a, swapped(a, own, fours, d)),
        )


def groups_of_four(a: Parts) -> list[np.ndarray]:
    """Nine, in the order of their numbers; 32 to 35, the last, are the test people of the usual split."""
    names = np.unique(a["person"])
    return list(names[np.argsort(names.astype(int))].reshape(9, 4))


def line(name: str, row: dict[str, Any]) -> str:
    found, area = (PeopleScore.of(row[k]) for k in ("balanced accuracy", "auroc"))
    groups = row["groups"]
    return (f"| {name} | {found.value:.3f} [{found.low:.3f}, {found.high:.3f}] | {found.worst[1]:.2f} "
            f"| {area.value:.3f} [{area.low:.3f}, {area.high:.3f}] "
            f"| {min(groups):.2f} to {max(groups):.2f} | {groups[-1]:.3f} |")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    a = read(asked.data)
    done: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    print(
        "| features | balanced accuracy | worst | AUROC | nine fours | 32 to 35 |\n"
        + "|---" * 6
        + "|"
    )
    for name, make in work(a):
        if name not in done:
            parts, chance = make()
            done[name] = record(parts, chance, groups_of_four(a))
            files.write_text(asked.out, json.dumps(done, indent=0, sort_keys=True))
        print(line(name, done[name]), flush=True)


if __name__ == "__main__":
    main()
