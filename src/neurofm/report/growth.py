"""The figure and the page of a scaling study, drawn from its record alone."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from neurofm import files
from neurofm.errors import clean_lines
from neurofm.report.figures import (
    FAINT,
    GREEN,
    INK,
    MODEL_BLUE,
    OTHER,
    VERMILLION,
    Drawn,
    finish,
    label,
    need,
    sheet,
    styled,
)
from neurofm.report.page import environment, hashed
from neurofm.report.tables import Grid, number, plain

PAGE = "scaling.html"
FORM_LOOKS = {"power law": "-", "log-linear": "--"}
JITTER = 0.012  # of the axis: runs of one size stand side by side


def write_growth(record: dict[str, Any], folder: Path) -> Path:
    """Write a PNG for each task and one self-contained page; returns the page.

    Raises InputError if the extra `report` is not installed.
    """
    need("jinja2")
    need("matplotlib")
    drawn = []
    for study in record["studies"]:
        figure = growth_figure(study)
        name = f"scaling-{study['task']}.png"
        with files.replacing(folder / name) as path:
            files.put(path, figure.png)
        drawn.append((study, figure))
    files.write_text(folder / PAGE, _html(record, drawn, folder.resolve().name))
    return folder / PAGE


@styled
def growth_figure(study: dict[str, Any]) -> Drawn:
    """Runs with intervals over size, held-out ones marked, the chosen law, its band, forecasts."""
    figure = sheet(4.6)
    axes = figure.subplots()
    axis = study["axes"][0]
    axes.set_xscale("log")
    _runs(axes, study["points"], study["axes"])
    if "curve" in study:
        _laws(axes, study)
    sizes = sorted({row["x"][0] for row in study["points"]})
    sizes += [row["size"] for row in study.get("forecasts", ())]
    axes.set_xticks(sizes, [f"{size:,g}" for size in sizes])
    axes.xaxis.set_minor_locator(_no_ticks())
    axes.grid(axis="y", color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{axis} (logarithmic scale)")
    axes.set_ylabel(f"{study['metric']}, mean over the anchors")
    axes.set_title(label(f"{study['task']}: more {axis}", 80))
    figure.legend(loc="outside lower center", ncols=3, handletextpad=0.5, columnspacing=1.6)
    return finish(figure, _alt(study), growth_grid(study))


def _no_ticks() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _runs(axes: Any, points: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """A dot a run; runs smaller on another axis are drawn open and pale."""
    largest = np.array([row["x"] for row in points]).max(axis=0)
    looks = {
        (True, False): ("o", MODEL_BLUE, "runs"),
        (True, True): ("D", VERMILLION, "runs held out to judge the laws"),
        (False, False): (".", OTHER, f"runs of fewer {' or '.join(names[1:])}"),
        (False, True): (".", OTHER, None),
    }
    span = np.log(largest[0]) - np.log(min(row["x"][0] for row in points)) or 1.0
    seen: dict[float, int] = {}
    for row in points:
        key = (bool((np.array(row["x"][1:]) == largest[1:]).all()), row["held_out"])
        marker, colour, name = looks[key]
        looks[key] = (marker, colour, None)
        order = seen[row["x"][0]] = seen.get(row["x"][0], -1) + 1
        x = row["x"][0] * np.exp(JITTER * span * ((order + 1) // 2) * (-1) ** order)
        if row["low"] is not None and row["high"] is not None:
            axes.plot([x, x], [row["low"], row["high"]], color=colour, lw=1, alpha=0.55, zorder=2)
        axes.plot(x, row["value"], marker, color=colour, ms=5.5, ls="", label=name, zorder=4)


def _laws(axes: Any, study: dict[str, Any]) -> None:
    """The chosen law with its band, and the forecasts."""
    curve = {name: np.array(values) for name, values in study["curve"].items()}
    top = max(row["x"][0] for row in study["points"])
    axes.fill_between(curve["x"], curve["low"], curve["high"], color=MODEL_BLUE, alpha=0.14, lw=0,
                      label="95% interval of the law", zorder=0)  # fmt: skip
    axes.plot(curve["x"], curve["value"], color=INK, lw=1.6, ls=FORM_LOOKS[study["chosen"]],
              label=f"{study['chosen']} (chosen)", zorder=3)  # fmt: skip
    if curve["x"][-1] > top * 1.001:
        axes.axvline(top, color="#555555", lw=0.9, ls=":", label="largest size that was run")
    for at, row in enumerate(study.get("forecasts", ())):
        bars = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        axes.errorbar(row["size"], row["value"], bars, fmt="s", color=GREEN, ms=6, capsize=4, lw=1.4,
                      label=None if at else "forecast, 95% interval", zorder=5)  # fmt: skip
    target = study.get("target")
    if target is not None:
        axes.axhline(target["score"], color=GREEN, lw=0.9, ls="--", label="target", zorder=1)


def growth_grid(study: dict[str, Any]) -> Grid:
    """One row a run, then the forecasts."""
    header = (*study["axes"], study["metric"], "95% interval", "held out")
    rows = [
        (*(f"{x:,g}" for x in row["x"]), number(row["value"]), _span(row),
         "yes" if row["held_out"] else "")
        for row in study["points"]
    ]  # fmt: skip
    rest = ("",) * (len(study["axes"]) - 1)
    rows += [
        (f"{row['size']:,g}", *rest, number(row["value"]), _span(row), "forecast")
        for row in study.get("forecasts", ())
    ]
    return Grid(header, tuple(rows))


def fit_grid(study: dict[str, Any]) -> Grid:
    """One row a form: the law, its value at the largest size, and its held-out error."""
    rows = []
    for form, fit in study.get("fits", {}).items():
        error = fit["held_out_error"]
        at = fit["at_largest"]
        rows.append((
            f"{form} *" if form == study["chosen"] else form,
            *(_parameters(fit, n) for n in ("limit", "slope")),
            f"{number(at['value'])} {_span(at)}",
            "too few sizes" if error is None else number(error),
        ))  # fmt: skip
    header = ("form", "floor, ceiling or intercept", "exponents or slopes", "at the largest size",
              "held-out error")  # fmt: skip
    return Grid(header, tuple(rows))


def _parameters(fit: dict[str, Any], which: str) -> str:
    names = {"limit": ("floor", "intercept"), "slope": ("exponents", "slopes")}[which]
    [name] = [n for n in names if n in fit["parameters"]]
    values, (lows, highs) = fit["parameters"][name], fit["interval"][name]
    rows = zip(*(v if isinstance(v, list | tuple) else [v] for v in (values, lows, highs)),
               strict=True)  # fmt: skip
    return ", ".join(f"{v:.3g} [{low:.3g}, {high:.3g}]" for v, low, high in rows)


def words(study: dict[str, Any]) -> str:
    """The sentence of a study: its target's, its refusal, or its first forecast."""
    if "target" in study:
        return str(study["target"]["sentence"])
    if study["refusal"]:
        return str(study["refusal"])
    first = study["forecasts"][0]
    return (
        f"At {first['size']:g} {study['axes'][0]}, {number(first['value'])} {study['metric']} are "
        f"expected (95% interval {number(first['low'])} to {number(first['high'])}), by the "
        f"{study['chosen']}."
    )


