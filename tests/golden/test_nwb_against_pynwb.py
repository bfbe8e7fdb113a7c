"""The fast NWB reader against pynwb: fixtures written by pynwb, simulated files, real files."""

import warnings
from datetime import UTC, datetime

import numpy as np
import pytest

from neurofm.data.readers.nwb import read
from neurofm.data.recording import Events
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.data.synthetic_nwb import write_nwb

pynwb = pytest.importorskip("pynwb", reason="pynwb is not installed")


def text(value):
    """pynwb gives the text of old files as bytes."""
    return value.decode() if isinstance(value, bytes) else value


def blank(name="golden"):
    when = datetime(2020, 1, 1, tzinfo=UTC)
    file = pynwb.NWBFile("a test", name, when, lab="Lab", institution="Inst",
                         related_publications=["doi:1"])  # fmt: skip
    file.subject = pynwb.file.Subject(subject_id="m1", species="Mus musculus", sex="U", age="P9D")
    return file


def with_units(file, rng):
    device = file.create_device("probe")
    group = file.create_electrode_group("g", "d", "V1", device)
    for i in range(4):
        file.add_electrode(x=float(i), y=1.0, z=2.0, location=["V1", "CA1", "CA1", "TH"][i],
                           group=group)  # fmt: skip
    file.add_unit_column("depth", "um")
    file.add_unit_column("label", "quality")
    for i, n in enumerate((40, 0, 25)):
        file.add_unit(spike_times=np.sort(rng.uniform(0, 60, n)), electrodes=[i + 1, 0],
                      depth=10.0 * i, label=f"q{i}", id=100 + i)  # fmt: skip


def with_behaviour(file, rng):
    file.add_trial_column("choice", "which")
    file.add_trial_column("score", "how well")
    for i in range(6):
        file.add_trial(start_time=10.0 * i, stop_time=10.0 * i + 4, choice=f"c{i % 2}", score=i / 3)
    file.add_epoch(0.0, 30.0, ["first"])
    behaviour = file.create_processing_module("behavior", "b")
    position = pynwb.behavior.Position()
    stamps = np.cumsum(rng.uniform(0.01, 0.05, 500))
    position.create_spatial_series("position", rng.normal(size=(500, 2)), timestamps=stamps,
                                   reference_frame="corner", conversion=0.01)  # fmt: skip
    behaviour.add(position)
    behaviour.add(pynwb.TimeSeries(name="wheel", data=np.arange(600), unit="deg", rate=10.0,
                                   starting_time=0.5))  # fmt: skip


def units_file(path):
    rng, file = np.random.default_rng(0), blank()
    with_units(file, rng)
    with_behaviour(file, rng)
    save(file, path)


def traces_file(path):
    rng, file = np.random.default_rng(0), blank("traces")
    device = file.create_device("scope")
    channel = pynwb.ophys.OpticalChannel(name="o", description="d", emission_lambda=500.0)
    plane = file.create_imaging_plane(
        name="p", optical_channel=channel, description="d", device=device, excitation_lambda=600.0,
        indicator="GCaMP", location="VISp", imaging_rate=30.0,
    )  # fmt: skip
    segmentation = pynwb.ophys.ImageSegmentation()
    table = segmentation.create_plane_segmentation("d", plane, "PS")
    for _ in range(3):
        table.add_roi(image_mask=np.ones((2, 2)))
    rois = table.create_roi_table_region("all", region=[0, 1, 2])
    module = file.create_processing_module("ophys", "o")
    module.add(segmentation)
    for kind, name in ((pynwb.ophys.Fluorescence, "raw"), (pynwb.ophys.DfOverF, "dff")):
        interface = kind()
        module.add(interface)
        interface.create_roi_response_series(name, data=rng.normal(size=(90, 3)), rois=rois, unit="a.u.",
                                             rate=30.0, starting_time=2.0)  # fmt: skip
    save(file, path)


