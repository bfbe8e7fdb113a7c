"""Readers of people who were left out, from what is known of them: nothing, or their unlabelled windows.

Shapes: N windows, D features, L labels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from neurofm.config import Config
from neurofm.data.band_power import EEG_BANDS, own_units
from neurofm.data.montage import against_average
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate import people, unlabelled
from neurofm.evaluate.crowd_answers import Answers
from neurofm.evaluate.crowd_windows import CrowdWindows, Rows, crowd_windows
from neurofm.evaluate.metrics import Floats
from neurofm.evaluate.people import PeopleScore
from neurofm.evaluate.trial_readout import sorter
from neurofm.model.backbone import BackboneConfig
from neurofm.results import Result
from neurofm.train.crowd import Crowd, CrowdConfig, RingTurns, fit
from neurofm.train.crowd_traces import TracesConfig, fit_traces

KNOWN = {
    "linear": "nothing",
    "power": "nothing",
    "power-and-linear": "nothing",
    "network": "nothing",
    "traces": "nothing",
    "network-linear-traces": "nothing",
    "linear-recentred": "its windows, without labels",
    "power-own-units": "its windows, without labels",
    "both-own-units": "its windows, without labels",
    "network-recentred": "its windows, without labels",
    "network-turned": "its windows, without labels",
    "self-taught": "its windows, without labels",
}
"""Methods, and what each knows of a person who was left out. A reader that knows more is no fair
rival of one that knows less."""
RIVALS = {name: "linear" if what == "nothing" else "linear-recentred" for name, what in KNOWN.items()}  # fmt: skip
NETWORK = CrowdConfig(
    backbone=BackboneConfig(width=64, layers=2, heads=4, mlp=128, dropout=0.1),
    pretrain_steps=0, steps=500, windows=256, rate=3e-3,
)  # fmt: skip


class PeopleConfig(Config):
    """How windows are cut and read. `bands`: (lowest, highest or null) Hz each.

    `ring`: the channels are a ring of electrodes in order, worn turned or mirrored by some people.
    `penalty`: inverse L2 of the linear readers, on standardised features. `share`, `floor`: added
    to covariances, of their mean power and in squared units of the traces. `average_reference`:
    traces less the mean of all electrodes. `power`: log band power of EEG is read too. `network`:
    null leaves networks out. `traces`: convolutional networks read the traces of the first band too, where
    electrodes are a ring. `gap_s`: between a person's own windows that teach and those asked;
    `own_steps`: of tuning on those that teach.
    """

    window_s: float = Field(0.25, gt=0)
    bands: tuple[tuple[float, float | None], ...] = ((20.0, None),)
    n_folds: int = Field(8, ge=2)
    ring: bool = False
    penalty: float = Field(0.05, gt=0)
    share: float = Field(0.02, ge=0, lt=1)
    floor: float = Field(0.0, ge=0)
    average_reference: bool = False
    power: bool = False
    gap_s: float = Field(2.0, ge=0)
    own_steps: int = Field(80, ge=1)
    seed: int = 0
    network: CrowdConfig | None = NETWORK
    traces: TracesConfig | None = None

    @model_validator(mode="after")
    def _traces_of_a_ring(self) -> "PeopleConfig":
        if self.traces and not (self.ring and self.network):
            raise ValueError("traces are read where ring=true and a network is there")
        return self

    @model_validator(mode="before")
    @classmethod
    def _of_the_network_what_is_named(cls, tree: Any) -> Any:
        """`network.steps=100` leaves the rest of this network, not of `CrowdConfig`, as it is."""
        own = tree.get("network") if isinstance(tree, dict) else None
        return (
            tree | {"network": _over(NETWORK.model_dump(), own)} if isinstance(own, dict) else tree
        )


def _over(kept: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    deep = {k: _over(kept[k], v) for k, v in said.items()
            if isinstance(v, dict) and isinstance(kept.get(k), dict)}  # fmt: skip
    return kept | said | deep


def windows_of(recordings: Sequence[Recording], label: str, config: PeopleConfig) -> CrowdWindows:
    """The windows of recordings of traces, cut as configured; raises as `crowd_windows` does."""
    if config.average_reference:
        recordings = [against_average(r) for r in recordings]
    return crowd_windows(recordings, label, config.window_s, config.bands, share=config.share,
                         floor=config.floor, power=EEG_BANDS if config.power else (),
                         traces=config.traces is not None)  # fmt: skip


def answers(
    rest: CrowdWindows, asked: CrowdWindows, config: PeopleConfig, say: Callable[[str], None]
) -> Answers:
    """What every method says of the windows of people in `asked`, learned from those in `rest`.

    `say` is told which method is at work. Raises InputError if training windows have one label only.
    """
    labels = np.unique(rest.label)
    if len(labels) < 2:
        raise InputError("the people that are trained on have one label only; nothing can be told.")
    say("linear")
    out = {
        "linear": _linear(rest.alone, rest.label, asked.alone, config),
        "linear-recentred": _linear(rest.own, rest.label, asked.own, config),
    }
    if config.power:
        say("power")
        out |= _of_power(rest, asked, config)
    if config.network is None:
        return Answers(labels, out)
    say("network")
    network = config.network.model_copy(update={"seed": config.seed})
    told = fit(rest.alone, rest.label, network, ring_turns(rest, config, places=0.4, gain=0.5))
    out["network"] = told(asked.alone).astype(np.float64)
    if config.traces is not None:
        say("traces")
        out |= _of_traces(rest, asked, config.traces, config.seed, out)
    say("network-recentred")
    return Answers(labels, out | _transductive(rest, asked, config, network))


def _of_traces(
    rest: CrowdWindows,
    asked: CrowdWindows,
    config: TracesConfig,
    seed: int,
    out: Mapping[str, Floats],
) -> dict[str, Floats]:
    """By the traces, and the geometric mean of that with that of network and linear reader."""
    told = fit_traces(rest.traces, rest.label, config, seed)(asked.traces)
    features = np.sqrt(out["network"] * out["linear"])
    together = np.sqrt(features / features.sum(axis=1, keepdims=True) * told)
    return {"traces": told, "network-linear-traces": together / together.sum(axis=1, keepdims=True)}


def _of_power(rest: CrowdWindows, asked: CrowdWindows, config: PeopleConfig) -> dict[str, Floats]:
    """By log band power, by it and the tangent vectors, and by both in the person's own units."""
    sides = []
    for w in (rest, asked):
        power, tangent = own_units(w.power, w.person), own_units(w.own, w.person)
        sides.append({
            "power": w.power, "power-and-linear": np.concatenate([w.power, w.alone], axis=1),
            "power-own-units": power, "both-own-units": np.concatenate([power, tangent], axis=1),
        })  # fmt: skip
    return {name: _linear(x, rest.label, sides[1][name], config) for name, x in sides[0].items()}


