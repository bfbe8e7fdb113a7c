"""What every test shares: the real recordings where they are, and no network."""

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurofm import Intervals, Recording
from neurofm.cli import main

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; the test skips where it is absent."""
    folder = Path(os.environ.get("NEUROFM_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; NEUROFM_TEST_DATA names another folder")
    return folder


@pytest.fixture(scope="session")
def neurofm() -> Callable[..., int]:
    """The command line in this process: words and `settings` (`--set` each) in, its exit code out."""

    def run(*words: object, settings: Sequence[str] = ()) -> int:
        asked = [word for setting in settings for word in ("--set", setting)]
        with pytest.raises(SystemExit) as stop:
            main([*map(str, words), *asked])
        return int(stop.value.code or 0)

    return run


@pytest.fixture(scope="session", autouse=True)
def _no_network() -> Iterator[None]:
    """Only this machine can be reached (the browser's driver listens on it)."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        local = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "localhost", "::1")
        if not local:
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def population(
    name: str, ids: list[str], n_bins: int, seed: int, latent_seed: int = 0
) -> Recording:
    """Counts of channels that share two slow latents; the loadings belong to the ids."""
    rng = np.random.default_rng(seed)
    latents = np.stack(
        [
            np.sin(np.arange(n_bins) / 7 + rng.uniform(0, 6)),
            np.sin(np.arange(n_bins) / 11 + rng.uniform(0, 6)),
        ],
        1,
    )
    loads = np.stack(
        [
            np.random.default_rng([latent_seed, int.from_bytes(i.encode()[-4:], "little")]).normal(
                size=2
            )
            for i in ids
        ]
    )
    rates = 0.5 * np.exp(latents @ loads.T * 0.8)
    counts = rng.poisson(rates).astype(np.uint8)
    half = len(ids) // 2
    region = ["VISp"] * half + ["CA1"] * (len(ids) - half)
    return Recording.from_arrays(
        name, counts=counts, bin_s=0.02, channel_id=ids, channel_region=region, subject=name[:1]
    )


@pytest.fixture(scope="session")
def sessions() -> list[Recording]:
    """Three sessions: a and b have 12 channels each and none in common, c shares 6 with a."""
    a = [f"a{i}" for i in range(12)]
    return [
        population("a-1", a, 1500, 1),
        population("b-1", [f"b{i}" for i in range(12)], 1500, 2),
        population("a-2", a[:6] + [f"c{i}" for i in range(3)], 1200, 3),
    ]


@pytest.fixture(scope="session")
def sides(sessions: list[Recording]) -> dict[str, dict[str, Intervals]]:
    """Train, validation and test in order of time, half a second apart."""
    cuts = {"train": (0.0, 0.7), "valid": (0.7, 0.8), "test": (0.8, 1.0)}
    return {
        side: {
            r.id: Intervals.of([(r.span[1] * lo + 0.5 * (lo > 0), r.span[1] * hi)])
            for r in sessions
        }
        for side, (lo, hi) in cuts.items()
    }
