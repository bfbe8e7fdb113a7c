"""The training curve from log rows."""

import math

from neurofm.report.curve import curve, speed


def test_training_and_validation_share_an_axis_of_steps():
    log = [{"event": "step", "step": 0, "loss": 2.0, "lr": 1e-3}, {"event": "step", "step": 5, "loss": 1.0},
           {"event": "valid", "step": 5, "bps": 0.2, "loss": {"units": 0.9}},
           {"event": "done", "step": 9, "loss": 7.0}]  # fmt: skip
    found = curve(log)
    assert found is not None
    assert found.steps == [0, 5]
    assert found.series == {"training loss": [2.0, 1.0], "validation bps": [None, 0.2],
                            "validation loss units": [None, 0.9]}  # fmt: skip
    assert found.data()["columns"][0] == [0, 5]
    assert "training loss from 2 to 1" in found.alt()
    assert found.grid().rows[0] == ("0", "2", "", "")


def test_what_is_no_finite_number_is_passed_over():
    log = [{"event": "step", "step": 1, "loss": math.nan}, {"event": "step", "step": "x", "loss": 1.0},
           {"event": "step", "loss": 1.0}, {"event": "valid", "step": 1, "bps": "high", "on": True}]  # fmt: skip
    assert curve(log) is None
    assert curve([]) is None


def test_a_long_log_is_thinned_and_keeps_its_ends_and_every_validation():
    log = [{"event": "step", "step": i, "loss": 1.0} for i in range(9001)]
    log += [{"event": "valid", "step": i, "bps": 0.1} for i in range(3, 9001, 1000)]
    found = curve(log)
    assert found is not None
    assert len(found.steps) < 2100
    assert (found.steps[0], found.steps[-1]) == (0, 9000)
    assert sum(v is not None for v in found.series["validation bps"]) == 9


def test_speed_in_words():
    log = [{"event": "step", "step": 1200, "loss": 1.0, "rate": 900.0, "seconds": 90.0}]
    assert speed(log) == "1,200 steps, 1.5 minutes, median 900 samples/s"
    assert speed([]) == ""
