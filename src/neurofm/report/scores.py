"""Results arranged for reading: one table of recordings by predictors for each question."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from neurofm.results import Result

MODEL, MEAN = "model", "mean"
CEILING = "planted"  # predictors that know the simulated truth: a bound, no baseline
TASKS = ("co-smoothing", "forward", "intra-region", "inter-region")
METRICS = {
    "bps_pooled": "bits per spike (pooled)",
    "bps_per_unit": "bits per spike (mean over units)",
    "d2": "Poisson D²",
    "r2_per_channel": "R² (mean over channels)",
    "bits_per_sample": "bits per sample (mean over channels)",
    "macro_f1": "macro-F1",
}


@dataclass(frozen=True)
class Scores:
    """Every predictor on every recording, for one (task, split, metric, null).

    `best`: the baseline with the highest score, of those that answered wherever the model did.
    `recordings`: ids, without the mean. `predictors`: model, baselines from the best to the worst,
    ceilings. `cells`: {(recording or "mean", predictor): Result}. `gains`: {(recording or "mean",
    baseline): paired model - baseline}; `ratios`: the same as a fraction of the baseline.
    """

    task: str
    split: str
    metric: str
    null: str
    recordings: tuple[str, ...]
    predictors: tuple[str, ...]
    best: str | None
    cells: dict[tuple[str, str], Result]
    gains: dict[tuple[str, str], Result]
    ratios: dict[tuple[str, str], Result]

    @property
    def baselines(self) -> tuple[str, ...]:
        """Rival methods, best first."""
        return tuple(name for name in self.predictors if is_baseline(name))

    @property
    def rows(self) -> tuple[str, ...]:
        """The recordings, and the mean where it was computed."""
        has_mean = any(recording == MEAN for recording, _ in self.cells)
        return (*self.recordings, MEAN) if has_mean else self.recordings

    @property
    def label(self) -> str:
        """The metric in words."""
        return METRICS.get(self.metric, self.metric.replace("_", " "))

    def overall(self, predictor: str) -> float:
        """The mean over recordings as recorded, else the plain mean; NaN if there is none."""
        return _overall(self.cells, self.recordings, predictor)

    def n_above(self, baseline: str) -> tuple[int, int]:
        """(recordings where the model scores above the baseline, recordings with both)."""
        pairs = [
            (self.cells[r, MODEL].value, self.cells[r, baseline].value)
            for r in self.recordings
            if (r, MODEL) in self.cells and (r, baseline) in self.cells
        ]
        pairs = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
        return sum(a > b for a, b in pairs), len(pairs)

    def n_surely_above(self, baseline: str) -> int | None:
        """Recordings whose paired gain has its whole interval above zero; None without gains."""
        found = [self.gains[r, baseline] for r in self.recordings if (r, baseline) in self.gains]
        return sum(r.low > 0 for r in found) if found else None


def is_baseline(predictor: str) -> bool:
    """Whether a predictor is a rival method: neither the model nor the planted truth."""
    return predictor != MODEL and not predictor.startswith(CEILING)


def arrange(results: Iterable[Result]) -> list[Scores]:
    """One `Scores` for each (task, split, metric, null): known tasks, test and pooled first."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    gains: dict[tuple[str, str, str], list[Result]] = {}
    for r in results:  # in the order of writing, so that a later answer replaces an earlier one
        if r.metric.endswith(("_gain", "_gain_ratio")):
            gains.setdefault((r.task, r.split, r.metric), []).append(r)
        else:
            groups.setdefault((r.task, r.split, r.metric, r.null), []).append(r)
    out = [_scores(key, rows, gains) for key, rows in groups.items()]
    return sorted(out, key=_order)


def headline(scores: list[Scores]) -> list[Scores]:
    """The first `Scores` of each task: the ones that the page and the summary speak of."""
    first: dict[str, Scores] = {}
    for s in scores:
        first.setdefault(s.task, s)
    return list(first.values())


