"""A column of a store: one `.npy` file, read by slices and never mapped into memory.

Random windows through a memory map make every touched page resident (1.9 GB of a 3 GB store,
against 33 MB with `pread`), so a column keeps only its header and an open file handle, and opens
that anew in each process.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neurofm.errors import StoreError


class Column:
    """A lazily read array: `column[a:b]` is a fresh ndarray of those rows. Pickles by path."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._handle: int | None = None
        self._process = 0
        try:
            if not self.path.is_file():  # a pipe would never answer
                raise OSError("it is missing or is no file")
            with self.path.open("rb") as file:
                version = np.lib.format.read_magic(file)
                read = {(1, 0): np.lib.format.read_array_header_1_0,
                        (2, 0): np.lib.format.read_array_header_2_0}[version]  # fmt: skip
                self.shape, fortran, self.dtype = read(file)
                self._offset = file.tell()
        except Exception as error:  # the parser of headers may fail in any way
            raise StoreError(f"{self.path} is not a readable column ({error}).") from None
        if fortran or self.dtype.hasobject or not self.shape or min(self.shape) < 0:
            raise StoreError(f"{self.path} is not a plain row-major column.")
        expected = self._offset + math.prod(self.shape) * self.dtype.itemsize
        if self.path.stat().st_size != expected:
            raise StoreError(f"{self.path} is truncated; ingest its recording again.")

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        start, stop, step = rows.indices(len(self))
        if step < 0:
            raise StoreError(f"{self.path}: a column is read forwards; reverse what was read.")
        n = max(stop - start, 0)
        out = np.empty((n, *self.shape[1:]), dtype=self.dtype)
        row_bytes = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        view = memoryview(out.reshape(-1).view(np.uint8).data)
        done = 0
        while done < len(view):
            position = self._offset + start * row_bytes + done
            read = os.preadv(self._open(), [view[done:]], position)
            if read == 0:
                raise StoreError(f"{self.path} ended early; ingest its recording again.")
            done += read
        return out[::step] if step != 1 else out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _open(self) -> int:
        if self._handle is None or self._process != os.getpid():
            self._handle = os.open(self.path, os.O_RDONLY)
            self._process = os.getpid()
        return self._handle

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"])  # type: ignore[misc]

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None and self._process == os.getpid():
            os.close(self._handle)  # type: ignore[arg-type]
