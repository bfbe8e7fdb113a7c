"""What the parts of `decoding_real.py` share: where things lie, kept cells, training, rows."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from neurofm import config as configuration
from neurofm import files
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.evaluate.decode import BLOCK_S, SIDES, Decoded, SignalQuestion
from neurofm.evaluate.decode_scores import Score, flattened, r2_draws, signal_scores
from neurofm.evaluate.metrics import Floats, bounds
from neurofm.evaluate.nulls import SHIFT, Chance, shifted_signals, signal_chance
from neurofm.evaluate.readout import Decodes, SignalDecoder
from neurofm.evaluate.streams import Matrix
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import clock
from neurofm.results import Result
from neurofm.run import new_run, open_run
from neurofm.seeding import generator
from neurofm.train.finetune import Finetuned
from neurofm.train.pretrain import PretrainConfig, Progress, pretrain

CPU = torch.device("cpu")
SEED = 0
ANSWERS = "shifted answers"  # a null: what was told, against targets moved in a circle
CONFIGS = Path(__file__).parent / "configs"
TOY = ["steps=4", "windows=4", "validate_every=2", "valid_batches=1"]
Sides = Mapping[str, Mapping[str, Intervals]]  # {"train": {recording id: intervals}, ...}


@dataclass(frozen=True)
class Work:
    """`data` is read; `out` holds runs and the cells that are done. `smoke`: toy size."""

    data: Path
    out: Path
    smoke: bool

    def say(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)

    def kept(self, name: str, make: Callable[[], list[Decoded]]) -> list[Decoded]:
        """Scores of one cell: read if they were made before, else made now and written."""
        path = self.out / "cells" / f"{name}.json"
        if not path.exists():
            self.say(f"{name}: begins")
            began = time.process_time()
            made = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [asdict(d) | {"draws": np.round(d.draws, 5).tolist()} for d in made]
            files.write_text(path, json.dumps(rows))
            self.say(f"{name}: done, {time.process_time() - began:.0f} s of CPU")
        return [_decoded(row) for row in json.loads(path.read_text())]

    def pretrained(
        self, name: str, config: str, settings: Sequence[str], recordings: Sequence[Recording],
        sides: Sides,
    ) -> Trained:  # fmt: skip
        """The model of `configs/CONFIG.yaml`, made now, gone on with, or made before."""
        asked = [*settings, *(TOY if self.smoke else ())]
        made = configuration.load(PretrainConfig, CONFIGS / f"{config}.yaml", asked)
        folder = self.out / "runs" / name
        run = open_run(folder) if (folder / "config.yaml").exists() else new_run(folder)
        run.describe(configuration.dump(made), {"recordings": [r.id for r in recordings]})
        last = [time.monotonic()]

        def tell(progress: Progress) -> None:
            if time.monotonic() - last[0] > 10 or progress.valid is not None:
                last[0] = time.monotonic()
                valid = f", validation {progress.valid['score']:.3f}" if progress.valid else ""
                self.say(f"  {name}: step {progress.step.number}/{progress.n_steps}, loss "
                         f"{progress.step.loss:.4f}, {clock(progress.left_s)} left{valid}")  # fmt: skip

        return pretrain(recordings, sides, made, run, device=CPU, say=tell)


def _decoded(row: dict) -> Decoded:
    scores = [Score(**score) for score in row["scores"]]
    chances = [Chance(**chance) for chance in row["chances"]]
    return Decoded(row["method"], row["recording"], scores, np.array(row["draws"]), chances)


def renamed(decoded: Sequence[Decoded], suffix: str) -> list[Decoded]:
    """The same under other names of methods."""
    return [replace(d, method=d.method + suffix) for d in decoded]


def gain(task: str, decoded: Sequence[Decoded], ours: str, theirs: str) -> list[Result]:
    """Paired gain of one method over another, for each recording and their mean."""
    table = {(d.method, d.recording): d for d in decoded}
    shared = [r for m, r in table if m == ours and (theirs, r) in table]
    out, values, drawn = [], [], []
    for r in shared:
        a, b = table[ours, r], table[theirs, r]
        first = a.scores[0]
        values.append(first.value - b.scores[0].value)
        drawn.append(a.draws - b.draws)
        out.append(_gain(task, ours, theirs, r, f"{first.metric}_gain", values[-1],
                         bounds(drawn[-1]), first.n, first.unit_of_n))  # fmt: skip
    if len(shared) > 1:
        spread = bounds(_two_levels(np.array(drawn), task, ours, theirs))
        out.append(_gain(task, ours, theirs, "mean", out[0].metric, float(np.mean(values)), spread,
                         len(shared), "recordings"))  # fmt: skip
    return out


def _two_levels(drawn: Floats, *key: str) -> Floats:
    """(n_boot,) means over recordings drawn with replacement, each on its data drawn anew."""
    rng, (n, n_boot) = generator(SEED, "gain", *key), drawn.shape
    which, again = rng.integers(0, n, (n_boot, n)), rng.integers(0, n_boot, (n_boot, n))
    return np.asarray(drawn[which, again].mean(axis=1))


def _gain(
    task: str, ours: str, theirs: str, recording: str, metric: str, value: float,
    limits: tuple[float, float], n: int, unit_of_n: str,
) -> Result:  # fmt: skip
    return Result(predictor=ours, task=f"decode:{task}", recording=recording, split="test",
                  metric=metric, value=value, low=limits[0], high=limits[1], n=n, null=theirs,
                  seed=SEED, unit_of_n=unit_of_n)  # fmt: skip


def scored(
    question: SignalQuestion,
    method: str,
    decoded: Matrix,
    features: dict[str, Matrix] | None = None,
) -> Decoded:
    """R2 and the median distance of what was decoded for the test bins (n, k), beside chance.

    With `features`, chance is what their linear read-out scores on shifted targets; without, what
    the answers themselves score against them.
    """
    session, at = question.session, question.bins["test"]
    wanted, read = question.wanted[at].astype(float), decoded.astype(float)
    there = np.isfinite(wanted).all(axis=1)
    block = (at // max(round(BLOCK_S / session.bin_s), 1))[there]
    y, p = wanted[there], read[there]
    scores = signal_scores(y, p, block, np.full(len(y), -1), SEED)
    chances = []
    if features is not None:
        standard = np.asarray((question.wanted - question.mean) / question.scale)
        end = np.flatnonzero(np.isfinite(standard).all(axis=1))[-1] + 1  # of what is known
        rest = np.full((len(standard) - end, standard.shape[1]), np.nan, np.float32)
        draws = [np.concatenate([d, rest]) for d in shifted_signals(standard[:end], SEED)]
        chances = [signal_chance(SHIFT, features, question.bins, standard, draws)]
    else:
        moved = shifted_signals(y.astype(np.float32), SEED)
        chances = [Chance.of(ANSWERS, [flattened(m.astype(float), p) for m in moved])]
    distance = np.linalg.norm(y - p, axis=1)
    scores.append(median_score(distance, block))
    far = [float(np.median(np.linalg.norm(m - p, axis=1))) for m in shifted_signals(y, SEED)]
    low, high = np.percentile(far, [5, 95]).tolist()
    scores.append(Score("median_error_chance", float(np.mean(far)), low, high, len(far), "draws"))
    drawn = r2_draws(y, p, block, SEED)[:, 0]
    return Decoded(method, session.recording.id, scores, drawn, [c for c in chances if c])


def median_score(distance: Floats, block: np.ndarray, n_boot: int = 500) -> Score:
    """Median distance, its interval over blocks drawn with replacement."""
    names = np.unique(block)
    parts = [distance[block == name] for name in names]
    rng = generator(SEED, "bootstrap blocks of distances")
    drawn = [np.median(np.concatenate([parts[i] for i in rng.integers(0, len(parts), len(parts))]))
             for _ in range(n_boot)]  # fmt: skip
    limits = bounds(np.array(drawn))
    return Score("median_error", float(np.median(distance)), *limits, len(names), "blocks")


def rival(question: SignalQuestion, method: str, made: Decodes) -> Decoded:
    """A decoder fitted on the training side of the recording, tuned on its valid side."""
    decoded, _ = told(question, made)
    return scored(question, method, decoded, None)


def linear_rival(question: SignalQuestion, method: str, made: SignalDecoder) -> Decoded:
    """The same of one whose last layer is linear, with what that reads."""
    decoded, counts = told(question, made)
    features = {s: np.concatenate(made.features(part)) for s, part in counts.items()}
    return scored(question, method, decoded, features)


def told(question: SignalQuestion, made: Decodes) -> tuple[np.ndarray, dict[str, list[np.ndarray]]]:
    """(decoded test bins in the signal's units, counts of each side)."""
    pieces = {side: question.stretches(side) for side in SIDES}
    made.fit(pieces["train"], pieces["valid"])
    counts = {side: [s.counts for s in part] for side, part in pieces.items()}
    standard = np.concatenate(made.predict(counts["test"]))
    return standard * question.scale + question.mean, counts


def ours(question: SignalQuestion, method: str, tuned: Mapping[str, Finetuned]) -> Decoded:
    """A fine-tuned model among `tuned`, or (`probe`) ridge on the frozen latents."""
    features, decoded = question.answer(method, tuned)
    return scored(question, method, decoded, features)
