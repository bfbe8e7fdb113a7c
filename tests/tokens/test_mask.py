from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from neurofm import Channels
from neurofm.config import load
from neurofm.seeding import generator
from neurofm.tokens import mask as mask_module
from neurofm.tokens import mask_cells, mask_nodes
from neurofm.tokens.mask import (
    PROMPTS,
    HideBins,
    HideFuture,
    HideUnits,
    Mixture,
    delayed,
    prompt_index,
)
from neurofm.tokens.mask_cells import Both, HideCells, HidePatches
from neurofm.tokens.mask_config import MASKS, MaskConfig
from neurofm.tokens.mask_nodes import Encode, Inside
from neurofm.train.pretrain import PretrainConfig

CHANNELS = Channels.of([str(i) for i in range(20)], region=["A"] * 12 + ["B"] * 8)
NODES = replace(
    CHANNELS,
    node=np.array(["activity"] * 12 + ["behaviour"] * 5 + ["stimulus"] * 3),
    kind=np.array(["count"] * 12 + ["real"] * 2 + ["category"] * 3 + ["real"] * 3),
    group=np.array([""] * 14 + ["choice"] * 3 + [""] * 3),
)
BY_NODE = {"encode", "decode", "behaviour", "across"}


def channels_for(name):
    return NODES if name in BY_NODE else CHANNELS


@pytest.mark.parametrize("name", sorted(MASKS))
def test_scored_cells_are_hidden_and_something_stays_visible(name):
    mask = MASKS[name]()
    for seed in range(30):
        cells = mask(25, channels_for(name), generator(seed, name))
        assert cells.hidden.shape == cells.scored.shape == (25, 20)
        assert (cells.hidden | ~cells.scored).all() or cells.late
        assert cells.scored.any()
        assert not cells.hidden.all()


def test_only_the_autoregressive_mask_shows_scored_cells_and_shows_them_late():
    late = {name: mask()(25, channels_for(name), generator(0)).late for name, mask in MASKS.items()}
    assert {name for name, n in late.items() if n} == {"autoregressive"}
    cells = MASKS["autoregressive"](late=2)(6, CHANNELS, generator(0))
    counts = np.arange(6)[:, None] + 1
    assert delayed(counts, cells.late)[:, 0].tolist() == [0, 0, 1, 2, 3, 4]
    assert cells.hidden.all(axis=1).tolist() == [True, True, False, False, False, False]
    assert cells.scored.all()


@pytest.mark.parametrize("name", sorted(set(MASKS) - {"autoregressive", "decode"}))
def test_same_rng_same_cells_and_another_rng_others(name):
    mask = MASKS[name]()  # those left out draw nothing
    draws = [mask(25, channels_for(name), generator(s, name)).hidden for s in (1, 1, 2, 3, 4, 5)]
    assert (draws[0] == draws[1]).all()
    assert any((draws[0] != other).any() for other in draws[2:])


def test_future_is_contiguous_at_the_end():
    for seed in range(20):
        hidden = MASKS["future"](3, 6)(25, CHANNELS, generator(seed)).hidden
        bins = np.flatnonzero(hidden.all(axis=1))
        assert (hidden.any(axis=1) == hidden.all(axis=1)).all()
        assert 3 <= len(bins) <= 6
        assert bins[-1] == 24
        assert (np.diff(bins) == 1).all()


def test_regions():
    for seed in range(20):
        within = MASKS["intra-region"]()(10, CHANNELS, generator(seed))
        scored = CHANNELS.region[within.scored[0]]
        visible = CHANNELS.region[~within.hidden[0]]
        assert set(scored) == set(visible)
        assert len(set(scored)) == 1
        across = MASKS["inter-region"]()(10, CHANNELS, generator(seed))
        assert set(CHANNELS.region[across.scored[0]]).isdisjoint(CHANNELS.region[~across.hidden[0]])


def test_patches_are_groups_of_channels_by_runs_of_bins():
    mask = HidePatches(fraction=0.5, channels=5, bins=4)
    shares = []
    for seed in range(40):
        hidden = mask(24, CHANNELS, generator(seed)).hidden
        columns, members = np.unique(hidden, axis=1, return_counts=True)
        assert (members % 5 == 0).all()  # whole groups, whatever the order of the channels
        changes = np.flatnonzero((columns[1:] != columns[:-1]).any(axis=1)) + 1
        assert len(set(changes % 4)) <= 1  # runs of 4 from a start of their own
        shares.append(hidden.mean())
    assert 0.4 < np.mean(shares) < 0.6
    starts = {int(np.flatnonzero(np.diff(mask(24, CHANNELS, generator(s)).hidden.any(1)))[:1].sum())
              for s in range(40)}  # fmt: skip
    assert len(starts) > 1


