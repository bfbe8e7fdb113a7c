"""Questions by node, of a recording with stimulus or behaviour: encoding, decoding, behaviour."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from neurofm.data.intervals import Intervals
from neurofm.data.nodes import names_of, rows_of
from neurofm.data.recording import Channels, Recording
from neurofm.evaluate.task import Example
from neurofm.evaluate.tasks import Fold, Forward, NotAskable, Task, fold_of, whole_pieces

NODE_TASKS = ("encoding", "decoding", "behaviour")


@dataclass(frozen=True)
class Encoding:
    """Hide all activity for the whole piece, predict it from stimulus and behaviour."""

    name: str = "encoding"

    def groups(self, recording: Recording, seed: int) -> list[Fold]:  # noqa: ARG002
        own = np.flatnonzero(recording.channels.in_activity)
        n = len(recording.channels)
        if not names_of(recording.channels):
            raise NotAskable(
                f"{recording.id}: {self.name} needs stimulus or behaviour, it has none."
            )
        return [fold_of(0, "activity", n, own, own)]

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        return whole_pieces(self.name, recording, intervals, bin_s, fold)


@dataclass(frozen=True)
class Decoding:
    """Hide stimulus and behaviour for the whole piece, predict one signal or label from activity."""

    target: str

    @property
    def name(self) -> str:
        return f"decoding: {self.target}"

    def groups(self, recording: Recording, seed: int) -> list[Fold]:  # noqa: ARG002
        scored = rows_of(recording.channels, self.target)
        if not len(scored):
            raise NotAskable(f"{recording.id}: there is no {self.target} to decode.")
        hidden = np.flatnonzero(~recording.channels.in_activity)
        return [fold_of(0, self.target, len(recording.channels), hidden, scored)]

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        return _known(self.target, whole_pieces(self.name, recording, intervals, bin_s, fold))


@dataclass(frozen=True)
class Behaviour:
    """Hide the last `horizon_s` of all behaviour, predict it from what was before and from the stimulus.

    The activity is left out, as if it had not been recorded. A fold a signal, all of which are hidden
    in each; windows are tiled as those of `Forward`. Labels of trials are hidden and not scored.
    """

    name: str = "behaviour"
    context_s: float = 2.0
    horizon_s: float = 0.4

    def groups(self, recording: Recording, seed: int) -> list[Fold]:  # noqa: ARG002
        channels = recording.channels
        scored = [
            rows[_moving(channels)[rows]]
            for rows in [rows_of(channels, n) for n in names_of(channels)]
        ]
        hidden = np.flatnonzero(channels.node == "behaviour")
        found = [rows for rows in scored if len(rows)]
        if not found:
            raise NotAskable(
                f"{recording.id}: {self.name} is about signals of behaviour, it has none."
            )
        return [fold_of(i, names_of(channels.take(rows))[0], len(channels), hidden, rows)
                for i, rows in enumerate(found)]  # fmt: skip

    def examples(
        self, recording: Recording, intervals: Intervals, bin_s: float, fold: Fold
    ) -> list[Example]:
        ahead = Forward(self.name, self.context_s, self.horizon_s)
        out = []
        for whole in ahead.examples(recording, intervals, bin_s, fold):
            hidden = whole.question.hidden & fold.hidden
            values = np.where(recording.channels.in_activity, np.nan, whole.counts)
            values = values.astype(np.float32)
            question = replace(whole.question, hidden=hidden, visible=np.where(hidden, 0.0, values))
            out.append(Example(question, values))
        return _known(fold.label, out)


def _known(target: str, examples: list[Example]) -> list[Example]:
    """The examples. Raises NotAskable if no scored cell of theirs was recorded."""
    if not any(np.isfinite(e.counts[e.question.scored]).any() for e in examples):
        where = examples[0].question.recording
        raise NotAskable(
            f"{where}: {target} was not recorded in a part to learn from or to ask about."
        )
    return examples


def _moving(channels: Channels) -> NDArray[np.bool_]:
    """(C,) which channels are behaviour that has a value in each bin; labels of trials are not."""
    return np.asarray((channels.node == "behaviour") & (channels.kind == "real"))


def askable(name: str, recordings: Sequence[Recording]) -> bool:
    """Whether any of the recordings has the nodes that a task is about."""
    if name == "behaviour":
        return any(_moving(r.channels).any() for r in recordings)
    return any(0 < len(r.channels.of_activity) < len(r.channels) for r in recordings)


def node_tasks(name: str, recordings: Sequence[Recording]) -> list[Task]:
    """`encoding`, `behaviour`, or `decoding` of every signal and label that any of the recordings has."""
    if name == "encoding":
        return [Encoding()]
    if name == "behaviour":
        return [Behaviour()]
    names = dict.fromkeys(n for r in recordings for n in names_of(r.channels))
    return [Decoding(target) for target in names]
