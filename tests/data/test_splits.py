import json
from pathlib import Path

import numpy as np
import pytest

from neurofm.data import splits
from neurofm.data.intervals import Intervals
from neurofm.data.recording import Recording, Table
from neurofm.data.splits import (
    Splits,
    split_by_session,
    split_by_subject,
    split_by_time,
    split_by_trial,
)
from neurofm.errors import CheckFailed, InputError, StoreError


def recording(name: str = "r", subject: str = "", seconds: float = 100.0, **more) -> Recording:
    counts = np.zeros((round(seconds / 0.1), 1), dtype=np.uint8)
    return Recording.from_arrays(name, counts=counts, bin_s=0.1, subject=subject, **more)


def trials(n: int, every_s: float, length_s: float) -> dict[str, np.ndarray]:
    start = np.arange(n) * every_s
    return {"start_s": start, "stop_s": start + length_s}


def pairs(intervals: Intervals) -> list[list[float]]:
    return intervals.pairs.round(6).tolist()


def test_by_time_is_in_order_and_the_test_side_keeps_its_whole_share() -> None:
    sides = split_by_time([recording()], gap_s=2.0).recordings["r"]
    assert pairs(sides["train"]) == [[0, 68]]
    assert pairs(sides["valid"]) == [[70, 78]]
    assert pairs(sides["test"]) == [[80, 100]]


def test_fractions_are_of_valid_seconds_and_pieces_stay_pieces() -> None:
    gappy = recording(valid=[(0, 10), (10, 20), (50, 70), (90, 100)])  # 50 valid seconds
    sides = split_by_time([gappy], 0.5, 0.3, 0.2, gap_s=0.0).recordings["r"]
    assert pairs(sides["train"]) == [[0, 10], [10, 20], [50, 55]]
    assert pairs(sides["valid"]) == [[55, 70]]
    assert pairs(sides["test"]) == [[90, 100]]


def test_trial_cut_recordings_are_cut_between_trials() -> None:
    valid = np.arange(0, 100, 0.5)[:, None] + [0.0, 0.39]
    split = split_by_time([recording(valid=valid)], gap_s=1.0)
    whole = {tuple(pair) for pair in valid.round(6).tolist()}
    for side in splits.SIDES:
        found = [tuple(p) for p in pairs(split.recordings["r"][side])]
        cut = [p for p in found if p not in whole]
        assert len(cut) <= (side != "test"), "only the gap may cut a piece"
    assert len(split.side("test")["r"]) == 40
    assert split.prove() >= 1.0 - 1e-6


