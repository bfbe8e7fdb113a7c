import json
import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neurofm.seeding import fold, generator

KEYS = st.lists(st.one_of(st.integers(), st.text(max_size=5)), max_size=3)


def test_streams_never_change() -> None:
    # Recorded once: a change here changes every batch, mask and split of every seed.
    assert fold(0) == 8_493_733_112_532_773_764
    assert fold(7, "mask", 3, 12) == 15_556_859_286_057_860_932
    raw = generator(7, "mask", 3, 12).bit_generator.random_raw(3)
    assert raw.tolist() == [
        12_362_968_867_819_111_187,
        16_406_908_397_142_744_249,
        7_431_451_679_243_073_278,
    ]


def test_another_process_draws_the_same() -> None:
    code = "from neurofm.seeding import generator; print(generator(5, 'w', 9).random(4).tolist())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert json.loads(out.stdout) == generator(5, "w", 9).random(4).tolist()


def test_every_key_and_their_order_matter() -> None:
    folds = [fold(0), fold(1), fold(0, "a"), fold(0, "b"), fold(0, "a", "b"), fold(0, "b", "a"),
             fold(0, "ab"), fold(0, 1), fold(0, "1"), fold(0, 1, 2), fold(0, 12)]  # fmt: skip
    assert len(set(folds)) == len(folds)


@given(st.integers(min_value=0, max_value=2**31), KEYS)
def test_a_fold_is_64_bits_and_repeats(seed: int, keys: list[int | str]) -> None:
    assert fold(seed, *keys) == fold(seed, *keys)
    assert 0 <= fold(seed, *keys) < 2**64


@given(st.integers(min_value=-(2**31), max_value=2**31 - 1))
def test_a_numpy_integer_counts_as_the_integer_it_is(step: int) -> None:
    assert (
        fold(0, "mask", np.int64(step)) == fold(0, "mask", np.int32(step)) == fold(0, "mask", step)
    )


def test_drawing_leaves_the_global_state_alone() -> None:
    before = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    generator(0, "x").random(10)
    after = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    assert (before == after).all()
