"""What the page is drawn from: the records in a run folder, checked as they are read."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from neurofm import files, results
from neurofm.errors import StoreError
from neurofm.results import Result
from neurofm.run import Run

Arrays = dict[str, NDArray[Any]]


class Flag(BaseModel):
    """One remark on the quality of a recording."""

    model_config = ConfigDict(frozen=True)
    severity: str = ""
    field: str = ""
    message: str = ""


class Session(BaseModel):
    """What the data manifest says of one session; everything but the id may be unknown."""

    model_config = ConfigDict(frozen=True, coerce_numbers_to_str=True)
    id: str
    subject: str = ""
    n_channels: int = 0
    regions: dict[str, int] = Field(default_factory=dict)
    kind: str | None = None
    step_s: str | None = None
    rate_hz: float | None = None
    hours: float | None = None
    n_trials: int | None = None
    signals: dict[str, Any] = Field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    source: str | None = None
    source_sha256: str | None = None
    licence: str | None = None
    species: str | None = None
    lab: str | None = None
    consent: str | None = None


class Manifest(BaseModel):
    """What was trained on."""

    model_config = ConfigDict(frozen=True)
    store: str = ""
    fingerprint: str = ""
    n_parameters: int | None = None
    splits: str = ""
    sessions: tuple[Session, ...] = ()


@dataclass(frozen=True)
class Panel:
    """A held-out window of one recording: what was recorded and what the model expected.

    `counts` (T, C), `rates` (T, C) expected counts a bin, every channel predicted while hidden.
    `signals` {name: (T, k)}. `unit_bps` (C,) bits per spike, NaN where unknown.
    """

    recording: str
    start_s: float
    bin_s: float
    channel_id: NDArray[Any]
    region: NDArray[Any]
    counts: NDArray[Any]
    rates: NDArray[np.float64]
    unit_bps: NDArray[np.float64]
    signals: Mapping[str, NDArray[np.float64]]

    @property
    def time_s(self) -> NDArray[np.float64]:
        """(T,) centre of each bin, in seconds from the recording's start."""
        bins = np.arange(len(self.counts), dtype=np.float64)
        return self.start_s + self.bin_s * (bins + 0.5)


@dataclass(frozen=True)
class Units:
    """Held-out scores of the units of one recording, (C,) each."""

    recording: str
    channel_id: NDArray[Any]
    region: NDArray[Any]
    rate_hz: NDArray[np.float64]
    bps: NDArray[np.float64]
    d2: NDArray[np.float64]


@dataclass(frozen=True)
class Embeddings:
    """Unit and session embeddings, projected to two dimensions: `*_xy` (N, 2)."""

    unit_xy: NDArray[np.float64]
    unit_region: NDArray[Any]
    unit_recording: NDArray[Any]
    unit_subject: NDArray[Any]
    session_xy: NDArray[np.float64]
    session_id: NDArray[Any]
    session_subject: NDArray[Any]


@dataclass(frozen=True)
class Anatomy:
    """Regions of units told from several sets of features, in animals that were held out.

    `confusion`: (predictors, R, R) units of a region (row) that were told to be of another.
    """

    predictor: NDArray[Any]
    region: NDArray[Any]
    confusion: NDArray[np.int64]
    n_animals: int

    def shares(self, predictor: str) -> NDArray[np.float64]:
        """(R, R), of the units of each region."""
        table = self.confusion[self.predictor.tolist().index(predictor)].astype(np.float64)
        return np.asarray(table / np.maximum(table.sum(axis=1, keepdims=True), 1))


@dataclass(frozen=True)
class Missing:
    """A part of the page that cannot be drawn yet, and the command that makes it."""

    what: str
    file: str
    command: str


@dataclass(frozen=True)
class Records:
    """Everything in a run folder that the page shows."""

    config: str
    command: str
    environment: dict[str, Any]
    manifest: Manifest
    log: list[dict[str, Any]]
    results: list[Result]
    windows: list[Panel]
    units: list[Units]
    embeddings: Embeddings | None
    anatomy: Anatomy | None = None
    missing: tuple[Missing, ...] = field(default=())


def load(run: Run) -> Records:
    """The records of a run; what is absent is listed in `missing`.

    Raises StoreError that names the file and the remedy if one is there but damaged.
    """
    environment = run.folder / "environment.json"
    embeddings, anatomy = run.panels / "embeddings.npz", run.panels / "anatomy.npz"
    records = Records(
        config=_text(run.config),
        command=_text(run.folder / "command.txt"),
        environment=_mapping(environment) if environment.exists() else {},
        manifest=_manifest(run.data_manifest),
        log=run.log_rows(),
        results=results.load(run.results),
        windows=[_window(path) for path in sorted(run.panels.glob("window-*.npz"))],
        units=[_units(path) for path in sorted(run.panels.glob("units-*.npz"))],
        embeddings=_embeddings(embeddings) if embeddings.exists() else None,
        anatomy=_anatomy(anatomy) if anatomy.exists() else None,
    )
    return Records(**vars(records) | {"missing": tuple(_missing(records))})


