"""What a model says of units it was trained on, against what they did on the test side.

`python benchmarks/insilico.py RUN... --store STORE --out insilico.json`: runs of several seeds on one recording with
`cursor_position` and `cursor_velocity` as channels (`configs/m1-wrist-loop.yaml`). Two questions. *Tuning*: counts of each unit by
the direction of fast movements, against those of the test side (Pearson over 8 directions, median over units): as `tuning` tells it, with
velocity held and all else hidden; as the model tells it of the movements as they were, from all or from their velocity alone; and, the rival,
what the training side had. *Bayes*: the model's own rates turned around, against the same model asked to decode. Its rates are those of positions
held, on a grid with a random walk (rival: the training side's fields on that grid), or those of all movements of the training side, as they were: these are
then samples of a prior over courses of behaviour. Steps, widths and temperatures from the validation side.
"""

import argparse
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from insilico_bayes import POSITION, VELOCITY, Grid, Movements, Recorded, Walk, chosen

mpl.use("agg")
from matplotlib import pyplot as plt

from neurofm import files
from neurofm.data import binning
from neurofm.data import splits as split
from neurofm.data.intervals import Intervals
from neurofm.data.nodes import ChannelsConfig, rows_of
from neurofm.data.recording import Recording
from neurofm.data.store import open_store
from neurofm.evaluate import bayes, insilico
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import Floats, bounds, r2, resamples
from neurofm.evaluate.node_tasks import Decoding, Encoding
from neurofm.model import checkpoint
from neurofm.results import Result
from neurofm.run import open_run
from neurofm.seeding import generator

SEED, N_BOOT, N_DIRECTIONS, BLOCK_S = 0, 1000, 8, 10.0
HELD, MOVED = "model, velocity held", "model, as it moved"
ALONE = "model, velocity alone as it moved"
Sides = dict[str, Intervals]


def by_direction(part: Recorded, fast: float, scale: Floats) -> Floats:
    """(8, U) mean counts by direction of movement, where it is faster than `fast` deviations."""
    v = part.velocity / scale
    moving = np.isfinite(v).all(axis=1) & (np.linalg.norm(v, axis=1) > fast)
    angle = np.arctan2(v[moving, 1], v[moving, 0]) % (2 * np.pi)
    at = np.round(angle / (2 * np.pi / N_DIRECTIONS)).astype(int) % N_DIRECTIONS
    n = np.maximum(np.bincount(at, minlength=N_DIRECTIONS), 1)
    sums = np.zeros((N_DIRECTIONS, part.counts.shape[1]))
    np.add.at(sums, at, part.counts[moving])
    return sums / n[:, None]


def told_by_direction(direct: Direct, r: Recording, mean: Floats, scale: Floats) -> Floats:
    """(8, U) the same as the model has it, at 1.5 deviations."""
    angle = np.arange(N_DIRECTIONS) * 2 * np.pi / N_DIRECTIONS
    v = mean + 1.5 * scale * np.column_stack([np.cos(angle), np.sin(angle)])
    return insilico.tuning(direct, r.channels, {f"{VELOCITY}[{i}]": v[:, i] for i in (0, 1)}, 41)


def likeness(told: Floats, was: Floats) -> Floats:
    """(U,) Pearson over directions."""
    a, b = (x - x.mean(axis=0) for x in (told, was))
    size = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.asarray((a * b).sum(axis=0) / np.where(size > 0, size, np.nan))


def over_units(values: Floats) -> tuple[float, float, float, int]:
    """Median over units and its 95% interval."""
    known = values[np.isfinite(values)]
    rng = generator(SEED, "units")
    drawn = [np.median(known[rng.integers(len(known), size=len(known))]) for _ in range(N_BOOT)]
    return float(np.median(known)), *bounds(np.array(drawn)), len(known)


