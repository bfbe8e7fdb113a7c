"""`neurofm twin`: experiments on trained models in the animal's place."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Device, Out, Settings, SplitsFile, say, show, tick, use_threads

Runs = Annotated[
    list[Path], typer.Argument(help="Runs of `neurofm pretrain` that differ in their --seed.")
]
Recording = Annotated[
    str | None, typer.Option("--recording", help="Id of a recording; default: all.")
]
Tune = Annotated[
    list[str] | None,
    typer.Option("--tune", help="Tuning over NAME, NAME=low:high:n or LABEL=a,b; repeatable."),
]
Hold = Annotated[
    list[str] | None,
    typer.Option("--hold", help="NAME=value that is held while --tune asks; repeatable."),
]
Excite = Annotated[
    str, typer.Option("--excite", help="Most exciting courses of UNIT,UNIT or of best:3.")
]
Over = Annotated[str, typer.Option("--over", help="Signals that --excite moves; default: all.")]
Lesion = Annotated[
    list[str] | None,
    typer.Option("--lesion", help="What is lost without REGION, NAME or channels; repeatable."),
]
Tasks = Annotated[str, typer.Option("--tasks", help="Tasks that --lesion scores, comma-separated.")]
Repeats = Annotated[
    str, typer.Option("--repeats", help="Columns of trials: explained variance and its ceiling.")
]
Window = Annotated[
    str, typer.Option("--window", help="Of a trial, in seconds: 0:0.3; default: all of it.")
]
Align = Annotated[str, typer.Option("--align", help="Column of times that --window counts from.")]


def twin(  # noqa: PLR0913  an option each
    runs: Runs,
    out: Out,
    recording: Recording = None,
    tune: Tune = None,
    hold: Hold = None,
    excite: Excite = "",
    over: Over = "",
    lesion: Lesion = None,
    tasks: Tasks = "encoding,decoding,co-smoothing",
    repeats: Repeats = "",
    window: Window = "",
    align: Align = "start_s",
    settings: Settings = None,
    store: Annotated[Path | None, typer.Option("--store", help="Default: the runs' own.")] = None,
    splits_file: SplitsFile = None,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
) -> int:
    """Digital twin: tuning curves, most exciting inputs, lesions, explained variance and its ceiling."""
    from neurofm.twinning import Wanted, twin_runs

    use_threads()
    wanted = Wanted(recording=recording, tune=tuple(tune or ()), hold=tuple(hold or ()), excite=excite,
                    over=over, lesion=tuple(lesion or ()), tasks=tasks, repeats=repeats, window=window,
                    align=align)  # fmt: skip
    found = twin_runs(runs, out, wanted, settings=settings or (), store=store, device=device,
                      splits_file=splits_file, say=say, tick=tick)  # fmt: skip
    if as_json:
        print(json.dumps([result.record() for result in found.results], indent=1))
    else:
        show("\n".join(found.tables))
        say(f"{out} holds a figure and the arrays of each experiment")
    return 0