def _missing(r: Records) -> list[Missing]:
    pretrain, evaluate = "neurofm pretrain STORE --out RUN", "neurofm evaluate RUN"
    parts: list[tuple[str, str, str, object]] = [
        ("What was trained on, data quality and provenance", "data_manifest.json",
         pretrain, r.manifest.sessions),
        ("The table of the splits", "data_manifest.json", pretrain, r.manifest.splits),
        ("The command", "command.txt", pretrain, r.command),
        ("The environment", "environment.json", pretrain, r.environment),
        ("The training curve", "log.jsonl", pretrain, r.log),
        ("The scores", "results.jsonl", evaluate, r.results),
        ("Rasters and examples of units", "panels/window-*.npz", evaluate, r.windows),
        ("The scores of single units", "panels/units-*.npz", evaluate, r.units),
        ("The embeddings", "panels/embeddings.npz", evaluate, r.embeddings),
    ]  # fmt: skip
    return [Missing(what, file, command) for what, file, command, value in parts if not value]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def _mapping(path: Path) -> dict[str, Any]:
    value = files.read_json(path)
    if not isinstance(value, dict):
        raise StoreError(f"{path} must hold an object of keys and values; restore it from a copy.")
    return value


def _manifest(path: Path) -> Manifest:
    if not path.exists():
        return Manifest()
    try:
        return Manifest.model_validate(_mapping(path))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise StoreError(
            f"{path}: {name}: {first['msg'].lower()}; restore the file from a copy."
        ) from None


def _arrays(path: Path, names: tuple[str, ...]) -> Arrays:
    """Arrays of an `.npz`, without pickled objects; the needed names are checked."""
    remedy = "run `neurofm evaluate RUN` to write it again."
    try:
        with path.open("rb") as raw, np.lib.npyio.NpzFile(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise StoreError(f"{path} is not a readable .npz ({error}); {remedy}") from None
    if absent := [name for name in names if name not in arrays]:
        raise StoreError(f"{path} has no array {absent[0]!r}; {remedy}")
    return arrays


def _lengths(path: Path, expected: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise StoreError(f"{path}: {name} has shape {found}, not {wanted}; run `neurofm "
                             "evaluate RUN` to write it again.")  # fmt: skip


def _columns(path: Path, arrays: Arrays, names: tuple[str, ...], n: int) -> None:
    _lengths(path, {name: (arrays[name].shape[:1], (n,)) for name in names})


def _window(path: Path) -> Panel:
    needed = ("counts", "rates", "bin_s", "start_s", "channel_id", "region", "recording")
    a = _arrays(path, needed)
    shape = a["counts"].shape
    _lengths(path, {"rates": (a["rates"].shape, shape), "counts": ((len(shape),), (2,))})
    if not (a["counts"].size and float(a["bin_s"]) > 0):
        raise StoreError(f"{path}: counts is empty or bin_s is not above zero; run `neurofm "
                         "evaluate RUN` to write it again.")  # fmt: skip
    a.setdefault("unit_bps", np.full(shape[1], np.nan))
    _columns(path, a, ("channel_id", "region", "unit_bps"), shape[1])
    signals = {k.removeprefix("signal_"): v for k, v in a.items() if k.startswith("signal_")}
    _columns(path, signals, tuple(signals), shape[0])
    return Panel(
        recording=str(a["recording"]),
        start_s=float(a["start_s"]),
        bin_s=float(a["bin_s"]),
        channel_id=a["channel_id"],
        region=a["region"],
        counts=a["counts"],
        rates=a["rates"].astype(np.float64),
        unit_bps=a["unit_bps"].astype(np.float64),
        signals={k: v.reshape(len(v), -1).astype(np.float64) for k, v in signals.items()},
    )


def _units(path: Path) -> Units:
    numbers = ("rate_hz", "bps", "d2")
    a = _arrays(path, ("recording", "channel_id", "region", *numbers))
    _columns(path, a, ("region", *numbers), len(a["channel_id"]))
    floats = {name: a[name].astype(np.float64) for name in numbers}
    return Units(str(a["recording"]), a["channel_id"], a["region"], **floats)


def _embeddings(path: Path) -> Embeddings:
    units = ("unit_region", "unit_recording", "unit_subject")
    sessions = ("session_id", "session_subject")
    a = _arrays(path, ("unit_xy", "session_xy", *units, *sessions))
    for name, others in (("unit_xy", units), ("session_xy", sessions)):
        a[name] = a[name].astype(np.float64)
        _lengths(path, {name: (a[name].shape[1:], (2,))})
        _columns(path, a, others, len(a[name]))
    return Embeddings(**{name: a[name] for name in ("unit_xy", "session_xy", *units, *sessions)})


def _anatomy(path: Path) -> Anatomy:
    a = _arrays(path, ("predictor", "region", "confusion", "n_animals"))
    wanted = (len(a["predictor"]), len(a["region"]), len(a["region"]))
    _lengths(path, {"confusion": (a["confusion"].shape, wanted)})
    return Anatomy(
        a["predictor"], a["region"], a["confusion"].astype(np.int64), int(a["n_animals"])
    )
