"""`neurofm adapt`: a trained model on recordings that it has not seen."""

from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Device, Out, Settings, SplitsFile, say, show, tick, use_threads


def adapt(
    run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")],
    store: Annotated[Path, typer.Option("--store", help="A store of the new recordings.")],
    out: Out,
    how: Annotated[
        str, typer.Option("--how", help="zero-shot, rows, last, all, scratch; comma-separated.")
    ] = "zero-shot,rows,scratch",
    minutes: Annotated[
        str, typer.Option("--minutes", help="Minutes of each new recording, such as 1,2,5,all.")
    ] = "all",
    tasks: Annotated[
        str, typer.Option("--tasks", help="Names, comma-separated, or all.")
    ] = "co-smoothing,forward",
    config_file: Annotated[
        Path | None, typer.Option("--config", help="A YAML file of how to adapt.")
    ] = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Overrides the config's seed.")] = None,
    device: Device = "auto",
    splits_file: SplitsFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> int:
    """Adapt a model to new sessions or animals, with no training or a little, by minutes of data."""
    from neurofm.adapting import Ways, adapt_run
    from neurofm.report.minutes import minutes_table

    use_threads()
    given = list(settings or ()) + ([] if seed is None else [f"seed={seed}"])
    results = adapt_run(
        run,
        store,
        out,
        Ways(how, minutes, tasks),
        config_file=config_file,
        settings=given,
        device=device,
        splits_file=splits_file,
        resume=resume,
        say=say,
        tick=tick,
    )
    show(minutes_table(results))
    return 0
