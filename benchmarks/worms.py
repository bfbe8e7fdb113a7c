"""Four worms, each a model of its own: co-smoothing, encoding and decoding of calcium traces.

    python benchmarks/worms.py --data ../shared/data/worm-dag2023 --out runs/worms

What is done is kept, so that it goes on after a stop; `worms.json` in the folder has every result. `--seed 1` is another
model and other folds, in `worms-1.json`; `--set` changes the configuration (give another folder).
Behaviour and activity drift within minutes, so the sides are blocks of time that alternate.
"""

import argparse
import json
from pathlib import Path

from neurofm import files
from neurofm.data.ingest import ingest
from neurofm.data.intervals import Intervals
from neurofm.data.splits import Splits
from neurofm.data.store import open_store
from neurofm.pipeline import pretrain_store
from neurofm.scoring import evaluate_run

CONFIG = Path(__file__).parent / "configs" / "worm-dag2023.yaml"
BLOCKS = ("train", "train", "test", "train", "valid") * 2
GAP_S = 5.0
TASKS = "co-smoothing,encoding,decoding"
RIVALS = "mean-rate,ridge,ridge-wide"


def alternating(store: Path) -> Splits:
    """Ten blocks of a recording's time; neighbours of one side are one, sides are 5 s apart."""
    sides, subjects = {}, {}
    for recording in open_store(store).recordings():
        start, end = recording.span
        step = (end - start) / len(BLOCKS)
        spans: dict[str, list[tuple[float, float]]] = {"train": [], "valid": [], "test": []}
        for k, side in enumerate(BLOCKS):
            low, high = start + k * step, start + (k + 1) * step
            if k and BLOCKS[k - 1] == side:
                spans[side][-1] = (spans[side][-1][0], high)
            else:
                spans[side].append((low + GAP_S * (k > 0), high))
        sides[recording.id] = {side: Intervals.of(pairs) for side, pairs in spans.items()}
        subjects[recording.id] = recording.subject
    return Splits(
        sides, f"Ten blocks of time, {' '.join(BLOCKS[:5])} twice, 5 s apart.", GAP_S, subjects
    )


def one(path: Path, out: Path, seed: int, settings: list[str]) -> list[dict[str, object]]:
    """Every result of one worm."""
    store, splits = (out / f"{kind}-{path.stem}" for kind in ("store", "split"))
    run = out / f"run-{path.stem}{_marked(seed)}"
    if not store.exists():
        ingest([str(path)], store)
    if not splits.exists():
        alternating(store).save(splits)
    if not (run / "checkpoints").exists():
        pretrain_store(store, run, config_file=str(CONFIG), splits_file=splits,
                       settings=[f"seed={seed}", *settings], device="cpu")  # fmt: skip
    found = evaluate_run(run, tasks=TASKS, baselines=RIVALS, device="cpu", splits_file=splits)
    return [result.record() for result in found]


def _marked(seed: int) -> str:
    return f"-{seed}" if seed else ""


def main() -> None:
    """All worms of a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    rows = []
    for path in sorted(asked.data.glob("*.npz")):
        rows += one(path, asked.out, asked.seed, asked.set)
        print(path.stem, len(rows), flush=True)
    files.write_text(asked.out / f"worms{_marked(asked.seed)}.json", json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
