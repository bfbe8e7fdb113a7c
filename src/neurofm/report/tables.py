"""Results as text: for a terminal, for a README, and as rows for the page."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from neurofm.errors import clean
from neurofm.report import scores
from neurofm.report.scores import MODEL, Scores
from neurofm.results import Result

VERDICTS = {
    "above": "above",
    "below": "BELOW",
    "unclear": "no difference shown",
    "unpaired": "no paired interval",
}


@dataclass(frozen=True)
class Grid:
    """A table of text: a header and rows of the same length."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def shorten(text: object, n: int = 28) -> str:
    """At most `n` characters; the middle goes, since names differ at their ends."""
    whole = clean(text)
    if len(whole) <= n:
        return whole
    tail = (n - 1) // 2
    return f"{whole[: n - 1 - tail]}…{whole[len(whole) - tail :]}"


def distinct(names: Sequence[str], n: int = 28) -> list[str]:
    """Shortened names that stay different.

    The middle is cut, or the end, or the start, whichever leaves all different; else the names are
    numbered where two would read the same.
    """
    whole = [clean(name) for name in names]
    ends = [name if len(name) <= n else f"{name[: n - 1]}…" for name in whole]
    starts = [name if len(name) <= n else f"…{name[1 - n :]}" for name in whole]
    middles = [shorten(name, n) for name in whole]
    for cut in (middles, ends, starts):
        if len(set(cut)) == len(set(names)):
            return cut
    out: list[str] = []
    for name in middles:
        candidate, k = name, 1
        while candidate in out:
            k += 1
            candidate = f"{shorten(name, n - 5)} ({k})"
        out.append(candidate)
    return out


def number(value: float | None, sign: str = "") -> str:
    """Three decimals, `undefined` for NaN; `sign="+"` writes the plus."""
    if value is None or not math.isfinite(value):
        return "undefined"
    return f"{value:{sign}.3f}"


def percent(value: float, sign: str = "") -> str:
    """A fraction as a whole percentage."""
    return f"{value:{sign}.0%}" if math.isfinite(value) else "undefined"


def interval(r: Result | None, sign: str = "") -> str:
    """`value [low, high]`, or a dash where nothing was measured."""
    if r is None:
        return "-"
    if not (math.isfinite(r.low) and math.isfinite(r.high)):
        return number(r.value, sign)
    return f"{number(r.value, sign)} [{number(r.low, sign)}, {number(r.high, sign)}]"


def score_grid(s: Scores) -> Grid:
    """Recordings by predictors, best baseline starred, its paired difference, and n."""
    names = [f"{p} *" if p == s.best else p for p in s.predictors]
    rows = []
    for r in s.rows:
        found = [s.cells.get((r, p)) for p in s.predictors]
        n = sorted({c.n for c in found if c is not None})
        paired = [interval(s.gains.get((r, s.best)), "+")] if s.best and s.gains else []
        rows.append((r, *map(interval, found), *paired, " or ".join(map(str, n))))
    difference = [f"model - {s.best}"] if s.best and s.gains else []
    return Grid(("recording", *names, *difference, "n"), tuple(rows))


def caption(s: Scores) -> str:
    """What a table of scores shows: metric, null, chance, interval and what n counts."""
    some = list(s.cells.values())
    units = sorted({r.unit_of_n for r in some})
    chances = sorted({r.chance for r in some if r.chance is not None})
    seeds = sorted({r.seed for r in some})
    parts = [f"{s.label[:1].upper()}{s.label[1:]} (null: {s.null or 'not stated'})"]
    if chances:
        ends = dict.fromkeys(number(c) for c in (chances[0], chances[-1]))
        parts.append(f"chance {' to '.join(ends)}")
    parts.append(f"95% interval in brackets, n counts {' or '.join(units)}")
    parts.append(f"seed {', '.join(map(str, seeds))}")
    if s.best is not None:
        parts.append("* best baseline overall")
    return "; ".join(parts) + "."


