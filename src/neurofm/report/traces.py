"""Predicted against recorded rates of single units: good, median and bad ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.report.figures import (
    INK,
    OTHER,
    VERMILLION,
    Drawn,
    finish,
    label,
    sheet,
    smooth,
    styled,
)
from neurofm.report.records import Panel
from neurofm.report.tables import Grid, number

CLASSES = (("good", 0.9), ("median", 0.5), ("bad", 0.1))
N_EACH, LEAST_COUNTS = 2, 5
SD_S = 0.05  # of the Gaussian over recorded counts, or two bins where that is more


@dataclass(frozen=True)
class Choice:
    """A unit to draw: its class, its window and its column there."""

    name: str
    panel: Panel
    column: int

    @property
    def bps(self) -> float:
        """Bits per spike of the unit."""
        return float(self.panel.unit_bps[self.column])


def choose(panels: list[Panel]) -> list[Choice]:
    """Two units at each of the 90th, 50th and 10th percentile of bits per spike.

    Taken from units with at least five counts in their window, else there is nothing to see; the
    second of a class comes from another recording where there is one.
    """
    pool = [
        (float(panel.unit_bps[c]), w, int(c))
        for w, panel in enumerate(panels)
        for c in np.flatnonzero(
            np.isfinite(panel.unit_bps) & (panel.counts.sum(axis=0) >= LEAST_COUNTS)
        )
    ]
    out: list[Choice] = []
    values = np.asarray([bps for bps, _, _ in pool])
    for name, q in CLASSES if pool else ():
        target = float(np.quantile(values, q))
        taken: list[tuple[float, int, int]] = []
        while pool and len(taken) < N_EACH:
            seen = {w for _, w, _ in taken}
            nearest = min(pool, key=lambda u: (u[1] in seen, abs(u[0] - target), u))
            taken.append(nearest)
            pool.remove(nearest)
        out += [Choice(name, panels[w], c) for _, w, c in taken]
    return out


@styled
def unit_traces(choices: list[Choice]) -> Drawn:
    """Smoothed counts and model rates, spikes as ticks under them; one panel a unit."""
    n_rows = -(-len(choices) // N_EACH)
    figure = sheet(0.5 + 1.65 * n_rows)
    grid = figure.subplots(n_rows, N_EACH, squeeze=False)
    for axes, choice in zip(grid.flat, choices, strict=False):
        _trace(axes, choice)
    for axes in grid.flat[len(choices) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("rate (1/s)")
    for axes in grid[-1]:
        axes.set_xlabel("time (s)")
    handles, names = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3)
    return finish(figure, _alt(choices), _grid(choices))


def recorded_hz(choice: Choice) -> NDArray[np.float64]:
    """(T,) recorded rate: counts smoothed with a Gaussian."""
    panel = choice.panel
    sd_bins = max(SD_S / panel.bin_s, 2.0)
    return smooth(panel.counts[:, choice.column], sd_bins) / panel.bin_s


def expected_hz(choice: Choice) -> NDArray[np.float64]:
    """(T,) rate that the model expects, as it is."""
    return choice.panel.rates[:, choice.column] / choice.panel.bin_s


def _trace(axes: Any, choice: Choice) -> None:
    panel = choice.panel
    true, model = recorded_hz(choice), expected_hz(choice)
    top = max(float(true.max()), float(np.nan_to_num(model).max()), 1e-6)
    axes.fill_between(panel.time_s, true, color="#e4e4e4", lw=0)
    axes.plot(panel.time_s, true, color=INK, lw=1.1, label="recorded, smoothed")
    axes.plot(panel.time_s, model, color=VERMILLION, lw=1.6, label="model, unit hidden")
    spikes = panel.time_s[panel.counts[:, choice.column] > 0]
    axes.plot(spikes, np.full(len(spikes), -0.09 * top), "|", color=OTHER, ms=5,
              label="bins with a spike")  # fmt: skip
    axes.set_ylim(-0.17 * top, 1.08 * top)
    axes.margins(x=0)
    axes.locator_params(axis="y", nbins=4)
    axes.set_title(f"{choice.name}: {number(choice.bps)} bits/spike")
    axes.set_title(_name(choice), loc="right", fontsize=7.5, color="#555555")


def _name(choice: Choice) -> str:
    """Channel and recording, or the channel alone where its id names the recording."""
    channel, recording = str(choice.panel.channel_id[choice.column]), choice.panel.recording
    if recording in channel:
        return label(channel, 32)
    return f"{label(channel, 14)} of {label(recording, 18)}"


def _alt(choices: list[Choice]) -> str:
    parts = [
        f"{c.name} unit {c.panel.channel_id[c.column]} of {c.panel.recording}: "
        f"{number(c.bps)} bits per spike, mean rate recorded {recorded_hz(c).mean():.1f}/s, "
        f"expected {np.nan_to_num(expected_hz(c)).mean():.1f}/s"
        for c in choices
    ]
    return "Recorded and expected rates over a held-out window. " + "; ".join(parts) + "."


def _grid(choices: list[Choice]) -> Grid:
    """One row a bin of a unit."""
    rows = []
    for c in choices:
        name = f"{c.panel.channel_id[c.column]} of {c.panel.recording}"
        counts = c.panel.counts[:, c.column]
        for t, k, true, model in zip(
            c.panel.time_s, counts, recorded_hz(c), expected_hz(c), strict=True
        ):
            rows.append((name, f"{t:.3f}", str(int(k)), f"{true:.2f}", f"{model:.2f}"))
    return Grid(
        ("unit", "time (s)", "count", "recorded, smoothed (1/s)", "model (1/s)"), tuple(rows)
    )
