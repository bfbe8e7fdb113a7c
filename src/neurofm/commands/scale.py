"""`neurofm scale`: a sweep of runs over sessions, minutes and widths, and the laws fitted to it."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from neurofm.commands.options import ConfigFile, Device, Settings, say, show, tick
from neurofm.errors import ConfigError

if TYPE_CHECKING:
    from neurofm.study.grid import Grid

N = TypeVar("N", int, float)


Store = Annotated[Path, typer.Argument(help="A store; with --fit-only, the study's folder.")]
Study = Annotated[Path | None, typer.Option("--out", help="Folder of the study.")]
Sessions = Annotated[
    str | None, typer.Option("--sessions", help="How many, as 1,2,4,8. Default: doubling.")
]
Minutes = Annotated[
    str | None, typer.Option("--minutes", help="Of training data a session. Default: all.")
]
Widths = Annotated[
    str | None, typer.Option("--widths", help="Of the model. Default: as configured.")
]
Draws = Annotated[int, typer.Option("--draws", help="Runs a size, of other sessions.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the draws and the models.")]
Anchors = Annotated[
    str | None, typer.Option("--anchors", help="Ids of the sessions that are scored.")
]
Tasks = Annotated[str, typer.Option("--tasks", help="Names, comma-separated.")]
Target = Annotated[float | None, typer.Option("--target", help="How many for this score?")]
Value = Annotated[bool, typer.Option("--value", help="Also run all sessions but one, for each.")]
Choose = Annotated[int | None, typer.Option("--choose", help="Also run this many, chosen.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes side by side.")]
Slurm = Annotated[str | None, typer.Option("--slurm", help="Submit to this partition instead.")]
FitOnly = Annotated[bool, typer.Option("--fit-only", help="Fit what is measured already.")]


def scale(  # noqa: PLR0913  an option each
    store: Store,
    out: Study = None,
    config_file: ConfigFile = "tiny",
    settings: Settings = None,
    sessions: Sessions = None,
    minutes: Minutes = None,
    widths: Widths = None,
    draws: Draws = 2,
    seed: Seed = 0,
    anchors: Anchors = None,
    tasks: Tasks = "co-smoothing,forward",
    target: Target = None,
    value: Value = False,
    choose: Choose = None,
    jobs: Jobs = 1,
    slurm: Slurm = None,
    fit_only: FitOnly = False,
    device: Device = "auto",
) -> int:
    """Measure how scores grow with sessions, minutes and parameters, and forecast; resumable."""
    from neurofm.report import growth
    from neurofm.scaling import Asked, fit_study, scale_store
    from neurofm.study.sweep import Workers

    asked = Asked(target, value, choose)
    if fit_only:
        record, out = fit_study(store, asked=asked, say=say), store
    elif out is None:
        raise ConfigError("--out is missing; name the folder of the study.")
    else:
        grid = _grid(store, (sessions, minutes, widths), draws, seed)
        who = tuple(anchors.split(",")) if anchors else ()
        how = Workers(jobs, _threads(jobs), slurm)
        record = scale_store(store, out, grid=grid, anchors=who, asked=asked, workers=how,
                             config_file=config_file, settings=settings or (), tasks=tasks,
                             device=device, say=say, tick=tick)  # fmt: skip
    show(growth.as_text(record))
    say(f"page: {out / growth.PAGE}")
    return 0


def _grid(store: Path, sizes: tuple[str | None, ...], draws: int, seed: int) -> "Grid":
    """The grid of --sessions, --minutes and --widths, in this order."""
    from neurofm.scaling import default_sessions
    from neurofm.study.grid import Grid

    sessions, minutes, widths = sizes
    return Grid(
        _numbers("--sessions", sessions, int) or default_sessions(store),
        _numbers("--minutes", minutes, float) or (None,),
        _numbers("--widths", widths, int) or (None,),
        draws,
        seed,
    )


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
