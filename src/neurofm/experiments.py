"""A twin: one recording and models of it that differ in their seed alone, and what an experiment on it gives.

The experiments are in `experiments_told` and `experiments_scored`; `twinning` keeps what comes of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.data.recording import Recording
from neurofm.evaluate import insilico
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import Floats
from neurofm.pipeline import Say
from neurofm.report.figures import Drawn
from neurofm.report.twin import Spread
from neurofm.results import Result
from neurofm.scoring import Evaluation

N_BINS = 21
MODEL = "model"
TEST = "test"


class TwinConfig(Config):
    """How experiments are done. `seconds` that a value is held, or a course lasts: 21 bins by default.

    `size` of a course, in standard deviations (root mean square); `steps` uphill. `least` explainable
    share of a channel that is scored; `baselines` beside the model.
    """

    seconds: float | None = Field(None, gt=0)
    size: float = Field(1.0, gt=0)
    steps: int = Field(100, ge=1)
    least: float = 0.15
    baselines: str = "mean-rate,ridge,coupled-glm"


@dataclass(frozen=True)
class Twin:
    """Models of one recording; `recording` has its stimulus and behaviour as channels."""

    works: tuple[Evaluation, ...]
    recording: Recording
    config: TwinConfig
    fingerprint: str
    say: Say
    tick: Callable[[str, int, int], None]

    @property
    def directs(self) -> list[Direct]:
        """One a model."""
        return [Direct.of(w.trained, self.recording, w.device) for w in self.works]

    @property
    def bin_s(self) -> float:
        """The models' bin width."""
        return self.works[0].bin_s

    @property
    def n_bins(self) -> int:
        """How long a value is held or a course lasts."""
        if self.config.seconds is None:
            return min(N_BINS, int(self.works[0].trained.config["window_bins"]))
        return max(round(self.config.seconds / self.bin_s), 1)

    @property
    def counts(self) -> bool:
        """Whether the activity is counts, which are shown a second."""
        return bool((self.recording.channels.of_activity.kind == "count").all())

    @property
    def a_second(self) -> float:
        """What a told number is multiplied with to be shown: counts a bin to counts a second."""
        return 1 / self.bin_s if self.counts else 1.0

    @property
    def unit(self) -> NDArray[np.str_]:
        """(U,) ids of the activity's channels."""
        return self.recording.channels.of_activity.id

    def result(self, work: Evaluation, task: str, metric: str, numbers: Sequence[float], n: int,
               unit_of_n: str, null: str = "", predictor: str = MODEL, how: str = "") -> Result:  # fmt: skip
        """One number of one model; `how` it was asked is said with the side."""
        value, low, high = (float(x) for x in numbers)
        return Result(predictor, task, self.recording.id, TEST + how, metric, value, low, high, n, null,
                      work.seed, unit_of_n, None, work.run.folder.name, self.fingerprint)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What came of an experiment."""

    results: list[Result]
    arrays: Mapping[str, NDArray[np.generic]]
    drawn: Drawn


def spread(answers: Sequence[Floats]) -> Spread:
    """Mean over models and its 95% interval (Student's t); no interval with one model."""
    if len(answers) < 2:
        one = np.asarray(answers[0], dtype=np.float64)
        return Spread(one, np.full_like(one, np.nan), np.full_like(one, np.nan), 1)
    over = insilico.over_seeds(answers)
    return Spread(over.mean, over.low, over.high, over.n)


def over_models(found: Sequence[Result], n: int) -> list[Result]:
    """The results, and the mean over all models of each number that all of them have."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for r in found:
        groups.setdefault((r.predictor, r.task, r.recording, r.metric, r.null), []).append(r)
    out = list(found)
    for rows in groups.values():
        if n > 1 and len(rows) == len({r.seed for r in rows}) == n:
            over = spread([np.array(r.value) for r in rows])
            out.append(replace(rows[0], predictor=f"{rows[0].predictor}, mean of {n}", run="",
                               value=float(over.mean), low=float(over.low), high=float(over.high),
                               n=n, unit_of_n="models"))  # fmt: skip
    return out
