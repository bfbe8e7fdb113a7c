"""Weights to pass on: a small folder of safetensors and JSON. No pickle.

`trunk.safetensors` is what belongs to no channel. `rows.safetensors` holds the tables of channels
and sites and what was measured of them, `rows.json` their ids; both may be absent. `config.json`
says which model it is and how it was trained, `manifest.json` the SHA-256 of each. `README.md`, the
card, is for people and may be edited.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from neurofm import __version__, files
from neurofm.errors import StoreError
from neurofm.model.checkpoint import STATISTICS, Trained
from neurofm.model.rows import is_row
from neurofm.tokens.vocabulary import Statistics, Vocabulary

FORMAT, SCHEMA = "neurofm weights", 1
CONFIG, TRUNK, MANIFEST, CARD = "config.json", "trunk.safetensors", "manifest.json", "README.md"
ROWS, IDS = "rows.safetensors", "rows.json"
MEASURED = "statistics."
CODE = {".py", ".pyc", ".so", ".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".ckpt"}


@dataclass(frozen=True)
class Weights:
    """Trained numbers without a model around them, to be composed into one.

    `source`: where they come from, for messages. `tensors`: parameters by name. `model`: the
    network's configuration, `config`: that of its training, as plain data.
    """

    source: str
    tensors: Mapping[str, Tensor]
    vocabulary: Vocabulary
    statistics: Statistics
    model: dict[str, Any]
    config: dict[str, Any]
    step: int
    valid: dict[str, float]

    @classmethod
    def of(cls, trained: Trained, source: str = "the model") -> "Weights":
        """Those of a trained model; nothing is copied."""
        return cls(
            source=source,
            tensors={k: v.detach() for k, v in trained.model.state_dict().items()},
            vocabulary=trained.vocabulary,
            statistics=trained.statistics,
            model=trained.model.config.model_dump(mode="json"),
            config=trained.config,
            step=trained.step,
            valid=trained.valid,
        )

    def trunk(self) -> "Weights":
        """The same without any row, id or measurement of a channel."""
        tensors = {k: v for k, v in self.tensors.items() if not is_row(k)}
        return replace(
            self,
            tensors=tensors,
            vocabulary=self.vocabulary.empty(),
            statistics=_no_statistics(),
        )


def is_site(parameter: str) -> bool:
    """Whether a table has a row for each (recording, channel) site rather than for each channel."""
    return parameter.endswith(".site")


def write(folder: Path, weights: Weights, *, rows: bool, card: str) -> None:
    """Publish a folder; raises StoreError if it exists."""
    training = {k: v for k, v in weights.config.items() if k != "model"}
    about = {
        "format": FORMAT,
        "schema": SCHEMA,
        "neurofm": __version__,
        "model": weights.model,
        "training": training,
        "regions": list(weights.vocabulary.regions),
        "share_rows": weights.vocabulary.shared,
        "step": weights.step,
        "valid": {k: v for k, v in weights.valid.items() if np.isfinite(v)},
    }
    trunk, tables = _parts(weights)
    with files.publish(folder) as temporary:
        files.put(temporary / TRUNK, save(trunk))  # `save_file` would deny others to read it
        files.write_json(temporary / CONFIG, about)
        if rows:
            files.put(temporary / ROWS, save(tables))
            sites = [list(site) for site in weights.vocabulary.sites]
            ids = {"channels": list(weights.vocabulary.channels), "sites": sites}
            files.write_json(temporary / IDS, ids)
        files.write_json(temporary / MANIFEST, files.manifest_of(temporary))
        files.put(temporary / CARD, card.encode())


def _parts(weights: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(the trunk's tensors, the tables and what was measured of each site)."""
    plain = {k: v.cpu().contiguous() for k, v in weights.tensors.items()}
    tables = {k: v for k, v in plain.items() if is_row(k)}
    for name, column in vars(weights.statistics).items():
        if column is not None:
            tables[MEASURED + name] = torch.from_numpy(column)
    return {k: v for k, v in plain.items() if not is_row(k)}, tables


