"""Ways to spoil an HDF5 file that know its structure: `(path, rng)`, in place.

Beside the file lie `secret.h5`, which nothing may be read from, and `pipe`, which blocks who opens it.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz_bytes import NAMES, Rng, pick

SECRET = "the secret of another file"
Change = Callable[[h5py.File, str, Rng], None]


def plant(folder: Path) -> None:
    """The file that links point to; its text must never turn up in a recording."""
    with h5py.File(folder / "secret.h5", "w") as file:
        file["text"] = SECRET
        file["numbers"] = np.full(500, 123456.0)
        for name in ("data", "timestamps", "start", "spike_times", "id", "start_time"):
            file[f"group/{name}"] = np.full(500, 123456.0)
        file["group"].attrs["object"] = SECRET
        file["group"].attrs["neurodata_type"] = SECRET


def members(file: h5py.File) -> list[str]:
    """Paths of members, at most eight deep: what an earlier change made may go on for ever."""
    out: list[str] = []
    left = [""]
    while left and len(out) < 4000:
        home = left.pop(0)
        group = file[home or "/"]
        for name in group:
            if isinstance(group.get(name, getlink=True), h5py.HardLink):
                out.append(f"{home}/{name}".lstrip("/"))
                deeper = isinstance(group[name], h5py.Group) and out[-1].count("/") < 7
                left += [out[-1]] if deeper else []
    return out


def replace(file: h5py.File, name: str, value: Any, **options: Any) -> None:
    if name in file:
        del file[name]
    file.create_dataset(name, data=value, **options)


def _length(file: h5py.File, name: str) -> int:
    node = file.get(name)
    return len(node) if isinstance(node, h5py.Dataset) and node.ndim else 1


def value(file: h5py.File, name: str, rng: Rng) -> None:
    """Another value: wrong type, rank or length, NaN, negative, absurd, unsorted."""
    n = _length(file, name)
    node = file[name]
    old = (
        node[()]
        if isinstance(node, h5py.Dataset) and node.dtype.kind in "iuf"
        else np.arange(float(n))
    )
    text = pick(NAMES, rng).replace("\x00", "?").encode("utf-8", "replace")[:70_000]
    makers: tuple[Callable[[], Any], ...] = (
        lambda: text, lambda: np.array([text] * n, object), lambda: np.empty(0), lambda: 7.0, lambda: np.full(n, np.nan),
        lambda: np.full(n, np.inf), lambda: np.full(n, -1e15), lambda: np.full(n, 1e300), lambda: np.full(n, -np.inf),
        lambda: old[::-1] if np.ndim(old) else old, lambda: rng.permutation(old) if np.ndim(old) else old,
        lambda: -np.asarray(old, float), lambda: np.asarray(old)[..., None], lambda: np.zeros((2, 2, 2)),
        lambda: np.repeat(old, 2), lambda: np.asarray(old)[:-1] if n > 1 else 0, lambda: np.full(n, 2**63 - 1),
        lambda: np.full(n, -(2**63)), lambda: np.full(n, 2**64 - 1, np.uint64), lambda: np.zeros(n, bool),
        lambda: np.zeros(n, complex), lambda: np.zeros(n, [("a", "f8"), ("b", "i4")]), lambda: np.zeros(n, "f2"),
        lambda: np.full(n, 5.0, np.longdouble), lambda: np.zeros(n, ">f4"), lambda: h5py.Empty("f8"), lambda: h5py.Empty("S3"),
        lambda: np.full(n, file.ref, h5py.ref_dtype), lambda: np.zeros(n, "V9"), lambda: np.array([b"\xff\xfe\xfd"] * n),
        lambda: np.asarray(old, float) + 1.6e9, lambda: np.asarray(old, float) * 1e7, lambda: np.asarray(old, float) * 1e-12,
        lambda: np.zeros((n, 5000), "f4"), lambda: np.array([b"x"] * (n - 1) + [b"y" * 200_000], object),
    )  # fmt: skip
    made = pick(makers, rng)()
    is_text = isinstance(made, np.ndarray) and made.dtype == object and made.dtype.metadata is None
    replace(file, name, made, **({"dtype": h5py.string_dtype()} if is_text else {}))


def special_type(file: h5py.File, name: str, rng: Rng) -> None:
    """Types that few files have: ragged, enumerations, arrays of arrays, bit fields, regions."""
    n = _length(file, name)
    kind = int(rng.integers(6))
    if kind == 0:
        replace(file, name, [np.arange(3.0)] * n, dtype=h5py.vlen_dtype(np.float64))
    elif kind == 1:
        replace(file, name, np.zeros(n, int), dtype=h5py.enum_dtype({"A": 0, "B": 1}, "i4"))
    elif kind == 2:
        replace(file, name, None, shape=(n,), dtype=np.dtype((np.float64, (3, 3))))
    elif kind == 3:
        replace(file, name, None, shape=(n,), dtype=h5py.regionref_dtype)
    else:
        del file[name]
        type_id = h5py.h5t.STD_B32LE if kind == 4 else h5py.h5t.create(h5py.h5t.OPAQUE, 1 << 16)
        h5py.h5d.create(file.id, name.encode(), type_id, h5py.h5s.create_simple((n,)),
                        lcpl=_parents())  # fmt: skip


def _parents() -> Any:
    lcpl = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    lcpl.set_create_intermediate_group(True)
    return lcpl


def links(file: h5py.File, name: str, rng: Rng) -> None:
    """Links to itself, in circles, up the tree, nowhere, to other files, and through them."""
    parent = name.rpartition("/")[0] or "/"
    secret = str(Path(file.filename).with_name("secret.h5"))
    inside = pick(("/text", "/numbers", "/group", "/"), rng)
    new = (f"{parent}/{pick(('x', 'new', 'trials2'), rng)}" if rng.integers(2) else name).lstrip(
        "/"
    )
    if new in file:
        del file[new]
    how = int(rng.integers(9))
    if how == 0:
        file[new] = h5py.SoftLink("/" + new)
    elif how == 1:
        file[new], file[new + "2"] = h5py.SoftLink(f"/{new}2"), h5py.SoftLink("/" + new)
    elif how == 2:
        file[new] = file[pick(("/", parent if parent in file else "/"), rng)]
    elif how == 3:
        for i in range(int(rng.choice([5, 40]))):
            file[f"{new}/loop{i}"] = file[pick(("/", parent if parent in file else "/"), rng)]
    elif how == 4:
        file[new] = h5py.SoftLink("/nowhere/at/all")
    elif how == 5:
        file[new] = h5py.ExternalLink(secret, inside)
    elif how == 6:
        file[f"{new}_door"] = h5py.ExternalLink(secret, "/")
        file[new] = h5py.SoftLink(f"/{new}_door{inside}")
    elif how == 7:
        other = pick(
            ("/etc/passwd", "/dev/zero", "pipe", file.filename, "../" * 9 + "etc/passwd"), rng
        )
        file[new] = h5py.ExternalLink(other, "/x")
    else:
        file[f"{new}_pipe"] = h5py.ExternalLink("pipe", "/")
        file[new] = h5py.SoftLink(f"/{new}_pipe/x")


def elsewhere(file: h5py.File, name: str, rng: Rng) -> None:
    """Data in other files: raw bytes of any file, or a virtual dataset, also of itself."""
    n = _length(file, name)
    secret = str(Path(file.filename).with_name("secret.h5"))
    if name in file:
        del file[name]
    if rng.integers(2):
        other = pick((secret, "/etc/passwd", "pipe", "../../escape", "/dev/zero"), rng)
        file.create_dataset(name, (n,), "f8", external=[(other, 0, h5py.h5f.UNLIMITED)])
        return
    layout = h5py.VirtualLayout((n,), "f8")
    layout[:] = h5py.VirtualSource(pick((secret, "."), rng), pick(("numbers", name), rng), (n,))
    file.create_virtual_dataset(name, layout)


def absurd(file: h5py.File, name: str, rng: Rng) -> None:
    """Sizes that are claimed and not stored, bombs that are, and millions of chunks."""
    if name in file:
        del file[name]
    how = int(rng.integers(6))
    if how == 0:
        shape = pick(
            ((1 << 40,), (1 << 30, 1 << 30), (1 << 28,), (1 << 25,), (0, 1 << 40), (1, 1 << 27)),
            rng,
        )
        file.create_dataset(
            name,
            shape,
            pick(("f8", "u1", "S64", "S100000"), rng),
            chunks=(1,) * len(shape) if rng.integers(2) else None,
        )
    elif how == 1:
        file.create_dataset(
            name, (int(rng.choice([10**6, 1 << 25])),), h5py.string_dtype(), chunks=(1 << 16,)
        )
    elif how == 2:
        n = int(rng.choice([4, 64], p=[0.9, 0.1]))
        data = file.create_dataset(name, (n << 20,), "f8", chunks=(1 << 20,), compression="gzip")
        block = zlib.compress(bytes(8 << 20), 9)
        for i in range(n):
            data.id.write_direct_chunk((i << 20,), block)
    elif how == 3:
        file.create_dataset(
            name, (int(rng.choice([1 << 16, 1 << 21, 1 << 24])),), "f8", chunks=(1,)
        )
    elif how == 4:
        data = file.create_dataset(name, (300,), "f8", chunks=(300,), compression="gzip")
        data.id.write_direct_chunk((0,), zlib.compress(bytes(64 << 20), 9))
    else:
        file.create_dataset(
            name,
            (int(rng.choice([10**5, 1 << 30])),),
            "f8",
            maxshape=(None,),
            chunks=(1 << 14,),
            fillvalue=np.nan,
        )


def filters(file: h5py.File, name: str, rng: Rng) -> None:
    """A filter that is not there, or data that it did not make."""
    if name in file:
        del file[name]
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((100,))
    code = int(rng.choice([32001, 32015, 40000, 305, 1, 2, 3]))
    if code > 3:
        plist.set_filter(code, h5py.h5z.FLAG_OPTIONAL)
    elif code == 1:
        plist.set_deflate(4)
    elif code == 2:
        plist.set_shuffle()
    else:
        plist.set_fletcher32()
    kind = h5py.h5t.py_create(np.dtype("f8"))
    space = h5py.h5s.create_simple((100,))
    data = h5py.h5d.create(file.id, name.encode(), kind, space, plist, lcpl=_parents())
    data.write_direct_chunk((0,), rng.bytes(int(rng.integers(1, 1000))))


NUMERALS = (
    "nan",
    "inf",
    "1/0",
    "0",
    "-1",
    "0/5",
    "1e999999999",
    "9" * 5000,
    "1/" + "9" * 4000,
    "1e30",
    "1e-30",
    "x",
    "",
    "30000/7",
)


def attributes(file: h5py.File, name: str, rng: Rng) -> None:
    """Attributes gone, renamed, of another type, empty, huge; fractions that never end."""
    node = file[name] if rng.integers(4) else file
    keys = [*node.attrs, "resolution", "conversion", "offset", "rate", "neurofm_name", "span_s"]
    key = pick(keys, rng)
    n = int(rng.integers(10))
    if n == 0 and key in node.attrs:
        del node.attrs[key]
        return
    text = pick(NAMES, rng).replace("\x00", "?").encode("utf-8", "replace").decode()[:60_000]
    new = (
        None,
        text,
        pick(NUMERALS, rng),
        np.float64("nan"),
        np.inf,
        -1e300,
        1e-320,
        np.arange(9.0),
        h5py.Empty("f8"),
        b"\xff\xfe",
    )[n]
    if key in node.attrs:
        del node.attrs[key]
    if n == 7 and rng.integers(2):
        node.attrs[key] = file.ref
    elif new is not None:
        node.attrs[key] = np.bytes_(new) if isinstance(new, bytes) else new


def fractions(file: h5py.File, name: str, rng: Rng) -> None:
    """The exact clocks that the package's own files state."""
    found = [n for n in members(file) if any(k.startswith("neurofm_") for k in file[n].attrs)] or [
        name
    ]
    node = file[pick(found, rng)]
    node.attrs[
        pick(("neurofm_ticks_per_s", "neurofm_step_s", "neurofm_node", "sampling_rate"), rng)
    ] = pick(NUMERALS, rng)