def encoded(direct: Direct, r: Recording, side: Intervals, only: str = "") -> Floats:
    """(T, U) rates of one side, told from all stimulus and behaviour as it was, or from one signal alone."""
    task = Encoding()
    fold = task.groups(r, 0)[0]
    away = ~r.channels.in_activity & bool(only)
    away[rows_of(r.channels, only)] = False
    questions = [e.question for e in task.examples(r, side, direct.bin_s, fold)]
    parts = direct.predict([replace(q, visible=np.where(away, np.float32(0), q.visible), hidden=q.hidden | away)
                            for q in questions])  # fmt: skip
    return np.concatenate(parts)[:, fold.scored].astype(float)


def decoded(direct: Direct, r: Recording, side: Intervals) -> Floats:
    """(T, 2) positions, by asking the model itself."""
    task = Decoding(POSITION)
    fold = task.groups(r, 0)[0]
    parts = direct.predict([e.question for e in task.examples(r, side, direct.bin_s, fold)])
    return np.concatenate(parts)[:, fold.scored].astype(float)


def r2_of(told: Floats, was: Floats, bin_s: float) -> tuple[float, float, float, int]:
    """R2, mean of axes, and its interval over blocks of 10 s."""
    there = np.isfinite(was).all(axis=1)
    block = (np.arange(len(was)) / (BLOCK_S / bin_s)).astype(int)[there]
    weights = resamples(int(block.max()) + 1, N_BOOT, SEED, "blocks")
    value = float(np.mean(r2(was[there], told[there])))
    drawn = [np.mean(r2(was[there], told[there], w[block])) for w in weights]
    return value, *bounds(np.array(drawn)), int(block.max()) + 1


def by_bayes(r: Recording, name: str, seed: int, decoder: Walk | Movements, valid: Recorded,
             test: Recorded, bin_s: float) -> list[Result]:  # fmt: skip
    """R2 of the posterior mean, and how often the truth is in the set of 90%."""
    _, choice, hot = chosen(decoder, valid)
    print(f"    {name}: choice {choice:g}, temperature {hot:.1f}")
    posterior = decoder.told(test.counts, choice)(hot)
    truth = bayes.nearest(decoder.grid.cells, test.position)
    there = np.isfinite(test.position).all(axis=1)
    inside = float((bayes.depth(posterior[there], truth[there]) <= 0.9).mean())
    points = r2_of(posterior @ decoder.grid.cells, test.position, bin_s)
    return [result(r, "position", name, "r2_per_channel", seed, "mean of the test part", points, "blocks"),
            result(r, "position", name, "covered_by_90pc_sets", seed, "0.9",
                   (inside, np.nan, np.nan, int(there.sum())), "bins")]  # fmt: skip


def result(r: Recording, task: str, predictor: str, metric: str, seed: int, null: str,
           found: tuple[float, float, float, int], unit: str) -> Result:  # fmt: skip
    value, low, high, n = found
    print(f"{task:14} {predictor:34} {metric:26} {value:6.3f} [{low:.3f}, {high:.3f}] n {n}")
    return Result(predictor, task, r.id, "test", metric, value, low, high, n, null, seed, unit)


