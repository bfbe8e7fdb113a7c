"""`docs/reliability.md` from the records of `reliability.py` and `fuzz.py`."""

from collections.abc import Sequence
from typing import Any

SECTIONS = {
    "Kills": (
        "Real processes of `neurofm pretrain` at toy size (two sessions, 40 steps) are killed with `kill -9` and given "
        "again with `--resume`, up to four times each run, then left to end. A run counts as good if the loss of "
        "every step and every file of the last checkpoint (weights, running average, optimiser moments) have the "
        "same bits as those of a run that was never killed. Children are forked from a process that has imported the "
        "library; one line starts the command anew. Kills inside a save are aimed: the checkpoint's temporary folder has "
        "appeared, and it is still there when the process is dead."
    ),
    "Power loss": (
        "The operations of each writer are recorded (write, fsync, make, rename, remove) and every state that a power "
        "loss after any of them may leave is put on a disk and read: any subset of the entries of folders that are "
        "not synced, and of each file that is not synced the old content, none, half of the new, zeros, or the new. States that "
        "look the same are counted once, and what lies in an unfinished hidden folder counts as one state, since no "
        "reader looks there. A state fails if something that was finished is gone, if something half written is "
        "taken for whole, or if the next write is refused. The states are all there are in the model (strict POSIX), not a sample, so their "
        "bound says nothing more; no disk was unplugged."
    ),
    "Disks": (
        "A run on a file system of 24 to 330 KiB that fills up somewhere in it must end with one sentence and exit code 2, "
        "and, with more room, go on to the unbroken run's bits. Every call of every writer above fails once with "
        "no space, an I/O error or a quota: an error with the file's name, nothing finished lost."
    ),
    "Damage": (
        "A random bit is flipped or the end is cut off at a random place. A damaged checkpoint must be named and the one before "
        "it be used; a damaged column or manifest must be named, and the other session be whole."
    ),
    "Poison": (
        "Pickles in place of tensors and beside them, headers of 2^62 bytes, other shapes, types and sizes, models "
        "far larger than their weights, deep JSON, names outside the folder, objects in columns; hashes are made to fit. Each must be "
        "refused with a sentence, and the payload never run."
    ),
    "Same seed, same curve": "Curve and last checkpoint are compared bit for bit (on one kind of CPU, one thread).",
    "Losses": (
        "A loss that is not a number stops the run before the weights are touched. One that leaps above the median of the last "
        "100 by 200 times the distance of their quartiles (`optim.skip_above`) leaves the weights alone, whatever its size; after "
        "ten in a row the run stops. The last checkpoint is good in every case."
    ),
}  # fmt: skip

HEAD = """# Reliability

What happens when a machine dies, a disk fills up or lies, or a file is hostile: each line is a claim, how often it was tried
and how often it failed. The last column is the failure rate that is excluded with 95% confidence (Clopper and Pearson
1934, one-sided). *Control* lines break something on purpose; there a failure is a control that was not noticed.

```text
python benchmarks/reliability.py --out reliability --page docs/reliability.md
```

makes this page, goes on where it was stopped, and `--quick` tries a little of everything; the record is
`benchmarks/results/reliability.json`. {hardware}, one core, {date}; seeds are fixed, moments of kills are not.{pass_}
"""
TAIL = """
## A store or run of your own

`neurofm verify STORE` or `neurofm verify RUN` (also of a checkpoint or shared weights) hashes everything again. It exits with 3 and
names each file that is not what was written, with what to do.

```python
import tempfile
from pathlib import Path

import numpy as np

from neurofm import Recording
from neurofm.data.store import create_store
from neurofm.verifying import verify

store = create_store(Path(tempfile.mkdtemp()) / "store")
store.write(Recording.from_arrays("a", counts=np.ones((50, 3), np.uint8), bin_s=0.02))
print(verify(store.folder).sentence)
```

## What this does not show

Toy models on one CPU: nothing here is about GPUs, several machines, network file systems or silent errors of memory. The enumeration
trusts that fsync does what it says. Twice the same bits needs the same library builds, kind of CPU and number of threads.
A store above 4 GiB is not hashed before training; `neurofm verify` does it when asked.
"""
QUICK = " This is a quick pass: few trials of most lines."
COLUMNS = "| what | trials | failures | rate below |\n|---|---:|---:|---:|\n"


def page(record: dict[str, Any], fuzz: Sequence[dict[str, Any]]) -> str:
    """The page; `fuzz` is the record of `fuzz.py`, one row a target."""
    rows = list(record["lines"].values())
    parts = [HEAD.format(pass_=QUICK if record.get("quick") else "", **record)]
    for section, text in SECTIONS.items():
        mine = [row for row in rows if row["section"] == section]
        if mine:
            parts.append(
                f"\n## {section}\n\n{text}\n\n{COLUMNS}{''.join(map(_row, _folded(mine)))}"
            )
            parts += [_remarks(mine)]
    told = [row for row in fuzz if "mutation" not in row]
    if told:
        parts.append(_fuzz(told))
    return "".join([*parts, TAIL])


def _folded(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Controls last."""
    return sorted(rows, key=lambda row: row["claim"].startswith("control"))


def _row(row: dict[str, Any]) -> str:
    claim = row["claim"].replace("control: ", "*control:* ")
    return f"| {claim} | {row['trials']:,} | {row['failures']:,} | {_rate(row['upper'])} |\n"


def _rate(value: float) -> str:
    return f"{100 * value:.2g}%"


def _remarks(rows: Sequence[dict[str, Any]]) -> str:
    out = []
    for row in rows:
        notes = row["notes"]
        if row["section"] == "Kills" and "chains" in notes:
            n = notes.get("kills", row["trials"])
            out.append(f"- {row['claim']}: {n} kills over {notes['chains']} runs, {notes['in_save']} of "
                       f"them inside a save, {notes['before_the_run_was_one']} before the run had its "
                       "configuration.")  # fmt: skip
        out += [f"- failed: {text}" for text in notes.get("failed", ())]
    return "\n" + "\n".join(out) + "\n" if out else ""


def _fuzz(rows: Sequence[dict[str, Any]]) -> str:
    about = rows[0]
    lines = "".join(
        f"| {row['what']} | {row['trials']:,} | {row['failures']:,} | {_rate(row['upper_95'])} |\n"
        for row in rows
    )
    return (f"\n## Fuzzing\n\n`{about.get('command', 'python benchmarks/fuzz.py')}`: corrupted and hostile inputs to every "
            "reader; each must end in a sentence or a valid recording, without a crash, a hang, a file outside "
            f"the output folder, or memory over its cap.{_at_limit(about)}\n\n{COLUMNS}{lines}")  # fmt: skip


def _at_limit(about: dict[str, Any]) -> str:
    n = about["outcomes"].get("refused at the limit", 0)
    if not n:
        return ""
    return (f" {n} damaged files kept the HDF5 library busy without end: `ingest` ended its process at "
            f"the default limit of {about['limit_s']:g} s and refused them by name.")  # fmt: skip
