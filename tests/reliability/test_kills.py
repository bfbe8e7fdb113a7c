"""Five kills of `neurofm pretrain` at random moments, five inside saves, and what must be noticed."""

import numpy as np
import pytest
from reliability_common import curve, toy_store, upper_bound
from reliability_kills import SABOTAGE, Bench, chain, control


@pytest.fixture(scope="module")
def bench(nursery, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    toy_store(folder / "store")
    return Bench(nursery, folder, folder / "store", ("steps=12", "validate_every=1"))


def kills(bench, out, aimed):
    """Chains of five kills until five have been counted, inside saves if `aimed`."""
    rng, done = np.random.default_rng(), []
    while sum(one.in_save if aimed else one.kills for one in done) < 5:
        assert len(done) < 8, done
        done.append(chain(bench, out, 5, rng, aimed))
        assert done[-1].same, done[-1].why
    return done


def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(bench, tmp_path):
    assert len(curve(bench.unbroken)) == 12
    kills(bench, tmp_path / "run", aimed=False)


def test_killed_inside_saves_it_ends_as_if_nothing_had_happened(bench, tmp_path):
    kills(bench, tmp_path / "run", aimed=True)


@pytest.mark.parametrize("name", ["optimiser state dropped", "another seed"])
def test_a_resume_from_other_state_is_noticed(bench, tmp_path, name):
    assert control(bench, tmp_path / "run", SABOTAGE[name], at_step=5)


def test_the_bound_is_that_of_clopper_and_pearson():
    from scipy.stats import beta

    for n, k in ((1, 0), (50, 0), (300, 2), (2000, 7)):
        assert upper_bound(n, k) == pytest.approx(beta.ppf(0.95, k + 1, n - k))
    assert upper_bound(5, 5) == upper_bound(0, 0) == 1