def one_run(
    folder: Path, store: Path
) -> tuple[list[Result], dict[str, Floats], Recording, Sides, Direct]:
    """All figures of one seed, and tuning curves by name."""
    run = open_run(folder)
    trained = checkpoint.load(checkpoint.best_intact(run.checkpoints))
    nodes = ChannelsConfig.model_validate(trained.config["channels"])
    [r] = nodes.widen(open_store(store).recordings())
    splits = split.load(run.splits)
    sides = {s: splits.side(s)[r.id] for s in ("train", "valid", "test")}
    direct, seed = Direct.of(trained, r, torch.device("cpu")), int(trained.config["seed"])
    train, valid, test = (recorded(r, sides[s], direct.bin_s) for s in sides)
    mean, scale = np.nanmean(train.velocity, axis=0), np.nanstd(train.velocity, axis=0)
    told = told_by_direction(direct, r, mean, scale)
    was = by_direction(test, 1.0, scale)
    moved, alone = (
        replace(test, counts=encoded(direct, r, sides["test"], only)) for only in ("", VELOCITY)
    )
    curves = {HELD: told, ALONE: by_direction(alone, 1.0, scale), MOVED: by_direction(moved, 1.0, scale),
              "training side": by_direction(train, 1.0, scale)}  # fmt: skip
    found = [result(r, "tuning", name, "pearson_over_directions", seed, "none",
                    over_units(likeness(curve, was)), "units")
             for name, curve in curves.items()]  # fmt: skip
    grid = Grid.of(train)
    held = {f"{POSITION}[{i}]": grid.cells[:, i] for i in (0, 1)}
    decoders = {
        "bayes, positions held": Walk(grid, insilico.tuning(direct, r.channels, held, 41)),
        "bayes, recorded fields": Walk(grid, grid.fields(train)),
        "bayes, movements as they were": Movements.of(grid, train, encoded(direct, r, sides["train"])),
    }  # fmt: skip
    for name, decoder in decoders.items():
        found += by_bayes(r, name, seed, decoder, valid, test, direct.bin_s)
    found.append(result(r, "position", "the model asked to decode", "r2_per_channel", seed, "mean of the test part",
                        r2_of(decoded(direct, r, sides["test"]), test.position, direct.bin_s), "blocks"))  # fmt: skip
    return found, curves, r, sides, direct


def recorded(r: Recording, side: Intervals, bin_s: float) -> Recorded:
    n = binning.n_bins(r, bin_s)
    counts = binning.activity(r, 0, n, bin_s)[:, r.channels.in_activity].astype(float)
    return Recorded.of(r, counts, side, bin_s)


def around(curve: Floats, unit: int) -> Floats:
    """A unit's curve, with its beginning again at its end."""
    return np.append(curve[:, unit], curve[0, unit])


def draw(told: dict[str, insilico.OverSeeds], was: Floats, names: np.ndarray, path: Path) -> None:
    """Six units that change most on the test side: recorded, and the model's mean over seeds."""
    angle = np.arange(N_DIRECTIONS + 1) * 360 / N_DIRECTIONS
    most = np.argsort(-was.std(axis=0))[:6]
    sheet, axes = plt.subplots(2, 3, figsize=(9, 5), sharex=True, layout="constrained")
    for axis, unit in zip(axes.flat, most, strict=True):
        axis.plot(angle, around(was, unit), "o--", color="0.35", ms=4, label="recorded, test side")
        for (name, curve), colour in zip(
            told.items(), ("#0072B2", "#009E73", "#D55E00"), strict=True
        ):
            mean, low, high = (around(x, unit) for x in (curve.mean, curve.low, curve.high))
            axis.plot(angle, mean, color=colour, label=name)
            axis.fill_between(angle, low, high, color=colour, alpha=0.25, lw=0)
        axis.set_title(str(names[unit]), fontsize=9)
        axis.set_xticks([0, 90, 180, 270, 360])
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes[-1]:
        axis.set_xlabel("direction of movement (degrees)")
    for axis in axes[:, 0]:
        axis.set_ylabel("counts in 50 ms")
    sheet.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    sheet.savefig(path, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    each = [one_run(folder, args.store) for folder in args.runs]
    found = [row for rows, *_ in each for row in rows]
    _, _, r, sides, direct = each[0]
    if len(each) > 1:
        told = {k: insilico.over_seeds([one[1][k] for one in each]) for k in (HELD, ALONE, MOVED)}
        alike = np.concatenate([likeness(a[1][HELD], b[1][HELD]) for a, b in combinations(each, 2)])
        found.append(result(r, "tuning", HELD, "pearson_between_seeds", SEED, "none",
                            over_units(alike), "units of pairs of seeds"))  # fmt: skip
        train, test = (recorded(r, sides[s], direct.bin_s) for s in ("train", "test"))
        was = by_direction(test, 1.0, np.nanstd(train.velocity, axis=0))
        names = r.channels.id[r.channels.in_activity]
        draw(told, was, names, args.out.with_suffix(".png"))
    files.write_json(args.out, [row.record() for row in found])


if __name__ == "__main__":
    main()
