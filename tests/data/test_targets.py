import numpy as np
import pytest

from neurofm import Recording
from neurofm.data.intervals import Intervals
from neurofm.data.targets import labels, labels_of, side_pieces, traces
from neurofm.errors import InputError


@pytest.fixture
def recording():
    signal = np.arange(100.0)
    signal[5] = np.nan
    start = np.array([0.0, 2.05, 4.0, 6.0])
    return Recording.from_arrays(
        "r", counts=np.ones((100, 2), np.uint8), bin_s=0.1, signals={"x": signal},
        valid=[(0.0, 5.0), (6.0, 10.0)],
        trials={"start_s": start, "stop_s": start + 1.0, "choice": np.array([1.0, -1.0, 1.0, np.nan]),
                "light_left": np.array([0.0, 1.0, 0.5, 0.0]), "light_right": np.array([1.0, 0, 0.5, 0]),
                "reaction_s": np.array([0.1, 0.2, 0.1, 0.2]), "note": np.array(["a", "a", "a", "a"])},
    )  # fmt: skip


def test_signals_lie_on_the_grid(recording):
    values = traces(recording, "x", 0.2)
    assert values.shape == (50, 1)
    assert values[0, 0] == pytest.approx(0.5)
    with pytest.raises(InputError, match="no signal 'y'; it has x"):
        traces(recording, "y", 0.2)


def test_labels_are_columns_of_few_values_and_sides(recording):
    assert labels_of(recording) == ["choice", "light_left", "light_right", "light_side"]
    choice = labels(recording, "choice", 0.1)
    assert choice.label.tolist() == ["1.0", "-1.0", "1.0"]
    assert choice.first.tolist() == [0, 21, 40]
    assert choice.stop.tolist() == [10, 30, 50]
    assert labels(recording, "light_side", 0.1).label.tolist() == [
        "right",
        "left",
        "equal",
        "equal",
    ]
    with pytest.raises(InputError, match="no label 'note'; they have choice"):
        labels(recording, "note", 0.1)


def test_trials_that_leave_their_side_belong_to_none(recording):
    spans = side_pieces(recording, Intervals.of([(0.0, 2.5), (2.5, 10.0)]), 0.1)
    assert spans == [(0, 25), (25, 50), (60, 100)]
    assert labels(recording, "light_left", 0.1).inside(spans).first.tolist() == [0, 40, 60]
