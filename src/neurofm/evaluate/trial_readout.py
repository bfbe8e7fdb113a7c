"""What decoders of labels share: trials, and logistic regression on one row a trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError
from neurofm.evaluate.metrics import balanced_accuracy
from neurofm.evaluate.probes import logistic
from neurofm.evaluate.streams import Matrix

CS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
Names = NDArray[np.str_]


@dataclass(frozen=True)
class Trials:
    """`counts`: one (T, C) array a trial, of any T; `label` (n,)."""

    counts: Sequence[NDArray[Any]]
    label: Names


class LabelDecoder(Protocol):
    """Fitted on trials of the training side, tuned on `valid`, then asked about counts.

    `features` gives what its last, linear layer reads: (n, F), a row a trial.
    """

    def fit(self, train: Trials, valid: Trials) -> None: ...

    def features(self, counts: Sequence[NDArray[Any]]) -> Matrix: ...

    def predict(self, counts: Sequence[NDArray[Any]]) -> Names: ...


@dataclass(frozen=True)
class Sorter:
    """Logistic regression on standardised features; `c` is its inverse penalty."""

    mean: Matrix
    scale: Matrix
    model: Any
    c: float

    def __call__(self, x: Matrix) -> Names:
        """(n, F) features -> (n,) labels."""
        return np.asarray(self.model.predict((x - self.mean) / self.scale), dtype=np.str_)


def sorter(x: Matrix, label: Names, c: float) -> Sorter:
    """Every label weighs the same, however rare.

    Raises InputError if there is one label only, or if scikit-learn is missing.
    """
    if len(np.unique(label)) < 2:
        raise InputError("The training trials all have one label; there is nothing to decode.")
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0).astype(np.float32)
    return Sorter(mean, scale, logistic((x - mean) / scale, label, c), c)


def tuned_sorter(x: Matrix, label: Names, x_valid: Matrix, valid: Names) -> tuple[Sorter, float]:
    """The inverse penalty with the best balanced accuracy on `valid`, and that accuracy.

    The strongest penalty of equals; without validation trials, an inverse penalty of 0.01.
    """
    if not len(valid):
        return sorter(x, label, 1e-2), float("nan")
    made = [sorter(x, label, c) for c in CS]
    quality = [balanced_accuracy(valid, one(x_valid)) for one in made]
    best = int(np.argmax(quality))
    return made[best], quality[best]
