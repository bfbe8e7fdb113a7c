"""`neurofm anatomy`: the region of a unit, told from what the model holds of it."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Device, SplitsFile, say, show, tick, use_threads


def anatomy(
    run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")],
    store: Annotated[Path | None, typer.Option("--store", help="Default: the run's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    device: Device = "auto",
    splits_file: SplitsFile = None,
) -> int:
    """Tell each unit's region from the model's rows and from simpler features, animals held out."""
    from neurofm.mapping import map_run
    from neurofm.report.tables import table

    use_threads()
    results = map_run(run, store=store, device=device, splits_file=splits_file, say=say, tick=tick)
    if as_json:
        print(json.dumps([result.record() for result in results], indent=1))
    else:
        show(table(results))
    return 0
