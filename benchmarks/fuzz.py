"""Thousands of spoilt and hostile files, each read in a process that may take 10 s (of CPU) and 1 GiB.

    python benchmarks/fuzz.py --out DIR --seconds 420      # again and again, until it says that all are done
    python benchmarks/fuzz.py --out DIR --case "nwb:links:17"     # one case again, with its traceback

Every case must end in a sentence or in a valid recording (`fuzz_contract.faults`): no crash, no hang,
no file outside the output folder, no memory over the cap, no error that nobody foresaw. A recording
that ends the process it is read in is given to `ingest` as a user would: its process and its default
limits must end it and say so. Cases are numbered, so that each can be made again; what is done is
kept in DIR/cases.jsonl and not done again. The last run writes DIR/fuzz.json: a line for each target
and mutation, and the sums.
"""

import argparse
import json
import math
import os
import platform
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fuzz_cases import PARTS, Case, cases, judge, make, make_seeds, sound
from fuzz_eeg_seeds import SEEDS

from neurofm import files
from neurofm.data.ingest import ingest
from neurofm.data.reading import limit_memory
from neurofm.data.store import open_store
from neurofm.files import append_line

LIMIT_S, WALL_S = 10.0, 60.0  # of its own CPU time, and of waiting, since the machine may be busy
MEMORY_BYTES, SLACK_BYTES = 1 << 30, 64 << 20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024

BATCH = 25
INGESTED = ("arrays", "nwb", "torch_brain")  # one file, tried again through `ingest`
READ = (*INGESTED, "eeg", "bids", "pose")  # what a reader reads; the others are read in place
AT_LIMIT = "refused at the limit"  # `ingest` ended the process that read it, and said so
GOOD = ("refused", "valid", AT_LIMIT)
WRITES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.link",
    "os.symlink",
    "os.rmdir",
    "os.truncate",
    "shutil.move",
}
CALLS = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system", "os.exec"}


@dataclass(frozen=True)
class Place:
    """Where a case may write (`out`) and what must stay as it is: everything else under `root`."""

    root: Path
    seeds: Path

    @property
    def work(self) -> Path:
        return self.root / "deep" / "deeper" / "work"

    @property
    def out(self) -> Path:
        return self.work / "out"

    def fresh(self) -> None:
        """Empty folders."""
        shutil.rmtree(self.root / "deep", ignore_errors=True)
        self.out.mkdir(parents=True)

    def outside(self) -> dict[str, tuple[int, int]]:
        """Every file but those under `out`: size and time."""
        found = {}
        for top, folders, names in os.walk(self.root):
            folders[:] = [n for n in folders if f"{top}/{n}" != str(self.out)]
            found |= {f"{top}/{n}": (0, 0) for n in folders}
            for name in names:
                stat = os.lstat(f"{top}/{name}")
                found[f"{top}/{name}"] = (stat.st_size, stat.st_mtime_ns)
        return found


class Writes:
    """Tells of whatever Python writes, makes, moves or removes outside `out`, while `on`.

    And of secrets that it reads, of programs that it runs and connections that it makes.
    """

    def __init__(self, out: Path, tell: Any) -> None:
        self.out, self.tell, self.on = str(out), tell, False
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.on and event in CALLS:
            self.tell({"stray": event})
        if not self.on or not (event in WRITES or event == "open"):
            return
        if event == "open" and not self.opens(args[2]):
            if isinstance(args[0], str | bytes | os.PathLike) and is_secret(args[0]):
                self.tell({"stray": f"read {os.fsdecode(args[0])}"})
            return
        if isinstance(args[0], str | bytes | os.PathLike):
            where = os.path.abspath(os.fsdecode(args[0]))  # noqa: PTH100  (no link is to be followed)
            if not where.startswith(self.out) and where != os.devnull:
                self.tell({"stray": f"{event} {where}"})

    @staticmethod
    def opens(flags: Any) -> bool:
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def is_secret(path: Any) -> bool:
    """Whether a path leads, over whatever links, to a file that no case may read."""
    where = os.path.realpath(os.fsdecode(path))
    return where == "/etc/passwd" or os.path.basename(where).startswith("secret.")  # noqa: PTH119


