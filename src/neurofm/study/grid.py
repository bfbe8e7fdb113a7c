"""Which runs a study consists of: a grid over sessions, minutes, widths and draws."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from neurofm.errors import ConfigError
from neurofm.seeding import fold, generator

RANDOM, WITHOUT, CHOSEN = "random", "without", "chosen"


@dataclass(frozen=True)
class Point:
    """One run of a study: what is trained on, and how large.

    `sessions`: ids trained on, the anchors among them. `minutes`: of training data a session, None
    for all of it. `width`: of the model, None as configured. `why`: `random` draw of sessions, all
    `without` one, or `chosen`. `seed`: of the model.
    """

    sessions: tuple[str, ...]
    anchors: tuple[str, ...]
    minutes: float | None
    width: int | None
    draw: int
    seed: int
    why: str = RANDOM

    @property
    def name(self) -> str:
        """The name of its folder: readable, and different for every point."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        minutes = "all" if self.minutes is None else f"{self.minutes:g}"
        width = "default" if self.width is None else str(self.width)
        return f"n{len(self.sessions):03d}-min{minutes}-w{width}-d{self.draw}-{digest[:8]}"

    def record(self) -> dict[str, Any]:
        """A JSON-ready dict that `point_of` reads back."""
        return asdict(self)


def point_of(record: dict[str, Any]) -> Point:
    """The point that `record` wrote."""
    lists = {key: tuple(record[key]) for key in ("sessions", "anchors")}
    return Point(**(record | lists))


@dataclass(frozen=True)
class Grid:
    """Every combination of sizes, each `draws` times with its own sessions and its own seed.

    `n_sessions` counts the anchors too, which every run is trained on.
    """

    n_sessions: tuple[int, ...]
    minutes: tuple[float | None, ...] = (None,)
    widths: tuple[int | None, ...] = (None,)
    draws: int = 2
    seed: int = 0

    def points(self, ids: Sequence[str], anchors: Sequence[str]) -> list[Point]:
        """The runs, the cheapest first. The sessions of a run are drawn apart from all others.

        Raises ConfigError that names the field if the grid asks for what is not there.
        """
        self._check(ids, anchors)
        others = sorted(set(ids) - set(anchors))
        out = []
        for n in sorted(set(self.n_sessions)):
            for draw in range(self.draws):
                rng = generator(self.seed, "sessions of a study", n, draw)
                drawn = rng.permutation(len(others))[: n - len(anchors)]
                sessions = (*anchors, *(others[i] for i in sorted(drawn)))
                out += [
                    Point(sessions, tuple(anchors), minutes, width, draw, self._seed(n, draw))
                    for minutes in self.minutes
                    for width in self.widths
                ]
        return out

    def without_each(self, ids: Sequence[str], anchors: Sequence[str]) -> list[Point]:
        """All sessions but one, for every session that is no anchor, at the largest sizes."""
        minutes = max(self.minutes, key=lambda m: float("inf") if m is None else m)
        width = max(self.widths, key=lambda w: w or 0)
        return [
            Point(
                tuple(i for i in (*anchors, *sorted(set(ids) - set(anchors))) if i != left_out),
                tuple(anchors), minutes, width, draw, self._seed(len(ids), draw), WITHOUT,
            )
            for left_out in sorted(set(ids) - set(anchors))
            for draw in range(self.draws)
        ]  # fmt: skip

    def chosen(self, sessions: Sequence[str], anchors: Sequence[str], like: Point) -> list[Point]:
        """These sessions and the anchors, with seeds that no other point has."""
        every = (*anchors, *sorted(set(sessions) - set(anchors)))
        return [
            Point(every, tuple(anchors), like.minutes, like.width, draw,
                  self._seed(-len(every), draw), CHOSEN)
            for draw in range(self.draws)
        ]  # fmt: skip

    def _seed(self, n: int, draw: int) -> int:
        return fold(self.seed, "model of a study", n, draw) % 2**31

    def _check(self, ids: Sequence[str], anchors: Sequence[str]) -> None:
        strange = sorted(set(anchors) - set(ids))
        if strange:
            raise ConfigError(f"--anchors: there is no session {strange[0]!r} in the store.")
        if not anchors:
            raise ConfigError("--anchors: name one session or more.")
        for n in self.n_sessions:
            if not len(anchors) <= n <= len(ids):
                raise ConfigError(
                    f"--sessions {n} must lie from {len(anchors)}, the number of anchors, to "
                    f"{len(ids)}, the number of sessions in the store."
                )
        if self.draws < 1:
            raise ConfigError(f"--draws is {self.draws}; it must be 1 or more.")
        if any(m is not None and m <= 0 for m in self.minutes):
            raise ConfigError("--minutes must be positive.")
