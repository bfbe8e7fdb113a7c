"""Cases of EEG, BIDS and poses: a folder of one recording, in which something is spoilt."""

import os
import shutil
from pathlib import Path

import numpy as np
from fuzz_bids import BIDS, CSV, POSE_HDF5
from fuzz_bytes import BYTES, Rng, pick
from fuzz_eeg import BRAINVISION, EDF, FIF
from fuzz_eeg_seeds import SEEDS
from fuzz_hdf5 import SECRET, plant

FIXED = {".edf": EDF, ".bdf": EDF, ".vhdr": BRAINVISION, ".fif": FIF, ".csv": CSV, ".npz": CSV, ".h5": POSE_HDF5}  # fmt: skip
MUTATIONS: dict[str, tuple[str, ...]] = {
    "eeg": (*EDF, *BRAINVISION, *FIF, *BYTES),
    "bids": tuple(BIDS),
    "pose": (*CSV, *POSE_HDF5),
}
FOLDERS = tuple(SEEDS)


def make(target: str, mutation: str, seeds: Path, folder: Path, rng: Rng) -> Path:
    """The recording's file, or the BIDS folder, of a case; its secrets lie two folders up."""
    number, name = pick(_fit(target, mutation), rng)
    home = folder / "in"
    for _ in range(20):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(seeds / target / str(number), home)
        _plant(seeds, folder, home)
        try:
            _spoil(target, mutation, home / name, rng)
        except (
            Exception
        ):  # what cannot be spoilt in the way that was drawn, and HDF5 refuses in many
            continue
        break
    return home if target == "bids" else home / name


def _spoil(target: str, mutation: str, path: Path, rng: Rng) -> None:
    if target == "bids":
        BIDS[mutation](path, rng)
    elif mutation in BYTES:
        path.write_bytes(BYTES[mutation](path.read_bytes(), rng))
    else:
        FIXED[path.suffix][mutation](path, rng)


def _fit(target: str, mutation: str) -> list[tuple[int, str]]:
    """Seeds that a mutation is for."""
    every = list(enumerate(SEEDS[target]))
    if mutation in BYTES or target == "bids":
        return every
    return [one for one in every if mutation in FIXED[Path(one[1]).suffix]]


def _plant(seeds: Path, folder: Path, home: Path) -> None:
    """Files that are good of their kind and must not be read."""
    up = folder.parent
    np.full(1200, 123456.0, "<f4").tofile(up / "secret.eeg")
    marks = (seeds / "eeg" / "3" / "a.vmrk").read_text()
    (up / "secret.vmrk").write_text(marks.replace("S  1", SECRET))
    shutil.copy(seeds / "eeg" / "4" / "a_raw.fif", up / "secret.fif")
    (up / "secret.tsv").write_text(
        f"onset\tduration\tname\tparticipant_id\n1\t1\t{SECRET}\tsub-01\n"
    )
    (up / "secret.json").write_text(f'{{"TaskName": "{SECRET}", "Name": "{SECRET}"}}')
    plant(home)
    if not (home / "pipe").exists():
        os.mkfifo(home / "pipe")