def child(batch: Sequence[Case], place: Place, pipe: int, gate: int) -> None:
    """Make a case, tell so, wait for the gate, read it, tell what came of it; the next. Ends the process."""

    def tell(answer: dict[str, Any]) -> None:
        os.write(pipe, json.dumps(answer).encode() + b"\n")

    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nowhere, handle)
    warnings.simplefilter("ignore")
    writes = Writes(place.out, tell)
    for case in batch:
        if not os.read(gate, 1):
            break
        os.chdir(place.work)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        spent = cpu_s(resource.RUSAGE_SELF)
        try:
            path = make(case, place.seeds, place.work)
            tell({"made": True})
            os.read(gate, 1)
            limit_memory(MEMORY_BYTES)
            spent = cpu_s(resource.RUSAGE_SELF)
            resource.setrlimit(
                resource.RLIMIT_CPU, (math.ceil(spent + LIMIT_S), resource.RLIM_INFINITY)
            )
            writes.on = case.target in READ
            outcome, sentence = judge(case, path, place.out)
        except BaseException:
            outcome, sentence = "unforeseen", traceback.format_exc()[-1500:]
        writes.on = False
        usage = resource.getrusage(resource.RUSAGE_SELF)
        tell({"outcome": outcome, "sentence": sentence[:4000], "seconds": round(cpu_s(resource.RUSAGE_SELF) - spent, 4),
              "peak_bytes": usage.ru_maxrss * RSS_UNIT})  # fmt: skip
    os._exit(0)


def rss_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def cpu_s(who: int) -> float:
    """CPU time of this process, or of its children."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


class Reader:
    """A forked process that takes the cases of a batch one by one."""

    def __init__(self, batch: Sequence[Case], place: Place) -> None:
        self.place = place
        (self.reads, writes), (gate, self.opens) = os.pipe(), os.pipe()
        self.most_bytes = rss_bytes() + MEMORY_BYTES + SLACK_BYTES
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reads)
            os.close(self.opens)
            child(batch, place, writes, gate)
        os.close(writes)
        os.close(gate)
        self.unread = b""

    def attempt(self, case: Case) -> dict[str, Any]:
        """What came of the next case. If the process ended over it, the record says how."""
        self.place.fresh()
        os.write(self.opens, b"x")
        told = self.until("made", [])
        before = self.place.outside()
        os.write(self.opens, b"x")
        self.until("outcome", told)
        ended = None if "outcome" in told[-1] else self.end()
        row = told_of(case, told, ended, self.place.outside() != before)
        if row["peak_bytes"] > self.most_bytes:
            row |= {"outcome": "memory", "sentence": f"{row['peak_bytes']:,} bytes"}
        return row | {"ended": ended is not None}

    def until(self, key: str, told: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Hear it until it says `key`, ends, or is silent for too long."""
        late_s = time.monotonic() + WALL_S
        while not (told and key in told[-1]):
            ready, _, _ = select.select([self.reads], [], [], max(late_s - time.monotonic(), 0))
            block = os.read(self.reads, 1 << 16) if ready else b""
            if not block:
                break
            *lines, self.unread = (self.unread + block).split(b"\n")
            told += [json.loads(line) for line in lines]
        return told

    def end(self) -> int:
        """Kill and wait; how it ended, if it had ended by itself."""
        os.kill(self.pid, signal.SIGKILL)
        status = os.wait4(self.pid, 0)[1]
        os.close(self.reads)
        os.close(self.opens)
        return status


def attempts(batch: Sequence[Case], place: Place) -> Iterator[dict[str, Any]]:
    """Records of cases, in one process until one of them ends it, then in the next."""
    at = 0
    while at < len(batch):
        reader = Reader(batch[at:], place)
        row: dict[str, Any] = {"ended": False}
        while at < len(batch) and not row["ended"]:
            row = reader.attempt(batch[at])
            at += 1
            yield row
        if not row["ended"]:
            reader.end()


def attempt(case: Case, place: Place) -> dict[str, Any]:
    """One case in a process of its own."""
    return next(attempts([case], place))


def told_of(
    case: Case, told: list[dict[str, Any]], ended: int | None, strayed: bool
) -> dict[str, Any]:
    """One record of what a process told of a case, and how it ended if it did."""
    if not told or "made" not in told[0]:
        raise RuntimeError(f"{case.name} could not be made: {told}")
    last = {"seconds": LIMIT_S, "peak_bytes": 0, **told[-1]}
    strays = [t["stray"] for t in told if "stray" in t]
    if strays or strayed:
        last |= {
            "outcome": "stray file",
            "sentence": "; ".join(strays[:3]) or "another file changed",
        }
    elif (
        ended is not None
        and os.WIFSIGNALED(ended)
        and os.WTERMSIG(ended) in (signal.SIGXCPU, signal.SIGKILL)
    ):
        last |= {"outcome": "hang", "sentence": f"ended after {LIMIT_S:g} s"}
    elif ended is not None:
        last |= {"outcome": "crash", "sentence": f"ended with status {ended}"}
    return {"case": case.name, **last}


