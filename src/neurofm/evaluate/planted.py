"""The ceiling: a predictor that answers with rates that are known, as a simulator's are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError
from neurofm.evaluate.task import Example, Question


@dataclass(frozen=True)
class Planted:
    """Answers every question with the true expected counts of its bins.

    `rates`: {recording id: (T_total, C) expected counts a bin, from the recording's start}.
    """

    rates: Mapping[str, NDArray[Any]]
    name: str = "planted"

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None:
        """Nothing to learn."""

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]:
        """(T, C) true rates for each question; raises InputError if they are not known."""
        out = []
        for question in questions:
            known = self.rates.get(question.recording)
            stop = question.first + len(question.visible)
            if known is None or len(known) < stop:
                raise InputError(
                    f"planted rates of {question.recording} do not reach bin {stop}; "
                    "give rates for every bin of the recording."
                )
            out.append(np.asarray(known[question.first : stop]))
        return out
