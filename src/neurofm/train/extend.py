"""A trained model with rows for recordings that it has not seen."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording
from neurofm.model.build import build
from neurofm.model.checkpoint import STATISTICS, Trained
from neurofm.model.seeded import seed_torch
from neurofm.tokens.vocabulary import Statistics, statistics


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
    vocabulary = trained.vocabulary.grown(new)
    seed_torch(seed, "new rows")
    model = build(trained.model.config, len(vocabulary.channels), len(vocabulary.sites))
    with torch.no_grad():
        weights = model.state_dict()
        for name, old in trained.model.state_dict().items():
            (weights[name][: len(old)] if old.dim() else weights[name]).copy_(old)
    columns = {name: [getattr(trained.statistics, name)] for name in STATISTICS}
    for recording in new:
        measured = statistics(recording, train[recording.id], float(trained.config["bin_s"]))
        for name, parts in columns.items():
            parts.append(getattr(measured, name))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return replace(
        trained, model=model.eval(), vocabulary=vocabulary, statistics=Statistics(**joined)
    )
