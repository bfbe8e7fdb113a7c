"""A new session's signals beside those of others."""

from dataclasses import replace

import numpy as np

from neurofm.data.recording import Recording
from neurofm.evaluate.new_session import Signals


def day(name, values, axes=()) -> Recording:
    counts = np.ones((len(values), 2), np.uint8)
    made = Recording.from_arrays(name, counts=counts, bin_s=0.1, signals={"emg": values})
    return replace(made, signals={"emg": replace(made.signals["emg"], axes=axes)})


def test_columns_of_other_days_are_matched_by_name_and_else_by_place():
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    new = day("new", values, ("FCR", "ECU", "MD"))
    turned = day("turned", values, ("ECU", "FCR", "Bi"))
    nameless, short = day("nameless", values + 1), day("short", values[:, :2])
    found = Signals.of(["emg"], new, [turned, nameless, short], 0.1).values
    np.testing.assert_array_equal(found["turned"][:, :2], values[:, [1, 0]])
    assert np.isnan(found["turned"][:, 2]).all()
    np.testing.assert_array_equal(found["nameless"], values + 1)
    assert np.isnan(found["short"]).all()
    np.testing.assert_array_equal(found["new"], values)
