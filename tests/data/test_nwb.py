"""Quirks of NWB files, written by hand: nothing is lost in silence, nothing foreign is opened."""

import h5py
import numpy as np
import pytest

from neurofm.data.readers.nwb import read
from neurofm.data.recording import Samples
from neurofm.errors import InputError


@pytest.fixture
def make(tmp_path):
    """Write a file whose units fire at `times` (one list a unit); `more(file)` adds to it."""

    def write(times=((1.0, 2.0), (3.0,)), more=None, resolution=None):
        path = tmp_path / "a.nwb"
        with h5py.File(path, "w") as file:
            file.attrs["nwb_version"] = "2.7.0"
            file["identifier"] = "x"
            if times is not None:
                units = file.create_group("units")
                units["id"] = np.arange(len(times))
                units["spike_times"] = np.concatenate([np.array(t, float) for t in times])
                units["spike_times_index"] = np.cumsum([len(t) for t in times])
                if resolution:
                    units["spike_times"].attrs["resolution"] = resolution
            if more:
                more(file)
        (recording,) = read(path)
        return recording

    return write


def series(file, name, data, times=None, rate=None, start=0.0, kind="TimeSeries"):
    group = file.create_group(name)
    group.attrs["neurodata_type"] = kind
    group["data"] = data
    if times is not None:
        group["timestamps"] = times
    if rate is not None:
        group["starting_time"] = start
        group["starting_time"].attrs["rate"] = rate
    return group


def notes(recording):
    return "\n".join(recording.provenance.notes)


def test_one_absurd_spike_is_dropped_and_said(make):
    recording = make(times=((1.0, -1.5e9), (np.nan, 3.0)))
    assert (recording.activity.ticks / 1e6).tolist() == [1, 3]
    assert "1 absurd times (-1.5e+09 s) were dropped" in notes(recording)
    assert "1 times were not finite" in notes(recording)


def test_times_before_zero_move_the_clock_of_everything(make):
    def more(file):
        trials = file.create_group("intervals/trials")
        trials["start_time"], trials["stop_time"] = [-2.0, 1.0], [0.0, np.nan]
        series(file, "processing/behavior/x", np.arange(4.0), times=np.arange(4.0))
        series(file, "processing/behavior/y", np.arange(4.0), rate=2.0, start=-1.0)

    recording = make(times=((-2.5, 1.0),), more=more)
    assert (recording.activity.ticks / 1e6).tolist() == [0.5, 4]
    assert recording.trials["start_s"].tolist() == [1, 4]
    assert recording.signals["x"].sample_times_s().tolist() == [3, 4, 5, 6]
    assert recording.signals["y"].start_s == 2
    assert recording.span == (0.0, 6.0)
    assert "clock starts at -3 s" in notes(recording)


def test_a_calendar_clock_starts_at_its_first_second(make):
    recording = make(times=((1.6e9 + 0.25, 1.6e9 + 2.0),))
    np.testing.assert_allclose(recording.activity.ticks / 1e6, [0.25, 2], atol=1e-6)


def test_a_series_on_another_clock_is_left_out(make):
    def more(file):
        series(file, "acquisition/unix", np.arange(3.0), times=1.6e9 + np.arange(3))
        series(file, "acquisition/unix_rate", np.arange(3.0), rate=1.0, start=1.6e9)

    recording = make(more=more)
    assert recording.signals == {}
    assert notes(recording).count("lies on another clock") == 2
    assert recording.span[1] < 4


def test_a_stated_resolution_gives_the_ticks(make):
    recording = make(times=((30 / 30_000, 61 / 30_000),), resolution=1 / 30_000)
    assert recording.activity.ticks_per_s == 30_000
    assert recording.activity.ticks.tolist() == [30, 61]


def test_valid_time_is_where_the_file_gives_evidence_or_says_so(make):
    assert make(times=((5.0, 9.0),)).valid.pairs.tolist() == [[5.0, 9.000001]]

    def more(file):
        file["units/obs_intervals"] = [[0.0, 2.0], [3.0, 4.0], [0.0, 2.0], [3.5, 9.0]]
        series(file, "acquisition/x", np.arange(10.0), rate=1.0)

    assert make(more=more).valid.pairs.tolist() == [[0, 2], [3, 9]]


def test_foreign_files_are_never_opened(make, tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(800))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        series(other, "x", np.arange(3.0), rate=1.0)

    def more(file):
        acquisition = file.create_group("acquisition")
        acquisition["linked"] = h5py.ExternalLink("other.h5", "/x")
        acquisition["dangling"] = h5py.SoftLink("/nowhere")
        group = acquisition.create_group("raw")
        group.create_dataset("data", (100,), "f8", external=[(str(secret), 0, 800)])
        group["starting_time"] = 0.0
        group["starting_time"].attrs["rate"] = 1.0

    recording = make(more=more)
    assert recording.signals == {}
    assert "acquisition/linked: links into another file" in notes(recording)
    assert "acquisition/raw: not read: its data lies in another file" in notes(recording)


