"""Plain arrays, names and steps: what they must be."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import InputError

LONGEST_NAME = 4096  # characters of an id, a subject, a region


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


def exact_seconds(value: float, what: str) -> Fraction:
    """A step as an exact fraction of a second: 0.02 -> 1/50, 0.736727757 -> the nearest ratio.

    Raises InputError if the value is not a positive number of at most a day.
    """
    if not (np.isfinite(value) and 0 < value <= 86_400):
        raise InputError(f"{what} is {value!r}; it must be seconds, above 0 and at most a day.")
    short = Fraction(value).limit_denominator(1_000_000)
    if short > 0 and abs(float(short) - value) <= 1e-12 * value:
        return short
    return Fraction(value)


def usable_name(text: str, what: str) -> str:
    """The text, if it can name something: Unicode, and of a length that can be repeated everywhere.

    Raises InputError otherwise.
    """
    if len(text) > LONGEST_NAME:
        raise InputError(f"{what} has {len(text):,} characters; {LONGEST_NAME} are the most.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{what} is no valid Unicode ({text!r}); rename it.") from None
    return text