def as_a_user(case: Case, place: Place) -> dict[str, Any]:
    """What `ingest` with its default time limit says of a case that ends the process it is read in."""
    place.fresh()
    path = make(case, place.seeds, place.work)
    before, began_s = place.outside(), time.monotonic()
    report = ingest([path], place.out / "store", n_jobs=1, memory_gb=MEMORY_BYTES / 1e9)
    took_s = time.monotonic() - began_s  # with the start of its process
    sentences = [one.sentence for one in report.refused]
    outcome = AT_LIMIT if sentences else "valid"
    if not all(map(sound, sentences)):
        outcome = "unsound sentence"
    if took_s > WALL_S:
        outcome = "hang"
    if place.outside() != before:
        outcome = "stray file"
    return {"outcome": outcome, "sentence": " ".join(sentences), "ingest_s": round(took_s, 2)}


def done_before(path: Path) -> dict[str, dict[str, Any]]:
    """Records of earlier runs by case."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {row["case"]: row for row in map(json.loads, lines)}


def batches_of(todo: Sequence[Case], place: Place) -> Iterator[Sequence[Case]]:
    """Cases of one target, a few at a time."""
    for target in dict.fromkeys(case.target for case in todo):
        load(target, place)
        mine = [case for case in todo if case.target == target]
        yield from (mine[i : i + BATCH] for i in range(0, len(mine), BATCH))


def load(target: str, place: Place) -> None:
    """What a target needs that is slow to load, once here and not in every process."""
    if target == "config":
        import neurofm.train.pretrain  # noqa: F401
    if target in ("eeg", "bids"):
        from neurofm.data.readers import bids, eeg

        read = {"eeg": eeg.read, "bids": bids.read}[target]
        for number, name in enumerate(SEEDS[target]):  # MNE loads its parts when they are needed
            list(read(place.seeds / target / str(number) / name))


def run(todo: Sequence[Case], place: Place, record: Path, until_s: float) -> None:
    """Attempt cases until the time is over, with progress every ten seconds."""
    began = said = time.monotonic()
    found = Counter[str]()
    for i, row in enumerate(
        row for batch in batches_of(todo, place) for row in attempts(batch, place)
    ):
        case = named(row["case"])
        if row["outcome"] in ("hang", "crash") and case.target in READ:
            row |= as_a_user(case, place)
        found[row["outcome"]] += 1
        append_line(record, json.dumps(row))
        now = time.monotonic()
        if now > until_s:
            return
        if now - said > 10 or row["outcome"] not in GOOD:
            rate = (i + 1) / (now - began)
            worst = f"  {row['case']}: {row['outcome']}" if row["outcome"] not in GOOD else ""
            print(f"{i + 1}/{len(todo)}  {rate:.0f} a second  {(len(todo) - i) / rate:.0f} s left  "
                  f"{dict(found)}{worst}", flush=True)  # fmt: skip
            said = now


def run_ingest(place: Place, record: Path, chosen: Sequence[Case], until_s: float) -> None:
    """The same through `ingest` and its disposable processes: batches that end with a good file."""
    known = done_before(record)
    todo = [case for case in chosen if f"ingest:{case.name}" not in known]
    batches = [todo[i : i + BATCH] for i in range(0, len(todo), BATCH)]
    for i, batch in enumerate(batches):
        if time.monotonic() > until_s:
            return
        place.fresh()
        paths = []
        for number, case in enumerate(batch):
            home = place.work / str(number)
            home.mkdir()
            made = make(case, place.seeds, home)
            paths.append(made.rename(made.with_stem(f"bad{number}")))
        good = place.seeds / "arrays" / "counts.npz"
        before, began = place.outside(), time.monotonic()
        report = ingest(
            [*paths, good],
            place.out / "store",
            n_jobs=1,
            timeout_s=LIMIT_S,
            memory_gb=MEMORY_BYTES / 1e9,
        )
        store = open_store(place.out / "store")
        store.verify()
        whole = place.outside() == before and "worm" in store.ids()
        for case, path in zip(batch, paths, strict=True):
            mine = [one for one in report.outcomes if one.path == str(path)]
            good_end = (
                whole and mine and all(o.status != "refused" or sound(o.sentence) for o in mine)
            )
            outcome = (
                ("refused" if mine[0].status == "refused" else "valid")
                if good_end
                else "stray file"
            )
            row = {
                "case": f"ingest:{case.name}",
                "outcome": outcome,
                "sentence": mine[0].sentence if mine else "",
            }
            append_line(record, json.dumps(row))
        print(
            f"ingest {i + 1}/{len(batches)}  {time.monotonic() - began:.1f} s a batch", flush=True
        )


def upper(failures: int, trials: int) -> float:
    """Clopper-Pearson: the failure rate that is below this with 95% confidence (one-sided)."""
    from scipy.stats import beta

    return 1.0 if failures >= trials else float(beta.ppf(0.95, failures + 1, trials - failures))


def line(what: str, rows: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """One line of the record."""
    outcomes = Counter(row["outcome"] for row in rows)
    failures = sum(n for outcome, n in outcomes.items() if outcome not in GOOD)
    peak = max((row.get("peak_bytes", 0) for row in rows), default=0)
    return {"what": what, "trials": len(rows), "failures": failures, "upper_95": upper(failures, len(rows)),
            "outcomes": dict(sorted(outcomes.items())), "slowest_s": max((r.get("seconds", 0) for r in rows), default=0),
            "peak_mb": round(peak / 1e6), **more}  # fmt: skip


def summary(rows: Sequence[dict[str, Any]], hardware: str) -> list[dict[str, Any]]:
    """All, each target, each mutation of each target."""
    about = {"date": datetime.now(UTC).date().isoformat(), "hardware": hardware,
             "command": "python benchmarks/fuzz.py --out DIR", "limit_s": LIMIT_S,
             "memory_cap_mb": round((rss_bytes() + MEMORY_BYTES) / 1e6)}  # fmt: skip
    targets = list(dict.fromkeys(row["case"].split(":")[0] for row in rows))
    of = {t: [r for r in rows if r["case"].split(":")[0] == t] for t in targets}
    out = [line("fuzzing: all targets", rows, **about)]
    out += [line(f"fuzzing: {t}", of[t], target=t) for t in targets]
    for t in (t for t in targets if t != "ingest"):
        for mutation in dict.fromkeys(r["case"].split(":")[1] for r in of[t]):
            mine = [r for r in of[t] if r["case"].split(":")[1] == mutation]
            out.append(line(f"fuzzing: {t}, {mutation}", mine, target=t, mutation=mutation))
    return out


def named(name: str) -> Case:
    """The case of a name."""
    target, mutation, number = name.split(":")
    return Case(target, mutation, int(number))


def again(name: str, place: Place) -> None:
    """One case in this process, for a debugger."""
    place.fresh()
    case = named(name.removeprefix("ingest:"))
    path = make(case, place.seeds, place.work)
    print(path, *judge(case, path, place.out), sep="\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left; when all is done, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--seconds", type=float, default=math.inf, help="stop then; the next run goes on"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of cases")
    parser.add_argument("--only", help="one target")
    parser.add_argument("--case", help="one case again, in this process")
    parser.add_argument("--cases", help="these alone, by name, with commas between")
    parser.add_argument("--hardware", default=platform.machine(), help="what the record says")
    args = parser.parse_args(arguments)
    until_s = time.monotonic() + args.seconds
    args.out.mkdir(parents=True, exist_ok=True)
    record = args.out / "cases.jsonl"
    fast = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # fsync costs nothing there
    with tempfile.TemporaryDirectory(dir=fast) as folder, tempfile.TemporaryDirectory() as seeds:
        place = Place(Path(folder).resolve(), Path(seeds).resolve())
        make_seeds(place.seeds)
        if args.case:
            again(args.case, place)
            return
        every = [
            case
            for t, n in PARTS.items()
            if args.only in (None, t)
            for case in cases(t, int(n * args.scale))
            if args.cases is None or case.name in args.cases.split(",")
        ]
        known = done_before(record)
        run([case for case in every if case.name not in known], place, record, until_s)
        known = done_before(record)
        left = [case for case in every if case.name not in known]
        if args.only is None and not left:
            chosen = through_ingest(every, args.scale)
            run_ingest(place, record, chosen, until_s)
            known = done_before(record)
            left = [case for case in chosen if f"ingest:{case.name}" not in known]
    if left:
        print(f"{len(left)} cases left; run it again")
        return
    found = summary(list(known.values()), args.hardware)
    files.write_text(args.out / "fuzz.json", "[\n" + ",\n".join(map(json.dumps, found)) + "\n]\n")
    print(json.dumps(found[0]), "all done", sep="\n")


def through_ingest(every: Sequence[Case], scale: float) -> list[Case]:
    """Cases to try again through `ingest`, in batches: every eightieth."""
    return [c for c in every if c.target in INGESTED][:: max(int(80 / scale), 1)]


if __name__ == "__main__":
    main()
