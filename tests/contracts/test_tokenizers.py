"""What every tokeniser promises, for every mask; a new one is tested here before it has its own."""

import importlib
import pkgutil

import numpy as np
import pytest
import torch

import neurofm.tokens
from neurofm import config
from neurofm.data.recording import Recording
from neurofm.errors import ConfigError
from neurofm.model.backbone import BackboneConfig
from neurofm.model.build import build
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.seeding import generator
from neurofm.tokens.mask import prompt_index
from neurofm.tokens.mask_config import MASKS
from neurofm.tokens.tokenizers import TOKENIZERS
from neurofm.tokens.tokens import Batch, stack
from neurofm.tokens.vocabulary import Vocabulary, context, statistics

COUNTS = np.random.default_rng(0).poisson(0.6, (60, 9)).astype(np.uint8)
RECORDING = Recording.from_arrays(
    "r", counts=COUNTS, bin_s=0.02, channel_region=["V1"] * 5 + ["CA1"] * 4
)


@pytest.fixture(params=sorted(TOKENIZERS))
def tokenizer(request):
    return TOKENIZERS[request.param]()


@pytest.fixture(params=sorted(MASKS))
def cells(request):
    mask = MASKS[request.param]()
    return mask(len(COUNTS), RECORDING.channels, generator(0, "mask")), prompt_index(mask.prompt)


def test_every_tokeniser_is_in_the_table():
    found = set()
    for module in pkgutil.iter_modules(neurofm.tokens.__path__):
        for value in vars(importlib.import_module(f"neurofm.tokens.{module.name}")).values():
            if isinstance(value, type) and "kind" in getattr(value, "model_fields", {}):
                found.add(value)
    assert found == set(TOKENIZERS.values())
    assert all(made().kind == name for name, made in TOKENIZERS.items())


def test_tokens_hold_nothing_of_what_is_hidden(tokenizer, cells):
    hidden = cells[0].hidden
    other = np.where(hidden, 200, COUNTS).astype(np.uint8)
    a, b = tokenizer(COUNTS, hidden), tokenizer(other, hidden)
    for name, value in vars(a).items():
        assert np.array_equal(value, getattr(b, name)), name
    assert (a.values[a.hidden] == 0).all()
    assert a.n_bins == len(COUNTS)
    assert ((a.bins < a.stops) & (a.stops <= a.n_bins)).all()


def test_the_model_is_shown_every_cell_as_it_is(tokenizer, cells):
    """Tokens laid out on the sheet again: counts where visible, the same cells hidden."""
    hidden, prompt = cells[0].hidden, cells[1]
    vocabulary = Vocabulary.of([RECORDING])
    channels = context(vocabulary, RECORDING, statistics(RECORDING, RECORDING.valid, 0.02))
    seed_torch(0, "test")
    backbone = BackboneConfig(width=16, layers=1, heads=2, mlp=16)
    model = build(ModelConfig(tokens=tokenizer, backbone=backbone), 9, 9).eval()
    sheet = model.layout.sheet(stack([tokenizer(COUNTS, hidden)] * 2, channels, [prompt] * 2))
    root = (np.sqrt(COUNTS.astype(np.float32)) - channels.mean.numpy()) / channels.scale.numpy()
    for window in (0, 1):
        assert (sheet.hidden[window].numpy() == hidden).all()
        np.testing.assert_allclose(sheet.values[window], np.where(hidden, 0, root), atol=1e-5)
    group = stack([tokenizer(COUNTS, hidden)], channels, [prompt])
    with torch.no_grad():
        output = model(Batch((group,)))
    assert output.latents[0].shape == (1, 60, 16)
    assert output.rates[0].shape == (1, 60, 9)


@pytest.mark.parametrize("name", sorted(TOKENIZERS))
def test_a_configuration_names_its_tokeniser(name, tmp_path):
    file = tmp_path / "c.yaml"
    made = config.load(ModelConfig, None, [f"tokens.kind={name}"])
    assert type(made.tokens) is TOKENIZERS[name]
    file.write_text(config.dump(made))
    assert config.load(ModelConfig, file) == made


def test_a_tokeniser_is_known_by_its_keys_and_a_wrong_key_is_refused():
    assert config.load(ModelConfig, None, ["tokens.budget=9"]).tokens == TOKENIZERS["event"](
        budget=9
    )
    assert config.load(ModelConfig).tokens == TOKENIZERS["time-bin"]()
    with pytest.raises(ConfigError, match=r"tokens.chanels; did you mean tokens.channels"):
        config.load(ModelConfig, None, ["tokens.kind=patch", "tokens.chanels=9"])
