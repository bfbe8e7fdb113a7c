import json

import numpy as np
import pytest

from neurofm.data.inspect import summary, table
from neurofm.data.quality import Flag
from neurofm.data.recording import Recording
from neurofm.data.store import create_store


@pytest.fixture
def store(tmp_path, events_of, samples_of):
    store = create_store(tmp_path / "store")
    store.write(events_of("spikes"), [Flag("warning", "units", "odd"), Flag("note", "x", "fact")])
    store.write(samples_of("traces", "traces"))
    counts = np.zeros((600, 3), np.uint8)
    counts[:, 0], counts[::2, 1] = 2, 1
    store.write(Recording.from_arrays("counts", counts=counts, bin_s=0.5, valid=[(0, 100)]))
    return store


def test_numbers_of_each_session(store):
    counts, spikes, traces = summary(store)
    assert (counts.activity, counts.step_s, counts.hours) == ("counts", 0.5, 100 / 3600)
    assert (counts.mean_rate_hz, counts.median_rate_hz) == ((4 + 1 + 0) / 3, 1.0)
    assert (spikes.activity, spikes.step_s, spikes.n_channels) == ("events", None, 5)
    assert spikes.regions == {"CA1": 2, "M1": 1, "V1": 2}
    assert spikes.signals == {"wheel": 2, "licks": 1, "image": 1}
    assert (spikes.n_trials, spikes.tables, spikes.hours) == (3, {"rewards": 1}, 28 / 3600)
    assert spikes.mean_rate_hz == pytest.approx(8, rel=0.05)
    assert (traces.activity, traces.mean_rate_hz) == ("traces", None)


def test_the_records_are_json(store):
    text = json.dumps([one.record() for one in summary(store)], allow_nan=False)
    assert json.loads(text)[1]["flags"][0] == {
        "severity": "warning", "field": "units", "message": "odd",
    }  # fmt: skip


def test_the_table_is_aligned_and_lists_what_wants_a_look(store):
    lines = table(summary(store)).splitlines()
    ends = [line.index("hours") + 5 for line in lines[:1]]
    for line in lines[2:5]:
        assert line[: ends[0]].endswith(("0.03", "0.01"))
    assert lines[2].split()[:4] == ["counts", "-", "3", "unknown"]
    assert "3 sessions of 3 subjects, 12 channels" in lines[5]
    assert lines[7:] == ["spikes", "  warning: units: odd"]
    assert "fact" not in "".join(lines)


def test_signals_that_have_no_room_in_their_row_are_named_below(store):
    lines = table(summary(store), width=12).splitlines()
    assert "signals: wheel 2, licks 1, image 1, velocity 2" in lines
    assert not any(line.startswith("signals:") for line in table(summary(store)).splitlines())
