"""Where a model of traces may start: the linear answer to every question, in closed form.

A few minutes of calcium hold too little for gradients to find it: before the weights are where
factor analysis is, they have learned the noise, and a few steps from there lose it again. So the
linear path of the model is set to factor analysis of the activity (co-smoothing) and to ridge
regressions between activity and signals (decoding, encoding), and the trunk alone is trained, on
what these leave.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from neurofm.config import Config
from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.data.unit_features import principal_axes
from neurofm.errors import ConfigError, InputError
from neurofm.model.backbone import Backbone
from neurofm.model.model import Model
from neurofm.model.rows import Rows
from neurofm.model.stitch import CLIP
from neurofm.model.temporal import Taps
from neurofm.tokens.vocabulary import Statistics

Array = NDArray[np.float64]
LEAST_PRIVATE = 0.2  # of a channel's variance; less is an estimate gone wrong
TRUNK = 0.01  # of what it gives at first, beside the linear path


class LinearConfig(Config):
    """The closed-form start of one recording of traces.

    `bins`: a bin counts as so many independent ones, when the directions are read off it: traces
    are slow, their noise too, and the less a bin counts the more is the answer drawn to the mean. 0
    draws all weights at random instead. `penalty` of the regressions between activity and signals,
    relative to the mean of their Gram matrix's diagonal. `keep`: the linear answers stay as they
    are, and only the trunk and the prompts are trained.
    """

    bins: float = Field(0.0, ge=0)
    penalty: float = Field(1.0, gt=0)
    keep: bool = True


def start_linear(
    model: Model,
    recordings: Sequence[Recording],
    train: Intervals,
    measured: Statistics,
    bin_s: float,
    config: LinearConfig,
) -> None:
    """Set the rows and the path beside the trunk, from the training part of the one recording.

    Raises ConfigError or InputError where the model or the recordings are of another form.
    """
    path, (recording,) = _fit_for(model, recordings)
    pieces = [
        _standardised(binning.activity(recording, first, stop, bin_s), measured)
        for first, stop in binning.pieces(train, bin_s)
    ]
    answers = Answers.of(pieces, recording.channels.in_activity, model.config.backbone.width,
                         range(-path.before, path.after + 1), config)  # fmt: skip
    _set(model, path, answers)
    if config.keep:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name == "prompts" or name.startswith("backbone."))


@dataclass(frozen=True)
class Answers:
    """Rows (C, D) by which channels are read in, guessed and read out; taps (D, D, K), to from tap."""

    read_in: Array
    guess: Array
    read_out: Array
    taps: Array

    @classmethod
    def of(
        cls,
        pieces: Sequence[Array],
        own: NDArray[np.bool_],
        width: int,
        offsets: range,
        config: LinearConfig,
    ) -> Self:
        """From standardised pieces (T, C) of channels, `own` those of the activity; `offsets` of taps.

        Dimensions, in order: factors, each signal's own, and by tap and signal what decodes it.
        """
        n_own, n_signals, n_taps = int(own.sum()), int((~own).sum()), len(offsets)
        n = _room(width, n_own, n_signals, n_taps)
        seen, signals = ([p[:, which] for p in pieces] for which in (own, ~own))
        x = np.nan_to_num(np.concatenate(seen))
        read_in, guess, read_out = (np.zeros((len(own), width)) for _ in range(3))
        taps = np.zeros((width, width, n_taps))

        weights, loadings = factors(x, n, config.bins)
        read_in[own, :n], guess[own, :n], read_out[own, :n] = weights, loadings, loadings
        taps[range(n), range(n)] = 1 / n_taps

        each = width - n_signals * (1 + n_taps) + np.arange(n_signals)
        read_in[~own, each] = read_out[~own, each] = 1.0
        decode = ridge(lagged(seen, offsets), np.concatenate(signals), config.penalty)
        decode = decode.reshape(n_taps, n_own, n_signals)
        encode = ridge(lagged(signals, offsets), x @ weights, config.penalty)
        encode = encode.reshape(n_taps, n_signals, n)
        for tap in range(n_taps):
            decoded = width - n_signals * (n_taps - tap) + np.arange(n_signals)
            read_in[np.ix_(own, decoded)] = decode[tap]
            taps[each, decoded, tap] = 1.0
            taps[:n, each, tap] = encode[tap].T
        return cls(read_in, guess, read_out, taps)


def _room(width: int, n_own: int, n_signals: int, n_taps: int) -> int:
    """How many factors there can be; raises ConfigError if there is no room for one."""
    n_spare = n_signals * (1 + n_taps)
    n = min(width - n_spare, n_own - 1)
    if n < 1:
        raise ConfigError(
            f"model.backbone.width {width} leaves no room for factors beside {n_spare} dimensions of "
            "signals; raise it, or leave linear.bins out."
        )
    return n


def _fit_for(model: Model, recordings: Sequence[Recording]) -> tuple[Taps, Sequence[Recording]]:
    path = model.temporal
    plain = isinstance(path, Taps) and path.narrow is None and isinstance(model.backbone, Backbone)
    if not plain or model.read_in is None or not isinstance(model.read_in.rows, Rows):
        raise ConfigError(
            "linear.bins starts the rows of a table and a convolution of the whole width: it needs "
            "model.kernel above 0, doublings and path_rank 0, rows=table and a transformer."
        )
    if len(recordings) != 1:
        raise InputError(
            f"linear.bins is for one recording, and there are {len(recordings)}: factors of two have "
            "no common order. Train a model on each, or leave linear.bins out."
        )
    if (recordings[0].channels.kind != "real").any():
        raise InputError(
            f"{recordings[0].id}: linear.bins is for traces and signals, and it has channels of other "
            "kinds; leave linear.bins out (counts have model.rows=both)."
        )
    assert isinstance(path, Taps)
    return path, recordings


def _standardised(values: NDArray[np.generic], measured: Statistics) -> Array:
    """(T, C) as the model sees them; NaN where nothing was recorded."""
    off = (values.astype(np.float64) - measured.mean) / measured.scale
    return np.asarray(off.clip(-CLIP, CLIP))


def factors(x: Array, n: int, n_bins: float) -> tuple[Array, Array]:
    """(weights, loadings) (C, n) of standardised x (T, C): x @ weights are posterior means.

    Factor analysis by principal axes; a bin is worth `n_bins` independent ones, as in
    `data.unit_factors` (Bartholomew 1987, eq. 3.7).
    """
    s = x.T @ x / len(x)
    variance, axes = principal_axes(s, n)
    loadings = axes * np.sqrt(variance)
    precise = loadings / np.maximum(np.diag(s) - np.square(loadings).sum(axis=1), LEAST_PRIVATE)[:, None]  # fmt: skip
    weights = precise @ np.linalg.inv(np.eye(n) / n_bins + precise.T @ loadings)
    return weights, loadings


def lagged(pieces: Sequence[Array], offsets: range) -> Array:
    """(n, len(offsets) * C) of pieces (T, C), offset by offset; outside a piece and unknown: 0."""
    most = max(-offsets[0], offsets[-1])
    padded = [np.pad(np.nan_to_num(p), ((most, most), (0, 0))) for p in pieces]
    parts = [[p[most + o : len(p) - most + o] for p in padded] for o in offsets]
    return np.concatenate([np.concatenate(part) for part in parts], axis=1)


def ridge(x: Array, y: Array, penalty: float) -> Array:
    """(F, M) weights of x (n, F) for y (n, M), NaN unknown; `penalty` as in `LinearConfig`.

    Nothing is centred: what is standardised is about 0 already.
    """
    out = np.zeros((x.shape[1], y.shape[1]))
    known = np.isfinite(y)
    for rows in np.unique(known, axis=1).T:  # targets that are known in the same bins
        which = (known == rows[:, None]).all(axis=0)
        a = x[rows]
        gram = a.T @ a
        strength = penalty * max(float(np.trace(gram)) / len(gram), 1e-12)
        out[:, which] = np.linalg.solve(
            gram + strength * np.eye(len(gram)), a.T @ y[np.ix_(rows, which)]
        )
    return out


@torch.no_grad()
def _set(model: Model, path: Taps, answers: Answers) -> None:
    assert model.read_in is not None
    assert isinstance(model.backbone, Backbone)
    tables = model.read_in.rows, model.read_in.guess, model.read_out.rows
    each = answers.read_in, answers.guess, answers.read_out
    for table, rows in zip(tables, each, strict=True):
        _shared(table).copy_(torch.from_numpy(rows))
    _shared(model.read_in.hidden).zero_()
    path.weight.copy_(torch.from_numpy(answers.taps).flatten(1))
    model.backbone.norm.weight.fill_(TRUNK)


def _shared(table: nn.Module) -> Tensor:
    assert isinstance(table, Rows)
    return table.shared
