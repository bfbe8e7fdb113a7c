"""A new session's signals beside those of others."""

from dataclasses import replace

import numpy as np
import torch

from neurofm.data import binning
from neurofm.data.recording import Recording, Signal
from neurofm.evaluate.new_session import NewSession, Signals, decode_new
from neurofm.model.build import build
from neurofm.model.checkpoint import Trained
from neurofm.model.model import ModelConfig
from neurofm.model.seeded import seed_torch
from neurofm.tokens.vocabulary import Vocabulary, joined, statistics
from neurofm.train.finetune import FinetuneConfig

SMALL = {"backbone": {"width": 16, "layers": 1, "heads": 2, "mlp": 16, "dropout": 0.0}, "kernel": 9}


def trained_on(recordings, train) -> Trained:
    """A small model with random weights that knows these recordings."""
    vocabulary = Vocabulary.of(recordings)
    measured = joined(vocabulary, recordings,
                      {r.id: statistics(r, train[r.id], 0.02) for r in recordings})  # fmt: skip
    seed_torch(0, "test")
    sizes = len(vocabulary.channels), len(vocabulary.sites)
    model = build(ModelConfig.model_validate(SMALL), *sizes)
    config = {"bin_s": 0.02, "window_bins": 40, "precision": "fp32", "seed": 0}
    return Trained(model.eval(), vocabulary, measured, config, 0, {"score": 0.0})


def steep(recording) -> Signal:
    """Two axes at rest where smoothed counts are low, and steep above."""
    counts = binning.activity(recording, 0, binning.n_bins(recording, 0.02), 0.02).astype(float)
    smooth = np.stack([np.convolve(c, np.ones(21) / 21, "same") for c in counts[:, :2].T], axis=1)
    above = np.maximum((smooth - smooth.mean(0)) / smooth.std(0) - 0.5, 0)
    return Signal(above.astype(np.float32), 0.02)


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


def test_the_model_answers_on_curves_and_ridge_is_beside_it(sessions, sides):
    spans = {side: dict(part) for side, part in sides.items()}
    rest, new = [sessions[1], sessions[2]], sessions[0]
    days = [replace(r, signals={"arm": steep(r)}) for r in (*rest, new)]
    brief = FinetuneConfig(steps=2, windows=4, valid_batches=1, probe_batches=8)
    signals = Signals.of(["arm"], days[-1], days[:-1], 0.02)
    session = NewSession(trained_on(rest, spans["train"]), tuple(days[:-1]), days[-1], signals,
                         spans, brief, brief, torch.device("cpu"))  # fmt: skip
    found = [r for part in decode_new(session, [0, 0.05]) for r in part]
    flat = {(r.task, r.predictor): r.value for r in found if r.metric == "r2_flattened"}
    assert {p for t, p in flat if "@" not in t} >= {"ridge-same-day", "ridge-same-day-curved"}
    assert flat["decode:arm", "ridge-same-day-curved"] > flat["decode:arm", "ridge-same-day"] + 0.02
    task = "decode:arm@0.05min"
    assert flat[task, "model"] > flat[task, "model-line"] + 0.02