def names(file: h5py.File, name: str, rng: Rng) -> None:
    """Groups and datasets under hostile names, not all of them Unicode; hostile ids."""
    new = (
        pick(NAMES, rng)
        .replace("\x00", "")
        .encode("utf-8", "surrogateescape" if rng.integers(2) else "replace")[:60_000]
        or b"e"
    )
    how = int(rng.integers(4))
    if how == 0:
        parent = file[name.rpartition("/")[0] or "/"]
        new = new.replace(b"/", b"_").strip(b".") or b"dots"
        parent.id.links.create_hard(new[:200], file.id, name.encode())
    elif how == 1:
        texts = [
            n
            for n in members(file)
            if isinstance(file[n], h5py.Dataset) and h5py.check_string_dtype(file[n].dtype)
        ]
        wanted = (
            [n for n in texts if n in ("identifier", "general/subject/subject_id")]
            or texts
            or [name]
        )
        target = pick(wanted, rng)
        shape = file[target].shape if isinstance(file[target], h5py.Dataset) else ()
        replace(
            file, target, np.full(shape, new, object) if shape else new, dtype=h5py.string_dtype()
        )
    else:
        for node in ("session", "subject", "neurofm"):
            if node in file:
                file[node].attrs[pick(("id", "species", "task"), rng)] = new.decode(
                    "utf-8", "replace"
                )
        file.attrs["nwb_version" if "nwb_version" in file.attrs else "x"] = new.decode(
            "utf-8", "replace"
        )


