"""Adapting: what moves and what does not, on the minutes that were given, with nothing of the test."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm import Intervals
from neurofm.data.intervals import first_minutes
from neurofm.data.unit_factors import N_COLUMNS, N_FACTORS
from neurofm.errors import ConfigError, InputError
from neurofm.model import checkpoint
from neurofm.model.weights import Weights, read, write
from neurofm.run import Run
from neurofm.tokens.vocabulary import Vocabulary, statistics, with_features
from neurofm.train.adapt import (
    AdaptConfig,
    NewData,
    adapt,
    divided,
    moves,
)
from neurofm.train.batches import Corpus
from neurofm.train.pretrain import PretrainConfig, pretrain, sampled
from neurofm.train.turned import Turned, parts_of

CPU = torch.device("cpu")
BACKBONE = {"width": 16, "layers": 2, "heads": 2, "mlp": 16, "dropout": 0.0}
SHORT = AdaptConfig(steps=4, scratch_steps=4, windows=4, validate_every=2, valid_batches=1,
                    warmup=1, average=0.0)  # fmt: skip


def trained_on(sessions, sides, folder, rows):
    config = PretrainConfig(
        bin_s=0.02, window_bins=30, windows=4, steps=4, validate_every=2, valid_batches=1,
        precision="fp32", model={"backbone": BACKBONE, "kernel": 3, "rows": rows},
        optim={"warmup": 1, "matrix_rate": 0.0},
    )  # fmt: skip
    run = Run(folder)
    folder.mkdir()
    return pretrain(sessions, sides, config, run, device=CPU, say=lambda _: None), config


@pytest.fixture(scope="module")
def bases(sessions, sides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bases")
    return {rows: trained_on(sessions[:1], sides, folder / rows, rows)
            for rows in ("table", "inductive")}  # fmt: skip


def adapted(bases, rows, how, recordings, sides, folder):
    torch.set_num_threads(1)
    trained, config = bases[rows]
    parts = {r.id: divided(sides["train"][r.id], 0.2, 0.5) for r in recordings}
    data = NewData(tuple(recordings), {
        side: {name: part[at] for name, part in parts.items()}
        for at, side in enumerate(("train", "valid"))})  # fmt: skip
    folder.mkdir(exist_ok=True)
    mine = SHORT.from_scratch(config) if how == "scratch" else SHORT.of(config)
    run = Run(folder)
    best = adapt(trained, data, how, mine, run, device=CPU, say=lambda _: None)
    return best, checkpoint.load(checkpoint.newest_intact(run.checkpoints))


def changed(before, after):
    """Names of the parameters of which a value that was there has another value now."""
    old, new = before.model.state_dict(), after.model.state_dict()
    return {name for name, value in old.items() if not torch.equal(value, new[name][: len(value)])}


def test_first_minutes_and_their_end():
    given = first_minutes(Intervals.of([(0, 30), (40, 100)]), 1.0)
    assert given.pairs.tolist() == [[0, 30], [40, 70]]
    train, valid = divided(given, 0.25, 1.0)
    assert train.pairs.tolist() == [[0, 30], [40, 55]]
    assert valid.pairs.tolist() == [[56, 70]]
    assert first_minutes(given, None) is given
    with pytest.raises(InputError, match="too few"):
        divided(Intervals.of([(0, 4)]), 0.2, 1.0)
    with pytest.raises(InputError, match="too few"):
        divided(Intervals.none(), 0.2, 1.0)


def test_what_moves(bases, sessions, sides, tmp_path):
    """Frozen weights are the same to the bit; a registered channel's row is shared and stays."""
    for rows, how in (("table", "rows"), ("inductive", "rows"), ("inductive", "last")):
        _, newest = adapted(bases, rows, how, sessions[1:], sides, tmp_path / f"{rows}-{how}")
        assert newest.step == 4
        moved = changed(bases[rows][0], newest)
        assert all(moves(name, how, 2) for name in moved)
        assert not any(name.endswith(".shared") for name in moved)
        assert ("backbone.blocks.1.down.bias" in moved) == (how == "last")
        new = newest.vocabulary.channels["b0"]
        table = newest.model.state_dict()
        [name] = [n for n in table if n.startswith("read_out.rows") and n.endswith(".shared")]
        drawn = adapted(bases, rows, how, sessions[1:], sides, tmp_path / f"{rows}-{how}")[1]
        assert torch.equal(drawn.model.state_dict()[name], table[name])  # resumed: nothing to do
        assert table[name][new].any()
    _, newest = adapted(bases, "inductive", "all", sessions[1:], sides, tmp_path / "all")
    assert "encoder.unit.0.weight" in changed(bases["inductive"][0], newest)


