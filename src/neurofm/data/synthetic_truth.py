"""What a simulation planted, and its file beside the recording: `NAME.nwb.truth.npz`."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurofm import files
from neurofm.data.plain import exact_seconds
from neurofm.errors import InputError

Rates = NDArray[np.float32]

SCHEMA = 1


@dataclass(frozen=True)
class Truth:
    """What was planted: expected counts a bin of every channel.

    `true_rates`: (T, C), given everything, each unit's private fluctuation included: no model can
    score higher. `shared_rates`: (T, C), given what units have in common: the ceiling of any model
    that predicts a unit from others.
    """

    recording: str
    channel_id: NDArray[np.str_]
    bin_s: float
    true_rates: Rates
    shared_rates: Rates

    def at(self, bin_s: float) -> "Truth":
        """The same in wider bins: expected counts are summed; a last bin that is not full is left out.

        Raises InputError if `bin_s` is not a whole multiple of the simulation's.
        """
        ratio = exact_seconds(bin_s, "bin_s") / exact_seconds(self.bin_s, "the truth's bin_s")
        if ratio.denominator != 1:
            raise InputError(
                f"{self.recording}: bin_s {bin_s:g} is not a whole multiple of the simulation's "
                f"{self.bin_s:g} s; choose bin_s from its multiples."
            )
        true, shared = (_summed(r, int(ratio)) for r in (self.true_rates, self.shared_rates))
        return Truth(self.recording, self.channel_id, bin_s, true, shared)


def _summed(rates: Rates, factor: int) -> Rates:
    n_bins = len(rates) // factor
    return np.asarray(rates[: n_bins * factor].reshape(n_bins, factor, -1).sum(axis=1))


def truth_path(recording: Path) -> Path:
    """Where the truth of a recording's file lies: beside it."""
    return recording.with_name(f"{recording.name}.truth.npz")


def save_truth(truth: Truth, path: Path) -> None:
    """Write a truth; rates are kept to three digits (float16), in spikes a second."""
    per_s = 1 / truth.bin_s
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            schema=SCHEMA,
            recording=truth.recording,
            channel_id=truth.channel_id,
            bin_s=truth.bin_s,
            true_hz=(truth.true_rates * per_s).astype(np.float16),
            shared_hz=(truth.shared_rates * per_s).astype(np.float16),
        )


def load_truth(path: Path | str) -> Truth:
    """The truth of a simulated recording; `path` is its `.truth.npz`, or the recording's own file.

    Raises InputError that names the file and the field if it is missing or not readable.
    """
    path = Path(path)
    path = path if path.suffix == ".npz" else truth_path(path)
    try:
        with np.load(path, allow_pickle=False) as tree:
            columns = {name: tree[name] for name in tree.files}
        if int(columns["schema"]) != SCHEMA:
            raise InputError(f"{path}: schema must be {SCHEMA}; simulate it again.")
        bin_s = float(columns["bin_s"])
        true, shared = (columns[k].astype(np.float32) * bin_s for k in ("true_hz", "shared_hz"))
        ids = columns["channel_id"]
        if not true.shape == shared.shape == (len(true), len(ids)):
            raise InputError(
                f"{path}: true_hz, shared_hz and channel_id do not fit; simulate again."
            )
        return Truth(str(columns["recording"]), ids, bin_s, true, shared)
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing; only simulated recordings have a truth beside them."
        ) from None
    except KeyError as error:
        raise InputError(f"{path}: field {error} is missing; simulate it again.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is not a readable truth ({error}); simulate it again.") from None
