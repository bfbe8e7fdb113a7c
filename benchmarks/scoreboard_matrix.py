"""Every data set by every question in one small table, from the lines of the scoreboard."""

from collections.abc import Sequence
from typing import Protocol

COLUMNS = ("within", "encode", "decode", "behaviour")
VERDICTS = ("above", "level", "below", "not paired")
SAID = """`within`: activity from other activity, beside it or before; `encode`: activity from stimulus and behaviour; `decode`: those
from activity; `behaviour`: its future from its past. A cell counts the rows below by their verdict; `not measured` is what could be
asked and was not, a reason is given where nothing can be."""

ALONE = "no behaviour beside the activity"
WHY = {
    ("v1-steinmetz", "behaviour"): "none recorded but choice",
    ("emg-myo-gestures", "behaviour"): ALONE,
    ("eeg-eegmat", "behaviour"): ALONE,
    ("eeg-feis", "encode"): "a null: fixation before the sound",
    ("eeg-feis", "behaviour"): ALONE,
    ("speech simulated", "behaviour"): ALONE,
    ("fmri-digits69", "within"): "100 single trials, no time",
    ("fmri-digits69", "encode"): "correlations in README.md, no rival of another kind",
    ("fmri-digits69", "behaviour"): ALONE,
    ("v1-macaque-patterns", "within"): "cells recorded apart",
    ("v1-macaque-patterns", "decode"): "cells recorded apart",
    ("v1-macaque-patterns", "behaviour"): ALONE,
    ("pose-openfield", "within"): "no activity",
    ("pose-openfield", "encode"): "no activity",
    ("pose-openfield", "decode"): "no activity",
}
"""Of cells without a row in which nothing can be asked; all others were not measured."""


class Rated(Protocol):
    """A line of the scoreboard: its data set and question, and how it ended."""

    @property
    def data(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def verdict(self) -> str: ...


def column_of(question: str) -> str:
    """Which of `COLUMNS` a row is about, by the words of its question."""
    if question.startswith("behaviour"):
        return "behaviour"
    if "encode" in question or "mean response" in question:
        return "encode"
    within = ("co-smoothing", "forward", "intra-region", "inter-region")
    return "within" if any(word in question for word in within) else "decode"


def matrix(lines: Sequence[Rated]) -> str:
    """As Markdown, with what its words mean."""
    held: dict[str, dict[str, list[str]]] = {}
    for x in lines:
        row = held.setdefault(x.data.partition(",")[0], {name: [] for name in COLUMNS})
        row[column_of(x.question)].append(x.verdict)
    out = ["| data | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for data, cells in held.items():
        told = [
            _counted(found) or WHY.get((data, name), "not measured")
            for name, found in cells.items()
        ]
        out.append(f"| {data} | " + " | ".join(told) + " |")
    return SAID.replace("\n", " ") + "\n\n" + "\n".join(out)


def _counted(found: Sequence[str]) -> str:
    n = {verdict: found.count(verdict) for verdict in VERDICTS}
    return ", ".join(f"**{v}** {k}" if v == "above" else f"{v} {k}" for v, k in n.items() if k)
