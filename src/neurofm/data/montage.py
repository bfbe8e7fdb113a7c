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
READ = (("eeg",), ("seeg", "ecog", "dbs"), ("mag", "grad"), ("emg",))
"""Types of channels that are read together; the first of which a recording has any."""
REMEDY = "map it with --set montage.channels=[...] at ingest (docs, Montage)"


def montage(recording: Recording) -> dict[str, Any] | None:
    """What was measured and how; None where channels have no type and unit: counts, calcium.

    Channels of another kind beside the traces (labels of trials, say) are no part of it.
    """
    source, channels = recording.activity, recording.channels
    if not isinstance(source, Samples) or not {"type", "unit"} <= set(channels.quality):
        return None
    absent = channels.quality.get("absent", np.zeros(len(channels), dtype=bool)).astype(bool)
    measured = (channels.kind == "real") & ((channels.quality["type"] != "") | absent)
    if not measured.any():
        return None
    known = {name: channels.quality[name].tolist() for name in SAID if name in channels.quality}
    where = channels.coordinates.astype(float).tolist()
    rows = [
        {"id": id, **{name: str(column[i]) for name, column in known.items()}}
        | ({"position": where[i]} if np.isfinite(where[i]).all() else {})
        for i, id in enumerate(channels.id.tolist())
        if measured[i]
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


def refuse_unlike_all(
    recordings: Iterable[Recording], trained: Sequence[Mapping[str, Any]]
) -> None:
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


def electrodes(recording: Recording) -> NDArray[np.bool_]:
    """(C,) the channels that say what is asked: of the first types in READ; all where types say nothing.

    A heart or an eye beside them would tell a task from rest too, and is no brain.
    """
    types = recording.channels.quality.get("type", np.empty(0, dtype=np.str_))
    found = (np.isin(types, kinds) for kinds in READ)
    return next((one for one in found if one.any()), np.ones(len(recording.channels), dtype=bool))


def against_average(recording: Recording) -> Recording:
    """The traces less the mean of all channels at every moment: the average reference of EEG.

    Raises InputError if the activity is not of traces.
    """
    source = recording.activity
    if not isinstance(source, Samples) or not (recording.channels.kind == "real").all():
        raise InputError(f"{recording.id} holds no traces; nothing is referenced to an average.")
    values = np.asarray(source.values[:], dtype=np.float32)
    return replace(recording, activity=replace(source, values=values - values.mean(axis=1, keepdims=True)))  # fmt: skip


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
    ids, names = _renamed(recording, rename or {})
    at = _places(recording.id, ids, names, channels)
    if (at < 0).all():
        raise InputError(f"{recording.id} has none of the channels {some(list(channels))}; it has "
                         f"{some(table.id)}. Name them with montage.rename.")  # fmt: skip
    values = np.asarray(source.values[:])
    out = np.full((len(values), len(at)), np.nan, dtype=values.dtype)
    out[:, at >= 0] = values[:, at[at >= 0]]
    return replace(
        recording, channels=_taken(table, ids, channels, at), activity=replace(source, values=out)
    )


def _renamed(recording: Recording, rename: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(ids, names) of the channels after renaming; a new name keeps the id's prefix."""
    ids = recording.channels.id.tolist()
    known = recording.channels.quality.get("name")
    names = [id.rpartition("/")[2] for id in ids] if known is None else known.tolist()
    if unknown := sorted(set(rename) - set(ids) - set(names)):
        raise InputError(
            f"{recording.id} has no channel {unknown[0]} to rename; it has {some(ids)}."
        )
    for row, (id, name) in enumerate(zip(ids, names, strict=True)):
        if called := rename.get(id, rename.get(name, "")):
            prefix = "" if "/" in called else id.removesuffix(id.rpartition("/")[2])
            ids[row], names[row] = prefix + called, called.rpartition("/")[2]
    return ids, names


def _places(
    id: str, ids: Sequence[str], names: Sequence[str], wanted: Sequence[str]
) -> NDArray[np.int64]:
    """(C,) the row of each wanted channel, -1 for one that is not there."""
    out = []
    for one in wanted:
        rows = [row for row, known in enumerate(zip(ids, names, strict=True)) if one in known]
        if len(rows) > 1:
            both = some([ids[row] for row in rows])
            raise InputError(f"{id}: {one} is {both}; give its id, or rename one.")
        out.append(rows[0] if rows else -1)
    return np.array(out, dtype=np.int64)


def _taken(
    table: Channels, ids: Sequence[str], wanted: Sequence[str], at: NDArray[np.int64]
) -> Channels:
    """Rows of a table under their new ids, blank ones where `at` is negative.

    An absent channel that was asked for by its name alone gets the prefix that most others have.
    """
    there = at >= 0
    first = np.maximum(at, 0)  # any row will do for an absent channel: `there` blanks it
    prefixes = [id.removesuffix(id.rpartition("/")[2]) for id in table.id.tolist()]
    common = max(sorted(set(prefixes)), key=prefixes.count)
    absent = [one if "/" in one else common + one for one in wanted]
    names = [one.rpartition("/")[2] for one in wanted]
    quality = {k: np.where(there, c[first], _blank(c)) for k, c in table.quality.items()}
    if "name" in quality:
        quality["name"] = np.array(names)
    return Channels(
        id=np.array([ids[row] if row >= 0 else absent[i] for i, row in enumerate(at)]),
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
