"""The page of a run: one self-contained HTML file, drawn from the records in its folder alone."""

import base64
import hashlib
import struct
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from neurofm import files
from neurofm.errors import clean_lines
from neurofm.report import records as read
from neurofm.report import scores as arranged
from neurofm.report import tables
from neurofm.report.anatomy import anatomy_figure, anatomy_scores, asks_anatomy
from neurofm.report.curve import curve, speed
from neurofm.report.dots import score_dots
from neurofm.report.embedding import embedding_map
from neurofm.report.figures import Drawn, need
from neurofm.report.headline import facts, finding, findings
from neurofm.report.raster import window_raster
from neurofm.report.records import Manifest, Panel, Records
from neurofm.report.scores import MODEL, Scores
from neurofm.report.spread import unit_spread
from neurofm.report.tables import Grid
from neurofm.report.traces import choose, unit_traces
from neurofm.run import Run

N_RASTERS, N_ROWS, N_NAME = 6, 1000, 64
SEVERITIES = ("error", "warning", "repair", "info")


def page(run: Run) -> Path:
    """Write `report.html` into a run's folder and return its path.

    What the folder does not hold yet is named on the page, with the command that makes it.
    Raises StoreError that names a damaged file, InputError if the extra `report` is not installed.
    """
    need("jinja2")
    need("matplotlib")
    html = render(read.load(run), title=run.folder.resolve().name)
    files.write_text(run.page, html)
    return run.page


def render(records: Records, title: str) -> str:
    """The HTML of the page."""
    from markupsafe import Markup

    template = environment().from_string(_asset("page.html"))
    style = _asset("vendor/uPlot.min.css") + _asset("page.css")
    script = _asset("vendor/uPlot.iife.min.js") + "\n" + _asset("page.js")
    html: str = template.render(
        title=title,
        style=Markup(style),
        style_hash=hashed(style),
        script=Markup(script),
        script_hash=hashed(script),
        n_rows=N_ROWS,
        **_content(records),
    )
    return html


def environment() -> Any:
    """Where templates are rendered: everything is escaped, and an unknown name is an error."""
    import jinja2

    made = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_tidy,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"short": _short, "address": _address, "size": _size}
    return made


def _content(r: Records) -> dict[str, Any]:
    """Everything the template shows, in the order of the page."""
    results = [one for one in r.results if not asks_anatomy(one)]
    scores, regions = arranged.arrange(results), anatomy_scores(r.results)
    training = curve(r.log)
    shown = _rasters(r.windows, scores)
    choices = choose(r.windows)
    return {
        "facts": facts(r.manifest),
        "findings": findings(scores + regions[:1]),
        "missing": r.missing,
        "mixed": _mixed(r),
        "tasks": _tasks(scores),
        "gains": tables.gains(results),
        "rasters": [(panel.recording, window_raster(panel)) for panel in shown],
        "n_windows": len(r.windows),
        "traces": unit_traces(choices) if choices else None,
        "spread": unit_spread(r.units) if any(np.isfinite(u.bps).any() for u in r.units) else None,
        "embedding": embedding_map(r.embeddings, _numbers(r.manifest)) if r.embeddings else None,
        "anatomy": anatomy_figure(r.anatomy, regions) if r.anatomy and regions else None,
        "anatomy_finding": finding(regions[0]) if regions else None,
        "curve": training,
        "speed": speed(r.log),
        "sessions": _sessions(r.manifest),
        "flags": _flags(r.manifest),
        "provenance": _provenance(r.manifest),
        "manifest": r.manifest,
        "command": r.command,
        "config": r.config,
        "environment": _environment(r.environment),
    }


def _tasks(scores: list[Scores]) -> list[dict[str, Any]]:
    """One entry a task: the figure of its first metric, and the tables of all its metrics."""
    out = []
    for first in arranged.headline(scores):
        rest = [s for s in scores if s.task == first.task and s is not first]
        drawn = score_dots(first)
        others = [(tables.caption(s), s.split, tables.score_grid(s)) for s in rest]
        out.append({"scores": first, "figure": drawn, "caption": tables.caption(first),
                    "finding": finding(first), "others": others})  # fmt: skip
    return out


