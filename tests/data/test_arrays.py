import json
import os
import zipfile

import numpy as np
import pytest

from neurofm.data.readers.arrays import read, write_arrays
from neurofm.errors import InputError


def save(path, **arrays):
    base = {"counts": np.ones((20, 3), np.uint8), "bin_s": 0.1}
    np.savez(path, **{k: v for k, v in (base | arrays).items() if v is not None})
    return path


def only(path):
    (recording,) = read(path)
    return recording


@pytest.mark.parametrize("kind", ["counts", "traces"])
def test_a_recording_comes_back(kind, tmp_path, samples_of, same):
    recording = samples_of("w", kind)
    write_arrays(recording, tmp_path / "a.npz")
    again = only(tmp_path / "a.npz")
    same(again, recording, provenance=False)
    assert again.provenance.licence == "CC0"


def test_meta_is_provenance_and_what_is_left_is_noted(tmp_path):
    meta = {"id": "x", "subject": "s", "species": "mouse", "licence": "CC0", "muscles": ["a"]}
    recording = only(save(tmp_path / "a.npz", meta=json.dumps(meta)))
    assert (recording.id, recording.subject) == ("x", "s")
    assert recording.provenance.species == "mouse"
    assert recording.provenance.source == "a.npz"
    assert recording.provenance.notes == ('note: meta.muscles: ["a"]',)
    write_arrays(recording, tmp_path / "b.npz")
    assert only(tmp_path / "b.npz").provenance.notes == recording.provenance.notes


def test_columns_of_a_signal_have_names(tmp_path):
    two = np.ones((20, 2), np.float32)
    muscles = json.dumps({"muscles": ["FCR", "ECU"]})
    recording = only(save(tmp_path / "a.npz", signal_emg=two, signal_arm=two, meta=muscles,
                          axes_arm=np.array(["x", "y"])))  # fmt: skip
    assert {n: s.axes for n, s in recording.signals.items()} == {
        "emg": ("FCR", "ECU"), "arm": ("x", "y"),
    }  # fmt: skip
    write_arrays(recording, tmp_path / "b.npz")
    again = only(tmp_path / "b.npz")
    assert [s.axes for s in again.signals.values()] == [("FCR", "ECU"), ("x", "y")]
    three = only(save(tmp_path / "c.npz", signal_emg=np.ones((20, 3), np.float32), meta=muscles))
    assert three.signals["emg"].axes == ()


def test_without_meta_the_file_names_it(tmp_path):
    recording = only(save(tmp_path / "day3.npz"))
    assert recording.id == "day3"
    assert recording.channels.id.tolist() == ["day3/0", "day3/1", "day3/2"]


def test_a_misspelt_array_is_said(tmp_path):
    notes = only(save(tmp_path / "a.npz", vald=np.ones((1, 2)))).provenance.notes
    assert notes == (
        "warning: vald: is not part of the layout and was not loaded; did you mean valid?",
    )


WRONG = {
    "counts is int64": {"counts": np.ones((20, 3), np.int64)},
    "counts has shape": {"counts": np.ones(20, np.uint8)},
    "give either counts or traces": {"traces": np.ones((20, 3), np.float32)},
    "traces is int32": {"counts": None, "traces": np.ones((20, 3), np.int32)},
    "needs bin_s and counts or traces": {"counts": None},
    "bin_s must be one number": {"bin_s": np.ones(2)},
    "bin_s is -1.0": {"bin_s": -1.0},
    "bin_s is nan": {"bin_s": np.nan},
    "channel_id has 2 rows for 3": {"channel_id": np.array(["a", "b"])},
    "same id twice": {"channel_id": np.array(["a", "b", "a"])},
    "channel_id has shape": {"channel_id": np.ones((3, 1))},
    "region has 4 rows": {"channel_region": np.array(["a"] * 4)},
    "channel_depth has shape": {"channel_depth": np.ones(4)},
    "channel_coordinates has shape": {"channel_coordinates": np.ones((3, 2))},
    "signal x has shape": {"signal_x": np.ones((19, 2), np.float32)},
    "axes_x must name each of the 2": {
        "signal_x": np.ones((20, 2), np.float32), "axes_x": np.array(["a", "a"]),
    },
    "axes_y must name each of the 0": {"axes_y": np.array(["a"])},
    "signal_x is <U1": {"signal_x": np.array(["a"] * 20)},
    "trial_stop_s is missing": {"trial_start_s": np.ones(2)},
    "trial_choice has shape": {
        "trial_start_s": np.ones(2), "trial_stop_s": np.ones(2), "trial_choice": np.ones(3),
    },
    "valid has shape": {"valid": np.ones(4)},
    "valid holds": {"valid": np.array([[0.0, 9.0]])},
    "ends at or before": {"valid": np.array([[1.0, 1.0]])},
    "meta must be": {"meta": "not json"},
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_what_is_wrong_is_named_with_its_file(sentence, tmp_path):
    path = save(tmp_path / "bad.npz", **WRONG[sentence])
    with pytest.raises(InputError) as caught:
        only(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.count(str(path)) == 1
    assert sentence in message


def test_objects_are_never_unpickled(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    save(tmp_path / "a.npz", trial_x=np.array([Bomb()], dtype=object))
    with pytest.raises(InputError, match=r"trial_x\.npy holds Python objects"):
        only(tmp_path / "a.npz")
    assert not (tmp_path / "exploded").exists()


def header(shape):
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (117 - len(text)) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_a_header_that_claims_more_than_is_there_is_refused_before_reading(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("counts.npy", header((10**12, 96)))
    with pytest.raises(InputError, match="claims 96,000,000,000,1"):
        only(tmp_path / "a.npz")


def test_a_bomb_is_refused_before_it_unpacks(tmp_path, monkeypatch):
    monkeypatch.setattr("neurofm.data.readers.arrays.SUSPECT_BYTES", 1 << 20)
    save(tmp_path / "fine.npz")
    only(tmp_path / "fine.npz")
    zeros = np.zeros((4000, 1000), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", counts=zeros, bin_s=0.1)
    with pytest.raises(InputError, match="unpacks from"):
        only(tmp_path / "a.npz")


def test_what_the_format_has_no_place_for_is_refused(tmp_path, events_of, samples_of):
    with pytest.raises(InputError, match="holds spike times"):
        write_arrays(events_of(), tmp_path / "a.npz")
    recording = samples_of()
    recording.signals["fast"] = events_of().signals["wheel"]
    with pytest.raises(InputError, match="signal fast is on another grid"):
        write_arrays(recording, tmp_path / "a.npz")
    assert list(tmp_path.iterdir()) == []
