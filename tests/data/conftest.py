from fractions import Fraction

import numpy as np
import pytest

from neurofm.data.intervals import Intervals
from neurofm.data.recording import Channels, Events, Provenance, Recording, Signal, Table


def make_events(id="mouse/1: a", n_units=5, seconds=30, seed=0, subject="mouse") -> Recording:
    rng = np.random.default_rng(seed)
    n = seconds * n_units * 8
    ticks = np.sort(rng.integers(0, seconds * 30_000, n))
    row = rng.integers(0, n_units, n).astype(np.uint16)
    channels = Channels.of(
        [f"{id}/{i}" for i in range(n_units)],
        region=["CA1", "V1", "CA1", "V1", "M1"][:n_units],
        subject=subject,
        coordinates=rng.normal(size=(n_units, 3)),
        quality={"depth um": np.arange(n_units) * 20.0, "label": np.array(["good"] * n_units)},
    )
    return Recording(
        id=id,
        subject=subject,
        span=(0.0, float(seconds)),
        valid=Intervals.of([(0.0, 10.0), (12.0, float(seconds))]),
        channels=channels,
        activity=Events.of(ticks, row, Fraction(30_000)),
        signals={
            "wheel": Signal(rng.normal(size=(seconds * 50, 2)).astype(np.float32), 0.02, unit="cm"),
            "licks": Signal(np.ones((3, 1), np.float32), 0.0, 0.0, np.array([1.5, 1.5, 9.25])),
            "image": Signal(np.ones((4, 1), np.float32), 0.5, 3.0, node="stimulus"),
        },
        trials=Table(
            {
                "start_s": np.array([1.0, 5.0, 20.0]),
                "stop_s": np.array([2.0, 6.5, np.nan]),
                "choice": np.array(["left", "right", ""]),
                "contrast": np.array([0.0, 0.5, 1.0]),
            }
        ),
        tables={"rewards": Table({"start_s": np.array([2.0]), "stop_s": np.array([2.1])})},
        provenance=Provenance(source="a.nwb", species="Mus musculus", licence="CC0", lab="x",
                              notes=("repair: units: sorted",)),
    )  # fmt: skip


def make_samples(id="worm", kind="counts", seed=0) -> Recording:
    rng = np.random.default_rng(seed)
    values = rng.poisson(0.7, (400, 4)).astype(np.uint8)
    traces = rng.normal(size=(400, 4)).astype(np.float32)
    return Recording.from_arrays(
        id,
        **({"counts": values} if kind == "counts" else {"traces": traces}),
        bin_s=0.05,
        channel_id=[f"{id}/{i}" for i in range(4)],
        channel_region=["head", "head", "tail", ""],
        subject="w1",
        signals={"velocity": rng.normal(size=(400, 2)).astype(np.float32)},
        trials={"start_s": np.array([1.0, 4.0]), "stop_s": np.array([2.0, 5.0])},
        valid=[(0.0, 9.0), (10.0, 20.0)],
        provenance=Provenance(species="C. elegans", licence="CC0"),
    )


def assert_same(a: Recording, b: Recording, *, provenance=True) -> None:
    """Every part of two recordings is equal, to the tick and to the bit."""
    assert (a.id, a.subject, a.span) == (b.id, b.subject, b.span)
    np.testing.assert_array_equal(a.valid.pairs, b.valid.pairs)
    for name in ("id", "region", "subject", "node", "kind", "coordinates"):
        np.testing.assert_array_equal(getattr(a.channels, name), getattr(b.channels, name))
    assert set(a.channels.quality) == set(b.channels.quality)
    for name, column in a.channels.quality.items():
        np.testing.assert_array_equal(column, b.channels.quality[name])
    assert type(a.activity) is type(b.activity)
    for name in ("ticks", "row", "values"):
        if hasattr(a.activity, name):
            left, right = getattr(a.activity, name)[:], getattr(b.activity, name)[:]
            np.testing.assert_array_equal(left, right)
    for name in ("ticks_per_s", "step_s"):
        assert getattr(a.activity, name, None) == getattr(b.activity, name, None)
    assert set(a.signals) == set(b.signals)
    for name, signal in a.signals.items():
        other = b.signals[name]
        np.testing.assert_array_equal(signal.values[:], other.values[:])
        np.testing.assert_array_equal(signal.sample_times_s(), other.sample_times_s())
        assert (signal.step_s, signal.unit, signal.node) == (other.step_s, other.unit, other.node)
        assert (signal.times_s is None) == (other.times_s is None)
    tables = {"trials": a.trials, **a.tables}
    others = {"trials": b.trials, **b.tables}
    assert set(tables) == set(others)
    for name, table in tables.items():
        assert set(table.columns) == set(others[name].columns)
        for column, values in table.columns.items():
            np.testing.assert_array_equal(values, others[name][column])
    if provenance:
        assert a.provenance == b.provenance


@pytest.fixture
def events_of():
    return make_events


@pytest.fixture
def samples_of():
    return make_samples


@pytest.fixture
def same():
    return assert_same
