"""Every question of a data set asked of one small pre-trained model by masks, against tuned rivals.

    python benchmarks/questions.py --data DATA --out DIR --only ca1,hippocampus,pose,emg,eeg

DATA holds the folders of real recordings; `questions_sets.py` says of each set which recordings, sides, questions and rivals.
What is done is kept in DIR, so that it goes on after a stop; DIR/questions-SET.jsonl has every result. Nothing is fitted for
a question but the rivals, who are tuned on the validation side. `--train` stops after training: settings are compared by
its validation (`--set`, with a folder of its own).
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import questions_sets as sets
from decoding_real_common import CPU, SEED, Work
from questions_sets import Asked

from neurofm import files
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.evaluate import keep
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.score import Scored, fingerprint, score
from neurofm.evaluate.summary import About, results_of
from neurofm.evaluate.tasks import Task
from neurofm.model.checkpoint import Trained
from neurofm.train.pretrain import common_bin_s

SETS: dict[str, Callable[[Path], Asked]] = {
    "ca1": sets.ca1,
    "hippocampus": sets.hippocampus,
    "pose": sets.pose,
    "emg": sets.emg,
    "eeg": sets.eeg,
}


def answered(work: Work, name: str, asked: Asked, trained: Trained) -> list[BlockScores]:
    """Scores of the model and of every rival, on every question and recording."""
    out = []
    for task in asked.tasks():
        for recording in asked.seen_by(task):
            sides = {side: asked.sides[side][recording.id] for side in ("train", "valid", "test")}
            direct = Direct.of(trained, recording, CPU)
            made: dict[str, Callable[[], Predictor]] = {"model": lambda d=direct: d}
            for rival, factory in {**made, **asked.rivals(task)}.items():
                out.append(_one(work.out / "scores" / name, rival, factory, task, recording, sides,
                                direct.bin_s))  # fmt: skip
            work.say(f"  {task.name}, {recording.id}: {out[-1].n_blocks} blocks")
    return out


def _one(
    folder: Path, name: str, factory: Callable[[], Predictor], task: Task, recording: Recording,
    sides: dict[str, Intervals], bin_s: float,
) -> BlockScores:  # fmt: skip
    path = keep.place(folder, task.name, recording.id, name)
    question = fingerprint(task, recording, *sides.values(), bin_s, SEED)
    if kept := keep.load_if_asked(path, question):
        return kept
    done = score(factory, name, task, recording, bin_s=bin_s, seed=SEED, **sides)
    assert isinstance(done, Scored), done
    keep.save(path, done.scores)
    return done.scores


def one(work: Work, name: str, settings: Sequence[str], train_alone: bool) -> None:
    """Train, ask, write."""
    asked = SETS[name](work.data)
    given = {side: asked.sides[side] for side in ("train", "valid")}
    settings = [f"bin_s={common_bin_s(asked.recordings)!r}", *settings]
    trained = work.pretrained(name, asked.config, settings, asked.recordings, given)
    told = ", ".join(f"{k} {v:.3f}" for k, v in trained.valid.items())
    work.say(f"{name}: step {trained.step}, validation {told}")
    if train_alone:
        return
    found = results_of(answered(work, name, asked, trained), About(seed=SEED, run=name))
    for r in found:
        if r.recording == "mean" or len(asked.recordings) == 1:
            against = f"less {r.null}" if r.metric.endswith("_gain") else ""
            work.say(f"{r.task:22} {r.predictor:13} {r.metric:20} {against:18} "
                     f"{r.value:+.3f} [{r.low:+.3f}, {r.high:+.3f}] n {r.n}")  # fmt: skip
    lines = (json.dumps(r.record(), sort_keys=True) for r in found)
    files.write_text(work.out / f"questions-{name}.jsonl", "\n".join([*lines, ""]))


def main() -> None:
    """The sets that are named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SETS))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="toy size")
    args = parser.parse_args()
    work = Work(args.data, args.out, args.smoke)
    for name in args.only.split(","):
        one(work, name, args.set, args.train)


if __name__ == "__main__":
    main()