def crowds(file: h5py.File, name: str, rng: Rng) -> None:
    """Thousands of groups, deep nesting, thousands of columns."""
    parent = name.rpartition("/")[0] or "/"
    how, n = int(rng.integers(3)), int(rng.choice([20, 60, 900], p=[0.45, 0.45, 0.1]))
    if how == 0:
        for i in range(n):
            file.create_group(f"{parent}/crowd{i}")
    elif how == 1:
        file.create_group(f"{parent}/{'/'.join(['deep'] * n)}")
    else:
        for i in range(n):
            file[f"{parent}/column{i}"] = np.arange(float(_length(file, name)))


def remove(file: h5py.File, name: str, rng: Rng) -> None:  # noqa: ARG001
    del file[name]


STRUCTURE: dict[str, Change] = {
    "value": value, "special type": special_type, "links": links, "data elsewhere": elsewhere, "absurd size": absurd,
    "filter": filters, "attributes": attributes, "fractions": fractions, "names": names, "crowd": crowds, "remove": remove,
}  # fmt: skip


def spoil(path: Path, change: Change, rng: Rng) -> None:
    """A change, mostly one, to members that are drawn; where HDF5 itself refuses it, another draw."""
    left = int(rng.choice([1, 1, 1, 2, 4]))
    for _ in range(20):
        held = path.read_bytes()
        try:
            with h5py.File(path, "a") as file:
                there = members(file)
                change(file, pick(there, rng) if there else "x", rng)
            left -= 1
        except Exception:  # HDF5 refuses in many ways, and may leave half of a change
            path.write_bytes(held)
        if left == 0:
            return
