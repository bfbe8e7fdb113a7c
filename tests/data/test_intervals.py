import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurofm.data.intervals import Intervals
from neurofm.errors import InputError

N = 24  # cells of the reference grid; intervals have whole edges, so a boolean grid is exact


@st.composite
def on_grid(draw: st.DrawFn) -> Intervals:
    """Any disjoint intervals with whole edges in [0, N), touching ones included."""
    edges = sorted(draw(st.sets(st.integers(0, N), max_size=12)))
    pairs = list(itertools.pairwise(edges))
    kept = draw(st.lists(st.booleans(), min_size=len(pairs), max_size=len(pairs)))
    return Intervals.of(
        np.array([p for p, k in zip(pairs, kept, strict=True) if k], dtype=float).reshape(-1, 2)
    )


def cells(intervals: Intervals) -> np.ndarray:
    grid = np.zeros(N, dtype=bool)
    for start, end in intervals:
        assert not grid[int(start) : int(end)].any(), "intervals overlap"
        grid[int(start) : int(end)] = True
    return grid


@settings(deadline=None)
@given(on_grid(), on_grid())
def test_algebra_is_that_of_a_boolean_grid(a: Intervals, b: Intervals) -> None:
    assert (cells(a.intersect(b)) == (cells(a) & cells(b))).all()
    assert (cells(a.subtract(b)) == (cells(a) & ~cells(b))).all()
    assert a.overlap_s(b) == b.overlap_s(a) == (cells(a) & cells(b)).sum()
    assert a.total_s == cells(a).sum()


@settings(deadline=None)
@given(on_grid(), st.integers(-2, N + 2), st.integers(-2, N + 2))
def test_clip_keeps_what_lies_inside(a: Intervals, low: int, high: int) -> None:
    inside = (np.arange(N) >= low) & (np.arange(N) < high)
    assert (cells(a.clip(low, high)) == (cells(a) & inside)).all()


@settings(deadline=None)
@given(on_grid(), on_grid())
def test_pieces_stay_pieces(a: Intervals, b: Intervals) -> None:
    edges = set(a.start.tolist()) | set(b.start.tolist())
    starts = set(a.intersect(b).start.tolist())
    assert starts <= edges
    both = {e for e in edges if cells(a)[int(e)] and cells(b)[int(e)]}
    assert both == starts, "an edge of either that lies in both starts a new piece"


@settings(deadline=None)
@given(on_grid())
def test_contains_is_half_open(a: Intervals) -> None:
    assert (a.contains(np.arange(N) + 0.5) == cells(a)).all()
    assert (a.contains(np.arange(N)) == cells(a)).all(), "the start lies inside, the end does not"


def test_contains_keeps_the_shape_and_an_empty_one_holds_nothing() -> None:
    assert Intervals.none().contains(np.zeros((2, 3))).shape == (2, 3)
    assert not Intervals.none().contains([0.0]).any()
    assert Intervals.none().total_s == 0.0
    assert Intervals.of([(0, 1)]).contains(-0.5) == np.bool_(False)


def test_of_sorts_and_touching_ones_stay_apart() -> None:
    intervals = Intervals.of([(3, 4), (1, 3)])
    assert list(intervals) == [(1.0, 3.0), (3.0, 4.0)]
    assert intervals.pairs.tolist() == [[1, 3], [3, 4]]


@pytest.mark.parametrize(
    ("pairs", "word"),
    [
        ([(0, 2), (1, 3)], "overlap"),
        ([(1, 1)], "ends at or before"),
        ([(2, 1)], "ends at or before"),
        ([(0, np.nan)], "not finite"),
        ([(-np.inf, 1)], "not finite"),
    ],
)
def test_bad_intervals_are_refused(pairs: list[tuple[float, float]], word: str) -> None:
    with pytest.raises(InputError, match=word):
        Intervals.of(pairs)


def test_starts_and_ends_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="one start and one end"):
        Intervals(np.zeros(2), np.ones(3))
