"""Segments: pieces of EEG of one length, each beside a vector of what was said or heard in it.

The target may come from anywhere (`data.log_mel`, an array of another network's latents, embeddings
of sentences); EMG that was recorded with the EEG is kept apart from it, for the control.
Shapes: n segments, T samples, C electrodes, E muscles, F frames of the target, D its width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.data.binning import EDGE, activity, pieces, signal
from neurofm.data.intervals import Intervals
from neurofm.data.montage import electrodes
from neurofm.data.recording import Recording, Samples
from neurofm.errors import CheckFailed, InputError

Floats = NDArray[np.float32]
MUSCLES = ("emg", "eog")  # types of channels that the control is made of
WHOLE = ("length_s", "channel")  # of all segments at once


@dataclass(frozen=True)
class Segments:
    """`eeg` (n, T, C), `emg` (n, T, E) with E = 0 where none was recorded, `target` (n, F, D).

    `item`, `session`, `subject` (n,): segments of one item share its target, and are not to be
    told apart. `start_s` (n,): on the session's clock; each lasts `length_s`. `channel` (C,).
    """

    eeg: Floats
    emg: Floats
    target: Floats
    item: NDArray[np.str_]
    session: NDArray[np.str_]
    subject: NDArray[np.str_]
    start_s: NDArray[np.float64]
    length_s: float
    channel: NDArray[np.str_]

    @classmethod
    def of(
        cls,
        eeg: NDArray[Any],
        target: NDArray[Any],
        *,
        length_s: float,
        emg: NDArray[Any] | None = None,
        item: ArrayLike | None = None,
        session: ArrayLike = "session",
        subject: ArrayLike = "",
        start_s: ArrayLike | None = None,
        channel: ArrayLike | None = None,
    ) -> "Segments":
        """From plain arrays; `target` (n, D) or (n, F, D).

        Without `item` each segment is its own, without `start_s` they lie end to end. Raises
        InputError, naming the field, if lengths differ or a number is not finite.
        """
        n = len(eeg)
        if eeg.ndim != 3 or target.ndim not in (2, 3):
            raise InputError(f"eeg has shape {eeg.shape} and target {target.shape}; they must be "
                             "(segments, samples, channels) and (segments, frames, width).")  # fmt: skip
        start = np.asarray(
            np.arange(n) * length_s if start_s is None else start_s, dtype=np.float64
        )
        names = np.broadcast_to(np.asarray(session, dtype=np.str_), n)
        own = [f"{s}@{t:.6f}" for s, t in zip(names, start, strict=False)]
        ids = [str(i) for i in range(eeg.shape[2])] if channel is None else channel
        made = cls(
            eeg=np.asarray(eeg, dtype=np.float32),
            emg=np.asarray(eeg[:, :, :0] if emg is None else emg, dtype=np.float32),
            target=np.asarray(target[:, None] if target.ndim == 2 else target, dtype=np.float32),
            item=np.asarray(own if item is None else item, dtype=np.str_),
            session=names,
            subject=np.broadcast_to(np.asarray(subject, dtype=np.str_), n),
            start_s=start,
            length_s=length_s,
            channel=np.asarray(ids, dtype=np.str_),
        )
        for name in ("emg", "target", "item", "start_s", "eeg"):
            column = getattr(made, name)
            if len(column) != n:
                raise InputError(f"{name} has {len(column)} rows for {n} segments of eeg.")
            if column.dtype.kind == "f" and not np.isfinite(column).all():
                raise InputError(f"{name} holds a number that is not finite; leave it out.")
        return made

    def __len__(self) -> int:
        return len(self.eeg)

    def take(self, rows: ArrayLike) -> "Segments":
        """The given rows (indices or booleans), in that order."""
        at = np.asarray(rows)
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Segments(**{k: v if k in WHOLE else v[at] for k, v in parts.items()})

    def inside(self, spans: Mapping[str, Intervals]) -> "Segments":
        """Those that lie wholly inside one interval of their session's `spans`."""
        kept = np.zeros(len(self), dtype=bool)
        for name, intervals in spans.items():
            for low, high in intervals:
                whole = (self.start_s >= low - EDGE) & (self.start_s + self.length_s <= high + EDGE)
                kept |= whole & (self.session == name)
        return self.take(kept)


def cut(
    recording: Recording,
    length_s: float,
    *,
    target: str | Floats,
    frames: int = 1,
    sample_s: float | None = None,
    start_s: ArrayLike | None = None,
    item: ArrayLike | None = None,
) -> Segments:
    """A recording of traces cut into segments: end to end, or from each `start_s` (n,) on.

    `target`: one of its signals, of which the mean in each of `frames` equal parts is taken, or rows
    (n, F, D) beside `start_s`. `item` (n,): what each start is a segment of. Electrodes and muscles
    are told by the type of their channel (`montage.electrodes`; muscles that are read themselves are
    no control). A start moves to the next sample, samples of `sample_s` where it is given. Segments with
    gaps or values that are not finite are left out. Raises InputError if there is no such signal,
    no trace or no whole segment.
    """
    if not isinstance(recording.activity, Samples):
        raise InputError(f"{recording.id} holds events; segments are cut from traces.")
    step = float(recording.activity.step_s) if sample_s is None else sample_s
    n_samples = round(length_s / step)
    if abs(n_samples * step - length_s) > EDGE * step:
        raise InputError(f"length_s = {length_s:g} must be a multiple of the sample, {step:g} s.")
    first = _first_samples(recording, length_s, step, start_s)
    electrode = electrodes(recording)
    types = recording.channels.quality.get("type", np.full(len(electrode), ""))
    muscle = np.isin(types, MUSCLES) & ~electrode
    traces, targets, kept = [], [], []
    for row in np.flatnonzero(first >= 0).tolist():
        x = activity(recording, first[row], first[row] + n_samples, step)
        y = _target(recording, target, row, first[row] * step, length_s, frames)
        if np.isfinite(x).all() and np.isfinite(y).all():
            traces.append(x)
            targets.append(y)
            kept.append(row)
    if not traces:
        raise InputError(f"{recording.id} has no whole segment of {length_s:g} s.")
    x = np.stack(traces)
    return Segments.of(
        x[:, :, electrode],
        np.stack(targets),
        length_s=length_s,
        emg=x[:, :, muscle],
        item=None if item is None else np.asarray(item)[kept],
        session=recording.id,
        subject=recording.subject,
        start_s=first[kept] * step,
        channel=recording.channels.id[electrode],
    )


