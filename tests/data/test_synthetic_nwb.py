from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurofm.data.recording import Samples
from neurofm.data.synthetic import SimulatedSession, SimulationConfig, simulate
from neurofm.data.synthetic_nwb import TRIAL_COLUMNS, write_nwb
from neurofm.data.synthetic_truth import load_truth
from neurofm.errors import InputError

pynwb = pytest.importorskip("pynwb")


@pytest.fixture(scope="module")
def session() -> SimulatedSession:
    config = SimulationConfig(
        n_animals=1, sessions_per_animal=1, units_min=12, units_max=12, minutes=1.0
    )
    return simulate(config, seed=0)[0]


@pytest.fixture(scope="module")
def path(session, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nwb") / "new folder" / "session.nwb"
    write_nwb(session, path)
    return path


def test_pynwb_reads_what_was_simulated(session, path: Path) -> None:
    recording = session.recording
    with pynwb.NWBHDF5IO(str(path), "r", load_namespaces=False) as io:
        file = io.read()
        assert file.identifier == file.session_id == recording.id
        assert file.subject.subject_id == recording.subject
        assert file.subject.species == "none (simulated)"
        assert file.lab == "neurofm"
        assert file.session_start_time.isoformat() == recording.provenance.started
        assert list(file.units["channel_id"][:]) == recording.channels.id.tolist()
        for unit in range(len(file.units)):
            electrode = file.units["electrodes"][unit]
            assert electrode["location"].tolist() == [recording.channels.region[unit]]
            group = electrode["group"].iloc[0]
            assert group.location == recording.channels.region[unit]
            times = file.units.get_unit_spike_times(unit)
            mine = recording.activity.row == unit
            assert (np.rint(times * 30_000) == recording.activity.ticks[mine]).all()
            assert file.units.get_unit_obs_intervals(unit).tolist() == [[0.0, 60.0]]
        trials = file.trials.to_dataframe()
        assert set(trials.columns) == {"start_time", "stop_time", *TRIAL_COLUMNS}
        assert (trials["start_time"] == recording.trials["start_s"]).all()
        for name in TRIAL_COLUMNS:
            assert (trials[name] == recording.trials[name]).all()
        for name, signal in recording.signals.items():
            series = file.processing["behavior"][name]
            assert (series.rate, series.unit, series.starting_time) == (50.0, signal.unit, 0.0)
            assert (series.data[:] == signal.values[:, 0]).all()


def test_the_file_is_valid_nwb(path: Path) -> None:
    assert list(pynwb.validate(path=str(path))) == []


def test_a_silent_unit_is_written_too(session, path: Path) -> None:
    events = session.recording.activity
    kept = (events.row != 3) & (events.row != 11)
    silent = replace(events, ticks=events.ticks[kept], row=events.row[kept])
    quiet = replace(session, recording=replace(session.recording, activity=silent))
    write_nwb(quiet, path.with_name("quiet.nwb"))
    with pynwb.NWBHDF5IO(str(path.with_name("quiet.nwb")), "r", load_namespaces=False) as io:
        units = io.read().units
        assert [len(units.get_unit_spike_times(i)) == 0 for i in range(12)] == [
            i in (3, 11) for i in range(12)
        ]


def test_the_truth_lies_beside_and_not_inside(session, path: Path) -> None:
    truth = load_truth(path)
    assert truth.channel_id.tolist() == session.recording.channels.id.tolist()
    assert np.allclose(truth.true_rates, session.true_rates, rtol=1e-3, atol=0)
    assert truth.true_rates.shape == (3000, 12)
    assert path.stat().st_size < truth.true_rates.nbytes, "rates are not in the file"


def test_written_again_it_is_the_same_file(session, path: Path) -> None:
    before = path.read_bytes()
    write_nwb(session, path)
    assert path.read_bytes() == before
    names = sorted(p.name for p in path.parent.iterdir() if not p.name.startswith("quiet"))
    assert names == ["session.nwb", "session.nwb.truth.npz"], "nothing half-written stays"


def test_binned_activity_cannot_be_written(session, tmp_path: Path) -> None:
    samples = Samples(np.zeros((5, 12), np.uint8), 1)
    binned = replace(session, recording=replace(session.recording, activity=samples))
    with pytest.raises(InputError, match="only spike times can be written"):
        write_nwb(binned, tmp_path / "a.nwb")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(session, path: Path) -> None:
    before = path.read_bytes()
    broken = replace(session.recording, trials=type(session.recording.trials)({}))
    with pytest.raises(KeyError):
        write_nwb(replace(session, recording=broken), path)
    assert path.read_bytes() == before
    assert not [p for p in path.parent.iterdir() if p.name.startswith(".")]
