"""Bayes against direct decoding of position, on the same bins: how near, and how sure.

`python benchmarks/bayes_real.py --data DATA --out benchmarks/results/bayes-real.json`. Three sets: a simulated
session of planted fields and a planted walk (`planted` knows both, the others learn); a running rat (`hippocampus-nelpy`, split as
in `decoding_real_hippocampus.py`); eight sessions of mouse CA1 calcium events (`ca1-sheintuch`, split by time).
A direct decoder is given a density: Gaussian about its answer, of the deviation of its errors on the valid side,
over the same cells, times where the animal was in training, at its own temperature. A fourth set, eight days of motor cortex
(`m1-wrist`), has the cursor anywhere in a plane: there the prior is a Gaussian process, and its density is told over the same cells.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decoding_real_hippocampus import BIN_S, Track

from neurofm import files
from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.readers import arrays, nwb
from neurofm.data.recording import Recording
from neurofm.data.splits import split_by_time
from neurofm.data.targets import side_pieces, traces
from neurofm.evaluate import bayes
from neurofm.evaluate.decode_scores import flattened, r2_draws
from neurofm.evaluate.decoders.bayes import Bayes as ProcessBayes
from neurofm.evaluate.decoders.ridge import Ridge
from neurofm.evaluate.decoders.wiener import Wiener
from neurofm.evaluate.fields import Bayes, BayesWalk, Fields
from neurofm.evaluate.metrics import Floats, bounds, resamples
from neurofm.evaluate.nulls import shifted_signals
from neurofm.evaluate.readout import Lagged, LagRidge, Stretch
from neurofm.results import Result
from neurofm.seeding import generator

SEED, N_BOOT, BLOCK_S = 0, 500, 10.0
WIDTHS_S = (0.1, 0.2, 0.4, 0.8, 1.6)  # of counts smoothed, as in `decoding_real_ca1.py`
SIDES = ("train", "valid", "test")
LEVELS = np.array([0.5, 0.9])
PAIRS = (
    ("bayes walk", "ridge"),
    ("bayes walk", "ridge, wide"),
    ("bayes walk, causal", "ridge, causal"),
    ("bayes process", "ridge"),
    ("bayes process, causal", "ridge, causal"),
    ("bayes process, Gaussian", "ridge"),
)


@dataclass(frozen=True)
class Question:
    """Stretches of each side with standardised targets, and what undoes the standardisation."""

    task: str
    recording: str
    bin_s: float
    stretches: dict[str, list[Stretch]]
    scale: Floats
    planted: tuple[Floats, Floats, Floats] | None = (
        None  # cells, rates and moves, where they are known
    )

    @classmethod
    def of(
        cls, task: str, r: Recording, name: str, bin_s: float, sides: dict[str, Intervals]
    ) -> "Question":
        wanted = traces(r, name, bin_s)
        spans = {s: side_pieces(r, sides[s], bin_s) for s in SIDES}
        training = np.concatenate([wanted[a:b] for a, b in spans["train"]])
        mean, scale = np.nanmean(training, axis=0), np.nanstd(training, axis=0)
        made = {s: [Stretch(binning.activity(r, a, b, bin_s), (wanted[a:b] - mean) / scale)
                    for a, b in parts] for s, parts in spans.items()}  # fmt: skip
        return cls(task, r.id, bin_s, made, np.asarray(scale, dtype=np.float64))

    def counts(self, side: str) -> list[np.ndarray]:
        return [s.counts for s in self.stretches[side]]

    def wanted(self, side: str) -> Floats:
        return np.concatenate([s.wanted for s in self.stretches[side]]).astype(np.float64)


@dataclass(frozen=True)
class Answer:
    """What one method told of the test bins: points (T, k), and a posterior over `cells` or None."""

    points: Floats
    posterior: Floats | None
    cells: Floats


def walk(q: Question, causal: bool) -> Answer:
    made = BayesWalk(causal)
    made.fit(q.stretches["train"], q.stretches["valid"])
    print(
        f"    walk: smooth {made.smooth:g}, step {made.step:.3f}, temperature {made.hot:.2f}, {len(made.moves)} cells"
    )
    told = np.concatenate(made.posterior(q.counts("test")))
    cells = made.fields.cells.astype(np.float64)
    return Answer(told @ cells, told, cells)


def process(q: Question, causal: bool, where: bool) -> Answer:
    """`where`: with the prior of one moment that ridge and the walk have, how long the animal was in each cell."""
    made = ProcessBayes(q.bin_s, causal)
    made.fit(q.stretches["train"], q.stretches["valid"])
    print(f"    process: rate {made.encoder.process.rate:.3f} a bin, temperature {made.hot:.2f}")
    fields = Fields.of(q.stretches["train"], 1.0)
    cells = fields.cells.astype(np.float64)
    if where:
        told = np.concatenate(made.among(q.counts("test"), cells, fields.time.astype(np.float64)))
        return Answer(told @ cells, told, cells)
    made_of = made.posterior(q.counts("test"))
    told = np.concatenate([bayes.categorical(g.log_densities(cells)) for g in made_of])
    points = np.concatenate([g.mean for g in made_of])
    return Answer(points, told, cells)


def planted(q: Question) -> Answer:
    """The best there is: the true fields and walk."""
    assert q.planted is not None
    cells, rates, moves = q.planted
    evidence = bayes.poisson_evidence(np.concatenate(q.counts("test")), rates)
    told = bayes.smoothed(evidence, moves)
    return Answer(told @ cells, told, cells)


def direct(q: Question, made: LagRidge) -> Answer:
    made.fit(q.stretches["train"], q.stretches["valid"])
    fields = Fields.of(q.stretches["train"], 1.0)
    cells, time_there = fields.cells.astype(np.float64), fields.time
    read = {s: np.concatenate(made.predict(q.counts(s))).astype(np.float64) for s in SIDES[1:]}
    there = np.isfinite(q.wanted("valid")).all(axis=1)
    truth = q.wanted("valid")[there]
    spread = np.sqrt(((read["valid"][there] - truth) ** 2).mean(axis=0))
    evidence = {s: bayes.gaussian_evidence(x, cells, spread) for s, x in read.items()}
    hot = bayes.temperature(
        lambda t: bayes.categorical(evidence["valid"][there] / t, time_there),
        bayes.nearest(cells, truth),
    )
    return Answer(read["test"], bayes.categorical(evidence["test"] / hot, time_there), cells)


def window(q: Question) -> Answer:
    made = Bayes()
    made.fit(q.stretches["train"], q.stretches["valid"])
    return Answer(np.concatenate(made.predict(q.counts("test"))).astype(float), None, np.empty(0))


def middle(q: Question) -> Answer:
    """No activity: the mean, and where the animal was in training."""
    fields = Fields.of(q.stretches["train"], 1.0)
    n, cells = len(q.wanted("test")), fields.cells.astype(np.float64)
    even = np.zeros((n, len(cells)))
    return Answer(np.zeros((n, cells.shape[1])), bayes.categorical(even, fields.time), cells)


METHODS = {
    "bayes walk": lambda q: walk(q, causal=False),
    "bayes walk, causal": lambda q: walk(q, causal=True),
    "bayes window": window,
    "bayes process": lambda q: process(q, causal=False, where=True),
    "bayes process, causal": lambda q: process(q, causal=True, where=True),
    "bayes process, Gaussian": lambda q: process(q, causal=False, where=False),
    "ridge": lambda q: direct(q, Ridge(q.bin_s)),
    "ridge, causal": lambda q: direct(q, Ridge(q.bin_s, True)),
    "ridge, wide": lambda q: direct(
        q, LagRidge(lambda: [Lagged(w / q.bin_s, ((0, 1),)) for w in WIDTHS_S])
    ),
    "wiener": lambda q: direct(q, Wiener(q.bin_s)),
    "no activity": middle,
}

WALKS = ("bayes walk", "bayes walk, causal", "bayes window")  # many cells take them hours
PROCESSES = (
    "bayes process",
    "bayes process, causal",
    "bayes process, Gaussian",
)  # linear encoders know no places


def methods_of(q: Question) -> dict[str, Callable[[Question], Answer]]:
    """A walk where the animal runs on a track, a process where it moves anywhere."""
    out = PROCESSES if "m1" not in q.task else WALKS
    there = {name: ask for name, ask in METHODS.items() if name not in out}
    return there | ({"planted": planted} if q.planted else {})


@dataclass(frozen=True)
class Scored:
    """{metric: (value, draws (N_BOOT,))}, and how many blocks the draws resample."""

    values: dict[str, tuple[float, Floats]]
    n_blocks: int


def scored(q: Question, answer: Answer) -> Scored:
    wanted = q.wanted("test")
    there = np.isfinite(wanted).all(axis=1)
    y, p = wanted[there], answer.points[there]
    block = np.unique((np.arange(len(wanted)) * q.bin_s // BLOCK_S)[there], return_inverse=True)[1]
    n = int(block.max()) + 1
    drawn = resamples(n, N_BOOT, SEED, "bayes", q.task, q.recording)
    out = {"r2_flattened": (flattened(y, p), r2_draws(y, p, block, SEED, N_BOOT)[:, 0]),
           "median_error": medians(np.linalg.norm((y - p) * q.scale, axis=1), block, drawn)}  # fmt: skip
    far = [np.median(np.linalg.norm((m - p) * q.scale, axis=1)) for m in shifted_signals(y, SEED)]
    out["median_error_chance"] = float(np.mean(far)), np.array(far)
    if answer.posterior is not None:
        out |= calibrated(answer.posterior[there], answer.cells, y, q.scale, block, drawn)
    return Scored(out, n)


def calibrated(
    told: Floats, cells: Floats, y: Floats, scale: Floats, block: np.ndarray, drawn: Floats
) -> dict[str, tuple[float, Floats]]:
    """Log score (nats a bin), and shares of bins whose truth lies in the credible sets."""
    truth = bayes.nearest(cells, y)
    depth = bayes.depth(told, truth, SEED)
    far = np.linalg.norm((y - cells[told.argmax(axis=1)]) * scale, axis=1)
    out = {"median_error_of_mode": medians(far, block, drawn),
           "log_score": means(bayes.log_score(told, truth)[:, None], block, drawn)}  # fmt: skip
    inside = depth[:, None] <= LEVELS
    share, shares = means(inside, block, drawn)
    out["coverage_50"] = float(share[0]), shares[:, 0]
    out["coverage_90"] = float(share[1]), shares[:, 1]
    score, scores = out["log_score"]
    out["log_score"] = float(score[0]), scores[:, 0]
    return out


def means(values: np.ndarray, block: np.ndarray, drawn: Floats) -> tuple[Floats, Floats]:
    sums = np.zeros((drawn.shape[1], values.shape[1]))
    np.add.at(sums, block, values)
    return values.mean(axis=0), drawn @ sums / (drawn @ np.bincount(block))[:, None]


def medians(values: Floats, block: np.ndarray, drawn: Floats) -> tuple[float, Floats]:
    parts = [values[block == b] for b in range(drawn.shape[1])]
    again = [np.concatenate([np.repeat(part, int(k)) for part, k in zip(parts, row, strict=True)])
             for row in drawn]  # fmt: skip
    return float(np.median(values)), np.array([np.median(a) for a in again])


# ------------------------------------------------------------------------------------- questions


def hippocampus(data: Path) -> list[Question]:
    [recording] = nwb.read(data / "hippocampus-nelpy" / "linear-track.nwb")
    there = Track.of(recording)
    return [Question.of("hippocampus: running", there.recording, "running", BIN_S, there.sides)]


def ca1(data: Path) -> list[Question]:
    every = [
        r for path in sorted((data / "ca1-sheintuch").glob("*.npz")) for r in arrays.read(path)
    ]
    splits = split_by_time(every)
    return [Question.of("ca1: position", r, "position", BIN_S,
                        {s: splits.side(s)[r.id] for s in SIDES}) for r in every]  # fmt: skip


def m1(data: Path) -> list[Question]:
    every = [r for path in sorted((data / "m1-wrist").glob("*.npz")) for r in arrays.read(path)]
    splits = split_by_time(every)
    return [Question.of("m1: position", r, "cursor_position", 0.05,
                        {s: splits.side(s)[r.id] for s in SIDES}) for r in every]  # fmt: skip


def simulated(_: Path) -> list[Question]:
    """40 units with planted fields on a line, walked at random; 12 minutes, the last 4 are the test."""
    rng = generator(SEED, "bayes benchmark")
    cells = (np.arange(40)[:, None] + 0.5) * 0.1
    moves = bayes.random_walk(cells, 0.15)
    at = np.empty(14400, dtype=np.int64)
    at[0] = 20
    for t in range(1, len(at)):
        at[t] = rng.choice(40, p=moves[at[t - 1]])
    centre, peak = rng.uniform(0, 4, 40), rng.gamma(2.0, 0.15, 40)
    rates = 0.01 + peak * np.exp(-0.5 * ((cells - centre) / 0.4) ** 2)
    counts = rng.poisson(rates[at])
    cut = {"train": slice(0, 8000), "valid": slice(8000, 9600), "test": slice(9600, None)}
    wanted = cells[at] + rng.uniform(-0.05, 0.05, (len(at), 1))
    mean, scale = wanted[:8000].mean(), wanted[:8000].std(axis=0)
    made = {s: [Stretch(counts[c], ((wanted[c] - mean) / scale).astype(np.float32))]
            for s, c in cut.items()}  # fmt: skip
    known = (cells - mean) / scale, rates, moves
    return [Question("simulated: position", "planted", BIN_S, made, scale, known)]


QUESTIONS = {"simulated": simulated, "hippocampus": hippocampus, "ca1": ca1, "m1": m1}


# --------------------------------------------------------------------------------------- results


def rows(task: str, made: dict[str, dict[str, Scored]]) -> list[Result]:
    """Each recording, the mean over recordings, and paired gains. `made`: {recording: {method: ...}}."""
    out = []
    for method in next(iter(made.values())):
        for metric in next(iter(made.values()))[method].values:
            every = {r: m[method].values[metric] for r, m in made.items()}
            out += _rows(task, method, metric, every, made)
    for a, b in (pair for pair in PAIRS if pair[0] in next(iter(made.values()))):
        for metric in ("median_error", "log_score", "r2_flattened"):
            every = {}
            for r, m in made.items():
                (x, xs), (y, ys) = m[a].values[metric], m[b].values[metric]
                every[r] = x - y, xs - ys
            out += _rows(task, a, f"{metric}_gain", every, made, null=b)
    return out


def _rows(
    task: str, method: str, metric: str, every: dict[str, tuple[float, Floats]],
    made: dict[str, dict[str, Scored]], null: str = "",
) -> list[Result]:  # fmt: skip
    about = {"predictor": method, "task": f"decode:{task}", "split": "test", "metric": metric,
             "null": null, "seed": SEED}  # fmt: skip
    out = []
    for r, (value, draws) in every.items():
        low, high = bounds(draws)
        n = made[r][method].n_blocks
        out.append(Result(**about, recording=r, value=value, low=low, high=high, n=n,
                          unit_of_n="blocks"))  # fmt: skip
    if len(every) > 1:
        drawn = np.array([d for _, d in every.values()])
        rng, n = generator(SEED, "bayes mean", task), len(drawn)
        size = (drawn.shape[1], n)
        which, again = rng.integers(0, n, size), rng.integers(0, drawn.shape[1], size)
        low, high = bounds(drawn[which, again].mean(axis=1))
        value = float(np.mean([v for v, _ in every.values()]))
        out.append(Result(**about, recording="mean", value=value, low=low, high=high, n=n,
                          unit_of_n="recordings"))  # fmt: skip
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(QUESTIONS))
    asked = parser.parse_args(arguments)
    known = files.read_json(asked.out)["results"] if asked.out.exists() else []
    for name in asked.only.split(","):
        questions = QUESTIONS[name](asked.data)
        made: dict[str, dict[str, Scored]] = {}
        for q in questions:
            print(f"{time.strftime('%H:%M:%S')} {q.task}, {q.recording}", flush=True)
            made[q.recording] = {m: scored(q, answer(q)) for m, answer in methods_of(q).items()}
        out = rows(questions[0].task, made)
        tell([row for row in out if len(questions) == 1 or row.recording == "mean"])
        known = [r for r in known if r["task"] != out[0].task] + [r.record() for r in out]
    files.write_json(asked.out, {"date": time.strftime("%Y-%m-%d"), "hardware": "AMD EPYC Zen 4, one core",
                                 "command": __doc__.split("`")[1], "results": known})  # fmt: skip


def tell(results: list[Result]) -> None:
    for r in results:
        print(f"{r.task:28} {r.predictor:20} {r.metric:22} {r.null:14}"
              f" {r.value:8.3f} [{r.low:.3f}, {r.high:.3f}] n {r.n}")  # fmt: skip


if __name__ == "__main__":
    main()
