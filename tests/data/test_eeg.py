"""EDF, BDF, BrainVision and FIF through MNE: units, types, marks, triggers, gaps, torn files."""

import os
import subprocess
import sys
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from neurofm.data.ingest import ingest
from neurofm.data.quality import Flag, QualityConfig
from neurofm.data.readers import digest_of, format_of, parts, reader_for
from neurofm.data.readers._mne_raw import step_of
from neurofm.data.store import open_store
from neurofm.data.synthetic_edf import write_edf
from neurofm.errors import InputError
from neurofm.files import sha256

mne = pytest.importorskip("mne", reason="MNE is not installed")
LABELS = ["EEG Fz", "EEG Cz", "EMG chin", "speed"]
UNITS = ["uV", "mV", "uV", "cm/s"]


def read(path):
    [recording] = reader_for(path)(path)
    return recording


def values(n_s=4, rate_hz=100, n=4):
    return np.random.default_rng(0).normal(0, 20, (n_s * rate_hz, n))


def notes(recording):
    return "\n".join(recording.provenance.notes)


def write_brainvision(folder, truth, *, markers=()):
    """A header of three channels in uV, float samples and markers (position, what, text)."""
    lines = ["Brain Vision Data Exchange Header File Version 1.0", "[Common Infos]",
             "Codepage=UTF-8", "DataFile=b.eeg", "MarkerFile=b.vmrk", "DataFormat=BINARY",
             "DataOrientation=MULTIPLEXED", "NumberOfChannels=3", "SamplingInterval=1953.125",
             "[Binary Infos]", "BinaryFormat=IEEE_FLOAT_32", "[Channel Infos]",
             "Ch1=Fz,,1,µV", "Ch2=Cz,,1,µV", "Ch3=EOG1,,1,µV"]  # fmt: skip
    (folder / "b.vhdr").write_text("\n".join(lines) + "\n", encoding="utf-8")
    truth.astype("<f4").tofile(folder / "b.eeg")
    said = ["Brain Vision Data Exchange Marker File, Version 1.0", "[Common Infos]",
            "Codepage=UTF-8", "DataFile=b.eeg", "[Marker Infos]",
            "Mk1=New Segment,,1,1,0,20200101000000000000"]  # fmt: skip
    said += [f"Mk{i}={what},{text},{at},1,0" for i, (at, what, text) in enumerate(markers, 2)]
    (folder / "b.vmrk").write_text("\n".join(said) + "\n", encoding="utf-8")
    return folder / "b.vhdr"


def a_raw(truth_v, types, rate_hz=600.614990234375):
    names = [f"c{i}" for i in range(len(types))]
    info = mne.create_info(names, rate_hz, types)
    for i, channel in enumerate(info["chs"]):
        channel["loc"][:3] = (0.01 * (i + 1), 0.0, 0.1)
    return mne.io.RawArray(truth_v.T, info, verbose="ERROR")


@pytest.mark.parametrize("suffix", [".edf", ".bdf"])
def test_edf_and_bdf_are_read_in_microvolts_at_their_exact_rate(tmp_path, suffix):
    truth = values()
    said = [(0.5, 0.25, "go"), (1.0, 0.5, "BAD_move"), (2.5, 0.0, "stop")]
    write_edf(tmp_path / f"a{suffix}", truth, 100, LABELS, units=UNITS, annotations=said,
              subject="p7")  # fmt: skip
    recording = read(tmp_path / f"a{suffix}")
    assert format_of(tmp_path / f"a{suffix}") == "eeg"
    assert recording.subject == "p7"
    assert recording.activity.step_s == Fraction(1, 100)
    assert recording.channels.id.tolist() == ["eeg/Fz", "eeg/Cz", "emg/chin"]
    assert recording.channels.quality["type"].tolist() == ["eeg", "eeg", "emg"]
    assert recording.channels.quality["unit"].tolist() == ["uV"] * 3
    got = recording.activity.values
    assert got.dtype == np.float32
    assert np.abs(got / [1, 1000, 1] - truth[:, :3]).max() < 0.002
    speed = recording.signals["speed"]
    assert (speed.unit, speed.step_s) == ("cm/s", 0.01)
    assert np.abs(speed.values[:, 0] - truth[:, 3]).max() < 0.002
    assert recording.trials["label"].tolist() == ["go", "stop"]
    assert recording.trials["stop_s"].tolist() == [0.75, 2.5]
    assert recording.valid.pairs.tolist() == [[0.0, 1.0], [1.5, 4.0]]
    assert "1 became signals: speed (misc)" in notes(recording)
    assert np.isnan(recording.channels.coordinates).all()  # EDF has no positions


