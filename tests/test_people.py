"""Labels of people who were left out, from a store to a table."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neurofm import Recording, files, results
from neurofm.config import load
from neurofm.data.covariance import band_passed
from neurofm.data.montage import against_average
from neurofm.data.recording import Channels, Samples, Table
from neurofm.data.store import create_store
from neurofm.errors import ConfigError, InputError, StoreError
from neurofm.evaluate.crowd_personal import own_of, seen_from
from neurofm.evaluate.crowd_readers import NETWORK, PeopleConfig
from neurofm.evaluate.crowd_windows import crowd_windows
from neurofm.people import people_store
from neurofm.people_seconds import seconds_of
from neurofm.people_sizes import Sizes

LOUD = {"rest": [1, 1, 1, 1], "fist": [1, 6, 2, 1], "open": [1, 1, 3, 6]}
TOY = ["n_folds=2", "ring=true", "network.steps=15", "network.windows=32", "network.rate=1e-2",
       "network.backbone.width=8", "network.backbone.heads=2", "network.backbone.layers=1",
       "network.backbone.mlp=16"]  # fmt: skip

FEW = [*TOY, "gap_s=0.5", "network.steps=3", "network.windows=16", "own_steps=5"]


def person(number: int, *, shuffled: bool = False, channels: int = 4) -> Recording:
    rng = np.random.default_rng(number)
    order = rng.permutation(np.repeat(list(LOUD), 4))
    gain = np.exp(rng.normal(0, 0.2, 4))
    pieces = [rng.normal(size=(100, 4)) * np.roll(LOUD[g], number == 2) * gain for g in order]
    edges = np.arange(len(order) + 1) * 0.5
    return Recording.from_arrays(
        f"p{number}",
        traces=np.concatenate(pieces).astype(np.float32)[:, :channels],
        bin_s=0.005,
        channel_id=[f"band/{k}" for k in range(channels)],
        subject=f"p{number}",
        trials={"start_s": edges[:-1], "stop_s": edges[1:],
                "gesture": rng.permutation(order) if shuffled else order},
        valid=np.stack([edges[:-1], edges[1:]], axis=1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("people") / "store"
    made = create_store(folder)
    for number in range(4):
        made.write(person(number))
    return folder


@pytest.fixture(scope="module")
def out(store: Path) -> Path:
    folder = store.parent / "out"
    people_store(store, folder, "gesture", settings=TOY)
    return folder


def test_networks_of_traces_are_asked_too_where_they_are_named(store: Path, tmp_path: Path) -> None:
    brief = [*TOY, "network.steps=5", "traces.width=4", "traces.steps=15", "traces.windows=32"]
    found = people_store(store, tmp_path / "out", "gesture", settings=brief)
    mean = {
        r.predictor: r for r in found if (r.recording, r.metric) == ("mean", "balanced_accuracy")
    }
    assert mean["network-linear-traces"].value > 0.5  # planted
    assert {"network", "traces"} < set(mean)
    with pytest.raises(ConfigError, match="ring=true"):
        people_store(store, tmp_path / "other", "gesture", settings=["traces.steps=5"])


def test_traces_of_windows_are_those_of_the_recording() -> None:
    recording = person(0)
    held = crowd_windows([recording], "gesture", 0.25, [(20, None)], traces=True)
    assert held.traces.shape == (len(held), 4, 50)
    first = band_passed(recording.activity.values[:100], 200.0, 20, None)
    assert np.allclose(held.traces[1], first[50:].T, atol=1e-5)
    assert crowd_windows([recording], "gesture", 0.25, [(20, None)]).traces.size == 0


def test_people_who_were_left_out_are_told_and_scored(out: Path) -> None:
    found = results.load(out / "results.jsonl")
    mean = {(r.predictor, r.metric): r for r in found if r.recording == "mean"}
    methods = {"linear", "network", "linear-recentred", "network-recentred", "network-turned",
               "self-taught"}  # fmt: skip
    assert {p for p, metric in mean if metric == "balanced_accuracy"} == methods
    assert all(r.chance == pytest.approx(1 / 3) for r in found if "gain" not in r.metric)
    assert mean["linear-recentred", "balanced_accuracy"].value > 0.7  # planted
    assert mean["linear", "balanced_accuracy_of_trials"].n == 4
    each = [r for r in found if r.recording == "p2" and r.predictor == "linear"]
    assert {(r.metric, r.n) for r in each} == {
        ("balanced_accuracy", 24), ("balanced_accuracy_of_trials", 12)
    }  # fmt: skip
    gain = mean["network-recentred", "balanced_accuracy_gain"]
    score, rival = (mean[m, "balanced_accuracy"].value for m in ("network-recentred", gain.null))
    assert gain.null == "linear-recentred"
    assert gain.value == pytest.approx(score - rival)
    assert (out / "people.png").read_bytes()[:4] == b"\x89PNG"


def test_no_window_of_a_person_trains_what_answers_them(
    store: Path, out: Path, tmp_path: Path
) -> None:
    """Other labels of the people left out first change no answer about them."""
    other = create_store(tmp_path / "store")
    first = people_of_fold(0)
    for number in range(4):
        other.write(person(number, shuffled=f"p{number}" in first))
    people_store(tmp_path / "store", tmp_path / "out", "gesture", settings=TOY)
    with (
        np.load(out / "folds" / "fold-000.npz") as a,
        np.load(tmp_path / "out/folds/fold-000.npz") as b,
    ):
        assert all(np.array_equal(a[name], b[name]) for name in a.files)
    with (
        np.load(out / "folds" / "fold-001.npz") as a,
        np.load(tmp_path / "out/folds/fold-001.npz") as b,
    ):
        assert not np.array_equal(a["linear"], b["linear"])  # these were trained on


def people_of_fold(number: int) -> list[str]:
    from neurofm.evaluate.people import folds

    return list(folds([f"p{k}" for k in range(4)], 2, 0)[number])


def sizes_of(n: tuple[int | None, ...]) -> Sizes:
    return Sizes(n, 1, tuple(people_of_fold(0)))


def test_what_is_done_is_not_done_again(store: Path, out: Path) -> None:
    kept = {p: p.stat().st_mtime_ns for p in (out / "folds").iterdir()}
    before = (out / "results.jsonl").read_bytes()
    (out / "results.jsonl").unlink()
    people_store(store, out, "gesture", settings=TOY)
    assert {p: p.stat().st_mtime_ns for p in (out / "folds").iterdir()} == kept
    assert (out / "results.jsonl").read_bytes() == before


def test_refuses_by_name(store: Path, out: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"people\.yaml"):
        people_store(store, out, "gesture", settings=["ring=false"])
    with pytest.raises(InputError, match="no trials with the label 'gestur'; it has gesture"):
        people_store(store, tmp_path / "a", "gestur")
    with pytest.raises(InputError, match="is not empty"):
        people_store(store, store, "gesture")
    few = create_store(tmp_path / "few")
    for number in range(2):
        few.write(person(number))
    with pytest.raises(InputError, match="2 people have this label"):
        people_store(tmp_path / "few", tmp_path / "b", "gesture")
    with pytest.raises(InputError, match=r"0\.0125 s are 2\.5 samples"):
        crowd_windows([person(0)], "gesture", 0.0125, [(20.0, None)])
    with pytest.raises(InputError, match="p1: its channels are not those of p0"):
        crowd_windows([person(0), person(1, channels=3)], "gesture", 0.25, [(20.0, None)])


def test_what_is_not_named_of_the_network_stays() -> None:
    config = load(PeopleConfig, None, ["network.backbone.width=8", "network.steps=3"])
    backbone = NETWORK.backbone.model_copy(update={"width": 8})
    assert config.network == NETWORK.model_copy(update={"backbone": backbone, "steps": 3})


def test_a_heart_beside_the_electrodes_is_not_read(store: Path, out: Path, tmp_path: Path) -> None:
    """It knows every label, and changes no answer."""
    made = create_store(tmp_path / "store")
    for number in range(4):
        one = person(number)
        heart = np.repeat(np.unique(one.trials["gesture"], return_inverse=True)[1] + 1, 100)
        traces = np.column_stack(
            [one.activity.values[:], np.random.default_rng(0).normal(size=len(heart)) * heart]
        )  # type: ignore[union-attr]
        types = {"type": np.array(["emg"] * 4 + ["ecg"])}
        channels = Channels.of(
            [*one.channels.id, "heart"], subject=one.subject, kind="real", quality=types
        )
        activity = Samples(traces.astype(np.float32), one.activity.step_s)  # type: ignore[union-attr]
        made.write(replace(one, channels=channels, activity=activity))
    told: list[str] = []
    people_store(
        tmp_path / "store",
        tmp_path / "out",
        "gesture",
        settings=[*TOY, "network.steps=1"],
        say=told.append,
    )
    assert "note: p0: heart are no electrodes, and not read" in told
    with (
        np.load(out / "folds/fold-000.npz") as a,
        np.load(tmp_path / "out/folds/fold-000.npz") as b,
    ):
        assert np.array_equal(a["linear"], b["linear"])


def test_damaged_answers_are_named(store: Path, out: Path, tmp_path: Path) -> None:
    torn = out / "folds" / "fold-001.npz"
    whole = torn.read_bytes()
    torn.write_bytes(whole[:-40])
    try:
        with pytest.raises(StoreError, match=r"fold-001\.npz is not readable answers"):
            people_store(store, out, "gesture", settings=TOY)
    finally:
        torn.write_bytes(whole)


@pytest.fixture(scope="module")
def more(store: Path) -> Path:
    folder = store.parent / "more"
    people_store(store, folder, "gesture", settings=FEW,
                 sizes=sizes_of((1, None)), seconds=[1.5])  # fmt: skip
    return folder


def test_sizes_and_seconds_are_scored_beside_the_rest(out: Path, more: Path) -> None:
    found = results.load(more / "results.jsonl")
    plain = [r for r in found if r.split == "people left out"]
    assert [(r.predictor, r.recording, r.metric) for r in plain] == [
        (r.predictor, r.recording, r.metric) for r in results.load(out / "results.jsonl")
    ]
    sized = [r for r in found if r.split.startswith("2 people held out|")]
    assert {r.split for r in sized} == {f"2 people held out|{n}|0" for n in (1, 2)}
    assert {r.recording for r in sized} == {*people_of_fold(0), "mean"}
    own = [r for r in found if r.split == "later windows|1.5 s"]
    mean = {(r.predictor, r.metric): r for r in own if r.recording == "mean"}
    score = mean["fine-tuned-with-linear", "balanced_accuracy"]
    gain = mean["fine-tuned-with-linear", "balanced_accuracy_gain"]
    assert gain.null == "own-linear"
    assert gain.value == pytest.approx(score.value - mean["own-linear", "balanced_accuracy"].value)
    assert mean["own-linear", "balanced_accuracy"].value > 0.6  # planted
    [linear, *_] = files.read_json(more / "people-sizes.json")
    assert [(row["x"], row["value"]) for row in linear["points"] if row["x"] == [2.0]] == [
        ([2.0], pytest.approx(r.value)) for r in sized
        if (r.predictor, r.recording, r.metric) == ("linear", "mean", "balanced_accuracy") and "|2|" in r.split
    ]  # fmt: skip
    assert linear["refusal"].startswith("No forecast: 2 runs are fewer than 8")
    for name in ("people-sizes.png", "people-seconds.png"):
        assert (more / name).read_bytes()[:4] == b"\x89PNG"


def test_more_sizes_and_seconds_go_on_from_what_is_kept(store: Path, more: Path) -> None:
    kept = {p: p.stat().st_mtime_ns for p in more.glob("*/*.npz")}
    assert len(kept) == 2 + 2 + 2
    told: list[str] = []
    again = sizes_of((1, 2, 9))
    people_store(store, more, "gesture", settings=FEW, sizes=again, seconds=[1.5], say=told.append)
    assert {p: p.stat().st_mtime_ns for p in more.glob("*/*.npz")} == kept
    assert told[-1] == "left out: 9 people; there are 2 to train on"
    with pytest.raises(ConfigError, match=r"another anchors \(sizes\.yaml\)"):
        people_store(store, more, "gesture", settings=FEW, sizes=Sizes((1,), 1, ("p1",)))
    with pytest.raises(InputError, match="there is no p9 with this label; there are p0, p1"):
        people_store(store, more, "gesture", settings=FEW, sizes=Sizes((1,), 1, ("p9",)))
    with pytest.raises(InputError, match="nobody has as many seconds of labels"):
        people_store(store, more, "gesture", settings=FEW, seconds=[9.0])
    with pytest.raises(ConfigError, match=r"--sizes 2\.5 is no whole number"):
        Sizes.of("2.5,all")
    with pytest.raises(ConfigError, match="--seconds all must be numbers"):
        seconds_of("all")


def test_labels_of_anchors_and_of_what_is_asked_teach_nothing(
    out: Path, more: Path, tmp_path: Path
) -> None:
    """Of the first fold's people, later labels are other ones: no answer about them changes."""
    spoiled = people_of_fold(0)
    other = create_store(tmp_path / "store")
    for one in (person(k) for k in range(4)):
        own = own_of(crowd_windows([one], "gesture", 0.25, [(20.0, None)]), 0.5, 0.25)
        away = own.windows.start_s[own.asked][:, None] - own.windows.start_s[own.teaches]
        assert np.abs(away).min() >= 0.25 + 0.5 - 1e-9
        asked = np.unique(own.windows.start_s[own.asked] // 0.5).astype(int)
        label = one.trials["gesture"].copy()
        label[asked] = [{"rest": "fist", "fist": "open", "open": "rest"}[k] for k in label[asked]]
        trials = one.trials.columns | ({"gesture": label} if one.id in spoiled else {})
        other.write(replace(one, trials=Table(dict(trials))))
    people_store(tmp_path / "store", tmp_path / "out", "gesture", settings=FEW, seconds=[1.5],
                 sizes=sizes_of((1,)))  # fmt: skip

    def same(name: str, n_methods: int) -> bool:
        with np.load(more / name) as a, np.load(tmp_path / "out" / name) as b:
            assert len(a.files) == 1 + n_methods
            return all(np.array_equal(a[m], b[m], equal_nan=m != "labels") for m in a.files)

    assert same("sizes/001-0.npz", 6)
    assert same("seconds/fold-000-1.5s.npz", 4)
    assert not same("seconds/fold-001-1.5s.npz", 4)  # their labels are trained on there


def test_the_mean_of_what_is_asked_is_not_used() -> None:
    w = crowd_windows([person(0)], "gesture", 0.25, [(20.0, None)])
    own = own_of(w, 0.5, 0.25)
    chosen = own.first(1.5, 0.25, np.unique(w.label))
    assert chosen is not None
    assert chosen.sum() == 6
    assert not (chosen & ~own.teaches).any()
    assert len(np.unique(w.label[chosen])) == 3  # a trial of each in turn
    other = replace(w, alone=np.where(chosen[:, None], w.alone, w.alone + 1))
    seen, again = (seen_from(x, chosen, 1)[chosen] for x in (w, other))
    assert np.array_equal(seen, again)
    assert own.first(9, 0.25, np.unique(w.label)) is None


def test_power_is_read_in_units_of_the_person(store: Path, tmp_path: Path) -> None:
    asked = ["window_s=0.5", "power=true", "average_reference=true", "network=null", "n_folds=4"]
    found = people_store(store, tmp_path / "out", "gesture", settings=asked)
    mean = {r.predictor: r.value for r in found if (r.recording, r.metric) == ("mean", "balanced_accuracy")}  # fmt: skip
    methods = ["linear", "power", "power-and-linear", "linear-recentred", "power-own-units", "both-own-units"]  # fmt: skip
    assert list(mean) == methods
    assert mean["power-own-units"] > 0.6  # planted
    with pytest.raises(InputError, match="--seconds tunes a network"):
        people_store(store, tmp_path / "out", "gesture", settings=asked, seconds=[1.5])


def test_what_all_electrodes_share_is_no_part_of_an_average_reference() -> None:
    one = person(0)
    hum = np.sin(np.arange(len(one.activity.values[:])) / 7)[:, None]  # type: ignore[union-attr]
    both = [one, replace(one, activity=Samples((one.activity.values[:] + 9 * hum).astype(np.float32),  # type: ignore[union-attr]
                                               one.activity.step_s))]  # type: ignore[union-attr]  # fmt: skip
    quiet, loud = (against_average(r).activity.values[:] for r in both)  # type: ignore[union-attr]
    assert np.allclose(quiet, loud, atol=1e-4)
    assert np.abs(quiet.mean(axis=1)).max() < 1e-5


def test_the_command_prints_the_tables(
    store: Path, more: Path, neurofm: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("people", store, "--out", more, "--label", "gesture", "--sizes", "1,2", "--draws", "1", "--anchors", ",".join(people_of_fold(0)))  # fmt: skip
    assert neurofm(*words, "--seconds", "1.5", settings=FEW) == 0
    said = capsys.readouterr().out
    assert "mean of 4 people who were left out" in said
    assert "self-taught" in said
    assert "from 2 people" in said
    assert "after 1.5 s of their own labels, 4 people" in said
    assert "less own data alone" in said
