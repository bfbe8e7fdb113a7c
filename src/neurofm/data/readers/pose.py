"""Poses of DeepLabCut, Lightning Pose and SLEAP: a recording of behaviour, or signals of another.

A pose file has frames and no clock, so the frame rate must be given. Points less likely than a
threshold are NaN. `with_pose` puts the points beside the activity that was recorded with them.
"""

import glob
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm import files
from neurofm.data.intervals import Intervals
from neurofm.data.quality import Flag, PoseConfig
from neurofm.data.readers import _pose_files
from neurofm.data.readers._pose_files import Pose
from neurofm.data.recording import Channels, Provenance, Recording, Samples, Signal
from neurofm.errors import InputError

SUFFIXES = (".csv", ".h5")
AFTER = re.compile(r"[._ -]?(?:DLC|DeepCut|pose|sleap|predictions|analysis)", re.IGNORECASE)
LIKELY = PoseConfig().min_likelihood


def read(
    path: Path,
    *,
    frame_hz: float | None = None,
    min_likelihood: float = LIKELY,
    start_s: float = 0.0,
    **_: Any,
) -> Iterator[Recording]:
    """The one recording of a file: two channels of node `behaviour` a body part, in pixels.

    Raises InputError if no frame rate is given, or that names the file and the remedy. A recording
    of its own starts with its first frame, so that `start_s` is of no use to it.
    """
    del start_s
    pose = _pose_files.load(path)
    step = _step(path, frame_hz)
    flags: list[Flag] = []
    xy, likelihood = _likely(path, _even(path, pose), min_likelihood, flags)
    names = [f"{part}.{axis}" for part in pose.parts for axis in "xy"]
    channels = Channels.of(
        [f"pose/{name}" for name in names],
        region=[part for part in pose.parts for _ in "xy"],
        kind="real",
        quality={"name": np.array(names), "type": np.full(len(names), "pose"),
                 "unit": np.full(len(names), "px")},
    )  # fmt: skip
    end_s = float(len(xy) * step)
    yield Recording(
        id=path.stem,
        subject="",
        span=(0.0, end_s),
        valid=Intervals.of([(0.0, end_s)]),
        channels=replace(channels, node=np.full(len(names), "behaviour")),
        activity=Samples(xy.reshape(len(xy), -1), step),
        signals={"likelihood": Signal(likelihood, float(step))},
        provenance=Provenance(
            source=path.name,
            source_sha256=files.sha256(path),
            format="pose",
            notes=tuple(flag.text for flag in flags),
        ),
    )


def with_pose(
    recording: Recording,
    path: Path | str,
    *,
    frame_hz: float | None = None,
    times_s: ArrayLike | None = None,
    start_s: float = 0.0,
    min_likelihood: float = LIKELY,
) -> Recording:
    """The recording with signals `pose.PART` (T, 2) in pixels and `pose.PART.likelihood` (T, 1).

    Frame i is at `times_s[i]`, or at `start_s + i / frame_hz`, in seconds of the recording. Raises
    InputError if neither is given, or the times do not fit the frames.
    """
    path = Path(path)
    pose, flags = _pose_files.load(path), list[Flag]()
    step_s, times = 0.0, None
    if times_s is None:
        step_s = float(_step(path, frame_hz))
        xy, likelihood = _likely(path, _even(path, pose), min_likelihood, flags)
    else:
        xy, likelihood = _likely(path, pose, min_likelihood, flags)
        times = np.asarray(times_s, dtype=np.float64)
        if times.shape != (len(xy),) or not (np.diff(times) >= 0).all():
            raise InputError(f"{path} has {len(xy)} frames; times_s must be as many seconds, in "
                             "order.")  # fmt: skip
    signals = dict(recording.signals)
    for i, part in enumerate(pose.parts):
        point = Signal(xy[:, i], step_s, 0.0 if times is not None else start_s, times, "px")
        signals[f"pose.{part}"] = point
        signals[f"pose.{part}.likelihood"] = replace(
            point, values=likelihood[:, i : i + 1], unit=""
        )
    digest = files.sha256(path)
    flags.append(Flag("note", "signals", f"poses come from {path.name} (SHA-256 {digest})"))
    told = recording.provenance
    provenance = replace(
        told,
        source_sha256=joint(told.source_sha256, [digest]),
        notes=(*told.notes, *(flag.text for flag in flags)),
    )
    return replace(recording, signals=signals, provenance=provenance)


