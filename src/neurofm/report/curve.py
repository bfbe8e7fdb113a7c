"""The training curve as data for the interactive chart."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neurofm.errors import clean
from neurofm.report.tables import Grid

N_POINTS = 2000
ASIDE = {"event", "step", "seconds", "rate", "lr"}


@dataclass(frozen=True)
class Curve:
    """Loss and validation over steps.

    `steps`: (N,) rising. `series`: {name: (N,) values, None where nothing was measured}; the name
    starts with `training` or `validation`.
    """

    steps: list[int]
    series: dict[str, list[float | None]]

    def data(self) -> dict[str, Any]:
        """JSON-ready columns for the chart."""
        return {"names": ["step", *self.series], "columns": [self.steps, *self.series.values()]}

    def alt(self) -> str:
        """First, last and best value of each series in words."""
        parts = []
        for name, values in self.series.items():
            found = [v for v in values if v is not None]
            if found:
                parts.append(f"{name} from {found[0]:.4g} to {found[-1]:.4g} "
                             f"(lowest {min(found):.4g}, highest {max(found):.4g})")  # fmt: skip
        return f"Training curve over {self.steps[-1]} steps: {'; '.join(parts)}."

    def grid(self) -> Grid:
        """One row a step that was logged."""
        rows = [
            (str(step), *("" if v is None else f"{v:.5g}" for v in values))
            for step, *values in zip(self.steps, *self.series.values(), strict=True)
        ]
        return Grid(("step", *self.series), tuple(rows))


def curve(log: list[dict[str, Any]]) -> Curve | None:
    """The curve of a run's log, thinned evenly to at most 2,000 training points; None if empty."""
    training = _points(
        [row for row in log if row.get("event", "step") == "step"], "training", {"loss"}
    )
    validation = _points([row for row in log if row.get("event") == "valid"], "validation", None)
    stride = -(-len(training) // N_POINTS) or 1
    kept = dict(list(training.items())[::stride])
    if training:
        kept[max(training)] = training[max(training)]
    steps = sorted(kept | validation)
    if not steps:
        return None
    values = {step: kept.get(step, {}) | validation.get(step, {}) for step in steps}
    names = sorted({name for row in values.values() for name in row})
    return Curve(steps, {name: [values[step].get(name) for step in steps] for name in names})


def speed(log: list[dict[str, Any]]) -> str:
    """Steps, seconds and samples per second in a sentence; empty if the log has none."""
    rows = [row for row in log if row.get("event", "step") == "step" and _number(row.get("step"))]
    if not rows:
        return ""
    last = max(rows, key=lambda row: float(row["step"]))
    parts = [f"{int(last['step']):,} steps"]
    seconds = [float(row["seconds"]) for row in log if _number(row.get("seconds"))]
    if seconds:
        parts.append(f"{max(seconds) / 60:.1f} minutes")
    rates = sorted(float(row["rate"]) for row in rows if _number(row.get("rate")))
    if rates:
        parts.append(f"median {rates[len(rates) // 2]:,.0f} samples/s")
    return ", ".join(parts)


def _points(
    rows: list[dict[str, Any]], prefix: str, only: set[str] | None
) -> dict[int, dict[str, float]]:
    """{step: {name: value}} of the finite numbers in rows, groups such as `loss: {..}` opened."""
    out: dict[int, dict[str, float]] = {}
    for row in rows:
        if not _number(row.get("step")):
            continue
        for key, value in row.items():
            if key in ASIDE or (only is not None and key not in only):
                continue
            inner = value if isinstance(value, Mapping) else {"": value}
            for part, v in inner.items():
                if _number(v):
                    name = clean(f"{prefix} {key} {part}").strip()[:60]
                    out.setdefault(int(row["step"]), {})[name] = float(v)
    return out


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
