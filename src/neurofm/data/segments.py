"""Segments: pieces of EEG of one length, each beside a vector of what was said or heard in it.

The target may come from anywhere (`data.log_mel`, an array of another network's latents, embeddings
of sentences); EMG that was recorded with the EEG is kept apart from it, for the control.
Shapes: n segments, T samples, C electrodes, E muscles, F frames of the target, D its width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm.data.binning import EDGE, activity, pieces, signal
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording, Samples
from neurofm.errors import CheckFailed, InputError

Floats = NDArray[np.float32]
MUSCLES = ("emg", "eog")  # types of channels that the control is made of


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
        whole = ("length_s", "channel")
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return Segments(**{k: v if k in whole else v[at] for k, v in parts.items()})

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
    target: str,
    frames: int,
    sample_s: float | None = None,
) -> Segments:
    """A recording of traces cut end to end into segments; `target` is one of its signals.

    Electrodes and muscles are told by the type of their channel (without types all are EEG). The
    target is the signal's mean in each of `frames` equal parts. `sample_s`: coarser samples than
    the recording's. Pieces with gaps or values that are not finite are left out. Raises InputError
    if there is no such signal, no trace or no whole segment.
    """  # fmt: skip
    if not isinstance(recording.activity, Samples):
        raise InputError(f"{recording.id} holds events; segments are cut from traces.")
    if target not in recording.signals:
        raise InputError(f"{recording.id} has no signal {target!r}; it has "
                         f"{', '.join(sorted(recording.signals)) or 'none'}.")  # fmt: skip
    step = float(recording.activity.step_s) if sample_s is None else sample_s
    n_samples = round(length_s / step)
    if abs(n_samples * step - length_s) > EDGE * step:
        raise InputError(f"length_s = {length_s:g} must be a multiple of the sample, {step:g} s.")
    types = recording.channels.quality.get("type", np.full(len(recording.channels), "eeg"))
    muscle = np.isin(types, MUSCLES)
    source, traces, targets, starts = recording.signals[target], [], [], []
    for first, stop in pieces(recording.valid, length_s):
        for k in range(first, stop):
            x = activity(recording, k * n_samples, (k + 1) * n_samples, step)
            y = signal(source, k * frames, (k + 1) * frames, length_s / frames)
            if np.isfinite(x).all() and np.isfinite(y).all():
                traces.append(x)
                targets.append(y)
                starts.append(k * length_s)
    if not traces:
        raise InputError(f"{recording.id} has no whole segment of {length_s:g} s.")
    x = np.stack(traces)
    return Segments.of(
        x[:, :, types == "eeg"],
        np.stack(targets),
        length_s=length_s,
        emg=x[:, :, muscle],
        session=recording.id,
        subject=recording.subject,
        start_s=np.array(starts),
        channel=recording.channels.id[types == "eeg"],
    )


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
