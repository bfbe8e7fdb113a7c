import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurofm.data.intervals import Intervals
from neurofm.data.windows import Window, WindowTable, tile, window
from neurofm.errors import InputError


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 80), st.integers(1, 20), st.integers(1, 20))
def test_tiles_cover_everything_and_nothing_else(first, n, length, stride) -> None:
    stride = min(stride, length)
    tiles = tile(first, first + n, length, stride)
    covered = np.zeros(first + n + length, dtype=int)
    for a, b in tiles:
        assert b - a == min(length, n)
        covered[a:b] += 1
    assert (covered[first : first + n] > 0).all()
    assert covered[:first].sum() == covered[first + n :].sum() == 0
    assert len(set(tiles)) == len(tiles)


def test_a_window_and_its_bins_agree() -> None:
    for bin_s in (0.02, 0.05, 0.1, 1 / 3):
        assert window("r", 7, 19, bin_s).bins(bin_s) == (7, 19)
    assert Window("r", 0.1, 0.3).bins(0.1) == (1, 3)


def table(length: int = 5) -> WindowTable:
    spans = {"a": Intervals.of([(0, 1), (2, 2.3)]), "b": Intervals.of([(5, 5.05), (6, 9)])}
    return WindowTable.of(spans, bin_s=0.1, length=length)


def test_a_table_lists_pieces_not_windows() -> None:
    t = table()
    assert t.ids == ("a", "b")
    assert list(zip(t.recording, t.first, t.stop, strict=True)) == [
        (0, 0, 10), (0, 20, 23), (1, 60, 90)]  # fmt: skip
    assert t.n_bins == 43


def test_every_draw_lies_inside_a_piece() -> None:
    t = table()
    pieces = set(zip(t.recording.tolist(), t.first.tolist(), t.stop.tolist(), strict=True))
    for recording, first, stop in t.draw(seed=1, step=0, size=500):
        assert any(r == recording and a <= first and stop <= b for r, a, b in pieces)
        assert stop - first == (3 if (recording, first) == (0, 20) else 5)


def test_a_draw_is_a_pure_function_of_seed_and_step() -> None:
    t = table()
    assert t.draw(1, 7, 50) == t.draw(1, 7, 50)
    assert t.draw(1, 7, 50) != t.draw(1, 8, 50)
    assert t.draw(1, 7, 50) != t.draw(2, 7, 50)
    assert t.draw(1, 7, 50)[:20] != t.draw(1, 8, 20)


def test_draws_follow_the_length_of_pieces_and_reach_both_ends() -> None:
    draws = table().draw(0, 0, 20_000)
    share = np.mean([r == 1 for r, _, _ in draws])
    assert share == pytest.approx(30 / 43, abs=0.02)
    starts = [first for r, first, _ in draws if r == 1]
    counts = np.bincount(np.array(starts) - 60, minlength=26)
    assert (counts > 0).all()
    assert len(counts) == 26
    assert counts.max() < 1.5 * counts.min()


def test_nothing_to_draw_from_is_said() -> None:
    empty = WindowTable.of({"a": Intervals.of([(0, 0.1)])}, bin_s=0.1, length=5)
    assert empty.n_bins == 0
    with pytest.raises(InputError, match="no piece to draw"):
        empty.draw(0, 0, 1)