def value_grid(record: dict[str, Any]) -> Grid:
    """One row a session: what it adds, by which runs."""
    rows = [
        (row["session"], f"{row['value']:+.4f}", _span(row, 4), row["how"], str(row["n_runs"]))
        for row in record.get("values", ())
    ]
    return Grid(("session", "adds", "95% interval", "by", "runs"), tuple(rows))


def chosen_words(record: dict[str, Any]) -> list[str]:
    """A sentence for every choice of sessions that was run."""
    out = []
    for row in record.get("chosen", ()):
        same = "not run" if row["random"] is None else number(row["random"])
        out.append(
            f"{len(row['sessions'])} chosen sessions: {number(row['score'])} over {row['n_runs']} "
            f"runs; as many at random: {same}; all {row['n_all']}: {number(row['all'])}. The choice "
            "was made by scores of the same anchors, so that it favours itself."
        )
    return out


def as_text(record: dict[str, Any]) -> str:
    """Everything of a record for a terminal: points, laws, sentences, values of sessions."""
    blocks = []
    for study in record["studies"]:
        head = f"{study['task']}, {study['metric']}"
        tables = [plain(grid) for grid in (growth_grid(study), fit_grid(study)) if grid.rows]
        about = "* the form with the least held-out error" if "fits" in study else ""
        blocks.append("\n\n".join(x for x in (head, *tables, about, words(study)) if x))
    if record.get("values"):
        blocks.append("value of each session\n\n" + plain(value_grid(record)))
    rest = [record["no_values"]] if record.get("no_values") else []
    return clean_lines("\n\n\n".join([*blocks, *rest, *chosen_words(record)]))


def _span(row: dict[str, Any], digits: int = 3) -> str:
    if row.get("low") is None or row.get("high") is None:
        return "-"
    return f"[{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def _alt(study: dict[str, Any]) -> str:
    rows = [f"{row['x'][0]:g}: {number(row['value'])}" for row in study["points"]]
    return (
        f"{study['metric']} of {study['task']} against {study['axes'][0]}. {'; '.join(rows)}. "
        f"{words(study)}"
    )


def _html(record: dict[str, Any], drawn: Sequence[tuple[Any, Drawn]], title: str) -> str:
    from markupsafe import Markup

    style = (resources.files(__package__) / "page.css").read_text(encoding="utf-8")
    text = (resources.files(__package__) / "page.scaling.html").read_text(encoding="utf-8")
    html: str = (
        environment()
        .from_string(text)
        .render(
            title=title,
            style=Markup(style),
            style_hash=hashed(style),
            record=record,
            tasks=[(s, figure, fit_grid(s), words(s)) for s, figure in drawn],
            values=value_grid(record),
            chosen=chosen_words(record),
        )
    )
    return html
