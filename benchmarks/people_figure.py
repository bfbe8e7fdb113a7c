"""Table and figure of `people_emg.py`, `people_cnn.py` and `people_eeg.py`.

python benchmarks/people_figure.py benchmarks/results
"""

import argparse
import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from neurofm.evaluate.people import PeopleScore, paired_gain
from neurofm.study import forecast
from neurofm.study.forecast import Study, study
from neurofm.study.laws import fit_power_law
from neurofm.study.points import Points

Found = dict[str, Any]
BLUE, SKY, GREEN, RED, GREY, ORANGE = (
    "#0072B2",
    "#56B4E9",
    "#009E73",
    "#D55E00",
    "#777777",
    "#E69F00",
)
BARS = {  # of the data's README: by window and by recording
    "linear: tangent": (0.727, 0.774), "linear: recentred": (0.815, 0.860),
    "inductive": (0.727, 0.774), "recentred": (0.815, 0.860), "turned": (0.815, 0.860),
    "self-taught": (0.815, 0.860), "self-taught, any shares": (0.815, 0.860),
}  # fmt: skip
CNN = "small CNN"
ALONE = ("inductive", "inductive with linear", "linear: tangent", "linear: three bands", CNN)
GROWTH_BARS = {2: 0.640, 8: 0.711, 16: 0.739, 30: 0.745}
OWN_BARS = {35: 0.876, 70: 0.926, 140: 0.960}


def joined(found: Found, head: str) -> dict[str, dict[str, dict[str, float]]]:
    """{row: {unit: {person: score}}} of all pieces whose name starts with `head`."""
    out: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for name, piece in found.items():
        for row, by in piece.items() if name.startswith(head) else ():
            for unit, each in by.items() if "window" in by else ():
                out[row][unit].update(each)
    return {row: dict(by) for row, by in out.items()}


def text(score: PeopleScore) -> str:
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def everyone(found: Found) -> dict[str, dict[str, dict[str, float]]]:
    rows = {f"linear: {k}": v for k, v in joined(found, "linear ").items()}
    rows |= joined(found, "inductive ") | joined(found, "transductive ")
    return rows | {f"{k}, not pre-trained": v for k, v in joined(found, "without ").items()}


def table(found: Found) -> str:
    lines = [
        "| method | people | by window | bar | worst | by 5 s recording | bar | worst |",
        "|" + "---|" * 8,
    ]
    rows = everyone(found)
    for name, by in rows.items():
        one, five = (PeopleScore.of(by[unit]) for unit in ("window", "recording"))
        bars = BARS.get(name, ("", ""))
        lines.append(f"| {name} | {len(one.each)} | {text(one)} | {bars[0]} | {one.worst[1]:.2f} (person {one.worst[0]}) "
                     f"| {text(five)} | {bars[1]} | {five.worst[1]:.2f} ({five.worst[0]}) |")  # fmt: skip
    for ours, other in (("inductive", "linear: tangent"), ("recentred", "linear: recentred"), ("turned", "recentred"),
                        ("self-taught", "turned"), ("recentred", "recentred, not pre-trained")):  # fmt: skip
        if ours in rows and other in rows:
            same = [n for n in rows[ours]["window"] if n in rows[other]["window"]]
            gain, n = paired_gain(
                *(PeopleScore.of({k: rows[r]["window"][k] for k in same}) for r in (ours, other))
            )
            lines.append(
                f"{ours} less {other}, by window: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], above on {n} of {len(same)}"
            )
    return "\n".join(lines)


def with_cnn(found: Found) -> Found:
    """The CNN's scores beside those of the readers that had the same training people."""
    alone = {f"alone{name[3:]}": piece for name, piece in found.items() if name.startswith("cnn ")}
    return {name: piece | alone.get(name, {}) for name, piece in found.items()}


def growth(found: Found, row: str) -> dict[int, list[float]]:
    """{training people: mean over the ten held out, a draw each}."""
    out: dict[int, list[float]] = defaultdict(list)
    head = "alone " if row in ALONE else "growth "
    for name, piece in found.items():
        if name.startswith(head) and row in piece:
            out[int(name.split()[1])].append(float(np.mean(list(piece[row]["window"].values()))))
    return dict(sorted(out.items()))