def table(results: Iterable[Result], *, width: int = 120) -> str:
    """Plain-text tables of results, one for each (task, split, metric): recordings by predictors.

    Columns that do not fit in `width` characters go on below, so nothing is left out.
    """
    blocks = []
    for s in scores.arrange(results):
        title = clean(f"{s.task} · {s.split}")
        blocks.append("\n".join([title, clean(caption(s)), *_wrapped(score_grid(s), width)]))
    return "\n\n".join(blocks)


def markdown_table(results: Iterable[Result]) -> str:
    """The tables of `table`, in Markdown."""
    blocks = []
    for s in scores.arrange(results):
        title = f"**{md(s.task)}**, {md(s.split)}: {md(caption(s))}"
        blocks.append(f"{title}\n\n{_pipes(score_grid(s))}")
    return "\n\n".join(blocks)


def gains(results: Iterable[Result]) -> Grid:
    """The model against every baseline, one row a (task, baseline), on the mean over recordings."""
    rows = []
    for s in scores.headline(scores.arrange(results)):
        for baseline in s.baselines if MODEL in s.predictors else ():
            gain, ratio = scores.gain_over(s, baseline), scores.ratio_over(s, baseline)
            above, both = s.n_above(baseline)
            rows.append((
                s.task,
                f"{baseline} *" if baseline == s.best else baseline,
                interval(gain, "+"),
                "-" if ratio is None else percent_interval(ratio),
                f"{above} of {both}",
                VERDICTS[scores.standing(gain)],
            ))  # fmt: skip
    return Grid(("task", "baseline", "paired gain", "relative", "recordings above", "model is"),
                tuple(rows))  # fmt: skip


def plain(grid: Grid, *, width: int = 120) -> str:
    """A grid as plain text."""
    return "\n".join(_wrapped(grid, width))


def gain_table(results: Iterable[Result], *, width: int = 120) -> str:
    """The model's paired gain over every baseline, as plain text."""
    return "\n".join(_wrapped(gains(results), width))


def markdown_gain_table(results: Iterable[Result]) -> str:
    """The model's paired gain over every baseline, in Markdown."""
    return _pipes(gains(results))


def percent_interval(r: Result) -> str:
    """A fraction and its interval as percentages."""
    if not (math.isfinite(r.low) and math.isfinite(r.high)):
        return percent(r.value, "+")
    return f"{percent(r.value, '+')} [{percent(r.low, '+')}, {percent(r.high, '+')}]"


def _wrapped(grid: Grid, width: int) -> list[str]:
    """Lines of a table; columns over the width follow below, each time with the first column."""
    cells = [[shorten(cell, 40) for cell in row] for row in (grid.header, *grid.rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    groups: list[list[int]] = [[]]
    for at in range(1, len(widths)):
        used = widths[0] + sum(2 + widths[i] for i in groups[-1])
        if groups[-1] and used + 2 + widths[at] > width:
            groups.append([])
        groups[-1].append(at)
    lines: list[str] = []
    for group in groups:
        columns = [0, *group]
        lines += [""] if lines else []
        lines += ["  ".join(row[i].ljust(widths[i]) for i in columns).rstrip() for row in cells]
    return lines


def _pipes(grid: Grid) -> str:
    rule = "|" + "---|" * len(grid.header)
    lines = ["| " + " | ".join(map(md, row)) + " |" for row in (grid.header, *grid.rows)]
    return "\n".join([lines[0], rule, *lines[1:]])


def md(text: str, n: int = 200) -> str:
    """Text that Markdown shows as it is: markup, links and bare addresses become entities."""
    flat = "".join(f"&#{ord(c)};" if c in "\\`|<>&~$*" else c for c in shorten(text, n))
    for sign, safe in (
        ("](", "]&#40;"),
        ("][", "]&#91;"),
        ("://", "&#58;//"),
        ("www.", "www&#46;"),
    ):
        flat = flat.replace(sign, safe)
    return flat
