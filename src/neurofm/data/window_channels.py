"""A recording of traces -> a recording of windows, whose channels are features of each.

What comes out is trained on, split, decoded and scored like any other recording: a bin is a window,
a channel one entry of the logarithm of its covariance, and people share the channels' names.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.data.band_power import log_band_power
from neurofm.data.covariance import Floats, band_passed, covariances, recentred, shrunk, tangent
from neurofm.data.recording import Recording, Samples
from neurofm.errors import InputError

Band = tuple[float, float | None]


def tangent_channels(
    recording: Recording,
    n_window: int,
    bands: Sequence[Band],
    *,
    own_mean: bool = False,
    share: float = 0.02,
    floor: float = 0.0,
) -> Recording:
    """Tangent vectors of windows of `n_window` samples, one band after the other.

    Windows lie inside pieces of valid time that were recorded apart; those follow each other without
    a gap, so times are new ones. Trials are those of which a window lies wholly inside. `own_mean`:
    as seen from the mean of all windows of this recording, without its labels. Raises InputError if
    the activity is no traces, or no piece holds a window.
    """
    measured = _Measured.of(recording, n_window, bands, share, floor)
    return measured.sheet(own_mean)


def tangent_pair(
    recording: Recording,
    n_window: int,
    bands: Sequence[Band],
    *,
    share: float = 0.02,
    floor: float = 0.0,
) -> tuple[Recording, Recording]:
    """`tangent_channels` of each window alone, and as seen from their mean, for one filtering of both."""
    measured = _Measured.of(recording, n_window, bands, share, floor)
    return measured.sheet(own_mean=False), measured.sheet(own_mean=True)


def power_rows(
    recording: Recording, n_window: int, bands: Sequence[tuple[float, float]]
) -> NDArray[np.float32]:
    """(n, B C) log band power of the windows of `tangent_channels`, in their order."""
    step, pieces = _pieces(recording, n_window)
    assert isinstance(recording.activity, Samples)
    values, rate_hz = recording.activity.values, 1 / float(step)
    parts = [log_band_power(values[a:b], rate_hz, n_window, bands) for a, b in pieces]
    return np.concatenate(parts)


def trace_rows(recording: Recording, n_window: int, band: Band) -> NDArray[np.float32]:
    """(n, C, n_window) filtered traces of the windows of `tangent_channels`, in their order."""
    step, pieces = _pieces(recording, n_window)
    assert isinstance(recording.activity, Samples)
    parts = []
    for first, stop in pieces:
        passed = band_passed(recording.activity.values[first:stop], 1 / float(step), *band)
        whole = passed[: len(passed) // n_window * n_window]
        parts.append(whole.reshape(-1, n_window, whole.shape[1]).transpose(0, 2, 1))
    return np.concatenate(parts).astype(np.float32)


def _pieces(recording: Recording, n_window: int) -> tuple[Fraction, list[tuple[int, int]]]:
    """(seconds a sample, [first, stop) samples of the pieces that hold a window)."""
    if not isinstance(recording.activity, Samples) or (recording.channels.kind != "real").any():
        raise InputError(f"{recording.id}: windows are cut from traces; its activity is no traces.")
    step = recording.activity.step_s
    found = binning.pieces(recording.valid, float(step))
    pieces = [(first, stop) for first, stop in found if stop - first >= n_window]
    if not pieces:
        raise InputError(f"{recording.id}: no piece of valid time holds {n_window} samples.")
    return step, pieces


@dataclass(frozen=True)
class _Measured:
    """Covariances (n, C, C) of a recording's windows, for each band, and where the windows lie."""

    recording: Recording
    step: Fraction
    n_window: int
    pieces: list[tuple[int, int]]
    bands: Sequence[Band]
    covariances: list[Floats]

    @classmethod
    def of(
        cls, recording: Recording, n_window: int, bands: Sequence[Band], share: float, floor: float
    ) -> "_Measured":
        step, pieces = _pieces(recording, n_window)
        assert isinstance(recording.activity, Samples)
        each = []
        for band in bands:
            parts = [
                covariances(
                    band_passed(recording.activity.values[first:stop], 1 / float(step), *band),
                    n_window,
                )
                for first, stop in pieces
            ]
            each.append(shrunk(np.concatenate(parts), share, floor))
        return cls(recording, step, n_window, pieces, bands, each)

    def sheet(self, own_mean: bool) -> Recording:
        """The windows as a recording."""
        rows = [tangent(recentred(cov) if own_mean else cov) for cov in self.covariances]
        n_each = np.array([(stop - first) // self.n_window for first, stop in self.pieces])
        bin_s = float(self.step * self.n_window)
        ends = np.cumsum(n_each)
        recording = self.recording
        return Recording.from_arrays(
            recording.id,
            traces=np.concatenate(rows, axis=1),
            bin_s=bin_s,
            channel_id=_names(recording.channels.id, self.bands),
            subject=recording.subject,
            trials=_trials(recording, self.pieces, n_each, self.n_window, self.step),
            valid=np.stack([ends - n_each, ends], axis=1) * bin_s,
            provenance=recording.provenance,
        )


def _names(ids: NDArray[np.str_], bands: Sequence[Band]) -> list[str]:
    """`tangent/20-50/a b`: of one electrode its power, of two how they go together."""
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[i:]]
    named = [f"{low:g}-{'' if high is None else format(high, 'g')}" for low, high in bands]
    return [f"tangent/{band}/{a} {b}" for band in named for a, b in pairs]


def _trials(
    recording: Recording,
    pieces: Sequence[tuple[int, int]],
    n_each: NDArray[np.int64],
    n_window: int,
    step: Fraction,
) -> dict[str, NDArray[np.generic]]:
    """Rows of trials on the new clock; those without a whole window are left out."""
    table = recording.trials
    if not len(table):
        return {}
    firsts = np.array([first for first, _ in pieces])
    before = np.cumsum(n_each) - n_each
    start, stop = (np.asarray(table[name]) / float(step) for name in ("start_s", "stop_s"))
    at = np.clip(np.searchsorted(firsts, start + binning.EDGE, side="right") - 1, 0, None)
    low = np.ceil(np.maximum(start - firsts[at], 0) / n_window - binning.EDGE)
    high = np.minimum(np.floor((stop - firsts[at]) / n_window + binning.EDGE), n_each[at])
    kept = high > low
    bin_s = float(step * n_window)
    out = {name: column[kept] for name, column in table.columns.items()}
    out["start_s"] = (before[at] + low)[kept] * bin_s
    out["stop_s"] = (before[at] + high)[kept] * bin_s
    return out
