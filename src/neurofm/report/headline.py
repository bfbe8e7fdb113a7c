"""The first sentences of the page: what was trained on, and whether the model beats a baseline."""

from dataclasses import dataclass

from neurofm.report import scores
from neurofm.report.records import Manifest
from neurofm.report.scores import CEILING, MEAN, MODEL, Scores
from neurofm.report.tables import interval, number, percent, percent_interval


@dataclass(frozen=True)
class Finding:
    """The result of one task in a sentence, and in a line (`brief`).

    `standing` is a verdict of `scores.verdict`, or `unpaired-below`.
    """

    task: str
    standing: str
    text: str
    brief: str = ""

    @property
    def tone(self) -> str:
        """`good`, `warns` (the model is not shown to beat the baseline) or `plain` (unpaired)."""
        return {"above": "good", "unpaired": "plain"}.get(self.standing, "warns")


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """(number, noun) pairs: sessions, subjects, channels, hours, parameters."""
    sessions = manifest.sessions
    if not sessions:
        return []
    subjects = {s.subject for s in sessions if s.subject}
    hours = [s.hours for s in sessions if s.hours is not None]
    out = [_plural(len(sessions), "session")]
    if subjects:
        out.append(_plural(len(subjects), "subject"))
    out.append(_plural(sum(s.n_channels for s in sessions), "channel"))
    if hours:
        out.append((f"{sum(hours):.2f}".rstrip("0").rstrip("."), "hours"))
    if manifest.n_parameters is not None:
        out.append((f"{manifest.n_parameters:,}", "parameters"))
    return out


def findings(all_scores: list[Scores]) -> list[Finding]:
    """One sentence a task, about its first metric."""
    return [finding(s) for s in scores.headline(all_scores)]


def finding(s: Scores) -> Finding:
    """The model against the best baseline in one task."""
    standing = scores.verdict(s)
    if standing == "unpaired" and s.overall(MODEL) <= s.overall(s.best or ""):
        standing = "unpaired-below"
    if standing == "absent":
        return Finding(s.task, standing, f"The model has no score yet ({s.label}).")
    model = f"The model scores {_overall(s, MODEL)} {s.label}{_over(s)}"
    if s.best is None:
        return Finding(s.task, standing, f"{model}. No baseline was evaluated: run `neurofm "
                       "evaluate RUN --baselines all` before believing it.")  # fmt: skip
    above, both = s.n_above(s.best)
    text = {
        "above": f"{model}, above the best baseline, {s.best}, at {_overall(s, s.best)}",
        "below": f"The model does NOT beat the best baseline. {model}, below {s.best} at "
        f"{_overall(s, s.best)}",
        "unclear": f"The model does NOT beat the best baseline beyond doubt. {model}, {s.best} "
        f"{_overall(s, s.best)}",
        "unpaired-below": f"The model does NOT beat the best baseline. {model}, {s.best} "
        f"{_overall(s, s.best)}; no paired interval was computed",
        "unpaired": f"{model}, above the best baseline, {s.best}, at {_overall(s, s.best)}; no "
        "paired interval was computed",
    }[standing]
    sure = s.n_surely_above(s.best)
    doubt = "" if sure is None else f", on {sure} of them with the whole paired interval above zero"
    text += f"{_gain(s)}. The model is above on {above} of {both} recordings{doubt}.{_ceiling(s)}"
    return Finding(s.task, standing, text, _brief(s, standing))


def _brief(s: Scores, standing: str) -> str:
    """The finding in a line, for a list of tasks."""
    assert s.best is not None
    start = {"above": "", "unpaired": ""}.get(
        standing, "The model does NOT beat the best baseline: "
    )
    return (
        f"{start}model {number(s.overall(MODEL))}, {s.best} {number(s.overall(s.best))} {s.label}"
        f"{_gain(s) or '; no paired interval was computed'}."
    )


def _overall(s: Scores, predictor: str) -> str:
    if (MEAN, predictor) in s.cells:
        return interval(s.cells[MEAN, predictor])
    if len(s.recordings) == 1:
        return interval(s.cells.get((s.recordings[0], predictor)))
    return number(s.overall(predictor))


def _over(s: Scores) -> str:
    n = len(s.recordings)
    return f" on the {s.split} side" + (f" (mean over {n} recordings)" if n > 1 else "")


def _gain(s: Scores) -> str:
    assert s.best is not None
    gain, ratio = scores.gain_over(s, s.best), scores.ratio_over(s, s.best)
    if gain is None:
        return ""
    relative = f", that is {percent_interval(ratio)}" if ratio is not None else ""
    return f"; paired difference {interval(gain, '+')}{relative}"


def _ceiling(s: Scores) -> str:
    """What the planted truth scores, and how much of it the model reaches."""
    parts = [
        f"{p} {number(s.overall(p))} (the model reaches {percent(s.overall(MODEL) / s.overall(p))})"
        for p in s.predictors
        if p.startswith(CEILING) and s.overall(p) > 0
    ]
    return f" Ceilings of the simulation: {', '.join(parts)}." if parts else ""


def _plural(n: int, noun: str) -> tuple[str, str]:
    return f"{n:,}", noun if n == 1 else f"{noun}s"
