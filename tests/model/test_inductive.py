"""Rows computed from a unit's own data: no row a unit, no training for a new animal."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm.data.recording import Recording
from neurofm.data.unit_factors import N_COLUMNS, N_FACTORS, SQUARE
from neurofm.errors import InputError
from neurofm.evaluate import metrics
from neurofm.evaluate.baselines import BASELINES
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.score import score
from neurofm.evaluate.tasks import TASKS
from neurofm.model import checkpoint
from neurofm.model.checkpoint import Trained, build_for
from neurofm.model.compose import compose
from neurofm.model.model import ModelConfig
from neurofm.model.rows import is_row
from neurofm.model.seeded import seed_torch
from neurofm.model.weights import Weights, read, write
from neurofm.seeding import generator
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, stack
from neurofm.tokens.vocabulary import Vocabulary, joined, statistics, with_features
from neurofm.train.turned import turned

CPU = torch.device("cpu")
BACKBONE = {"width": 32, "layers": 1, "heads": 2, "mlp": 32, "dropout": 0.0}


def measured(recording, sides):
    train = sides["train"][recording.id]
    return with_features(statistics(recording, train, 0.02), recording, train, 0.02)


def fresh(recordings, sides, rows, shaken=0.0) -> Trained:
    vocabulary = Vocabulary.of(recordings)
    found = joined(vocabulary, recordings, {r.id: measured(r, sides) for r in recordings})
    config = ModelConfig.model_validate({"backbone": BACKBONE, "doublings": 5, "rows": rows})
    seed_torch(1, "test")
    model = build_for(config, vocabulary, found)
    for parameter in model.parameters():
        parameter.data += shaken * torch.randn_like(parameter)
    plain = {"precision": "fp32", "bin_s": 0.02, "window_bins": 100}
    return Trained(model.eval(), vocabulary, found, plain, 0, {"score": 0.0})


def rates(trained, recording, context=None):
    counts = recording.activity.values[:100]
    hidden = np.zeros(counts.shape, dtype=bool)
    hidden[:, ::3] = True
    hidden = hidden[:, np.argsort(np.argsort(recording.channels.id))]  # by id, whatever the order
    group = stack([TimeBin()(counts, hidden)], context or trained.context(recording), [0])
    with torch.no_grad():
        return trained.model(Batch((group,))).rates[0][0]


@pytest.fixture(scope="module")
def long_session(sides):
    """One strong, slow direction: what a new animal must be good for without training."""
    rng = np.random.default_rng(5)
    latent = np.sin(np.arange(3000) / 15)[:, None]
    loads = rng.choice([-1.0, 1.0], 20) * rng.uniform(0.6, 1.2, 20)
    counts = rng.poisson(0.3 * np.exp(latent * loads)).astype(np.uint8)
    return Recording.from_arrays("n-1", counts=counts, bin_s=0.02)


def test_a_new_animal_works_without_a_step(sessions, sides, long_session):
    known = fresh(sessions[:1], sides, "inductive")
    cuts = [long_session.valid.clip(a, b) for a, b in ((0, 36), (36, 42), (42, 60))]
    there = with_features(statistics(long_session, cuts[0], 0.02), long_session, cuts[0], 0.02)
    new = known.with_recordings([long_session], {long_session.id: there})
    table = {"model": lambda: Direct.of(new, long_session, CPU), "null": BASELINES["mean-rate"]}
    values = {}
    for name, factory in table.items():
        done = score(factory, name, TASKS["co-smoothing"], long_session,
                     train=cuts[0], valid=cuts[1], test=cuts[2], bin_s=0.02)  # fmt: skip
        values[name] = metrics.value(done.scores, metrics.bps_pooled)
    assert values["model"] > values["null"] + 0.1


def test_order_of_units_changes_only_the_order(sessions, sides):
    trained = fresh(sessions[:1], sides, "inductive", shaken=0.05)
    recording = sessions[1]
    order = np.random.default_rng(2).permutation(len(recording.channels))
    values = recording.activity.values[:][:, order]
    other = replace(recording, channels=recording.channels.take(order),
                    activity=replace(recording.activity, values=values))  # fmt: skip
    a, b = (
        rates(trained.with_recordings([r], {r.id: measured(r, sides)}), r)
        for r in (recording, other)
    )
    torch.testing.assert_close(a[:, order], b, rtol=1e-4, atol=1e-5)
    assert (a[:, order] - a).abs().max() > 1e-3  # the order does say something


def test_parameters_do_not_grow_with_units(sessions, sides):
    few, many = (fresh(s, sides, "inductive") for s in (sessions[:1], sessions))
    assert (
        few.model.n_parameters + 8 * (len(many.vocabulary.regions) - len(few.vocabulary.regions))
        == many.model.n_parameters
    )
    assert not any(is_row(name) for name, _ in few.model.named_parameters())


@pytest.mark.parametrize("rows", ["table", "inductive", "both"])
def test_growing_leaves_what_is_known(sessions, sides, rows, tmp_path):
    known = fresh(sessions[:1], sides, rows, shaken=0.05)
    more = {r.id: measured(r, sides) for r in sessions[1:]}
    grown = known.with_recordings(sessions[1:], more)
    assert torch.equal(rates(known, sessions[0]), rates(grown, sessions[0]))
    checkpoint.save(tmp_path / "one", grown, {})
    again = checkpoint.load(tmp_path / "one")
    for recording in sessions:
        assert torch.equal(rates(grown, recording), rates(again, recording))
    with pytest.raises(InputError, match="not in the model's training set"):
        known.context(sessions[1])


def test_rows_of_new_units(sessions, sides):
    """A registered channel has the row it had; computed rows say something of a new one at once."""
    known = fresh(sessions[:1], sides, "table", shaken=0.05)
    grown = known.with_recordings([sessions[2]], {"a-2": measured(sessions[2], sides)})
    own = known.model.read_out.rows.shared[known.context(sessions[0]).row][:6]
    after = grown.model.read_out.rows(grown.context(sessions[2]))
    assert torch.equal(own, after[:6])  # a day's difference is its own, and 0 at first
    assert after[6:].abs().max() < 0.15  # drawn as at first: the spread is 0.02
    refined = fresh(sessions[:1], sides, "inductive").with_recordings(
        [sessions[1]], {"b-1": measured(sessions[1], sides)}, refine=True
    )
    assert refined.model.config.rows == "both"
    computed = refined.model.read_out.rows
    assert not computed.table.shared.any()
    assert computed(refined.context(sessions[1])).abs().max() > 0.01


def test_a_region_that_nobody_knows(sessions, sides):
    trained = fresh(sessions[:1], sides, "inductive", shaken=0.05)
    elsewhere = replace(sessions[1], channels=replace(
        sessions[1].channels, region=np.full(len(sessions[1].channels), "??")))  # fmt: skip
    grown = trained.with_recordings([elsewhere], {"b-1": measured(elsewhere, sides)})
    assert not grown.context(elsewhere).region.any()
    assert grown.context(sessions[0]).region.min() > 0
    assert torch.isfinite(rates(grown, elsewhere)).all()


def test_turning_directions_leaves_factor_analysis(sessions, sides):
    """Signs go in and out together; what has no sign stays; the same draw turns the same way."""
    trained = fresh(sessions[:1], sides, "inductive")
    for name, parameter in trained.model.named_parameters():
        if "by_factor" in name or name == "backbone.norm.weight":
            parameter.data.zero_()
    context = trained.context(sessions[0])
    other = turned(context, generator(0, "turned", 1))
    torch.testing.assert_close(rates(trained, sessions[0]), rates(trained, sessions[0], other))
    a, b = (
        c.features[:, -N_FACTORS * N_COLUMNS :].view(-1, N_FACTORS, N_COLUMNS)
        for c in (context, other)
    )
    assert torch.equal(a[..., SQUARE], b[..., SQUARE])
    assert (a != b).any()
    assert torch.equal(turned(context, generator(0, "turned", 1)).features, other.features)


def test_shared_weights_of_computed_rows_meet_other_animals(sessions, sides, tmp_path):
    """The trunk alone, without any row or id, answers as the model with rows for a new animal does."""
    trained = fresh(sessions[:1], sides, "inductive", shaken=0.05)
    write(tmp_path / "shared", Weights.of(trained), rows=False, card="")
    loaded = compose(read(tmp_path / "shared"), recordings=[sessions[1]], train=sides["train"])
    assert loaded.used.trunk == 1.0
    direct = trained.with_recordings([sessions[1]], {"b-1": measured(sessions[1], sides)})
    assert torch.equal(rates(loaded.trained, sessions[1]), rates(direct, sessions[1]))
