import numpy as np

from neurofm import Intervals, Recording
from neurofm.evaluate.baselines.mean_rate import MeanRate
from neurofm.evaluate.panels import save_recording
from neurofm.evaluate.score import score
from neurofm.evaluate.tasks import TASKS


def test_a_window_keeps_the_gaps_of_the_recording(tmp_path):
    rng = np.random.default_rng(0)
    counts = rng.poisson(1, (3000, 4)).astype(np.uint8)
    valid = [(start, start + 0.4) for start in np.arange(0, 30, 0.5)]
    arm = np.arange(3000, dtype=np.float32)
    recording = Recording.from_arrays(
        "r", counts=counts, bin_s=0.01, valid=valid, signals={"arm": arm}
    )
    sides = {"train": (0, 12), "valid": (12, 15), "test": (15, 30)}
    done = score(MeanRate, "mean-rate", TASKS["co-smoothing"], recording, bin_s=0.01, keep_answers=True,
                 **{k: Intervals.of([v]) for k, v in sides.items()})  # fmt: skip
    save_recording(tmp_path, recording, done, 0.01)
    panel = np.load(tmp_path / "window-r.npz")
    bins = round(float(panel["start_s"]) / 0.01) + np.arange(1000)
    gap = ~recording.valid.contains(bins * 0.01 + 0.005)
    assert panel["counts"].shape == panel["rates"].shape == (1000, 4)
    assert (np.isnan(panel["rates"]).all(axis=1) == gap).all()
    assert (panel["counts"][~gap] == counts[bins[~gap]]).all()
    assert (panel["signal_arm"][:, 0] == arm[bins]).all()
    units = np.load(tmp_path / "units-r.npz")
    assert np.allclose(units["rate_hz"], 100, rtol=0.2)
