"""`neurofm verify`: every hash of what neurofm wrote."""

from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import show


def verify(
    folder: Annotated[Path, typer.Argument(help="A store, run, checkpoint or shared weights.")],
) -> int:
    """Hash everything again; exit 3, naming what is broken and the remedy, if anything is."""
    from neurofm.errors import CheckFailed
    from neurofm.verifying import verify as run

    done = run(folder)
    if done.broken:
        raise CheckFailed(done.sentence)
    show(done.sentence)
    return 0
