"""Which segment was said or heard, from a store to a table."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurofm import Recording, results
from neurofm.data.log_mel import log_mel
from neurofm.data.recording import Signal, Table
from neurofm.data.splits import split_by_time
from neurofm.data.store import create_store
from neurofm.data.synthetic_speech import SpeechConfig, simulate_speech
from neurofm.errors import ConfigError, InputError, StoreError
from neurofm.evaluate.retrieval_segments import RetrieveConfig, Sides, Targets, segments_of
from neurofm.retrieving import MIXED, PLAIN, TAKEN_OUT, retrieve_store

SPEECH = SpeechConfig(minutes=3, n_eeg=4, n_emg=1, n_mels=3, eeg=1.0, leak=0.3)
TOY = ["steps=30", "check_every=15", "rate=1e-2", "segments=32", "length_s=1.5", "frames=6", "gap_s=1.5",
       "encoder.filters=8", "encoder.kernel=16", "policy.n=20", "policy.block_s=6",
       "encoder.backbone={width: 8, layers: 1, heads: 2, mlp: 16}"]  # fmt: skip
MEL = Targets(signal="mel")
WORDS = RetrieveConfig(length_s=1.5, frames=6, gap_s=1.5)


@pytest.fixture(scope="module")
def speech() -> list[Recording]:
    """Two sessions of one person; a trial every 2 s, of which every seventh is too short."""
    found = []
    for name in ("a", "b"):
        one = simulate_speech(SPEECH, 0, name)
        start = np.arange(0, 176, 2) + 0.05
        words = np.array([f"word {k % 11}" for k in range(len(start))])
        words[3] = ""
        stop = start + np.where(np.arange(len(start)) % 7 == 6, 1.0, 1.9)
        found.append(replace(one, trials=Table({"start_s": start, "stop_s": stop, "word": words})))
    return found


@pytest.fixture(scope="module")
def store(speech: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech") / "store"
    made = create_store(folder)
    for one in speech:
        made.write(one)
    return folder


@pytest.fixture(scope="module")
def out(store: Path) -> Path:
    folder = store.parent / "out"
    retrieve_store(store, folder, MEL, hours="0.03,all", settings=TOY)
    return folder


def said(_: str) -> None:
    """Nothing."""


def test_segments_are_retrieved_by_every_training(out: Path) -> None:
    found = {(r.predictor, r.metric, r.split): r for r in results.load(out / "results.jsonl")}
    split = "test, no item trained on|"
    eeg = {w: found[f"{w}: eeg", "top_10_of_20", f"{split}all"] for w in (PLAIN, MIXED, TAKEN_OUT)}
    assert all(r.low > r.chance == pytest.approx(0.5) for r in eeg.values())  # planted
    assert all((r.n, r.unit_of_n) == (12, "blocks") for r in eeg.values())
    assert eeg[PLAIN].task.startswith("retrieval of signal mel: up to 20 candidates")
    little = found[f"{PLAIN}: eeg", "top_10_of_20", f"{split}0.03h"]
    assert little.value != eeg[PLAIN].value
    ways = [{(p.partition(": ")[2], m): r.value for (p, m, s), r in found.items()
             if s == f"{split}all" and p.startswith(f"{w}: ")} for w in eeg]  # fmt: skip
    assert ways[0] != ways[1] != ways[2]
    rows = {p for p, _, s in found if s == f"{split}all"}
    assert len(rows) == 3 * 6
    assert (out / "retrieval.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_done_is_not_done_again(store: Path, out: Path) -> None:
    kept = {p: p.stat().st_mtime_ns for p in (out / "fits").iterdir()}
    before = (out / "results.jsonl").read_bytes()
    one = out / "fits" / "0.03h-emg-mixed-in.jsonl"
    (out / "results.jsonl").unlink()
    one.unlink()
    told: list[str] = []
    retrieve_store(store, out, MEL, hours="0.03,all", settings=TOY, say=told.append)
    assert "test 20% of each session's valid seconds, 1.5 s apart" in told[-1]
    again = {p: p.stat().st_mtime_ns for p in (out / "fits").iterdir()}
    assert {p for p in kept if again[p] != kept[p]} == {one}
    assert (out / "results.jsonl").read_bytes() == before


def test_what_lies_on_the_test_side_trains_nothing(speech: list[Recording]) -> None:
    """Another test side changes no segment of training, and none of it lies within the gap."""
    whole, used = segments_of(speech, MEL, WORDS, said)
    splits = split_by_time(used, gap_s=WORDS.gap_s)
    sides = Sides.of(whole, splits, WORDS)
    first = {s: sides.test.start_s[sides.test.session == s].min() for s in "ab"}
    for side in (sides.train, sides.valid):
        end = side.start_s + side.length_s
        assert all(end[side.session == s].max() <= first[s] - WORDS.gap_s + 1e-6 for s in "ab")
    little = sides.first(0.03)
    assert little.hours == pytest.approx(0.03, rel=0.05)
    assert [int((little.train.session == s).sum()) for s in "ab"] == [36, 36]
    assert little.train.start_s.max() < np.sort(sides.train.start_s)[-70]
    assert little.test is sides.test


def test_trials_with_a_label_are_segments_of_its_items(speech: list[Recording]) -> None:
    told: list[str] = []
    words, _ = segments_of(speech, Targets(signal="mel", label="word"), WORDS, told.append)
    assert "note: 24 trials are shorter than 1.5 s and are left out" in told
    assert len(words) == 2 * (88 - 12 - 1)
    assert set(words.item) == {f"word {k}" for k in range(11)}
    first = int(np.ceil(0.05 * 128))  # the next sample
    values = speech[0].activity.values  # type: ignore[union-attr]
    assert np.array_equal(words.eeg[0], values[first : first + 192, :4])
    assert words.start_s[0] == first / 128
    same = words.target[words.item == "word 4"]
    assert (same == same[0]).all()
    assert not np.array_equal(same[0], words.target[words.item == "word 5"][0])


def test_latents_go_with_items_or_with_places(speech: list[Recording], tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(11, 2, 5)).astype(np.float32)
    names = [f"word {k}" for k in range(11)][::-1]
    np.savez(tmp_path / "items.npz", latents=rows, item=names)
    targets = Targets(file=tmp_path / "items.npz", label="word")
    words, _ = segments_of(speech, targets, WORDS, said)
    assert all(np.array_equal(t, rows[names.index(i)]) for t, i in zip(words.target, words.item, strict=True))  # fmt: skip
    np.savez(tmp_path / "places.npz", latents=rows[:3], recording=["b", "a", "b"], start_s=[9.0, 4.0, 200.0])  # fmt: skip
    placed, used = segments_of(speech, Targets(file=tmp_path / "places.npz"), WORDS, said)
    assert placed.session.tolist() == ["a", "b"]  # the third would end after the recording
    assert placed.start_s.tolist() == [4.0, 9.0]
    assert np.array_equal(placed.target, rows[[1, 0]])
    assert [r.id for r in used] == ["a", "b"]


def test_sound_becomes_log_mel(speech: list[Recording]) -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(size=(180 * 4000, 1)).astype(np.float32)
    heard = replace(speech[0], signals={"sound": Signal(sound, 1 / 4000)})
    config = WORDS.model_copy(update={"n_mels": 8})
    made, _ = segments_of([heard, speech[1]], Targets(sound="sound"), config, said)
    assert set(made.session) == {"a"}
    mel = log_mel(sound[:, 0], 4000, n_mels=8)  # of the whole at once
    assert np.allclose(made.target, mel.reshape(120, 6, 25, 8).mean(axis=2), atol=1e-5)


def test_new_items_are_not_trained_on(speech: list[Recording]) -> None:
    words, used = segments_of(speech, Targets(signal="mel", label="word"), WORDS, said)
    splits = split_by_time(used, train=0.8, valid=0.1, test=0.1, gap_s=WORDS.gap_s)
    seen = Sides.of(words, splits, WORDS)
    assert seen.seen == 1
    fresh = WORDS.model_copy(update={"new_items": True})
    some = words.take(~np.isin(words.item, ["word 0", "word 1"]) | (words.start_s < 150))
    new = Sides.of(some, splits, fresh)
    assert new.seen == 0
    assert set(Sides.of(some, splits, WORDS).train.item) & set(new.test.item)
    assert not set(new.train.item) & set(new.test.item)
    assert not set(new.valid.item) & set(new.test.item)


def test_without_muscles_there_is_one_training(speech: list[Recording], tmp_path: Path) -> None:
    one = speech[0]
    bare = Recording.from_arrays(
        "bare", traces=one.activity.values[:, :4], bin_s=1 / 128, subject="p",  # type: ignore[union-attr]
        signals={"loud": one.activity.values[:, 0]},  # type: ignore[union-attr]
    )  # fmt: skip
    create_store(tmp_path / "store").write(bare)
    told: list[str] = []
    found = retrieve_store(tmp_path / "store", tmp_path / "out", Targets(signal="loud"),
                           settings=[*TOY, "steps=2", "policy.top=[1]"], say=told.append)  # fmt: skip
    assert told[-1] == "note: 6 blocks are few, and an interval over them is too narrow"
    assert {r.predictor for r in found} == {f"plain: {row}" for row in ("eeg", "noise input", "shuffled pairs")}  # fmt: skip


def test_refuses_by_name(store: Path, out: Path, tmp_path: Path) -> None:
    def asks(
        targets: Targets, *settings: str, hours: str = "all", where: Path = tmp_path / "a"
    ) -> None:
        retrieve_store(store, where, targets, hours=hours, settings=[*TOY, *settings])

    with pytest.raises(InputError, match=r"name one target.*; 0 were named"):
        asks(Targets(label="word"))
    with pytest.raises(InputError, match="2 were named"):
        asks(Targets(signal="mel", sound="mel"))
    with pytest.raises(InputError, match="name their column with --label"):
        asks(Targets(text=tmp_path))
    with pytest.raises(InputError, match="no recording has a signal 'mal'; there are mel"):
        asks(Targets(signal="mal"))
    with pytest.raises(
        InputError, match="has a label 'wort'; columns of trials are start_s, stop_s, word"
    ):
        asks(Targets(signal="mel", label="wort"))
    with pytest.raises(ConfigError, match="--hours '0' must be a number above 0"):
        asks(MEL, hours="0")
    with pytest.raises(InputError, match=r"no 5 hours to train on; the training side has 0\.07"):
        asks(MEL, hours="5")
    with pytest.raises(InputError, match="the training side has 0 items"):
        asks(Targets(signal="mel", label="word"), "new_items=true")
    assert not (tmp_path / "a").exists()
    with pytest.raises(ConfigError, match=r"out was made from another settings \(retrieve\.yaml\)"):
        asks(MEL, "rate=2e-2", where=out)
    with pytest.raises(ConfigError, match="another target, targets"):
        asks(Targets(signal="mel", label="word"), where=out)
    with pytest.raises(InputError, match="is not empty"):
        asks(MEL, where=store)


def test_latents_that_do_not_fit_are_refused(speech: list[Recording], tmp_path: Path) -> None:
    def asks(label: str | None, **arrays: object) -> None:
        path = tmp_path / "own.npz"
        np.savez(path, **arrays)  # type: ignore[arg-type]
        segments_of(speech, Targets(file=path, label=label), WORDS, said)

    rows = np.zeros((2, 3), np.float32)
    with pytest.raises(InputError, match="no array 'item'"):
        asks("word", latents=rows)
    with pytest.raises(InputError, match="9 items have no row, such as 'word 10'"):
        asks("word", latents=rows, item=["word 0", "word 1"])
    with pytest.raises(InputError, match="an item has two rows"):
        asks("word", latents=rows, item=["word 0", "word 0"])
    with pytest.raises(InputError, match="need arrays 'recording' and 'start_s'"):
        asks(None, latents=rows)
    with pytest.raises(InputError, match="there is no recording 'c'; there are a, b"):
        asks(None, latents=rows, recording=["a", "c"], start_s=[0, 1])
    with pytest.raises(InputError, match="start_s has 1 rows for 2 of latents"):
        asks(None, latents=rows, recording=["a", "a"], start_s=[0])
    with pytest.raises(InputError, match="start_s is not what it should be"):
        asks(None, latents=rows, recording=["a", "a"], start_s=["soon", "late"])


def test_sentences_need_the_extra(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(InputError, match=r"pip install 'neurofm\[text\]'"):
        retrieve_store(store, tmp_path / "a", Targets(text=tmp_path, label="word"), settings=TOY)


def test_damaged_scores_are_named(store: Path, out: Path) -> None:
    torn = out / "fits" / "all-plain.jsonl"
    whole = torn.read_bytes()
    torn.write_bytes(b"{" + whole[5:])
    try:
        with pytest.raises(StoreError, match=r"all-plain\.jsonl line 1 is not a result"):
            retrieve_store(store, out, MEL, hours="all", settings=TOY)
    finally:
        torn.write_bytes(whole)


def test_the_command_prints_the_table(
    store: Path, out: Path, neurofm: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("retrieve", store, "--out", out, "--signal", "mel", "--hours", "0.03,all")
    assert neurofm(*words, settings=TOY) == 0
    shown = capsys.readouterr().out
    assert "top 10 of 20 0.500; seed 0" in shown
    assert shown.count("emg on noise, as it leaks") >= 3
