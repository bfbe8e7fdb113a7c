"""Channel ids to rows of the model's tables, and what was measured of each channel."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.intervals import Intervals
from neurofm.data.recording import KINDS, NODES, Channels, Recording
from neurofm.data.unit_factors import unit_factors
from neurofm.data.unit_features import unit_features
from neurofm.errors import InputError
from neurofm.tokens.tokens import ChannelContext

FLOOR_COUNTS = 0.5  # a channel silent in training is given half a spike, never a rate of 0
AT_ONCE = 1 << 18  # cells that are measured at once: a few MB


@dataclass(frozen=True)
class Vocabulary:
    """Rows of channels and of (recording, channel) sites; it grows and never renumbers.

    `channels`: id -> row; one id in two sessions is one row where rows are `shared`, else it is
    named with its recording and has a row in each. `sites`: (recording, id) -> row. `regions`:
    name -> row, from 1; 0 is for every region without a row, and these do not grow.
    """

    channels: dict[str, int]
    sites: dict[tuple[str, str], int]
    regions: dict[str, int] = field(default_factory=dict)
    shared: bool = True

    @classmethod
    def of(cls, recordings: Iterable[Recording], shared: bool = True) -> "Vocabulary":
        """Rows for all channels of these recordings, in their order, and for their regions."""
        kept = list(recordings)
        names = sorted({str(name) for r in kept for name in np.unique(r.channels.region)} - {""})
        regions = {name: row for row, name in enumerate(names, 1)}
        return cls({}, {}, regions, shared).grown(kept)

    def empty(self) -> "Vocabulary":
        """The same regions and way of naming, without a channel."""
        return Vocabulary({}, {}, self.regions, self.shared)

    def name(self, recording: Recording, channel: str) -> str:
        """What a channel of this recording is called among `channels`."""
        return channel if self.shared else f"{recording.id}: {channel}"

    def grown(self, recordings: Iterable[Recording]) -> "Vocabulary":
        """The same rows, and new ones for channels that had none."""
        channels, sites = dict(self.channels), dict(self.sites)
        for recording in recordings:
            for name in recording.channels.id.tolist():
                channels.setdefault(self.name(recording, name), len(channels))
                sites.setdefault((recording.id, name), len(sites))
        return Vocabulary(channels, sites, self.regions, self.shared)

    def rows(self, recording: Recording) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(rows, sites) of a recording's channels, (C,) each.

        Raises InputError if a channel or the recording was not in the training set.
        """
        names = recording.channels.id.tolist()
        known = [n for n in names if (recording.id, n) in self.sites]
        if len(known) < len(names):
            raise InputError(
                f"{recording.id}: {len(names) - len(known)} of {len(names)} channels were not in "
                "the model's training set; adapt the model to this recording with `neurofm adapt`."
            )
        row = [self.channels[self.name(recording, n)] for n in names]
        site = [self.sites[recording.id, n] for n in names]
        return np.array(row, dtype=np.int64), np.array(site, dtype=np.int64)


