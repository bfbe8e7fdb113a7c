"""The stage behind `neurofm decode`: signals and labels from activity, by the model and its rivals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from neurofm import results as records
from neurofm.data.intervals import Intervals, first_minutes
from neurofm.data.recording import Recording
from neurofm.data.targets import Labels, labels, labels_of, traces
from neurofm.errors import ConfigError, InputError
from neurofm.evaluate.decode import (
    MODEL,
    OURS,
    SCRATCH,
    Decoded,
    Session,
    decode_label,
    decode_signal,
    label_sides,
)
from neurofm.evaluate.decode_results import decoding_results
from neurofm.evaluate.decoders import LABEL_DECODERS, SIGNAL_DECODERS
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.streams import Matrix
from neurofm.evaluate.summary import About
from neurofm.files import read_json
from neurofm.model.checkpoint import Trained
from neurofm.pipeline import Say, silent
from neurofm.results import Result
from neurofm.scoring import Evaluation, chosen, open_evaluation
from neurofm.train.finetune import (
    FinetuneConfig,
    Finetuned,
    finetune_labels,
    finetune_signals,
    fresh,
)

METHODS = dict.fromkeys([*OURS, *SIGNAL_DECODERS, *LABEL_DECODERS])
Axes = tuple[int, tuple[str, ...]]
HEADLINES = ("r2_flattened", "balanced_accuracy")


def decode_run(
    folder: Path | str,
    *,
    targets: str = "all",
    methods: str = "all",
    store: Path | str | None = None,
    minutes: float | None = None,
    device: str = "auto",
    splits_file: Path | str | None = None,
    config: FinetuneConfig | None = None,
    say: Say = silent,
    tick: Say = silent,
) -> list[Result]:
    """Decode targets from the recordings of a run, append to its results, and return them.

    `targets`: names of signals and labels of trials, or `all`. `minutes`: train on the first so
    many minutes of each training side alone. Raises ConfigError for a name that does not exist.
    """
    folder = Path(folder)
    names = chosen(methods, METHODS, "method")
    work = open_evaluation(folder, store=store, device=device, splits_file=splits_file,
                           truth=None, say=say, tick=tick)  # fmt: skip
    decoding = Decoding(work, names, config or FinetuneConfig(seed=work.seed), minutes)
    after = "" if minutes is None else f"@{minutes:g}min"
    return record_targets(work, decoding.targets(targets), decoding.decode, after)


def record_targets(
    work: Evaluation, asked: Sequence[str], decode: Callable[[str], Iterator[Decoded]], after: str
) -> list[Result]:
    """Results of each target, appended to the run's as it is done; `after` follows its name."""
    fingerprint = str(read_json(work.run.data_manifest)["fingerprint"])
    about = About(seed=work.seed, run=work.run.folder.name, fingerprint=fingerprint)
    out: list[Result] = []
    for number, name in enumerate(asked):
        work.watch.counting(f"decoding {name}", number, len(asked))
        found = decoding_results(name + after, list(decode(name)), about)
        records.append(work.run.results, found)
        out += found
    return out


def headlines(results: Sequence[Result]) -> list[Result]:
    """The first metric of each target with its paired gains: what a terminal shows."""
    kept = {*HEADLINES, *(f"{name}_gain" for name in HEADLINES)}
    return [r for r in results if r.metric in kept]


