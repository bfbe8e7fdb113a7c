"""Everything measured is one flat record; tables, scaling and the page read only these."""

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

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


def append(path: Path, results: Iterable[Result]) -> None:
    """Append results to a JSON-lines file."""
    for result in results:
        append_line(path, json.dumps(result.record(), sort_keys=True))
    if path.exists():
        sync_entry(path)


def load(path: Path) -> list[Result]:
    """Results of a JSON-lines file, the newest of each question last; none if it is missing.

    Raises StoreError that names the line if one is not a result (a torn last line is passed over).
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    out = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            numbers = {k: math.nan for k in ("value", "low", "high") if row[k] is None}
            out.append(Result(**row | numbers))
        except (ValueError, TypeError, KeyError):
            if number < len(lines):
                raise StoreError(f"{path} line {number} is not a result; remove it.") from None
    return out


def newest(results: Iterable[Result]) -> list[Result]:
    """One result for each question asked: the one that was written last."""
    kept = {}
    for r in results:
        kept[r.predictor, r.task, r.recording, r.split, r.metric, r.null, r.seed] = r
    return list(kept.values())