def test_brainvision_is_cut_where_it_was_paused(tmp_path):
    truth = values(4, 512, 3)
    path = write_brainvision(
        tmp_path, truth, markers=[(257, "Stimulus", "S  1"), (1025, "New Segment", "")]
    )
    recording = read(path)
    assert recording.activity.step_s == Fraction(1, 512)
    assert np.allclose(recording.activity.values, truth, atol=1e-4)
    assert recording.channels.id.tolist() == ["eeg/Fz", "eeg/Cz", "eog/EOG1"]
    assert recording.valid.pairs.tolist() == [[0.0, 2.0], [2.0, 4.0]]
    assert recording.trials["label"].tolist() == ["Stimulus/S  1"]
    assert recording.trials["start_s"].tolist() == [0.5]
    assert "cut at 1 places" in notes(recording)
    assert {one.name for one in parts(path)} == {"b.eeg", "b.vmrk"}
    assert recording.provenance.source_sha256 == digest_of(path) != sha256(path)


def test_samples_that_changed_are_another_source(tmp_path):
    path = write_brainvision(tmp_path, values(1, 512, 3))
    before = digest_of(path)
    write_brainvision(tmp_path, values(1, 512, 3) + 1)
    assert digest_of(path) != before


def test_fif_keeps_positions_triggers_bad_channels_and_what_was_never_recorded(tmp_path):
    truth = values(4, 600, 5) * [1e-6, 1e-12, 1e-13, 1e-6, 0]
    truth[600:604, 4] = 3
    raw = a_raw(truth, ["eeg", "mag", "grad", "eeg", "stim"])
    raw.info["bads"] = ["c3"]
    raw.set_annotations(mne.Annotations([2.0, 3.0, 0.5], [0.5, 0.25, 0.1],
                                        ["BAD_ACQ_SKIP", "bad wire", "hello"],
                                        ch_names=[(), ("c1",), ()]))  # fmt: skip
    raw.save(tmp_path / "f_raw.fif", verbose="ERROR", fmt="double")
    recording = read(tmp_path / "f_raw.fif")
    assert 1 / recording.activity.step_s == Fraction(600.614990234375)
    assert recording.channels.quality["unit"].tolist() == ["uV", "fT", "fT/cm", "uV"]
    assert recording.channels.quality["bad"].tolist() == [False, False, False, True]
    assert np.allclose(recording.channels.coordinates[:, 0], [0.01, 0.02, 0.03, 0.04])
    got = recording.activity.values
    assert np.allclose(got[:600], truth[:600, :4] * [1e6, 1e15, 1e13, 1e6], rtol=1e-5)
    step = float(recording.activity.step_s)
    skipped = slice(int(2.01 / step), int(2.49 / step))
    assert np.isnan(got[skipped]).all()  # never zeros
    assert [(round(a, 3), round(b, 3)) for a, b in recording.valid] == [
        (0, 2),
        (2.5, round(recording.span[1], 3)),
    ]
    wire = slice(int(3.01 / step), int(3.24 / step))
    assert np.isnan(got[wire]).any(axis=0).tolist() == [False, True, False, False]
    assert recording.trials["label"].tolist() == ["hello"]
    assert recording.tables["stim"]["value"].tolist() == [3]
    assert recording.tables["stim"]["start_s"].tolist() == [600 * step]
    assert "1 are marked bad: eeg/c3" in notes(recording)


