"""`neurofm share`: the weights of a run for others."""

from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Out, say, show


def share(
    run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")],
    out: Out,
    no_rows: Annotated[
        bool, typer.Option("--no-rows", help="The trunk alone: no channel ids, rows or rates.")
    ] = False,
    push: Annotated[
        str | None, typer.Option("--push", help="Hub id, owner/name, to upload to (private).")
    ] = None,
) -> int:
    """Write a run's best weights as a small folder with a model card, for others to load."""
    from neurofm.doctor import settings
    from neurofm.errors import InputError
    from neurofm.sharing import share_run

    if push is not None and settings().offline:
        raise InputError(f"--push {push} needs the network, and {settings().offline_source} "
                         "says offline; unset it, or leave --push out.")  # fmt: skip
    show(share_run(run, out, rows=not no_rows, push=push, say=say))
    return 0