def test_cells_are_independent_of_each_other():
    hidden = np.stack([HideCells(0.3)(50, CHANNELS, generator(s)).hidden for s in range(20)])
    assert hidden.mean() == pytest.approx(0.3, abs=0.01)
    wanted = 0.3 * 0.7 / np.sqrt(20 * 50)  # no correlation between neighbours
    assert np.cov(hidden[:, 1:].ravel(), hidden[:, :-1].ravel())[0, 1] < wanted
    assert np.cov(hidden[..., 1:].ravel(), hidden[..., :-1].ravel())[0, 1] < wanted


def test_next_hides_all_that_follows_and_scores_one_bin():
    seen = set()
    for seed in range(60):
        cells = MASKS["next-bin"]()(12, CHANNELS, generator(seed))
        at = int(np.flatnonzero(cells.hidden.all(axis=1))[0])
        assert not cells.hidden[:at].any()
        assert cells.hidden[at:].all()
        assert np.flatnonzero(cells.scored.any(axis=1)).tolist() == [at]
        assert cells.scored[at].all()
        seen.add(at)
    assert seen == set(range(1, 12))


def test_both_is_the_union_of_two_and_asks_where_both_can_be_asked():
    both, parts = Both(), (HideUnits(), HideFuture())
    for seed in range(20):
        cells, rng = both(25, CHANNELS, generator(seed)), generator(seed)
        a, b = (part(25, CHANNELS, rng) for part in parts)
        assert (cells.hidden == (a.hidden | b.hidden)).all()
        assert (cells.scored == (a.scored | b.scored)).all()
    one = Channels.of(["x"])
    assert MASKS["future"]().applies(one)
    assert not both.applies(one)


def test_every_mask_has_a_weight_and_the_new_ones_are_off():
    config = MaskConfig()
    weights = {name: getattr(config, name.replace("-", "_")) for name in MASKS}
    by_node = {"encode", "decode", "across"}
    assert {name for name, w in weights.items() if w > 0} == {*list(MASKS)[:5], *by_node}
    mixture = config.mixture(0.02)
    inner = [mask.mask if isinstance(mask, Inside) else mask for mask in mixture.masks]
    assert [type(mask) for mask in inner] == list(MASKS.values())
    assert mixture.weights == tuple(weights.values())


def test_a_question_is_asked_by_its_prompt_or_by_the_one_that_was_trained():
    usual = MaskConfig()
    assert [usual.prompt_for(t) for t in ("forward", "latents")] == ["forward", "co-smoothing"]
    assert usual.onward(0.02) == ("forward", 20)
    off = {"units": 0, "future": 0, "intra_region": 0, "inter_region": 0, "bins": 0}
    bins = MaskConfig(**off | {"bins": 1})
    assert {bins.prompt_for(t) for t in ("forward", "co-smoothing", "latents")} == {"bins"}
    assert bins.onward(0.02) == ("forward", 1)
    assert MaskConfig(**off | {"autoregressive": 1}).onward(0.02) == ("autoregressive", 1)
    assert MaskConfig(**off | {"next_bin": 1}).onward(0.02) == ("next-bin", 1)


def test_the_recipe_ndt_asks_about_bins_alone_and_is_tiny_besides():
    folder = resources.files("neurofm") / "recipes"
    ndt, tiny = (load(PretrainConfig, folder / f"{name}.yaml") for name in ("ndt", "tiny"))
    assert {k for k, w in ndt.masks.weights().items() if w} == {"bins"}
    assert ndt.model_copy(update={"masks": tiny.masks}) == tiny
    shares = [HideBins()(100, CHANNELS, generator(s)).hidden.mean() for s in range(200)]
    assert np.mean(shares) == pytest.approx(0.25, abs=0.04)


def test_share_of_hidden_units():
    hidden = [HideUnits(0.2, 0.2)(4, CHANNELS, generator(s)).hidden[0].sum() for s in range(10)]
    assert set(hidden) == {4}


def test_mixture_draws_by_weight_and_only_what_applies():
    masks = tuple(MASKS[name]() for name in ("units", "future", "inter-region"))
    mixture = Mixture(masks, (0.5, 0.0, 0.5))
    one_region = Channels.of(["x", "y", "z"], region=["A"] * 3)
    drawn = [mixture.draw(CHANNELS, generator(s)).prompt for s in range(200)]
    assert set(drawn) == {"co-smoothing", "inter-region"}
    assert 60 < drawn.count("inter-region") < 140
    assert {mixture.draw(one_region, generator(s)).prompt for s in range(50)} == {"co-smoothing"}