def test_bad_channels_are_left_out_where_that_is_asked_for(tmp_path):
    raw = a_raw(values(3, 100, 3) * 1e-6, ["eeg"] * 3, 100)
    raw.info["bads"] = ["c1"]
    raw.save(tmp_path / "f_raw.fif", verbose="ERROR")
    ingest([tmp_path / "f_raw.fif"], tmp_path / "s", QualityConfig(drop_bad=True), n_jobs=1)
    assert open_store(tmp_path / "s").open("f_raw").channels.id.tolist() == ["eeg/c0", "eeg/c2"]


def test_a_cropped_recording_starts_at_zero(tmp_path):
    raw = a_raw(values(4, 100, 2) * 1e-6, ["eeg"] * 2, 100)
    raw.set_annotations(mne.Annotations([2.5], [0.5], ["go"]))
    raw.crop(2.0, 3.5).save(tmp_path / "f_raw.fif", verbose="ERROR")
    recording = read(tmp_path / "f_raw.fif")
    assert recording.span == (0.0, 1.51)
    assert recording.trials["start_s"].tolist() == [0.5]


def test_implanted_electrodes_belong_to_their_subject(tmp_path):
    raw = a_raw(values(3, 100, 2) * 1e-6, ["seeg", "ecog"], 100)
    raw.info["subject_info"] = {"his_id": "p1"}
    raw.save(tmp_path / "f_raw.fif", verbose="ERROR")
    assert read(tmp_path / "f_raw.fif").channels.id.tolist() == ["p1/c0", "p1/c1"]


def test_split_fif_files_are_one_recording(tmp_path):
    raw = a_raw(np.zeros((60_000, 10)) + values(1, 60_000, 1) * 1e-6, ["eeg"] * 10, 100)
    raw.save(tmp_path / "f_raw.fif", verbose="ERROR", split_size="2MB", buffer_size_sec=10)
    names = sorted(p.name for p in tmp_path.glob("*.fif"))
    assert len(names) > 1
    report = ingest([tmp_path], tmp_path / "s", n_jobs=1)
    assert [(one.status, one.id) for one in report.outcomes] == [("written", "f_raw")]
    assert len(open_store(tmp_path / "s").open("f_raw").activity.values) == 60_000


def edit(path, at, text):
    content = bytearray(path.read_bytes())
    content[at : at + len(text)] = text
    path.write_bytes(content)


def test_a_discontinuous_file_is_refused_only_if_it_has_gaps(tmp_path):
    write_edf(tmp_path / "a.edf", values(), 100, LABELS, units=UNITS)
    edit(tmp_path / "a.edf", 192, b"EDF+D")
    assert read(tmp_path / "a.edf").duration_s == 4
    at = (tmp_path / "a.edf").read_bytes().index(b"+2\x14\x14")
    edit(tmp_path / "a.edf", at, b"+7\x14\x14")
    with pytest.raises(InputError, match=r"a\.edf is a discontinuous file .* with gaps"):
        read(tmp_path / "a.edf")


def test_channels_of_a_lower_rate_are_flagged(tmp_path):
    write_edf(tmp_path / "a.edf", values(), 100, LABELS, units=UNITS)
    content = (tmp_path / "a.edf").read_bytes()
    n, head = 5, 256 * 6
    at = 256 + n * (16 + 80 + 8 * 5 + 80) + 3 * 8
    record = (4 * 100 + 120) * 2
    bodies = [content[head + r * record : head + (r + 1) * record] for r in range(4)]
    slow = [b[:600] + b[600:620] + b[800:] for b in bodies]  # the last channel at 10 Hz
    (tmp_path / "a.edf").write_bytes(
        content[:at] + b"10      " + content[at + 8 : head] + b"".join(slow)
    )
    recording = read(tmp_path / "a.edf")
    assert recording.activity.step_s == Fraction(1, 100)
    flags = [Flag.parse(note) for note in recording.provenance.notes]
    assert [f.message for f in flags if f.severity == "repair"] == [
        "1 channels of a lower rate were brought to the highest: speed"
    ]


