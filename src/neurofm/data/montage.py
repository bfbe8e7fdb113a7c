"""What a recording of traces was measured with, and explicit ways from one montage to another.

A montage is JSON-ready: `rate_hz`, and of each channel its id, name, type, unit, reference and
position. It is kept with a session in the store and with a run. Nothing is matched silently: a
recording with another montage is refused, or `match` is told which channel is which.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.quality import some
from neurofm.data.recording import Channels, Recording, Samples
from neurofm.errors import InputError

SAID = ("name", "type", "unit", "reference")  # columns of `channels.quality` that a reader fills
COMPARED = ("type", "unit", "reference")
REMEDY = "map it with --set montage.channels=[...] at ingest (docs, Montage)"


def montage(recording: Recording) -> dict[str, Any] | None:
    """What was measured and how; None where channels have no type and unit: counts, calcium."""
    source, channels = recording.activity, recording.channels
    is_said = {"type", "unit"} <= set(channels.quality) and bool((channels.kind == "real").all())
    if not isinstance(source, Samples) or not is_said:
        return None
    known = {name: channels.quality[name].tolist() for name in SAID if name in channels.quality}
    where = channels.coordinates.astype(float).tolist()
    rows = [
        {"id": id, **{name: str(column[i]) for name, column in known.items()}}
        | ({"position": where[i]} if np.isfinite(where[i]).all() else {})
        for i, id in enumerate(channels.id.tolist())
    ]
    return {"rate_hz": str(1 / source.step_s), "channels": rows}


def montages(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The montages that a run was trained on, from its data manifest; none for spikes and counts."""
    return [one["montage"] for one in manifest.get("sessions", ()) if one.get("montage")]


def refuse_other(recording: Recording, trained: Mapping[str, Any] | None) -> None:
    """Raise InputError, with a remedy, if a recording differs from the montage that was trained on.

    Positions may differ, as heads do; the order of channels does not matter. What either side does
    not say (an empty reference) is not compared. Nothing is compared where `trained` is None.
    """
    mine = montage(recording)
    if trained is None or mine is None:
        return
    if mine["rate_hz"] != trained["rate_hz"]:
        raise InputError(f"{recording.id} has {_hz(mine)} samples a second and the model was trained "
                         f"on {_hz(trained)}; resample it before it is ingested.")  # fmt: skip
    ours, theirs = ({row["id"]: row for row in one["channels"]} for one in (mine, trained))
    if extra := sorted(set(ours) - set(theirs)):
        raise InputError(f"{recording.id} has {len(extra)} channels that the model was not trained "
                         f"on ({some(extra)}); {REMEDY}.")  # fmt: skip
    if missing := sorted(set(theirs) - set(ours)):
        raise InputError(f"{recording.id} lacks {len(missing)} channels that the model was trained "
                         f"on ({some(missing)}); {REMEDY}.")  # fmt: skip
    for id, said in ours.items():
        for name in COMPARED:
            old, new = theirs[id].get(name, ""), said.get(name, "")
            if old and new and old != new:
                raise InputError(f"{recording.id}: channel {id} has the {name} {new!r} and the model "
                                 f"was trained on {old!r}; convert it before it is ingested.")  # fmt: skip


def refuse_unlike_all(recordings: Iterable[Recording], trained: Sequence[Mapping[str, Any]]) -> None:
    """As `refuse_other`, of several montages that were trained on: one must fit each recording."""
    for recording in recordings:
        refusals: list[InputError] = []
        for one in trained:
            try:
                refuse_other(recording, one)
            except InputError as error:
                refusals.append(error)
        if refusals and len(refusals) == len(trained):
            raise refusals[0]


