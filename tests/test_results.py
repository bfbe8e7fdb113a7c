import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from neurofm import results
from neurofm.errors import StoreError
from neurofm.results import Result

ONE = Result(predictor="ridge", task="co-smoothing", recording="m1", split="test",
             metric="bps_pooled", value=0.3, low=0.2, high=0.4, n=40, null="mean rate", seed=0)  # fmt: skip


def test_results_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    some = [ONE, replace(ONE, metric="d2", value=0.1 + 0.2, chance=0.0)]
    results.append(path, some[:1])
    results.append(path, some[1:])
    assert results.load(path) == some


def test_a_missing_file_holds_no_result(tmp_path: Path) -> None:
    assert results.load(tmp_path / "none.jsonl") == []


def test_undefined_is_null_in_the_file_and_nan_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, [replace(ONE, value=math.nan, low=-math.inf)])
    row = json.loads(path.read_text())
    assert row["value"] is None
    assert row["low"] is None
    [back] = results.load(path)
    assert math.isnan(back.value)
    assert math.isnan(back.low)
    assert back.high == 0.4
    assert back.chance is None


def test_a_torn_last_line_is_passed_over_and_stays_harmless(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, [ONE, replace(ONE, seed=1)])
    path.write_bytes(path.read_bytes()[:-20])
    assert results.load(path) == [ONE]
    results.append(path, [replace(ONE, seed=2)])
    assert [r.seed for r in results.load(path)] == [0, 2]


@pytest.mark.parametrize("line", ["nonsense", "{}", "3", '{"value": 1}'])
def test_a_line_that_is_no_result_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "results.jsonl"
    results.append(path, [ONE])
    path.write_text(path.read_text() + line + "\n" + path.read_text())
    with pytest.raises(StoreError, match=r"results\.jsonl line 2 .* remove it"):
        results.load(path)


def test_newest_keeps_the_last_answer_to_each_question() -> None:
    again = replace(ONE, value=0.5)
    other = replace(ONE, recording="m2")
    per_unit = replace(ONE, null="mean on train")
    assert results.newest([ONE, other, per_unit, again]) == [again, other, per_unit]


@pytest.mark.parametrize(
    "change",
    [{"value": "x"}, {"value": 10**400}, {"n": "x"}, {"task": 3}, {"chance": []}, {"recording": None}],
    ids=str,
)  # fmt: skip
def test_a_result_of_wrong_types_is_named(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "results.jsonl"
    line = json.dumps(ONE.record() | change)
    path.write_text(f"{line}\n{json.dumps(ONE.record())}\n")
    with pytest.raises(StoreError, match=r"results\.jsonl line 1 .* remove it"):
        results.load(path)


@pytest.mark.parametrize("line", [b"\xff\xfe\x00", b"[" * 100_000], ids=["no text", "deep"])
def test_a_line_that_breaks_the_parser_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line + b"\n{}\n")
    with pytest.raises(StoreError, match=r"results\.jsonl line 1 .* remove it"):
        results.load(path)