def read(folder: Path, *, rows: bool = True) -> Weights:
    """The weights in a folder, verified; with `rows` False, the rows are not even looked for.

    Raises StoreError if it is not such a folder, is damaged, incomplete or of a newer schema, or
    holds a number that is not finite.
    """
    about = _about(folder)
    listed = files.read_json(folder / MANIFEST)
    wanted = [CONFIG, TRUNK, *((ROWS, IDS) if rows and ROWS in listed else ())]
    for name in wanted:
        path = folder / name
        if not path.is_file() or listed.get(name) != files.sha256(path):
            what = "was changed" if path.is_file() else "is missing"
            remedy = ", or ask for the trunk alone (rows=False)" if name in (ROWS, IDS) else ""
            raise StoreError(f"{path} {what} since it was written; fetch it again{remedy}.")
    if code := sorted(p for p in folder.rglob("*") if p.suffix.lower() in CODE):
        raise StoreError(
            f"{code[0]} can run code and belongs to no neurofm weights; do not use them."
        )
    regions = {str(name): row for row, name in enumerate(about.get("regions", ()), 1)}
    trunk = Weights(
        source=str(folder),
        tensors=_tensors(folder / TRUNK),
        vocabulary=Vocabulary({}, {}, regions, about.get("share_rows", True)),
        statistics=_no_statistics(),
        model=about["model"],
        config=about["training"] | {"model": about["model"]},
        step=about["step"],
        valid=about["valid"],
    )
    return _with_rows(trunk, folder) if ROWS in wanted else trunk


def _about(folder: Path) -> dict[str, Any]:
    if not (folder / CONFIG).is_file():
        raise StoreError(
            f"{folder} holds no shared weights: it has no {CONFIG}. `neurofm share RUN --out "
            "FOLDER` makes them of a run."
        )
    about = files.read_json(folder / CONFIG)
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise StoreError(f"{folder / CONFIG} does not describe neurofm weights.")
    if about.get("schema") != SCHEMA:
        raise StoreError(f"{folder / CONFIG} has schema {about.get('schema')!r} and this version "
                         f"reads {SCHEMA}; use the version of neurofm that wrote it.")  # fmt: skip
    if absent := [k for k in ("model", "training", "step", "valid") if k not in about]:
        raise StoreError(f"{folder / CONFIG} has no {absent[0]!r}; fetch it again.")
    return about


def _with_rows(trunk: Weights, folder: Path) -> Weights:
    tables, ids = _tensors(folder / ROWS), files.read_json(folder / IDS)
    channels = {str(name): row for row, name in enumerate(ids["channels"])}
    sites = {(str(r), str(c)): row for row, (r, c) in enumerate(ids["sites"])}
    for name, table in tables.items():
        n = len(sites) if is_site(name) or name.startswith(MEASURED) else len(channels)
        if len(table) != n:
            raise StoreError(f"{folder / ROWS}: {name} has {len(table)} rows for {n} ids.")
    measured = {k.removeprefix(MEASURED): v.numpy() for k, v in tables.items() if MEASURED in k}
    if absent := [name for name in STATISTICS if name not in measured]:
        raise StoreError(f"{folder / ROWS} has no {MEASURED}{absent[0]}; fetch it again.")
    rows = {k: v for k, v in tables.items() if MEASURED not in k}
    return replace(
        trunk,
        tensors={**trunk.tensors, **rows},
        vocabulary=replace(trunk.vocabulary, channels=channels, sites=sites),
        statistics=Statistics(**measured),
    )


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} is not readable ({error}); fetch it again.") from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise StoreError(f"{path}: {name} holds a number that is not finite; do not use it.")
    return tensors


def _no_statistics() -> Statistics:
    return Statistics(*(np.zeros(0, dtype=np.float32) for _ in STATISTICS))
