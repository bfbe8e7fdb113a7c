"""Arrays of many people to array recordings, one file a person and round, ready for `neurofm ingest`.

    python benchmarks/convert_people.py DATA --out FOLDER [--only emg-myo-gestures]
    neurofm ingest FOLDER/emg-myo-gestures --out emg

DATA holds `emg-myo-gestures`, `eeg-eegmat` and `eeg-feis`, whose READMEs say what their keys mean.
Pieces that were recorded apart lie end to end and stay apart in `valid`. Channels are the same
electrode in every person, so they share ids; people do not.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.data.readers.arrays import write_arrays
from neurofm.data.recording import Channels, Provenance, Recording


def recording(
    id: str,
    subject: str,
    pieces: Sequence[NDArray[Any]],
    rate_hz: int,
    channels: Channels,
    trials: dict[str, Any],
    told: Provenance,
) -> Recording:
    """Pieces (t, C) end to end. `trials`: columns of one row a piece, or `start_s` and `stop_s` too."""
    ends = np.cumsum([len(piece) for piece in pieces]) / rate_hz
    starts = np.concatenate([[0.0], ends[:-1]])
    made = Recording.from_arrays(
        id,
        traces=np.concatenate(pieces).astype(np.float32),
        bin_s=1 / rate_hz,
        channel_id=channels.id,
        subject=subject,
        trials={"start_s": starts, "stop_s": ends, **trials},
        valid=np.stack([starts, ends], axis=1),
        provenance=told,
    )
    return replace(made, channels=replace(channels, subject=made.channels.subject))


def table(
    prefix: str,
    names: Sequence[str],
    types: Sequence[str],
    unit: str,
    reference: str = "",
    where: Any = None,
) -> Channels:
    """Channels of traces with what a montage says of them."""
    n = len(names)
    quality = {"name": np.array(names), "type": np.array(types), "unit": np.full(n, unit),
               "reference": np.where(np.array(types) == "eeg", reference, "")}  # fmt: skip
    ids = [f"{prefix}/{name}" for name in names]
    return Channels.of(ids, kind="real", coordinates=where, quality=quality)


def emg_myo_gestures(folder: Path) -> Iterator[Recording]:
    """One recording a person and round: 28 pieces of about 5 s, a gesture each."""
    angle = (
        np.arange(8) * np.pi / 4
    )  # electrodes around the forearm; where the first one lies varies
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(8)], axis=1)
    names = [str(i) for i in range(8)]
    channels = table("myo", names, ["emg"] * 8, "adc", where=ring)
    told = Provenance(species="human", task="seven hand gestures", licence="GPL-3.0 repository",
                      cite="Cote-Allard et al. 2019, IEEE TNSRE 27(4)")  # fmt: skip
    with np.load(folder / "myo_armband_gestures.npz") as file:
        a = {name: file[name] for name in file.files}
    for person, session in sorted(
        {*zip(a["participant"].tolist(), a["session"].tolist(), strict=True)}
    ):
        rows = np.flatnonzero((a["participant"] == person) & (a["session"] == session))
        pieces = [a["emg"][a["offsets"][i] : a["offsets"][i + 1]] for i in rows]
        trials = {"gesture": a["gesture"][rows], "cycle": a["cycle"][rows]}
        yield recording(f"myo-p{person:02d}-r{session}", f"myo-p{person:02d}", pieces, 200, channels,
                        trials, told)  # fmt: skip


def eeg_eegmat(folder: Path, window_s: int = 4) -> Iterator[Recording]:
    """One recording a person: rest, then arithmetic, 62 s each, cut into trials of `window_s`."""
    told = Provenance(species="human", task="rest (0) against mental arithmetic (1)", licence="ODC-BY",
                      cite="Zyma et al. 2019, Data 4(1):14")  # fmt: skip
    with np.load(folder / "eegmat_125hz.npz") as file:
        a = {name: file[name] for name in file.files}
    names = a["ch_names"].tolist()
    other = {
        "ECG": "ecg",
        "A2-A1": "misc",
    }  # one ear against the other is no electrode of the scalp
    types = [other.get(name, "eeg") for name in names]
    channels = table("eegmat", names, types, "uV", "linked ears")
    for person in np.unique(a["participant"]).tolist():
        rows = [
            int(np.flatnonzero((a["participant"] == person) & (a["condition"] == c))[0])
            for c in (0, 1)
        ]
        pieces = [a["eeg"][i].T * np.float32(0.2) for i in rows]
        start = np.concatenate([i * len(p) / 125 + np.arange(len(p) // (125 * window_s)) * window_s
                                for i, p in enumerate(pieces)])  # fmt: skip
        trials = {"start_s": start, "stop_s": start + window_s,
                  "condition": np.repeat([0, 1], len(start) // 2)}  # fmt: skip
        name = f"eegmat-p{person:02d}"
        yield recording(name, name, pieces, 125, channels, trials, told)


def eeg_feis(folder: Path) -> Iterator[Recording]:
    """One recording a person: trials of 1 s of fixation, a phoneme each, in order of time.

    The audio stays where it is: `participant` and `label` of a trial are its keys.
    """
    told = Provenance(species="human", task="fixation before an imagined phoneme (a null: chance is right)",
                      licence="ODC-BY 1.0", cite="Wellington & Clayton 2019, doi 10.5281/zenodo.3369178")  # fmt: skip
    with np.load(folder / "feis_fixation_eeg_128hz.npz") as file:
        a = {name: file[name] for name in file.files}
    names = a["ch_names"].tolist()
    channels = table("feis", names, ["eeg"] * len(names), "uV")
    for person in np.unique(a["participant"]).tolist():
        rows = np.flatnonzero(a["participant"] == person)
        rows = rows[np.argsort(a["epoch"][rows], kind="stable")]
        pieces = [a["eeg"][i].T * np.float32(0.25) for i in rows]
        trials = {"label": a["label"][rows], "phoneme": a["label_names"][a["label"][rows]],
                  "participant": np.full(len(rows), person), "epoch": a["epoch"][rows]}  # fmt: skip
        name = f"feis-p{person:02d}"
        yield recording(name, name, pieces, 128, channels, trials, told)


SETS = {"emg-myo-gestures": emg_myo_gestures, "eeg-eegmat": eeg_eegmat, "eeg-feis": eeg_feis}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of the data sets")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=sorted(SETS), help="one of the sets")
    asked = parser.parse_args()
    for name in [asked.only] if asked.only else SETS:
        folder = asked.out / name
        folder.mkdir(parents=True, exist_ok=True)
        n = 0
        for made in SETS[name](asked.data / name):
            write_arrays(made, folder / f"{made.id}.npz")
            n += 1
        print(f"{n} recordings in {folder}")


if __name__ == "__main__":
    main()
