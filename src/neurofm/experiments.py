"""What a twin is asked: tuning curves, most exciting courses, lesions, and repeats of a condition.

A twin is one recording and models of it that differ in their seed alone. Each experiment gives its
results, its arrays and its figure; `twinning` keeps them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from neurofm.config import Config
from neurofm.data import binning
from neurofm.data.recording import Recording
from neurofm.errors import InputError
from neurofm.evaluate import curves, insilico
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.metrics import Floats, mean_interval
from neurofm.evaluate.node_tasks import Encoding
from neurofm.evaluate.score import Skipped, score
from neurofm.pipeline import Say
from neurofm.report.figures import Drawn
from neurofm.report.twin import Course, Curve, Spread, course_figure, tuning_figure
from neurofm.results import Result
from neurofm.scoring import Evaluation, same
from neurofm.seeding import generator

FAR = 3.0  # standard deviations from the training mean, beyond which a value is said to be far out
N_BINS = 21
BEST = "best"
MODEL = "model"
TRAINED = "recorded, training side"
TEST = "test"


class TwinConfig(Config):
    """How experiments are done. `seconds` that a value is held, or a course lasts: 21 bins by default.

    `size` of a course, in standard deviations (root mean square); `steps` uphill. `least` explainable
    share of a channel that is scored; `baselines` beside the model.
    """

    seconds: float | None = Field(None, gt=0)
    size: float = Field(1.0, gt=0)
    steps: int = Field(100, ge=1)
    least: float = 0.15
    baselines: str = "mean-rate,ridge,coupled-glm"


@dataclass(frozen=True)
class Twin:
    """Models of one recording; `recording` has its stimulus and behaviour as channels."""

    works: tuple[Evaluation, ...]
    recording: Recording
    config: TwinConfig
    fingerprint: str
    say: Say
    tick: Callable[[str, int, int], None]

    @property
    def directs(self) -> list[Direct]:
        """One a model."""
        return [Direct.of(w.trained, self.recording, w.device) for w in self.works]

    @property
    def bin_s(self) -> float:
        """The models' bin width."""
        return self.works[0].bin_s

    @property
    def n_bins(self) -> int:
        """How long a value is held or a course lasts."""
        if self.config.seconds is None:
            return min(N_BINS, int(self.works[0].trained.config["window_bins"]))
        return max(round(self.config.seconds / self.bin_s), 1)

    @property
    def counts(self) -> bool:
        """Whether the activity is counts, which are shown a second."""
        return bool((self.recording.channels.of_activity.kind == "count").all())

    @property
    def a_second(self) -> float:
        """What a told number is multiplied with to be shown: counts a bin to counts a second."""
        return 1 / self.bin_s if self.counts else 1.0

    @property
    def unit(self) -> NDArray[np.str_]:
        """(U,) ids of the activity's channels."""
        return self.recording.channels.of_activity.id

    def result(self, work: Evaluation, task: str, metric: str, numbers: Sequence[float], n: int,
               unit_of_n: str, null: str = "", predictor: str = MODEL, how: str = "") -> Result:  # fmt: skip
        """One number of one model; `how` it was asked is said with the side."""
        value, low, high = (float(x) for x in numbers)
        return Result(predictor, task, self.recording.id, TEST + how, metric, value, low, high, n, null,
                      work.seed, unit_of_n, None, work.run.folder.name, self.fingerprint)  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What came of an experiment."""

    results: list[Result]
    arrays: Mapping[str, NDArray[np.generic]]
    drawn: Drawn


def spread(answers: Sequence[Floats]) -> Spread:
    """Mean over models and its 95% interval (Student's t); no interval with one model."""
    if len(answers) < 2:
        one = np.asarray(answers[0], dtype=np.float64)
        return Spread(one, np.full_like(one, np.nan), np.full_like(one, np.nan), 1)
    over = insilico.over_seeds(answers)
    return Spread(over.mean, over.low, over.high, over.n)


def over_models(found: Sequence[Result], n: int) -> list[Result]:
    """The results, and the mean over all models of each number that all of them have."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for r in found:
        groups.setdefault((r.predictor, r.task, r.recording, r.metric, r.null), []).append(r)
    out = list(found)
    for rows in groups.values():
        if n > 1 and len(rows) == len({r.seed for r in rows}) == n:
            over = spread([np.array(r.value) for r in rows])
            out.append(replace(rows[0], predictor=f"{rows[0].predictor}, mean of {n}", run="",
                               value=float(over.mean), low=float(over.low), high=float(over.high),
                               n=n, unit_of_n="models"))  # fmt: skip
    return out


def refuse_untaught(twin: Twin, shown: Sequence[str], remedy: str) -> None:
    """Raises InputError if the models were never asked for activity from what would be shown alone."""
    further = twin.recording.channels.id[~twin.recording.channels.in_activity]
    hidden = sorted(set(further.tolist()) - set(shown))
    for work, direct in zip(twin.works, twin.directs, strict=True):
        masks, name = direct.masks, work.run.folder
        if not masks.encode:
            raise InputError(f"{name} was trained with masks.encode=0: it was never asked for activity "
                             "from stimulus or behaviour; pre-train with masks.encode above 0.")  # fmt: skip
        if hidden and not masks.encode_fewer:
            raise InputError(f"{name} was trained with masks.encode_fewer=0, always shown all of stimulus "
                             f"and behaviour, and cannot do without {', '.join(hidden[:4])}"
                             f"{' ...' if len(hidden) > 4 else ''}; {remedy}.")  # fmt: skip


def tune(twin: Twin, text: str, hold: Sequence[str]) -> Made:
    """A tuning curve of every unit over one signal or label, beside what was recorded."""
    channels, context = twin.recording.channels, twin.directs[0].context
    mean, scale = context.mean.cpu().numpy(), context.scale.cpu().numpy()
    main, *also = (curves.held(one, channels, mean, scale) for one in (text, *hold))
    cells = curves.together(main, also)
    refuse_untaught(twin, list(cells), "pre-train with masks.encode_fewer=0.25, or hold these too")
    _say_if_far(twin, main, mean, scale)
    told = []
    for number, direct in enumerate(twin.directs, 1):
        told.append(insilico.tuning(direct, channels, cells, twin.n_bins))
        twin.tick(f"tuning: {main.name}", number, len(twin.works))
    was, before = (
        curves.recorded(main, also, channels, _cells(twin, side)) for side in (TEST, "train")
    )
    beside = "".join(f", {one.name} {one.text[0]}" for one in also)
    over = spread([one * twin.a_second for one in told])
    drawn = tuning_figure(Curve(
        main.name, beside, main.text, main.value, twin.unit, channels.of_activity.region, over,
        was * twin.a_second, spread([curves.modulation(one) for one in told]),
        curves.likeness(over.mean, was), curves.likeness(before, was), twin.counts))  # fmt: skip
    found = _tuned(twin, f"tuning: {main.name}{beside}", told, was, before)
    arrays = {"value": main.value, "text": np.array(main.text), "unit": twin.unit,
              "region": channels.of_activity.region, "rates": np.stack(told), "recorded": was,
              "bin_s": np.array(twin.bin_s), "seed": _seeds(twin)}  # fmt: skip
    return Made(over_models(found, len(twin.works)), arrays, drawn)


def _tuned(
    twin: Twin, task: str, told: Sequence[Floats], was: Floats, before: Floats
) -> list[Result]:
    """Means over units of how deep curves are, and how like what was recorded on the test side.

    The curve that was recorded on the training side is scored too: no model need be more like the test side.
    """
    how, out = f", held for {twin.n_bins * twin.bin_s:g} s", []
    answers = [(work, MODEL, one) for work, one in zip(twin.works, told, strict=True)]
    for work, who, one in [*answers, (twin.works[0], TRAINED, before)]:
        for metric, values in (("modulation", curves.modulation(one)),
                               ("pearson_with_recorded", curves.likeness(one, was))):  # fmt: skip
            known = values[np.isfinite(values)]
            if len(known) and (who == MODEL or metric != "modulation"):
                numbers = mean_interval(known, generator(work.seed, "units", metric))
                out.append(twin.result(work, task, metric, numbers, len(known), "units",
                                       predictor=who, how=how))  # fmt: skip
    return out


def excite(twin: Twin, asked: str, over: str) -> Made:
    """The course of some signals that makes a unit fire most, by each model; and on the others' courses."""
    if not twin.counts:
        raise InputError("--excite is of counts alone; the activity here is values.")
    channels = twin.recording.channels
    names = curves.further_named(over, channels) if over else _real(channels.id, twin)
    refuse_untaught(
        twin, names, "pre-train with masks.encode_fewer=0.25, or give --over all of them"
    )
    directs, units = twin.directs, _units(twin, asked)
    courses, results, kept = [], [], {}
    for number, unit in enumerate(units):
        best = []
        for at, (work, direct) in enumerate(zip(twin.works, directs, strict=True)):
            best.append(insilico.most_exciting(direct, channels, unit, names, n_bins=twin.n_bins,
                                               size=twin.config.size, n_steps=twin.config.steps,
                                               seed=work.seed))  # fmt: skip
            twin.tick(f"most exciting for {unit}", number * len(directs) + at + 1,
                      len(units) * len(directs))  # fmt: skip
        row = int(np.flatnonzero(twin.unit == unit)[0])
        # what a model says of the courses that the others found: a course that is a quirk of one does nothing here
        all_told = np.array([insilico.driven(d, channels, names, [b.values for b in best])[:, row]
                             for d in directs])  # fmt: skip
        course = _course(twin, unit, names, best, all_told)
        courses.append(course)
        results += _excited(twin, course, best, all_told)
        kept[f"course_{number}"] = np.stack([b.values for b in best])
        kept[f"rate_{number}"], kept[f"rate_of_courses_{number}"] = course.rates, all_told
    arrays = kept | {"unit": np.array(units), "over": np.array(names),
                     "bin_s": np.array(twin.bin_s), "seed": _seeds(twin)}  # fmt: skip
    return Made(over_models(results, len(twin.works)), arrays, course_figure(courses))


def _course(twin: Twin, unit: str, names: Sequence[str], best: Sequence[insilico.Exciting],
            all_told: Floats) -> Course:  # fmt: skip
    context, channels = twin.directs[0].context, twin.recording.channels
    rows = np.array([np.flatnonzero(channels.id == name)[0] for name in names])
    mean, scale = context.mean.cpu().numpy()[rows], context.scale.cpu().numpy()[rows]
    others = [float(np.delete(told, k).mean()) for k, told in enumerate(all_told) if len(best) > 1]
    rates = np.array([[b.null_rate, b.rate] for b in best]) * twin.a_second
    over = insilico.over_seeds([b.values for b in best]).agreement if len(best) > 1 else np.nan
    time_s = (np.arange(float(twin.n_bins)) - twin.n_bins // 2) * twin.bin_s
    return Course(unit, tuple(names), time_s, spread([(b.values - mean) / scale for b in best]),
                  rates, np.asarray(others, dtype=np.float64) * twin.a_second, over)  # fmt: skip


def _excited(twin: Twin, course: Course, best: Sequence[insilico.Exciting],
             all_told: Floats) -> list[Result]:  # fmt: skip
    how, out = f", {twin.config.size:g} SD for {twin.n_bins * twin.bin_s:g} s", []
    for k, (work, one) in enumerate(zip(twin.works, best, strict=True)):
        told = {"rate_hz": one.rate / twin.bin_s, "rate_at_means_hz": one.null_rate / twin.bin_s,
                "times_rate_at_means": one.rate / one.null_rate}  # fmt: skip
        if len(best) > 1:
            told["times_rate_at_means_on_others_courses"] = float(
                np.mean(np.delete(all_told[k], k)) / one.null_rate)  # fmt: skip
        out += [twin.result(work, f"most exciting: {course.unit}", metric, (value, np.nan, np.nan), 1,
                            "models", "channels at their means", how=how) for metric, value in told.items()]  # fmt: skip
    return out


def _units(twin: Twin, asked: str) -> list[str]:
    """Units by id or, for `best:K`, those whose encoding on the validation side is best over models."""
    head, _, number = asked.partition(":")
    there = twin.unit.tolist()
    if head == BEST and asked not in there:
        if not number.isdigit() or not 0 < int(number) <= len(there):
            raise InputError(
                f"--excite {asked} must be best:K with K from 1 to {len(there)}, or ids."
            )
        return [there[i] for i in np.argsort(-_quality(twin))[: int(number)]]
    units = [asked] if asked in there else [one.strip() for one in asked.split(",")]
    for unit in units:
        if unit not in there:
            near = ", ".join(get_close_matches(unit, there, n=3) or there[:3])
            raise InputError(
                f"{twin.recording.id} has no unit {unit!r}; it has {near} ...; or best:3."
            )
    return units


def _quality(twin: Twin) -> Floats:
    """(U,) nats of the validation side that each unit's encoding gains over its mean, mean over models.

    Not bits per spike, which are most of units that hardly fire.
    """
    task, each = Encoding(), []
    for work, direct in zip(twin.works, twin.directs, strict=True):
        sides = work.sides(twin.recording)
        part = sides["valid"] if len(sides["valid"]) else sides["test"]
        done = score(partial(same, direct), MODEL, task, twin.recording, train=part, valid=part,
                     test=part, bin_s=twin.bin_s, seed=work.seed)  # fmt: skip
        if isinstance(done, Skipped):
            raise InputError(f"{done.reason} Name units by their ids.")
        each.append((done.scores.ll_model - done.scores.ll_null).sum(axis=0))
    return np.asarray(np.mean(each, axis=0))


def _real(ids: NDArray[np.str_], twin: Twin) -> list[str]:
    channels = twin.recording.channels
    names: list[str] = ids[~channels.in_activity & (channels.kind == "real")].tolist()
    if not names:
        raise InputError(
            "there is no signal to search over: the model was shown labels alone; use --tune."
        )
    return names


def _cells(twin: Twin, side: str) -> NDArray[np.float32]:
    """(T, C) everything that was recorded in the bins of a side."""
    part = twin.works[0].sides(twin.recording)[side].intersect(twin.recording.valid)
    pieces = binning.pieces(part, twin.bin_s)
    parts = [binning.activity(twin.recording, a, b, twin.bin_s) for a, b in pieces]
    return (
        np.concatenate(parts) if parts else np.empty((0, len(twin.recording.channels)), np.float32)
    )


def _say_if_far(twin: Twin, main: curves.Held, mean: Floats, scale: Floats) -> None:
    if main.of_labels:
        return
    row = int(np.flatnonzero(twin.recording.channels.id == main.name)[0])
    far = float(np.abs((main.value - mean[row]) / scale[row]).max())
    if far > FAR:
        twin.say(f"note: {main.name} is held up to {far:.1f} standard deviations from its mean, where the "
                 "animal hardly was: there the models guess")  # fmt: skip


def _seeds(twin: Twin) -> NDArray[np.int64]:
    return np.array([work.seed for work in twin.works])
