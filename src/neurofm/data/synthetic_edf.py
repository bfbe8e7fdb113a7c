"""Small EDF+ and BDF+ files for pages and tests, written by hand from the format's description.

Kemp & Olivan 2003 (Clinical Neurophysiology 114: 1755): a header of fixed text fields, records of
whole seconds, one channel of annotations.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from neurofm import files

ANNOTATION_BYTES = 240  # a record


def write_edf(
    path: Path | str,
    values: ArrayLike,
    rate_hz: int,
    labels: Sequence[str],
    *,
    units: Sequence[str] = (),
    annotations: Sequence[tuple[float, float, str]] = (),
    subject: str = "X",
) -> None:
    """Write (T, C) values as EDF+, or as BDF+ if the name ends in `.bdf`; T in whole seconds.

    `labels`: 'EEG Fz' gives the type, then the name. `units`: of each channel, `uV` by default.
    `annotations`: (start, duration, text) in seconds.
    """
    path = Path(path)
    array = np.asarray(values, dtype=np.float64)
    n_records, n = len(array) // rate_hz, array.shape[1]
    width, mark = (3, b"\xffBIOSEMI") if path.suffix == ".bdf" else (2, b"0       ")
    top = 2 ** (8 * width - 1) - 1
    text = "BDF" if width == 3 else "EDF"
    high = np.ceil(np.abs(array).max(axis=0) + 1)
    samples = [rate_hz] * n + [ANNOTATION_BYTES // width]
    columns = [
        (16, [*labels, f"{text} Annotations"]),
        (80, [""] * (n + 1)),
        (8, [*(units or ["uV"] * n), ""]),
        (8, [f"{-v:g}" for v in high] + ["-1"]),
        (8, [f"{v:g}" for v in high] + ["1"]),
        (8, [str(-top)] * (n + 1)),
        (8, [str(top)] * (n + 1)),
        (80, [""] * (n + 1)),
        (8, [str(k) for k in samples]),
        (32, [""] * (n + 1)),
    ]
    fixed = [(80, f"{subject} X X X"), (80, "Startdate 01-JAN-2020 X X X"), (8, "01.01.20"),
             (8, "00.00.00"), (8, str(256 * (n + 2))), (44, f"{text}+C"), (8, str(n_records)),
             (8, "1"), (4, str(n + 1))]  # fmt: skip
    fields = [*fixed, *((size, one) for size, ones in columns for one in ones)]
    header = mark + b"".join(one[:size].ljust(size).encode("latin-1") for size, one in fields)
    digital = np.rint(array / high * top).astype(np.int64)
    body = b"".join(
        _ints(digital[r * rate_hz : (r + 1) * rate_hz].T.reshape(-1), width)
        + _annotations(r, annotations)
        for r in range(n_records)
    )
    with files.replacing(path) as temporary:
        files.put(temporary, header + body)


def _ints(values: NDArray[np.int64], width: int) -> bytes:
    """Little-endian two's complement of 2 or 3 bytes."""
    return values.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :width].tobytes()


def _annotations(record: int, annotations: Sequence[tuple[float, float, str]]) -> bytes:
    """The annotations that start in a record of one second, after the record's own time."""
    out = f"+{record}\x14\x14\x00".encode()
    for start, lasting, text in annotations:
        if record <= start < record + 1:
            out += f"+{start:g}\x15{lasting:g}\x14{text}\x14\x00".encode()
    return out.ljust(ANNOTATION_BYTES, b"\x00")[:ANNOTATION_BYTES]