def verdict(s: Scores) -> str:
    """How the model stands to the best baseline, by the paired interval where there is one.

    `above`, `below` or `unclear` (the interval holds zero); `unpaired` (no interval was computed),
    `alone` (no baseline) or `absent` (no model).
    """
    if not math.isfinite(s.overall(MODEL)):
        return "absent"
    if s.best is None:
        return "alone"
    return standing(gain_over(s, s.best))


def standing(gain: Result | None) -> str:
    """`above`, `below` or `unclear` by the interval of a paired gain, `unpaired` without one."""
    if gain is None or not (math.isfinite(gain.low) and math.isfinite(gain.high)):
        return "unpaired"
    return "above" if gain.low > 0 else "below" if gain.high < 0 else "unclear"


def gain_over(s: Scores, baseline: str) -> Result | None:
    """The paired gain over a baseline: on the mean, or on the only recording."""
    if len(s.recordings) == 1 and (MEAN, baseline) not in s.gains:
        return s.gains.get((s.recordings[0], baseline))
    return s.gains.get((MEAN, baseline))


def ratio_over(s: Scores, baseline: str) -> Result | None:
    """The gain as a fraction of the baseline: on the mean, or on the only recording."""
    if len(s.recordings) == 1 and (MEAN, baseline) not in s.ratios:
        return s.ratios.get((s.recordings[0], baseline))
    return s.ratios.get((MEAN, baseline))


def _scores(
    key: tuple[str, str, str, str],
    rows: list[Result],
    gains: dict[tuple[str, str, str], list[Result]],
) -> Scores:
    task, split, metric, null = key
    cells = {(r.recording, r.predictor): r for r in rows}
    recordings = tuple(sorted({r.recording for r in rows} - {MEAN}))
    overall = {p: _overall(cells, recordings, p) for p in dict.fromkeys(r.predictor for r in rows)}
    falling = sorted(overall, key=lambda p: (not math.isfinite(overall[p]), -_or_0(overall[p]), p))
    baselines = [p for p in falling if is_baseline(p)]
    ceilings = [p for p in falling if p.startswith(CEILING)]
    best = _best(cells, recordings, [p for p in baselines if math.isfinite(overall[p])])
    model = [MODEL] if MODEL in overall else []

    def paired(suffix: str) -> dict[tuple[str, str], Result]:
        found = gains.get((task, split, metric + suffix), [])
        return {(r.recording, r.null): r for r in found if r.predictor == MODEL}

    return Scores(task, split, metric, null, recordings, (*model, *baselines, *ceilings), best,
                  cells, paired("_gain"), paired("_gain_ratio"))  # fmt: skip


def _best(
    cells: dict[tuple[str, str], Result], recordings: tuple[str, ...], falling: list[str]
) -> str | None:
    """The first baseline that answered wherever the model did: a mean over easy ones is no rival.

    Where none answered everywhere, the first of all.
    """

    def answered(predictor: str) -> set[str]:
        found = {r: cells.get((r, predictor)) for r in recordings}
        return {r for r, c in found.items() if c is not None and math.isfinite(c.value)}

    asked = answered(MODEL)
    return next((p for p in falling if asked <= answered(p)), next(iter(falling), None))


def _overall(
    cells: dict[tuple[str, str], Result], recordings: tuple[str, ...], predictor: str
) -> float:
    if (MEAN, predictor) in cells:
        return cells[MEAN, predictor].value
    found = [cells[r, predictor].value for r in recordings if (r, predictor) in cells]
    values = [value for value in found if math.isfinite(value)]
    return sum(values) / len(values) if values else math.nan


def _order(s: Scores) -> tuple[int, str, bool, int, str]:
    task = TASKS.index(s.task) if s.task in TASKS else len(TASKS)
    names = tuple(METRICS)
    metric = names.index(s.metric) if s.metric in names else len(names)
    return task, s.task, s.split != "test", metric, s.metric


def _or_0(value: float) -> float:
    return value if math.isfinite(value) else 0.0
