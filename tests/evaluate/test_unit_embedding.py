"""What computed rows say of a unit without its region: no name of a region enters, activity does."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm.errors import InputError
from neurofm.evaluate.unit_embedding import placeless, unit_embedding
from neurofm.model.checkpoint import Trained, build_for
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.tokens.vocabulary import Vocabulary, joined, statistics, with_features

BIN_S = 0.02
BACKBONE = {"width": 16, "layers": 1, "heads": 2, "mlp": 16, "dropout": 0.0}


def measured(recording, train):
    return with_features(statistics(recording, train, BIN_S), recording, train, BIN_S)


def shaken(recordings, train, rows) -> Trained:
    """A model of which every weight counts, those of regions too."""
    vocabulary = Vocabulary.of(recordings)
    found = joined(vocabulary, recordings, {r.id: measured(r, train[r.id]) for r in recordings})
    config = ModelConfig.model_validate({"backbone": BACKBONE, "rows": rows})
    seed_torch(1, "test")
    model = build_for(config, vocabulary, found)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return Trained(model.eval(), vocabulary, found, {"bin_s": BIN_S}, 0, {"score": 0.0})


def elsewhere(recording, seed=0):
    """The same session with its regions permuted, and every unit put somewhere else."""
    rng = np.random.default_rng(seed)
    channels, n = recording.channels, len(recording.channels)
    moved = replace(channels, region=rng.permutation(channels.region),
                    coordinates=rng.normal(size=(n, 3)).astype(channels.coordinates.dtype),
                    quality={**channels.quality, "depth": rng.normal(size=n)})  # fmt: skip
    assert (moved.region != channels.region).any()
    return replace(recording, channels=moved)


@pytest.mark.parametrize("rows", ["inductive", "both"])
def test_names_of_regions_change_no_embedding_and_no_row(sessions, sides, rows):
    train, new = sides["train"], sessions[1]
    known = shaken(sessions[:1], train, rows)
    found = []
    for recording in (new, elsewhere(new)):
        there = measured(recording, train[new.id])
        model = known.with_recordings([recording], {new.id: there})
        blind = placeless(model, recording, train[new.id], BIN_S)
        told = model.context(recording)
        with torch.no_grad():
            rows_in = [model.model.rows_in(context) for context in (blind, told)]
        found.append((unit_embedding(model, blind), unit_embedding(model, told), *rows_in))
    (blind, told, row, row_told), (blind_2, told_2, row_2, row_told_2) = found
    assert np.array_equal(blind, blind_2)
    assert torch.equal(row, row_2)
    assert np.abs(told - told_2).max() > 0.05  # what the model itself is given does know regions
    assert (row_told - row_told_2).abs().max() > 0.01
    assert blind.shape[0] == len(new.channels)
    assert blind.std(axis=0).max() > 0.01  # it does tell units apart


def test_a_table_has_no_embedding(sessions, sides):
    model = shaken(sessions[:1], sides["train"], "table")
    with pytest.raises(InputError, match=r"model\.rows=inductive"):
        unit_embedding(model, model.context(sessions[0]))