def test_spikes_kept_in_another_file_are_refused(make, tmp_path):
    (tmp_path / "secret.bin").write_bytes(bytes(24))

    def more(file):
        del file["units/spike_times"]
        place = [(str(tmp_path / "secret.bin"), 0, 24)]
        file["units"].create_dataset("spike_times", (3,), "f8", external=place)

    with pytest.raises(InputError, match="spike_times keeps its data in another file"):
        make(more=more)


def test_an_absurd_size_is_refused_before_reading(make):
    def more(file):
        del file["units/spike_times"]
        file["units"].create_dataset("spike_times", (10**13,), "f8", chunks=(1000,))

    with pytest.raises(InputError, match="claims 80,000,000,000,000 bytes and stores 0"):
        make(more=more)


def test_behavioural_events_are_tables_and_raw_data_is_left(make):
    def more(file):
        licks = series(file, "acquisition/licks/left", np.ones(3), times=[2.0, 1.0, 3.0])
        licks.parent.attrs["neurodata_type"] = "BehavioralEvents"
        series(file, "acquisition/raw", np.ones((9, 2)), rate=1.0, kind="ElectricalSeries")

    recording = make(more=more)
    assert recording.tables["left"]["start_s"].tolist() == [1, 2, 3]
    assert "acquisition/raw: not read: ElectricalSeries" in notes(recording)
    assert "acquisition/licks/left/timestamps: were out of order" in notes(recording)


def test_tables_of_events_start_and_stop(make):
    def more(file):
        for name, lasting in (("rewards", None), ("tones", [0.5, np.nan])):
            table = file.create_group(f"events/{name}")
            table["timestamp"] = [4.0, 1.0]
            if lasting:
                table["duration"] = lasting

    tables = make(more=more).tables
    assert tables["rewards"]["start_s"].tolist() == [1, 4]
    assert tables["rewards"]["stop_s"].tolist() == [1, 4]
    assert tables["tones"]["stop_s"].tolist() == [1, 4.5]


def test_series_of_one_name_keep_both(make):
    def more(file):
        for module in ("a", "b"):
            series(file, f"processing/{module}/speed", np.ones(3), rate=1.0)

    assert set(make(more=more).signals) == {"a.speed", "b.speed"}


def test_units_and_stimuli_keep_their_node_unit_and_scale(make):
    def more(file):
        group = series(file, "stimulus/presentation/tone", np.array([1, 2]), rate=1.0)
        group["data"].attrs.update({"unit": "V", "conversion": 0.5, "offset": 1.0})
        series(file, "acquisition/code", np.array([2**30 + 1, 0]), rate=1.0)

    recording = make(more=more)
    tone = recording.signals["tone"]
    assert (tone.node, tone.unit, tone.values[:, 0].tolist()) == ("stimulus", "V", [1.5, 2.0])
    assert recording.signals["code"].values[0, 0] == 2**30 + 1


def test_traces_with_missing_frames_leave_them_empty(make):
    at = np.array([0, 1, 2, 3, 10, 11, 12, 13, 14, 15])

    def more(file):
        series(file, "processing/ophys/dff", np.ones((10, 2)), times=5 + at * 0.1,
               kind="RoiResponseSeries")  # fmt: skip

    recording = make(times=None, more=more)
    assert isinstance(recording.activity, Samples)
    assert np.flatnonzero(np.isnan(recording.activity.values[:, 0])).tolist() == [4, 5, 6, 7, 8, 9]
    assert float(recording.activity.step_s) == pytest.approx(0.1)
    assert "6 samples are missing" in notes(recording)


def test_a_file_without_activity_says_what_to_do(make):
    with pytest.raises(InputError, match=r"a\.nwb: there are neither units .* spike-sort it"):
        make(times=None)
    with pytest.raises(InputError, match="no usable spike time"):
        make(times=((), ()))


def test_a_uuid_is_no_name_and_terms_are_found(make):
    def more(file):
        del file["identifier"]
        file["identifier"] = "0b1f7f4e-8b1c-4a1e-9c0e-3a5d0f6c7b2a"
        file["general/notes"] = "licence CC-BY-4.0; consent given in writing"

    recording = make(more=more)
    assert recording.id == "a"
    assert recording.provenance.licence == "CC-BY-4.0"
    assert recording.provenance.consent == "given in writing"


def test_another_table_can_be_the_trials(make, tmp_path):
    def more(file):
        table = file.create_group("intervals/blocks")
        table["start_time"], table["stop_time"] = [1.0, 0.0], [2.0, 1.0]
        table["timeseries_index"] = [0, 0, 0]

    recording = make(more=more)
    assert recording.tables["blocks"]["start_s"].tolist() == [0, 1]
    (again,) = read(tmp_path / "a.nwb", trials="blocks")
    assert again.trials["stop_s"].tolist() == [1, 2]
    assert "rows were sorted" in notes(recording)
    assert "not read: timeseries_index" in notes(recording)
