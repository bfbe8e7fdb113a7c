"""A trained model with rows for recordings that it has not seen."""

from collections.abc import Mapping, Sequence

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.model.checkpoint import Trained
from neurofm.tokens.vocabulary import statistics, with_features


def extended(
    trained: Trained, recordings: Sequence[Recording], train: Mapping[str, Intervals], seed: int
) -> Trained:
    """The same model, knowing these recordings too; those that it knows stay as they are.

    Channels that it knows keep their rows, others get fresh ones; new (recording, channel) sites
    start at zero. Statistics of a new recording are those of the activity in `train`.
    """
    known = {name for name, _ in trained.vocabulary.sites}
    new = [r for r in recordings if r.id not in known]
    if not new:
        return trained
    bin_s = float(trained.config["bin_s"])
    measured = {r.id: statistics(r, train[r.id], bin_s) for r in new}
    if trained.statistics.features is not None:
        measured = {r.id: with_features(measured[r.id], r, train[r.id], bin_s) for r in new}
    return trained.with_recordings(new, measured, seed)
