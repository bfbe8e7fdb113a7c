"""The stage behind `neurofm decode RUN --new STORE`: targets that nobody measured in these animals.

What decodes was taught on the targets of the run's own recordings. Of a new recording it sees the
activity of the training side, for its computed rows, and no target; those of the test side are
there to score it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from neurofm.data import splits as split
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.store import open_store
from neurofm.data.targets import labels_of, traces
from neurofm.decoding import Decoding, axes_of, record_targets, trials_of, unless_skipped
from neurofm.errors import InputError
from neurofm.evaluate.decode import (
    MODEL,
    PROBE,
    SIDES,
    Decoded,
    Session,
    decode_label,
    decode_signal,
)
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.region_rates import RegionLabels, RegionSignals
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import Say, silent
from neurofm.results import Result
from neurofm.scoring import Evaluation, open_evaluation
from neurofm.train.extend import extended
from neurofm.train.finetune import FinetuneConfig, Finetuned, finetune_labels, finetune_signals
from neurofm.train.target_scale import target_scale

REGIONS = "region-rates"
RIDGE, LOGISTIC = "ridge", "logistic"
OWN = {RIDGE: "ridge, own targets", LOGISTIC: "logistic, own targets"}


def decode_new_run(
    folder: Path | str,
    new: Path | str,
    *,
    targets: str = "all",
    store: Path | str | None = None,
    device: str = "auto",
    splits_file: Path | str | None = None,
    config: FinetuneConfig | None = None,
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Decode targets of the recordings in `new`, append to the run's results, and return them.

    Predictors: `model` (fine-tuned on the run's recordings), `probe` (a head on its frozen latents),
    `region-rates` (ridge or logistic regression on the rates of regions), all without a target of
    the new recordings; and `ridge` or `logistic`, `own targets`, taught on all of their training
    side. `splits_file`: sides of the new recordings; default: in order of time. Raises ConfigError
    for a target that no recording of the run has, InputError where a new recording is the run's.
    """
    folder = Path(folder)
    work = open_evaluation(folder, store=store, device=device, splits_file=None, truth=None,
                           say=say, tick=tick)  # fmt: skip
    config = config or FinetuneConfig(seed=work.seed)
    taught = Decoding(work, [], config, None)
    crossing = Crossing.of(work, taught.sessions(), new, splits_file, config)
    return record_targets(work, taught.targets(targets), crossing.decode, "@0min")


