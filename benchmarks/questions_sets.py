"""What `questions.py` asks of each data set: recordings, sides of time, questions, rivals, configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from convert_people import eeg_eegmat, emg_myo_gestures
from decoding_real_common import Sides
from decoding_real_hippocampus import Track
from numpy.typing import NDArray
from questions_rivals import LastValue, PlaceFields

from neurofm.data import binning
from neurofm.data.band_power import log_band_power
from neurofm.data.intervals import Intervals
from neurofm.data.nodes import ChannelsConfig
from neurofm.data.readers import arrays, nwb
from neurofm.data.readers import pose as reader
from neurofm.data.recording import Recording, Signal
from neurofm.data.repair import take_channels
from neurofm.data.window_channels import tangent_channels
from neurofm.evaluate.baselines import BASELINES
from neurofm.evaluate.node_tasks import Behaviour, Decoding, Encoding, node_tasks
from neurofm.evaluate.predictor import Predictor
from neurofm.evaluate.tasks import TASKS, Task

Values = NDArray[Any]

CYCLE_S = 100.0
PARTS_S = {"train": (0.0, 69.0), "valid": (70.0, 79.0), "test": (80.0, 99.0)}


@dataclass(frozen=True)
class Asked:
    """One data set. `within`: questions of the activity alone; `between`: of nodes, of the recordings with `channels`."""

    recordings: tuple[Recording, ...]
    sides: Sides
    config: str
    within: Mapping[str, Sequence[str]]  # {task: rivals}
    between: Mapping[str, Sequence[str]]
    channels: ChannelsConfig = field(default_factory=ChannelsConfig)
    own: Mapping[str, Callable[[], Predictor]] = field(default_factory=dict)
    further: tuple[Task, ...] = ()

    def widened(self) -> list[Recording]:
        """With stimulus and behaviour."""
        return self.channels.widen(self.recordings)

    def tasks(self) -> list[Task]:
        """All questions."""
        inside = [TASKS[name] for name in self.within]
        if self.further:
            return [*inside, *self.further]
        return [*inside, *(t for name in self.between for t in node_tasks(name, self.widened()))]

    def seen_by(self, task: Task) -> Sequence[Recording]:
        """The recordings that a question is asked about."""
        return self.recordings if task.name in self.within else self.widened()

    def rivals(self, task: Task) -> dict[str, Callable[[], Predictor]]:
        """Rivals of a question."""
        names = {**self.within, **self.between}[task.name.partition(":")[0]]
        return {name: {**BASELINES, **self.own}[name] for name in names}


def cycles(start_s: float, end_s: float) -> dict[str, Intervals]:
    """Of every 100 s 69 for training, 9 for validation, 19 for test, a second apart."""
    firsts = np.arange(start_s, end_s - CYCLE_S, CYCLE_S)
    return {
        side: Intervals.of([(t + a, t + b) for t in firsts]) for side, (a, b) in PARTS_S.items()
    }


def by_side(sides: Mapping[str, dict[str, Intervals]]) -> Sides:
    """{recording: {side: ...}} the other way round."""
    return {side: {r: each[side] for r, each in sides.items()} for side in PARTS_S}


VALUES = ("mean-rate", "ridge", "ridge-wide")
N_BUMPS = 16
PLACE = ("mean-rate", "ridge", "ridge-wide", "coupled-glm", "place-fields")


def bumps(position: Values, velocity: Values, train: Values) -> Values:
    """(T, 2 N_BUMPS): Gaussian bumps along the track, each for moving one way and the other.

    What a place cell is a sum of, for all methods alike. `train` (T,): the bins that say where the track lies.
    """
    there = train & np.isfinite(position).all(axis=1)
    middle = position[there].mean(axis=0)
    axis = np.linalg.svd(position[there] - middle, full_matrices=False)[2][0]
    along, speed = (position - middle) @ axis, velocity @ axis
    low, high = np.percentile(along[there], [0.5, 99.5])
    centres, width = np.linspace(low, high, N_BUMPS), (high - low) / (N_BUMPS - 1)
    here = np.exp(-(((along[:, None] - centres) / width) ** 2) / 2)
    on = (1 + np.tanh(2 * speed / np.nanstd(speed[there])))[:, None] / 2
    return np.concatenate([here * on, here * (1 - on)], axis=1).astype(np.float32)


def tracked(recording: Recording, sides: Mapping[str, Intervals]) -> Recording:
    """With the signal `place` beside its position and velocity."""
    step = recording.signals["position"].step_s
    at, moves = (np.asarray(recording.signals[n].values[:]) for n in ("position", "velocity"))
    train = np.zeros(len(at), dtype=bool)
    for first, stop in binning.pieces(sides["train"], step):
        train[first:stop] = True
    made = Signal(bumps(at, moves, train), step)
    return replace(recording, signals={**recording.signals, "place": made})


ON_TRACK = ChannelsConfig(signals=("position", "velocity", "place"))
TOLD = (Decoding("position"), Decoding("velocity"))


def ca1(data: Path) -> Asked:
    """Calcium events of a mouse on a track, every other of eight days; the minutes of which the place is known."""
    found, sides = [], {}
    for path in sorted((data / "ca1-sheintuch").glob("*.npz"))[::2]:
        [r] = arrays.read(path)
        there = np.flatnonzero(np.isfinite(r.signals["position"].values[:, 0])) * 0.05
        sides[r.id] = cycles(float(there[0]), float(there[-1]))
        found.append(tracked(r, sides[r.id]))
    few = ("mean-rate", "ridge", "ridge-wide")  # of 450 cells they take minutes: no co-smoothing
    return Asked(tuple(found), by_side(sides), "ca1-loop", {}, {"encoding": PLACE, "decoding": few},
                 ON_TRACK, {"place-fields": PlaceFields}, (Encoding(), *TOLD))  # fmt: skip


def hippocampus(data: Path) -> Asked:
    """Spikes of a rat on a track in bins of 50 ms, with where it is and how it moves."""
    [read] = nwb.read(data / "hippocampus-nelpy" / "linear-track.nwb")
    track, bin_s = Track.of(read), 0.05
    n = binning.n_bins(read, bin_s)
    at = np.asarray(track.recording.signals["position"].values)[:n]
    moves = np.gradient(at, bin_s, axis=0).astype(np.float32)
    recording = Recording.from_arrays(
        read.id, counts=binning.activity(read, 0, n, bin_s), bin_s=bin_s,
        channel_id=read.channels.id, signals={"position": at, "velocity": moves})  # fmt: skip
    every = (
        "mean-rate",
        "smoothing",
        "ridge",
        "ridge-wide",
        "reduced-rank",
        "coupling-glm",
        "coupled-glm",
    )
    return Asked((tracked(recording, track.sides),), by_side({read.id: track.sides}), "hippocampus-loop",
                 {"co-smoothing": every, "forward": (*every, "trailing-mean")},
                 {"encoding": PLACE, "decoding": ("mean-rate", "ridge", "ridge-wide")},
                 ON_TRACK, {"place-fields": PlaceFields}, (Encoding(), *TOLD))  # fmt: skip


POINTS = ("nose", "headcentre", "neck", "earl", "earr", "bodycentre", "bcl", "bcr", "hipl", "hipr",
          "tailbase", "tailcentre", "tailtip")  # fmt: skip
FRAME_HZ = 25.0  # the file has no clock; frames are what is meant
TURNS = ("train", "train", "test", "train", "valid") * 3
AHEAD = (1, 5, 10)  # frames
CONTEXT = 15


def pose(data: Path) -> Asked:
    """Behaviour and nothing else: where 13 points of a mouse will be, from where all were."""
    name = "EPM_15DeepCut_resnet50_epmMay17shuffle1_1030000.csv"
    [read] = reader.read(data / "pose-openfield" / name, frame_hz=FRAME_HZ)
    own = [i for i, region in enumerate(read.channels.region.tolist()) if region in POINTS]
    recording = take_channels(read, np.array(own))
    step = recording.span[1] / len(TURNS)
    spans: dict[str, list[tuple[float, float]]] = {"train": [], "valid": [], "test": []}
    for k, side in enumerate(TURNS):  # neighbours of one side are one
        low, high = k * step + (0.2 if k and TURNS[k - 1] != side else 0.0), (k + 1) * step
        if k and TURNS[k - 1] == side:
            spans[side][-1] = (spans[side][-1][0], high)
        else:
            spans[side].append((low, high))
    sides = {side: Intervals.of(pairs) for side, pairs in spans.items()}
    rivals = ("mean-rate", "last-value", "last-value-shrunk", "ridge", "ridge-wide")
    further = tuple(
        Behaviour(f"behaviour: {n} frames", CONTEXT / FRAME_HZ, n / FRAME_HZ) for n in AHEAD
    )
    held = {"last-value": partial(LastValue, hold=True), "last-value-shrunk": LastValue}
    return Asked((recording,), by_side({recording.id: sides}), "pose", {}, {"behaviour": rivals},
                 own=held, further=further)  # fmt: skip


def emg(data: Path) -> Asked:
    """Covariances of a quarter of a second of a person's EMG, and the gesture: of four cycles two teach."""
    cycle = {"train": (0, 1), "valid": (2,), "test": (3,)}
    found, sides = [], {}
    for read in emg_myo_gestures(data / "emg-myo-gestures"):
        if not read.id.endswith("r0"):
            continue
        made = tangent_channels(read, n_window=50, bands=((20.0, None),), floor=1.0)
        at = made.trials
        found.append(made)
        sides[made.id] = {
            side: Intervals.of(
                [(float(a), float(b)) for a, b, c in zip(at["start_s"], at["stop_s"], at["cycle"], strict=True) if c in which]
            )
            for side, which in cycle.items()
        }  # fmt: skip
    return Asked(tuple(found), by_side(sides), "emg-loop", {"co-smoothing": VALUES},
                 {"encoding": VALUES, "decoding": VALUES}, ChannelsConfig(trials=("gesture",)))  # fmt: skip


