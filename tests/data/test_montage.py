"""The montage contract: kept, compared, and mapped only where that is asked for."""

import json

import numpy as np
import pytest

from neurofm.config import load
from neurofm.data.export import write_torch_brain
from neurofm.data.ingest import ingest
from neurofm.data.montage import match, montage, refuse_other, refuse_unlike_all
from neurofm.data.quality import QualityConfig
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.recording import Channels, Recording
from neurofm.data.store import open_store
from neurofm.errors import InputError
from neurofm.files import read_json


def eeg(names=("Fz", "Cz", "Pz"), unit="uV", rate_hz=100, id="r", reference="Cz"):
    values = np.random.default_rng(0).normal(size=(5 * rate_hz, len(names))).astype(np.float32)
    n = len(names)
    quality = {"name": np.array(names), "type": np.full(n, "eeg"), "unit": np.full(n, unit),
               "reference": np.full(n, reference), "bad": np.zeros(n, bool)}  # fmt: skip
    made = Recording.from_arrays(id, traces=values, bin_s=1 / rate_hz)
    where = np.arange(3.0 * n).reshape(n, 3)
    channels = Channels.of([f"eeg/{name}" for name in names], kind="real", quality=quality,
                           coordinates=where)  # fmt: skip
    return Recording(**{**vars(made), "channels": channels})


def test_a_montage_says_what_was_measured():
    said = montage(eeg())
    assert said["rate_hz"] == "100"
    assert said["channels"][1] == {"id": "eeg/Cz", "name": "Cz", "type": "eeg", "unit": "uV",
                                          "reference": "Cz", "position": [3.0, 4.0, 5.0]}  # fmt: skip
    assert json.loads(json.dumps(said)) == said
    assert montage(Recording.from_arrays("s", counts=np.ones((9, 2), np.uint8), bin_s=0.1)) is None


def test_the_same_montage_is_accepted_in_any_order():
    trained = montage(eeg())
    refuse_other(eeg(("Pz", "Fz", "Cz")), trained)
    refuse_other(eeg(reference=""), trained)  # unknown is not compared
    refuse_other(eeg(), None)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (eeg(rate_hz=200), "200 samples a second and the model was trained on 100; resample"),
        (eeg(unit="mV"), "has the unit 'mV' and the model was trained on 'uV'"),
        (eeg(reference="ears"), "has the reference 'ears'"),
        (eeg(("Fz", "Cz", "Pz", "Oz")), r"1 channels that the model was not trained on \(eeg/Oz\)"),
        (eeg(("Fz", "Cz")), r"lacks 1 channels .*\(eeg/Pz\); map it with"),
    ],
)
def test_another_montage_is_refused_with_a_remedy(other, sentence):
    with pytest.raises(InputError, match=sentence):
        refuse_other(other, montage(eeg()))
    refuse_unlike_all([other], [montage(eeg()), montage(other)])
    refuse_unlike_all([other], [])
    with pytest.raises(InputError, match=sentence):
        refuse_unlike_all([other], [montage(eeg())])


def test_matching_reorders_renames_and_leaves_absent_channels_empty():
    mine = eeg(("T7", "Fz", "Oz"))
    out = match(mine, ["Fz", "T3", "Cz"], {"T7": "T3"})
    assert out.channels.id.tolist() == ["eeg/Fz", "eeg/T3", "eeg/Cz"]
    values = out.activity.values
    assert np.array_equal(values[:, 0], mine.activity.values[:, 1])
    assert np.array_equal(values[:, 1], mine.activity.values[:, 0])
    assert np.isnan(values[:, 2]).all()
    assert out.channels.quality["absent"].tolist() == [False, False, True]
    assert np.isnan(out.channels.coordinates[2]).all()
    assert match(mine, ["eog/T7"], {"T7": "eog/T7"}).channels.id.tolist() == ["eog/T7"]
    refuse_other(out, montage(match(eeg(("T3", "Cz", "Fz")), ["eeg/Fz", "eeg/T3", "eeg/Cz"])))


def test_what_cannot_be_matched_is_refused():
    with pytest.raises(InputError, match="has none of the channels C1"):
        match(eeg(), ["C1", "C2"])
    with pytest.raises(InputError, match="has no channel T7 to rename"):
        match(eeg(), ["Fz"], {"T7": "T3"})
    with pytest.raises(InputError, match="names a channel twice"):
        match(eeg(), ["Fz", "Fz"])
    with pytest.raises(InputError, match="Fz is eeg/Fz, eeg/Fz"):
        match(eeg(), ["Fz"], {"Cz": "Fz"})
    counts = Recording.from_arrays("s", counts=np.ones((9, 2), np.uint8), bin_s=0.1)
    with pytest.raises(InputError, match="s holds no traces"):
        match(counts, ["Fz"])


def test_a_store_keeps_the_montage_and_ingest_maps_it(tmp_path):
    write_arrays(eeg(("T7", "Fz", "Oz"), id="new"), tmp_path / "new.npz")
    ingest([tmp_path / "new.npz"], tmp_path / "plain", n_jobs=1)
    kept = open_store(tmp_path / "plain").manifest("new")["montage"]
    assert [row["id"] for row in kept["channels"]] == ["eeg/T7", "eeg/Fz", "eeg/Oz"]
    config = load(QualityConfig, None, ["montage.channels=[eeg/Fz, eeg/T3, eeg/Cz]",
                                        "montage.rename={T7: T3}"])  # fmt: skip
    [outcome] = ingest([tmp_path / "new.npz"], tmp_path / "mapped", config, n_jobs=1).outcomes
    store = open_store(tmp_path / "mapped")
    now = store.manifest("new")["montage"]["channels"]
    assert [row["id"] for row in now] == ["eeg/Fz", "eeg/T3", "eeg/Cz"]
    assert np.isnan(store.open("new").activity.values[:][:, 2]).all()
    messages = [flag.message for flag in outcome.flags if flag.severity == "repair"]
    assert messages == ["matched to 3; 1 absent: eeg/Cz; 1 left out"]
    assert store.manifest("new")["settings"]["montage"]["rename"] == {"T7": "T3"}


def test_a_store_of_counts_has_no_montage(tmp_path):
    counts = Recording.from_arrays("s", counts=np.ones((99, 2), np.uint8), bin_s=0.1)
    write_torch_brain(counts, tmp_path / "s.h5")
    ingest([tmp_path / "s.h5"], tmp_path / "store", n_jobs=1)
    [manifest] = (tmp_path / "store").glob("sessions/*/manifest.json")
    assert "montage" not in read_json(manifest)