def test_a_file_without_a_channel_in_volts_is_refused(tmp_path):
    write_edf(tmp_path / "a.edf", values(n=1), 100, ["speed"], units=["cm/s"])
    with pytest.raises(InputError, match=r"a\.edf has no EEG, MEG, iEEG or EMG channel in volts"):
        read(tmp_path / "a.edf")


@pytest.mark.parametrize("kind", ["bdf", "fif", "brainvision"])
def test_torn_files_are_refused_by_name(tmp_path, kind):
    if kind == "bdf":
        path = torn = tmp_path / "a.bdf"
        write_edf(path, values(), 100, LABELS, units=UNITS)
    elif kind == "fif":
        path = torn = tmp_path / "f_raw.fif"
        a_raw(values() * 1e-6, ["eeg"] * 4, 100).save(path, verbose="ERROR")
    else:
        path, torn = write_brainvision(tmp_path, values(2, 512, 3)), tmp_path / "b.eeg"
    content = torn.read_bytes()
    for tenth in range(1, 10):
        torn.write_bytes(content[: len(content) * tenth // 10 | 1])
        with pytest.raises(InputError, match=path.name):
            read(path)


def test_rates_are_exact():
    assert step_of(1000 / 3) == Fraction(3, 1000)
    assert step_of(512.0) == Fraction(1, 512)
    assert 1 / step_of(600.614990234375) == Fraction(600.614990234375)


def test_mne_warnings_are_flags_and_no_warning_escapes(tmp_path):
    path = write_brainvision(tmp_path, values(1, 512, 3))
    (tmp_path / "b.vmrk").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recording = read(path)
    assert "warning: file: MarkerFile" in notes(recording)


def test_without_mne_the_extra_is_named(tmp_path, monkeypatch):
    write_edf(tmp_path / "a.edf", values(), 100, LABELS, units=UNITS)
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(InputError, match=r"reading a\.edf needs mne.*neurofm\[eeg\]"):
        read(tmp_path / "a.edf")


def test_nothing_is_written_in_the_users_home_and_no_torch_is_loaded(tmp_path):
    write_edf(tmp_path / "a.edf", values(), 100, LABELS, units=UNITS)
    home = tmp_path / "home"
    home.mkdir()
    code = ("import sys; from pathlib import Path; from neurofm.data.readers import reader_for; "
            "assert 'mne' not in sys.modules; p = Path(sys.argv[1]); list(reader_for(p)(p)); "
            "bad = {'torch', 'numba', 'matplotlib', 'requests', 'mne_bids'} & set(sys.modules); "
            "assert not bad, bad")  # fmt: skip
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MNE", "_MNE"))}
    env |= {"HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(tmp_path / "a.edf")], env=env, check=True
    )
    assert list(home.iterdir()) == []


def test_an_original_edf_of_a_mental_arithmetic_study_is_ingested(shared_data, tmp_path):
    path = shared_data / "eeg-eegmat" / "Subject00_2.edf"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    report = ingest([path], tmp_path / "s", n_jobs=1)
    assert [one.status for one in report.outcomes] == ["written"]
    recording = open_store(tmp_path / "s").open("Subject00_2")
    assert recording.activity.step_s == Fraction(1, 500)
    assert recording.activity.values.shape == (31_000, 21)
    types = recording.channels.quality["type"].tolist()
    assert (types.count("eeg"), types.count("ecg")) == (20, 1)
    spread = np.asarray(recording.activity.values[:])[:, :19].std(axis=0)
    assert ((spread > 5) & (spread < 40)).all()  # microvolts
    if (old := shared_data / "eeg-eegmat" / "eegmat_125hz.npz").is_file():
        with np.load(old) as file:
            task = (file["participant"] == 0) & (file["condition"] == 1)
            known = file["eeg"][task][0] * 0.2
        mine = np.asarray(recording.activity.values[:]).reshape(7750, 4, 21).mean(1)
        for row in range(19):
            assert np.corrcoef(known[row], mine[:, row])[0, 1] > 0.97
