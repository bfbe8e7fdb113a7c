"""Weights go to others and come back, whole or in part, and every number is accounted for."""

import json
import shutil
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from neurofm import Intervals, Recording, files
from neurofm.cli import main
from neurofm.data.store import create_store
from neurofm.errors import InputError, StoreError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.model import weights
from neurofm.model.build import build
from neurofm.model.checkpoint import Trained
from neurofm.model.compose import compose
from neurofm.model.model import ModelConfig
from neurofm.model.rows import is_row
from neurofm.model.trunk import Trunk
from neurofm.model.weights import Weights
from neurofm.pipeline import pretrain_store
from neurofm.sharing import from_pretrained, push_to_hub, save_pretrained, share_run
from neurofm.tokens.timebin import TimeBin
from neurofm.tokens.tokens import Batch, stack
from neurofm.tokens.vocabulary import Vocabulary, context, statistics

CPU = torch.device("cpu")
TOY = ["steps=6", "validate_every=6", "valid_batches=1", "windows=8", "window_bins=40",
       "model.backbone.width=16", "model.backbone.layers=1", "model.backbone.heads=2",
       "model.backbone.mlp=16", "model.kernel=3", "model.own_past=2", "precision=fp32"]  # fmt: skip


@pytest.fixture(scope="module")
def place(sessions, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("lab")
    store = create_store(folder / "store")
    for r in sessions:
        store.write(
            Recording.from_arrays(
                r.id, counts=np.tile(r.activity.values[:], (6, 1)), bin_s=0.02, subject=r.subject,
                channel_id=r.channels.id, channel_region=r.channels.region,
            )
        )  # fmt: skip
    trained = pretrain_store(store.folder, folder / "run", settings=TOY, device="cpu")
    with torch.no_grad():  # site rows start at zero: give them something to lose
        for value in trained.model.parameters():
            value += torch.randn(value.shape, generator=torch.Generator().manual_seed(0)) * 0.1
    save_pretrained(trained, folder / "shared")
    save_pretrained(trained, folder / "trunk", rows=False)
    return folder, trained


def latents_of(trained: Trained, recording: Recording) -> np.ndarray:
    return latents(Direct.of(trained, recording, CPU), recording, Intervals.of([(0.0, 4.0)]))[0]


def test_the_model_comes_back_as_it_went(place, sessions):
    folder, trained = place
    loaded = from_pretrained(folder / "shared")
    assert (loaded.used.trunk, loaded.used.checkpoint, loaded.used.model) == (1.0, 1.0, 1.0)
    assert (loaded.used.left, loaded.used.fresh, loaded.used.fresh_channels) == ((), (), ())
    assert loaded.trained.vocabulary == trained.vocabulary
    assert not loaded.trained.model.training
    for session in sessions:
        assert (latents_of(loaded.trained, session) == latents_of(trained, session)).all()


def test_the_trunk_says_nothing_of_channels(place):
    folder, trained = place
    assert sorted(p.name for p in (folder / "trunk").iterdir()) == [
        "README.md", "config.json", "manifest.json", "trunk.safetensors"
    ]  # fmt: skip
    for path in (folder / "trunk").iterdir():
        assert b"a11" not in path.read_bytes()  # the id of a channel
    assert "no rows of channels" in (folder / "trunk" / "README.md").read_text()
    tensors = load_file(folder / "trunk" / "trunk.safetensors")
    assert not any(is_row(name) for name in tensors)
    numbers = {trained.model.state_dict()[name].shape for name in tensors}
    counts = (len(trained.vocabulary.channels), len(trained.vocabulary.sites))
    assert not any(shape[0] in counts for shape in numbers)
    whole = from_pretrained(folder / "shared", rows=False)
    bare = from_pretrained(folder / "trunk")
    for loaded in (whole, bare):
        assert (loaded.used.trunk, loaded.used.checkpoint) == (1.0, 1.0)
        assert len(loaded.trained.vocabulary.channels) == 0


def test_rows_are_found_by_id_and_others_are_fresh(place, sessions):
    folder, trained = place
    ids = ["a3", "new-0", "a1", "new-1"]
    counts = np.random.default_rng(0).poisson(0.7, (400, 4)).astype(np.uint8)
    other = Recording.from_arrays("z-1", counts=counts, bin_s=0.02, channel_id=ids)
    train = {"z-1": Intervals.of([(0.0, 4.0)])}
    loaded = from_pretrained(
        folder / "shared", recordings=[other, sessions[0]], train=train, seed=1
    )
    old, new = trained.model.state_dict(), loaded.trained.model.state_dict()
    rows, at = trained.vocabulary.channels, loaded.trained.vocabulary.channels
    for name in (n for n in old if n.endswith(".shared")):
        assert torch.equal(new[name][at["a3"]], old[name][rows["a3"]])
        assert torch.equal(new[name][at["a1"]], old[name][rows["a1"]])
    sites, site_at = trained.vocabulary.sites, loaded.trained.vocabulary.sites
    for name in (n for n in old if n.endswith(".site")):
        same = new[name][site_at["a-1", "a3"]], old[name][sites["a-1", "a3"]]
        assert torch.equal(*same)
        assert not new[name][site_at["z-1", "a3"]].any()
    assert loaded.used.fresh_channels == ("new-0", "new-1")
    assert "b0" in loaded.used.left_channels
    assert loaded.used.trunk == 1.0
    assert 0.3 < loaded.used.model < 1.0
    mine = statistics(other, train["z-1"], 0.02)
    given = loaded.trained.measured(loaded.trained.vocabulary.rows(other)[1])
    assert (given.mean == mine.mean).all()
    assert (given.rate == mine.rate).all()
    assert (latents_of(loaded.trained, sessions[0]) == latents_of(trained, sessions[0])).all()


def test_shares_are_of_numbers(place):
    folder, trained = place
    sizes = {k: v.numel() for k, v in trained.model.state_dict().items()}
    trunk = sum(n for k, n in sizes.items() if not is_row(k))
    deeper = trained.model.config.model_copy(
        update={"backbone": trained.model.config.backbone.model_copy(update={"layers": 2})}
    )
    loaded = from_pretrained(folder / "shared", config=deeper, min_used=0.5)
    added = sum(n for k, n in sizes.items() if k.startswith("backbone.blocks.0."))
    assert loaded.used.trunk == pytest.approx(trunk / (trunk + added))
    assert loaded.used.checkpoint == 1.0
    assert loaded.used.model == pytest.approx(sum(sizes.values()) / (sum(sizes.values()) + added))
    assert all(name.startswith("backbone.blocks.1.") for name in loaded.used.fresh)
    with pytest.raises(InputError, match=r"% of the trunk fits, less than min_used 90%.*blocks\.1"):
        from_pretrained(folder / "shared", config=deeper)


def test_another_shape_is_refused_and_says_what_fits(place):
    folder, _ = place
    wider = ModelConfig.model_validate({"backbone": {"width": 32, "layers": 1, "heads": 2}})
    with pytest.raises(InputError, match=r"is \(16,\) in the checkpoint and \(32,\) in the model"):
        from_pretrained(folder / "shared", config=wider)
    loaded = from_pretrained(folder / "shared", config=wider, min_used=0.0)
    assert loaded.used.trunk < 0.01
    assert "backbone.blocks.0.qkv.weight" in loaded.used.left
    assert "fresh: " in str(loaded.used)


def test_questions_that_came_later_start_as_no_question(place):
    whole = Weights.of(place[1])
    fewer = replace(whole, tensors={**whole.tensors, "prompts": whole.tensors["prompts"][:3]})
    loaded = compose(fewer)
    assert torch.equal(loaded.trained.model.prompts[:3], whole.tensors["prompts"][:3])
    assert not loaded.trained.model.prompts[3:].any()
    assert loaded.used.checkpoint == 1.0
    assert 0.9 < loaded.used.trunk < 1.0


def test_loading_leaves_the_generator_alone(place):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    from_pretrained(place[0] / "trunk")
    assert torch.equal(torch.get_rng_state(), before)


def copy_of(place, tmp_path):
    return shutil.copytree(place[0] / "shared", tmp_path / "copy")


def rewritten(folder, name, **changes):
    """A file with other content whose hash is right: not damage, but another hand."""
    tree = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(tree | changes))
    reseal(folder)


