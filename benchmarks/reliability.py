"""The reliability scorecard: every claim tried many times, "N trials, k failures".

    python benchmarks/reliability.py --out DIR            all of it; half an hour on one core
    python benchmarks/reliability.py --out DIR --quick    a few trials of each, some minutes
    python benchmarks/reliability.py --out DIR --minutes 7    a part; the same command goes on

DIR/reliability.json is written after every trial, so the command can be stopped and given again.
`--page FILE` writes the page (docs/reliability.md) from it.
"""

import argparse
import datetime
import errno
import json
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import reliability_damage as damage
import reliability_kills as kills
import reliability_power_cases as power
import reliability_training as training
from reliability_common import Count, Nursery, Pace, fresh, toy_store, upper_bound
from reliability_kills import Bench
from reliability_page import page

from neurofm import files

ROOT = Path(__file__).parents[1]


@dataclass
class Place:
    """Folders to work in, and runs without kills, made when they are first needed."""

    work: Path

    @cached_property
    def nursery(self) -> Nursery:
        return Nursery()

    @cached_property
    def plain(self) -> Bench:
        return self._bench("plain", ())

    @cached_property
    def saving(self) -> Bench:
        return self._bench("saving", ("validate_every=1",))

    def _bench(self, name: str, more: tuple[str, ...]) -> Bench:
        folder = fresh(self.work / name)
        toy_store(folder / "store")
        return Bench(self.nursery, folder, folder / "store", more)

    def close(self) -> None:
        if "nursery" in vars(self):
            self.nursery.close()
        shutil.rmtree(self.work, ignore_errors=True)


Trial = Callable[[Place, int], Count]


@dataclass(frozen=True)
class Line:
    """A claim; `trial(place, i)` makes the i-th batch of trials. `full`, `quick`: how many trials."""

    section: str
    claim: str
    trial: Trial
    full: int
    quick: int


def rng_of(claim: str, number: int) -> np.random.Generator:
    return np.random.default_rng([number, *claim.encode()])


def chains(claim: str, aimed: bool) -> Trial:
    def trial(place: Place, number: int) -> Count:
        bench = place.saving if aimed else place.plain
        done = kills.chain(bench, bench.folder / "chain", 4, rng_of(claim, number), aimed)
        if not done.same:
            print(f"chain {number}: {done.why}", file=sys.stderr)
        notes = {"in_save": done.in_save, "before_the_run_was_one": done.at_start, "chains": 1}
        if aimed:  # only those that hit a save are trials here
            return Count(
                done.in_save, 0 if done.same else done.in_save, notes | {"kills": done.kills}
            )
        return Count(done.kills, 0 if done.same else done.kills, notes)

    return trial


def command(place: Place, number: int) -> Count:
    bench = place.plain
    done = kills.killed_command(bench, bench.folder / "chain", rng_of("command", number))
    return Count(done.kills, done.kills * (not done.same), {})


def sabotage(name: str) -> Trial:
    def trial(place: Place, number: int) -> Count:
        at = int(rng_of(name, number).integers(8, 30))
        seen = kills.control(place.plain, place.plain.folder / "control", kills.SABOTAGE[name], at)
        return Count(1, int(not seen), {})

    return trial


def power_loss(name: str) -> Trial:
    def trial(place: Place, _: int) -> Count:
        done = power.tried(power.CASES[name], fresh(place.work / "power"))
        return Count(done.states, len(done.wrong), {"fsyncs": done.n_syncs})

    return trial


def dropped_sync(name: str, wanted: int) -> Trial:
    """The `wanted`-th fsync is left out: at least one state must now lose something."""

    def trial(place: Place, _: int) -> Count:
        done = power.tried(power.CASES[name], fresh(place.work / "power"), drop_sync=wanted)
        return Count(1, int(not done.wrong), {"states": done.states, "lost": len(done.wrong)})

    return trial


def boolean(of: Callable[[Place, int], bool]) -> Trial:
    return lambda place, number: Count(1, int(not of(place, number)), {})


def full_disk(place: Place, number: int) -> Count:
    bench = place.plain
    kib = int(rng_of("full disk", number).integers(24, 330))
    filled, good = damage.full_disk(bench, place.work / "small-disk", kib)
    return Count(int(filled), int(filled and not good), {})


def failing_calls(place: Place, number: int) -> Count:
    error = (errno.ENOSPC, errno.EIO, errno.EDQUOT)[number % 3]
    return damage.failing_calls(fresh(place.work / "failing"), (error,))


def calm(place: Place, number: int) -> Count:
    return Count(*training.calm(fresh(place.work / "calm"), number), {})