def test_a_side_without_a_share_stays_empty() -> None:
    split = split_by_time([recording()], 0.8, 0.0, 0.2, gap_s=1.0)
    assert split.side("valid") == {}
    assert pairs(split.side("train")["r"]) == [[0, 79]]
    everything = split_by_time([recording()], 1.0, 0.0, 0.0)
    assert pairs(everything.side("train")["r"]) == [[0, 100]]
    assert everything.prove() == float("inf")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": 0.7, "valid": 0.1, "test": 0.3}, "add up to 1"),
        ({"train": 1.2, "valid": -0.2, "test": 0.0}, "at least 0"),
        ({"train": float("nan"), "valid": 0.1, "test": 0.2}, "add up to 1"),
        ({"gap_s": 15.0}, r"r: nothing is left for valid \(10%\) with a gap of 15 s"),
    ],
)
def test_what_cannot_be_split_by_time_is_said(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        split_by_time([recording()], **changes)


def test_nothing_or_the_same_id_twice_cannot_be_split() -> None:
    with pytest.raises(InputError, match="no recording"):
        split_by_time([])
    with pytest.raises(InputError, match="r: two recordings have this id"):
        split_by_time([recording(), recording()])
    nowhere = recording(valid=np.empty((0, 2)))
    with pytest.raises(InputError, match="nothing is left for"):
        split_by_time([nowhere])


def test_by_trial_keeps_trials_whole_and_every_block_on_one_side() -> None:
    r = recording(seconds=600, trials=trials(200, every_s=3.0, length_s=2.0))
    split = split_by_trial([r], seed=3, gap_s=0.5, block_trials=5)
    side_of = {}
    for side in splits.SIDES:
        for start, end in split.recordings["r"][side]:
            assert end - start == pytest.approx(2.0)
            assert side_of.setdefault(round(start / 3) // 5, side) == side
    n = {side: len(split.recordings["r"][side]) for side in splits.SIDES}
    assert n == {"train": 140, "valid": 20, "test": 40}, "trials 1 s apart all stay at a gap of 0.5"
    assert split.whole == "trial"


def test_by_trial_leaves_out_what_is_too_near_and_never_from_test() -> None:
    r = recording(seconds=600, trials=trials(200, every_s=3.0, length_s=2.0))
    near = split_by_trial([r], seed=3, gap_s=0.5, block_trials=5)
    far = split_by_trial([r], seed=3, gap_s=2.0, block_trials=5)
    assert far.prove() >= 2.0
    assert pairs(far.side("test")["r"]) == pairs(near.side("test")["r"])
    assert 60 < len(far.side("train")["r"]) < 140


def test_trials_that_overlap_share_no_second() -> None:
    r = recording(seconds=400, trials=trials(130, every_s=3.0, length_s=5.0))
    split = split_by_trial([r], seed=0, gap_s=0.0, block_trials=4)
    assert split.prove() >= 0
    assert all(len(split.side(side)["r"]) for side in splits.SIDES)


def test_by_trial_is_seeded_and_stays_where_it_was_recorded() -> None:
    r = recording(seconds=600, trials=trials(200, 3.0, 2.0), valid=[(0, 301), (310, 600)])
    one, same, other = (split_by_trial([r], seed=s) for s in (1, 1, 2))
    assert pairs(one.side("test")["r"]) == pairs(same.side("test")["r"])
    assert pairs(one.side("test")["r"]) != pairs(other.side("test")["r"])
    for intervals in one.recordings["r"].values():
        assert intervals.subtract(r.valid).total_s == 0


def test_trials_without_times_cannot_be_split_by() -> None:
    with pytest.raises(InputError, match="r: it has no trials with start_s"):
        split_by_trial([recording()], seed=0)
    never = recording(trials={"start_s": np.arange(3.0), "stop_s": np.full(3, np.nan)})
    with pytest.raises(InputError, match="r: no trial has a finite start_s"):
        split_by_trial([never], seed=0)
    with pytest.raises(InputError, match="2 cannot be split over 3 sides"):
        split_by_trial([recording(trials=trials(20, 3.0, 2.0))], seed=0)
    with pytest.raises(InputError, match="block_trials is 0"):
        split_by_trial([recording(trials=trials(20, 3.0, 2.0))], seed=0, block_trials=0)


def herd(n_subjects: int, sessions: int) -> list[Recording]:
    return [
        recording(f"m{s}_{d}", f"m{s}", 20.0) for s in range(n_subjects) for d in range(sessions)
    ]


def test_by_session_gives_each_side_its_share_of_whole_sessions() -> None:
    split = split_by_session(herd(5, 2), seed=0)
    assert [len(split.side(side)) for side in splits.SIDES] == [7, 1, 2]
    assert all(i.total_s == 20 for side in splits.SIDES for i in split.side(side).values())
    assert split_by_session(herd(5, 2), seed=1).side("test") != split.side("test")
    assert [len(split_by_session(herd(3, 1), seed=0).side(s)) for s in splits.SIDES] == [1, 1, 1]
    order = split_by_session(herd(5, 2)[::-1], seed=0)
    assert set(order.side("test")) == set(split.side("test")), "the order of files is no matter"


def test_by_subject_never_parts_a_subject() -> None:
    split = split_by_subject(herd(6, 3), seed=4)
    owners = [{split.subjects[name] for name in split.side(side)} for side in splits.SIDES]
    assert sum(len(o) for o in owners) == len(set.union(*owners)) == 6
    assert split.prove() == float("inf")


def test_too_few_sessions_or_subjects_are_said() -> None:
    with pytest.raises(InputError, match=r"sessions: 2 cannot be split over 3 sides"):
        split_by_session(herd(1, 2), seed=0)
    with pytest.raises(InputError, match=r"subjects: 2 cannot be split over 3 sides"):
        split_by_subject(herd(2, 5), seed=0)
    assert len(split_by_subject(herd(2, 1), 0.5, 0.0, 0.5, seed=0).side("test")) == 1
    with pytest.raises(InputError, match="r: subject is empty"):
        split_by_subject([recording(), *herd(4, 1)], seed=0)


def by_hand(**sides: list[tuple[float, float]]) -> Splits:
    whole = {
        side: Intervals.of(np.array(sides.get(side, [])).reshape(-1, 2)) for side in splits.SIDES
    }
    return Splits({"day1": whole}, "By hand.", 1.0, {"day1": "m"})


def test_the_proof_names_the_recording_and_the_shared_seconds() -> None:
    leak = by_hand(train=[(0, 10), (30, 50)], test=[(20, 25), (42.5, 60)])
    with pytest.raises(CheckFailed, match=r"day1: train and test share .* 42\.500 to 50\.000"):
        leak.prove()
    assert "NOT PROVEN: day1" in leak.table()
    swallowed = by_hand(train=[(0, 100)], valid=[(40, 41)])
    with pytest.raises(CheckFailed, match=r"train and valid share .* 40\.000 to 41\.000"):
        swallowed.prove(0.0)


def test_the_proof_measures_the_gap() -> None:
    near = by_hand(train=[(0, 10)], test=[(10.4, 20)])
    with pytest.raises(CheckFailed, match=r"day1: train and test are 0\.400 s apart"):
        near.prove()
    assert near.prove(min_gap_s=0.4) == pytest.approx(0.4)
    touching = by_hand(train=[(0, 10)], test=[(10, 20)])
    assert touching.prove(min_gap_s=0.0) == 0.0


@pytest.mark.parametrize("whole", ["session", "subject"])
def test_the_proof_finds_a_parted_session_or_subject(whole: str) -> None:
    side = {"train": Intervals.of([(0, 1)]), "valid": Intervals.none(), "test": Intervals.none()}
    swapped = side | {"train": side["test"], "test": side["train"]}
    two = {"a": side, "b": swapped}
    Splits(two, "", 0.0, {"a": "m", "b": "n"}, "subject").prove()
    parted = Splits(two, "", 0.0, {"a": "m", "b": "m"}, "subject")
    if whole == "session":
        both = side | {"test": Intervals.of([(5, 6)])}
        parted = Splits({"a": both}, "", 0.0, {"a": "m"}, "session")
    with pytest.raises(CheckFailed, match=f"{whole} . is on two sides, train and test"):
        parted.prove()


def test_the_table_is_readable() -> None:
    text = split_by_time([recording("monday"), recording("tuesday")], gap_s=1.0).table()
    lines = text.splitlines()
    assert lines[0].startswith("By time, in order: train 70%")
    assert lines[2].split() == ["monday", "69.0", "9.0", "20.0"]
    assert lines[4].split() == ["total", "(h)", "0.038", "0.005", "0.011"]
    assert lines[5] == "proven: no two sides share a second, and are at least 1.000 s apart."


def test_an_unknown_side_is_refused() -> None:
    with pytest.raises(InputError, match="no side 'dev'; the sides are train, valid, test"):
        split_by_time([recording()]).side("dev")


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    split = split_by_time([recording("a", "m", 100 / 3 + 40), recording("b", "n")], gap_s=1 / 3)
    split.save(tmp_path / "splits.json")
    back = splits.load(tmp_path / "splits.json")
    assert (back.how, back.gap_s, back.whole) == (split.how, split.gap_s, split.whole)
    assert dict(back.subjects) == {"a": "m", "b": "n"}
    for name, sides in split.recordings.items():
        for side, intervals in sides.items():
            assert (back.recordings[name][side].pairs == intervals.pairs).all()
    assert back.table() == split.table()


def _without(tree: dict, *path: str) -> None:
    for key in path[:-1]:
        tree = tree[key]
    del tree[path[-1]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.update(schema=9), "splits.json: schema must be 1"),
        (lambda t: t.pop("how"), "splits.json: field how is missing"),
        (lambda t: t.update(gap_s="1"), "splits.json: field gap_s has the wrong type"),
        (lambda t: t.update(recordings=[]), "splits.json: field recordings has the wrong type"),
        (lambda t: _without(t, "recordings", "r", "test"), r"recordings\.r\.test is missing"),
        (lambda t: t["recordings"]["r"].update(test=[[1]]), r"recordings\.r\.test must be a list"),
        (lambda t: t["recordings"]["r"].update(test=[["a", 2]]), r"recordings\.r\.test must be"),
        (lambda t: t["recordings"]["r"].update(test=[[5, 4]]), r"recordings\.r\.test: .*ends at"),
        (lambda t: t["recordings"].update(r=[]), r"recordings\.r must hold train, valid, test"),
    ],
)
def test_a_spoilt_file_is_refused_by_field(tmp_path: Path, spoil, words: str) -> None:
    path = tmp_path / "splits.json"
    split_by_time([recording()]).save(path)
    tree = json.loads(path.read_text())
    spoil(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=words):
        splits.load(path)


def test_a_file_that_leaks_is_refused_and_a_missing_one_named(tmp_path: Path) -> None:
    path = tmp_path / "splits.json"
    split_by_time([recording()]).save(path)
    path.write_text(path.read_text().replace("80.0", "60.0"))
    with pytest.raises(CheckFailed, match=r"splits.json: r: train and test share"):
        splits.load(path)
    with pytest.raises(StoreError, match=r"none.json is missing"):
        splits.load(tmp_path / "none.json")


def test_trials_of_a_table_need_no_order() -> None:
    table = trials(60, 3.0, 2.0)
    shuffled = np.random.default_rng(0).permutation(60)
    ordered = recording(seconds=200, trials=table)
    mixed = recording(seconds=200, trials=dict(Table(table).take(shuffled).columns))
    a, b = (split_by_trial([r], seed=0).side("test")["r"] for r in (ordered, mixed))
    assert pairs(a) == pairs(b)