def _linear(x: Rows, label: NDArray[np.str_], asked: Rows, config: PeopleConfig) -> Floats:
    read = sorter(x, label, config.penalty)
    return np.asarray(read.model.predict_proba((asked - read.mean) / read.scale))


def ring_turns(
    windows: CrowdWindows, config: PeopleConfig, places: float, gain: float = 0.0
) -> RingTurns | None:
    """What makes other people of the training people, where the electrodes are a ring."""
    if not config.ring:
        return None
    return RingTurns.of(n_electrodes(windows, config), len(config.bands), places, gain)


def n_electrodes(windows: CrowdWindows, config: PeopleConfig) -> int:
    """C of C (C + 1) / 2 features a band."""
    n = windows.alone.shape[1] // len(config.bands)
    return round((math.sqrt(8 * n + 1) - 1) / 2)


def _transductive(
    rest: CrowdWindows, asked: CrowdWindows, config: PeopleConfig, network: CrowdConfig
) -> dict[str, Floats]:
    """By the person's own mean, their own turn, and what the network is sure of in their windows."""
    told, chosen, by = laid_on(rest, config, network)
    plain = told(asked.own).astype(np.float64)
    turned, taught = plain.copy(), np.zeros_like(plain)
    for who in np.unique(asked.person):
        mine = asked.person == who
        theirs = asked.own[mine]
        if by:
            likely = unlabelled.prior(chosen, len(by))
            k, turned[mine] = unlabelled.best_turn(told, theirs, by, likely)
            theirs = theirs @ by[k]
        taught[mine] = unlabelled.self_taught(theirs, turned[mine])
    out = {"network-recentred": plain, "self-taught": taught}
    return out | ({"network-turned": turned} if by else {})


