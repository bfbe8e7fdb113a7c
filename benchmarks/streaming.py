"""Milliseconds a bin of a stream on one core, and what decoding live costs in R2.

    chrt -f 10 python benchmarks/streaming.py --out benchmarks/results/streaming.json
    python benchmarks/streaming.py --decode --out benchmarks/results/streaming-decode.json

A bin of 100, 300 or 600 units comes in every 20 ms, as from a rig, and is read out as a signal of two
axes, too; weights are drawn, which costs the same. Beside it, in the same process: computing the whole
window anew for every bin, back to back, as a multiple of a stream's bins back to back, since a core that did
something else for 20 ms starts with cold caches. Wall time is what a rig waits for: run it alone, or above others (`chrt`, as
root); the processor's time leaves out what others took of the core. `--decode` trains `tiny`, causal,
on simulated sessions.
"""

import argparse
import gc
import json
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from neurofm import Recording, Run, config
from neurofm.data import splits
from neurofm.data.binning import activity
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.data.targets import side_pieces, traces
from neurofm.evaluate.decode_scores import flattened, r2_draws
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.evaluate.live import Readout, Stream, fit_readout, replay
from neurofm.evaluate.metrics import bounds
from neurofm.evaluate.readout import known, tuned_line
from neurofm.model.checkpoint import Trained, build_for
from neurofm.model.seeded import seed_torch
from neurofm.pipeline import recipe
from neurofm.tokens.tokens import Batch, stack
from neurofm.tokens.vocabulary import Vocabulary, joined, statistics
from neurofm.train.pretrain import PretrainConfig, pretrain

BIN_S, UNITS, WARM = 0.02, (100, 300, 600), 100
MISSING = 0.1  # of the channels, drawn anew every bin
SIGNALS = ("wheel_velocity", "wheel_position", "whisker_motion_energy")


def settings_of(name: str, *more: str) -> PretrainConfig:
    given = ["model.backbone.causal=true", f"bin_s={BIN_S}", "precision=fp32", *more]
    return config.load(PretrainConfig, recipe(name), given)


def untrained(settings: PretrainConfig, n_units: int) -> tuple[Trained, Recording]:
    rng = np.random.default_rng(0)
    rates = rng.lognormal(np.log(5), 0.8, n_units) * BIN_S
    counts = rng.poisson(rates, (6000, n_units)).astype(np.uint8)
    recording = Recording.from_arrays("live", counts=counts, bin_s=BIN_S)
    vocabulary = Vocabulary.of([recording])
    one = {"live": statistics(recording, recording.valid, BIN_S)}
    measured = joined(vocabulary, [recording], one)
    seed_torch(0, "initialisation")
    model = build_for(settings.model, vocabulary, measured).eval()
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return Trained(model, vocabulary, measured, settings.model_dump(mode="json"), 0, {}), recording


def spread(seconds: list[float], name: str) -> dict[str, float]:
    p50, p99 = (float(x) * 1e3 for x in np.quantile(seconds, [0.5, 0.99]))
    return {f"{name}_p50_ms": p50, f"{name}_p99_ms": p99, f"{name}_max_ms": max(seconds) * 1e3}


def stepping(stream: Stream, counts, hidden, n_bins: int, every_s: float = BIN_S):
    """Wall and processor seconds of each bin; one comes in every `every_s`."""
    wall, cpu = [], []
    start = time.perf_counter()
    for number in range(WARM + n_bins):
        time.sleep(max(start + number * every_s - time.perf_counter(), 0))
        bin = number % len(counts)
        before = time.perf_counter(), time.thread_time()
        stream.step(counts[bin], hidden[bin])
        wall.append(time.perf_counter() - before[0])
        cpu.append(time.thread_time() - before[1])
    return wall[WARM:], cpu[WARM:]


def whole_window(trained: Trained, recording: Recording, counts, n: int) -> float:
    """Median processor seconds of one forward pass over a full window, for its last bin."""
    context, length = trained.context(recording), int(trained.config["window_bins"])
    hidden, took = np.zeros((length, counts.shape[1]), dtype=bool), []
    for first in range(n + 3):
        began = time.thread_time()
        tokens = trained.model.config.tokens(counts[first : first + length], hidden)
        with torch.inference_mode():
            trained.model(Batch((stack([tokens], context, [0]),)))
        took.append(time.thread_time() - began)
    return float(np.median(took[3:]))