@dataclass(frozen=True)
class Crossing:
    """Sessions whose targets teach, new ones that are asked, and a model that knows both."""

    trained: Trained
    teachers: tuple[Session, ...]
    asked: tuple[Session, ...]
    config: FinetuneConfig
    work: Evaluation

    @classmethod
    def of(
        cls,
        work: Evaluation,
        teachers: Sequence[Session],
        store: Path | str,
        splits_file: Path | str | None,
        config: FinetuneConfig,
    ) -> "Crossing":
        """Raises InputError where a recording of the store is one that the run was trained on."""
        new = open_store(store).recordings()
        for known in {r.id for r in work.recordings} & {r.id for r in new}:
            raise InputError(
                f"{known} of {store} is a recording of the run; `neurofm decode` without --new."
            )
        splits = split.load(splits_file) if splits_file else split.split_by_time(new)
        sides = {r.id: {s: splits.side(s).get(r.id, Intervals.none()) for s in SIDES} for r in new}
        trained = extended(
            work.trained, new, {r: part["train"] for r, part in sides.items()}, config.seed
        )

        def session(recording: Recording, parts: Mapping[str, Intervals]) -> Session:
            return Session(
                recording, parts, Direct.of(trained, recording, work.device), work.device
            )

        drawn = len(trained.vocabulary.channels) - len(work.trained.vocabulary.channels)
        if drawn and trained.model.config.rows == "table":
            work.say(f"note: the rows of {drawn} new units are drawn at random, since the run's are a "
                     "table; pre-train with model.rows=inductive to decode new animals.")  # fmt: skip
        return cls(trained, tuple(session(t.recording, t.sides) for t in teachers),
                   tuple(session(r, sides[r.id]) for r in new), config, work)  # fmt: skip

    def decode(self, name: str) -> Iterator[Decoded]:
        """Scores of every method on every new recording that has the target."""
        signal = any(name in s.recording.signals for s in self.teachers)

        def having(sessions: Sequence[Session]) -> list[Session]:
            return [s for s in sessions
                    if name in (s.recording.signals if signal else labels_of(s.recording))]  # fmt: skip

        teachers, asked = having(self.teachers), having(self.asked)
        if not asked:
            self.work.say(f"skipped: {name}: no new recording has it, so nothing can be scored")
            return
        found = (
            self._alike(name, teachers, asked) if signal else self._labels(name, teachers, asked)
        )
        for one in found:
            yield replace(one, method=OWN.get(one.method, one.method))

    def _alike(
        self, name: str, teachers: Sequence[Session], asked: Sequence[Session]
    ) -> Iterator[Decoded]:
        """Signals with the same axes together: others have no head for them."""
        for kind in dict.fromkeys(axes_of(s, name) for s in asked):
            those = [s for s in asked if axes_of(s, name) == kind]
            taught = [s for s in teachers if axes_of(s, name) == kind]
            if taught:
                yield from self._signals(name, taught, those)
            else:
                ids = ", ".join(s.recording.id for s in those)
                self.work.say(f"skipped: {name} of {ids}: no recording of the run has these axes")

    def _signals(
        self, name: str, teachers: Sequence[Session], asked: Sequence[Session]
    ) -> Iterator[Decoded]:
        everyone = [*teachers, *asked]
        wanted = {s.recording.id: traces(s.recording, name, s.bin_s) for s in everyone}
        learn, check = ({s.recording.id: s.sides[side] for s in teachers} for side in SIDES[:2])
        scaled = target_scale(wanted, learn, everyone[0].bin_s)

        def train(config: FinetuneConfig) -> Finetuned:
            return finetune_signals(self.trained, [s.recording for s in everyone], wanted, learn, check,
                                    config, device=self.work.device, scaled_by=scaled)  # fmt: skip

        given = {REGIONS: RegionSignals.taught(teachers, wanted, *scaled)}
        tuned = self._tuned(name, train)
        for session in asked:
            others = [wanted[s.recording.id] for s in asked if s is not session]
            methods = [*tuned, REGIONS, RIDGE]
            found = decode_signal(session, name, methods, tuned, others, seed=self.work.seed,
                                     given=given)  # fmt: skip
            yield from unless_skipped(self.work.say, name, session, found)

    def _labels(
        self, name: str, teachers: Sequence[Session], asked: Sequence[Session]
    ) -> Iterator[Decoded]:
        trials = trials_of(self.work.say, name, [*teachers, *asked])
        teachers = [s for s in teachers if s.recording.id in trials]
        asked = [s for s in asked if s.recording.id in trials]
        if not teachers or not asked:
            return
        ids = [s.recording.id for s in teachers]
        learn, check = ({r: trials[r][side] for r in ids} for side in SIDES[:2])

        def train(config: FinetuneConfig) -> Finetuned:
            return finetune_labels(self.trained, [s.recording for s in teachers], learn, check, config,
                                   device=self.work.device)  # fmt: skip

        given = {REGIONS: RegionLabels.taught(teachers, trials)}
        tuned = self._tuned(name, train)
        for session in asked:
            others = [np.concatenate([part.label for part in trials[s.recording.id].values()])
                      for s in asked if s is not session]  # fmt: skip
            methods = [*tuned, REGIONS, LOGISTIC]
            found = decode_label(session, name, methods, tuned, others, seed=self.work.seed,
                                    given=given)  # fmt: skip
            yield from unless_skipped(self.work.say, name, session, found)

    def _tuned(
        self, name: str, train: Callable[[FinetuneConfig], Finetuned]
    ) -> dict[str, Finetuned]:
        """The model fine-tuned as configured, and a head alone on its frozen latents."""
        out = {}
        for method, trains in ((MODEL, self.config.trains), (PROBE, "head")):
            out[method] = train(self.config.model_copy(update={"trains": trains}))
            self.work.say(f"{name}: {method} trained, best at step {out[method].step}")
        return out
