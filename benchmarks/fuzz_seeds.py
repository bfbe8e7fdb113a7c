"""Small good files that the fuzzing spoils: one of each kind that each reader knows.

The same bytes every time, so that a case can be made again from its name and number.
"""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import yaml

from neurofm.data import splits
from neurofm.data.export import write_torch_brain
from neurofm.data.intervals import Intervals
from neurofm.data.readers.arrays import write_arrays
from neurofm.data.recording import Channels, Events, Provenance, Recording, Signal, Table
from neurofm.data.store import create_store
from neurofm.data.synthetic import SimulationConfig, simulate
from neurofm.data.synthetic_nwb import write_nwb

TEXT = h5py.string_dtype()
YAML = """\
window_bins: 100
windows: 32
steps: 1500
model:
  kernel: 9
  backbone: {width: 64, layers: 2, heads: 4, mlp: 128, dropout: 0.0}
masks: {units: 0.6, future: 0.15, low: 0.1, high: 0.5}
optim: {average: 0.99}
"""


def samples(kind: str = "counts") -> Recording:
    """Four channels, 20 s, a signal, trials and two valid pieces."""
    rng = np.random.default_rng(0)
    values = rng.poisson(0.7, (400, 4)).astype(np.uint8)
    chosen = {"counts": values} if kind == "counts" else {"traces": rng.normal(size=(400, 4))}
    return Recording.from_arrays(
        "worm", **chosen, bin_s=0.05, channel_id=[f"worm/{i}" for i in range(4)],
        channel_region=["head", "head", "tail", ""], subject="w1",
        signals={"velocity": rng.normal(size=(400, 2)).astype(np.float32)},
        trials={"start_s": np.array([1.0, 4.0]), "stop_s": np.array([2.0, 5.0])},
        valid=[(0.0, 9.0), (10.0, 20.0)], provenance=Provenance(species="C. elegans", licence="CC0"),
    )  # fmt: skip


def events() -> Recording:
    """Five units, 30 s, regular and irregular signals, trials and another table."""
    rng = np.random.default_rng(1)
    ticks = np.sort(rng.integers(0, 30 * 30_000, 1200))
    return Recording(
        id="mouse-1", subject="mouse", span=(0.0, 30.0), valid=Intervals.of([(0.0, 10.0), (12.0, 30.0)]),
        channels=Channels.of([f"mouse-1/{i}" for i in range(5)], region=["CA1", "V1", "CA1", "V1", "M1"],
                             subject="mouse", coordinates=rng.normal(size=(5, 3)),
                             quality={"depth": np.arange(5) * 20.0, "label": np.array(["good"] * 5)}),
        activity=Events.of(ticks, rng.integers(0, 5, 1200).astype(np.uint16), Fraction(30_000)),
        signals={"wheel": Signal(rng.normal(size=(1500, 2)).astype(np.float32), 0.02, unit="cm"),
                 "licks": Signal(np.ones((3, 1), np.float32), 0.0, 0.0, np.array([1.5, 1.5, 9.25]))},
        trials=Table({"start_s": np.array([1.0, 5.0, 20.0]), "stop_s": np.array([2.0, 6.5, np.nan]),
                      "choice": np.array(["left", "right", ""])}),
        tables={"rewards": Table({"start_s": np.array([2.0]), "stop_s": np.array([2.1])})},
        provenance=Provenance(source="a.nwb", species="Mus musculus", licence="CC0", lab="x"),
    )  # fmt: skip


def _nwb(path: Path) -> None:
    settings = SimulationConfig(n_animals=1, sessions_per_animal=1, units_min=6, units_max=6,
                                regions=("VISp", "CA1"), minutes=1.0)  # fmt: skip
    write_nwb(next(iter(simulate(settings, seed=0))), path)


def _nwb_traces(path: Path) -> None:
    """ROI traces with an imaging plane, events of behaviour, timestamps and an events table."""
    rng = np.random.default_rng(2)
    with h5py.File(path, "w") as file:
        file.attrs.update({"nwb_version": "2.7.0", "neurodata_type": "NWBFile"})
        for name, text in {"identifier": "fish-1", "session_description": "swims",
                           "session_start_time": "2020-01-01T09:00:00+00:00",
                           "general/subject/subject_id": "f1", "general/lab": "x",
                           "general/notes": "licence CC0; consent none",
                           "general/plane/location": "tectum"}.items():  # fmt: skip
            file.create_dataset(name, data=text, dtype=TEXT)
        rois = file.create_group("processing/ophys/seg/plane1")
        rois["imaging_plane"] = h5py.SoftLink("/general/plane")
        home = file.create_group("processing/ophys/DfOverF")
        home.attrs["neurodata_type"] = "DfOverF"
        series = home.create_group("RoiResponseSeries")
        series.attrs["neurodata_type"] = "RoiResponseSeries"
        series["data"] = rng.normal(size=(200, 3))
        series["timestamps"] = np.arange(200) * 0.1
        series["rois"] = np.arange(3)
        series["rois"].attrs["table"] = rois.ref
        licks = file.create_group("processing/behavior/BehavioralEvents/licks")
        file["processing/behavior/BehavioralEvents"].attrs["neurodata_type"] = "BehavioralEvents"
        licks["data"], licks["timestamps"] = np.ones(4), np.array([1.0, 3.0, 2.0, 9.0])
        table = file.create_group("events/rewards")
        table["timestamp"], table["duration"] = np.array([1.0, 5.0]), np.array([0.1, np.nan])
        trials = file.create_group("intervals/trials")
        trials["start_time"], trials["stop_time"] = np.arange(3.0), np.arange(3.0) + 0.5
        trials.create_dataset("choice", data=["left", "right", "left"], dtype=TEXT)


def _stored(path: Path) -> None:
    """The same array recording without compression, so that a flip reaches the arrays."""
    write_arrays(samples("traces"), path)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays)


FILES: dict[str, dict[str, Callable[[Path], None]]] = {
    "arrays": {
        "counts.npz": lambda path: write_arrays(samples(), path),
        "traces.npz": _stored,
    },
    "nwb": {"units.nwb": _nwb, "traces.nwb": _nwb_traces},
    "torch_brain": {
        "events.h5": lambda path: write_torch_brain(events(), path),
        "samples.h5": lambda path: write_torch_brain(samples(), path),
    },
}


def make_store(folder: Path) -> None:
    """A store of two sessions."""
    store = create_store(folder)
    for recording in (events(), samples()):
        store.write(recording)


def make_splits(path: Path) -> None:
    """Splits by time of two recordings."""
    splits.split_by_time([events(), samples()]).save(path)


def make_config(path: Path) -> None:
    """A configuration of pre-training."""
    assert yaml.safe_load(YAML)
    path.write_text(YAML)


def make_results(path: Path) -> None:
    """Eight results."""
    row = {"task": "co-smoothing", "recording": "a", "split": "test", "metric": "bps_pooled",
           "value": 0.4, "low": 0.3, "high": None, "n": 12, "null": "mean rate", "seed": 3,
           "unit_of_n": "blocks", "chance": None, "run": "r", "fingerprint": "f00d"}  # fmt: skip
    rows = [row | {"predictor": f"p{i}", "value": i / 10} for i in range(8)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
