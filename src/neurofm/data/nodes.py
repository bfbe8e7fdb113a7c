"""Stimulus and behaviour as channels: signals and labels of trials on the sheet of the activity.

The one step from what a recording holds beside its activity to cells that a model can be shown or
asked about. Signals are `real` channels, or an `embedding`; labels of trials are a `category`, one
channel a label. All of it comes to the model's bins without a look ahead (`binning.signal`). NaN is
what was not recorded: a model is never shown it and never asked about it, so that a session without
a wheel and a stretch without a trial are no special cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from neurofm.config import Config
from neurofm.data.recording import Channels, Composite, Labelled, Recording, Signal
from neurofm.data.targets import label_column, labels_of
from neurofm.errors import InputError


class ChannelsConfig(Config):
    """What of a recording besides its activity becomes channels, by name; nothing by default.

    `signals`: of these, `embeddings` are compared by their direction, the others value by value.
    `trials`: labels of trials, each held over `trial_part` of the trial: shares of its length.
    `stimulus`: which of all these are stimuli; the others are behaviour, or what their file says.
    """

    signals: tuple[str, ...] = ()
    trials: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    stimulus: tuple[str, ...] = ()
    trial_part: tuple[float, float] = (0.0, 1.0)

    @property
    def any(self) -> bool:
        """Whether anything becomes a channel."""
        return bool(self.signals or self.trials or self.embeddings)

    def check(self, recordings: Sequence[Recording]) -> None:
        """Raises InputError, with the nearest name, for what no recording has."""
        held = {name for r in recordings for name in r.signals}
        _refuse_unknown("signal", [*self.signals, *self.embeddings], held)
        labels = {name for r in recordings if self.trials for name in labels_of(r)}
        _refuse_unknown("label", self.trials, labels)
        _refuse_unknown("stimulus", self.stimulus, {*self.signals, *self.embeddings, *self.trials})

    def widen(self, recordings: Sequence[Recording]) -> list[Recording]:
        """The recordings with these channels, each with those that it has; none is no fault."""
        return [self._widened(r) for r in recordings]

    def _widened(self, recording: Recording) -> Recording:
        if not self.any or isinstance(recording.activity, Composite):
            return recording
        labels = labels_of(recording) if self.trials else []
        return with_channels(
            recording,
            signals=[n for n in self.signals if n in recording.signals],
            trials=[n for n in self.trials if n in labels],
            embeddings=[n for n in self.embeddings if n in recording.signals],
            stimulus=self.stimulus,
            part=self.trial_part,
        )


def with_channels(
    recording: Recording,
    *,
    signals: Sequence[str] = (),
    trials: Sequence[str] = (),
    embeddings: Sequence[str] = (),
    stimulus: Sequence[str] = (),
    part: tuple[float, float] = (0.0, 1.0),
) -> Recording:
    """The recording with these signals and labels of trials as channels behind its own.

    A signal of k columns becomes k channels NAME[AXIS], by the names of its axes or else NAME[0] ...,
    and NAME where k is 1: `real`, or one group of the kind `embedding`. A label becomes one group of
    the kind `category`, NAME=LABEL each; it holds in the bins wholly inside `part` of its trial. Channels of one name are one channel in all
    recordings. Columns without a single value are left out. `stimulus` names those of that node.
    Raises InputError for a name that the recording does not have, or a part that is none.
    """
    if isinstance(recording.activity, Composite):
        raise InputError(f"{recording.id} has its further channels already; name all at once.")
    if not 0 <= part[0] < part[1] <= 1:
        raise InputError(f"part of a trial is {part}; give two shares of its length, [0, 1].")
    _refuse_unknown("signal", [*signals, *embeddings], set(recording.signals), recording.id)
    real = [n for n in signals if n not in embeddings]
    made = [_signal(recording, name, "real") for name in real]
    made += [_signal(recording, name, "embedding") for name in embeddings]
    made += [_label(recording, name, part) for name in trials]
    made = [one.of_node("stimulus") if one.name in stimulus else one for one in made if one.ids]
    if not made:
        return recording
    n = len(recording.channels)
    activity = Composite(recording.activity, n, tuple(one.source for one in made))
    return replace(recording, channels=_joined(recording, made), activity=activity)


@dataclass(frozen=True)
class _Made:
    """What a name became: channels of these ids, and where their values come from."""

    name: str
    node: str
    kind: str
    ids: list[str]
    source: Signal | Labelled

    def of_node(self, node: str) -> "_Made":
        return replace(self, node=node)


def _signal(recording: Recording, name: str, kind: str) -> _Made:
    source = recording.signals[name]
    values = np.asarray(source.values[:])
    known = np.isfinite(values).any(axis=0)
    ids = _ids(name, source.axes, len(known))
    if kind == "embedding" and known.any():
        known[:] = True  # one vector, whole or not at all
    if not known.all():
        source = replace(source, values=values[:, known])
    kept = [one for one, there in zip(ids, known, strict=True) if there]
    return _Made(name, source.node, kind, kept, source)


def _ids(name: str, axes: tuple[str, ...], n: int) -> list[str]:
    """Ids from which `_stem` finds the name again, whatever brackets stand in it."""
    if n == 1 and not name.endswith("]"):
        return [name]
    plain = len(set(axes)) == n and not any(set(axis) & set("[]") for axis in axes)
    return [f"{name}[{axis}]" for axis in (axes if plain else range(n))]


def _label(recording: Recording, name: str, part: tuple[float, float]) -> _Made:
    label, known = label_column(recording, name)
    names, code = np.unique(label[known], return_inverse=True)
    start, stop = (recording.trials[c][known].astype(float) for c in ("start_s", "stop_s"))
    good = np.isfinite(start) & np.isfinite(stop)
    first, last = (start[good] + share * (stop - start)[good] for share in part)
    source = Labelled(first, last, code[good].astype(np.int64), len(names))
    ids = [f"{name}={one}" for one in names.tolist()] if good.any() else []
    return _Made(name, "behaviour", "category", ids, source)


def _joined(recording: Recording, made: Sequence[_Made]) -> Channels:
    """The recording's channels, and those that were made behind them."""
    own = recording.channels
    sizes = [len(one.ids) for one in made]
    n = sum(sizes)

    def column(name: str) -> NDArray[np.str_]:
        return np.repeat([getattr(one, name) for one in made], sizes)

    kind = column("kind")
    alone = kind == "real"
    before = np.full(len(own), "") if own.group is None else own.group
    nowhere = np.full((n, 3), np.nan, dtype=np.float32)
    return Channels(
        id=np.concatenate([own.id, [one for m in made for one in m.ids]]),
        region=np.concatenate([own.region, np.full(n, "")]),
        subject=np.concatenate([own.subject, np.full(n, recording.subject)]),
        node=np.concatenate([own.node, column("node")]),
        kind=np.concatenate([own.kind, kind]),
        coordinates=np.concatenate([own.coordinates, nowhere]),
        group=np.concatenate([before, np.where(alone, "", column("name"))]),
    )