def test_zero_shot_takes_no_step(bases, sessions, sides, tmp_path):
    best, newest = adapted(bases, "inductive", "zero-shot", sessions[1:2], sides, tmp_path / "z")
    assert best.step == newest.step == 0
    assert not changed(bases["inductive"][0], best)
    assert best.model.n_parameters == bases["inductive"][0].model.n_parameters
    assert best.context(sessions[1]).features is not None
    with pytest.raises(ConfigError, match=r"model\.rows=inductive"):
        adapted(bases, "table", "zero-shot", sessions[1:2], sides, tmp_path / "t")


def test_never_worse_than_the_start_on_validation(bases, sessions, sides, tmp_path):
    start, _ = adapted(bases, "inductive", "zero-shot", sessions[1:2], sides, tmp_path / "z")
    rows, _ = adapted(bases, "inductive", "rows", sessions[1:2], sides, tmp_path / "r")
    assert rows.valid["score"] >= start.valid["score"]
    scratch, _ = adapted(bases, "inductive", "scratch", sessions[1:2], sides, tmp_path / "s")
    assert set(scratch.vocabulary.sites) == {("b-1", f"b{i}") for i in range(12)}
    assert scratch.model.config.rows == "both"  # as free as the rows that are adapted


def test_only_the_given_minutes_are_looked_at(bases, sessions, sides, tmp_path):
    """Activity after the training side changes neither statistics, features nor weights."""
    recording = sessions[1]
    values = np.array(recording.activity.values[:])
    values[int(sides["train"]["b-1"].end[-1] / 0.02) :] = 7
    other = replace(recording, activity=replace(recording.activity, values=values))
    a, b = (
        adapted(bases, "inductive", "all", [r], sides, tmp_path / name)[1]
        for name, r in (("a", recording), ("b", other))
    )
    assert np.array_equal(a.statistics.features, b.statistics.features)
    assert not changed(a, b)


def test_features_vary_in_training_by_the_step_alone(sessions, sides):
    """Features of parts of the training side, which share no second; the same step draws the same."""
    train = Intervals.of([(0, 40), (60, 100)])
    parts = parts_of(train)
    assert len(parts) == 4
    assert [round(part.total_s) for part in parts] == [20] * 4
    assert all(a.overlap_s(b) == 0 for a in parts for b in parts if a is not b)
    assert parts_of(Intervals.of([(0, 30)])) == []
    recording = sessions[0]
    measured = with_features(statistics(recording, recording.valid, 0.02), recording,
                             recording.valid, 0.02)  # fmt: skip
    corpus = Corpus.of([recording], Vocabulary.of([recording]), {"a-1": measured}, 0.02)
    batches = sampled(
        corpus, {"a-1": recording.valid}, PretrainConfig(bin_s=0.02, windows=2), "train"
    )
    marked = torch.full_like(corpus.contexts[0].features, 5.0)
    varied = Turned(batches, 0, {0: [marked]})
    n_own = marked.shape[1] - N_FACTORS * N_COLUMNS
    first = [varied(step)[0].groups[0].context.features for step in range(30)]
    again = [varied(step)[0].groups[0].context.features for step in range(30)]
    assert all(map(torch.equal, first, again))
    of_parts = sum(bool((f[:, :n_own] == 5).all()) for f in first)
    assert 8 < of_parts < 28  # 0.6 of 30, by the seed


def test_rows_of_a_channel_can_be_kept_apart(bases, sessions, sides, tmp_path):
    """Two sessions of one array: one row a channel, or one in each, through save, share and adapt."""
    array = replace(sessions[1], channels=sessions[0].channels)
    assert np.array_equal(array.channels.id, sessions[0].channels.id)
    both, n = [sessions[0], array], len(array.channels)
    _, config = bases["table"]
    for share_rows in (True, False):
        run = Run(tmp_path / str(share_rows))
        run.folder.mkdir()
        asked = config.model_copy(update={"share_rows": share_rows})
        trained = pretrain(both, sides, asked, run, device=CPU, say=lambda _: None)
        first, second = (trained.vocabulary.rows(r)[0] for r in both)
        assert np.array_equal(first, second) is share_rows
        assert len(trained.vocabulary.channels) == (n if share_rows else 2 * n)
        write(run.folder / "shared", Weights.of(trained), rows=True, card="")
        back = read(run.folder / "shared").vocabulary
        assert back == trained.vocabulary
        later = [replace(array, id="later")]
        assert len(back.grown(later).channels) == (n if share_rows else 3 * n)
        data = {s: {"later": sides[s][array.id]} for s in ("train", "valid")}
        where = Run(tmp_path / f"{share_rows}-later")
        where.folder.mkdir()
        new = adapt(trained, NewData(tuple(later), data), "rows", SHORT.of(asked), where,
                    device=CPU, say=lambda _: None)  # fmt: skip
        assert (new.vocabulary.rows(later[0])[0] == first).all() == share_rows
