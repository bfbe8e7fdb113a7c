"""How the scores of single units are spread: by region, and with firing rate."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.report.figures import (
    FAINT,
    INK,
    MODEL_BLUE,
    Drawn,
    finish,
    label,
    labels,
    ranked,
    sheet,
    styled,
)
from neurofm.report.records import Units
from neurofm.report.tables import Grid, number

N_REGIONS, N_DOTS = 20, 2000
GOLDEN = 0.6180339887  # multiples modulo 1 fill a row evenly, without a random draw


@styled
def unit_spread(units: list[Units]) -> Drawn:
    """Left: a dot a unit, with median and quartiles of each region. Right: score against rate."""
    regions, bps, rate_hz = pooled(units)
    names = ordered(regions, bps)
    figure = sheet(max(1.2 + 0.36 * len(names), 3.2))
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1], sharex=False)
    limits = _limits(bps)
    for row, name in enumerate(names):
        _row(left, row, bps[regions == name], limits)
    ticks = [f"{text} ({(regions == name).sum()})"
             for text, name in zip(labels(names, 16), names, strict=True)]  # fmt: skip
    left.set_yticks(range(len(names)), ticks)
    left.set_ylim(len(names) - 0.5, -0.5)
    left.tick_params(axis="y", length=0)
    left.axvline(0, color="#555555", lw=0.9)
    left.set_xlim(*limits)
    left.set_xlabel("bits per spike of a unit")
    left.set_title("By region (units)")
    _against_rate(right, bps, rate_hz, limits)
    return finish(figure, _alt(regions, bps, names), _grid(units))


def pooled(
    units: list[Units],
) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
    """(regions, bits per spike, rate) over recordings, of the units with a finite score.

    Regions beyond the 20 commonest are joined as "other regions".
    """
    regions = np.concatenate([u.region.astype(str) for u in units]).astype(object)
    bps = np.concatenate([u.bps for u in units])
    rate_hz = np.concatenate([u.rate_hz for u in units])
    regions[regions == ""] = "region unknown"
    keep = ranked(regions, N_REGIONS)
    regions[~np.isin(regions.astype(str), keep)] = "other regions"
    ok = np.isfinite(bps)
    return regions[ok], bps[ok], rate_hz[ok]


def ordered(regions: NDArray[Any], bps: NDArray[np.float64]) -> list[str]:
    """Regions by falling median, the joined rest last."""
    names = sorted(set(regions.tolist()))
    return sorted(names, key=lambda r: (r == "other regions", -np.median(bps[regions == r])))


def _limits(bps: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 98% and zero; dots beyond are drawn on the edge."""
    if not len(bps):
        return -0.1, 1.0
    low, high = np.percentile(bps, [1, 99])
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    pad = 0.05 * max(high - low, 1e-3)
    return low - pad, high + pad


def _row(axes: Any, row: int, bps: NDArray[np.float64], limits: tuple[float, float]) -> None:
    shown = np.sort(bps)[:: max(1, -(-len(bps) // N_DOTS))]
    height = ((np.arange(len(shown)) * GOLDEN) % 1 - 0.5) * 0.56
    axes.plot(np.clip(shown, *limits), row + height, ".", color=MODEL_BLUE, alpha=0.5, ms=4, mew=0,
              clip_on=False)  # fmt: skip
    first, median, third = np.percentile(bps, [25, 50, 75])
    axes.plot([first, third], [row, row], color=INK, lw=1.4, solid_capstyle="butt")
    axes.plot([median, median], [row - 0.3, row + 0.3], color=INK, lw=2.2)


def _against_rate(
    axes: Any,
    bps: NDArray[np.float64],
    rate_hz: NDArray[np.float64],
    limits: tuple[float, float],
) -> None:
    step = max(1, -(-len(bps) // N_DOTS))
    rates = np.maximum(rate_hz[::step], 0.01)
    axes.plot(rates, np.clip(bps[::step], *limits), ".", color=MODEL_BLUE, alpha=0.5, ms=4, mew=0,
              clip_on=False)  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda rate, _: f"{rate:g}")
    axes.xaxis.set_minor_formatter(lambda _, __: "")
    axes.set_ylim(*limits)
    axes.axhline(0, color="#555555", lw=0.9)
    axes.grid(axis="y", color=FAINT, lw=0.6)
    axes.set_xlabel("rate of the unit (1/s)")
    axes.set_ylabel("bits per spike")
    axes.set_title("By rate")


def _alt(regions: NDArray[Any], bps: NDArray[np.float64], names: list[str]) -> str:
    if not len(bps):
        return "No unit has a finite score."
    parts = []
    for name in names:
        first, median, third = np.percentile(bps[regions == name], [25, 50, 75])
        parts.append(f"{name}: median {number(median)} (quartiles {number(first)} to "
                     f"{number(third)}, {(regions == name).sum()} units)")  # fmt: skip
    return (
        f"Bits per spike of {len(bps)} units, {np.mean(bps > 0):.0%} above zero. "
        + "; ".join(label(part, 120) for part in parts)
        + "."
    )


def _grid(units: list[Units]) -> Grid:
    rows = [
        (u.recording, str(u.channel_id[c]), str(u.region[c]), f"{u.rate_hz[c]:.2f}",
         number(u.bps[c]), number(u.d2[c]))
        for u in units
        for c in range(len(u.channel_id))
    ]  # fmt: skip
    header = ("recording", "channel", "region", "rate (1/s)", "bits per spike", "Poisson D²")
    return Grid(header, tuple(rows))
