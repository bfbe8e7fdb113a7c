"""A run: one self-contained folder, and the names of the files in it."""

import json
import platform
import shlex
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from neurofm import files
from neurofm.errors import InputError, StoreError

PACKAGES = ("neurofm", "numpy", "torch", "h5py", "safetensors", "pydantic", "scipy", "scikit-learn")
BEFORE_CONFIG = {"splits.json", "command.txt", "environment.json", "data_manifest.json",
                 "adapting.yaml", "adapting-splits.json"}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """The folder of one training run."""

    folder: Path

    @property
    def config(self) -> Path:
        """The resolved configuration (YAML)."""
        return self.folder / "config.yaml"

    @property
    def splits(self) -> Path:
        """The splits that were trained on (JSON)."""
        return self.folder / "splits.json"

    @property
    def data_manifest(self) -> Path:
        """What was trained on: store, sessions, hashes, summary and quality flags (JSON)."""
        return self.folder / "data_manifest.json"

    @property
    def log(self) -> Path:
        """One JSON line a logged step."""
        return self.folder / "log.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of immutable checkpoint folders, `step-00001000` and so on."""
        return self.folder / "checkpoints"

    @property
    def results(self) -> Path:
        """One JSON line a result."""
        return self.folder / "results.jsonl"

    @property
    def panels(self) -> Path:
        """Arrays that the page draws (`.npz`), written by evaluation."""
        return self.folder / "panels"

    @property
    def page(self) -> Path:
        """The page."""
        return self.folder / "report.html"

    def describe(self, config_text: str, manifest: dict[str, Any]) -> None:
        """Write the command, the environment, the data manifest, and the config: it makes a run."""
        files.write_text(self.folder / "command.txt", shlex.join(sys.argv) + "\n")
        files.write_json(self.folder / "environment.json", environment())
        files.write_json(self.data_manifest, manifest)
        files.write_text(self.config, config_text)

    def log_line(self, row: dict[str, Any]) -> None:
        """Append a row to the log; `files.sync_entry` before a checkpoint makes it last."""
        files.append_line(self.log, json.dumps(row, sort_keys=True))

    def log_rows(self) -> list[dict[str, Any]]:
        """Every whole row of the log; after a resume the later row of a step counts."""
        rows: dict[Any, dict[str, Any]] = {}
        if not self.log.exists():
            return []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except ValueError:
                continue  # torn by a kill; the resumed run wrote that step again
            rows[row.get("event", "step"), row.get("step")] = row
        return list(rows.values())


def new_run(folder: Path | str) -> Run:
    """A run in a new or empty folder, or one where a run was killed before its config was written.

    Raises InputError if the folder holds anything else.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and all(map(_of_a_start, folder.iterdir()))):
        raise InputError(
            f"{folder} is not empty; choose another --out, or --resume to go on with it."
        )
    files.make(folder)
    return Run(folder)


def _of_a_start(path: Path) -> bool:
    """Whether a file is one that is written before the config."""
    return path.name in BEFORE_CONFIG or files.is_leftover(path)


def open_run(folder: Path | str) -> Run:
    """An existing run.

    Raises StoreError if the folder is not a run.
    """
    folder = Path(folder)
    run = Run(folder)
    if not run.config.exists():
        raise StoreError(
            f"{folder} is not a run: it has no config.yaml. Make one with `neurofm pretrain`."
        )
    return run


def environment() -> dict[str, Any]:
    """Versions and machine, as recorded in a run."""
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {"python": platform.python_version(), "machine": platform.machine(),
            "system": platform.system(), "packages": versions}  # fmt: skip
