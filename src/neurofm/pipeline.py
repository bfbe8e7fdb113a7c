"""The stages behind the commands: names and paths come in, objects do the work."""

import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from neurofm import config as configuration
from neurofm import files
from neurofm.data import binning
from neurofm.data import splits as split
from neurofm.data.inspect import summary
from neurofm.data.recording import Recording
from neurofm.data.splits import Splits
from neurofm.data.store import Store, open_store
from neurofm.errors import ConfigError, InputError
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained
from neurofm.run import Run, new_run, open_run
from neurofm.train.ahead import NONE, Ahead
from neurofm.train.context import ALONE, Context
from neurofm.train.pretrain import (
    PretrainConfig,
    Progress,
    common_bin_s,
    pretrain,
    refuse_other_config,
    resolved_precision,
)

Say = Callable[[str], None]
EVERY_S = 5.0  # between two lines of progress
VERIFY_BYTES = 4 << 30  # of a store that is hashed before training; a few seconds


def silent(_: str) -> None:
    """Say nothing."""


def device_named(name: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU.

    Raises ConfigError if the device asked for is not there.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(),
             "mps": torch.backends.mps.is_available()}  # fmt: skip
    if name == "auto":
        return torch.device(next(d for d in ("cuda", "mps", "cpu") if there[d]))
    if not there.get(name):
        have = ", ".join(d for d, ok in there.items() if ok)
        raise ConfigError(f"--device {name} is not here; this machine has {have}, or use auto.")
    return torch.device(name)


def recipe(name: str | None) -> Path | None:
    """A configuration file: a path, or a recipe of the package by its bare name.

    Raises ConfigError, naming the recipes, if it is neither.
    """
    if name is None or Path(name).exists():
        return Path(name) if name else None
    folder = resources.files("neurofm") / "recipes"
    found = {Path(str(entry)).stem: Path(str(entry)) for entry in folder.iterdir()}
    if name not in found:
        raise ConfigError(f"{name} is neither a file nor a recipe ({', '.join(sorted(found))}).")
    return found[name]


def pretrain_store(
    store: Path | str,
    out: Path | str,
    *,
    config_file: str | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    splits_file: Path | str | None = None,
    resume: bool = False,
    workers: Ahead = NONE,
    shard: bool = False,
    context: Context = ALONE,
    say: Say = silent,
    tick: Say = silent,
) -> Trained:
    """Pre-train on every session of a store, into a new run or on with one.

    The defaults are those of `neurofm pretrain`; `say` gets remarks, `tick` lines of progress. All
    processes of a `context` must call this; the first one writes. The store's hashes are checked
    first where it is small.
    """
    opened = verified(open_store(store))
    recordings = recordings_of_one_kind(opened, say)
    where = device_named(device)
    if resume:
        run = open_run(out)
        config = configuration.load(PretrainConfig, run.config)
        if config_file or settings:
            asked = resolved(recordings, where, config_file, settings)
            refuse_other_config(run, configuration.dump(config), configuration.dump(asked))
        splits = split.load(run.splits)
        _say_what_is_damaged(run, say)
    else:
        config = resolved(recordings, where, config_file, settings)
        splits = _splits_of(recordings, splits_file)
        run = Run(Path(out))
        with context.together():
            if context.first:
                run = new_run(out)
                splits.save(run.splits)
                run.describe(configuration.dump(config), data_manifest(opened, splits))
    context.agree("the configuration", configuration.dump(config))
    context.agree("the store", opened.fingerprint())
    say(f"{len(recordings)} sessions, bins of {config.bin_s:g} s, {config.precision} on {where}")
    sides = {side: splits.side(side) for side in ("train", "valid")}
    trained = pretrain(recordings, sides, config, run, device=where, say=Watch(tick).training,
                       context=context, cut=shard, workers=workers)  # fmt: skip
    if context.first:
        manifest = files.read_json(run.data_manifest) | {"n_parameters": trained.model.n_parameters}
        files.write_json(run.data_manifest, manifest)
    return trained


def _say_what_is_damaged(run: Run, say: Say) -> None:
    for folder in checkpoint.folders(run.checkpoints):
        if not checkpoint.is_intact(folder):
            say(f"{folder} is damaged and is passed over; the run goes on from another")


def verified(store: Store) -> Store:
    """A store whose hashes were checked, where that takes seconds.

    Raises StoreError that names the first file that is not what was written.
    """
    if store.n_bytes() <= VERIFY_BYTES:
        store.verify()
    return store


def recordings_of_one_kind(store: Store, say: Say) -> list[Recording]:
    """The recordings of spikes or counts or, where a store holds none, those of traces.

    Of a store that holds both, the traces are left out, and said so: their grid is another. Raises
    InputError if there is none.
    """
    recordings = store.recordings()
    kept = [r for r in recordings if (r.channels.kind == "count").all()] or recordings
    ids = {r.id for r in kept}
    for recording in recordings:
        if recording.id not in ids:
            say(f"left out: {recording.id} holds traces; put them in a store of their own")
    if not kept:
        raise InputError(f"{store.folder} holds no recording to train on.")
    return kept


