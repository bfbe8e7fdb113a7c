"""Everything measured is one flat record; tables, scaling and the page read only these."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neurofm.errors import StoreError
from neurofm.files import append_line, sync_entry


@dataclass(frozen=True)
class Result:
    """One number with its interval.

    `predictor` answered `task` on `recording` (an id, or `mean` over recordings), side `split`.
    `value` in [`low`, `high`] (95% bootstrap over `unit_of_n`), NaN where undefined. `null` names
    the reference that the metric compares with. `n` counts what was resampled. `run` and
    `fingerprint` say which model and data it belongs to.
    """

    predictor: str
    task: str
    recording: str
    split: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    null: str
    seed: int
    unit_of_n: str = "blocks"
    chance: float | None = None
    run: str = ""
    fingerprint: str = ""

    def record(self) -> dict[str, object]:
        """A JSON-ready dict; NaN becomes None."""
        row = asdict(self)
        bad = [k for k, v in row.items() if isinstance(v, float) and not math.isfinite(v)]
        return row | dict.fromkeys(bad)


def append(path: Path | str, results: Iterable[Result]) -> None:
    """Append results to a JSON-lines file."""
    path = Path(path)
    for result in results:
        append_line(path, json.dumps(result.record(), sort_keys=True))
    if path.exists():
        sync_entry(path)


def load(path: Path | str) -> list[Result]:
    """Results of a JSON-lines file, the newest of each question last; none if it is missing.

    Raises StoreError that names the line if one is not a result (a torn last line is passed over).
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines()
    out = []
    for number, line in enumerate(lines, 1):
        try:
            out.append(_result(json.loads(line)))
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            if number < len(lines):
                raise StoreError(f"{path} line {number} is not a result; remove it.") from None
    return out


def _result(row: dict[str, Any]) -> Result:
    """The result of a record; raises ValueError, TypeError, KeyError or OverflowError if it is none."""
    numbers = {k: math.nan if row[k] is None else float(row[k]) for k in ("value", "low", "high")}
    chance = row.get("chance")
    numbers |= {} if chance is None else {"chance": float(chance)}
    whole = {k: int(row[k]) for k in ("n", "seed")}
    made = Result(**row | numbers | whole)
    texts = (made.predictor, made.task, made.recording, made.split, made.metric, made.null,
             made.unit_of_n, made.run, made.fingerprint)  # fmt: skip
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is no text")
    return made


def newest(results: Iterable[Result]) -> list[Result]:
    """One result for each question asked: the one that was written last."""
    kept = {}
    for r in results:
        kept[r.predictor, r.task, r.recording, r.split, r.metric, r.null, r.seed] = r
    return list(kept.values())
