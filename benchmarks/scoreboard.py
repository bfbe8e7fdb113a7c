"""One table of every data set, question and method that was measured, from the records that are kept.

`python benchmarks/scoreboard.py` writes `scoreboard.md` and `results/scoreboard.png` beside this file. It measures nothing: each
row reads a file of `results/`, which was made by the command that `README.md` names. Ours is one method, named in the row; the rival is the best
of all others on the same bins or trials, however it did on the rest. The difference is of the paired kind where the records
hold it; an interval that holds 0 is called level.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from scoreboard_matrix import matrix

mpl.use("agg")
from matplotlib import pyplot as plt

from neurofm.evaluate.metrics import mean_interval
from neurofm.seeding import generator

HERE = Path(__file__).parent
Record = dict[str, Any]
NOT_RIVALS = ("planted", "no activity", "ceiling", "chance")


@dataclass(frozen=True)
class Row:
    """What is read from where. `bar`: what the field or the data's notes ask for, if anything.

    `lower`: of two scores the lower is better. `of`: predictors among which rivals are looked for; all where
    it says none.
    """

    data: str
    question: str
    file: str
    task: str
    metric: str
    ours: str
    unit: str
    bar: str = ""
    split: str = "test"
    lower: bool = False
    of: Callable[[str], bool] | None = None


def classical(name: str) -> bool:
    """No model of ours under another name."""
    return not name.startswith(
        ("model", "multi", "temporal", "probe", "zero-shot", "scratch", "lfads")
    )


def only(name: str) -> Callable[[str], bool]:
    """One rival: the same data of the person, another method."""
    return lambda other: other == name


def not_specialist(name: str) -> bool:
    """No model of ours of one question alone."""
    return name != "specialist"


PE, PA, BA = "people-emg.json", "people-eeg.json", "balanced accuracy"
ALONE = "inductive with linear and traces"
EMG, EEG = "emg-myo-gestures, 40 people", "eeg-eegmat, 36 people"
BARS = ((2, "0.640"), (8, "0.711"), (16, "0.739"), (30, "0.745"))
M1, LOO = "m1-wrist, 8 days", "leave-one-day-out.json"
UNTAUGHT = "translator-targets.json"
ACROSS = "worms-across.json"
TWIN = "model, mean of 3"
ONE = "one-model.json"
CA1, HC, POSE = "questions-ca1.jsonl", "questions-hippocampus.jsonl", "questions-pose.jsonl"
QE, QA = "questions-emg.jsonl", "questions-eeg.jsonl"
CA1S, RAT, MOUSE = "ca1-sheintuch, 4 days", "hippocampus-nelpy, 1 rat", "pose-openfield, 1 mouse"
BPS, R2 = "bits/spike", "R²"
ROWS = (
    Row("simulator, 4 sessions", "co-smoothing", "simulator-demo.json", "co-smoothing", "bps_pooled", "model", BPS, "planted 0.447"),
    Row("simulator, 4 sessions", "forward", "simulator-demo.json", "forward", "bps_pooled", "model", BPS, "planted 0.447"),
    Row("simulator, 4 sessions", "intra-region", "simulator-demo.json", "intra-region", "bps_pooled", "model", BPS, "planted 0.447"),
    Row("simulator, 4 sessions", "inter-region", "simulator-demo.json", "inter-region", "bps_pooled", "model", BPS, "planted 0.447"),
    Row(M1, "co-smoothing", "m1-wrist.json", "co-smoothing", "bps_pooled", "model", BPS, "+20% over the best baseline"),
    Row(M1, "forward 0.2 s", "m1-wrist.json", "forward", "bps_pooled", "model", BPS),
    Row("ca1-sheintuch, 8 days", "co-smoothing", "ca1-sheintuch.json", "co-smoothing", "bps_pooled", "model", BPS),
    Row("ca1-sheintuch, 8 days", "forward 0.2 s", "ca1-sheintuch.json", "forward", "bps_pooled", "model", BPS),
    Row("v1-steinmetz, 3 sessions", "co-smoothing", "v1-steinmetz.json", "co-smoothing", "bps_pooled", "model", BPS),
    Row("v1-steinmetz, 3 sessions", "forward 0.2 s", "v1-steinmetz.json", "forward", "bps_pooled", "model", BPS),
    Row(M1, "one model of all: co-smoothing", ONE, "co-smoothing", "bps_pooled", "one model", BPS, of=not_specialist),
    Row(M1, "one model of all: encode from cursor and EMG", ONE, "encoding", "bps_pooled", "one model", BPS, of=not_specialist),
    Row(M1, "one model of all: decode position", ONE, "decoding: cursor_position", "r2_per_channel", "one model", R2, of=not_specialist),
    Row(M1, "one model of all: decode velocity", ONE, "decoding: cursor_velocity", "r2_per_channel", "one model", R2, of=not_specialist),
    Row(M1, "one model of all: decode EMG", ONE, "decoding: emg", "r2_per_channel", "one model", R2, of=not_specialist),
    Row("simulator, 4 new animals", "whisking, no target of the animal", UNTAUGHT, "decode:whisker_motion_energy@0min", "r2_flattened", "model", R2, of=only("region-rates")),
    Row(M1, "decode position, Bayes", "bayes-real.json", "decode:m1: position", "r2_flattened", "bayes process", R2, of=lambda n: not n.startswith("bayes")),
    Row(M1, "position of a new day, 2 min of targets", LOO, "decode:cursor_position@2min", "r2_flattened", "model", R2, "same-day ridge"),
    Row(M1, "velocity of a new day, 2 min of targets", LOO, "decode:cursor_velocity@2min", "r2_flattened", "model", R2, "same-day ridge"),
    Row(M1, "EMG of a new day, 2 min of targets", LOO, "decode:emg@2min", "r2_flattened", "model", R2, "same-day ridge"),
    Row("ca1-sheintuch, 8 days", "decode position, Bayes", "bayes-real.json", "decode:ca1: position", "r2_flattened", "bayes walk", R2, "ridge 0.81",
        of=lambda n: not n.startswith("bayes")),
    Row("ca1-sheintuch, 8 days", "position, trained on the 7 other days", "decoding-real.json", "decode:ca1:position", "r2_flattened",
        "probe, other days (shared)", R2, "its own day 0.81", of=lambda n: n == "ridge, other days"),
    Row("hippocampus-nelpy, 1 rat", "decode place, Bayes", "bayes-real.json", "decode:hippocampus: running", "median_error", "bayes walk", "px", "30 px",
        lower=True, of=lambda n: not n.startswith("bayes")),
    Row(CA1S, "one model: encode from place and speed", CA1, "encoding", "bps_pooled", "model", BPS),
    Row(CA1S, "one model: decode position", CA1, "decoding: position", "r2_per_channel", "model", R2),
    Row(CA1S, "one model: decode velocity", CA1, "decoding: velocity", "r2_per_channel", "model", R2),
    Row(RAT, "one model: encode from place and velocity", HC, "encoding", "bps_pooled", "model", BPS),
    Row(RAT, "one model: co-smoothing", HC, "co-smoothing", "bps_pooled", "model", BPS),
    Row(RAT, "one model: forward 0.2 s", HC, "forward", "bps_pooled", "model", BPS),
    Row(RAT, "one model: decode place", HC, "decoding: position", "r2_per_channel", "model", R2),
    Row(RAT, "one model: decode velocity", HC, "decoding: velocity", "r2_per_channel", "model", R2),
    Row("v1-steinmetz, 3 sessions", "encode from contrast, by trial", "twin-v1-encoding.jsonl", "encoding", "bps_pooled", "model", BPS),
    Row("v1-steinmetz, 3 sessions", "mean response to each pair of contrasts", "twin-v1.jsonl", "repeats of contrast_left, contrast_right",
        "correlation_to_average", TWIN, "r", "ceilings 0.82, 0.63, 0.69", split="test, whole trials"),
    Row("m1-wrist, 7 days", "one model of all: mean response to each target, explained of explainable", "twin-m1-one-model.jsonl", "repeats of target",
        "feve_pooled", "model", "FEVE", "1", split="test, 0:1 s from go_s"),
    Row("m1-wrist, 1 day", "mean response to each target, explained of explainable", "twin-m1.jsonl", "repeats of target", "feve_pooled", TWIN, "FEVE",
        "1", split="test, 0:1 s from go_s"),
    Row("v1-steinmetz, 3 sessions", "decode contrast side, held-out session", "decoding-real.json", "decode:v1:contrast_side", "balanced_accuracy",
        "model", "balanced accuracy", "majority 0.44, 0.35, 0.43", of=lambda n: n == "logistic"),
    Row("worm-dag2023, 4 worms", "co-smoothing of traces", "worms.json", "co-smoothing", "r2_per_channel", "model", R2),
    Row("worm-dag2023, 4 worms", "encode traces from behaviour", "worms.json", "encoding", "r2_per_channel", "model", R2),
    Row("worm-dag2023, 4 worms", "decode velocity", "worms.json", "decoding: velocity", "r2_per_channel", "model", R2, "ridge 0.37 to 0.68"),
    Row("worm-dag2023, 4 worms", "decode head angle", "worms.json", "decoding: head_angle", "r2_per_channel", "model", R2, "ridge 0.50 to 0.75"),
    Row("worm-dag2023, 4 worms", "velocity, 1 min of it and three worms", ACROSS, "decode:velocity@1min", "r2_flattened", "model", R2, "ridge 0.37 to 0.68 on all its minutes", of=("ridge", "mean").__contains__),
    Row("worm-dag2023, 4 worms", "velocity, 4 min of it and three worms", ACROSS, "decode:velocity@4min", "r2_flattened", "model", R2, "ridge 0.37 to 0.68 on all its minutes", of=("ridge", "mean").__contains__),
    Row("worm-dag2023, 4 worms", "head angle, 1 min of it and three worms", ACROSS, "decode:head_angle@1min", "r2_flattened", "model", R2, "ridge 0.50 to 0.75 on all its minutes", of=("ridge", "mean").__contains__),
    Row("worm-dag2023, 4 worms", "head angle, 4 min of it and three worms", ACROSS, "decode:head_angle@4min", "r2_flattened", "model", R2, "ridge 0.50 to 0.75 on all its minutes", of=("ridge", "mean").__contains__),
    Row(EMG, "gesture of a 0.25 s window, no data of the person", PE, "leave people out", "window", "inductive", BA, "0.727; chance 0.143", of=only("linear: tangent")),
    Row(EMG, "gesture of a 5 s recording, no data of the person", PE, "leave people out", "recording", "inductive", BA, "0.774", of=only("linear: tangent")),
    *(Row(EMG, f"window, ten people held out, from {n} people", PE, f"alone {n}", "window", ALONE, BA, f"a small CNN {bar}",
          of=only("linear: tangent")) for n, bar in BARS),
    *(Row(EMG, f"window, from {n} people, against a CNN of the same draws", PE, f"alone {n}", "window", ALONE, BA,
          f"a small CNN {bar}", of=only("small CNN")) for n, bar in BARS),
    Row(EMG, "window, the person's unlabelled mean", PE, "leave people out", "window", "recentred", BA, "0.815", of=only("linear: recentred")),
    Row(EMG, "window, unlabelled, and self-taught", PE, "leave people out", "window", "self-taught", BA, "0.815", of=only("linear: recentred")),
    Row(EMG, "window, 35 s of the person's labels", PE, "personal 35 s", "window", "fine-tuned with linear", BA, "0.876", of=only("own data, linear")),
    Row(EMG, "window, 140 s of the person's labels", PE, "personal 140 s", "window", "fine-tuned with linear", BA, "0.960", of=only("own data, linear")),
    Row(EMG, "one model: co-smoothing of covariances", QE, "co-smoothing", "r2_per_channel", "model", R2),
    Row(EMG, "one model: encode covariances from the gesture", QE, "encoding", "r2_per_channel", "model", R2),
    Row(EMG, "one model: gesture of a 5 s recording, own 70 s of labels", QE, "decoding: gesture", "balanced_accuracy", "model", BA, "chance 0.143"),
    Row(EEG, "one model: co-smoothing of band power", QA, "co-smoothing", "r2_per_channel", "model", R2),
    Row(EEG, "one model: encode band power from rest or arithmetic", QA, "encoding", "r2_per_channel", "model", R2),
    Row(EEG, "arithmetic or rest, no data of the person", PA, "", "balanced accuracy", "one left out: tangent space", BA, "0.699; chance 0.5", of=only("one left out: power")),
    Row(EEG, "arithmetic or rest, the person's unlabelled data", PA, "", "balanced accuracy", "one left out: both in own units", BA, "0.817", of=only("one left out: power in own units")),
    *(Row(MOUSE, f"behaviour: pose, the next {n} frames" if n > 1 else "behaviour: pose, the next frame", POSE, f"behaviour: {n} frames", "r2_per_channel",
          "model", R2) for n in (1, 5, 10)),
    Row("speech simulated, 20 min", "which of 512 segments, EMG taken out and mixed in", "retrieval.json", "controls-brain and muscle-EMG taken out, mixed in-0", "top_10_of_512",
        "eeg", "top-10", "chance 0.020", of=only("emg on noise, as it leaks")),
    Row("eeg-feis, 21 people", "which of 16 phonemes (a null)", "retrieval.json", "feis-own", "top_1_of_16", "own, eeg", "top-1", "below 0.08; chance 0.0625",
        of=only("own, noise input")),
    Row("fmri-digits69, 1 person", "digit image among 10, from voxels", "encoding-real.json", "encode:digits", "top-1 of 10", "banded, all three", "top-1", "0.82; chance 0.10"),
    Row("v1-macaque-patterns, 4 cells", "encode patterns", "encoding-real.json", "encode:patterns", "r, mean of 4", "banded, all bands", "r"),
)  # fmt: skip


def records(name: str) -> list[Record]:
    """All records of a file of results."""
    text = (HERE / "results" / name).read_text()
    if name.endswith("jsonl"):
        return [json.loads(line) for line in text.splitlines()]
    held = json.loads(text)
    if name.startswith("people-"):
        return _of_people(held)
    if name.startswith("retrieval"):
        parts = held["simulated"] | {f"feis-{k}": rows for k, rows in held["feis"].items()}
        return [r | {"task": k, "recording": "mean"} for k, rows in parts.items() for r in rows]
    if name == UNTAUGHT:
        return [r for r in held["untaught"] if r["n_sessions"] == 20]
    return list(held["results"] if isinstance(held, dict) else held)


def _of_people(pieces: dict[str, Any]) -> list[Record]:
    """Records of each person, from {piece: {method: {score: {person: value}}}}: the mean over draws."""
    out: dict[tuple[str, str, str, str], Record] = {}
    for piece, held in pieces.items():
        kind = piece.rpartition(" ")[0].replace("cnn", "alone").replace("traces", "alone")
        flat = {"": {piece: held}} if ":" in piece else {kind: held}
        if kind == "personal":
            flat = {f"personal {seconds} s": methods for seconds, methods in held.items()}
        for task, methods in flat.items():
            for method, scores in methods.items():
                for metric, people in scores.items():
                    if isinstance(people, dict):
                        name = f"linear: {method}" if kind == "linear" else method
                        which = (
                            "leave people out"
                            if kind in ("inductive", "linear", "transductive")
                            else task
                        )
                        for person, value in people.items():
                            told = out.setdefault((which, name, metric, person), {
                                "task": which, "predictor": name, "metric": metric, "split": "test",
                                "recording": person, "value": 0.0, "null": "", "n": 0})  # fmt: skip
                            told["value"] += (value - told["value"]) / (told["n"] + 1)
                            told["n"] += 1
    return list(out.values())


@dataclass(frozen=True)
class Score:
    """A number and its interval, over `n` of `unit`; NaN bounds where the records hold none."""

    value: float
    low: float
    high: float
    n: int
    of: str

    def __str__(self) -> str:
        span = "" if np.isnan(self.low) else f" [{_short(self.low)}, {_short(self.high)}]"
        return _short(self.value) + span


def _short(x: float) -> str:
    return f"{x:.3f}" if abs(x) < 10 else f"{x:.1f}"


def read(row: Row, metric: str, null: str | None = None) -> dict[str, Score]:
    """{predictor: score} over recordings: the mean that was kept or, without one, its bootstrap over them."""
    mine = [r for r in records(row.file) if (r["metric"], r["split"]) == (metric, row.split)
            and (r["task"] == row.task or r["task"] == row.task.partition("@")[0])
            and (null is None or r["null"] == null)]  # fmt: skip
    out: dict[str, Score] = {}
    for name in dict.fromkeys(r["predictor"] for r in mine):
        own = [r for r in mine if r["predictor"] == name]
        mean = [r for r in own if r["recording"] == "mean"] or (own if len(own) == 1 else [])
        if mean:
            r = mean[-1]
            low, high = (np.nan if r[k] is None else r[k] for k in ("low", "high"))
            out[name] = Score(r["value"], low, high, r["n"], r.get("unit_of_n", "blocks"))
        else:
            out[name] = _over([r["value"] for r in own], _unit(row))
    return out


def _unit(row: Row) -> str:
    return "people" if row.file.startswith("people-") else "recordings"


def _over(values: Sequence[float], of: str) -> Score:
    """People are drawn as `PeopleScore` draws them, so that one interval is told everywhere."""
    v = np.array(values, dtype=float)
    rng = generator(0, "bootstrap people") if of == "people" else np.random.default_rng(0)
    return Score(*mean_interval(v, rng), len(v), of)


@dataclass(frozen=True)
class Line:
    """One row with its scores; `gain` is ours less the rival, better being positive."""

    row: Row
    ours: Score
    rival: str
    other: Score
    gain: Score | None

    @property
    def data(self) -> str:
        """The data set."""
        return self.row.data

    @property
    def question(self) -> str:
        """What is asked."""
        return self.row.question

    @property
    def verdict(self) -> str:
        """Above, level or below."""
        if self.gain is None or np.isnan(self.gain.low):
            return "not paired"
        return "above" if self.gain.low > 0 else "below" if self.gain.high < 0 else "level"


def line(row: Row) -> Line:
    """Raises KeyError if the records do not hold the row."""
    found = read(row, row.metric)
    ours, sign = found[row.ours], -1.0 if row.lower else 1.0
    allowed = row.of or classical
    others = {n: s for n, s in found.items()
              if n != row.ours and allowed(n) and not n.startswith(NOT_RIVALS)}  # fmt: skip
    rival = max(others, key=lambda n: sign * others[n].value)
    gain = read(row, row.metric + "_gain", rival).get(row.ours) or _paired(row, rival)
    if gain is not None and row.lower:
        gain = Score(-gain.value, -gain.high, -gain.low, gain.n, gain.of)
    return Line(row, ours, rival, others[rival], gain)


def _paired(row: Row, rival: str) -> Score | None:
    """Over recordings, or people, that both were scored on; None where the records are of one alone."""
    by = {(r["predictor"], r["recording"]): r["value"] for r in records(row.file)
          if (r["metric"], r["task"], r["split"]) == (row.metric, row.task, row.split)}  # fmt: skip
    both = [rec for name, rec in by if name == row.ours and (rival, rec) in by]
    both = both if _unit(row) == "people" else sorted(both)
    gains = [by[row.ours, rec] - by[rival, rec] for rec in both]
    return _over(gains, _unit(row)) if len(both) > 1 and "mean" not in both else None


def table(lines: Sequence[Line]) -> str:
    """As Markdown."""
    out = ["| data | question | score | ours | best rival | ours less rival | | asked for | n |",
           "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for x in lines:
        gain = "" if x.gain is None else str(x.gain)
        cells = (x.row.data, x.row.question, x.row.unit, f"{x.row.ours} {x.ours}", f"{x.rival} {x.other}", gain,
                 x.verdict, x.row.bar, f"{x.ours.n} {x.ours.of}")  # fmt: skip
        out.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(out)


TICKS = (-100, -30, -10, -5, 0, 5, 10, 30, 100)
COLOURS = {"above": "#0072B2", "level": "#999999", "below": "#D55E00"}  # Okabe and Ito
MARKERS = {"above": "o", "level": "s", "below": "v"}


def draw(lines: Sequence[Line], path: Path) -> None:
    """Paired differences as a share of the rival's score, so that all fit one axis."""
    kept = [
        x
        for x in lines
        if x.gain is not None and not np.isnan(x.gain.low) and abs(x.other.value) > 0.02
    ]
    sheet, axis = plt.subplots(figsize=(10.5, 0.3 * len(kept) + 1.4), layout="constrained")
    for y, x in enumerate(reversed(kept)):
        assert x.gain is not None
        scale = 100 / abs(x.other.value)
        value, low, high = (
            np.clip(v * scale, -150, 150) for v in (x.gain.value, x.gain.low, x.gain.high)
        )
        axis.plot([low, high], [y, y], color=COLOURS[x.verdict], lw=1.6)
        axis.plot(value, y, MARKERS[x.verdict], color=COLOURS[x.verdict], ms=6)
    axis.axvline(0, color="0.3", lw=0.8)
    owners = [x.data.partition(",")[0] for x in reversed(kept)]
    for number, owner in enumerate(dict.fromkeys(owners)):
        if number % 2:
            first = owners.index(owner) - 0.5
            axis.axhspan(first, first + owners.count(owner), color="0.95", zorder=0)
    names = [f"{x.row.data}: {x.row.question}" for x in reversed(kept)]
    axis.set_yticks(range(len(kept)), names, fontsize=8)
    axis.set_xscale("symlog", linthresh=10, linscale=1.5)
    axis.set_xticks(TICKS, [f"{tick:+d}%" if tick else "0" for tick in TICKS])
    axis.minorticks_off()
    axis.set_xlabel("ours less the best rival, of its score; 95% intervals")
    axis.set_ylim(-2.7, len(kept) - 0.3)  # room for the legend
    handles = [
        plt.Line2D([], [], color=COLOURS[v], marker=MARKERS[v], lw=1.6, label=v) for v in COLOURS
    ]
    axis.legend(handles=handles, loc="lower right", frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    sheet.savefig(path, dpi=130)


def main() -> None:
    """Read, write the table, draw."""
    order = list(dict.fromkeys(row.data.partition(",")[0] for row in ROWS))
    lines = sorted((line(row) for row in ROWS), key=lambda x: order.index(x.data.partition(",")[0]))
    n = {v: sum(x.verdict == v for x in lines) for v in (*COLOURS, "not paired")}
    head = __doc__.split("\n\n")[1].replace("\n", " ")
    said = ", ".join(f"{k} {v}" for v, k in n.items())
    text = (f"# Every data set, question and method\n\nMade by `benchmarks/scoreboard.py`. {head}\n\nOf {len(lines)} rows: {said}. "
            "Seed 0 everywhere; splits are in order of time unless `README.md` says otherwise.\n\n"
            f"## At a glance\n\n{matrix(lines)}\n\n"
            f"## Row by row\n\n![Differences to the best rival](results/scoreboard.png)\n\n{table(lines)}\n")  # fmt: skip
    (HERE / "scoreboard.md").write_text(text)
    draw(lines, HERE / "results" / "scoreboard.png")
    print(text)


if __name__ == "__main__":
    main()