def names_of(channels: Channels) -> list[str]:
    """Names of the signals and labels that channels were made of, in their order."""
    rows = np.flatnonzero(~channels.in_activity).tolist()
    return list(dict.fromkeys(_stem(channels, row) for row in rows))


def rows_of(channels: Channels, name: str) -> NDArray[np.intp]:
    """Rows of the channels that were made of the signal or label of this name."""
    rows = np.flatnonzero(~channels.in_activity).tolist()
    return np.array([row for row in rows if _stem(channels, row) == name], dtype=np.intp)


def signals_of(channels: Channels) -> NDArray[np.intp]:
    """(C,) which signal or label each channel was made of, counted in their order; activity -1."""
    out = np.full(len(channels), -1, dtype=np.intp)
    for number, name in enumerate(names_of(channels)):
        out[rows_of(channels, name)] = number
    return out


def _stem(channels: Channels, row: int) -> str:
    """The group's name; of a channel that stands alone its id, without which axis it is."""
    group = "" if channels.group is None else str(channels.group[row])
    name = str(channels.id[row])
    head, bracket, _ = name.rpartition("[")
    return group or (head if bracket else name)


def _refuse_unknown(what: str, names: Sequence[str], held: set[str], where: str = "") -> None:
    for name in names:
        if name not in held:
            near = get_close_matches(name, held, n=1)
            there = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(held))}."
            who = where or "no recording"
            raise InputError(f"{who} has {'no' if where else 'a'} {what} {name!r}; {there}")
