"""How often 95% intervals hold the truth, over a hundred simulated studies: minutes, so marked slow."""

import numpy as np
import pytest

from neurofm.study.forecast import study
from neurofm.study.points import Points

TRUTHS = {
    "bends": lambda n: 0.45 - 0.25 * n**-0.5,
    "bends late": lambda n: 0.8 - 0.5 * n**-0.2,
    "line in log n": lambda n: 0.2 + 0.05 * np.log(n),
}
LEVELS = {"1 to 8": [1, 2, 4, 8], "1 to 16": [1, 2, 4, 8, 16]}
N_STUDIES, NOISE, DRAWS = 100, 0.01, 3


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("levels", LEVELS)
def test_coverage(truth: str, levels: str, capsys: pytest.CaptureFixture[str]) -> None:
    x = np.repeat(np.array(LEVELS[levels], dtype=float), DRAWS)
    ats = x.max() * np.array([1.0, 2.0, 4.0])
    hits, width = np.zeros(3), np.zeros((N_STUDIES, 3))
    for seed in range(N_STUDIES):
        y = TRUTHS[truth](x) + NOISE * np.random.default_rng(seed).standard_normal(len(x))
        made = study(Points.of(x, y), n_boot=100, seed=seed)
        found = [made.value_at(at) for at in ats]
        hits += [f.low <= t <= f.high for f, t in zip(found, TRUTHS[truth](ats), strict=True)]
        width[seed] = [f.high - f.low for f in found]
    with capsys.disabled():
        print(f"\n{levels}, {truth}: at 1, 2, 4 times the largest {hits / N_STUDIES}, "
              f"widths {np.median(width, axis=0).round(3)}")  # fmt: skip
    assert (hits / N_STUDIES >= 0.85).all()
