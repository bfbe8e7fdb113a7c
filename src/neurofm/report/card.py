"""The card of shared weights: what they were trained on, how they score, what they cannot do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from neurofm import results
from neurofm.report import records
from neurofm.report.headline import facts, findings
from neurofm.report.records import Manifest, Session
from neurofm.report.scores import arrange
from neurofm.report.tables import md
from neurofm.results import Result
from neurofm.run import Run

UNSAID = "not stated"
LIMITS = """\
- It was trained to fill in hidden spike counts. A good score at that says nothing about why cells fire.
- It holds for recordings like those above, in the same bins. Score it on your own before you rely on it.
- Rows belong to single channels. Channels that are not listed in `rows.json` start without any.
- Rows and rates can tell one recording from another, and a trunk may remember what it saw. Consent and
  licence of the recordings bind these numbers too.
"""


@dataclass(frozen=True)
class Passport:
    """What is known of where weights come from."""

    manifest: Manifest = field(default_factory=Manifest)
    results: tuple[Result, ...] = ()

    @classmethod
    def of(cls, run: Run) -> "Passport":
        """From the records of a run."""
        read = records.load(run)
        return cls(read.manifest, tuple(results.newest(read.results)))

    def unlicensed(self) -> list[str]:
        """Ids of sessions that state no licence."""
        return [
            s.id for s in self.manifest.sessions if not s.licence or s.licence.startswith("none")
        ]


def card(about: dict[str, Any], passport: Passport, *, n_parameters: int, n_channels: int) -> str:
    """Markdown, with the front matter that model hubs read.

    `about`: the configuration of the training. `n_channels`: rows that are shared, 0 for none.
    """
    rows = f"rows of {n_channels:,} channels" if n_channels else "no rows of channels"
    parts = [
        "---\nlibrary_name: neurofm\ntags: [neuroscience, electrophysiology, foundation-model]\n---",
        "# A model of neural recordings",
        f"{n_parameters:,} parameters, {rows}. Bins of {about['bin_s']:g} s, windows of "
        f"{about['window_bins']} bins.",
        "```python\nfrom neurofm.sharing import from_pretrained\n\n"
        'loaded = from_pretrained("FOLDER")\nprint(loaded.used)\n```',
        f"## What it was trained on\n\n{_sessions(passport.manifest)}",
        f"## How it was trained\n\nMasks (how often each is asked for, and how much it hides): {_masks(about)}. "
        f"Precision {about['precision']}.",
        f"## What it scored\n\n{_scores(passport.results)}",
        f"## Limits\n\n{LIMITS}",
    ]
    return "\n\n".join(parts)


def _sessions(manifest: Manifest) -> str:
    if not manifest.sessions:
        return "The data manifest was not given."
    counted = ", ".join(
        f"{number} {noun}" for number, noun in facts(manifest) if noun != "parameters"
    )
    header = ("session", "subject", "species", "channels", "hours", "licence", "consent")
    lines = [_row(header), _row(["---"] * len(header))]
    lines += [_row(_session(s)) for s in manifest.sessions]
    return f"{counted}. Content fingerprint {md(manifest.fingerprint[:16])}.\n\n" + "\n".join(lines)


def _session(s: Session) -> list[str]:
    hours = UNSAID if s.hours is None else f"{s.hours:.2f}"
    said = [s.subject, s.species, str(s.n_channels), hours, s.licence, s.consent]
    return [s.id, *(text or UNSAID for text in said)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(md, cells))} |"


def _masks(about: dict[str, Any]) -> str:
    masks = about.get("masks", {})
    shares = [f"{k} {v:g}" for k, v in masks.items() if isinstance(v, int | float) and v > 0]
    return ", ".join(shares) or UNSAID


def _scores(found: Sequence[Result]) -> str:
    said = [f for f in findings(arrange(found)) if f.standing != "absent"]
    if not said:
        return "Nothing was measured: `neurofm evaluate RUN` does it."
    lines = [f"- **{md(f.task)}**: {md(f.text, 2000)}" for f in said]
    return "On the test part of the sessions above, with 95% intervals.\n\n" + "\n".join(lines)
