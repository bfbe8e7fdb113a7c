"""How often the 95% intervals of a scaling study hold the truth, over simulated studies.

    python benchmarks/scaling_coverage.py [n_studies]

Each study: 3 runs at every size, scores with a standard deviation of 0.01 bits per spike around a
known curve, 100 resamples. Asked at 1, 2 and 4 times the largest size.
"""

import sys

import numpy as np

from neurofm.study.forecast import study
from neurofm.study.points import Points

TRUTHS = {
    "bends (exponent 0.5)": lambda n: 0.45 - 0.25 * n**-0.5,
    "bends late (exponent 0.2)": lambda n: 0.8 - 0.5 * n**-0.2,
    "line in log n": lambda n: 0.2 + 0.05 * np.log(n),
}
LEVELS = {"1 to 8": [1, 2, 4, 8], "1 to 16": [1, 2, 4, 8, 16]}
NOISE, DRAWS, N_BOOT = 0.01, 3, 100
AT = np.array([1.0, 2.0, 4.0])


def coverage(levels: list[int], truth, n_studies: int) -> tuple[np.ndarray, np.ndarray]:
    """(shares of studies whose interval holds the truth, median widths), one for each of AT."""
    x = np.repeat(np.array(levels, dtype=float), DRAWS)
    sizes = x.max() * AT
    hits, widths = np.zeros(len(AT)), np.zeros((n_studies, len(AT)))
    for seed in range(n_studies):
        y = truth(x) + NOISE * np.random.default_rng(seed).standard_normal(len(x))
        made = study(Points.of(x, y), n_boot=N_BOOT, seed=seed)
        found = [made.value_at(size) for size in sizes]
        hits += [f.low <= t <= f.high for f, t in zip(found, truth(sizes), strict=True)]
        widths[seed] = [f.high - f.low for f in found]
    return hits / n_studies, np.median(widths, axis=0)


def main() -> None:
    n_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    print(f"{'sizes':10}{'truth':28}{'coverage at 1, 2, 4 x':26}median width")
    for sizes, levels in LEVELS.items():
        for name, truth in TRUTHS.items():
            hits, widths = coverage(levels, truth, n_studies)
            row = "  ".join(f"{h:.2f}" for h in hits), "  ".join(f"{w:.3f}" for w in widths)
            print(f"{sizes:10}{name:28}{row[0]:26}{row[1]}", flush=True)


if __name__ == "__main__":
    main()
