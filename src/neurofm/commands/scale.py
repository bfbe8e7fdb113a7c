"""`neurofm scale`: a sweep of runs over sessions, minutes and widths, and the laws fitted to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from neurofm.commands.options import ConfigFile, Device, Settings, say, tick
from neurofm.errors import ConfigError

N = TypeVar("N", int, float)


def scale(  # noqa: PLR0913  an option each
    store: Annotated[Path, typer.Argument(help="A store; with --fit-only, the study's folder.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the study.")] = None,
    config_file: ConfigFile = "tiny",
    settings: Settings = None,
    sessions: Annotated[
        str | None, typer.Option("--sessions", help="How many, as 1,2,4,8. Default: doubling.")
    ] = None,
    minutes: Annotated[
        str | None, typer.Option("--minutes", help="Of training data a session. Default: all.")
    ] = None,
    widths: Annotated[
        str | None, typer.Option("--widths", help="Of the model. Default: as configured.")
    ] = None,
    draws: Annotated[int, typer.Option("--draws", help="Runs a size, of other sessions.")] = 2,
    seed: Annotated[int, typer.Option("--seed", help="Of the draws and the models.")] = 0,
    anchors: Annotated[
        str | None, typer.Option("--anchors", help="Ids of the sessions that are scored.")
    ] = None,
    tasks: Annotated[str, typer.Option("--tasks", help="Names.")] = "co-smoothing,forward",
    target: Annotated[float | None, typer.Option("--target", help="How many for this?")] = None,
    value: Annotated[bool, typer.Option("--value", help="Run all sessions but one, each.")] = False,
    choose: Annotated[int | None, typer.Option("--choose", help="Run this many, chosen.")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes side by side.")] = 1,
    slurm: Annotated[str | None, typer.Option("--slurm", help="Submit to a partition.")] = None,
    fit_only: Annotated[bool, typer.Option("--fit-only", help="Fit what is measured.")] = False,
    device: Device = "auto",
) -> int:
    """Measure how scores grow with sessions, minutes and parameters, and forecast; resumable."""
    from neurofm.report import growth
    from neurofm.scaling import Asked, default_sessions, fit_study, scale_store
    from neurofm.study.grid import Grid
    from neurofm.study.sweep import Workers

    asked = Asked(target, value, choose)
    if fit_only:
        record, out = fit_study(store, asked=asked, say=say), store
    elif out is None:
        raise ConfigError("--out is missing; name the folder of the study.")
    else:
        grid = Grid(
            _numbers("--sessions", sessions, int) or default_sessions(store),
            _numbers("--minutes", minutes, float) or (None,),
            _numbers("--widths", widths, int) or (None,),
            draws,
            seed,
        )
        record = scale_store(
            store,
            out,
            grid=grid,
            anchors=tuple(anchors.split(",")) if anchors else (),
            asked=asked,
            config_file=config_file,
            settings=settings or (),
            tasks=tasks,
            device=device,
            workers=Workers(jobs, _threads(jobs), slurm),
            say=say,
            tick=tick,
        )
    print(growth.as_text(record))
    say(f"page: {out / growth.PAGE}")
    return 0


def _numbers(option: str, text: str | None, kind: Callable[[str], N]) -> tuple[N, ...]:
    """Rising numbers of a list with commas; none where nothing was given."""
    try:
        return tuple(sorted({kind(part) for part in (text or "").split(",") if part.strip()}))
    except ValueError:
        raise ConfigError(f"{option} {text} must be numbers with commas, as 1,2,4.") from None


def _threads(jobs: int) -> int:
    """Threads of each process, so that all together do not crowd the machine."""
    from neurofm.doctor import settings

    return max(settings().n_threads // jobs, 1)
