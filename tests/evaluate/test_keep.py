import numpy as np
import pytest

from neurofm.errors import StoreError
from neurofm.evaluate import keep
from neurofm.evaluate import metrics as m


def scores(asked="q1"):
    counts = np.random.default_rng(0).poisson(1.0, (40, 3))
    names = {"predictor": "ridge", "task": "forward", "recording": "a/b ü", "asked": asked}
    return m.block_scores(counts, np.ones((40, 3)), np.arange(40) // 10, **names)


def test_what_is_kept_comes_back_the_same(tmp_path):
    path = keep.place(tmp_path, "forward", "a/b ü", "ridge")
    keep.save(path, scores())
    again = keep.load(path)
    for name, value in vars(scores()).items():
        assert np.array_equal(getattr(again, name), value), name
    assert [p.name for p in path.parent.iterdir()] == ["ridge.npz"]


def test_places_are_inside_the_folder_and_distinct(tmp_path):
    ids = ["a/b", "a-b", "a b", "../x", "..", "", "x" * 200, "x" * 201, "Ångström"]
    places = [keep.place(tmp_path, "t", name, "p") for name in ids]
    assert len(set(places)) == len(ids)
    for path in places:
        assert path.parent.parent.parent.resolve() == tmp_path.resolve()


def test_kept_scores_of_other_questions_are_not_used(tmp_path):
    path = tmp_path / "x.npz"
    assert keep.load_if_asked(path, "q1") is None
    keep.save(path, scores("q1"))
    assert keep.load_if_asked(path, "q1") is not None
    assert keep.load_if_asked(path, "q2") is None


def test_missing_and_torn_files_are_named(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(StoreError, match=r"x\.npz is missing"):
        keep.load(path)
    keep.save(path, scores())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StoreError, match=r"x\.npz is not readable"):
        keep.load(path)
