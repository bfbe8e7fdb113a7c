"""`neurofm retrieve`: which segment of N was said or heard, from EEG."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Out, Settings, SplitsFile, say, show, tick, use_threads


def retrieve(
    store: Annotated[Path, typer.Argument(help="A store of EEG, best with EMG beside it.")],
    out: Out,
    signal: Annotated[
        str | None, typer.Option("--signal", help="A signal of the recordings as target.")
    ] = None,
    sound: Annotated[
        str | None, typer.Option("--sound", help="A signal that is sound: its log-mel spectrum.")
    ] = None,
    targets: Annotated[
        Path | None, typer.Option("--targets", help="An .npz of latents of your own.")
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="Folder of a text encoder, for --label.")
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="A column of trials that names the item of each.")
    ] = None,
    hours: Annotated[
        str, typer.Option("--hours", help="Hours of training to compare: 0.5,1,all.")
    ] = "all",
    config_file: Annotated[str | None, typer.Option("--config", help="A YAML file.")] = None,
    settings: Settings = None,
    splits_file: SplitsFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Tell from EEG which of N segments was said or heard, and whether muscle or leaks tell it."""
    from neurofm.evaluate.retrieval import findings
    from neurofm.evaluate.retrieval_segments import Targets
    from neurofm.report.retrieval import retrieval_table
    from neurofm.retrieving import retrieve_store

    use_threads()
    aim = Targets(signal=signal, sound=sound, file=targets, text=text, label=label)
    found = retrieve_store(store, out, aim, hours=hours, config_file=config_file,
                           settings=settings or (), splits_file=splits_file, say=say, tick=tick)  # fmt: skip
    if as_json:
        print(json.dumps([result.record() for result in found], indent=1))
        return 0
    show(retrieval_table(found))
    longest = [result for result in found if result.split == found[-1].split]
    show("\n".join(findings(longest) or ["no control is above chance"]))
    say(f"{out / 'retrieval.png'} shows every row")
    return 0
