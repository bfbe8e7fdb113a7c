"""The harness is that of the scorecard, `benchmarks/reliability*.py`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))


@pytest.fixture(scope="session")
def nursery():
    from reliability_common import Nursery

    made = Nursery()
    yield made
    made.close()