@dataclass(frozen=True)
class Statistics:
    """Per channel, measured on the training part alone, (C,) float32 each.

    `features`: (C, K) float32, where rows are computed from a unit's own data (`with_features`).
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    rate: NDArray[np.float32]
    features: NDArray[np.float32] | None = None

    def take(self, at: NDArray[np.int64]) -> "Statistics":
        """Those of some channels."""
        features = None if self.features is None else self.features[at]
        return Statistics(self.mean[at], self.scale[at], self.rate[at], features)


def statistics(recording: Recording, train: Intervals, bin_s: float) -> Statistics:
    """Mean and spread of square-root counts and mean counts a bin, over the training part.

    Of channels of other kinds, mean and spread of the values, and the mean as what is expected of
    them. Raises InputError if the training part holds no whole bin.
    """
    n = sum(stop - first for first, stop in binning.pieces(train, bin_s))
    if not n:
        raise InputError(f"{recording.id}: the training part holds no whole bin of {bin_s:g} s.")
    if (recording.channels.kind != "count").any():
        return _of_any_kind(np.concatenate(list(_parts(recording, train, bin_s))), recording)
    total, root, square = np.zeros((3, len(recording.channels)))
    for counts in _parts(recording, train, bin_s):
        total, root = _added(total, counts), _added(root, np.sqrt(counts))
    mean = root / n
    for counts in _parts(recording, train, bin_s):
        square = _added(square, (np.sqrt(counts) - mean) ** 2)
    return Statistics(
        mean=mean.astype(np.float32),
        scale=(np.sqrt(square / n) + 0.05).astype(np.float32),
        rate=np.maximum(total / n, FLOOR_COUNTS / n).astype(np.float32),
    )


def _parts(recording: Recording, train: Intervals, bin_s: float) -> Iterator[NDArray[np.float64]]:
    """Activity of the training part, a few MB at a time."""
    size = max(AT_ONCE // len(recording.channels), 1)
    for first, stop in binning.pieces(train, bin_s):
        for at in range(first, stop, size):
            part = binning.activity(recording, at, min(at + size, stop), bin_s)
            yield part.astype(np.float64)


def _added(total: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """A sum and further rows, one after the other, as NumPy adds all rows at once: the bits are the same."""
    out: NDArray[np.float64] = np.concatenate([total[None], rows]).sum(axis=0)
    return out


def _of_any_kind(values: NDArray[np.float64], recording: Recording) -> Statistics:
    """The same of (T, C) values, NaN where they were not recorded; nothing recorded is 0 +- 1."""
    kind = recording.channels.kind
    known = np.isfinite(values)
    n = np.maximum(known.sum(axis=0), 1)
    values = np.where(known, values, 0.0)
    shown = np.where(kind == "count", np.sqrt(np.where(kind == "count", values, 0.0)), values)
    mean = shown.sum(axis=0) / n
    spread = np.sqrt((np.where(known, shown - mean, 0.0) ** 2).sum(axis=0) / n)
    least = np.where(
        kind == "count", FLOOR_COUNTS / n, np.where(kind == "category", 1 / n, -np.inf)
    )
    more = np.where(kind == "count", 0.05, np.where(spread > 0, 0.0, 1.0))
    return Statistics(
        mean=mean.astype(np.float32),
        scale=(spread + more).astype(np.float32),
        rate=np.maximum(values.sum(axis=0) / n, least).astype(np.float32),
    )


def with_features(
    measured: Statistics, recording: Recording, train: Intervals, bin_s: float
) -> Statistics:
    """The same, and what `model.inductive` computes rows from: `unit_features`, then `unit_factors`.

    Raises InputError if the training part holds no whole bin, or a channel is not of counts.
    """
    if (recording.channels.kind != "count").any():
        raise InputError(
            f"{recording.id}: rows are computed from a unit's counts, and it has channels of other "
            "kinds; choose model.rows=table."
        )
    own = unit_features(recording, train, bin_s).values
    shared = unit_factors(recording, train, bin_s)
    return replace(measured, features=np.concatenate([own, shared.reshape(len(own), -1)], axis=1))


def context(vocabulary: Vocabulary, recording: Recording, measured: Statistics) -> ChannelContext:
    """The channels of a recording as the model wants them."""
    row, site = vocabulary.rows(recording)
    described: dict[str, torch.Tensor] = {}
    if measured.features is not None:
        region = [vocabulary.regions.get(name, 0) for name in recording.channels.region.tolist()]
        described["features"] = torch.from_numpy(measured.features)
        described["region"] = torch.tensor(region, dtype=torch.int64)
    described |= _kinds_and_nodes(recording.channels)
    return ChannelContext(
        row=torch.from_numpy(row),
        site=torch.from_numpy(site),
        mean=torch.from_numpy(measured.mean),
        scale=torch.from_numpy(measured.scale),
        rate=torch.from_numpy(measured.rate),
        **described,
    )


def _kinds_and_nodes(channels: Channels) -> dict[str, torch.Tensor]:
    """`kind`, `group` and `node` of a context, where they say anything."""
    out: dict[str, NDArray[np.int64]] = {}
    if (channels.kind != "count").any():
        out["kind"] = np.array([KINDS.index(k) for k in channels.kind.tolist()])
        if channels.group is not None and (together := channels.group != "").any():
            out["group"] = np.full(len(channels), -1)
            out["group"][together] = np.unique(channels.group[together], return_inverse=True)[1]
    if not channels.in_activity.all():
        out["node"] = np.array([NODES.index(n) for n in channels.node.tolist()])
    return {name: torch.from_numpy(column) for name, column in out.items()}


def known(vocabulary: Vocabulary, recordings: Sequence[Recording]) -> list[Recording]:
    """Those recordings of which every channel has a row."""
    return [r for r in recordings if all((r.id, c) in vocabulary.sites for c in r.channels.id)]


def joined(
    vocabulary: Vocabulary, recordings: Sequence[Recording], measured: Mapping[str, Statistics]
) -> Statistics:
    """Statistics of all recordings, by id, in the order of the vocabulary's sites.

    Sites of other recordings are 0.
    """
    columns: dict[str, NDArray[np.float32]] = {}
    for recording in recordings:
        _, sites = vocabulary.rows(recording)
        for name, values in vars(measured[recording.id]).items():
            if values is not None:
                shape = (len(vocabulary.sites), *values.shape[1:])
                columns.setdefault(name, np.zeros(shape, dtype=np.float32))[sites] = values
    return Statistics(**columns)