def match(
    recording: Recording, channels: Sequence[str], rename: Mapping[str, str] | None = None
) -> Recording:
    """The recording with exactly these channels, in this order.

    `channels`: ids or, where they are unique, names (`Fz`). `rename`: this recording's id or name
    -> the one wanted. A channel that is not there is NaN throughout and has quality `absent`; one
    that is not wanted is left out. Raises InputError if nothing matches, a name is ambiguous, or
    the activity is not of traces.
    """
    source, table = recording.activity, recording.channels
    if not isinstance(source, Samples) or not (table.kind == "real").all():
        raise InputError(
            f"{recording.id} holds no traces; channels are matched of EEG and its kin."
        )
    if len(set(channels)) < len(channels):
        raise InputError("montage.channels names a channel twice.")
    at = _places(recording, channels, rename or {})
    if (at < 0).all():
        raise InputError(f"{recording.id} has none of the channels {some(list(channels))}; it has "
                         f"{some(table.id)}. Name them with montage.rename.")  # fmt: skip
    values = np.asarray(source.values[:])
    out = np.full((len(values), len(at)), np.nan, dtype=values.dtype)
    out[:, at >= 0] = values[:, at[at >= 0]]
    return replace(
        recording, channels=_taken(table, channels, at), activity=replace(source, values=out)
    )


def _places(
    recording: Recording, channels: Sequence[str], rename: Mapping[str, str]
) -> NDArray[np.int64]:
    """(C,) the row of each wanted channel, -1 for one that is not there."""
    ids = recording.channels.id.tolist()
    names = recording.channels.quality.get("name", np.array([i.rpartition("/")[2] for i in ids]))
    rows: dict[str, list[int]] = {}
    for row, (id, name) in enumerate(zip(ids, names.tolist(), strict=True)):
        called = rename.get(id, rename.get(name, ""))
        whole = called if "/" in called else f"{id.rpartition('/')[0]}/{called}".lstrip("/")
        keys = (whole, called.rpartition("/")[2]) if called else (id, name)
        for key in dict.fromkeys(keys):
            rows.setdefault(key, []).append(row)
    unknown = sorted(set(rename) - set(ids) - set(names.tolist()))
    if unknown:
        raise InputError(
            f"{recording.id} has no channel {unknown[0]} to rename; it has {some(ids)}."
        )
    for name in channels:
        if len(set(rows.get(name, []))) > 1:
            both = some([ids[row] for row in rows[name]])
            raise InputError(f"{recording.id}: {name} is {both}; give its id, or rename one.")
    return np.array([rows[name][0] if name in rows else -1 for name in channels], dtype=np.int64)


def _taken(table: Channels, wanted: Sequence[str], at: NDArray[np.int64]) -> Channels:
    """Rows of a table, blank ones where `at` is negative.

    A channel keeps its id unless it was renamed; then it gets the name that is wanted, with the
    prefix that ids of its type have.
    """
    there = at >= 0
    first = np.maximum(at, 0)  # any row will do for an absent channel: `there` blanks it
    names = [name.rpartition("/")[2] for name in wanted]
    prefixes = [id.rpartition("/")[0] for id in table.id[first].tolist()]
    common = max(sorted(set(prefixes)), key=prefixes.count)
    ids = [name if "/" in name else f"{prefix if is_there else common}/{name}".lstrip("/")
           for name, prefix, is_there in zip(wanted, prefixes, there, strict=True)]  # fmt: skip
    quality = {k: np.where(there, c[first], _blank(c)) for k, c in table.quality.items()}
    if "name" in quality:
        quality["name"] = np.array(names)
    return Channels(
        id=np.array(ids),
        region=np.where(there, table.region[first], ""),
        subject=table.subject[first],
        node=table.node[first],
        kind=table.kind[first],
        coordinates=np.where(there[:, None], table.coordinates[first], np.nan).astype(np.float32),
        quality={**quality, "absent": ~there},
    )


def _blank(column: NDArray[Any]) -> Any:
    return {"U": "", "b": False}.get(column.dtype.kind, np.nan if column.dtype.kind == "f" else 0)


def _hz(tree: Mapping[str, Any]) -> str:
    return f"{float(Fraction(tree['rate_hz'])):.10g}"
