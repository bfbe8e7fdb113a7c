"""`neurofm decode RUN --new STORE`: animals none of whose targets has been seen."""

import json

import numpy as np
import pytest

from neurofm.cli import main
from neurofm.data.readers import arrays
from neurofm.data.splits import split_by_time
from neurofm.data.store import create_store, open_store
from neurofm.pipeline import pretrain_store

TOY = ["steps=4", "validate_every=4", "valid_batches=1", "windows=4", "window_bins=40", "bin_s=0.02",
       "precision=fp32", "model.rows=inductive", "model.backbone.width=16", "model.backbone.layers=1",
       "model.backbone.heads=2", "model.backbone.mlp=16", "model.kernel=3"]  # fmt: skip
BRIEF = ["--set", "steps=4", "--set", "windows=4", "--set", "probe_batches=8"]
WITHOUT = {"model", "probe", "region-rates"}


def neurofm(*words) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


def write(folder, name, seed, spoiled=()):
    """Units of a region follow a signal, of another its opposite; choice is told by its sign.

    Targets of the `spoiled` [start, stop) seconds are nonsense.
    """
    rng = np.random.default_rng(seed)
    n_bins, n_units = 4000, 12 + seed
    arm = np.convolve(rng.standard_normal(n_bins), np.hanning(50), "same")
    arm /= arm.std()
    sign = np.where(np.arange(n_units) % 2, 1, -1)
    rate = 0.3 * np.exp(0.6 * arm[:, None] * sign * rng.uniform(0.5, 1.5, n_units))
    start = np.arange(0.1, 79, 0.5)
    middle = ((start + 0.15) / 0.02).astype(int)
    choice = np.where(arm[middle] > 0, "left", "right")
    told, mad = arm.copy(), np.random.default_rng(100)
    for first, stop in spoiled:
        told[round(first / 0.02) : round(stop / 0.02)] = 1e3 * mad.standard_normal()
        there = (start >= first) & (start < stop)
        choice[there] = np.where(choice[there] == "left", "right", "left")
    np.savez(folder / f"{name}.npz", counts=rng.poisson(rate).astype(np.uint8), bin_s=0.02, signal_arm=told[:, None],
             channel_region=np.where(sign > 0, "MOp", "VISp"), channel_id=[f"{name}/{i}" for i in range(n_units)],
             trial_start_s=start, trial_stop_s=start + 0.3, trial_choice=choice)  # fmt: skip
    return folder / f"{name}.npz"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decode-new")

    def stored(name, *files):
        store = create_store(folder / name)
        for path in files:
            for recording in arrays.read(path):
                store.write(recording)

    old = [write(folder, f"old-{k}", k) for k in range(2)]
    stored("old-store", *old)
    stored("new-store", write(folder, "stranger", 9))
    there = split_by_time(open_store(folder / "new-store").recordings())
    before_test = (0.0, float(there.side("test")["stranger"].pairs[0, 0]))
    stored("spoiled-store", write(folder, "stranger", 9, spoiled=[before_test]))
    pretrain_store(folder / "old-store", folder / "run", settings=TOY, device="cpu")
    return folder


def scores(capsys, place, store):
    capsys.readouterr()
    assert neurofm("decode", place / "run", "--new", place / store, "--json", *BRIEF) == 0
    found = json.loads(capsys.readouterr().out)
    return {
        (r["task"], r["predictor"]): r["value"]
        for r in found
        if r["metric"] in ("r2_flattened", "balanced_accuracy")
    }


def test_a_new_animal_is_decoded_and_none_of_its_targets_is_looked_at(place, capsys, monkeypatch):
    found = scores(capsys, place, "new-store")
    assert {m for t, m in found if t == "decode:arm@0min"} == WITHOUT | {"ridge, own targets"}
    assert {m for t, m in found if t == "decode:choice@0min"} == WITHOUT | {"logistic, own targets"}
    assert found["decode:arm@0min", "region-rates"] > 0.5
    assert found["decode:arm@0min", "ridge, own targets"] > 0.5
    assert found["decode:choice@0min", "region-rates"] > 0.7
    for chance in ("label_chance", "signal_chance"):  # slow, and not asked for here
        monkeypatch.setattr(f"neurofm.evaluate.nulls.{chance}", lambda *_: None)
    spoiled = scores(capsys, place, "spoiled-store")
    assert {k: v for k, v in spoiled.items() if k[1] in WITHOUT} == {
        k: v for k, v in found.items() if k[1] in WITHOUT
    }
    assert spoiled["decode:arm@0min", "ridge, own targets"] < 0  # the control: it is taught on them


def test_a_signal_with_other_axes_is_left_out_and_said(place, capsys):
    write(place, "stranger", 9)
    held = dict(np.load(place / "stranger.npz"))
    held["signal_arm"] = np.repeat(held["signal_arm"], 2, axis=1)
    np.savez(place / "stranger.npz", **held)
    (recording,) = arrays.read(place / "stranger.npz")
    create_store(place / "axes-store").write(recording)
    capsys.readouterr()
    assert neurofm("decode", place / "run", "--new", place / "axes-store", "--targets", "arm") == 0
    assert "arm of stranger: no recording of the run has these axes" in capsys.readouterr().err


def test_a_recording_of_the_run_is_refused(place, capsys):
    assert neurofm("decode", place / "run", "--new", place / "old-store") == 2
    assert "is a recording of the run" in capsys.readouterr().err
