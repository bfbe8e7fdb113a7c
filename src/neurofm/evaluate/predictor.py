"""The one protocol of everything that answers a task: model, probe or baseline."""

from collections.abc import Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from neurofm.evaluate.task import Example, Question


class Predictor(Protocol):
    """Fitted on examples of one (recording, task, fold), then asked questions of the same pattern.

    `fit` may use `valid` to choose its settings and nothing else; `predict` is handed questions,
    never answers, and returns expected counts a bin, (T, C) each, read only at scored cells.
    """

    @property
    def name(self) -> str: ...

    def fit(self, train: Sequence[Example], valid: Sequence[Example]) -> None: ...

    def predict(self, questions: Sequence[Question]) -> list[NDArray[Any]]: ...
