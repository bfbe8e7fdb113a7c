"""A held-out window: what was recorded, what the model expected, and the behaviour."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.report.figures import (
    CATEGORIES,
    FAINT,
    INK,
    OTHER,
    Drawn,
    finish,
    label,
    ranked,
    sheet,
    styled,
)
from neurofm.report.figures import smooth as smoothed
from neurofm.report.records import Panel
from neurofm.report.tables import Grid, number

N_SIGNALS, N_DIMS = 3, 3
SPREAD = 1.5  # colours reach from a fall to 1/e^1.5 of a channel's mean to a rise by e^1.5


def peak_order(panel: Panel) -> NDArray[np.int64]:
    """Rows by region (the largest first), then by the time of the model's peak rate."""
    regions = panel.region.astype(str)
    rank = {name: i for i, name in enumerate(ranked(regions, len(regions)))}
    peak = smoothed(np.nan_to_num(panel.rates), 2.0).argmax(axis=0)
    return np.lexsort((peak, [rank[name] for name in regions]))


@styled
def window_raster(panel: Panel) -> Drawn:
    """Raster, rates and signals of a window, aligned in time."""
    order = peak_order(panel)
    signals = list(panel.signals.items())[:N_SIGNALS]
    heights = [2.5, 2.5, *[0.62] * len(signals)]
    figure = sheet(sum(heights) + 0.9)
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights, width_ratios=[1, 0.014])
    first = figure.add_subplot(grid[0, 0])
    second = figure.add_subplot(grid[1, 0], sharex=first)
    _counts(figure, first, figure.add_subplot(grid[0, 1]), panel, order)
    _rates(figure, second, figure.add_subplot(grid[1, 1]), panel, order)
    axes = [first, second]
    for image in axes:
        _strip(image.inset_axes([-0.02, 0, 0.01, 1]), panel.region.astype(str)[order])
    for row, (name, values) in enumerate(signals, 2):
        axes.append(figure.add_subplot(grid[row, 0], sharex=first))
        _signal(axes[-1], panel.time_s, name, values)
    for above in axes[:-1]:
        above.tick_params(labelbottom=False)
    axes[-1].set_xlabel("time from the recording's start (s)")
    return finish(figure, _alt(panel, [name for name, _ in signals]), _grid(panel, order))


def _extent(panel: Panel) -> tuple[float, float, float, float]:
    n_bins, n = panel.counts.shape
    return panel.start_s, panel.start_s + n_bins * panel.bin_s, n - 0.5, -0.5


def _counts(figure: Any, axes: Any, bar: Any, panel: Panel, order: NDArray[np.int64]) -> None:
    counts = panel.counts[:, order].T.astype(np.float64)
    top = max(1.0, float(np.percentile(counts[counts > 0], 95)) if (counts > 0).any() else 1.0)
    image = axes.imshow(counts, aspect="auto", cmap="gray_r", vmin=0, vmax=top,
                        extent=_extent(panel))  # fmt: skip
    axes.set_title("Recorded counts")
    axes.set_yticks([])
    ticks = np.unique(np.linspace(0, top, 4).round())
    figure.colorbar(image, cax=bar, ticks=ticks).set_label("count / bin")


def _rates(figure: Any, axes: Any, bar: Any, panel: Panel, order: NDArray[np.int64]) -> None:
    rates = np.maximum(panel.rates[:, order].T, 1e-9)
    means = np.nan_to_num(rates).mean(axis=1, keepdims=True)
    relative = np.log(rates / np.maximum(means, 1e-9))
    image = axes.imshow(relative, aspect="auto", cmap="PuOr_r", vmin=-SPREAD, vmax=SPREAD,
                        extent=_extent(panel))  # fmt: skip
    axes.set_title("Rates that the model expects, each channel hidden from it")
    axes.set_yticks([])
    ticks = [0.25, 0.5, 1, 2, 4]
    colours = figure.colorbar(image, cax=bar, ticks=np.log(ticks), extend="both")
    colours.ax.set_yticklabels(["¼", "½", "1", "2", "4"])
    colours.set_label("rate / its mean")


def _strip(axes: Any, regions: NDArray[Any]) -> None:
    """A bar and the name of each region beside its rows; names that would overlap are left out."""
    n = len(regions)
    axes.set_xlim(0, 1)
    axes.set_ylim(n, 0)
    axes.set_xticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    edges = [0, *(np.flatnonzero(regions[1:] != regions[:-1]) + 1).tolist(), n]
    ticks = []
    for block, (start, stop) in enumerate(itertools.pairwise(edges)):
        axes.axhspan(start, stop, color=(OTHER, FAINT)[block % 2], lw=0)
        if stop - start >= 0.07 * n:
            name = label(regions[start], 10) or "unknown"
            ticks.append(((start + stop) / 2, f"{name}\n{stop - start}"))
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.tick_params(axis="y", length=0, labelsize=8)


def _signal(axes: Any, time_s: NDArray[Any], name: str, values: NDArray[Any]) -> None:
    for k in range(min(values.shape[1], N_DIMS)):
        axes.plot(time_s, values[:, k], color=(INK, *CATEGORIES)[k], lw=1)
    axes.set_ylabel(label(name, 16), rotation=0, ha="right", va="center")
    axes.locator_params(axis="y", nbins=3)
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(x=0)


def _alt(panel: Panel, signals: list[str]) -> str:
    n_bins, n = panel.counts.shape
    total, expected = int(panel.counts.sum()), float(np.nansum(panel.rates))
    drawn = f" Below: {', '.join(signals)}." if signals else ""
    return (
        f"Raster of {n} channels of {panel.recording} over {n_bins * panel.bin_s:.2f} s from "
        f"{panel.start_s:.2f} s on, bins of {panel.bin_s * 1000:g} ms: {total} counts recorded, "
        f"{expected:.0f} expected by the model; median correlation of the smoothed count with the "
        f"rate {number(_median_correlation(panel))}.{drawn}"
    )


def _median_correlation(panel: Panel) -> float:
    """Median over channels of the correlation in time of smoothed counts and rates."""
    a, b = smoothed(panel.counts, 3.0), np.nan_to_num(panel.rates)
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    ok = scale > 0
    return float(np.median((a * b).sum(axis=0)[ok] / scale[ok])) if ok.any() else float("nan")


def _grid(panel: Panel, order: NDArray[np.int64]) -> Grid:
    """One row a channel, in the order drawn."""
    peak = panel.time_s[np.nan_to_num(panel.rates).argmax(axis=0)] if len(panel.counts) else []
    rows = [
        (
            str(panel.channel_id[c]),
            str(panel.region[c]),
            str(int(panel.counts[:, c].sum())),
            f"{panel.rates[:, c].sum():.1f}",
            f"{peak[c]:.2f}",
            number(float(panel.unit_bps[c])),
        )
        for c in order.tolist()
    ]
    header = ("channel", "region", "counted", "expected", "peak of rate (s)", "bits per spike")
    return Grid(header, tuple(rows))
