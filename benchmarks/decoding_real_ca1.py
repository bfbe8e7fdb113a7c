"""Where a mouse is on a linear track, from calcium events of eight days in which cells are registered.

The same model is trained twice: a registered cell has one row in all its sessions (`shared`), or a
row of its own in each (`apart`), by the same number of steps, few enough that rows apart have not
learned all they could. The fine-tuned model has one head for all days, a probe one a day. Inside a session, the training side of each day teaches its decoder;
across sessions (`other days`) that of the seven others does, and nothing of the day is decoded from.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from decoding_real_common import CPU, Sides, Work, linear_rival, ours, scored
from numpy.typing import NDArray

from neurofm import config as configuration
from neurofm.data import binning
from neurofm.data.readers import arrays
from neurofm.data.recording import Recording
from neurofm.data.splits import split_by_time
from neurofm.data.targets import side_pieces, traces
from neurofm.evaluate import keep
from neurofm.evaluate.decode import MODEL, PROBE, SIDES, Decoded, Session, SignalQuestion
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.evaluate.metrics import BlockScores
from neurofm.evaluate.readout import Lagged, LagRidge, known, tuned_line
from neurofm.evaluate.score import Scored, score
from neurofm.evaluate.streams import Matrix, Scale
from neurofm.evaluate.tasks import TASKS
from neurofm.model.checkpoint import Trained
from neurofm.train.finetune import FinetuneConfig, Finetuned, finetune_signals

TARGET = "position"
ROWS = {"shared": True, "apart": False}
WIDTHS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
EVERY = 4  # of the bins of other days, one in so many is learned from
TUNE = ["steps=200", "windows=12", "validate_every=50", "patience=2", "valid_batches=8"]
BySession = dict[str, dict[str, Matrix]]  # {recording: {side: (n, F)}}


@cache
def every(work: Work) -> tuple[Recording, ...]:
    """All sessions, read once; three at toy size."""
    files = sorted((work.data / "ca1-sheintuch").glob("*.npz"))
    return tuple(r for path in files[: 3 if work.smoke else None] for r in arrays.read(path))


def sides_of(work: Work) -> Sides:
    splits = split_by_time(every(work))
    return {side: splits.side(side) for side in SIDES}


def trained_with(work: Work, rows: str) -> Trained:
    """The model with rows shared or apart."""
    given = {side: sides_of(work)[side] for side in ("train", "valid")}
    settings = [f"share_rows={str(ROWS[rows]).lower()}"]
    return work.pretrained(f"ca1-{rows}", "decoding-ca1", settings, every(work), given)


def sessions(work: Work, trained: Trained) -> list[Session]:
    sides = sides_of(work)
    return [Session(r, {s: sides[s][r.id] for s in SIDES}, Direct.of(trained, r, CPU), CPU)
            for r in every(work)]  # fmt: skip


def finetuned(work: Work, start: Trained) -> Finetuned:
    """One head over all sessions, everything trained on their training sides."""
    config = configuration.load(FinetuneConfig, None, [*TUNE, *(["steps=4"] if work.smoke else ())])
    sides, bin_s = sides_of(work), float(start.config["bin_s"])
    wanted = {r.id: traces(r, TARGET, bin_s) for r in every(work)}
    return finetune_signals(start, every(work), wanted, sides["train"], sides["valid"], config,
                            device=CPU)  # fmt: skip


def model(work: Work, rows: str) -> list[Decoded]:
    """Fine-tuned, probed, and probed by a read-out of the other days."""
    trained = trained_with(work, rows)
    tuned = {MODEL: finetuned(work, trained)}
    out, features, questions = [], {}, {}
    for session in sessions(work, trained):
        question = SignalQuestion.of(session, TARGET)
        out += [ours(question, method, tuned) for method in tuned]
        r = session.recording
        features[r.id] = {s: latents(session.direct, r, session.sides[s])[0] for s in SIDES}
        questions[r.id] = question
        x = features[r.id]
        fit = [[known(x[s], question.standard(s))] for s in ("train", "valid")]
        standard = tuned_line(*fit)[0](x["test"])
        out.append(scored(question, PROBE, standard * question.scale + question.mean, x))
    out += other_days(questions, features, f"{PROBE}, other days")
    return [replace(d, method=f"{d.method} ({rows})") for d in out]


def other_days(
    questions: dict[str, SignalQuestion], features: BySession, method: str
) -> list[Decoded]:
    """Each day told by ridge on the features of all others."""
    return [scored(q, method, from_others(questions, features, q)[0]) for q in questions.values()]


def from_others(
    questions: dict[str, SignalQuestion], features: BySession, held: SignalQuestion
) -> tuple[Matrix, float]:
    """(decoded test bins (n, k), quality on the valid sides of the other days)."""
    others = [q for q in questions.values() if q is not held]
    mean = np.mean([q.mean for q in others], axis=0)
    scale = np.mean([q.scale for q in others], axis=0)
    fit = []
    for side in ("train", "valid"):
        fit.append([
            known(features[q.session.recording.id][side][::EVERY],
                  ((q.wanted[q.bins[side]] - mean) / scale)[::EVERY].astype(np.float32))
            for q in others
        ])  # fmt: skip
    line, quality = tuned_line(*fit)
    return line(features[held.session.recording.id]["test"]) * scale + mean, quality


def rivals(work: Work) -> list[Decoded]:
    """Ridge on smoothed events, of the day and, by registered cells, of the other days."""
    questions = {
        s.recording.id: SignalQuestion.of(s, TARGET)
        for s in sessions(work, trained_with(work, "shared"))
    }
    out = []
    for question in questions.values():
        widths = [w / question.session.bin_s for w in WIDTHS_S]
        made = LagRidge(lambda w=widths: [Lagged(one, ((0, 1),)) for one in w])
        out.append(linear_rival(question, "ridge", made))
        middle = np.repeat(question.mean[None], len(question.bins["test"]), axis=0)
        out.append(scored(question, "mean", middle))
        work.say(f"  ridge of {question.session.recording.id}")
    smoothed = {w: registered(questions, w) for w in (0.4, 0.8)}
    for question in questions.values():
        told = [from_others(questions, x, question) for x in smoothed.values()]
        best = max(told, key=lambda pair: pair[1])[0]
        out.append(scored(question, "ridge, other days", best))
    return out


def registered(questions: dict[str, SignalQuestion], width_s: float) -> BySession:
    """Smoothed events, standardised in each session, in columns of all cells: 0 where one is missing."""
    ids = {c for q in questions.values() for c in q.session.recording.channels.id.tolist()}
    column = {name: i for i, name in enumerate(sorted(ids))}
    out: BySession = {}
    for name, q in questions.items():
        r, bin_s = q.session.recording, q.session.bin_s
        at: NDArray[np.int64] = np.array([column[c] for c in r.channels.id.tolist()])
        pieces = {s: [binning.activity(r, a, b, bin_s)
                      for a, b in side_pieces(r, q.session.sides[s], bin_s)] for s in SIDES}  # fmt: skip
        kind = Lagged(width_s / bin_s, ((0, 1),))
        scale = Scale.of(pieces["train"], np.arange(len(at)))
        out[name] = {}
        for side, parts in pieces.items():
            own = np.concatenate([kind(part, scale) for part in parts])
            wide = np.zeros((len(own), len(column)), np.float32)
            wide[:, at] = own
            out[name][side] = wide
    return out


def co_smoothing(work: Work) -> list[BlockScores]:
    """Of both models, kept as they are done."""
    out: list[BlockScores] = []
    sides = sides_of(work)
    for rows in ROWS:
        trained = trained_with(work, rows)
        for r in every(work):
            path: Path = keep.place(work.out / "scores", "co-smoothing", r.id, f"model-{rows}")
            if not path.exists():
                direct = Direct.of(trained, r, CPU)
                done = score(lambda d=direct: d, f"model ({rows})", TASKS["co-smoothing"], r,
                             bin_s=direct.bin_s, **{s: sides[s][r.id] for s in SIDES})  # fmt: skip
                assert isinstance(done, Scored)
                keep.save(path, done.scores)
                work.say(f"  co-smoothing, rows {rows}: {r.id}")
            out.append(keep.load(path))
    return out


def cells(work: Work) -> dict[str, Callable[[], list[Decoded]]]:
    """Both models and their rivals."""
    return {**{f"ca1-{rows}": partial(model, work, rows) for rows in ROWS},
            "ca1-rivals": partial(rivals, work)}  # fmt: skip