def test_every_mask_has_a_prompt_of_its_own():
    prompts = [mask().prompt for mask in MASKS.values()]
    assert sorted(prompts) == sorted(PROMPTS)
    assert [prompt_index(p) for p in PROMPTS] == list(range(len(PROMPTS)))


def test_masks_of_the_activity_leave_the_other_nodes_out():
    mask = Inside(HideUnits())
    plain = CHANNELS.take(np.arange(12))
    for seed in range(10):
        cells = mask(9, NODES, generator(seed))
        same = HideUnits()(9, plain, generator(seed))
        assert (cells.hidden[:, :12] == same.hidden).all()
        assert not cells.hidden[:, 12:].any()
        assert cells.left_out.tolist() == [False] * 12 + [True] * 8
    alone = mask(9, CHANNELS, generator(0))
    assert alone.left_out is None
    assert (alone.hidden == HideUnits()(9, CHANNELS, generator(0)).hidden).all()


def test_masks_by_node_hide_what_they_are_named_after():
    node = NODES.node
    for seed in range(30):
        cells = {name: MASKS[name]()(9, NODES, generator(seed)) for name in BY_NODE}
        assert cells["encode"].scored[:, node == "activity"].all()
        assert not cells["encode"].hidden[:, node != "activity"].all()
        assert (cells["decode"].scored == (node != "activity")).all()
        future = cells["behaviour"]
        assert future.scored.any(axis=0).tolist() == (node == "behaviour").tolist()
        assert not future.hidden[0].any()
        assert future.left_out.tolist() == (node == "activity").tolist()
        hidden = cells["across"].hidden[0]
        assert hidden[14:17].all() or not hidden[14:17].any()  # one category, whole or not at all
    drawn = [MASKS["across"]()(9, NODES, generator(s)).hidden[0] for s in range(30)]
    nodes = {one for hidden in drawn for one in node[hidden].tolist()}
    assert nodes == set(node.tolist())
    assert not any(MASKS[name]().applies(CHANNELS) for name in BY_NODE)
    assert all(MASKS[name]().applies(NODES) for name in BY_NODE)


def test_encode_hides_whole_signals_now_and_then_and_never_all_of_them():
    ids = [str(i) for i in range(12)] + [
        "v[0]",
        "v[1]",
        "left",
        "right",
        "none",
        "p[0]",
        "p[1]",
        "x",
    ]
    channels = replace(NODES, id=np.array(ids))
    signals = {"v": [12, 13], "choice": [14, 15, 16], "p": [17, 18], "x": [19]}
    seen = []
    for seed in range(400):
        cells = Encode(0.5)(9, channels, generator(seed))
        hidden = cells.hidden[0]
        assert (cells.hidden == hidden).all()
        assert (cells.scored == hidden).all()
        assert hidden[channels.in_activity].all()
        there = frozenset(name for name, rows in signals.items() if not hidden[rows].any())
        assert all(hidden[rows].all() for name, rows in signals.items() if name not in there)
        seen.append(there)
    fewer = [there for there in seen if len(there) < 4]
    assert 150 < len(fewer) < 250
    assert {len(there) for there in fewer} == {1, 2, 3}
    assert {frozenset([name]) for name in signals} <= set(fewer)


def test_encode_sees_all_signals_where_it_is_told_to_or_there_is_one():
    alone = NODES.take(np.r_[:12, 14:17])
    for seed in range(20):
        for fewer, channels in ((0.0, NODES), (1.0, alone)):
            assert (
                Encode(fewer)(9, channels, generator(seed)).hidden == channels.in_activity
            ).all()


def test_a_mixture_draws_as_before_where_there_is_activity_alone():
    usual, without = MaskConfig(), MaskConfig(encode=0, decode=0, across=0)
    for seed in range(40):
        a, b = (m.mixture(0.02).draw(CHANNELS, generator(seed)) for m in (usual, without))
        assert a == b


def test_every_mask_is_in_its_table():
    classes = {
        c
        for module in (mask_module, mask_cells, mask_nodes)
        for c in vars(module).values()
        if isinstance(c, type) and hasattr(c, "applies")
    }
    assert classes - {mask_module.Mask, Inside} == set(MASKS.values())
