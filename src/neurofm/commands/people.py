"""`neurofm people`: labels of people who were left out, from EEG or EMG."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from neurofm.commands.options import Out, Settings, say, show, tick, use_threads

if TYPE_CHECKING:
    from neurofm.results import Result


def people(
    store: Annotated[Path, typer.Argument(help="A store of traces, one subject a person.")],
    out: Out,
    label: Annotated[str, typer.Option("--label", help="A column of the trials: gesture, task.")],
    sizes: Annotated[
        str | None, typer.Option("--sizes", help="Also from few training people: 2,8,16,all.")
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=1, help="Of the training people of each size.")
    ] = 2,
    anchors: Annotated[
        str | None, typer.Option("--anchors", help="Who is asked for --sizes. Default: a quarter.")
    ] = None,
    seconds: Annotated[
        str | None, typer.Option("--seconds", help="Also with labels of their own: 35,140.")
    ] = None,
    config_file: Annotated[str | None, typer.Option("--config", help="A YAML file.")] = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Leave each person out once and tell their windows: with nothing known, and without labels."""
    from neurofm.people import people_store
    from neurofm.people_seconds import seconds_of
    from neurofm.people_sizes import Sizes

    use_threads()
    found = people_store(store, out, label, sizes=Sizes.of(sizes, draws, anchors) if sizes else None,
                         seconds=seconds_of(seconds) if seconds else (), config_file=config_file,
                         settings=settings or (), say=say, tick=tick)  # fmt: skip
    if as_json:
        print(json.dumps([result.record() for result in found], indent=1))
    else:
        _show(found, out, sizes is not None, seconds is not None)
    return 0


def _show(found: "list[Result]", out: Path, sizes: bool, seconds: bool) -> None:
    from neurofm import files
    from neurofm.report.people import people_table, seconds_table, sizes_table

    by: dict[str, list[Result]] = {}
    for r in found:
        by.setdefault(r.split.partition("|")[0], []).append(r)
    first, *rest = by.values()
    show(people_table(first))
    say(f"{out / 'people.png'} shows every person")
    if sizes:
        show(sizes_table(files.read_json(out / "people-sizes.json")))
    if seconds:
        show(seconds_table(rest[-1]))
