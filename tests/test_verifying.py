import json

import numpy as np
import pytest
import torch

from neurofm import Recording, files
from neurofm.cli import main
from neurofm.data.store import create_store
from neurofm.errors import InputError, StoreError
from neurofm.model import checkpoint, weights
from neurofm.model.weights import Weights
from neurofm.run import Run, new_run
from neurofm.train.pretrain import PretrainConfig, pretrain
from neurofm.verifying import verify

CONFIG = PretrainConfig(
    bin_s=0.02, window_bins=20, windows=2, steps=2, validate_every=1, valid_batches=1,
    precision="fp32", model={"backbone": {"width": 8, "layers": 0, "heads": 1, "mlp": 8}, "kernel": 1},
)  # fmt: skip


@pytest.fixture
def store(tmp_path):
    made = create_store(tmp_path / "store")
    for name in ("a", "b"):
        made.write(Recording.from_arrays(name, counts=np.ones((50, 3), np.uint8), bin_s=0.02))
    return made


@pytest.fixture(scope="module")
def trained(sessions, sides, tmp_path_factory):
    run = new_run(tmp_path_factory.mktemp("runs") / "run")
    files.write_json(run.splits, {})
    pretrain(sessions, sides, CONFIG, run, device=torch.device("cpu"), say=lambda _: None)
    return run


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def exit_code(*arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, arguments)))
    return stop.value.code


def test_a_whole_store_passes(store, capsys):
    assert exit_code("verify", store.folder) == 0
    assert "every hash as it was written" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["activity.values.npy", "channels.id.npy", "manifest.json"])
def test_a_changed_file_of_a_store_is_named_with_its_remedy(store, capsys, name):
    (home,) = store.sessions.glob("b-*")
    flip(home / name)
    assert exit_code("verify", store.folder) == 3
    said = capsys.readouterr().err
    assert str(home / name) in said
    assert "ingest" in said
    assert str(next(store.sessions.glob("a-*"))) not in said


def test_every_broken_file_is_named_and_strangers_too(store):
    for home in store.homes():
        flip(home / "activity.values.npy")
    (store.homes()[0] / "evil.npy").write_bytes(b"")
    (store.homes()[0] / ".DS_Store").write_bytes(b"")
    done = verify(store.folder)
    assert len(done.broken) == 3
    assert sum("evil.npy" in sentence for sentence in done.broken) == 1


def test_a_session_under_another_name_is_named(store):
    store.homes()[0].rename(store.sessions / "b-other")
    assert any("belongs into another" in sentence for sentence in verify(store.folder).broken)


def test_a_manifest_may_not_name_a_file_outside(store, tmp_path):
    (home,) = store.sessions.glob("a-*")
    tree = json.loads((home / "manifest.json").read_text())
    secret = tmp_path / "secret.npy"
    (home / "activity.values.npy").rename(secret)
    tree["columns"]["../../../secret.npy"] = tree["columns"].pop("activity.values.npy")
    tree["activity"]["values"] = "../../../secret.npy"
    from neurofm.data.manifest import sealed

    (home / "manifest.json").write_text(json.dumps(sealed(tree)))
    assert any("outside its folder" in sentence for sentence in verify(store.folder).broken)
    with pytest.raises(StoreError, match="no plain name"):
        store.open("a")


def test_a_manifest_of_an_older_version_has_no_hash_of_itself_and_is_read(store):
    (home,) = store.sessions.glob("a-*")
    before = store.fingerprint()
    tree = json.loads((home / "manifest.json").read_text())
    tree.pop("manifest_sha256")
    (home / "manifest.json").write_text(json.dumps(tree))
    assert verify(store.folder).broken == ()
    assert store.fingerprint() == before


def run_of(trained, tmp_path):
    import shutil

    shutil.copytree(trained.folder, tmp_path / "run")
    run = Run(tmp_path / "run")
    files.write_text(run.config, "bin_s: 0.02\n")
    run.splits.write_text('{"how": "x", "gap_s": 0.5, "sides": {}}')
    return run


def test_a_damaged_checkpoint_and_log_of_a_run_are_named(trained, tmp_path):
    run = run_of(trained, tmp_path)
    broken = [s for s in verify(run.folder).broken if "splits" not in s]
    assert broken == []
    newest = checkpoint.folders(run.checkpoints)[-1]
    flip(newest / "training.safetensors")
    run.log.write_text("torn\n" + run.log.read_text() + '{"torn')
    said = [s for s in verify(run.folder).broken if "splits" not in s]
    assert len(said) == 2
    assert "line 1 is not JSON" in said[0]
    assert str(newest / "training.safetensors") in said[1]
    assert "use another checkpoint" in said[1]


def test_a_checkpoint_and_shared_weights_are_checked_too(trained, tmp_path):
    newest = checkpoint.folders(trained.checkpoints)[-1]
    assert verify(newest).broken == ()
    weights.write(tmp_path / "shared", Weights.of(checkpoint.load(newest)), rows=True, card="#")
    assert verify(tmp_path / "shared").broken == ()
    flip(tmp_path / "shared" / weights.TRUNK)
    assert "trunk.safetensors was changed" in verify(tmp_path / "shared").broken[0]


def test_what_is_none_of_them_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no store, run, checkpoint or shared weights"):
        verify(tmp_path)
