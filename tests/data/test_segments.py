"""Segments of EEG beside speech: cutting, splitting, targets, and what the simulator plants."""

from dataclasses import replace

import numpy as np
import pytest

from neurofm import Intervals
from neurofm.data.log_mel import log_mel, mel_bands
from neurofm.data.recording import Signal
from neurofm.data.segments import Segments, cut, latents, prove_apart
from neurofm.data.splits import split_by_time
from neurofm.data.synthetic_speech import RATE_HZ, SpeechConfig, simulate_speech
from neurofm.errors import CheckFailed, InputError

TINY = SpeechConfig(minutes=1, n_eeg=4, n_emg=2, n_mels=3)


@pytest.fixture(scope="module")
def speech():
    return simulate_speech(TINY, seed=1)


def test_segments_are_the_recording_cut_end_to_end(speech):
    made = cut(speech, 3.0, target="mel", frames=12)
    assert made.eeg.shape == (20, 384, 4)
    assert made.emg.shape == (20, 384, 2)
    assert made.target.shape == (20, 12, 3)
    values = speech.activity.values
    assert np.array_equal(made.eeg[7], values[7 * 384 : 8 * 384, :4])
    assert np.array_equal(made.emg[7], values[7 * 384 : 8 * 384, 4:])
    mel = speech.signals["mel"].values
    assert np.allclose(made.target[7, 2], mel[7 * 96 + 16 : 7 * 96 + 24].mean(axis=0), atol=1e-5)
    assert made.channel.tolist() == speech.channels.id[:4].tolist()
    assert len(np.unique(made.item)) == 20


def test_gaps_and_unknown_targets_are_left_out(speech):
    mel = speech.signals["mel"].values.copy()
    mel[10 * 96 + 5 : 10 * 96 + 30] = np.nan
    holed = replace(
        speech,
        valid=Intervals.of([(0, 7.0), (8.0, 60.0)]),
        signals={"mel": Signal(mel, 1 / 32)},
    )
    kept = cut(holed, 3.0, target="mel", frames=12)
    assert kept.start_s.tolist() == [3.0 * k for k in range(20) if k not in (2, 10)]


def test_what_cannot_be_cut_is_said_in_a_sentence(speech):
    with pytest.raises(InputError, match="no signal 'sound'; it has mel"):
        cut(speech, 3.0, target="sound", frames=12)
    with pytest.raises(InputError, match="no whole segment"):
        cut(speech, 61.0, target="mel", frames=12)
    with pytest.raises(InputError, match="multiple of the sample"):
        cut(speech, 3.001, target="mel", frames=12)
    one = np.zeros((3, 8, 2), np.float32)
    with pytest.raises(InputError, match="target has 2 rows for 3"):
        Segments.of(one, np.zeros((2, 4)), length_s=1.0)
    with pytest.raises(InputError, match="eeg holds a number that is not finite"):
        Segments.of(one * np.nan, np.zeros((3, 4)), length_s=1.0)


def test_sides_are_apart_and_shuffled_windows_are_caught(speech):
    whole = cut(speech, 3.0, target="mel", frames=12)
    splits = split_by_time([speech], gap_s=3.0)
    sides = [whole.inside(splits.side(side)) for side in ("train", "valid", "test")]
    assert all(len(side) for side in sides)
    assert sum(map(len, sides)) < len(whole)
    prove_apart(sides[0], sides[2], 3.0)
    order = np.random.default_rng(0).permutation(len(whole))
    with pytest.raises(CheckFailed, match=r"pairs of train and test segments lie nearer than 3 s"):
        prove_apart(whole.take(order[:14]), whole.take(order[14:]), 3.0)


def fast(x):
    """The share of the first channel's power above 20 Hz."""
    power = np.abs(np.fft.rfft(x[:, 0])) ** 2
    return power[np.fft.rfftfreq(len(x), 1 / RATE_HZ) > 20].sum() / power.sum()


def test_the_simulator_plants_what_it_says():
    quiet = simulate_speech(TINY.model_copy(update={"eeg": 0.0, "leak": 0.0}), seed=1)
    leaking = simulate_speech(TINY.model_copy(update={"eeg": 0.0, "leak": 0.5}), seed=1)
    told = simulate_speech(TINY.model_copy(update={"eeg": 0.5, "leak": 0.0}), seed=1)
    bare, leak, brain = (r.activity.values.astype(float) for r in (quiet, leaking, told))
    assert np.allclose(bare[:, 4:], leak[:, 4:])  # what muscles do does not depend on the leak
    assert np.allclose((leak - bare)[:, :4].std(axis=0), 0.5, atol=0.01)
    assert np.allclose((brain - bare)[:, :4].std(axis=0), 0.5, atol=0.01)
    assert np.allclose(bare[:, :4].std(axis=0), 1.0, atol=0.01)
    assert fast(leak - bare) > 100 * fast(brain - bare)
    again = simulate_speech(TINY, seed=1, session="another")
    assert not np.allclose(again.signals["mel"].values, told.signals["mel"].values)


def test_a_tone_is_loud_in_its_band_and_at_its_time():
    rate = 16_000
    at = np.arange(rate) / rate
    sound = np.where(at < 0.5, np.sin(2 * np.pi * 1000 * at), 0.0)
    spectrum = log_mel(sound, rate)
    assert spectrum.shape == (100, 40)
    bands = mel_bands(40, 512, rate, 50.0, 8000.0)
    assert spectrum[20].argmax() == bands[:, 32].argmax()  # 1000 Hz is the 32nd frequency
    assert (spectrum[:48].max(axis=1) > 0).all()
    assert (spectrum[52:] == -10).all()
    assert np.array_equal(log_mel(np.stack([sound, 0 * sound]), rate)[0], spectrum)
    with pytest.raises(InputError, match="too narrow"):
        log_mel(sound, rate, n_mels=400, window_s=0.005)


def test_latents_of_a_user_are_read_and_checked(tmp_path):
    values = np.random.default_rng(0).normal(size=(5, 3, 7))
    np.savez(tmp_path / "a.npz", latents=values, words=values[:, 0])
    assert np.allclose(latents(tmp_path / "a.npz"), values, atol=1e-6)
    assert latents(tmp_path / "a.npz", "words").shape == (5, 1, 7)
    np.save(tmp_path / "b.npy", values * np.inf)
    with pytest.raises(InputError, match="not finite"):
        latents(tmp_path / "b.npy")
    with pytest.raises(InputError, match="no array 'absent'"):
        latents(tmp_path / "a.npz", "absent")
    np.savez(tmp_path / "c.npz", latents=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="no array 'latents' of numbers"):
        latents(tmp_path / "c.npz")
