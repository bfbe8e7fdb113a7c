"""Held-out extrapolation: forms of a law are judged on larger runs than they were fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from neurofm.study.laws import EXPONENTS, FORMS, Floats
from neurofm.study.points import Points

SHARES = (0.125, 0.25)  # of the levels are held out in turn, the largest first, at least one


@dataclass(frozen=True)
class HeldOut:
    """How far forms were off on the largest runs, fitted to the smaller ones.

    `error`: {form: mean absolute error in the metric's units}, empty where too few levels are left
    to fit. `held_out` (R,): the runs that were held out in any turn.
    """

    error: Mapping[str, float]
    held_out: NDArray[np.bool_]

    @property
    def best(self) -> str | None:
        """The form of the least error; the earlier of `FORMS` where they tie."""
        return min(self.error, key=lambda form: self.error[form], default=None)


def held_out(
    points: Points,
    values: Floats | None = None,
    *,
    exponents: Sequence[float] = EXPONENTS,
    delta: float | None = None,
) -> HeldOut:
    """Errors of every form on the largest levels; `values` (R,) instead of the measured means.

    With several axes a run's size is the product over them, as compute is of parameters and data.
    """
    y = points.mean if values is None else values
    size = np.log(points.x).sum(axis=1).round(9)
    levels = np.unique(size)
    fewest = 2 * points.x.shape[1] + 1
    numbers = sorted({max(int(share * len(levels)), 1) for share in SHARES})
    out = np.zeros(len(points), dtype=bool)
    errors: dict[str, list[float]] = {form: [] for form in FORMS}
    for number in numbers:
        if len(levels) - number < fewest:
            continue
        large = size >= levels[-number]
        out |= large
        for form, fit in FORMS.items():
            law = fit(points.x[~large], y[~large], rises=points.rises, exponents=exponents,
                      delta=delta).law  # fmt: skip
            errors[form].append(float(np.abs(law(points.x[large]) - y[large]).mean()))
    return HeldOut({form: float(np.mean(e)) for form, e in errors.items() if e}, out)
