import json
import os
import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from neurofm.data.export import write_torch_brain
from neurofm.data.readers.torch_brain import read
from neurofm.data.recording import Signal
from neurofm.data.store import create_store
from neurofm.errors import InputError


def back(recording, path):
    write_torch_brain(recording, path)
    (again,) = read(path)
    return again


def test_events_come_back_to_the_tick(tmp_path, events_of, same):
    recording = events_of()
    again = back(recording, tmp_path / "a.h5")
    same(again, recording, provenance=False)
    told = again.provenance
    assert (told.species, told.licence, told.lab) == ("Mus musculus", "CC0", "x")


@pytest.mark.parametrize("kind", ["counts", "traces"])
def test_samples_come_back_to_the_bit(kind, tmp_path, samples_of, same):
    recording = samples_of("w", kind)
    same(back(recording, tmp_path / "a.h5"), recording, provenance=False)


def test_names_of_columns_come_back_from_a_file_and_from_a_store(tmp_path, samples_of):
    plain = samples_of("w", "counts")
    emg = Signal(np.ones((len(plain.activity.values), 2), np.float32), float(plain.activity.step_s))
    named = replace(plain, signals={"emg": replace(emg, axes=("FCR", "ECU")), "arm": emg})
    store = create_store(tmp_path / "store")
    store.write(named)
    for again in (back(named, tmp_path / "a.h5"), store.open("w")):
        assert again.signals["emg"].axes == ("FCR", "ECU")
        assert again.signals["arm"].axes == ()


def test_a_slice_takes_no_spike_from_outside(tmp_path, events_of):
    piece = events_of().slice(5.0, 8.0)
    again = back(piece, tmp_path / "a.h5")
    times = again.activity.ticks / 30_000
    assert times.min() >= 5
    assert times.max() <= 8
    assert again.span == (5.0, 8.0)


