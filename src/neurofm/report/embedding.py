"""Unit and session embeddings in two dimensions, by region, subject or recording."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.report.figures import (
    CATEGORIES,
    MARKERS,
    OTHER,
    Drawn,
    finish,
    label,
    labels,
    ranked,
    sheet,
    styled,
)
from neurofm.report.records import Embeddings
from neurofm.report.tables import Grid

N_DOTS = 3000


@styled
def embedding_map(e: Embeddings, numbers: dict[str, int]) -> Drawn:
    """Units twice and sessions once; `numbers` gives each session's number in the tables."""
    figure = sheet(4.3)
    first, second, third = figure.subplots(1, 3)
    one_region = len(np.unique(e.unit_region)) < 2
    by, values = ("recording", e.unit_recording) if one_region else ("region", e.unit_region)
    _units(first, e.unit_xy, values, f"Units by {by}")
    _units(second, e.unit_xy, e.unit_subject, "Units by subject")
    _scatter(third, e.session_xy, e.session_subject.astype(str), size=42, alpha=1.0, shapes=MARKERS)
    third.set_title("Sessions by subject")
    for axes in (first, second, third):
        axes.set_xlabel("PC 1")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.margins(0.08)
    first.set_ylabel("PC 2")
    _number_sessions(third, e, numbers)
    return finish(figure, _alt(e, by, values), _grid(e))


def _units(axes: Any, xy: NDArray[Any], values: NDArray[Any], title: str) -> None:
    step = max(1, -(-len(xy) // N_DOTS))
    _scatter(axes, xy[::step], values[::step].astype(str), size=9, alpha=0.6, shapes="o")
    axes.set_title(title)


def _number_sessions(axes: Any, e: Embeddings, numbers: dict[str, int]) -> None:
    axes.figure.draw_without_rendering()  # pixel positions are final only after the layout
    texts = [str(numbers.get(str(s), "")) for s in e.session_id]
    pixels = axes.transData.transform(e.session_xy) if len(e.session_xy) else e.session_xy
    at = pixels * 72 / axes.figure.dpi
    for text, point, place in zip(texts, e.session_xy, label_places(at, texts), strict=True):
        if place is not None:
            axes.annotate(text, point, xytext=place, textcoords="offset points", fontsize=8,
                          ha="center", va="center")  # fmt: skip


def label_places(
    points: NDArray[np.float64], texts: list[str], far: float = 9.0
) -> list[tuple[float, float] | None]:
    """Offsets in points at which labels meet neither points nor each other; None if none fits."""
    ring = [(0, 1), (1, 0), (0, -1), (-1, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, -0.8), (-0.8, 0.8)]
    taken: list[NDArray[np.float64]] = []
    out: list[tuple[float, float] | None] = []
    for i, (point, text) in enumerate(zip(points, texts, strict=True)):
        others = np.delete(points, i, axis=0)
        size = np.array([2.7 * len(text) + 2, 5.0])
        place = None
        for x, y in ring:
            offset = np.array([x, y]) * (far + np.array([2.0 * len(text), 0]))
            centre = point + offset
            apart = (np.abs(others - centre) > size + 3).any(axis=1).all()
            if apart and all((np.abs(t - centre) > 2 * size).any() for t in taken):
                place = (float(offset[0]), float(offset[1]))
                taken.append(centre)
                break
        out.append(place)
    return out


def _scatter(
    axes: Any, xy: NDArray[Any], values: NDArray[Any], size: float, alpha: float, shapes: str
) -> None:
    """Points by name: the eight commonest names in colour, the others grey."""
    if not len(xy):
        return
    names = ranked(values)
    rest = ~np.isin(values, names)
    if rest.any():
        n_rest = len(np.unique(values[rest]))
        axes.scatter(*xy[rest].T, s=size, color=OTHER, alpha=alpha, lw=0, label=f"{n_rest} more")
    texts = labels(names, 22)
    for i, (name, text) in enumerate(zip(names, texts, strict=True)):
        at = values == name
        axes.scatter(*xy[at].T, s=size, color=CATEGORIES[i], marker=shapes[i % len(shapes)],
                     alpha=alpha, lw=0, label=text or "not stated")  # fmt: skip
    legend = axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.055), fontsize=7.5,
                         ncols=2 if max(map(len, texts), default=0) <= 11 else 1,
                         columnspacing=0.8, handletextpad=0.1)  # fmt: skip
    for handle in legend.legend_handles:
        handle.set_sizes([26])
        handle.set_alpha(1.0)


def _alt(e: Embeddings, by: str, values: NDArray[Any]) -> str:
    share = separation(e.unit_xy, values.astype(str))
    parts = ", ".join(label(name) or "not stated" for name in ranked(values))
    return (
        f"Principal components of {len(e.unit_xy)} unit embeddings and {len(e.session_xy)} session "
        f"embeddings. Units by {by} ({parts}): {share:.0%} of the variance in the plane lies "
        f"between groups; by subject {separation(e.unit_xy, e.unit_subject.astype(str)):.0%}."
    )


def separation(xy: NDArray[np.float64], names: NDArray[Any]) -> float:
    """Share of the variance that lies between groups, from 0 to 1 (eta squared over both axes)."""
    ok = np.isfinite(xy).all(axis=1)
    xy, names = xy[ok], names[ok]
    total = float(((xy - xy.mean(axis=0)) ** 2).sum()) if len(xy) else 0.0
    if total == 0:
        return 0.0
    centre = xy.mean(axis=0)
    between = sum(
        (names == n).sum() * float(((xy[names == n].mean(axis=0) - centre) ** 2).sum())
        for n in np.unique(names)
    )
    return float(between / total)


def _grid(e: Embeddings) -> Grid:
    def rows(kind: str, xy: NDArray[Any], *columns: NDArray[Any]) -> list[tuple[str, ...]]:
        return [
            (kind, *(str(c[i]) for c in columns), f"{xy[i, 0]:.3f}", f"{xy[i, 1]:.3f}")
            for i in range(len(xy))
        ]

    none = np.full(len(e.session_xy), "")
    sessions = rows("session", e.session_xy, e.session_id, e.session_subject, none)
    units = rows("unit", e.unit_xy, e.unit_recording, e.unit_subject, e.unit_region)
    header = ("kind", "recording", "subject", "region", "PC 1", "PC 2")
    return Grid(header, tuple(sessions + units))