def reseal(folder):
    listed = {k: v for k, v in files.manifest_of(folder).items() if "manifest" not in k}
    (folder / "manifest.json").write_text(json.dumps(listed))


@pytest.mark.parametrize("name", ["config.json", "trunk.safetensors", "rows.safetensors"])
def test_damage_is_named(place, tmp_path, name):
    folder = copy_of(place, tmp_path)
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(StoreError, match=f"{name} was changed"):
        from_pretrained(folder)
    (folder / name).unlink()
    with pytest.raises(StoreError, match=name):
        from_pretrained(folder)


def test_rows_may_be_lost_where_they_are_not_wanted(place, tmp_path):
    folder = copy_of(place, tmp_path)
    (folder / "rows.safetensors").unlink()
    (folder / "README.md").write_text("my own words")
    with pytest.raises(StoreError, match=r"rows=False"):
        from_pretrained(folder)
    assert from_pretrained(folder, rows=False).used.trunk == 1.0


def test_other_versions_and_strange_numbers_are_refused(place, tmp_path):
    folder = copy_of(place, tmp_path)
    rewritten(folder, "config.json", schema=2)
    with pytest.raises(StoreError, match="schema 2 and this version reads 1"):
        from_pretrained(folder)
    rewritten(folder, "config.json", schema=1, model={"kernels": 3})
    with pytest.raises(StoreError, match=r"model\.kernels"):
        from_pretrained(folder)
    tensors = load_file(folder / "trunk.safetensors")
    tensors["prompts"][0, 0] = float("nan")
    save_file(tensors, folder / "trunk.safetensors")
    reseal(folder)
    with pytest.raises(StoreError, match="prompts holds a number that is not finite"):
        from_pretrained(folder)
    with pytest.raises(StoreError, match="neurofm share RUN"):
        from_pretrained(place[0] / "run")


