"""Gestures from forearm EMG of people never seen: the network against linear readers, person by person.

    python benchmarks/people_emg.py ../shared/data/emg-myo-gestures --out benchmarks/results/people-emg.json

40 people, 7 gestures, 8 electrodes in a ring, windows of 0.25 s above 20 Hz. Every piece of the work is
kept in the file when it is done, so that a stopped run goes on; `--only` does some, `--minutes` stops in time.
`inductive`: a window is answered from itself alone. `recentred`, `turned`, `self-taught`: the person's own
windows, all of them and without labels, were used before.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from neurofm import files
from neurofm.data import covariance as cv
from neurofm.evaluate import people, unlabelled
from neurofm.evaluate.trial_readout import sorter
from neurofm.model.backbone import BackboneConfig
from neurofm.seeding import generator
from neurofm.train.crowd import Crowd, CrowdConfig, RingTurns, fit, tune

RATE_HZ, WINDOW = 200, 50
BANDS = ((20, None), (20, 50), (50, 99))
HELD_OUT = ("0", "1", "2", "6", "9", "10", "16", "20", "26", "32")
N_FOLDS, N_COPIES = 8, 2
DRAWS = {2: 3, 4: 3, 8: 3, 16: 2, 30: 1}
DRAWS_ALONE = {2: 10, 8: 5, 16: 5, 30: 3, 4: 5}
CYCLES = {35: 1, 70: 2, 140: 4}  # seconds of a person's first round: repetitions of the 7 gestures
SMALL = BackboneConfig(width=64, layers=2, heads=4, mlp=128, dropout=0.1)
CONFIG = CrowdConfig(backbone=SMALL, pretrain_steps=150, steps=300, windows=256, rate=3e-3)
LINEAR_C = 0.05


@dataclass(frozen=True)
class Windows:
    """All windows: who, which 5 s recording, round, repetition, gesture, a covariance a band, features.

    `cov` (bands, n, 8, 8), shrunk; `plain` (n, 108) each window by itself; `own` (n, 36) as seen from the
    mean of all of the person's windows, without labels.
    """

    person: np.ndarray
    piece: np.ndarray
    session: np.ndarray
    cycle: np.ndarray
    label: np.ndarray
    cov: np.ndarray
    plain: np.ndarray
    own: np.ndarray

    def take(self, rows: np.ndarray) -> "Windows":
        return Windows(**{k: v[:, rows] if k == "cov" else v[rows] for k, v in vars(self).items()})


def tangents(cov: np.ndarray) -> np.ndarray:
    return np.concatenate([cv.tangent(band) for band in cov], axis=1)


def read(folder: Path) -> Windows:
    with np.load(folder / "myo_armband_gestures.npz") as file:
        a = {name: file[name] for name in file.files}
    off = a["offsets"]
    n = np.diff(off) // WINDOW
    at = np.repeat(np.arange(len(n)), n)
    cov = []
    for low, high in BANDS:
        each = [
            cv.covariances(cv.band_passed(a["emg"][i:j], RATE_HZ, low, high), WINDOW)
            for i, j in pairwise(off)
        ]
        cov.append(cv.shrunk(np.concatenate(each), 0.02, 1.0 if high is None else 0.5))
    who, own = a["participant"][at].astype(str), np.zeros((len(at), 36), np.float32)
    for person in np.unique(who):
        own[who == person] = cv.tangent(cv.recentred(cov[0][who == person]))
    both = np.stack(cov)
    return Windows(who, at, a["session"][at], a["cycle"][at], a["gesture"][at].astype(str), both,
                   tangents(both), own)  # fmt: skip


def louder(w: Windows, seed: int) -> np.ndarray:
    """`plain` of people whose electrodes have other gains."""
    rng = generator(seed, "gains")
    gains = {str(who): np.exp(rng.normal(0, 0.25, 8)) for who in np.unique(w.person)}
    g = np.stack([gains[who] for who in w.person])
    return tangents(w.cov * g[:, :, None] * g[:, None, :])


def scores(w: Windows, label: np.ndarray, chance: np.ndarray) -> dict[str, Any]:
    """Balanced accuracy of each person, by window and by 5 s recording."""
    first, mean = people.together(w.piece, chance)
    by_window = people.score(w.person, w.label, label[chance.argmax(1)])
    by_piece = people.score(w.person[first], w.label[first], label[mean.argmax(1)])
    return {"window": by_window.each, "recording": by_piece.each}


def linear(train: np.ndarray, w: Windows, test: np.ndarray, asked: Windows) -> dict[str, Any]:
    read_out = sorter(train, w.label, LINEAR_C)
    chance = read_out.model.predict_proba((test - read_out.mean) / read_out.scale)
    return scores(asked, read_out.model.classes_, chance)


def inductive(w: Windows, seed: int = 0, config: CrowdConfig = CONFIG) -> Crowd:
    x = np.concatenate([w.plain, *(louder(w, k) for k in range(N_COPIES))])
    vary = RingTurns.of(8, len(BANDS), places=0.4, gain=0.5)
    more = config.model_copy(update={"seed": seed, "steps": config.steps + 200})
    return fit(x, np.tile(w.label, N_COPIES + 1), more, vary)


def transductive(
    w: Windows, asked: Windows, seed: int = 0, config: CrowdConfig = CONFIG
) -> dict[str, Any]:
    """Scores of people by their own mean, then by their own turn too, then self-taught."""
    by = unlabelled.turns(8, 1)
    x, theirs = w.own, asked.own
    chosen = unlabelled.own_turns(x, w.label, w.person, by)
    laid = unlabelled.turned(x, w.person, chosen, by)
    told = fit(laid, w.label, config.model_copy(update={"seed": seed}), RingTurns.of(8, 1, 0.3))
    likely = unlabelled.prior(chosen, len(by))
    plain = told(theirs)
    turned, taught, uneven = (np.zeros_like(plain) for _ in range(3))
    turns = {}
    for who in np.unique(asked.person):
        mine = asked.person == who
        k, turned[mine] = unlabelled.best_turn(told, theirs[mine], by, likely)
        laid_on = theirs[mine] @ by[k]
        taught[mine] = unlabelled.self_taught(laid_on, turned[mine])
        uneven[mine] = unlabelled.self_taught(laid_on, turned[mine], strength=0.0)
        turns[str(who)] = k
    made = {
        "recentred": plain,
        "turned": turned,
        "self-taught": taught,
        "self-taught, any shares": uneven,
    }
    out: dict[str, Any] = {name: scores(asked, told.labels, p) for name, p in made.items()}
    moved = {who: k for who, k in chosen.items() if k}
    return out | {"turns": turns, "turns of training people": moved}


def left_out(w: Windows, k: int) -> tuple[Windows, Windows]:
    out = np.isin(w.person, people.folds(w.person, N_FOLDS)[k])
    return w.take(~out), w.take(out)


def fold_linear(w: Windows, k: int) -> dict[str, Any]:
    """The rivals: tangent space and logistic regression."""
    rest, theirs = left_out(w, k)
    both = {
        "tangent": (rest.plain[:, :36], theirs.plain[:, :36]),
        "recentred": (rest.own, theirs.own),
    }
    return {name: linear(a, rest, b, theirs) for name, (a, b) in both.items()}


def fold_inductive(w: Windows, k: int) -> dict[str, Any]:
    rest, theirs = left_out(w, k)
    crowd = inductive(rest)
    return {"inductive": scores(theirs, crowd.labels, crowd(theirs.plain))}


def fold_transductive(w: Windows, k: int, pretrain: bool = True) -> dict[str, Any]:
    config = CONFIG if pretrain else CONFIG.model_copy(update={"pretrain_steps": 0})
    return transductive(*left_out(w, k), config=config)


def shuffled(w: Windows, n_draws: int = 20) -> dict[str, Any]:
    """The control: gestures of training people dealt anew among the recordings of each; a draw a row.

    A reader gives each of seven clusters one of seven labels, so one draw spreads by about 0.1.
    """
    rest, theirs = left_out(w, 0)
    _, first, at = np.unique(rest.piece, return_index=True, return_inverse=True)
    out = {}
    for draw in range(n_draws):
        label, rng = rest.label[first].copy(), generator(draw, "shuffled labels")
        for who in np.unique(rest.person):
            mine = rest.person[first] == who
            label[mine] = rng.permutation(label[mine])
        out[str(draw)] = linear(rest.own, replace(rest, label=label[at]), theirs.own, theirs)
    return out


def drawn(w: Windows, n: int, draw: int) -> tuple[Windows, Windows]:
    """Windows of `n` people, and of the fixed ten, who are never among them."""
    out = np.isin(w.person, HELD_OUT)
    others = np.unique(w.person[~out])
    some = generator(draw, "training people", n).permutation(others)[:n]
    return w.take(np.isin(w.person, some)), w.take(out)


def alone(w: Windows, n: int, draw: int) -> dict[str, Any]:
    """The fixed ten, a window from itself alone: linear readers, the network, and both averaged."""
    rest, theirs = drawn(w, n, draw)
    crowd = inductive(rest, draw)
    net, read = crowd(theirs.plain), sorter(rest.plain, rest.label, LINEAR_C)
    bands = read.model.predict_proba((theirs.plain - read.mean) / read.scale)
    made = {"inductive": net, "linear: three bands": bands, "inductive with linear": np.sqrt(net * bands)}  # fmt: skip
    found = {name: scores(theirs, crowd.labels, p) for name, p in made.items()}
    return found | {
        "linear: tangent": linear(rest.plain[:, :36], rest, theirs.plain[:, :36], theirs)
    }


def growth(w: Windows, n: int, draw: int) -> dict[str, Any]:
    """The fixed ten people, from `n` others."""
    rest, theirs = drawn(w, n, draw)
    crowd, found = inductive(rest, draw), transductive(rest, theirs, draw)
    return {"inductive": scores(theirs, crowd.labels, crowd(theirs.plain))} | found


def from_calibration(w: Windows, first: np.ndarray) -> np.ndarray:
    """(n, 108) as seen from the mean of some windows, those of the calibration."""
    return np.concatenate(
        [cv.tangent(cv.recentred(b, cv.mean_covariance(b[first]))) for b in w.cov], axis=1
    )


OWN = CONFIG.model_copy(update={"pretrain_steps": 0, "steps": 80, "rate": 1e-3, "average": 0.9})


def generic(w: Windows) -> Crowd:
    """From the 22 people who were recorded once, each seen from their own mean."""
    parts = [w.take(w.person == str(who)) for who in range(22)]
    x = [from_calibration(p, np.ones(len(p.person), bool)) for p in parts]
    label = np.concatenate([p.label for p in parts])
    return fit(np.concatenate(x), label, CONFIG, RingTurns.of(8, len(BANDS), 0.3))


KEPT: dict[str, Crowd] = {}


def personal(w: Windows, who: str) -> dict[str, Any]:
    """Rounds 1 and 2 of a person, from 35, 70 and 140 s of round 0: own data alone, or on top of others'."""
    if "generic" not in KEPT:
        KEPT["generic"] = generic(w)
    told, mine = KEPT["generic"], w.take(w.person == who)
    later, out = mine.session > 0, {}
    for seconds, n_cycles in CYCLES.items():
        own = (mine.session == 0) & (mine.cycle < n_cycles)
        x = from_calibration(mine, own)
        asked = mine.take(later)
        linear_own = sorter(x[own], mine.label[own], LINEAR_C)
        alone = linear_own.model.predict_proba((x[later] - linear_own.mean) / linear_own.scale)
        tuned = tune(told, x[own], mine.label[own], OWN)(x[later])
        both = np.sqrt(tuned * alone)
        made = {"generic": told(x[later]), "own data, linear": alone, "fine-tuned": tuned, "fine-tuned with linear": both}  # fmt: skip
        one_band = linear(x[own][:, :36], mine.take(own), x[later][:, :36], asked)
        out[str(seconds)] = {n: scores(asked, told.labels, p) for n, p in made.items()}
        out[str(seconds)]["own data, tangent space of one band"] = one_band
    return out