@dataclass(frozen=True)
class Decoding:
    """What is decoded with, and how much of the training side is used."""

    work: Evaluation
    methods: list[str]
    config: FinetuneConfig
    minutes: float | None

    def targets(self, text: str) -> list[str]:
        """Names of signals and labels that any recording has.

        Raises ConfigError, with the names there are, for one that none has, if there is none, or for
        recordings of traces, whose rivals here are of counts.
        """
        if any((r.channels.kind != "count").any() for r in self.work.recordings):
            raise ConfigError(
                "decode takes spikes and counts; of traces, pre-train with channels.* and evaluate "
                "with --tasks decoding, or decode animals by one another with `neurofm animals STORE`."
            )
        there: dict[str, None] = {}
        for recording in self.work.recordings:
            there |= dict.fromkeys([*recording.signals, *labels_of(recording)])
        if not there:
            raise ConfigError("no recording of this run has a signal or a label of its trials.")
        return chosen(text, there, "target")

    def decode(self, name: str) -> Iterator[Decoded]:
        """Scores of every method on every recording that has the target."""
        signals = [s for s in self.sessions() if name in s.recording.signals]
        alike: dict[Axes, list[Session]] = {}  # they share a head
        for session in signals:
            alike.setdefault(axes_of(session, name), []).append(session)
        for same in alike.values():
            yield from self._signals(name, same)
        if not signals:
            labelled = [s for s in self.sessions() if name in labels_of(s.recording)]
            yield from self._labels(name, labelled)

    def sessions(self) -> list[Session]:
        out = []
        for recording in self.work.recordings:
            sides = self.work.sides(recording)
            if not all(len(part) for part in sides.values()):
                continue
            if self.minutes is not None:
                sides = sides | {"train": first_minutes(sides["train"], self.minutes)}
            direct = Direct.of(self.work.trained, recording, self.work.device)
            out.append(Session(recording, sides, direct, self.work.device))
        return out

    def _signals(self, name: str, sessions: Sequence[Session]) -> Iterator[Decoded]:
        wanted = {s.recording.id: traces(s.recording, name, s.bin_s) for s in sessions}
        methods = [m for m in self.methods if m in OURS or m in SIGNAL_DECODERS]

        def train(start: str) -> Finetuned:
            begin = self._start(start)
            return finetune_signals(begin, [s.recording for s in sessions], wanted,
                                    _side(sessions, "train"), _side(sessions, "valid"),
                                    self.config, device=self.work.device)  # fmt: skip

        tuned = self._tuned(name, methods, train)
        for session in sessions:
            others = _others(wanted, session.recording)
            if not others:
                self.work.say(f"note: {name} is in one session alone, so its null is the shift")
            found = decode_signal(session, name, methods, tuned, others, seed=self.work.seed)
            yield from unless_skipped(self.work.say, name, session, found)

    def _labels(self, name: str, sessions: Sequence[Session]) -> Iterator[Decoded]:
        sides = trials_of(self.work.say, name, sessions)
        kept = [s for s in sessions if s.recording.id in sides]
        methods = [m for m in self.methods if m in OURS or m in LABEL_DECODERS]

        def train(start: str) -> Finetuned:
            learn, check = ({r: part[side] for r, part in sides.items()}
                            for side in ("train", "valid"))  # fmt: skip
            return finetune_labels(self._start(start), [s.recording for s in kept], learn, check,
                                   self.config, device=self.work.device)  # fmt: skip

        tuned = self._tuned(name, methods, train) if kept else {}
        for session in kept:
            others = [labels(s.recording, name, s.bin_s).label for s in kept if s is not session]
            found = decode_label(session, name, methods, tuned, others, seed=self.work.seed)
            yield from unless_skipped(self.work.say, name, session, found)

    def _start(self, method: str) -> Trained:
        trained = self.work.trained
        return trained if method == MODEL else fresh(trained, self.config.seed)

    def _tuned(
        self, name: str, methods: Sequence[str], train: Callable[[str], Finetuned]
    ) -> dict[str, Finetuned]:
        out = {}
        for method in (m for m in (MODEL, SCRATCH) if m in methods):
            out[method] = train(method)
            self.work.say(f"{name}: {method} trained, best at step {out[method].step}")
        return out


def axes_of(session: Session, name: str) -> Axes:
    """How many axes a signal has, and their names."""
    held = session.recording.signals[name]
    return held.values.shape[1], held.axes


def trials_of(say: Say, name: str, sessions: Sequence[Session]) -> dict[str, dict[str, Labels]]:
    """{recording: {side: trials}} of each session that has enough of them; of others why not is said."""
    out = {}
    for session in sessions:
        try:
            out[session.recording.id] = label_sides(session, name)
        except InputError as reason:
            say(f"skipped: {name}: {reason}")
    return out


def unless_skipped(
    say: Say, name: str, session: Session, found: Iterator[Decoded]
) -> Iterator[Decoded]:
    """What was found; nothing, and said why, where the session holds too little of the target."""
    try:
        yield from found
    except InputError as reason:
        say(f"skipped: {name} of {session.recording.id}: {reason}")


def _side(sessions: Sequence[Session], side: str) -> dict[str, Intervals]:
    return {s.recording.id: s.sides[side] for s in sessions}


def _others(wanted: Mapping[str, Matrix], recording: Recording) -> list[Matrix]:
    return [values for name, values in wanted.items() if name != recording.id]