def test_the_card_says_what_it_was_trained_on(place, tmp_path):
    said = []
    out = share_run(place[0] / "run", tmp_path / "out", say=said.append)
    text = (out / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: neurofm")
    assert "3 sessions, 2 subjects" in text
    assert "| a-1 | a | not stated | 12 | 0.05 | not stated | not stated |" in text
    assert "units 0.6" in text
    assert "Nothing was measured" in text
    assert str(place[0]) not in text
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1  # others may read what I may
    assert "3 of 3 sessions state no licence" in said[0]
    assert from_pretrained(out).used.checkpoint == 1.0
    with pytest.raises(StoreError, match="exists already"):
        share_run(place[0] / "run", out)


class Hub(types.ModuleType):
    """What of huggingface_hub is used, on a folder."""

    def __init__(self, folder):
        super().__init__("huggingface_hub")
        self.folder, self.created = folder, []

    def create_repo(self, repo_id, *, private, exist_ok):
        self.created.append((repo_id, private))

    def upload_folder(self, *, repo_id, folder_path, allow_patterns, revision):
        (self.folder / repo_id).mkdir(parents=True)
        for name in allow_patterns:
            shutil.copy(f"{folder_path}/{name}", self.folder / repo_id / name)
        return f"hub:{repo_id}"

    def snapshot_download(self, repo_id, *, revision, allow_patterns):
        if not (self.folder / repo_id).exists():
            raise ConnectionError("no network")
        out = self.folder / f"fetched-{len(allow_patterns)}"
        out.mkdir()
        for name in allow_patterns:
            shutil.copy(self.folder / repo_id / name, out / name)
        return str(out)


def test_up_to_the_hub_and_back(place, tmp_path, monkeypatch):
    hub = Hub(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    folder = copy_of(place, tmp_path)
    (folder / "notes.txt").write_text("mine")
    assert push_to_hub(folder, "lab/mouse") == "hub:lab/mouse"
    assert hub.created == [("lab/mouse", True)]
    assert not (tmp_path / "lab" / "mouse" / "notes.txt").exists()
    monkeypatch.chdir(place[0])  # where there is no folder lab/mouse
    assert from_pretrained("lab/mouse").used.checkpoint == 1.0
    alone = from_pretrained("lab/mouse", rows=False)
    assert len(alone.trained.vocabulary.channels) == 0
    assert not (tmp_path / "fetched-4" / "rows.json").exists()
    with pytest.raises(StoreError, match="no network"):
        from_pretrained("lab/rat")
    with pytest.raises(InputError, match="owner/name"):
        push_to_hub(folder, "mouse")


def test_without_the_hub_package_a_sentence_says_what_to_do(place, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"lab/mouse is no folder here.*neurofm\[hub\]"):
        from_pretrained("lab/mouse")
    with pytest.raises(InputError, match=r"neurofm\[hub\]"):
        share_run(place[0] / "run", tmp_path / "out", push="lab/mouse")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="neither a folder nor a hub id"):
        from_pretrained("some where")


LFADS = {"width": 16, "encoder": 8, "generator": 8, "controller": 8, "first_width": 4}
TRANSFORMER = {"width": 16, "layers": 1, "heads": 2, "mlp": 16}


@pytest.mark.parametrize("backbone", [TRANSFORMER, LFADS], ids=["transformer", "lfads"])
def test_the_trunk_is_the_models_own(backbone, sessions):
    config = ModelConfig.model_validate({"backbone": backbone, "kernel": 3})
    vocabulary = Vocabulary.of(sessions[:1])
    torch.manual_seed(0)
    model = build(config, len(vocabulary.channels), len(vocabulary.sites)).eval()
    trunk = Trunk(model)
    counts = np.asarray(sessions[0].activity.values[:40])
    measured = statistics(sessions[0], sessions[0].valid, 0.02)
    tokens = TimeBin()(counts, np.zeros(counts.shape, dtype=bool))
    group = stack([tokens], context(vocabulary, sessions[0], measured), [1])
    with torch.no_grad():
        model.prompts.normal_()
        whole = model(Batch((group,))).latents[0]
        alone = trunk(model.read_in(model.layout.sheet(group), group.context), "forward")
    assert torch.equal(alone, whole)
    names = {name for name, _ in trunk.named_parameters()}
    assert names
    assert not any(is_row(name) for name in names)
    assert trunk.backbone is model.backbone
    trunk.train()(torch.randn(2, 7, 16)).sum().backward()
    assert (backbone is LFADS) == bool(trunk.penalty > 0)


def test_lfads_goes_and_comes_back(sessions, tmp_path):
    config = ModelConfig.model_validate({"backbone": LFADS, "kernel": 3})
    vocabulary = Vocabulary.of(sessions[:1])
    model = build(config, 12, 12).eval()
    about = {"bin_s": 0.02, "window_bins": 40, "precision": "fp32"}
    measured = statistics(sessions[0], sessions[0].valid, 0.02)
    trained = Trained(model, vocabulary, measured, about, 0, {})
    loaded = from_pretrained(save_pretrained(trained, tmp_path / "lfads"))
    assert loaded.used.checkpoint == 1.0
    assert (latents_of(loaded.trained, sessions[0]) == latents_of(trained, sessions[0])).all()
    transformer = ModelConfig.model_validate({"backbone": TRANSFORMER, "kernel": 3})
    with pytest.raises(InputError, match="not in the"):
        from_pretrained(tmp_path / "lfads", config=transformer)


def test_other_numbers_of_rows_are_refused(place, tmp_path):
    folder = copy_of(place, tmp_path)
    ids = json.loads((folder / "rows.json").read_text())
    rewritten(folder, "rows.json", channels=ids["channels"][:-1])
    with pytest.raises(StoreError, match=r"rows for \d+ ids"):
        weights.read(folder)
    assert compose(replace(weights.read(folder, rows=False), source="x")).used.trunk == 1.0


def test_the_command(place, tmp_path, capsys, monkeypatch):
    words = ["share", str(place[0] / "run"), "--out", str(tmp_path / "out"), "--no-rows"]
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")
    assert not (tmp_path / "out" / "rows.json").exists()
    monkeypatch.setenv("NEUROFM_OFFLINE", "1")
    with pytest.raises(SystemExit) as stop:
        main([*words[:3], str(tmp_path / "other"), "--push", "lab/mouse"])
    assert stop.value.code == 2
    assert "NEUROFM_OFFLINE says offline" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