def over_draws(found: Found, row: str, n: int) -> PeopleScore:
    """The ten, each person's mean over the draws of `n` training people."""
    each: dict[str, list[float]] = defaultdict(list)
    for name, piece in found.items():
        if not name.startswith(f"alone {n} ") or row not in piece:
            continue
        for who, value in piece[row]["window"].items():
            each[who].append(value)
    return PeopleScore.of({who: float(np.mean(v)) for who, v in each.items()})


def by_draw(found: Found, ours: str, other: str, n: int) -> PeopleScore:
    """Ours less the other, the mean over the ten, for each draw of `n` training people that both had."""
    gain = {}
    for name, piece in found.items():
        if name.startswith(f"alone {n} ") and other in piece:
            a, b = (np.mean(list(piece[row]["window"].values())) for row in (ours, other))
            gain[name] = float(a - b)
    return PeopleScore.of(gain)


def study_of(found: Found, row: str) -> Study:
    """Forms of law through the scores of all draws of a row of `ALONE`, with the ten as anchors."""
    runs = [(int(name.split()[1]), piece[row]["window"]) for name, piece in found.items() if name.startswith("alone ")]  # fmt: skip
    who = list(runs[0][1])
    right = [[each[w] for w in who] for _, each in runs]
    return study(Points.of([n for n, _ in runs], right, axes=("training people",), metric="balanced accuracy"))  # fmt: skip


def law_of(points: dict[int, list[float]]) -> Any:
    """A power law with a floor through the errors of all draws."""
    n = [k for k, v in points.items() for _ in v]
    error = [1 - x for v in points.values() for x in v]
    return fit_power_law(n, error, rises=False, delta=0.03).law


def own(found: Found) -> dict[str, dict[int, PeopleScore]]:
    """{method: {seconds: score of rounds 1 and 2}}."""
    each: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for name, piece in found.items():
        for seconds, rows in piece.items() if name.startswith("personal ") else ():
            for row, by in rows.items():
                each[row][int(seconds)].update(by["window"])
    return {row: {s: PeopleScore.of(v) for s, v in by.items()} for row, by in each.items()}


def draw_growth(panel: Axes, found: Found, studies: dict[str, Study]) -> None:
    n = np.geomspace(2, 60, 80)
    for row, colour, label in (("linear: tangent", GREY, "a window alone, linear"), (CNN, ORANGE, "a window alone, small CNN of ours"), ("inductive with linear", BLUE, "a window alone"),
                               ("recentred", GREEN, "own mean, no labels"), ("self-taught", RED, "self-taught, no labels")):  # fmt: skip
        points = growth(found, row)
        if not points:
            continue
        for k, values in points.items():
            panel.plot([k] * len(values), values, "o", color=colour, ms=3, alpha=0.6)
        if row in studies:
            value, low, high = studies[row].band(n)
            limit = studies[row].limit()
            panel.fill_between(n, low, high, color=colour, alpha=0.1, lw=0)
            panel.plot(
                n, value, color=colour, lw=1.2, label=f"{label}: limit above {limit.low:.2f}"
            )
        elif row == CNN:  # too few draws for a law
            means = [float(np.mean(v)) for v in points.values()]
            panel.plot(list(points), means, color=colour, lw=1.2, label=label)
        elif len(points) > 3:
            law = law_of(points)
            panel.plot(
                n, 1 - law(n), color=colour, lw=1.2, label=f"{label}: limit {1 - law.floor:.2f}"
            )
    panel.plot(
        list(GROWTH_BARS),
        list(GROWTH_BARS.values()),
        "k^",
        ms=5,
        label="small CNN, bar (draws not known)",
    )
    panel.set_xscale("log")
    panel.set_xticks([2, 4, 8, 16, 30, 60], ["2", "4", "8", "16", "30", "60"])
    panel.minorticks_off()
    panel.set_xlabel("training people")
    panel.set_ylabel("balanced accuracy, ten people held out")
    panel.set_ylim(0.3, 1)
    panel.legend(fontsize=7, frameon=False, loc="lower right")