def _rasters(windows: list[Panel], scores: list[Scores]) -> list[Panel]:
    """Up to six windows; that of the recording with the median score comes first."""
    if not windows:
        return []
    found = scores[0].cells if scores else {}
    value = {p.recording: found[p.recording, MODEL].value for p in windows
             if (p.recording, MODEL) in found}  # fmt: skip
    by_score = sorted(windows, key=lambda p: (value.get(p.recording, 0.0), p.recording))
    middle = by_score[(len(by_score) - 1) // 2]
    return [middle, *(p for p in windows if p is not middle)][:N_RASTERS]


def _mixed(r: Records) -> list[str]:
    """Fingerprints, where the results speak of more than one set of data."""
    found = {result.fingerprint for result in r.results if result.fingerprint}
    return sorted(found) if len(found) > 1 else []


def _numbers(manifest: Manifest) -> dict[str, int]:
    return {s.id: i for i, s in enumerate(manifest.sessions, 1)}


def _sessions(manifest: Manifest) -> Grid:
    header = ("#", "session", "subject", "channels", "regions", "activity", "rate (1/s)", "hours",
              "trials", "signals", "flags")  # fmt: skip
    rows = [
        (
            str(i),
            s.id,
            s.subject or "-",
            f"{s.n_channels:,}",
            _counted(s.regions),
            f"{s.kind or 'kind not stated'}, "
            + (f"every {s.step_s} s" if s.step_s else "event times"),
            "-" if s.rate_hz is None else f"{s.rate_hz:.2f}",
            "-" if s.hours is None else f"{s.hours:.2f}",
            "-" if s.n_trials is None else f"{s.n_trials:,}",
            _counted(s.signals),
            str(len(s.flags)),
        )
        for i, s in enumerate(manifest.sessions, 1)
    ]
    return Grid(header, tuple(rows))


def _counted(counts: dict[str, Any]) -> str:
    """`name n, name n`; the rest as a number where there are many."""
    parts = [f"{_short(name or 'unknown', 20)} {n}" for name, n in list(counts.items())[:6]]
    more = [f"{len(counts) - 6} more"] if len(counts) > 6 else []
    return ", ".join(parts + more) or "-"


def _flags(manifest: Manifest) -> list[tuple[str, str, str, str, str]]:
    """(class, severity, session, field, message), the gravest first."""
    rows = []
    for s in manifest.sessions:
        for flag in s.flags:
            grade = flag.severity.lower()
            known = grade if grade in SEVERITIES else "info"
            rows.append((known, flag.severity or "info", s.id, flag.field, flag.message))
    return sorted(rows, key=lambda row: SEVERITIES.index(row[0]))


def _provenance(manifest: Manifest) -> Grid:
    header = ("#", "session", "licence", "species", "lab", "consent", "source",
              "SHA-256 of the source")  # fmt: skip
    unknown = "not stated"
    rows = [
        (str(i), s.id, *(v or unknown for v in (s.licence, s.species, s.lab, s.consent,
                                                s.source, s.source_sha256)))
        for i, s in enumerate(manifest.sessions, 1)
    ]  # fmt: skip
    return Grid(header, tuple(rows))


def _environment(environment: dict[str, Any]) -> Grid:
    packages = environment.get("packages")
    flat = {k: v for k, v in environment.items() if k != "packages"}
    flat |= packages if isinstance(packages, dict) else {}
    rows = [(str(k), "not installed" if v is None else str(v)) for k, v in flat.items()]
    return Grid(("name", "version"), tuple(rows))


def _asset(name: str) -> str:
    """A file beside this one, fit to stand inside a `script` or `style` element."""
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def hashed(text: str) -> str:
    """Source expression of a Content-Security-Policy for one inline element."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _address(drawn: Drawn) -> str:
    return "data:image/png;base64," + base64.b64encode(drawn.png).decode()


def _size(drawn: Drawn) -> Sequence[int]:
    """(width, height) in pixels, from the PNG's header."""
    width, height = struct.unpack(">II", drawn.png[16:24])
    return int(width), int(height)


def _short(text: object, n: int = N_NAME) -> str:
    return tables.shorten(text, n)


def _tidy(value: Any) -> Any:
    """Text without control characters other than new lines and tabs; markup is left alone."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return clean_lines(value)
