"""One model of spikes, cursor and muscles against a specialist of each question, on all days of `m1-wrist`.

`python benchmarks/one_model.py ALL ENCODE DECODE UNITS --out one-model.json`: four runs of `configs/m1-wrist-one-model.yaml`, that differ in their
masks and steps alone and were evaluated before (`neurofm evaluate RUN --tasks co-smoothing,encoding,decoding`, the first one with rivals). Each
specialist was trained by its own question for a third of the steps. Means over days; intervals draw days, differences are paired.
"""

import argparse
from pathlib import Path

import numpy as np

from neurofm import files
from neurofm import results as records
from neurofm.evaluate.metrics import bounds
from neurofm.results import Result
from neurofm.run import Run
from neurofm.seeding import generator

QUESTIONS = {
    "co-smoothing": ("bps_pooled", "units"),
    "encoding": ("bps_pooled", "encode"),
    "decoding: cursor_position": ("r2_per_channel", "decode"),
    "decoding: cursor_velocity": ("r2_per_channel", "decode"),
    "decoding: emg": ("r2_per_channel", "decode"),
}
RIVALS = ("ridge", "ridge-wide", "coupled-glm")  # those that the first run was evaluated with
N_BOOT = 2000
Days = dict[str, float]


def days(run: Path, predictor: str, task: str, metric: str) -> Days:
    """{day: score}, the newest of each."""
    return {r.recording: r.value for r in records.load(Run(run).results)
            if (r.predictor, r.task, r.metric) == (predictor, task, metric) and r.recording != "mean"}  # fmt: skip


def over_days(values: Days) -> tuple[float, float, float]:
    """Mean and 95% interval."""
    v = np.array([values[day] for day in sorted(values)])
    drawn = v[generator(0, "days").integers(len(v), size=(N_BOOT, len(v)))].mean(axis=1)
    return float(v.mean()), *bounds(drawn)


def main() -> None:
    """Table and records."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name in ("all", "encode", "decode", "units"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    found: list[Result] = []
    for task, (metric, which) in QUESTIONS.items():
        scores = {
            "one model": days(args.all, "model", task, metric),
            "specialist": days(getattr(args, which), "model", task, metric),
        }
        known = {rival: days(args.all, rival, task, metric) for rival in RIVALS}
        scores |= {rival: found_days for rival, found_days in known.items() if found_days}
        both = set.intersection(*map(set, scores.values()))
        scores = {k: {d: v[d] for d in both} for k, v in scores.items()}
        made = [(k, metric, v, "") for k, v in scores.items()]
        for rival in list(scores)[1:]:
            gain = {d: scores["one model"][d] - scores[rival][d] for d in both}
            made.append(("one model", f"{metric}_gain", gain, rival))
        for predictor, name, values, null in made:
            value, low, high = over_days(values)
            above = sum(v > 0 for v in values.values()) if null else 0
            print(f"{task:26} {predictor:11} {name:20} {null:11} {value:+.3f} [{low:+.3f}, {high:+.3f}] n {len(both)}"
                  + (f", above on {above}" if null else ""))  # fmt: skip
            found.append(Result(predictor, task, "mean", "test", name, value, low, high, len(both), null, 0, "recordings"))  # fmt: skip
    files.write_json(args.out, [r.record() for r in found])


if __name__ == "__main__":
    main()
