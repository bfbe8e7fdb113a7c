"""Results as text."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from neurofm.report import tables
from neurofm.results import Result


def row(predictor: str, recording: str, value: float, **other: Any) -> Result:
    fields = {"task": "co-smoothing", "split": "test", "metric": "bps_pooled", "n": 12, "seed": 3,
              "null": "mean rate", "low": value - 0.1, "high": value + 0.1}  # fmt: skip
    return Result(predictor=predictor, recording=recording, value=value, **fields | other)


RESULTS = [row(p, r, v) for p, v in (("model", 0.4), ("ridge", 0.3), ("glm", 0.2)) for r in "ab"]


def test_table_shows_values_intervals_best_null_n_and_seed():
    lines = tables.table(RESULTS).splitlines()
    assert lines[0] == "co-smoothing · test"
    for part in ("bits per spike", "null: mean rate", "95% interval", "seed 3"):
        assert part in lines[1].lower() or part in lines[1]
    assert lines[2].split() == ["recording", "model", "ridge", "*", "glm", "n"]
    assert lines[3].split() == [
        "a",
        "0.400",
        "[0.300,",
        "0.500]",
        "0.300",
        "[0.200,",
        "0.400]",
        "0.200",
        "[0.100,",
        "0.300]",
        "12",
    ]


def test_columns_over_the_width_go_on_below_and_none_is_lost():
    text = tables.table(RESULTS, width=60)
    assert max(map(len, text.splitlines()[2:])) <= 60
    assert text.count("0.200 [0.100, 0.300]") == 2
    assert text.splitlines()[2].split()[0] == "recording"


def test_undefined_and_missing_values_are_told_apart():
    text = tables.table([row("model", "a", math.nan), row("ridge", "b", 0.1)])
    first = next(line for line in text.splitlines() if line.startswith("a "))
    assert first.split()[1:] == ["undefined", "-", "12"]


def test_chance_is_stated():
    text = tables.table(
        [row("model", "a", 0.8, task="probe:choice", metric="accuracy", chance=0.5)]
    )
    assert "chance 0.500" in text


def test_control_characters_do_not_reach_a_terminal():
    text = tables.table([row("model\x1b[2J", "a\u202eb", 0.1), row("x\ud800", "a\u202eb", 0.1)])
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode()


def test_markdown_escapes_pipes_tags_and_links():
    text = tables.markdown_table([row("a|b", "<b>x</b> [l](http://h)", 0.1)])
    last = text.splitlines()[-1]
    assert last.count("|") == 4
    assert "<b>" not in text
    assert "](" not in text


def test_gain_table_has_gain_ratio_wins_and_standing():
    gain = row("model", "mean", 0.1, low=0.02, high=0.18, metric="bps_pooled_gain", null="ridge")
    ratio = row("model", "mean", 0.33, low=0.1, high=0.5, metric="bps_pooled_gain_ratio",
                null="ridge")  # fmt: skip
    lines = tables.gain_table([*RESULTS, gain, ratio]).splitlines()
    first = " ".join(lines[1].split())
    assert first == "co-smoothing ridge * +0.100 [+0.020, +0.180] +33% [+10%, +50%] 2 of 2 above"
    assert lines[2].split()[:4] == ["co-smoothing", "glm", "-", "-"]
    assert tables.markdown_gain_table([*RESULTS, gain]).count("\n") == 3


def test_paired_difference_to_the_best_baseline_has_a_column():
    gain = row("model", "b", 0.1, low=0.02, high=0.18, metric="bps_pooled_gain", null="ridge")
    lines = tables.table([*RESULTS, gain]).splitlines()
    assert "model - ridge" in lines[2]
    assert "+0.100 [+0.020, +0.180]" in lines[4]
    assert "+" not in lines[3]


def test_gain_below_zero_is_shouted():
    gain = row("model", "mean", -0.1, low=-0.2, high=-0.05, metric="bps_pooled_gain", null="ridge")
    assert "BELOW" in tables.gain_table([*RESULTS, gain])


@given(st.text(max_size=80), st.integers(8, 40))
def test_shortened_text_is_short_and_printable(text, n):
    short = tables.shorten(text, n)
    assert len(short) <= n
    short.encode()
    assert not any(c in short for c in "\x00\x1b\n\u202e")


@given(st.lists(st.text(alphabet="ab/", max_size=60), max_size=12, unique=True))
def test_shortened_names_stay_different(names):
    found = tables.distinct(names, 14)
    assert len(set(found)) == len(names)
    assert all(len(name) <= 16 for name in found)


def test_the_end_that_tells_names_apart_is_kept():
    names = [f"session-{i}-{'x' * 60}" for i in range(3)]
    assert [name[:9] for name in tables.distinct(names, 20)] == [f"session-{i}" for i in range(3)]
