"""`neurofm people`: labels of people who were left out, from EEG or EMG."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Out, Settings, say, show, tick, use_threads


def people(
    store: Annotated[Path, typer.Argument(help="A store of traces, one subject a person.")],
    out: Out,
    label: Annotated[str, typer.Option("--label", help="A column of the trials: gesture, task.")],
    config_file: Annotated[str | None, typer.Option("--config", help="A YAML file.")] = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Leave each person out once and tell their windows: with nothing known, and without labels."""
    from neurofm.people import people_store
    from neurofm.report.people import people_table

    use_threads()
    found = people_store(store, out, label, config_file=config_file, settings=settings or (),
                         say=say, tick=tick)  # fmt: skip
    if as_json:
        print(json.dumps([result.record() for result in found], indent=1))
    else:
        show(people_table(found))
        say(f"{out / 'people.png'} shows every person")
    return 0