BANDS = ((4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 45.0))
EEG_S = {"train": (0.0, 40.0), "valid": (41.0, 50.0), "test": (51.0, 62.0)}  # of each condition


def eeg(data: Path) -> Asked:
    """Log power of 19 electrodes in four bands, second by second, at rest and in arithmetic."""
    found, sides = [], {}
    for read in eeg_eegmat(data / "eeg-eegmat"):
        traces = np.asarray(read.stored.values[:])[:, :19]
        traces = traces - traces.mean(axis=1, keepdims=True)
        power = np.concatenate(
            [log_band_power(part, 125, 125, BANDS) for part in np.split(traces, 2)]
        )
        names = [
            f"power/{low:g}-{high:g}/{c}" for low, high in BANDS for c in read.channels.id[:19]
        ]
        half = len(power) / 2
        made = Recording.from_arrays(
            read.id, traces=power, bin_s=1.0, channel_id=names, subject=read.subject,
            trials={"start_s": [0.0, half], "stop_s": [half, 2 * half], "condition": np.array(["rest", "task"])},
            valid=[(0.0, half), (half, 2 * half)])  # fmt: skip
        found.append(made)
        sides[made.id] = {
            side: Intervals.of([(t + a, t + b) for t in (0.0, half)])
            for side, (a, b) in EEG_S.items()
        }
    return Asked(tuple(found), by_side(sides), "eeg-loop", {"co-smoothing": VALUES}, {"encoding": VALUES},
                 ChannelsConfig(trials=("condition",)))  # fmt: skip
