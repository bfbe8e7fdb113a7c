"""`benchmarks/convert_people.py`: arrays of many people become recordings that are ingested."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from neurofm.data.ingest import ingest
from neurofm.data.store import open_store

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "convert_people.py"


def write_tiny(data):
    rng = np.random.default_rng(0)
    for name in ("emg-myo-gestures", "eeg-eegmat", "eeg-feis"):
        (data / name).mkdir(parents=True)
    np.savez(data / "emg-myo-gestures" / "myo_armband_gestures.npz",
             emg=rng.integers(-128, 128, (600, 8)).astype(np.int8), offsets=np.array([0, 200, 350, 600]),
             participant=np.array([0, 0, 22]), session=np.array([0, 0, 2]),
             gesture=np.array([3, 1, 6]), cycle=np.array([0, 0, 1]))  # fmt: skip
    np.savez(data / "eeg-eegmat" / "eegmat_125hz.npz",
             eeg=rng.integers(-100, 100, (4, 3, 1250)).astype(np.int16),
             participant=np.array([0, 1, 1, 0]), condition=np.array([1, 1, 0, 0]),
             ch_names=np.array(["Fp1", "A2-A1", "ECG"]))  # fmt: skip
    np.savez(data / "eeg-feis" / "feis_fixation_eeg_128hz.npz",
             eeg=rng.integers(-100, 100, (4, 2, 128)).astype(np.int16),
             participant=np.array([1, 1, 1, 2]), epoch=np.array([5, 2, 9, 1]),
             label=np.array([0, 1, 1, 0]), label_names=np.array(["f", "fleece"]),
             ch_names=np.array(["AF3", "F7"]))  # fmt: skip


def test_people_are_converted_and_ingested(tmp_path):
    write_tiny(tmp_path / "data")
    command = [sys.executable, str(SCRIPT), str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True)
    report = ingest([tmp_path / "out"], tmp_path / "s", n_jobs=1)
    assert report.exit_code == 0
    store = open_store(tmp_path / "s")
    assert store.ids() == (
        "eegmat-p00",
        "eegmat-p01",
        "feis-p01",
        "feis-p02",
        "myo-p00-r0",
        "myo-p22-r2",
    )
    myo = store.open("myo-p00-r0")
    with np.load(tmp_path / "data" / "emg-myo-gestures" / "myo_armband_gestures.npz") as file:
        assert np.array_equal(myo.activity.values[:], file["emg"][:350])
    assert myo.valid.pairs.tolist() == [[0.0, 1.0], [1.0, 1.75]]
    assert myo.trials["gesture"].tolist() == [3, 1]
    assert myo.channels.id[3] == store.open("myo-p22-r2").channels.id[3] == "myo/3"
    assert set(myo.channels.subject) == {"myo-p00"}
    math = store.open("eegmat-p01")
    with np.load(tmp_path / "data" / "eeg-eegmat" / "eegmat_125hz.npz") as file:
        assert np.allclose(math.activity.values[:][1250:], file["eeg"][1].T * 0.2)
    assert math.trials["start_s"].tolist() == [0, 4, 10, 14]
    assert math.trials["condition"].tolist() == [0, 0, 1, 1]
    assert math.channels.quality["type"].tolist() == ["eeg", "misc", "ecg"]
    feis = store.open("feis-p01")
    assert feis.trials["phoneme"].tolist() == ["fleece", "f", "fleece"]
    assert store.manifest("feis-p01")["montage"]["rate_hz"] == "128"
