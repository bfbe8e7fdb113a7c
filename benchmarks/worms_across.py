"""A worm decoded from a few minutes of its targets and what three other worms teach; and from none.

    python benchmarks/worms_across.py --data ../shared/data/worm-dag2023 --out runs/worms-across

Each worm is left out in turn. Settings are chosen for it on the three others alone: each of these is
decoded by the two that are left, from the first minutes of its training blocks, and scored on its
validation blocks. Blocks are those of `worms.py`. What is done is kept, so that it goes on after a
stop; `worms-across.json` in the folder has every result.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from worms import alternating
from worms_aligned import told as aligned

from neurofm import files
from neurofm.data.ingest import ingest
from neurofm.data.quality import QualityConfig
from neurofm.data.readers.arrays import read
from neurofm.data.recording import Recording
from neurofm.data.splits import load
from neurofm.data.store import open_store
from neurofm.evaluate.decode import BLOCK_S, Decoded
from neurofm.evaluate.decode_results import decoding_results
from neurofm.evaluate.decode_scores import Score
from neurofm.evaluate.drawn import DrawnConfig, Prior
from neurofm.evaluate.left_out import N_NULLS, Animal, Question, prior_of
from neurofm.evaluate.metrics import bounds
from neurofm.evaluate.nulls import SHIFT, Chance, shifted_signals
from neurofm.evaluate.summary import About

SIGNALS = ("velocity", "head_angle")
MINUTES = (1.0, 2.0, 4.0, None)
GRID = tuple(
    DrawnConfig(factors=n, bins=bins, offset=offset)
    for n, bins, offset in itertools.product((12, 24, 48), (0.2, 0.4), (0.05, 0.1, 0.2))
)


class Worms:
    """All animals of a store, for any number of factors."""

    def __init__(self, store: Path, splits: Path) -> None:
        self.recordings = {r.id: r for r in open_store(store).recordings()}
        self.sides = load(splits).recordings
        self.bin_s = max(float(r.activity.step_s) for r in self.recordings.values())

    @cache  # noqa: B019  a script's own
    def animal(self, name: str, factors: int) -> Animal:
        """A worm and its factors."""
        return Animal.of(
            self.recordings[name], self.sides[name], self.bin_s, DrawnConfig(factors=factors)
        )

    def question(
        self, name: str, signal: str, teachers: Sequence[str], config: DrawnConfig
    ) -> Question:
        """A signal of a worm, taught by others."""
        others = [self.animal(one, config.factors) for one in teachers]
        return Question.of(
            self.animal(name, config.factors), signal, prior_of(others, signal, config)
        )


def quality(worms: Worms, name: str, teachers: Sequence[str]) -> list[float]:
    """How well a worm's validation blocks are told by two others and its first minutes, by setting.

    1 - error / variance of the signal over the worm, mean of signals and minutes.
    """
    out, found = [], {}
    for config in GRID:
        values = []
        for signal in SIGNALS:
            key = (config.factors, config.bins, signal)
            if key not in found:  # what is learned hardly depends on the offset
                found[key] = worms.question(name, signal, teachers, config)
            question = found[key]
            question = replace(question, prior=replace(question.prior, offset=config.offset))
            valid = question.animal.sides["valid"]
            wanted = question.wanted[question.animal.bins(valid)]
            for minutes in MINUTES[:3]:
                [told] = question.drawn(minutes, valid, [question.wanted])
                lost = (told - wanted) ** 2
                values.append(1 - float(lost.mean() / question.wanted.var()))
        out.append(float(np.mean(values)))
    return out


def chosen(worms: Worms, held: str, folder: Path) -> DrawnConfig:
    """The setting that is best on the other worms, none of whose test blocks it sees."""
    others = sorted(set(worms.recordings) - {held})
    total = np.zeros(len(GRID))
    for name in others:
        path = folder / f"grid-{held}-{name}.json"
        if not path.exists():
            files.write_text(
                path, json.dumps(quality(worms, name, [o for o in others if o != name]))
            )
        total += json.loads(path.read_text())
    return GRID[int(total.argmax())]


def controls(
    question: Question, worms: Worms, config: DrawnConfig
) -> Iterator[tuple[str, Question]]:
    """The same with a prior that knows less: no shape, or one taught by targets moved in time."""
    prior = question.prior
    n, taps = len(prior.strength), len(prior.course)
    flat = Prior(
        np.full(n, prior.strength.mean()), np.eye(taps) / taps, prior.left, prior.bins, prior.offset
    )
    yield "flat prior", replace(question, prior=flat)
    others = [worms.animal(one, config.factors) for one in worms.recordings
              if one != question.animal.recording.id]  # fmt: skip
    moved = [replace(a, recording=_moved(a, question.name)) for a in others]
    yield "prior of moved targets", replace(question, prior=prior_of(moved, question.name, config))


def _moved(animal: Animal, name: str) -> Recording:
    signal = animal.recording.signals[name]
    values = np.roll(np.asarray(signal.values[:]), len(signal.values) // 2, axis=0)
    return replace(animal.recording, signals={name: replace(signal, values=values)})


def few(worms: Worms, held: str, config: DrawnConfig) -> dict[str, list[Decoded]]:
    """{task: what every method scores} of one worm."""
    out: dict[str, list[Decoded]] = {}
    others = [name for name in worms.recordings if name != held]
    for signal in SIGNALS:
        question = worms.question(held, signal, others, config)
        test = question.animal.sides["test"]
        for minutes in MINUTES:
            after = "@all" if minutes is None else f"@{minutes:g}min"
            rows = list(question.decoded(minutes, 0))
            for name, other in controls(question, worms, config):
                [told] = other.drawn(minutes, test, [other.wanted])
                rows.append(other.scored(name, told, 0))
            out[signal + after] = rows
    return out


def none(worms: Worms, held: str) -> dict[str, list[Decoded]]:
    """Correlations of what is told without any target of the worm."""
    animal = worms.animal(held, 48)
    others = [worms.animal(name, 48) for name in worms.recordings if name != held]
    at, out = animal.bins(animal.sides["test"]), {}
    block = at // max(round(BLOCK_S / worms.bin_s), 1)
    for name, said in aligned(animal, others, SIGNALS).items():
        whole = np.asarray(animal.recording.signals[name].values[:], dtype=np.float32)
        draws = _correlations(whole[at, 0], said, block)
        values = [
            float(np.corrcoef(m[at, 0], said)[0, 1]) for m in shifted_signals(whole, 0, N_NULLS)
        ]
        value = float(np.corrcoef(whole[at, 0], said)[0, 1])
        score = Score("correlation", value, *bounds(draws), len(np.unique(block)), "blocks")
        null = Chance.of(SHIFT, values)
        out[f"{name}@0min"] = [Decoded("model", held, [score], draws, [null] if null else [])]
    return out


def _correlations(y: np.ndarray, said: np.ndarray, block: np.ndarray) -> np.ndarray:
    """(2000,) on blocks drawn with replacement."""
    labels, rng = np.unique(block), np.random.default_rng(0)
    rows = [np.flatnonzero(block == one) for one in labels]
    drawn = rng.integers(0, len(labels), (2000, len(labels)))
    picks = [np.concatenate([rows[k] for k in one]) for one in drawn]
    return np.array([np.corrcoef(y[p], said[p])[0, 1] for p in picks])


def kept(path: Path, make: Callable[[], dict[str, list[Decoded]]]) -> dict[str, list[Decoded]]:
    """What was scored before, or is now."""
    if not path.exists():
        trees = {task: [{**vars(d), "scores": [vars(s) for s in d.scores], "draws": d.draws.tolist(),
                         "chances": [vars(c) for c in d.chances]} for d in rows]
                 for task, rows in make().items()}  # fmt: skip
        files.write_text(path, json.dumps(trees))
    return {task: [Decoded(d["method"], d["recording"], [Score(**s) for s in d["scores"]],
                           np.array(d["draws"]), [Chance(**c) for c in d["chances"]]) for d in rows]
            for task, rows in json.loads(path.read_text()).items()}  # fmt: skip


def main() -> None:
    """All worms, each left out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="", help="Stop after this worm.")
    asked = parser.parse_args()
    store, splits = asked.out / "store", asked.out / "splits.json"
    if not store.exists():
        paths = sorted(asked.data.glob("*.npz"))
        step_s = max(float(next(read(path)).activity.step_s) for path in paths)
        ingest(paths, store, QualityConfig(step_s=step_s))
    if not splits.exists():
        alternating(store).save(splits)
    worms = Worms(store, splits)
    every: dict[str, list[Decoded]] = {}
    settings = {}
    for held in sorted(worms.recordings):
        config = chosen(worms, held, asked.out)
        settings[held] = config.model_dump()
        parts = (kept(asked.out / f"few-{held}.json", lambda: few(worms, held, config)),  # noqa: B023
                 kept(asked.out / f"none-{held}.json", lambda: none(worms, held)))  # noqa: B023  # fmt: skip
        for task, rows in itertools.chain(*(part.items() for part in parts)):
            every.setdefault(task, []).extend(rows)
        print(held, settings[held], flush=True)
        if held == asked.only:
            return
    found = [
        r.record() for task, rows in every.items() for r in decoding_results(task, rows, About())
    ]
    kinds = ("r2_flattened", "correlation")
    results = [
        r for r in found if str(r["metric"]).startswith(kinds)
    ]  # of one axis others say the same
    tree = {"settings": settings, "results": results}
    files.write_text(asked.out / "worms-across.json", json.dumps(tree, indent=1))


if __name__ == "__main__":
    main()
