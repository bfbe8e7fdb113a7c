"""The command line: the one place that prints and turns names into objects."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from neurofm.errors import NeurofmError

INTERRUPTED = 130

Out = Annotated[Path, typer.Option("--out", help="Folder to write to.")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", help="A YAML file, or a recipe: tiny, small, base.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="key.subkey=value; may be given several times.")
]
SplitsFile = Annotated[
    Path | None,
    typer.Option("--splits", help="JSON of splits; default: 70/10/20 in order of time."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of recordings.")],
    out: Out,
    settings: Settings = None,
) -> int:
    """Read recordings of any supported format into a store."""
    from neurofm import config
    from neurofm.data.ingest import ingest as run
    from neurofm.data.quality import QualityConfig

    report = run(paths, out, config.load(QualityConfig, None, settings or ()), _say)
    status = [one.status for one in report.outcomes]
    print(", ".join(f"{status.count(kind)} {kind}" for kind in dict.fromkeys(status)))
    return report.exit_code


def inspect(
    store: Annotated[Path, typer.Argument(help="A store, made by `neurofm ingest`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show what a store holds: sessions, channels, regions, rates, hours, trials, flags."""
    from neurofm.data.inspect import summary, table
    from neurofm.data.store import open_store

    rows = summary(open_store(store))
    print(json.dumps([row.record() for row in rows], indent=1) if as_json else table(rows))
    return 0


def pretrain(
    store: Annotated[Path, typer.Argument(help="A store, made by `neurofm ingest`.")],
    out: Out,
    config_file: ConfigFile = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Overrides the config's seed.")] = None,
    device: Device = "auto",
    splits_file: SplitsFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> int:
    """Train one model on every session of a store, by hiding cells and predicting them."""
    from neurofm.pipeline import pretrain_store

    given = list(settings or ()) + ([] if seed is None else [f"seed={seed}"])
    _use_threads()
    trained = pretrain_store(
        store,
        out,
        config_file=config_file,
        settings=given,
        device=device,
        splits_file=splits_file,
        resume=resume,
        say=_say,
        tick=_tick,
    )
    _say(
        f"best validation {trained.valid['score']:.4f} bits/spike at step {trained.step}; run: {out}"
    )
    return 0


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")],
    store: Annotated[Path | None, typer.Option("--store", help="Default: the run's own.")] = None,
    tasks: Annotated[
        str, typer.Option("--tasks", help="Names, comma-separated; `probes` for latents.")
    ] = "co-smoothing,forward,intra-region,inter-region",
    baselines: Annotated[str, typer.Option("--baselines", help="all, none, or names.")] = "all",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array.")] = False,
    device: Device = "auto",
    splits_file: SplitsFile = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Folder of a simulation, for its ceiling.")
    ] = None,
) -> int:
    """Score the model and classical baselines on the test part, with intervals."""
    from neurofm.report.tables import table
    from neurofm.scoring import evaluate_run

    _use_threads()
    results = evaluate_run(
        run,
        store=store,
        tasks=tasks,
        baselines=baselines,
        device=device,
        splits_file=splits_file,
        truth=truth,
        say=_say,
        tick=_tick,
    )
    if as_json:
        print(json.dumps([result.record() for result in results], indent=1))
    else:
        print(table(results))
    return 0


def report(run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")]) -> int:
    """Write the run's page: one self-contained HTML file."""
    from neurofm.report.page import page
    from neurofm.run import open_run

    print(page(open_run(run)))
    return 0


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show versions, devices, threads, folders, and where each setting came from."""
    from dataclasses import asdict

    from neurofm import doctor as check

    lines = check.report()
    print(json.dumps([asdict(x) for x in lines], indent=1) if as_json else check.render(lines))
    return 0


def demo(
    out: Out = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulation and the model.")] = 0,
) -> int:
    """Simulate sessions, ingest, pre-train, evaluate and write the page, in a few minutes."""
    from neurofm.demo import run_demo

    _use_threads()
    print(run_demo(out, seed=seed, say=_say, tick=_tick))
    return 0


COMMANDS: dict[str, Callable[..., int]] = {
    "ingest": ingest,
    "inspect": inspect,
    "pretrain": pretrain,
    "evaluate": evaluate,
    "report": report,
    "doctor": doctor,
    "demo": demo,
}


def _use_threads() -> None:
    """As many threads as `doctor` shows; NEUROFM_NUM_THREADS says otherwise."""
    import torch

    from neurofm.doctor import settings

    torch.set_num_threads(settings().n_threads)


def _say(text: str) -> None:
    """Remarks go to stderr, so that stdout holds the result alone; they take the place of a tick."""
    clear = "\r\x1b[2K" if sys.stderr.isatty() else ""
    print(clear + text, file=sys.stderr, flush=True)


def _tick(text: str) -> None:
    """Progress: one line that is rewritten on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def application() -> typer.Typer:
    """The typer application, one command for each entry of COMMANDS."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Foundation models of neural recordings, for an ordinary lab.",
    )
    for name, function in COMMANDS.items():
        app.command(name)(function)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit: 0 done, 2 bad input or configuration, 3 a check failed."""
    try:
        code: Any = application()(arguments, standalone_mode=False)
    except NeurofmError as error:
        _say(f"neurofm: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        _say("neurofm: interrupted; what was finished is kept.")
        code = INTERRUPTED
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:  # click's usage errors print themselves; anything else is a bug
        code = _usage(error)
    sys.exit(code or 0)


def _usage(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is None:
        raise error
    show()
    return int(getattr(error, "exit_code", 2))
