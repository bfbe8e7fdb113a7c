"""Plain arrays as activity: what they must be."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError


def activity_of(
    id: str, counts: NDArray[Any] | None, traces: NDArray[Any] | None
) -> tuple[NDArray[Any], str]:
    """(values, kind) of `counts` or `traces`, one of which is given.

    Raises InputError, naming the field, if it is not (time, channel) or of another type.
    """
    if (counts is None) == (traces is None):
        raise InputError(f"{id}: give either counts or traces, (time, channel).")
    values = np.asarray(counts if counts is not None else traces)
    name = "counts" if counts is not None else "traces"
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{id}: {name} has shape {values.shape}; it must be (time, channel).")
    if counts is not None and values.dtype.kind != "u":
        raise InputError(f"{id}: counts is {values.dtype}; store counts as unsigned integers.")
    if counts is None and values.dtype.kind != "f":
        raise InputError(f"{id}: traces is {values.dtype}; store traces as floating point.")
    return values, "count" if counts is not None else "real"
