"""What the overlap of a model's windows is worth: scores and seconds at several, on runs that are finished.

    python benchmarks/overlap.py STORE RUN --tasks co-smoothing,intra-region --out benchmarks/results/overlap.json

Bits per spike on the test sides of the run's splits; differences from windows that overlap by half are paired, 95% over
blocks of 10 s. Rows of other runs in the file are kept.
"""

import argparse
import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from neurofm.data import splits
from neurofm.data.recording import Recording
from neurofm.data.store import open_store
from neurofm.evaluate import metrics
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.score import Skipped, score
from neurofm.evaluate.tasks import TASKS
from neurofm.model.checkpoint import best_intact, load

HALF = 0.5


def answers(
    direct: Direct, recording: Recording, task: str, **sides: Any
) -> tuple[BlockScores, float]:
    """Scores, and seconds of the processor."""
    began_s = time.process_time()
    made = score(lambda: direct, "model", TASKS[task], recording, bin_s=direct.bin_s, **sides)
    assert not isinstance(made, Skipped), made.reason
    return made.scores, time.process_time() - began_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--tasks", default="co-smoothing")
    parser.add_argument("--overlaps", default="0.25,0.1,0")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    trained = load(best_intact(asked.run / "checkpoints"))
    cut = splits.load(asked.run / "splits.json")
    rows = json.loads(asked.out.read_text()) if asked.out.exists() else []
    rows = [row for row in rows if row["run"] != asked.run.name]
    for recording in open_store(asked.store).recordings():
        sides = {side: cut.side(side)[recording.id] for side in ("train", "valid", "test")}
        direct = Direct.of(trained, recording, torch.device("cpu"))
        for task in asked.tasks.split(","):
            ask = partial(answers, recording=recording, task=task, **sides)
            half, half_s = ask(replace(direct, overlap=HALF))
            for overlap in map(float, asked.overlaps.split(",")):
                other, other_s = ask(replace(direct, overlap=overlap))
                gain, low, high = metrics.gain(other, half, metrics.bps_pooled)
                rows.append({"run": asked.run.name, "recording": recording.id, "task": task, "overlap": overlap,
                             "half": metrics.value(half, metrics.bps_pooled), "gain": gain, "low": low, "high": high,
                             "time_over_half": other_s / half_s})  # fmt: skip
                print(rows[-1], flush=True)
    asked.out.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    main()
