"""Tuning curves: what is held at which values, and what was recorded there.

Text of a user (`wheel=-2:2:9`, `choice=left,right`) becomes values of channels; a curve that a model
tells can then be laid beside the mean activity of the bins in which the recording was there itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from neurofm.data.nodes import names_of, rows_of
from neurofm.data.recording import Channels
from neurofm.errors import InputError
from neurofm.evaluate.metrics import Floats

WIDTH, N_VALUES = 2.0, 9  # what is held where a user names a signal alone: deviations, and how many
FEWEST = 10  # bins below which there is no mean of what was recorded


@dataclass(frozen=True)
class Held:
    """One signal or label held at V values in turn.

    `text` (V,) says each value; `value` (V,) are the numbers, NaN of labels. `cells`: {channel id: (V,)}: of
    a label all channels of its group, one of them 1.
    """

    name: str
    text: tuple[str, ...]
    value: Floats
    cells: Mapping[str, Floats]

    @property
    def of_labels(self) -> bool:
        """Whether it is a label that is held, and no number."""
        return bool(np.isnan(self.value).any())

    def nearest(self, channels: Channels, cells: NDArray[np.floating]) -> NDArray[np.intp]:
        """(T,) at which of the values each bin of `cells` (T, C) was, -1 at none of them.

        A number counts as the nearest value, the outer ones as far out as their neighbour is near.
        """
        rows = [int(np.flatnonzero(channels.id == name)[0]) for name in self.cells]
        there = np.isfinite(cells[:, rows]).all(axis=1)
        if self.of_labels:
            wanted = np.stack(list(self.cells.values()), axis=1)  # (V, labels)
            same = (cells[:, None, rows] == wanted[None]).all(axis=2)
            return np.where(there & same.any(axis=1), same.argmax(axis=1), -1)
        if len(self.value) < 2:
            return np.full(len(cells), -1)
        order = np.argsort(self.value)
        sorted_values = self.value[order]
        middles = (sorted_values[1:] + sorted_values[:-1]) / 2
        ends = 1.5 * sorted_values[[0, -1]] - 0.5 * sorted_values[[1, -2]]
        x = np.where(there, cells[:, rows[0]], np.nan)
        at = order[np.searchsorted(middles, np.nan_to_num(x))]
        return np.where(there & (x >= ends[0]) & (x <= ends[1]), at, -1)


def held(
    text: str, channels: Channels, mean: NDArray[np.floating], scale: NDArray[np.floating]
) -> Held:
    """What `NAME`, `NAME=low:high:n`, `NAME=1,2,3` or `LABEL=left,right` says of further channels.

    A signal alone is held at 9 values within 2 deviations of its mean (`mean`, `scale` (C,), of the
    training side), a label alone at each of its labels. Raises InputError, with the names that there are.
    """
    name = _name(text, channels)
    after = text[len(name) + 1 :].strip()
    rows = _rows(name, channels)
    if channels.kind[rows[0]] == "category":
        return _labels(text, name, after, rows, channels)
    if channels.kind[rows[0]] == "embedding":
        raise InputError(f"{name} is a vector, which is not held; hold a signal or a label.")
    if len(rows) > 1:
        each = ", ".join(channels.id[rows].tolist())
        raise InputError(f"{name} has {len(rows)} channels, {each}; hold one of them.")
    row = int(rows[0])
    middle, reach = float(mean[row]), WIDTH * float(scale[row])
    spread = np.linspace(middle - reach, middle + reach, N_VALUES)
    values = _numbers(text, name, after) if after else spread
    texts = tuple(f"{v:.4g}" for v in values.tolist())
    return Held(str(channels.id[row]), texts, values, {str(channels.id[row]): values})


def together(main: Held, also: Sequence[Held]) -> dict[str, Floats]:
    """{channel id: (V,)} of a curve while other things are held at one value each.

    Raises InputError if one of these has several values, or is what the curve is over.
    """
    cells = dict(main.cells)
    for one in also:
        if len(one.text) != 1:
            raise InputError(f"--hold takes one value; {one.name} has {', '.join(one.text)}.")
        if set(one.cells) & set(cells):
            raise InputError(f"{one.name} is asked about or held already; hold it once.")
        cells |= {k: np.repeat(v, len(main.text)) for k, v in one.cells.items()}
    return cells


def recorded(
    main: Held, also: Sequence[Held], channels: Channels, cells: NDArray[np.floating]
) -> Floats:
    """(V, U) mean activity of the bins of `cells` (T, C) at each value; NaN where they are fewer than 10.

    Of labels held beside it those bins alone count. No bin has a number exactly, so with one held
    beside it nothing is told.
    """
    at = main.nearest(channels, cells)
    for one in also:
        at = np.where(one.nearest(channels, cells) == 0, at, -1)
    activity = cells[:, channels.in_activity].astype(np.float64)
    out = np.full((len(main.text), activity.shape[1]), np.nan)
    for row in range(len(main.text)):
        if (at == row).sum() >= FEWEST:
            out[row] = activity[at == row].mean(axis=0)
    return out


def likeness(told: Floats, was: Floats) -> Floats:
    """(U,) Pearson over the values at which both are known; NaN with fewer than three, or a flat one."""
    known = np.isfinite(was).all(axis=1)
    if known.sum() < 3:
        return np.full(told.shape[1], np.nan)
    a, b = (x[known] - x[known].mean(axis=0) for x in (told, was))
    size = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.asarray((a * b).sum(axis=0) / np.where(size > 0, size, np.nan))


def modulation(rates: Floats) -> Floats:
    """(U,) (most - least) / (most + least) over values; 0 is flat, 1 falls silent. NaN of the always silent."""
    most, least = rates.max(axis=0), rates.min(axis=0)
    total = most + least
    return np.asarray((most - least) / np.where(total > 0, total, np.nan))


def further_named(text: str, channels: Channels) -> list[str]:
    """Ids of the channels behind `NAME,NAME`: signals, labels, or single channels of them.

    Raises InputError, with the names that there are.
    """
    out: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        out += channels.id[_rows(_name(part, channels, whole=True), channels)].tolist()
    return list(dict.fromkeys(out))


def _rows(name: str, channels: Channels) -> NDArray[np.intp]:
    """Rows of a signal or label by its name, or of one channel of it by its id."""
    by_name = rows_of(channels, name)
    return by_name if len(by_name) else np.flatnonzero(channels.id == name)


def _name(text: str, channels: Channels, *, whole: bool = False) -> str:
    """The longest name that `text` is or, unless it must be `whole`, that stands before its `=`."""
    further = channels.id[~channels.in_activity]
    known: list[str] = [
        *names_of(channels),
        *further[channels.kind[~channels.in_activity] != "category"].tolist(),
    ]
    fits = [n for n in known if text == n or (not whole and text.startswith(f"{n}="))]
    if fits:
        return max(fits, key=len)
    asked = text if whole else text.partition("=")[0]
    near = get_close_matches(asked, known, n=1)
    there = f"did you mean {near[0]}?" if near else f"there are {', '.join(names_of(channels))}."
    raise InputError(f"the model was shown no stimulus or behaviour {asked!r}; {there}")


def _labels(text: str, name: str, after: str, rows: NDArray[np.intp], channels: Channels) -> Held:
    ids = channels.id[rows].tolist()
    there = [one.removeprefix(f"{name}=") for one in ids]
    asked = [one.strip() for one in after.split(",")] if after else there
    asked = [after] if after in there else asked
    for one in asked:
        if one not in there:
            raise InputError(f"{text}: {name} is never {one!r}; it is {', '.join(there)}.")
    which = np.array([there.index(one) for one in asked])
    hot = np.eye(len(there))[which]
    cells = {one: hot[:, k] for k, one in enumerate(ids)}
    return Held(name, tuple(asked), np.full(len(asked), np.nan), cells)


def _numbers(text: str, name: str, after: str) -> Floats:
    try:
        if ":" in after:
            low, high, n = (float(part) for part in after.split(":"))
            values = np.linspace(low, high, int(n)) if n >= 2 and n == int(n) else np.empty(0)
        else:
            values = np.array([float(part) for part in after.split(",")])
    except (ValueError, OverflowError):
        values = np.empty(0)
    if not len(values) or not np.isfinite(values).all() or len(np.unique(values)) < len(values):
        raise InputError(
            f"{text!r} is not understood; write {name}=low:high:n with n of 2 or more, or numbers "
            f"with commas, such as {name}=-2:2:9 or {name}=0,1."
        )
    return values
