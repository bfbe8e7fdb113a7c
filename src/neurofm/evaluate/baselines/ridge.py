"""Ridge regression of counts on lagged square-root counts of everything visible."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from neurofm.evaluate import regression
from neurofm.evaluate.lagged import Linear, Sides, choose
from neurofm.evaluate.task import Example, Question


@dataclass
class Ridge:
    """Lags and penalty chosen by Poisson likelihood on `valid`, weights from `train` alone.

    Lags lie on both sides of the predicted bin, or before the horizon (forward). `chosen` says
    which were taken: how many groups of lags, and log10 of the relative penalty.
    """

    name: str = "ridge"
    chosen: dict[str, float] = field(default_factory=dict)
    linear: Linear | None = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Try each set of lags with a search for its penalty; keep the best."""
        sides = Sides.of(train, valid)
        trial, penalty = choose(sides, sides.plain())
        self.chosen = {"groups": len(trial.groups), "penalty": penalty}
        self.linear = Linear.of(sides, trial, regression.ridge(trial.fitted, 10.0**penalty))

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.linear is not None, "fit comes before predict"
        return self.linear.predict(questions)