def _first_samples(
    recording: Recording, length_s: float, step: float, start_s: ArrayLike | None
) -> NDArray[np.int64]:
    """(n,) the first sample of each segment, -1 where it would leave what was recorded."""
    n = round(length_s / step)
    if start_s is None:
        end_to_end = [np.arange(a, b) * n for a, b in pieces(recording.valid, length_s)]
        return np.concatenate([np.empty(0, dtype=np.int64), *end_to_end])
    at = np.ceil(np.asarray(start_s, dtype=np.float64) / step - EDGE)
    whole = np.zeros(len(at), dtype=bool)
    for low, high in pieces(recording.valid, step):
        whole |= (at >= low) & (at + n <= high)
    return np.where(whole, at, -1).astype(np.int64)


def _target(
    recording: Recording,
    target: str | Floats,
    row: int,
    start_s: float,
    length_s: float,
    frames: int,
) -> Floats:
    if not isinstance(target, str):
        own: Floats = target[row]
        return own
    if target not in recording.signals:
        raise InputError(f"{recording.id} has no signal {target!r}; it has "
                         f"{', '.join(sorted(recording.signals)) or 'none'}.")  # fmt: skip
    source = recording.signals[target]
    times = None if source.times_s is None else np.asarray(source.times_s[:]) - start_s
    moved = replace(source, start_s=source.start_s - start_s, times_s=times)
    return signal(moved, 0, frames, length_s / frames)


def joined(parts: Sequence[Segments]) -> Segments:
    """Segments of several recordings of the same electrodes.

    Raises InputError, naming the recording, if its electrodes, muscles or targets are others.
    """
    first = parts[0]
    for part in parts[1:]:
        if (
            not np.array_equal(part.channel, first.channel)
            or part.emg.shape[2] != first.emg.shape[2]
        ):
            raise InputError(f"{part.session[0]}: its channels are not those of {first.session[0]}; one "
                             "encoder needs the same electrodes and muscles, in one order.")  # fmt: skip
        if part.target.shape[1:] != first.target.shape[1:]:
            raise InputError(f"{part.session[0]}: its targets are {part.target.shape[1:]}, those of "
                             f"{first.session[0]} {first.target.shape[1:]}.")  # fmt: skip
    names = [f.name for f in fields(Segments) if f.name not in WHOLE]
    together: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in names}
    return replace(first, **together)


def alike(segments: Segments) -> Segments:
    """The same, each with the mean target of all segments of its item."""
    _, of = np.unique(segments.item, return_inverse=True)
    total = np.zeros((of.max() + 1, *segments.target.shape[1:]))
    np.add.at(total, of, segments.target)
    mean = total / np.bincount(of)[:, None, None]
    return replace(segments, target=mean[of].astype(np.float32))


def prove_apart(train: Segments, test: Segments, gap_s: float) -> None:
    """Raises CheckFailed if a segment of one side lies nearer than `gap_s` to one of the other.

    Windows that were shuffled between the sides fail it: neighbours share words, drift and muscle.
    """
    for name in np.unique(test.session):
        sides = [side.start_s[side.session == name] for side in (train, test)]
        start = np.concatenate(sides)
        is_test = np.repeat([False, True], [len(s) for s in sides])
        order = np.argsort(start, kind="stable")
        apart = np.diff(start[order]) - max(train.length_s, test.length_s)
        near = (np.diff(is_test[order].astype(int)) != 0) & (apart < gap_s - EDGE)
        if near.any():
            raise CheckFailed(
                f"{name}: {int(near.sum())} pairs of train and test segments lie nearer than "
                f"{gap_s:g} s; split in time, with a gap, before anything is shuffled."
            )


def latents(path: Path, key: str = "latents") -> Floats:
    """(n, F, D) of another network, from a `.npz` (array `key`) or `.npy` file; (n, D) is F = 1.

    Raises InputError if there is no such array or a number is not finite.
    """
    try:
        found = np.load(path)
        values = np.asarray(found if isinstance(found, np.ndarray) else found[key])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: no array {key!r} of numbers can be read ({error}).") from None
    if values.ndim not in (2, 3) or values.dtype.kind not in "fiu":
        raise InputError(f"{path}: {key} is {values.dtype} of shape {values.shape}; it must be "
                         "numbers, (segments, frames, width) or (segments, width).")  # fmt: skip
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {key} holds a number that is not finite; leave it out.")
    return values.astype(np.float32).reshape(len(values), -1, values.shape[-1])