def laid_on(
    rest: CrowdWindows, config: PeopleConfig, network: CrowdConfig
) -> tuple[Crowd, dict[str, int], list[Rows]]:
    """(a network of recentred windows, the turn of each training person, all turns).

    Training people are laid on each other by their labels; there are no turns without a ring.
    """
    n = n_electrodes(rest, config)
    by = unlabelled.turns(n, len(config.bands)) if config.ring else []
    laid, chosen = rest.own, dict[str, int]()
    if by:
        chosen = unlabelled.own_turns(rest.own, rest.label, rest.person, by)
        laid = unlabelled.turned(rest.own, rest.person, chosen, by)
    return fit(laid, rest.label, network, ring_turns(rest, config, places=0.3)), chosen, by


def people_results(
    windows: CrowdWindows, told: Answers, label: str, split: str, seed: int,
    rivals: Mapping[str, str] = RIVALS,
) -> list[Result]:  # fmt: skip
    """Balanced accuracy of every method: each person, mean over people, gain over its rival.

    `rivals`: methods in the order of the rows, and what each is compared with. One answer a window, and one a trial (the mean chance of its windows).
    """
    first, _ = people.together(windows.piece, next(iter(told.chances.values())))
    out = []
    for unit in ("window", "trial"):
        scores: dict[str, PeopleScore] = {}
        for method in (m for m in rivals if m in told.chances):
            chance, rows = told.chances[method], np.arange(len(windows))
            if unit == "trial":
                rows, chance = people.together(windows.piece, chance)
            said = told.labels[chance.argmax(axis=1)]
            scores[method] = people.score(windows.person[rows], windows.label[rows], said, seed)
        metric = "balanced_accuracy" if unit == "window" else "balanced_accuracy_of_trials"
        about = _About(f"people: {label}", split, metric, 1 / len(told.labels), seed, rivals)
        n = {w: int((windows.person[first] == w).sum()) if unit == "trial" else
             int((windows.person == w).sum()) for w in next(iter(scores.values())).each}  # fmt: skip
        out += list(about.results(scores, n, unit))
    return out


@dataclass(frozen=True)
class _About:
    """What the results of one question share."""

    task: str
    split: str
    metric: str
    chance: float
    seed: int
    rivals: Mapping[str, str]

    def results(self, scores: dict[str, PeopleScore], n: dict[str, int], unit: str) -> list[Result]:
        """Rows of each method: people, their mean, and its gain."""
        out = []
        for method, score in scores.items():
            nan = float("nan")
            out += [self._row(method, who, (value, nan, nan), n[who], f"{unit}s")
                    for who, value in score.each.items()]  # fmt: skip
            out.append(self._row(method, "mean", _limits(score), len(score.each), "people"))
            rival = self.rivals[method]
            if rival != method:
                gain = {w: v - scores[rival].each[w] for w, v in score.each.items()}
                paired = _limits(PeopleScore.of(gain, self.seed))
                out.append(self._row(method, "mean", paired, len(gain), "people", rival))
        return out

    def _row(
        self, method: str, recording: str, value: tuple[float, float, float], n: int, unit: str,
        rival: str = "",
    ) -> Result:  # fmt: skip
        metric = f"{self.metric}_gain" if rival else self.metric
        return Result(method, self.task, recording, self.split, metric, *value, n,
                      rival or "guessing", self.seed, unit, None if rival else self.chance)  # fmt: skip


def _limits(score: PeopleScore) -> tuple[float, float, float]:
    return score.value, score.low, score.high