def lines() -> list[Line]:
    kill, disk, same, loss = "Kills", "Disks", "Same seed, same curve", "Losses"
    bits, poison = "Damage", "Poison"
    rng = rng_of
    ways = training.WAYS
    return [
        Line(kill, "kill -9 at a random moment of pre-training", chains("random", False), 100, 4),
        Line(kill, "kill -9 inside a save", chains("save", True), 60, 3),
        Line(kill, "kill -9 of a command started anew", command, 4, 1),
        *(Line(kill, f"control: {name}", sabotage(name), 5, 1) for name in kills.SABOTAGE),
        *(Line("Power loss", name, power_loss(name), 1, 1) for name in power.CASES),
        *(Line("Power loss", f"control: {name}, fsync {k} left out", dropped_sync(name, k), 1, 1)
          for name, k in power.NEEDED),
        Line(disk, "a full disk while a run is trained", full_disk, 20, 2),
        Line(disk, "the N-th call to the disk fails, for every N", failing_calls, 600, 1),
        Line(bits, "a flipped bit or a cut end in a checkpoint",
             lambda p, n: damage.checkpoint_damage(p.work / "damage", 100, rng("c", n)), 2000, 100),
        Line(bits, "a flipped bit or a cut end in a column or manifest of a store",
             lambda p, n: damage.column_damage(p.work / "damage", 100, rng("s", n)), 2000, 100),
        Line(poison, "poisoned checkpoints, shared weights and sessions",
             lambda p, _: damage.poisoned(p.work / "poison"), 1, 1),
        Line(same, "the same command again",
             boolean(lambda p, _: training.repeated(p.plain, p.plain.folder / "again")), 5, 1),
        Line(same, "1 or 2 workers, by fork, spawn and forkserver",
             boolean(lambda p, n: training.with_workers(
                 p.plain, p.plain.folder / "again", *ways[n % len(ways)])), 2 * len(ways), 2),
        Line(same, "counts read from disk window by window",
             boolean(lambda p, _: training.window_by_window(p.plain, p.plain.folder / "again")), 2, 1),
        Line(loss, "a loss that is not a number",
             boolean(lambda p, n: training.not_a_number(p.work / "loss", rng("nan", n))), 20, 2),
        Line(loss, "one loss that leaps",
             boolean(lambda p, n: training.spike(p.work / "loss", rng("spike", n))), 20, 1),
        Line(loss, "losses that go on leaping",
             boolean(lambda p, n: training.lasting_spike(p.work / "loss", rng("long", n))), 20, 1),
        Line(loss, "steps of calm runs, none of which may be skipped", calm, 600, 60),
    ]  # fmt: skip


def run_line(line: Line, place: Place, wanted: int, old: dict[str, Any], keep: Callable[[dict[str, Any]], None],
             over: Callable[[], bool]) -> None:  # fmt: skip
    """Go on with a line until it has `wanted` trials or time is over."""
    row = {"section": line.section, "claim": line.claim, "batches": 0, "trials": 0, "failures": 0,
           "notes": {}, **old}  # fmt: skip
    pace = Pace(
        line.claim, max(wanted - row["trials"], 1), lambda text: print(text, file=sys.stderr)
    )
    before, empty = row["trials"], 0
    while row["trials"] < wanted and not over() and empty < 8:
        done = line.trial(place, row["batches"])
        empty = 0 if done.trials else empty + 1
        row["batches"] += 1
        row["trials"] += done.trials
        row["failures"] += done.failures
        for name, n in done.notes.items():
            row["notes"][name] = row["notes"].get(name, 0 if isinstance(n, int) else []) + n
        row["upper"] = upper_bound(row["trials"], row["failures"])
        keep(row)
        pace.at(row["trials"] - before, row["failures"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("reliability"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--minutes", type=float, default=1e9, help="stop after so many; go on later"
    )
    parser.add_argument("--only", default="", help="lines whose section or claim holds this")
    parser.add_argument("--page", type=Path, help="write the page there, from what is done")
    parser.add_argument("--hardware", default="", help="in words, for the record")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    path, until = asked.out / "reliability.json", time.monotonic() + 60 * asked.minutes
    record = files.read_json(path) if path.exists() else {"lines": {}}
    record |= {"date": datetime.date.today().isoformat(), "python": platform.python_version(),
               "hardware": asked.hardware or record.get("hardware") or platform.machine()}  # fmt: skip
    record["quick"] = asked.quick
    place, left = Place(asked.out / "work"), 0
    try:
        for line in lines():
            if asked.only.lower() not in f"{line.section} {line.claim}".lower():
                continue

            def keep(row: dict[str, Any], name: str = line.claim) -> None:
                record["lines"][name] = row
                files.write_json(path, record)

            wanted = line.quick if asked.quick else line.full
            run_line(line, place, wanted, record["lines"].get(line.claim, {}), keep,
                     lambda: time.monotonic() > until)  # fmt: skip
            left += record["lines"].get(line.claim, {"trials": 0})["trials"] < wanted
    finally:
        place.close()
    if asked.page:
        fuzz = ROOT / "benchmarks/results/fuzz.json"
        told = json.loads(fuzz.read_text()) if fuzz.exists() else []
        files.write_text(asked.page, page(record, told))
    failures = sum(row["failures"] for row in record["lines"].values())
    print(f"{sum(r['trials'] for r in record['lines'].values())} trials, {failures} failures"
          + (f"; {left} lines are not finished: give the command again" if left else ""))  # fmt: skip
    return 3 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