def latencies(n_bins: int) -> list[dict[str, object]]:
    rows = []
    for name in ("tiny", "small", "base"):
        settings = settings_of(name)
        for n_units in UNITS:
            trained, recording = untrained(settings, n_units)
            width = settings.model.backbone.width
            head = Readout(np.ones((width, 2), np.float32), np.ones(2, np.float32))
            stream = Stream.of(trained, recording, {"position": head})
            counts = activity(recording, 0, 6000, BIN_S)
            gone = np.random.default_rng(1).random(counts.shape) < MISSING
            again_s = whole_window(trained, recording, counts, 40 if name != "base" else 15)
            cases = {"all": gone & False} | (
                {"a tenth missing": gone} if (name, n_units) == ("small", 300) else {}
            )
            gc.collect()
            gc.freeze()  # as `neurofm stream` does: a full collection takes 0.1 s
            for case, hidden in cases.items():
                stream.reset()
                wall, cpu = stepping(stream, counts, hidden, n_bins)
                row = {"recipe": name, "n_units": n_units, "channels": case, "n_bins": n_bins,
                       "window_bins": settings.window_bins, **spread(wall, "wall"),
                       **spread(cpu, "cpu"), "whole_window_cpu_ms": again_s * 1e3}  # fmt: skip
                stream.reset()
                row["at_once_cpu_p50_ms"] = (
                    float(np.median(stepping(stream, counts, hidden, 300, 0)[1])) * 1e3
                )
                row["times_faster"] = row["whole_window_cpu_ms"] / row["at_once_cpu_p50_ms"]
                rows.append(row)
                print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()})
    return rows


def decoding(minutes: float, steps: int) -> list[dict[str, object]]:
    """R2 on the test side: live, from one latent after the other, and offline, in windows."""
    simulated = SimulationConfig(n_animals=2, sessions_per_animal=1, minutes=minutes, units_min=50, units_max=60)  # fmt: skip
    recordings = [session.recording for session in simulate(simulated, seed=0)]
    proven = splits.split_by_time(recordings)
    sides = {side: proven.side(side) for side in ("train", "valid", "test")}
    settings = settings_of("tiny", f"steps={steps}", f"validate_every={steps // 4}")
    with tempfile.TemporaryDirectory() as folder:
        trained = pretrain(recordings, sides, settings, Run(Path(folder)), device=torch.device("cpu"), say=lambda _: None)  # fmt: skip
    rows = []
    for recording in recordings:
        own = {side: sides[side][recording.id] for side in sides}
        for name in (s for s in SIGNALS if s in recording.signals):
            wanted = traces(recording, name, BIN_S)
            bins = np.concatenate([np.arange(*span) for span in side_pieces(recording, own["test"], BIN_S)])  # fmt: skip
            stream = Stream.of(trained, recording, {name: fit_readout(trained, recording, name, own)})  # fmt: skip
            live = np.stack([said.decoded[name] for _, said, _ in replay(stream, recording, own["test"], BIN_S)])  # fmt: skip
            offline = in_windows(trained, recording, wanted, own)
            y = wanted[bins].astype(float)
            draws = [r2_draws(y, x.astype(float), bins // 500, 0)[:, 0] for x in (live, offline)]
            low, high = bounds(draws[0] - draws[1])
            rows.append({"recording": recording.id, "signal": name, "n_bins": len(bins),
                         "live_r2": flattened(y, live.astype(float)),
                         "offline_r2": flattened(y, offline.astype(float)),
                         "gain_low": low, "gain_high": high})  # fmt: skip
            print(rows[-1])
    return rows


def in_windows(trained: Trained, recording: Recording, wanted, sides):
    direct, rows = Direct.of(trained, recording, torch.device("cpu")), {}
    for side in sides:
        features, bins = latents(direct, recording, sides[side])
        rows[side] = features, wanted[bins]
    mean, scale = rows["train"][1].mean(0), rows["train"][1].std(0)
    fit = [[known(x, (y - mean) / scale)] for x, y in (rows["train"], rows["valid"])]
    return tuned_line(*fit)[0](rows["test"][0]) * scale + mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bins", type=int, default=3000)
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--hardware", default=platform.processor() or platform.machine())
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    rows = decoding(asked.minutes, asked.steps) if asked.decode else latencies(asked.bins)
    about = {"hardware": asked.hardware, "threads": 1, "torch": torch.__version__,
             "date": time.strftime("%Y-%m-%d"), "seed": 0, "bin_s": BIN_S}  # fmt: skip
    if asked.out:
        asked.out.write_text(json.dumps(about | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
