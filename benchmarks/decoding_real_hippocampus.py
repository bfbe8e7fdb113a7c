"""Where a rat is on a linear track, from the spikes of 31 hippocampal units, by three tokenisers.

The animal runs for the first 16.4 minutes; then the tracker stands still, so only these minutes are
decoded: of every 100 s, 70 s for training, 10 s for validation, 20 s for test, a second apart, since
where the animal goes changes within minutes. Pre-training also sees the spikes after the track. `position` is every tracked bin; `running` those at more than 20 pixels a second.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
from decoding_real_common import CPU, SEED, Work, linear_rival, ours, rival, scored

from neurofm import config as configuration
from neurofm.data.intervals import Intervals
from neurofm.data.readers import nwb
from neurofm.data.recording import Recording, Signal
from neurofm.data.targets import traces
from neurofm.evaluate.decode import MODEL, PROBE, SCRATCH, Decoded, Session, SignalQuestion
from neurofm.evaluate.decoders.ridge import Ridge
from neurofm.evaluate.decoders.wiener import Wiener
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.fields import Bayes
from neurofm.model.checkpoint import Trained
from neurofm.train.finetune import FinetuneConfig, Finetuned, finetune_signals, fresh

BIN_S = 0.05
CYCLE_S = 100.0
PARTS_S = {"train": (0.0, 69.0), "valid": (70.0, 79.0), "test": (80.0, 99.0)}
RUNNING = 20.0  # pixels a second
TOKENS = {
    "time-bin": ["model.tokens.kind=time-bin"],
    "patch": ["model.tokens.kind=patch", "model.tokens.channels=8", "model.tokens.bins=2"],
    "event": ["model.tokens.kind=event", "model.tokens.block_bins=5", "model.tokens.latents=2"],
}
TUNE = ["steps=300", "windows=16", "validate_every=50", "patience=3", "valid_batches=6",
        "weight_decay=0.3", "trunk_rate=0.0003"]  # fmt: skip


@dataclass(frozen=True)
class Track:
    """The recording with its two targets, and its sides while the animal is tracked."""

    recording: Recording
    sides: dict[str, Intervals]
    after: Intervals

    @classmethod
    def of(cls, recording: Recording) -> "Track":
        """The tracker's end is the last bin in which the animal moved."""
        from scipy.ndimage import uniform_filter1d

        at = traces(recording, "position", BIN_S)
        step = np.nan_to_num(np.linalg.norm(np.diff(at, axis=0, prepend=at[:1]), axis=1)) / BIN_S
        speed = uniform_filter1d(step, round(0.5 / BIN_S))
        end_s = float(np.flatnonzero(speed > RUNNING)[-1] * BIN_S)
        tracked = np.arange(len(at)) * BIN_S < end_s
        every = np.where(tracked[:, None], at, np.nan).astype(np.float32)
        running = np.where((speed > RUNNING)[:, None], every, np.nan).astype(np.float32)
        signals = {"position": Signal(every, BIN_S), "running": Signal(running, BIN_S)}
        start, stop = float(recording.valid.start[0]), float(recording.valid.end[-1])
        sides = {
            side: Intervals.of([(t + a, t + b) for t in np.arange(start, end_s - CYCLE_S, CYCLE_S)])
            for side, (a, b) in PARTS_S.items()
        }
        after = Intervals.of([(end_s + 1.0, stop)])
        return cls(replace(recording, signals=signals), sides, after)

    def pretraining(self) -> dict[str, dict[str, Intervals]]:
        """Training minutes and those after the track; the test minutes are in neither side."""
        train = Intervals.of([*self.sides["train"], *self.after])
        return {"train": {self.recording.id: train},
                "valid": {self.recording.id: self.sides["valid"]}}  # fmt: skip


@cache
def track(work: Work) -> Track:
    """Read once."""
    [recording] = nwb.read(work.data / "hippocampus-nelpy" / "linear-track.nwb")
    return Track.of(recording)


def tokens(work: Work, kind: str) -> list[Decoded]:
    """One tokeniser: the frozen probe on both targets; fine-tuned, and from scratch, on running."""
    there = track(work)
    trained = work.pretrained(f"hippocampus-{kind}", "decoding-hippocampus", TOKENS[kind],
                              [there.recording], there.pretraining())  # fmt: skip
    session = Session(there.recording, there.sides, Direct.of(trained, there.recording, CPU), CPU)
    out = [named(ours(SignalQuestion.of(session, name), PROBE, {}), f"{kind} {PROBE}", name)
           for name in ("position", "running")]  # fmt: skip
    question = SignalQuestion.of(session, "running")
    for method, start in ((MODEL, trained), (SCRATCH, fresh(trained, SEED))):
        tuned = {method: finetuned(work, start, there)}
        out.append(named(ours(question, method, tuned), f"{kind} {method}", "running"))
    return out


def finetuned(work: Work, start: Trained, there: Track) -> Finetuned:
    """Everything is trained on the training side of `running`; the valid side chooses the step."""
    config = configuration.load(FinetuneConfig, None, [*TUNE, *(["steps=4"] if work.smoke else ())])
    r = there.recording
    wanted = {r.id: traces(r, "running", BIN_S)}
    train, valid = ({r.id: there.sides[side]} for side in ("train", "valid"))
    return finetune_signals(start, [r], wanted, train, valid, config, device=CPU)


def named(decoded: Decoded, method: str, target: str) -> Decoded:
    """Which target it was stands before the method."""
    return replace(decoded, method=f"{target}|{method}")


def rivals(work: Work) -> list[Decoded]:
    """Ridge on smoothed counts, the Wiener filter and a Bayesian decoder, on both targets."""
    there = track(work)
    trained = work.pretrained("hippocampus-time-bin", "decoding-hippocampus", TOKENS["time-bin"],
                              [there.recording], there.pretraining())  # fmt: skip
    session = Session(there.recording, there.sides, Direct.of(trained, there.recording, CPU), CPU)
    out = []
    for name in ("position", "running"):
        question = SignalQuestion.of(session, name)
        for method, made in (("ridge", Ridge(BIN_S)), ("wiener", Wiener(BIN_S))):
            out.append(named(linear_rival(question, method, made), method, name))
        out.append(named(rival(question, "bayes", Bayes()), "bayes", name))
        middle = np.repeat(question.mean[None], len(question.bins["test"]), axis=0)
        out.append(named(scored(question, "mean", middle), "mean", name))
    return out


def cells(work: Work) -> dict[str, Callable[[], list[Decoded]]]:
    """One a tokeniser, and one of the rivals."""
    made = {f"hippocampus-{kind}": partial(tokens, work, kind) for kind in TOKENS}
    return {**made, "hippocampus-rivals": partial(rivals, work)}