def joint(digest: str, of_poses: Iterable[str]) -> str:
    """The SHA-256 of a recording's source together with pose files that are attached to it."""
    for one in of_poses:
        digest = files.joint_sha256([digest, one])
    return digest


def beside(path: Path) -> tuple[Path, ...]:
    """The pose file of a recording's file: in its folder, its name followed by DLC, pose, sleap, ...

    One of a CSV and an HDF5 file of the same name; the CSV. Raises InputError if there are several.
    """
    if not path.is_file():
        return ()
    named = sorted(path.parent.glob(f"{glob.escape(path.stem)}*"))
    found = [p for p in named if p.suffix in SUFFIXES and goes_with(p, path) and p.is_file()]
    kept = [p for p in found if p.suffix == ".csv" or p.with_suffix(".csv") not in found]
    if len(kept) > 1:
        raise InputError(f"{path} has several pose files beside it ({kept[0].name}, {kept[1].name}); "
                         "leave one.")  # fmt: skip
    return tuple(kept)


def unread(pose: Path) -> Flag:
    """What is said of a pose file that lies beside a recording and has no frame rate."""
    return Flag("warning", "signals", f"{pose.name} lies beside it and was not read; give the frame "
                "rate with --set pose.frame_hz=30")  # fmt: skip


def goes_with(pose: Path, recording: Path) -> bool:
    """Whether a file is, by its name, the pose of a recording's file."""
    if pose.parent != recording.parent or not pose.name.startswith(recording.stem):
        return False
    return AFTER.match(pose.name.removeprefix(recording.stem)) is not None


def without_attached(paths: list[Path]) -> list[Path]:
    """The paths without pose files that go, by their names, with another of the paths."""
    stems = {(path.parent, path.stem) for path in paths}

    def is_attached(path: Path) -> bool:
        starts = (n for n in range(1, len(path.stem)) if AFTER.match(path.name[n:]))
        return path.suffix in SUFFIXES and any(
            (path.parent, path.stem[:n]) in stems for n in starts
        )

    return [path for path in paths if not is_attached(path)]


def _step(path: Path, frame_hz: float | None) -> Fraction:
    if frame_hz is None:
        raise InputError(f"{path} holds poses, which have no clock; give the frame rate of the video "
                         "(frame_hz, or --set pose.frame_hz=30).")  # fmt: skip
    if not (np.isfinite(frame_hz) and 0 < frame_hz <= 1e5):
        raise InputError(f"frame_hz is {frame_hz!r}; it must be frames a second, above 0.")
    return 1 / Fraction(frame_hz).limit_denominator(1_000_000)


def _even(path: Path, pose: Pose) -> Pose:
    """A row for each frame from 0 on; frames that are missing between others are NaN."""
    frame = pose.frame
    if frame is None:
        raise InputError(f"{path} holds labelled images, which have no times; give the network's "
                         "output over a video, or times_s.")  # fmt: skip
    if (np.diff(frame) <= 0).any() or frame[0] < 0 or frame[-1] >= 4 * len(frame) + 100_000:
        raise InputError(
            f"{path} has frames that do not ascend, or few among many; export it again."
        )
    xy = np.full((int(frame[-1]) + 1, *pose.xy.shape[1:]), np.nan)
    likelihood = np.full(xy.shape[:2], np.nan)
    xy[frame], likelihood[frame] = pose.xy, pose.likelihood
    return replace(pose, xy=xy, likelihood=likelihood, frame=np.arange(len(xy)))


def _likely(
    path: Path, pose: Pose, least: float, flags: list[Flag]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points (T, K, 2) with the unlikely ones NaN, and likelihoods (T, K)."""
    doubtful = pose.likelihood < least
    if doubtful.any():
        message = f"{doubtful.mean():.1%} of the points are less likely than {least:g} and empty"
        flags.append(Flag("repair", f"pose {path.name}", message))
    xy = np.where(doubtful[..., None], np.nan, pose.xy)
    return xy.astype(np.float32), pose.likelihood.astype(np.float32)
