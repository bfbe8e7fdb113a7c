"""From a file's clock in float seconds to a recording's clock in integer ticks.

A file's times may be unsorted, missing, absurd, before zero or on a calendar clock. Everything
that is changed here is said in flags.
"""

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from neurofm.data.quality import Flag
from neurofm.data.recording import Events
from neurofm.errors import InputError

LONGEST_S = 7 * 86_400.0  # a time further than a week from the median one is a mistake
MICROSECOND = Fraction(1_000_000)
MOST_TICKS = 10**12  # of a rate's numerator: times a week's seconds it fits 64 bits
LATEST_S = 1e8  # three years: no recording ends later
ON_GRID = 0.01  # of a tick: how far times may lie from the ticks of their stated resolution


def plausible(
    times_s: NDArray[np.float64], field: str, near_s: float | None = None
) -> tuple[NDArray[np.bool_], list[Flag]]:
    """(n,) which times are finite and within a week of `near_s` (or their median), and the flags."""
    finite = np.isfinite(times_s)
    flags = []
    if not finite.all():
        flags.append(Flag("repair", field, f"{int((~finite).sum())} times were not finite and were "
                          "dropped"))  # fmt: skip
    if not finite.any():
        return finite, flags
    middle = float(np.median(times_s[finite])) if near_s is None else near_s
    near = np.abs(np.where(finite, times_s, middle) - middle) <= LONGEST_S
    if not near.all():
        worst = float(times_s[~near][0])
        message = f"{int((~near).sum())} absurd times ({worst:.6g} s) were dropped"
        flags.append(Flag("repair", field, message))
    return finite & near, flags


def origin(times_s: list[float]) -> float:
    """Where the recording's clock starts on the file's: 0, or a whole second before `min(times)`.

    It moves only for times before 0 (beyond rounding) or more than a week after it.
    """
    low = min(times_s, default=0.0)
    return float(math.floor(low)) if low < -0.5e-6 or low > LONGEST_S else 0.0


def moved(origin_s: float) -> list[Flag]:
    """The flag of a moved origin."""
    if origin_s == 0:
        return []
    message = (
        f"the clock starts at {origin_s:.10g} s of the file's; columns of tables other than "
        "start_s and stop_s stay on the file's clock"
    )
    return [Flag("repair", "span", message)]


def rate_of(times_s: NDArray[np.float64], resolution_s: float | None) -> Fraction:
    """Ticks a second: one over the stated resolution if every time lies on its grid, else 1e6."""
    if resolution_s is None or not (1e-9 <= resolution_s <= 0.1):
        return MICROSECOND
    rate = Fraction(1 / resolution_s).limit_denominator(1000)
    at = times_s * float(rate)
    if len(at) and np.abs(at - np.rint(at)).max() > ON_GRID:
        return MICROSECOND
    return rate


def events(
    times_s: NDArray[np.float64], row: NDArray[np.int64], ticks_per_s: Fraction, field: str
) -> tuple[Events, list[Flag]]:
    """Sorted events of plausible times on the recording's clock, and what sorting changed.

    `times_s`, `row`: (n,), in the file's order, in which each row's own times should ascend.
    Raises InputError if a time lies before the clock's start.
    """
    ticks = np.rint(times_s * float(ticks_per_s)).astype(np.int64)
    if len(ticks) and ticks.min() < 0:
        raise InputError(f"{field} holds times before the start of the clock.")
    by_row = np.argsort(row, kind="stable")
    backwards = (np.diff(times_s[by_row]) < 0) & (np.diff(row[by_row]) == 0)
    flags = []
    if backwards.any():
        n_units = len(np.unique(row[by_row][1:][backwards]))
        message = f"{int(backwards.sum())} times of {n_units} units were out of order and sorted"
        flags.append(Flag("repair", field, message))
    order = np.argsort(ticks, kind="stable")
    dtype = np.uint16 if row.max(initial=0) < 65_536 else np.int32
    return Events.of(ticks[order], row[order].astype(dtype), ticks_per_s), flags