def resolved(
    recordings: list[Recording], device: torch.device, file: str | None, settings: Sequence[str]
) -> PretrainConfig:
    """The configuration of a file or recipe, with the bins and the precision filled in.

    Raises InputError, before anything is written, for channels that no recording has and bins that
    do not fit one.
    """
    config = configuration.load(PretrainConfig, recipe(file), settings)
    config.channels.check(recordings)
    _refuse_unasked(recordings, config)
    bin_s = config.bin_s or common_bin_s(recordings)
    for recording in recordings:
        binning.refuse_odd_bins(recording, bin_s)
    return config.model_copy(
        update={
            "bin_s": bin_s,
            "precision": resolved_precision(config.precision, device),
        }
    )


def _refuse_unasked(recordings: list[Recording], config: PretrainConfig) -> None:
    """Raises InputError for a recording of behaviour alone, of which no mask asks anything."""
    for recording in recordings:
        if not recording.channels.in_activity.any() and not config.masks.behaviour:
            raise InputError(f"{recording.id} holds behaviour and no activity, and nothing is asked of "
                             "it; set masks.behaviour above 0 (--set masks.behaviour=1).")  # fmt: skip


def asked_for(
    store: Path | str,
    config_file: str | None,
    settings: Sequence[str],
    device: str,
    splits_file: Path | str | None,
    say: Say,
) -> tuple[list[Recording], torch.device, PretrainConfig, Splits]:
    """What `pretrain_store` would train, on what and by which configuration and splits."""
    recordings = recordings_of_one_kind(open_store(store), say)
    where = device_named(device)
    config = resolved(recordings, where, config_file, settings)
    return recordings, where, config, _splits_of(recordings, splits_file)


def _splits_of(recordings: Sequence[Recording], file: Path | str | None) -> Splits:
    return split.load(file) if file else split.split_by_time(recordings)


def data_manifest(store: Store, splits: Splits) -> dict[str, Any]:
    """What a run is trained on: store, splits, and sessions with where they came from."""
    sessions = []
    for row in summary(store):
        about = store.manifest(row.id)["provenance"]
        kept = {k: about[k] for k in ("source", "source_sha256", "licence", "lab", "consent")}
        montage = store.manifest(row.id).get("montage")
        kept |= {"montage": montage} if montage else {}
        sessions.append(row.record() | kept | {"kind": row.activity, "rate_hz": row.mean_rate_hz})
    return {
        "store": str(store.folder.resolve()),
        "fingerprint": store.fingerprint(),
        "splits": splits.table(),
        "sessions": sessions,
    }


class Watch:
    """Lines of progress with a rate and the time to go, at most one every few seconds."""

    def __init__(self, tick: Say) -> None:
        self.tick, self.last = tick, 0.0

    def training(self, progress: Progress) -> None:
        """One line of a training run."""
        now = time.monotonic()
        if progress.step.skipped:
            self.tick(f"step {progress.step.number}: the loss leapt to {progress.step.loss:.4g}; its "
                      "batch was skipped")  # fmt: skip
        if progress.valid is None and now - self.last < EVERY_S:
            return
        self.last = now
        text = (
            f"step {progress.step.number}/{progress.n_steps}  loss {progress.step.loss:.4f}  "
            f"{progress.windows_per_s:.0f} windows/s  {clock(progress.left_s)} left"
        )
        if progress.valid is not None:
            text += f"  validation {progress.valid['score']:.4f} bits"
        self.tick(text)

    def counting(self, what: str, done: int, of: int) -> None:
        """One line of any other work that knows how much there is."""
        now = time.monotonic()
        if now - self.last < EVERY_S and done < of:
            return
        self.last = now
        self.tick(f"{what}  {done}/{of}")


def amounts(text: str, option: str) -> list[float | None]:
    """`1,2.5,all` -> [1, 2.5, None], from the least to all.

    Raises ConfigError that names the option for what is not a positive number or `all`.
    """
    out: list[float | None] = []
    for part in (part.strip() for part in text.split(",")):
        try:
            value = None if part == "all" else float(part)
        except ValueError:
            value = -1.0
        if value is not None and not (0 < value < float("inf")):
            raise ConfigError(f"{option} {part!r} must be a number above 0, or all.")
        out.append(value)
    return sorted(set(out), key=lambda m: float("inf") if m is None else m)


def begin(note: Path, asked: configuration.Config) -> None:
    """A new or empty folder with a note of what is asked for in it; or one that has that note.

    Raises ConfigError if it was made from something else, InputError if it holds anything without
    a note.
    """
    if note.exists():
        refuse_other_note(note, asked)
        return
    if note.parent.exists() and any(note.parent.iterdir()):
        raise InputError(f"{note.parent} is not empty; choose another --out.")
    files.make(note.parent)
    files.write_text(note, configuration.dump(asked))


def refuse_other_note(note: Path, asked: configuration.Config) -> None:
    """Raises ConfigError, naming the fields, unless the note says what is asked for."""
    kept = configuration.load(type(asked), note)
    other = [
        name for name in type(asked).model_fields if getattr(kept, name) != getattr(asked, name)
    ]
    if other:
        raise ConfigError(
            f"{note.parent} was made from another {', '.join(other)} ({note.name}); go on with the "
            "same, or choose a new --out."
        )


def clock(seconds: float) -> str:
    """75 -> 1:15."""
    whole = round(max(seconds, 0))
    hours, rest = divmod(whole, 3600)
    minutes, second = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"
