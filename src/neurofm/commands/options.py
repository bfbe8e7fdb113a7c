"""Options that several commands share, and how commands speak: remarks and progress to stderr."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from neurofm.errors import clean, clean_lines

Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", help="A YAML file, or a recipe: tiny, small, base.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key.subkey=value; may be given several times.")
]
SplitsFile = Annotated[
    Path | None,
    typer.Option("--splits", help="JSON of splits; default: 70/10/20 in order of time."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


def use_threads() -> None:
    """As many threads as `doctor` shows; NEUROFM_NUM_THREADS says otherwise."""
    import torch

    from neurofm.doctor import settings

    torch.set_num_threads(settings().n_threads)


def threads_set() -> int | None:
    """The threads that an environment variable asks for, or None where the default would do."""
    from neurofm.doctor import settings

    found = settings()
    return None if found.n_threads_source.startswith("default") else found.n_threads


def say(text: str) -> None:
    """Remarks go to stderr, so that stdout holds the result alone; they take the place of a tick."""
    clear = "\r\x1b[2K" if sys.stderr.isatty() else ""
    print(clear + clean_lines(text), file=sys.stderr, flush=True)


def tick(text: str) -> None:
    """Progress: one line that is rewritten on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{clean(text)}", end="", file=sys.stderr, flush=True)
    else:
        print(clean(text), file=sys.stderr, flush=True)


def show(text: object) -> None:
    """The result goes to stdout; a name in it steers no terminal."""
    print(clean_lines(str(text)))
