"""Every state that a power loss may leave behind every writer; and that a missing fsync is seen."""

import os
from pathlib import Path

import pytest
from reliability_power import Op, Record, examine, lasting, recorded, states
from reliability_power_cases import CASES, NEEDED, tried


@pytest.mark.parametrize("name", CASES)
def test_no_power_loss_loses_what_was_finished(tmp_path, name):
    done = tried(CASES[name], tmp_path)
    assert done.states >= 10
    assert done.wrong == ()


@pytest.mark.parametrize(("name", "number"), NEEDED[:2] + NEEDED[4:6])
def test_a_missing_fsync_is_seen(tmp_path, name, number):
    assert tried(CASES[name], tmp_path, drop_sync=number).wrong


def text_of(tree: dict) -> dict:
    return {name: content.decode() for name, content in tree.items() if content is not None}


def test_what_lasts_is_what_was_synced():
    ops = [Op("create", "a"), Op("write", "a", content=b"x"), Op("sync", "a"), Op("move", "a", "b"),
           Op("sync", "."), Op("drop", "b")]  # fmt: skip
    assert [last for op, last in zip(ops, lasting(ops), strict=True) if op.what != "sync"] == [
        True, True, True, False]  # fmt: skip
    assert lasting(ops[:3])[:2] == [False, True]


def test_a_file_written_in_place_may_be_torn_in_every_way():
    ops = [Op("write", "a", content=b"newer")]
    found = [text_of(t)["a"] for t in states(Record(Path(), {"a": b"old"}, ops), 1)]
    assert sorted(found) == sorted(["old", "", "ne", "\0\0\0\0\0", "newer"])


def test_a_rename_without_fsync_may_show_a_torn_file():
    ops = [Op("create", "new"), Op("write", "new", content=b"whole"), Op("move", "new", "a")]
    found = [text_of(t).get("a") for t in states(Record(Path(), {"a": b"old"}, ops), 3)]
    assert {"old", "", "wh", "whole"} <= set(found)


def test_a_writer_in_place_is_found_out(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_text("old")
    with recorded(root) as record:
        (root / "a").write_text("newer")
        with (root / "a").open() as file:
            os.fsync(file.fileno())
    _, wrong = examine(record, tmp_path / "place",
                       lambda folder, _: "" if (folder / "a").read_text() in {"old", "newer"} else "torn")  # fmt: skip
    assert "torn" in wrong


def test_an_operation_that_escapes_the_record_is_an_error(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_text("x")

    def blind():
        with recorded(root) as record:
            record.catch_up = lambda: None
            (root / "b").write_text("unseen")

    with pytest.raises(AssertionError, match="escaped"):
        blind()