def draw_own(panel: Axes, found: Found) -> None:
    names = {"own data, linear": (GREY, "own data alone"), "fine-tuned": (BLUE, "network, fine-tuned"),
             "fine-tuned with linear": (RED, "fine-tuned, with own linear reader"), "generic": (SKY, "network of 22 others")}  # fmt: skip
    made = own(found)
    for row, (colour, label) in names.items():
        if row in made:
            s = sorted(made[row])
            at = [made[row][k] for k in s]
            panel.plot(s, [x.value for x in at], "o-", color=colour, ms=4, label=label)
            panel.fill_between(
                s, [x.low for x in at], [x.high for x in at], color=colour, alpha=0.12, lw=0
            )
    panel.plot(list(OWN_BARS), list(OWN_BARS.values()), "k^", ms=5, label="own data alone, bar")
    panel.set_xlabel("seconds of the person's first round, labelled")
    panel.set_ylabel("balanced accuracy, later rounds")
    panel.set_xticks(list(OWN_BARS))
    panel.legend(fontsize=7, frameon=False, loc="lower right")


def draw_each(panel: Axes, found: Found) -> None:
    rows = everyone(found)
    names = {"linear: tangent": GREY, "inductive": BLUE, "recentred": GREEN, "self-taught": RED}
    for name, colour in names.items():
        if name in rows:
            values = np.sort(list(rows[name]["window"].values()))
            panel.plot(np.arange(1, len(values) + 1), values, "o", ms=3, color=colour, label=name)
    panel.axhline(1 / 7, color="k", lw=0.8, ls=":")
    panel.text(1, 1 / 7 + 0.01, "chance", fontsize=7)
    panel.set_xlabel("people, the worst first")
    panel.set_ylabel("balanced accuracy of a person")
    panel.set_ylim(0, 1.02)
    panel.legend(fontsize=7, frameon=False, loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    found = with_cnn(json.loads((folder / "people-emg.json").read_text()))
    print(table(found))
    for row in (*ALONE, "recentred", "turned", "self-taught"):
        points = growth(found, row)
        print(
            row,
            {
                k: f"{np.mean(v):.3f} ({min(v):.3f} to {max(v):.3f}, {len(v)} draws)"
                for k, v in points.items()
            },
        )
        if len(points) > 3 and row not in ALONE:
            print("  law of the error:", law_of(points))
    studies = {row: study_of(found, row) for row in ("linear: tangent", "inductive with linear")}
    for row, made in studies.items():
        limit, at60 = made.limit(), made.value_at(60)
        print(f"{row}: form {made.chosen}, kept {made.kept}, held out {made.held_out.error}; score at 60 people {forecast.text(at60)}, "
              f"limit {forecast.text(limit)}; {forecast.refusal(made, size=60)}")  # fmt: skip
    for n in growth(found, "inductive"):
        there = [r for r in ALONE if n in growth(found, r)]
        print(n, {r: text(over_draws(found, r, n)) for r in there})
        ours, net, linear = (
            over_draws(found, r, n)
            for r in ("inductive with linear", "inductive", "linear: tangent")
        )
        others = [("the network", net), ("linear", linear)]
        if CNN in there:
            others.append(("the CNN", over_draws(found, CNN, n)))
            draws = by_draw(found, "inductive with linear", CNN, n)
            above = sum(v > 0 for v in draws.each.values())
            print(f"{n} people: with linear less the CNN, over draws {text(draws)}, above in {above} of {len(draws.each)}; "
                  f"the CNN {min(growth(found, CNN)[n]):.3f} to {max(growth(found, CNN)[n]):.3f}")  # fmt: skip
        for what, other in others:
            gain, above = paired_gain(ours, other)
            print(
                f"{n} people: with linear less {what} {text(gain)}, above for {above} of {len(gain.each)}"
            )
    for row, by in own(found).items():
        print(row, {s: f"{text(by[s])} worst {by[s].worst[1]:.2f}" for s in sorted(by)})
    made = own(found)
    for s in OWN_BARS:
        for row in ("fine-tuned", "fine-tuned with linear"):
            if row in made:
                gain, n = paired_gain(made[row][s], made["own data, linear"][s])
                print(
                    f"{row} less own data, {s} s: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], above on {n} of {len(gain.each)}"
                )
    sheet, panels = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    for panel, paint in zip(
        panels, (partial(draw_growth, studies=studies), draw_own, draw_each), strict=True
    ):
        paint(panel, found)
        panel.spines[["top", "right"]].set_visible(False)
    sheet.savefig(folder / "people.png", dpi=130)


if __name__ == "__main__":
    main()
