"""Ridge regression on lags grouped ever wider, so that seconds of context cost few features."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from neurofm.evaluate import regression
from neurofm.evaluate.lagged import Linear, Sides, choose
from neurofm.evaluate.task import Example, Question


@dataclass
class RidgeWide:
    """As `Ridge`, on means over 1, 2, 4 ... bins away from the predicted bin.

    `chosen`: how many groups, and log10 of the relative penalty.
    """

    name: str = "ridge-wide"
    chosen: dict[str, float] = field(default_factory=dict)
    linear: Linear | None = field(default=None, repr=False)

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Try each reach with a search for its penalty; keep the best on `valid`."""
        sides = Sides.of(train, valid)
        trial, penalty = choose(sides, sides.wide())
        self.chosen = {"groups": len(trial.groups), "penalty": penalty}
        self.linear = Linear.of(sides, trial, regression.ridge(trial.fitted, 10.0**penalty))

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) expected counts for each question."""
        assert self.linear is not None, "fit comes before predict"
        return self.linear.predict(questions)
