import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurofm.data.column import Column
from neurofm.errors import StoreError

VALUES = np.arange(60, dtype=np.uint16).reshape(20, 3)


@pytest.fixture(scope="module")
def column(tmp_path_factory: pytest.TempPathFactory) -> Column:
    path = tmp_path_factory.mktemp("column") / "values.npy"
    np.save(path, VALUES)
    return Column(path)


EDGE = st.none() | st.integers(-25, 25)


@settings(deadline=None)
@given(start=EDGE, stop=EDGE, step=st.none() | st.integers(1, 4))
def test_slices_are_those_of_the_array(column, start, stop, step) -> None:
    rows = slice(start, stop, step)
    assert (column[rows] == VALUES[rows]).all()
    assert column[rows].shape == VALUES[rows].shape


def test_it_looks_like_the_array(column: Column) -> None:
    assert (column.shape, column.dtype, len(column)) == ((20, 3), np.dtype(np.uint16), 20)
    assert (np.asarray(column) == VALUES).all()
    assert np.asarray(column, dtype=np.float32).dtype == np.float32


def test_a_slice_is_fresh_and_writable(column: Column) -> None:
    column[0:1][:] = 99
    assert (column[0:1] == VALUES[0:1]).all()


def test_backwards_is_refused_rather_than_empty(column: Column) -> None:
    with pytest.raises(StoreError, match="forwards"):
        column[::-1]


@pytest.mark.parametrize("shape", [(0,), (0, 4), (5,), (3, 2, 2)])
def test_any_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).random(shape)
    np.save(tmp_path / "a.npy", values)
    assert (Column(tmp_path / "a.npy")[:] == values).all()


def test_it_travels_to_a_spawned_process(column: Column) -> None:
    assert len(pickle.dumps(column)) < 1000, "a pickle holds the path, not the values"
    column[:]  # so that the handle is open here
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert (pool.map(np.asarray, [column])[0] == VALUES).all()


def test_damage_is_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npy"
    np.save(whole, VALUES)
    short = tmp_path / "short.npy"
    short.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"short.npy is truncated; ingest"):
        Column(short)
    (tmp_path / "text.npy").write_text("not an array")
    with pytest.raises(StoreError, match=r"text.npy is not a readable column"):
        Column(tmp_path / "text.npy")
    with pytest.raises(StoreError, match=r"none.npy is not a readable column"):
        Column(tmp_path / "none.npy")
    np.save(tmp_path / "fortran.npy", np.asfortranarray(np.ones((3, 4))))
    with pytest.raises(StoreError, match="row-major"):
        Column(tmp_path / "fortran.npy")


def test_a_file_cut_after_it_was_opened_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    column = Column(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StoreError, match="ended early"):
        column[:]
