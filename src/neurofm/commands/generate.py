"""Spikes that a trained model makes up: `neurofm generate`."""

from pathlib import Path
from typing import Annotated

import typer

from neurofm.commands.options import Device, say, show, use_threads


def generate(
    run: Annotated[Path, typer.Argument(help="A run, made by `neurofm pretrain`.")],
    recording: Annotated[str, typer.Argument(help="Id of a recording of its training set.")],
    at: Annotated[float, typer.Option("--at", help="Seconds: where to begin.")],
    out: Annotated[Path, typer.Option("--out", help="The .npz to write, an array recording.")],
    seconds: Annotated[float, typer.Option("--seconds", help="How long a sample is.")] = 1.0,
    samples: Annotated[int, typer.Option("--samples", help="How many of them.")] = 1,
    stride: Annotated[int, typer.Option("--stride", help="Bins drawn at a time.")] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0,
    store: Annotated[Path | None, typer.Option("--store", help="Default: the run's own.")] = None,
    device: Device = "auto",
) -> int:
    """Roll a recording on with a trained model, bin by bin, and write what it made up."""
    from neurofm import files
    from neurofm.data.readers.arrays import write_arrays
    from neurofm.data.store import open_store
    from neurofm.errors import InputError
    from neurofm.evaluate.direct import Direct
    from neurofm.evaluate.generate import as_recording
    from neurofm.evaluate.generate import generate as rollout
    from neurofm.model import checkpoint
    from neurofm.pipeline import device_named
    from neurofm.run import open_run

    if out.suffix != ".npz":
        raise InputError(f"--out {out} must end in .npz: it is written as an array recording.")
    use_threads()
    opened = open_run(run)
    trained = checkpoint.load(checkpoint.best_intact(opened.checkpoints))
    home = store or Path(files.read_json(opened.data_manifest)["store"])
    source = open_store(home).open(recording)
    direct = Direct.of(trained, source, device_named(device))
    first, n_bins = round(at / direct.bin_s), round(seconds / direct.bin_s)
    made = rollout(direct, source, first, n_bins, seed=seed, n_samples=samples, stride=stride)
    with files.replacing(out) as temporary:
        write_arrays(as_recording(made, source), temporary)
    say(
        f"{samples} x {n_bins} bins of {direct.bin_s:g} s from {first * direct.bin_s:g} s, "
        f"after {made.n_context} recorded bins"
    )
    show(out)
    return 0