def work(w: Windows) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Every piece by its name, the most wanted first."""
    for k in range(N_FOLDS):
        yield f"linear {k}", partial(fold_linear, w, k)
    for k in range(N_FOLDS):
        yield f"transductive {k}", partial(fold_transductive, w, k)
        yield f"inductive {k}", partial(fold_inductive, w, k)
    for who in np.unique(w.person[w.session == 1]):
        yield f"personal {who}", partial(personal, w, str(who))
    for draw in range(max(DRAWS.values())):
        for n, draws in DRAWS.items():
            if draw < draws:
                yield f"growth {n} {draw}", partial(growth, w, n, draw)
    for n, draws in DRAWS_ALONE.items():
        for draw in range(draws):
            yield f"alone {n} {draw}", partial(alone, w, n, draw)
    yield "shuffled", partial(shuffled, w)
    for k in range(N_FOLDS):
        yield f"without pre-training {k}", partial(fold_transductive, w, k, False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="pieces whose names start so")
    parser.add_argument("--minutes", type=float, default=float("inf"))
    asked = parser.parse_args()
    start, w = time.monotonic(), read(asked.data)
    for name, make in work(w):
        done = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        if name in done or not name.startswith(asked.only):
            continue
        if time.monotonic() - start > 60 * asked.minutes:
            print("more to do")
            return
        found = make()
        done = json.loads(asked.out.read_text()) if asked.out.exists() else {}
        files.write_text(asked.out, json.dumps(done | {name: found}, indent=0, sort_keys=True))
        print(f"{name}  {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
