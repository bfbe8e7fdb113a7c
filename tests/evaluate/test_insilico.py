"""Experiments on a model find what was planted in what it learned from."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from neurofm import Intervals, Recording, Run
from neurofm.errors import InputError
from neurofm.evaluate import metrics as m
from neurofm.evaluate.direct import Direct
from neurofm.evaluate.insilico import Lesioned, most_exciting, over_seeds, tuning
from neurofm.evaluate.node_tasks import Decoding
from neurofm.evaluate.score import score
from neurofm.train.pretrain import PretrainConfig, pretrain

BIN_S, N, DELAY = 0.05, 4500, 3
PARTS = {
    "train": Intervals.of([(0.0, 150.0)]),
    "valid": Intervals.of([(150.0, 170.0)]),
    "test": Intervals.of([(170.0, 225.0)]),
}
NODES = {"signals": ["sound", "wheel"], "stimulus": ["sound"]}


def session() -> Recording:
    """Units 0 to 7 (region A) hear a sound three bins before, up or down; 8 to 11 (B) hear nothing."""
    rng = np.random.default_rng(0)
    sound, wheel = (np.convolve(rng.normal(size=N), np.ones(3) / 1.7, "same") for _ in range(2))
    gain = np.array([1.0, -1.0] * 4 + [0.0] * 4)
    drive = 0.8 * np.roll(sound, DELAY)[:, None] * gain
    return Recording.from_arrays(
        "s",
        counts=rng.poisson(0.6 * np.exp(drive)).clip(0, 255).astype(np.uint8),
        bin_s=BIN_S,
        channel_region=["A"] * 8 + ["B"] * 4,
        signals={"sound": sound.astype(np.float32), "wheel": wheel.astype(np.float32)},
    ).with_channels(signals=["sound", "wheel"], stimulus=["sound"])


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    config = PretrainConfig(
        bin_s=BIN_S, window_bins=40, windows=12, steps=250, validate_every=250, valid_batches=2,
        precision="fp32", channels=NODES, optim={"average": 0.95, "rate": 3e-3},
        model={"backbone": {"width": 16, "layers": 1, "heads": 2, "mlp": 32}, "kernel": 9},
    )  # fmt: skip
    torch.set_num_threads(1)
    sides = {side: {"s": PARTS[side]} for side in ("train", "valid")}
    run, recording = Run(tmp_path_factory.mktemp("run")), session()
    made = pretrain([recording], sides, config, run, device=torch.device("cpu"), say=lambda _: None)
    return Direct.of(made, recording, torch.device("cpu")), recording


def test_tuning_curves_rise_fall_and_stay_as_planted(heard):
    direct, recording = heard
    rates = tuning(direct, recording.channels, {"sound": [-1.0, 0.0, 1.0]})
    assert rates.shape == (3, 12)
    slope = np.log(rates[2] / rates[0]) / 2
    assert (slope[:8] * ([1, -1] * 4) > 0.3).all()  # 0.8 planted; a short training tells less
    assert np.abs(slope[8:]).max() < 0.2
    other = tuning(direct, recording.channels, {"wheel": [-1.0, 1.0]})
    assert np.abs(np.log(other[1] / other[0]) / 2).max() < 0.2


def test_what_is_not_held_is_hidden_and_not_taken_for_missing(heard):
    direct, recording = heard
    fold = Decoding("wheel").groups(recording, 0)[0]
    question = Decoding("wheel").examples(recording, PARTS["test"], BIN_S, fold)[0].question
    visible = np.zeros((21, 14), np.float32)
    visible[:, 12] = 1.0  # the sound
    hidden = np.ones(visible.shape, bool)
    hidden[:, 12] = False
    ask = replace(question, task="encoding", visible=visible, hidden=hidden)
    missing = np.where(np.arange(14) == 13, np.float32(np.nan), visible)
    gone = replace(ask, visible=missing, hidden=hidden & (np.arange(14) != 13))
    told, without = (one[10, :12] for one in direct.predict([ask, gone]))
    held = tuning(direct, recording.channels, {"sound": [1.0]})[0]
    np.testing.assert_allclose(held, told, rtol=1e-6)
    assert np.abs(held / without - 1).max() > 1e-4


@pytest.mark.parametrize(("unit", "sign"), [(0, 1), (1, -1)])
def test_the_most_exciting_sound_comes_as_long_before_as_planted(heard, unit, sign):
    direct, recording = heard
    name = str(recording.channels.id[unit])
    found = most_exciting(direct, recording.channels, name, ["sound", "wheel"], n_steps=60)
    assert found.rate > 1.5 * found.null_rate
    sound, wheel = np.abs(found.values).T
    assert abs(int(sound.argmax()) - (10 - DELAY)) <= 1
    assert found.values[sound.argmax(), 0] * sign > 0
    assert (wheel**2).sum() < 0.2 * (sound**2).sum()
    scale = direct.context.scale[-2:].numpy()
    mean = direct.context.mean[-2:].numpy()
    assert (((found.values - mean) / scale) ** 2).mean() <= 1.0 + 1e-4


def test_a_lesion_costs_where_the_answer_lay_and_nowhere_else(heard):
    direct, recording = heard

    def r2(predictor):
        done = score(lambda: predictor, "p", Decoding("sound"), recording, **PARTS, bin_s=BIN_S)
        return m.value(done.scores, m.r2_per_channel)

    intact = r2(direct)
    assert intact > 0.3
    assert r2(Lesioned.of(direct, recording.channels, "A")) < 0.1
    assert r2(Lesioned.of(direct, recording.channels, "B")) > intact - 0.1


def test_what_is_lesioned_does_not_reach_the_model(heard):
    direct, recording = heard
    lesioned = Lesioned.of(direct, recording.channels, "A")
    task = Decoding("sound")
    fold = task.groups(recording, 0)[0]
    question = task.examples(recording, PARTS["test"], BIN_S, fold)[0].question
    changed = question.visible.copy()
    changed[:, :8] += 3
    again = replace(question, visible=changed)
    a, b = lesioned.predict([question]), lesioned.predict([again])
    np.testing.assert_array_equal(a[0], b[0])
    assert (direct.predict([question])[0] != direct.predict([again])[0]).any()


def test_intervals_over_seeds_are_students():
    found = over_seeds([[1.0, 2.0], [3.0, 5.0], [2.0, 2.0]])
    np.testing.assert_allclose(found.mean, [2.0, 3.0])
    np.testing.assert_allclose(found.high - found.mean, 4.302653 * np.sqrt([1 / 3, 1.0]), rtol=1e-6)
    assert found.n == 3
    assert over_seeds([[0, 1], [0, 2.0]]).agreement == pytest.approx(1.0)


def test_what_cannot_be_asked_is_refused(heard):
    direct, recording = heard
    channels = recording.channels
    unit = str(channels.id[0])
    with pytest.raises(InputError, match="no channel 'soun'"):
        tuning(direct, channels, {"soun": [0.0]})
    with pytest.raises(InputError, match="is activity"):
        tuning(direct, channels, {unit: [0.0]})
    with pytest.raises(InputError, match="as many values"):
        tuning(direct, channels, {"sound": [0.0], "wheel": [0.0, 1.0]})
    with pytest.raises(InputError, match="no region 'C'; there are A, B"):
        Lesioned.of(direct, channels, "C")
    with pytest.raises(InputError, match="two answers"):
        over_seeds([[1.0]])
