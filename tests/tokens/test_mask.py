import numpy as np
import pytest

from neurofm import Channels
from neurofm.seeding import generator
from neurofm.tokens import mask as mask_module
from neurofm.tokens.mask import MASKS, PROMPTS, HideUnits, Mixture, prompt_index

CHANNELS = Channels.of([str(i) for i in range(20)], region=["A"] * 12 + ["B"] * 8)


@pytest.mark.parametrize("name", sorted(MASKS))
def test_scored_cells_are_hidden_and_something_stays_visible(name):
    mask = MASKS[name]()
    for seed in range(30):
        cells = mask(25, CHANNELS, generator(seed, name))
        assert cells.hidden.shape == cells.scored.shape == (25, 20)
        assert (cells.hidden | ~cells.scored).all()
        assert cells.scored.any()
        assert not cells.hidden.all()


@pytest.mark.parametrize("name", sorted(MASKS))
def test_same_rng_same_cells_and_another_rng_others(name):
    mask = MASKS[name]()
    draws = [mask(25, CHANNELS, generator(s, name)).hidden for s in (1, 1, 2, 3, 4, 5)]
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


def test_every_mask_is_in_its_table():
    classes = {
        c for c in vars(mask_module).values() if isinstance(c, type) and hasattr(c, "applies")
    }
    assert classes - {mask_module.Mask} == set(MASKS.values())
