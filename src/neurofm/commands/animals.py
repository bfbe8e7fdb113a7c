"""`neurofm animals`: signals of animals that were left out, from a few minutes of their own."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Out, Settings, SplitsFile, say, show, tick, use_threads

Signals = Annotated[str, typer.Option("--signals", help="all, or names: velocity,head_angle.")]
Minutes = Annotated[str, typer.Option("--minutes", help="Of each animal's own targets: 1,2,4,all.")]
New = Annotated[
    Path | None,
    typer.Option("--new", help="A store of the animals that are asked; default: each in turn."),
]


def animals(
    store: Annotated[Path, typer.Argument(help="A store of traces, such as calcium.")],
    out: Out,
    new: New = None,
    signals: Signals = "all",
    minutes: Minutes = "1,2,4,all",
    config_file: Annotated[str | None, typer.Option("--config", help="A YAML file.")] = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    splits_file: SplitsFile = None,
) -> int:
    """Decode signals of each animal from its first minutes and what the other animals teach."""
    from neurofm.animals import animals_store
    from neurofm.decoding import headlines
    from neurofm.report.tables import table

    use_threads()
    found = animals_store(store, out, new=new, signals=signals, minutes=minutes, splits_file=splits_file,
                          config_file=config_file, settings=settings or (), say=say, tick=tick)  # fmt: skip
    if as_json:
        print(json.dumps([result.record() for result in found], indent=1))
    else:
        show(table(headlines(found)))
        say(f"{out / 'decoded'} holds what was decoded of each animal, bin by bin")
    return 0
