"""`neurofm decode`: what can be read from the activity."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import (
    ConfigFile,
    Device,
    Settings,
    SplitsFile,
    say,
    show,
    tick,
    use_threads,
)

Targets = Annotated[
    str, typer.Option("--targets", help="all, or names of signals and labels of trials.")
]
Minutes = Annotated[
    float | None, typer.Option("--minutes", help="Train on so many minutes a session alone.")
]
Methods = Annotated[
    str, typer.Option("--methods", help="all, or names: model, probe, scratch, ridge, wiener, ...")
]
New = Annotated[
    Path | None,
    typer.Option(
        "--new",
        help="A store of other recordings, decoded by what the run's own targets teach and by "
        "none of theirs; --splits then gives their sides.",
    ),
]


def decode(
    run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")],
    targets: Targets = "all",
    methods: Methods = "all",
    store: Annotated[Path | None, typer.Option("--store", help="Default: the run's own.")] = None,
    minutes: Minutes = None,
    new: New = None,
    config_file: ConfigFile = None,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    device: Device = "auto",
    splits_file: SplitsFile = None,
) -> int:
    """Decode behaviour and stimuli: the fine-tuned model, its twin from scratch, and rivals.

    With --new, in animals none of whose targets was measured.
    """
    from neurofm import config
    from neurofm.decoding import decode_run, headlines
    from neurofm.decoding_new import decode_new_run
    from neurofm.errors import ConfigError
    from neurofm.report.tables import table
    from neurofm.train.finetune import FinetuneConfig

    file = Path(config_file) if config_file else None
    use_threads()
    if new is not None and (minutes is not None or methods != "all"):
        raise ConfigError(
            "--new takes neither --minutes nor --methods: no target of the new is learned from."
        )
    own = partial(decode_run, run, methods=methods, minutes=minutes)
    results = (own if new is None else partial(decode_new_run, run, new))(
        targets=targets,
        store=store,
        device=device,
        splits_file=splits_file,
        config=config.load(FinetuneConfig, file, settings or ()) if file or settings else None,
        say=say,
        tick=tick,
    )
    if as_json:
        print(json.dumps([result.record() for result in results], indent=1))
    else:
        show(table(headlines(results)))
    return 0
