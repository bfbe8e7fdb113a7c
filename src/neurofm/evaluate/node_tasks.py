"""Questions between the nodes of a recording with further channels: encoding and decoding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neurofm.data.intervals import Intervals
from neurofm.data.nodes import names_of, rows_of
from neurofm.data.recording import Recording
from neurofm.evaluate.task import Example
from neurofm.evaluate.tasks import Fold, NotAskable, Task, fold_of, whole_pieces

NODE_TASKS = ("encoding", "decoding")


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
        return whole_pieces(self.name, recording, intervals, bin_s, fold)


def node_tasks(name: str, recordings: Sequence[Recording]) -> list[Task]:
    """`encoding`, or `decoding` of every signal and label that any of the recordings has."""
    if name == "encoding":
        return [Encoding()]
    names = dict.fromkeys(n for r in recordings for n in names_of(r.channels))
    return [Decoding(target) for target in names]
