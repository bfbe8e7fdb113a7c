"""Training throughput of a recipe, as trials a second and as a share of the matrix-product peak.

    python benchmarks/throughput.py --recipe base --out benchmarks/results/throughput.json

A trial is 100 bins of a session of 520 to 700 units, as in IBL-MtM (Zhang et al. 2024). The peak is
measured in the same process, in the same precision and with the same threads. FLOPs are counted by
torch's own counter over one forward and backward pass (`neurofm.train.cost`).
"""

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from neurofm import Intervals, Recording, config
from neurofm.pipeline import recipe
from neurofm.train.batches import Corpus, MaskedBatches
from neurofm.train.cost import one_pass, peak_flops, timed
from neurofm.train.loop import autocast
from neurofm.train.loss import masked_loss
from neurofm.train.pretrain import PretrainConfig, prepare, resolved_precision
from neurofm.train.sharded import clipped

UNITS = (520, 568, 612, 668, 700)
BIN_S, MINUTES, N_BINS = 0.02, 3, 100


def sessions() -> list[Recording]:
    rng = np.random.default_rng(0)
    out = []
    for number, n in enumerate(UNITS):
        rates = rng.lognormal(np.log(5), 0.8, n) * BIN_S
        counts = rng.poisson(rates, (int(MINUTES * 60 / BIN_S), n)).astype(np.uint8)
        region = np.array(["VISp", "MOs", "CP", "CA1", "LP"])[np.arange(n) % 5]
        out.append(
            Recording.from_arrays(f"s{number}", counts=counts, bin_s=BIN_S, channel_region=region)
        )
    return out


def measure(settings: PretrainConfig, device: torch.device, n_steps: int) -> dict[str, float]:
    recordings = sessions()
    train = {r.id: Intervals.of([(0, r.span[1])]) for r in recordings}
    training, measured = prepare(recordings, train, settings, device)
    corpus = Corpus.of(recordings, training.vocabulary, measured, BIN_S)
    batches = MaskedBatches.over(corpus, train, settings.masks.mixture(BIN_S),
                                 settings.model.tokens, length=N_BINS, size=settings.windows, seed=0)  # fmt: skip
    parts: dict[str, list[float]] = {"data": [], "forward": [], "backward": [], "step": []}
    kept: dict[str, object] = {}

    def data(number: int) -> None:
        batch, targets = batches(number)
        kept["batch"], kept["targets"] = batch.to(device), targets.to(device)

    def forward() -> None:
        training.model.train()
        with autocast(device, settings.precision):
            output = training.model(kept["batch"])
        kept["loss"] = masked_loss(output, kept["targets"])

    def backward() -> None:
        for optimiser in training.optimisers:
            optimiser.zero_grad(set_to_none=True)
        kept["loss"].backward()

    def step() -> None:
        clipped(list(training.model.parameters()), 1.0)
        for optimiser in training.optimisers:
            optimiser.step()

    for number in range(n_steps + 2):
        took = {
            "data": timed(lambda n=number: data(n), device),
            "forward": timed(forward, device),
            "backward": timed(backward, device),
            "step": timed(step, device),
        }
        if number >= 2:  # two steps to warm up
            for name, seconds in took.items():
                parts[name].append(seconds)
    counted = one_pass(training.model, kept["batch"], kept["targets"], settings.precision)
    seconds = {name: statistics.median(values) for name, values in parts.items()}
    total = statistics.median(map(sum, zip(*parts.values(), strict=True)))
    return {**{f"{k}_s": v for k, v in seconds.items()}, "step_in_all_s": total,
            "flop_a_step": float(counted.total),
            "n_parameters": training.model.n_parameters}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="base")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    precision = resolved_precision(asked.precision, device)
    settings = config.load(PretrainConfig, recipe(asked.recipe)).model_copy(
        update={"bin_s": BIN_S, "precision": precision, "windows": asked.windows}
    )
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    before = peak_flops(dtype, device)
    row = measure(settings, device, asked.steps)
    peak = max(before, peak_flops(dtype, device))
    rate = row["flop_a_step"] / row["step_in_all_s"]
    row |= {
        "trials_a_s": asked.windows / row["step_in_all_s"],
        "gflop_a_trial": row["flop_a_step"] / asked.windows / 1e9,
        "tflop_a_s": rate / 1e12,
        "peak_tflop_a_s": peak / 1e12,
        "share_of_peak": rate / peak,
    }
    about = {"recipe": asked.recipe, "windows": asked.windows, "precision": precision,
             "device": str(device), "threads": torch.get_num_threads(), "torch": torch.__version__,
             "machine": platform.processor() or platform.machine(),
             "date": time.strftime("%Y-%m-%d")}  # fmt: skip
    text = json.dumps(about | row, indent=1)
    print(text)
    if asked.out:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