def save(file, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pynwb.NWBHDF5IO(path, "w") as io:
            io.write(file)


def simulated_file(path):
    config = SimulationConfig(
        n_animals=1, sessions_per_animal=1, units_min=12, units_max=14, minutes=2.0
    )
    write_nwb(simulate(config, 0)[0], path)


MADE = {"units": units_file, "traces": traces_file, "simulated": simulated_file}
REAL = ("hippocampus-nelpy/linear-track.nwb", "nwb/sub-4_ses-4_ecephys+image.nwb",
        "nwb/sub-anm369963_ses-20170228.nwb", "nwb/sub-anm372793_ses-20170508.nwb")  # fmt: skip


@pytest.fixture(scope="module", params=[*MADE, *REAL])
def both(request, tmp_path_factory):
    """(our recording, pynwb's file, seconds between the two clocks)."""
    if request.param in MADE:
        path = tmp_path_factory.mktemp("nwb") / "a.nwb"
        MADE[request.param](path)
    else:
        path = request.getfixturevalue("shared_data") / request.param
        if not path.exists():
            pytest.skip(f"no {request.param}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pynwb.NWBHDF5IO(path, "r", load_namespaces=True) as io:
            (ours,) = read(path)
            theirs = io.read()
            yield ours, theirs, origin_of(theirs)


def origin_of(theirs):
    """By the rule of the reader: before 0 the clock moves by whole seconds; traces start at 0."""
    if theirs.units is None:
        return 2.0
    times = theirs.units["spike_times"].target.data[:]
    return min(np.floor(times.min()), 0.0)


def test_spike_times_of_every_unit(both):
    ours, theirs, origin = both
    if theirs.units is None:
        pytest.skip("no units")
    assert isinstance(ours.activity, Events)
    assert len(ours.channels) == len(theirs.units)
    rate = float(ours.activity.ticks_per_s)
    for row in range(len(theirs.units)):
        mine = ours.activity.ticks[ours.activity.row == row] / rate
        other = np.sort(np.asarray(theirs.units["spike_times"][row])) - origin
        assert len(mine) == len(other)
        np.testing.assert_allclose(mine, other, rtol=0, atol=0.500001 / rate + 1e-9)


def test_columns_of_every_interval_table(both):
    ours, theirs, origin = both
    mine = {"trials": ours.trials} if len(ours.trials) else {}
    mine |= ours.tables
    tables = dict(theirs.intervals or {})
    for name in ("trials", "epochs"):
        table = getattr(theirs, name)
        tables |= {name: table} if table is not None else {}
    assert set(tables) <= set(mine)
    for name, table in tables.items():
        frame = table.to_dataframe().sort_values("start_time", kind="stable")
        assert len(frame) == len(mine[name])
        for column in set(frame) - {"tags", "timeseries", "id"}:
            key = {"start_time": "start_s", "stop_time": "stop_s"}.get(column, column)
            values = frame[column].to_numpy()
            if key != column:
                np.testing.assert_allclose(mine[name][key], values - origin)
            else:
                expected = [text(value) for value in values.tolist()]
                assert mine[name][key].tolist() == pytest.approx(expected, nan_ok=True)


def series_of(theirs):
    kept = (pynwb.TimeSeries,)
    raw = (pynwb.image.ImageSeries, pynwb.ophys.RoiResponseSeries)
    found = [o for o in theirs.objects.values() if isinstance(o, kept) and not isinstance(o, raw)]
    return {o.name: o for o in found}


def test_data_and_times_of_every_series(both):
    ours, theirs, origin = both
    series = series_of(theirs)
    assert set(series) <= set(ours.signals) | set(ours.tables)
    for name, other in series.items():
        values = np.asarray(other.data[:], float) * other.conversion + other.offset
        times = np.asarray(other.get_timestamps()[:], float)
        near = np.abs(times - np.median(times)) < 7 * 86_400
        order = np.argsort(times[near], kind="stable")
        times, values = times[near][order] - origin, values[near][order]
        if name in ours.tables:
            np.testing.assert_allclose(ours.tables[name]["start_s"], times)
            np.testing.assert_allclose(ours.tables[name]["value"], values)
            continue
        mine = ours.signals[name]
        np.testing.assert_allclose(mine.values, values.reshape(len(values), -1), rtol=1e-6)
        np.testing.assert_allclose(mine.sample_times_s(), times, atol=1e-9)
        assert mine.unit == other.unit


def test_regions_of_every_unit(both):
    ours, theirs, _ = both
    if theirs.units is None:
        pytest.skip("no units")
    for row in range(len(theirs.units)):
        if "location" in theirs.units.colnames:
            region = text(theirs.units["location"][row])
        else:
            found = theirs.units["electrodes"][row]
            region = text(found["location"].iloc[0])
        mine = ours.channels.region[row]
        assert region == mine or region.startswith(f"brain_region: {mine};")


def test_who_and_where_from(both):
    ours, theirs, _ = both
    subject = theirs.subject
    assert ours.subject == (subject.subject_id if subject else "")
    assert ours.provenance.species == ((subject.species or "") if subject else "")
    assert ours.provenance.lab == ", ".join(x for x in (theirs.lab, theirs.institution) if x)
    assert ours.id == theirs.identifier
    assert ours.provenance.cite == "; ".join(map(text, theirs.related_publications or ()))


def test_traces(tmp_path):
    traces_file(tmp_path / "a.nwb")
    (ours,) = read(tmp_path / "a.nwb")
    with pynwb.NWBHDF5IO(tmp_path / "a.nwb", "r") as io:
        interface = io.read().processing["ophys"]["DfOverF"]
        data = interface.roi_response_series["dff"].data[:]
    np.testing.assert_allclose(ours.activity.values, data, rtol=1e-6)
    assert 1 / ours.activity.step_s == 30
    assert ours.span == (0.0, 3.0)
    assert ours.channels.region.tolist() == ["VISp"] * 3
    assert set(ours.channels.kind) == {"real"}
    assert set(ours.signals) == {"raw"}
    assert "clock starts at 2 s" in " ".join(ours.provenance.notes)


def test_unit_columns_and_places(tmp_path):
    units_file(tmp_path / "a.nwb")
    (ours,) = read(tmp_path / "a.nwb")
    assert ours.channels.id.tolist() == ["golden/100", "golden/101", "golden/102"]
    assert ours.channels.region.tolist() == ["CA1", "CA1", "TH"]
    assert ours.channels.coordinates[:, 0].tolist() == [1, 2, 3]
    assert ours.channels.quality["depth"].tolist() == [0, 10, 20]
    assert ours.channels.quality["label"].tolist() == ["q0", "q1", "q2"]


def test_a_simulated_session_comes_back(tmp_path):
    config = SimulationConfig(
        n_animals=1, sessions_per_animal=1, units_min=12, units_max=14, minutes=2.0
    )
    session = simulate(config, 0)[0].recording
    write_nwb(simulate(config, 0)[0], tmp_path / "a.nwb")
    (ours,) = read(tmp_path / "a.nwb")
    assert ours.channels.id.tolist() == session.channels.id.tolist()
    assert ours.activity.ticks_per_s == session.activity.ticks_per_s
    np.testing.assert_array_equal(ours.activity.ticks[:], session.activity.ticks[:])
    np.testing.assert_allclose(ours.valid.pairs, session.valid.pairs)
