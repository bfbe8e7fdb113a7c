"""Experiments of a twin that no recording holds: tuning curves, and courses that excite a unit most."""

from collections.abc import Sequence
from difflib import get_close_matches
from functools import partial

import numpy as np
from numpy.typing import NDArray

from neurofm.data import binning
from neurofm.errors import InputError
from neurofm.evaluate import curves, insilico
from neurofm.evaluate.metrics import Floats, mean_interval
from neurofm.evaluate.node_tasks import Encoding
from neurofm.evaluate.score import Skipped, score
from neurofm.experiments import MODEL, TEST, Made, Twin, over_models, spread
from neurofm.report.twin import Course, Curve, course_figure, tuning_figure
from neurofm.results import Result
from neurofm.scoring import same
from neurofm.seeding import generator

FAR = 3.0  # standard deviations from the training mean, beyond which a value is said to be far out
BEST = "best"
TRAINED = "recorded, training side"


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
