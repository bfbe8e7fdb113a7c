"""Damage, failing disks and poison: everything is named, and nothing is run."""

import errno
import os
import resource
import shutil

import numpy as np
import pytest
import reliability_damage as damage
from reliability_power_cases import CASES, _fresh_checkpoint

from neurofm.errors import StoreError
from neurofm.model import checkpoint


@pytest.mark.parametrize("of", [damage.checkpoint_damage, damage.column_damage])
def test_every_damage_is_named(tmp_path, of):
    assert of(tmp_path / "work", 60, np.random.default_rng(0)).failures == 0


def test_harmless_damage_would_be_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "damaged", lambda data, rng: data)
    assert damage.checkpoint_damage(tmp_path / "work", 5, np.random.default_rng(0)).failures == 5


def test_every_poison_is_refused_and_none_runs(tmp_path):
    done = damage.poisoned(tmp_path)
    assert done.trials > 35
    assert done.notes == {}


def test_a_payload_that_runs_would_be_seen(tmp_path):
    import pickle

    pickle.loads(pickle.dumps(damage.Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["a JSON file, written and replaced", "results, appended",
                                  "weights for others"])  # fmt: skip
def test_a_disk_that_fails_at_any_call_is_explained_and_loses_nothing(tmp_path, name, monkeypatch):
    monkeypatch.setattr(damage, "CASES", {name: CASES[name]})
    done = damage.failing_calls(tmp_path, (errno.ENOSPC,))
    assert done.trials >= 6
    assert done.failures == 0


def test_a_real_limit_on_files_is_explained_and_the_old_checkpoint_stays(tmp_path):
    run, newer = _fresh_checkpoint(tmp_path)
    before = checkpoint.newest_intact(run.checkpoints)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        with pytest.raises(StoreError, match=r"could not be written .*--resume"):
            newer()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert checkpoint.newest_intact(run.checkpoints) == before
    assert [p.name for p in run.checkpoints.iterdir() if p.name.startswith(".")] == []
    newer()
    assert checkpoint.newest_intact(run.checkpoints) != before


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="mounting needs root")
def test_a_full_disk_ends_a_run_plainly_and_it_goes_on_with_more_room(nursery, tmp_path):
    from reliability_common import toy_store
    from reliability_kills import Bench

    toy_store(tmp_path / "store")
    bench = Bench(nursery, tmp_path, tmp_path / "store", ("steps=12", "validate_every=4"))
    try:
        filled, good = damage.full_disk(bench, tmp_path / "disk", 120)
    except PermissionError as error:
        pytest.skip(str(error))
    assert filled
    assert good
