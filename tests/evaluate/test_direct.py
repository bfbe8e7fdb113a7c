from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm import Run
from neurofm.errors import InputError
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.features import latents
from neurofm.evaluate.metrics import bps_pooled, value
from neurofm.evaluate.score import Scored, score
from neurofm.evaluate.task import Question
from neurofm.evaluate.tasks import TASKS
from neurofm.train.pretrain import PretrainConfig, pretrain

CPU = torch.device("cpu")
CONFIG = PretrainConfig(
    bin_s=0.02,
    window_bins=40,
    windows=16,
    steps=150,
    validate_every=150,
    valid_batches=2,
    precision="fp32",
    model={"backbone": {"width": 32, "layers": 1, "heads": 2, "mlp": 32}, "kernel": 5},
    optim={"warmup": 10, "rate": 5e-3, "average": 0.9},
)


@pytest.fixture(scope="module")
def trained(sessions, sides, tmp_path_factory):
    torch.set_num_threads(1)
    run = Run(tmp_path_factory.mktemp("run"))
    return pretrain(sessions, sides, CONFIG, run, device=CPU, say=lambda _: None)


def question(recording, task="co-smoothing", n_bins=130, hidden=None):
    counts = np.asarray(recording.activity.values[:n_bins])
    cells = np.zeros(counts.shape, dtype=bool) if hidden is None else hidden
    seen = np.where(cells, 0, counts).astype(counts.dtype)
    return Question(task, 0, recording.id, 0, 0.02, recording.channels, seen, cells, cells)


@pytest.mark.parametrize("task", sorted(TASKS))
def test_the_model_beats_the_mean_on_planted_structure(trained, sessions, sides, task):
    recording = sessions[0]
    direct = Direct.of(trained, recording, CPU)
    done = score(lambda: direct, "model", TASKS[task], recording, bin_s=0.02, block_s=1.0,
                 **{side: sides[side][recording.id] for side in ("train", "valid", "test")})  # fmt: skip
    assert isinstance(done, Scored)
    assert value(done.scores, bps_pooled) > 0.02


def test_time_shifted_sessions_score_no_better_than_chance(trained, sessions, sides):
    """A control: hidden channels moved against the visible ones hold nothing to be predicted."""
    recording = sessions[0]
    counts = np.asarray(recording.activity.values).copy()
    rng = np.random.default_rng(0)
    for channel in range(counts.shape[1]):
        counts[:, channel] = rng.permutation(counts[:, channel])
    broken = replace(recording, activity=replace(recording.activity, values=counts))
    direct = Direct.of(trained, broken, CPU)
    done = score(lambda: direct, "model", TASKS["co-smoothing"], broken, bin_s=0.02, block_s=1.0,
                 **{side: sides[side][recording.id] for side in ("train", "valid", "test")})  # fmt: skip
    assert value(done.scores, bps_pooled) < 0.02


def test_a_long_piece_is_every_bin_once_and_pieces_do_not_touch(trained, sessions):
    direct = Direct.of(trained, sessions[0], CPU)
    hidden = np.zeros((130, 12), dtype=bool)
    hidden[:, :4] = True
    long, short = (
        question(sessions[0], hidden=hidden),
        question(sessions[0], n_bins=25, hidden=hidden[:25]),
    )
    together = direct.predict([long, short])
    assert [r.shape for r in together] == [(130, 12), (25, 12)]
    assert all((r > 0).all() for r in together)
    for alone, with_mate in zip(
        (direct.predict([long]), direct.predict([short])), together, strict=True
    ):
        assert np.allclose(alone[0], with_mate, rtol=1e-5)


def test_without_overlap_each_window_answers_for_itself(trained, sessions):
    direct = replace(Direct.of(trained, sessions[0], CPU), overlap=0.0)
    hidden = np.zeros((80, 12), dtype=bool)
    hidden[:, :4] = True
    whole = question(sessions[0], n_bins=80, hidden=hidden)
    parts = [replace(whole, visible=whole.visible[a : a + 40], hidden=hidden[a : a + 40])
             for a in (0, 40)]  # fmt: skip
    assert np.allclose(np.concatenate(direct.predict(parts)), direct.predict([whole])[0], rtol=1e-5)
    half = replace(direct, overlap=0.5).predict([whole])[0]
    assert not np.allclose(half, direct.predict([whole])[0], rtol=1e-3)


def test_forward_asks_about_the_end_of_the_window(trained, sessions):
    direct = Direct.of(trained, sessions[0], CPU)
    hidden = np.zeros((60, 12), dtype=bool)
    hidden[-5:] = True
    asked = question(sessions[0], "forward", 60, hidden)
    rates = direct.predict([asked])[0]
    assert (rates[-40:] > 0).all()  # the last window of 40 bins holds the horizon
    assert (rates[:-40] == 0).all()  # older bins are beyond the model's window


def test_latents_cover_the_asked_bins(trained, sessions, sides):
    part = sides["test"]["a-1"]
    direct = Direct.of(trained, sessions[0], CPU)
    features, bins = latents(direct, sessions[0], part)
    assert features.shape == (len(bins), 32)
    ((start, end),) = part
    assert bins[0] * 0.02 >= start
    assert (bins[-1] + 1) * 0.02 <= end + 1e-9
    assert features.std(axis=0).min() > 0


def test_other_bins_and_unknown_recordings_are_refused(trained, sessions):
    direct = Direct.of(trained, sessions[0], CPU)
    with pytest.raises(InputError, match=r"bins of 0\.02 s"):
        direct.predict([replace(question(sessions[0]), bin_s=0.05)])
    with pytest.raises(InputError, match="other: 12 of 12 channels"):
        Direct.of(trained, replace(sessions[0], id="other"), CPU)
