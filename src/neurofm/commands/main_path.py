"""The main path, from files to a page: ingest, inspect, pretrain, evaluate, report; doctor and demo."""

import json
from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import (
    ConfigFile,
    Device,
    Out,
    Settings,
    SplitsFile,
    say,
    show,
    threads_set,
    tick,
    use_threads,
)


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of recordings.")],
    out: Out,
    settings: Settings = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", help="Files read at once; default: one a core.")
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option("--timeout-s", help="Seconds a file may take; default: 10 + 0.5 a MB."),
    ] = None,
    memory_gb: Annotated[
        float | None,
        typer.Option("--memory-gb", help="Memory a file may take; default: 3/4 of the machine's."),
    ] = None,
) -> int:
    """Read recordings of any supported format into a store."""
    from neurofm import config
    from neurofm.data.ingest import ingest as run
    from neurofm.data.quality import QualityConfig

    quality = config.load(QualityConfig, None, settings or ())
    report = run(
        paths,
        out,
        quality,
        say,
        n_jobs=jobs,
        timeout_s=timeout_s,
        memory_gb=memory_gb,
        tick=tick,
    )
    status = [one.status for one in report.outcomes]
    show(", ".join(f"{status.count(kind)} {kind}" for kind in dict.fromkeys(status)))
    return report.exit_code


def inspect(
    store: Annotated[Path, typer.Argument(help="A store, made by `neurofm ingest`.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show what a store holds: sessions, channels, regions, rates, hours, trials, flags."""
    from neurofm.data.inspect import summary, table
    from neurofm.data.store import open_store

    rows = summary(open_store(store))
    show(json.dumps([row.record() for row in rows], indent=1) if as_json else table(rows))
    return 0


def pretrain(  # noqa: PLR0913  an option each
    store: Annotated[Path, typer.Argument(help="A store, made by `neurofm ingest`.")],
    out: Out,
    config_file: ConfigFile = None,
    settings: Settings = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Overrides the config's seed.")] = None,
    device: Device = "auto",
    splits_file: SplitsFile = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    workers: Annotated[
        int, typer.Option("--workers", help="Processes that make batches ahead; same curve.")
    ] = 0,
    start_method: Annotated[
        str | None, typer.Option("--start-method", help="Of workers: fork, spawn or forkserver.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="The same weights for 1, 2, 4 or 8 processes.")
    ] = False,
    shard: Annotated[
        bool, typer.Option("--shard", help="Cut the trunk over the processes (FSDP2).")
    ] = False,
    slurm: Annotated[
        str | None, typer.Option("--slurm", help="Submit to this partition instead.")
    ] = None,
    nodes: Annotated[int, typer.Option("--nodes", help="Machines of a --slurm job.")] = 1,
    processes: Annotated[
        int, typer.Option("--processes", help="Processes a machine of a --slurm job.")
    ] = 1,
) -> int:
    """Train one model on every session of a store, by hiding cells and predicting them."""
    from neurofm.launching import SLICES, Job, pretrain_together, submit
    from neurofm.train.ahead import Ahead

    given = list(settings or ()) + ([] if seed is None else [f"seed={seed}"])
    given += [f"exact={SLICES}"] if exact else []
    wanted = {"config_file": config_file, "settings": given, "device": device, "shard": shard,
              "splits_file": splits_file, "resume": resume,
              "workers": Ahead(workers, start_method)}  # fmt: skip
    if slurm is not None:
        say(submit(store, out, Job(slurm, nodes, processes, threads_set() or 4), wanted))
        return 0
    use_threads()
    pretrain_together(store, out, say=say, tick=tick, **wanted)
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

    use_threads()
    results = evaluate_run(
        run,
        store=store,
        tasks=tasks,
        baselines=baselines,
        device=device,
        splits_file=splits_file,
        truth=truth,
        say=say,
        tick=tick,
    )
    if as_json:
        print(json.dumps([result.record() for result in results], indent=1))
    else:
        show(table(results))
    return 0


def report(run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")]) -> int:
    """Write the run's page: one self-contained HTML file."""
    from neurofm.report.page import page
    from neurofm.run import open_run

    show(page(open_run(run)))
    return 0


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show versions, devices, threads, folders, and where each setting came from."""
    from dataclasses import asdict

    from neurofm import doctor as check

    lines = check.report()
    show(json.dumps([asdict(x) for x in lines], indent=1) if as_json else check.render(lines))
    return 0


def demo(
    out: Out = Path("demo"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of the simulation and the model.")] = 0,
) -> int:
    """Simulate sessions, ingest, pre-train, evaluate and write the page, in a few minutes."""
    from neurofm.demo import run_demo

    use_threads()
    show(run_demo(out, seed=seed, say=say, tick=tick))
    return 0