def test_the_index_of_seconds_is_what_the_format_says(tmp_path, events_of):
    write_torch_brain(events_of(), tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as file:
        spikes = file["spikes"]
        times, index = spikes["timestamps"][:], spikes["timestamp_indices_1s"][:]
        starts = spikes["domain/start"][0] + np.arange(len(index))
        np.testing.assert_array_equal(index, np.searchsorted(times, starts))
        assert spikes.attrs["object"] == "IrregularTimeSeries"
        assert spikes.attrs["timekeys"].tolist() == [b"timestamps"]


def test_names_without_a_place_are_refused_and_leave_no_file(tmp_path, events_of):
    recording = events_of()
    taken = replace(recording, signals={"spikes": Signal(np.ones((3, 1), np.float32), 1.0)})
    with pytest.raises(InputError, match="'spikes' is taken"):
        write_torch_brain(taken, tmp_path / "a.h5")
    channels = replace(recording.channels, region=np.array(["Área"] * 5))
    with pytest.raises(InputError, match="column 'region' holds text beyond ASCII"):
        write_torch_brain(replace(recording, channels=channels), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


LOAD = """
import json, sys, warnings
warnings.simplefilter("ignore")
try:
    from torch_brain.data import Data
except ImportError as error:
    print(json.dumps({"missing": str(error)}))
    sys.exit(0)
import h5py
import numpy as np
with h5py.File(sys.argv[1]) as file:
    data = Data.from_hdf5(file, lazy=True)
    piece = data.slice(3.0, 5.0, reset_origin=False)
    out = {
        "times": piece.spikes.timestamps.tolist(), "unit": piece.spikes.unit_index.tolist(),
        "wheel": piece.wheel.values.tolist(), "ids": data.units.id.astype(str).tolist(),
        "choice": data.trials.choice.tolist(), "start": data.trials.start.tolist(),
        "rewards": data.rewards.end.tolist(), "domain": data.domain.end.tolist(),
        "session": data.session.id, "licks": data.licks.timestamps.tolist(),
    }
print(json.dumps(out))
"""


def test_the_real_package_loads_an_export(tmp_path, events_of):
    recording = events_of()
    write_torch_brain(recording, tmp_path / "a.h5")
    done = subprocess.run([sys.executable, "-c", LOAD, str(tmp_path / "a.h5")], env=os.environ,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    if "missing" in out:
        pytest.skip(f"torch-brain is not installed ({out['missing']})")
    ticks, row = recording.activity.ticks, recording.activity.row
    inside = (ticks >= 90_000) & (ticks < 150_000)
    np.testing.assert_array_equal(np.rint(np.array(out["times"]) * 30_000), ticks[inside])
    assert out["unit"] == row[inside].tolist()
    np.testing.assert_array_equal(out["wheel"], recording.signals["wheel"].values[150:250])
    assert out["ids"] == recording.channels.id.tolist()
    assert out["choice"] == ["left", "right", ""]
    assert out["start"] == [1.0, 5.0, 20.0]
    assert (out["rewards"], out["domain"]) == ([2.1], [10.0, 30.0])
    assert (out["session"], out["licks"]) == (recording.id, [1.5, 1.5, 9.25])


SAVE = """
import json, sys, warnings
warnings.simplefilter("ignore")
try:
    from torch_brain.data import ArrayDict, Data, Interval, IrregularTimeSeries, RegularTimeSeries
    from torch_brain.data import SessionDescription, SubjectDescription
except ImportError as error:
    print(json.dumps({"missing": str(error)}))
    sys.exit(0)
import h5py
import numpy as np
from datetime import datetime
rng = np.random.default_rng(0)
times = np.sort(rng.integers(0, 20_000_000, 900)) / 1e6
domain = Interval(start=np.array([0.0, 12.0]), end=np.array([10.0, 20.0]))
data = Data(
    session=SessionDescription(id="s1", recording_date=datetime(2020, 1, 1)),
    subject=SubjectDescription(id="monkey", species="MACACA_MULATTA"),
    spikes=IrregularTimeSeries(timestamps=times, unit_index=rng.integers(0, 3, 900), domain=domain),
    units=ArrayDict(id=np.array(["a", "b", "c"]), brain_region=np.array(["M1", "M1", "PMd"])),
    hand=RegularTimeSeries(vel=rng.normal(size=(2000, 2)), pos=rng.normal(size=(2000, 2)),
                           sampling_rate=100.0, domain_start=0.0),
    touches=IrregularTimeSeries(timestamps=np.array([1.0, 2.0]), force=np.array([3.0, 4.0]),
                                domain=domain),
    trials=Interval(start=np.array([1.0, 3.0]), end=np.array([2.0, 4.0]),
                    result=np.array(["R", "F"])),
    domain=domain,
)
data.train_domain = Interval(start=np.array([0.0]), end=np.array([5.0]))
with h5py.File(sys.argv[1], "w") as file:
    data.to_hdf5(file)
print(json.dumps({"ticks": np.rint(times * 1e6).astype(int).tolist(),
                  "unit": data.spikes.unit_index.tolist(), "vel": data.hand.vel.tolist()}))
"""


def test_a_file_of_the_real_package_is_read(tmp_path):
    done = subprocess.run([sys.executable, "-c", SAVE, str(tmp_path / "a.h5")], env=os.environ,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    if "missing" in out:
        pytest.skip(f"torch-brain is not installed ({out['missing']})")
    (recording,) = read(tmp_path / "a.h5")
    assert recording.activity.ticks.tolist() == out["ticks"]
    assert recording.activity.row.tolist() == out["unit"]
    assert recording.channels.id.tolist() == ["s1/a", "s1/b", "s1/c"]
    assert recording.channels.region.tolist() == ["M1", "M1", "PMd"]
    assert recording.valid.pairs.tolist() == [[0, 10], [12, 20]]
    np.testing.assert_array_equal(recording.signals["hand.vel"].values, out["vel"])
    assert recording.signals["hand.pos"].step_s == 0.01
    assert recording.signals["touches"].sample_times_s().tolist() == [1, 2]
    assert recording.trials["result"].tolist() == ["R", "F"]
    assert recording.tables == {}
    assert (recording.id, recording.subject) == ("s1", "monkey")
    assert recording.provenance.started.startswith("2020-01-01")
