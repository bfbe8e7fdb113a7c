"""Targets of segments from a file: what another network says of each, or of each item."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.segments import Floats, latents
from neurofm.errors import InputError


@dataclass(frozen=True)
class TargetRows:
    """`latents` (n, F, D); by `item` (n,), or by `recording` and `start_s` (n,); what is not given is empty."""

    path: Path
    latents: Floats
    item: NDArray[np.str_]
    recording: NDArray[np.str_]
    start_s: NDArray[np.float64]

    @classmethod
    def of(cls, path: Path | str) -> "TargetRows":
        """From an `.npz` of arrays with these names.

        Raises InputError, naming the array, if one is missing, of another length or no such thing.
        """
        path = Path(path)
        rows = latents(path)
        item, recording = (_column(path, name, np.str_) for name in ("item", "recording"))
        start_s = _column(path, "start_s", np.float64)
        columns = {"item": item, "recording": recording, "start_s": start_s}
        for name, column in columns.items():
            if len(column) not in (0, len(rows)):
                raise InputError(
                    f"{path}: {name} has {len(column)} rows for {len(rows)} of latents."
                )
        if not np.isfinite(start_s).all():
            raise InputError(f"{path}: start_s holds a number that is not finite; leave it out.")
        return cls(path, rows, item, recording, start_s)

    def of_items(self, names: NDArray[np.str_]) -> Floats:
        """(n, F, D) the latents of each name.

        Raises InputError if the file has no items, names one twice, or lacks one.
        """
        if not len(self.item):
            raise InputError(
                f"{self.path}: there is no array 'item'; save the label of each row as one."
            )
        known, first = np.unique(self.item, return_index=True)
        if len(known) < len(self.item):
            raise InputError(f"{self.path}: an item has two rows; save one row of latents an item.")
        if lacking := sorted(set(names.tolist()) - set(known.tolist())):
            raise InputError(f"{self.path}: {len(lacking)} items have no row, such as {lacking[0]!r}; "
                             "add their latents.")  # fmt: skip
        return self.latents[first[np.searchsorted(known, names)]]

    def places(self, ids: Sequence[str]) -> list[NDArray[np.int64]]:
        """Of each recording the rows that are its.

        Raises InputError if the file does not say where its rows begin, or has none of a recording's.
        """
        if not len(self.recording) or not len(self.start_s):
            raise InputError(f"{self.path}: latents of segments need arrays 'recording' and 'start_s', "
                             "where each begins; or give --label and an array 'item'.")  # fmt: skip
        if unknown := sorted(set(self.recording.tolist()) - set(ids)):
            raise InputError(f"{self.path}: there is no recording {unknown[0]!r}; there are "
                             f"{', '.join(ids[:8])}.")  # fmt: skip
        return [np.flatnonzero(self.recording == name) for name in ids]


def _column(path: Path, name: str, kind: type[np.generic]) -> NDArray[Any]:
    """(n,) an array of the file, or (0,) where it has none of that name."""
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray) or name not in found:
        return np.empty(0, dtype=kind)
    with found as file:
        try:
            return np.asarray(file[name]).astype(kind).reshape(-1)
        except ValueError as error:
            raise InputError(f"{path}: {name} is not what it should be ({error}).") from None
