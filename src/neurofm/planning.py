"""What a pre-training would take, counted before anything runs: tokens, FLOPs, hours, memory, bytes.

Shapes are counted, the speed of this machine is measured, and the share of it that training reaches is
assumed; a plan says which is which.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording, Samples
from neurofm.errors import ConfigError, InputError
from neurofm.model.build import build
from neurofm.model.model import Model
from neurofm.model.rows import is_row
from neurofm.pipeline import Say, asked_for, silent
from neurofm.tokens.tokens import Batch, Targets
from neurofm.tokens.vocabulary import Statistics, Vocabulary, with_features
from neurofm.train.batches import CPU, IN_MEMORY_BYTES, Corpus, room
from neurofm.train.cost import moment_bytes, one_pass, optimiser_flops, peak_flops
from neurofm.train.optim import optimisers
from neurofm.train.pretrain import PretrainConfig, of_kinds, sampled

HOUR_S = 3600.0
N_DRAWN = 4  # steps whose windows are read, to count their tokens
FEATURES_S = 60.0  # of one recording, to see how many features a unit has
SIZES, N_REPEATS = (512, 1024), 4  # of the matrix products that are timed on a CPU

# (FLOPs a step, share of the peak), measured on CPUs (benchmarks/README.md): what a step does beside
# matrix products takes its time whatever their size.
SHARES_OF_A_CPU = ((73e6, 0.009), (6.6e9, 0.087), (10.6e9, 0.154), (164e9, 0.44))
CPU_FROM = "what CPU runs with about as many FLOPs a step reached"
H200_FLOPS, H200_BYTES = 989e12, 141e9
SHARE_OF_A_GPU = 0.4
GPU_FROM = "a target for wide models, not measured"


@dataclass(frozen=True)
class Data:
    """What is trained on. `counts_bytes`: of all binned sessions; `in_memory`: whether they are held."""

    n_sessions: int
    n_channels: int
    hours: float
    train_hours: float
    bin_s: float
    counts_bytes: int
    in_memory: bool


@dataclass(frozen=True)
class TokenCount:
    """Tokens a window over the windows of `N_DRAWN` steps, and those of all steps together."""

    kind: str
    mean: float
    most: int
    n_windows: int
    in_all: float


@dataclass(frozen=True)
class Flops:
    """Of one step, and of the whole training with its validations (forward passes)."""

    forward: int
    backward: int
    optimiser: int
    in_all: float

    @property
    def a_step(self) -> int:
        """Both passes and the optimiser."""
        return self.forward + self.backward + self.optimiser


@dataclass(frozen=True)
class Memory:
    """Bytes on the device. `kept`: of the forward pass for the backward one, in fp32."""

    weights: int
    gradients: int
    moments: int
    average: int
    kept: int

    @property
    def in_all(self) -> int:
        """All of them."""
        return sum(vars(self).values())


@dataclass(frozen=True)
class Machine:
    """Hours that the training takes at an assumed `share` of the peak, FLOP/s."""

    name: str
    peak_flops: float
    peak_from: str
    share: float
    share_from: str
    hours: float
    memory_bytes: float | None = None


@dataclass(frozen=True)
class Plan:
    """A pre-training in numbers. `parameters`: of the trunk, and of rows of channels."""

    data: Data
    steps: int
    windows: int
    precision: str
    epochs: float
    tokens: TokenCount
    parameters: Mapping[str, int]
    flops: Flops
    memory: Memory
    checkpoint_bytes: int
    machines: tuple[Machine, ...]

    def record(self) -> dict[str, Any]:
        """A JSON-ready dict; sums are in it."""
        tree = asdict(self)
        tree["flops"]["a_step"] = self.flops.a_step
        tree["memory"]["in_all"] = self.memory.in_all
        return tree


def plan_store(
    store: Path | str,
    *,
    config_file: str | None = None,
    settings: Sequence[str] = (),
    device: str = "auto",
    splits_file: Path | str | None = None,
    say: Say = silent,
) -> Plan:
    """The plan of `pretrain_store` with the same arguments; trains and writes nothing."""
    asked = asked_for(store, config_file, settings, device, splits_file, say)
    recordings, where, config, splits = asked
    train, valid = splits.side("train"), splits.side("valid")
    if not any(len(valid.get(r.id, ())) for r in recordings if len(train.get(r.id, ()))):
        raise InputError("No recording has a training and a validation part; give the splits one.")
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    sizes = () if where.type == "cuda" else SIZES
    peak = peak_flops(dtype, where, sizes, N_REPEATS)
    return plan(recordings, train, config, here=(_device(where), peak))


def plan(
    recordings: Sequence[Recording],
    train: Mapping[str, Intervals],
    config: PretrainConfig,
    *,
    here: tuple[str, float],
) -> Plan:
    """What `pretrain` of these would take; `here`: this machine's name (`cpu...`: a CPU) and measured peak, FLOP/s.

    Reads the windows of a few steps, and a minute of one session where rows are computed. Raises
    InputError if nothing is there to train on.
    """
    assert config.bin_s is not None
    used = [r for r in recordings if len(train.get(r.id, ()))]
    if not used:
        raise InputError("No recording has a training part; check the splits and the store.")
    config.channels.check(used)
    used = config.channels.widen(used)
    vocabulary = Vocabulary.of(used, config.share_rows)
    model, blank = _shapes(used, train, config, vocabulary)
    corpus = Corpus.of(used, vocabulary, blank, config.bin_s, budget=-1)
    batches = sampled(corpus, train, config, "train")
    drawn = [batches(k) for k in range(min(N_DRAWN, config.steps))]
    flops, kept, moments = _counted(model, drawn[0], config)
    seen = sum(g.n_bins * len(g.prompt) for b, _ in drawn for g in b.groups) / len(drawn)
    size = sum(p.nbytes for p in model.parameters())
    return Plan(
        data=_data(used, train, config.bin_s),
        steps=config.steps,
        windows=config.windows,
        precision=config.precision,
        epochs=config.steps * seen / batches.windows.n_bins,
        tokens=_tokens([b for b, _ in drawn], config),
        parameters=_parameters(model),
        flops=flops,
        memory=Memory(size, size, moments, size, kept),
        checkpoint_bytes=2 * size + moments + _table_bytes(vocabulary, blank),
        machines=_machines(flops, here),
    )


def _device(where: torch.device) -> str:
    if where.type == "cuda":
        return torch.cuda.get_device_name(where)
    return f"{where}, threads: {torch.get_num_threads()}" if where.type == "cpu" else str(where)


def _shapes(
    used: Sequence[Recording],
    train: Mapping[str, Intervals],
    config: PretrainConfig,
    vocabulary: Vocabulary,
) -> tuple[Model, dict[str, Statistics]]:
    """The model without its values, and statistics of the right shape that say nothing."""
    assert config.bin_s is not None
    n_features = 0
    if config.model.rows != "table":
        first = used[0]
        start = float(train[first.id].start[0])
        part = train[first.id].clip(start, start + FEATURES_S)
        about = with_features(_blank(len(first.channels)), first, part, config.bin_s)
        assert about.features is not None
        n_features = about.features.shape[1]
    n_rows = len(vocabulary.channels), len(vocabulary.sites), len(vocabulary.regions)
    try:
        with torch.device("meta"):
            model = build(of_kinds(config.model, used), *n_rows, n_features)
    except ValueError as error:
        raise ConfigError(f"model cannot be built: {error}.") from None
    return model, {r.id: _blank(len(r.channels), n_features) for r in used}


def _blank(n_channels: int, n_features: int = 0) -> Statistics:
    column = np.zeros(n_channels, dtype=np.float32)
    features = np.zeros((n_channels, n_features), dtype=np.float32) if n_features else None
    return Statistics(column, column, column, features)


def _counted(
    model: Model, drawn: tuple[Batch, Targets], config: PretrainConfig
) -> tuple[Flops, int, int]:
    """FLOPs, bytes kept for the backward pass, and bytes of moments, from shapes alone."""
    nowhere = torch.device("meta")
    counted = one_pass(model, drawn[0].to(nowhere), drawn[1].to(nowhere))
    made = optimisers(model, config.optim)
    last = optimiser_flops(made)
    n_checks = -(-config.steps // config.validate_every) * config.valid_batches
    in_all = config.steps * (counted.total + last) + n_checks * counted.forward
    flops = Flops(counted.forward, counted.backward, last, float(in_all))
    return flops, counted.kept_bytes, moment_bytes(made)


def _data(used: Sequence[Recording], train: Mapping[str, Intervals], bin_s: float) -> Data:
    n_cells = sum(binning.n_bins(r, bin_s) * len(r.channels) for r in used)
    wide = max(_bytes_a_cell(r) for r in used)
    return Data(
        n_sessions=len(used),
        n_channels=len({name for r in used for name in r.channels.id.tolist()}),
        hours=sum(r.valid.total_s for r in used) / HOUR_S,
        train_hours=sum(train[r.id].total_s for r in used) / HOUR_S,
        bin_s=bin_s,
        counts_bytes=n_cells * wide,
        in_memory=n_cells <= min(IN_MEMORY_BYTES, room(CPU)),
    )


def _bytes_a_cell(recording: Recording) -> int:
    if isinstance(recording.activity, Samples):
        return recording.activity.values.dtype.itemsize
    return 1 if (recording.channels.kind == "count").all() else 4


def _tokens(drawn: Sequence[Batch], config: PretrainConfig) -> TokenCount:
    lengths = [n for batch in drawn for group in batch.groups for n in group.lengths]
    mean = float(np.mean(lengths))
    in_all = mean * config.windows * config.steps
    return TokenCount(config.model.tokens.kind, mean, max(lengths), len(lengths), in_all)


def _parameters(model: Model) -> dict[str, int]:
    rows = sum(p.numel() for name, p in model.named_parameters() if is_row(name))
    return {"trunk": model.n_parameters - rows, "rows": rows}


def _table_bytes(vocabulary: Vocabulary, blank: Mapping[str, Statistics]) -> int:
    """Statistics and names of channels, as a checkpoint holds them."""
    columns = [column for one in blank.values() for column in vars(one).values()]
    names = json.dumps([list(vocabulary.channels), list(vocabulary.sites)])
    return sum(int(column.nbytes) for column in columns if column is not None) + len(names)


def _machines(flops: Flops, here: tuple[str, float]) -> tuple[Machine, ...]:
    name, peak = here
    on_cpu = name.startswith("cpu")
    share = share_of_a_cpu(flops.a_step) if on_cpu else SHARE_OF_A_GPU
    mine = flops.in_all / (peak * share) / HOUR_S
    hours = flops.in_all / (H200_FLOPS * SHARE_OF_A_GPU) / HOUR_S
    h200 = ("NVIDIA's bf16 figure, dense", SHARE_OF_A_GPU, GPU_FROM)
    source = CPU_FROM if on_cpu else GPU_FROM
    return (
        Machine(f"this machine ({name})", peak, "measured now", share, source, mine),
        Machine("one H200", H200_FLOPS, *h200, hours, H200_BYTES),
        Machine("eight H200", 8 * H200_FLOPS, *h200, hours / 8, H200_BYTES),
    )


def share_of_a_cpu(flops_a_step: float) -> float:
    """Of the peak, between the shares measured; beyond them, the nearest."""
    size, share = np.log(SHARES_OF_A_CPU).T
    return float(np.exp(np.interp(np.log(max(flops_a_step, 1.0)), size, share)))
