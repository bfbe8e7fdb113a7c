"""`neurofm stream`: a causal model live, on a recording of a store or on counts that come in."""

import gc
import json
import sys
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from neurofm.commands.options import SplitsFile, say, show, use_threads

if TYPE_CHECKING:
    from neurofm.data.intervals import Intervals
    from neurofm.data.recording import Recording
    from neurofm.evaluate.live import Said, Stream

LATEST = 1_000_000  # bins whose times are kept: a stream may run for days


def stream(
    run: Annotated[Path, typer.Argument(help="A run of a causal model.")],
    recording: Annotated[str, typer.Option("--recording", help="Id of one it was trained on.")],
    signals: Annotated[
        str, typer.Option("--signal", help="Names of signals to decode, comma-separated.")
    ] = "",
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Counts come in, one line a bin, and go out as JSON.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON line a bin.")] = False,
    store: Annotated[Path | None, typer.Option("--store", help="Default: the run's own.")] = None,
    splits_file: SplitsFile = None,
) -> int:
    """Answer bin by bin on one core: a recording's test side as if live, or counts from stdin."""
    import torch

    from neurofm import files
    from neurofm.data import splits
    from neurofm.data.store import open_store
    from neurofm.evaluate.live import Stream, fit_readout
    from neurofm.model import checkpoint
    from neurofm.run import open_run

    use_threads()
    opened = open_run(run)
    trained = checkpoint.load(checkpoint.best_intact(opened.checkpoints))
    home = store or Path(files.read_json(opened.data_manifest)["store"])
    source = open_store(home).open(recording)
    proven = splits.load(splits_file or opened.splits)
    sides = proven.recordings.get(recording, {})
    live = Stream.of(trained, source)
    for name in (word.strip() for word in signals.split(",") if word.strip()):
        live.readouts[name] = fit_readout(trained, source, name, sides)
    torch.set_num_threads(1)  # a bin is too little work to share
    bin_s = float(trained.config["bin_s"])
    with no_pauses():
        if stdin:
            say(latency(answer(live, sys.stdin), bin_s))
        else:
            lines = replayed(live, source, sides, bin_s, as_json)
            (say if as_json else show)("\n".join(lines))
    return 0


@contextmanager
def no_pauses() -> Iterator[None]:
    """A full garbage collection of all that is loaded takes 0.1 s; here it passes that over."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def answer(live: "Stream", lines: Iterable[str]) -> Collection[float]:
    """A JSON line for each line of counts; an empty line forgets the past. Seconds the last bins took.

    Raises InputError that names the line.
    """
    from time import perf_counter

    from neurofm.errors import InputError

    took = deque[float](maxlen=LATEST)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            live.reset()
            continue
        try:
            counts, hidden = parsed(line)
            began = perf_counter()
            said = live.step(counts, hidden)
        except (TypeError, ValueError, OverflowError, InputError) as error:
            raise InputError(f"line {number} of stdin: {error}") from None
        took.append(perf_counter() - began)
        print(as_line(said, {"bin": live.n_bins - 1}, took[-1]), flush=True)
    return took


def parsed(line: str) -> tuple[Any, Any]:
    """Counts (C,) and which of them are missing: null in a JSON list, nothing or nan in a row of CSV.

    Raises ValueError, TypeError or OverflowError.
    """
    import numpy as np

    if line.lstrip().startswith("["):
        values = [float("nan") if x is None else float(x) for x in json.loads(line)]
    else:
        values = [float(x or "nan") for x in map(str.strip, line.split(","))]
    counts = np.array(values, dtype=np.float32)
    return counts, np.isnan(counts)


def as_line(said: "Said", place: Mapping[str, float], took_s: float) -> str:
    """One JSON object: where, `ms`, `decoded` by signal, `rates` in counts a bin."""
    short = {name: [float(f"{x:.6g}") for x in values]
             for name, values in {**said.decoded, "": said.rates}.items()}  # fmt: skip
    rates = short.pop("")
    return json.dumps({**place, "ms": round(took_s * 1e3, 4), "decoded": short, "rates": rates})


def replayed(
    live: "Stream",
    source: "Recording",
    sides: Mapping[str, "Intervals"],
    bin_s: float,
    as_json: bool,
) -> list[str]:
    """Streams the test side, and says how long a bin took and how well signals were decoded."""
    import numpy as np

    from neurofm.data.intervals import Intervals
    from neurofm.data.targets import traces
    from neurofm.errors import InputError
    from neurofm.evaluate.decode_scores import flattened
    from neurofm.evaluate.live import replay

    took, bins = [], []
    decoded: dict[str, list[Any]] = {name: [] for name in live.readouts}
    for bin, said, seconds in replay(live, source, sides.get("test", Intervals.none()), bin_s):
        took.append(seconds)
        bins.append(bin)
        for name, values in said.decoded.items():
            decoded[name].append(values)
        if as_json:
            print(as_line(said, {"bin": bin, "s": round(bin * bin_s, 6)}, seconds))
    if not took:
        raise InputError(f"{source.id}: its test side holds no whole bin; choose it by --splits.")
    out = [latency(took, bin_s)]
    for name, found in decoded.items():
        wanted = traces(source, name, bin_s)[bins].astype(float)
        there = np.isfinite(wanted).all(axis=1)
        r2 = flattened(wanted[there], np.array(found, dtype=float)[there])
        out.append(f"{name}: R2 {r2:.3f} over {there.sum()} bins")
    return out


def latency(took: Collection[float], bin_s: float) -> str:
    """One sentence of how long bins took."""
    import numpy as np

    if not took:
        return "no bin came in"
    p50, p99, most = (f"{1e3 * x:.2f}" for x in (*np.quantile(list(took), [0.5, 0.99]), max(took)))
    return (
        f"{len(took)} bins of {1e3 * bin_s:g} ms: {p50} ms a bin (p50), {p99} (p99), {most} at most"
    )
