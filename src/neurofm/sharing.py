"""Weights for others: a small folder, or a repository on the Hugging Face hub.

Nothing is pickled, and nothing but a local folder is needed: the hub is used through
`huggingface_hub` (extra `hub`) only when an id is given in place of a folder.
"""

import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.errors import InputError, StoreError
from neurofm.model import checkpoint
from neurofm.model import weights as shared
from neurofm.model.checkpoint import Trained
from neurofm.model.compose import MIN_USED, Loaded, Used, compose
from neurofm.model.model import ModelConfig
from neurofm.model.weights import Weights
from neurofm.pipeline import Say, silent
from neurofm.report.card import Passport, card
from neurofm.run import Run, open_run

__all__ = ["Loaded", "Used", "from_pretrained", "push_to_hub", "save_pretrained", "share_run"]

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = (shared.CONFIG, shared.TRUNK, shared.MANIFEST, shared.CARD)
TABLES = (shared.ROWS, shared.IDS)


def save_pretrained(
    trained: Trained, folder: Path | str, *, rows: bool = True, run: Run | None = None
) -> Path:
    """Write a model as a folder for others; the layout is in `neurofm.model.weights`.

    `rows` False leaves out everything that belongs to channels: rows, ids, rates. `run`: where the
    card takes sessions, licences and scores from. Raises StoreError if the folder exists.
    """
    return _save(trained, Path(folder), rows, Passport() if run is None else Passport.of(run))


def _save(trained: Trained, folder: Path, rows: bool, passport: Passport) -> Path:
    weights = Weights.of(trained)
    if not rows:
        weights = weights.trunk()
    text = card(
        weights.config,
        passport,
        n_parameters=sum(v.numel() for v in weights.tensors.values()),
        n_channels=len(weights.vocabulary.channels),
    )
    shared.write(folder, weights, rows=rows, card=text)
    return folder


def from_pretrained(
    source: Path | str,
    *,
    rows: bool = True,
    recordings: Sequence[Recording] | None = None,
    train: Mapping[str, Intervals] | None = None,
    config: ModelConfig | None = None,
    min_used: float = MIN_USED,
    seed: int = 0,
    revision: str | None = None,
) -> Loaded:
    """A model with shared weights in it, in evaluation mode on the CPU.

    `source`: a folder, or a hub id `owner/name` (at `revision`). `rows` False takes the trunk
    alone. `recordings`: whose channels the model is for; rows are found by the channels' ids, other
    channels get fresh ones, and rates that the weights do not know are measured on `train`
    {recording id: intervals} (default: all valid time). `config`: another network to put the
    weights into; what has another name or shape stays fresh. `Loaded.used` accounts for it all.

    Raises InputError if less than `min_used` of the trunk fits, on either side, or if `source` is
    neither a folder nor a hub id; StoreError if the folder is damaged or cannot be fetched.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _fetched(str(source), rows, revision)
    weights = shared.read(folder, rows=rows)
    return compose(
        weights, config=config, recordings=recordings, train=train, min_used=min_used, seed=seed
    )


def push_to_hub(
    folder: Path | str, repo_id: str, *, private: bool = True, revision: str | None = None
) -> str:
    """Upload a folder of `save_pretrained`; the address of the commit is returned.

    Only the files of the layout go. The folder is verified first. Raises InputError for a bad id or
    without `huggingface_hub`, StoreError if the folder is damaged or the hub refuses.
    """
    if not HUB_ID.fullmatch(repo_id):
        raise InputError(f"{repo_id!r} is no hub id; it has the form owner/name.")
    weights = shared.read(Path(folder))
    names = [*FILES, *(TABLES if weights.vocabulary.channels else ())]
    hub = _hub()
    try:
        hub.create_repo(repo_id, private=private, exist_ok=True)
        done = hub.upload_folder(
            repo_id=repo_id, folder_path=str(folder), allow_patterns=names, revision=revision
        )
    except Exception as error:  # the hub's errors share no base with the network's
        raise StoreError(f"{folder} could not be pushed to {repo_id} ({error}); log in with `hf "
                         "auth login` and check the id.") from None  # fmt: skip
    return str(done)


def share_run(
    folder: Path | str,
    out: Path | str,
    *,
    rows: bool = True,
    push: str | None = None,
    say: Say = silent,
) -> Path:
    """The stage behind `neurofm share`: a run's best checkpoint, with its card, and up to the hub."""
    folder, out = Path(folder), Path(out)
    if push is not None:
        _hub()  # better to hear of a missing package before anything is written
    run = open_run(folder)
    passport = Passport.of(run)
    trained = checkpoint.load(checkpoint.best_intact(run.checkpoints))
    _save(trained, out, rows, passport)
    if bare := passport.unlicensed():
        say(f"{len(bare)} of {len(passport.manifest.sessions)} sessions state no licence ("
            f"{', '.join(bare[:3])}...): ask their owners before you pass the weights on")  # fmt: skip
    if push is not None:
        say(f"pushed to {push_to_hub(out, push)}, private until you change that there")
    return out


def _fetched(source: str, rows: bool, revision: str | None) -> Path:
    if not HUB_ID.fullmatch(source):
        raise InputError(f"{source} is neither a folder nor a hub id (owner/name).")
    names = [*FILES, *(TABLES if rows else ())]
    hub = _hub(f"{source} is no folder here, and as a hub id it")
    try:
        return Path(hub.snapshot_download(source, revision=revision, allow_patterns=names))
    except Exception as error:  # the hub's errors share no base with the network's
        raise StoreError(
            f"{source} is no folder here and could not be fetched from the hub ({error}); give a "
            "folder, or check the id and the network."
        ) from None


def _hub(what: str = "Pushing to the hub") -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise InputError(
            f"{what} needs huggingface_hub; install it with pip install 'neurofm[hub]'."
        ) from None
