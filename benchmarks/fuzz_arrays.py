"""Ways to spoil an `.npz` that know its structure: `(content, rng) -> content`."""

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from fuzz_bytes import BYTES, NAMES, Rng, flip, pick, spoil_tree

Members = dict[str, bytes]


def unzip(content: bytes) -> Members:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def saved(array: Any) -> bytes:
    """The `.npy` of an array; of objects it is a pickle."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array))
    return out.getvalue()


def loaded(member: bytes) -> Any:
    return np.lib.format.read_array(io.BytesIO(member))


def arrays(rng: Rng, like: Any) -> Any:
    """An array that is wrong in some way, maybe made from the one that was there."""
    n = len(like) if getattr(like, "ndim", 0) else 1
    makers: tuple[Callable[[], Any], ...] = (
        lambda: np.empty(0), lambda: np.float64(3), lambda: np.zeros((0, 4), np.uint8), lambda: np.zeros((n, 0)),
        lambda: np.full(np.shape(like), np.nan), lambda: np.full(np.shape(like), np.inf),
        lambda: np.full(np.shape(like), -(10**15)), lambda: np.full(np.shape(like), 1e300),
        lambda: np.asarray(like)[::-1], lambda: np.asarray(like)[..., None], lambda: np.asarray(like)[:-1] if n > 1 else 0,
        lambda: np.asarray(like).astype(pick("?bBhHiIlLqQefdgFD", rng)), lambda: np.asarray(like).astype(">f8"),
        lambda: np.asarray(like).astype("U12"), lambda: np.full(n, pick(NAMES, rng)[:5000]), lambda: np.full(n, b"\xff\xfe"),
        lambda: np.zeros(n, "M8[s]"), lambda: np.zeros(n, [("a", "f8"), ("b", "U3")]), lambda: np.zeros(n, "V7"),
        lambda: np.full(n, np.iinfo(np.int64).min), lambda: np.full(n, np.iinfo(np.uint64).max, np.uint64),
        lambda: np.array([pick(NAMES, rng)[:3000] for _ in range(n)]), lambda: np.zeros((n, 2, 2)),
        lambda: np.frombuffer(b"\xff\xff\xff\x7f" * n, "<U1"), lambda: np.zeros((200_000, 3)),
        lambda: np.array(["x"] * (n - 1) + ["y" * 20_000]), lambda: np.full((n, 2), np.nan, np.float16),
    )  # fmt: skip
    with np.errstate(all="ignore"):
        return pick(makers, rng)()


def array(content: bytes, rng: Rng) -> bytes:
    """One to three arrays replaced."""
    members = unzip(content)
    for name in rng.choice(sorted(members), int(rng.integers(1, 4))):
        try:
            members[name] = saved(arrays(rng, loaded(members[name])))
        except Exception:  # text that is no number, and the like
            members[name] = saved(np.arange(7))
    return rezip(list(members.items()))


def names(content: bytes, rng: Rng) -> bytes:
    """Members gone, doubled, or under other names: paths upwards, absolute, NUL, very long."""
    members = list(unzip(content).items())
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(members)))
        name, member = members[at]
        prefix = pick(("", "channel_", "signal_", "trial_"), rng)
        new = (prefix + pick(NAMES, rng)).encode("utf-8", "replace").decode()[:60_000]
        how = int(rng.integers(4))
        if how == 0 and len(members) > 1:
            del members[at]
        elif how == 1:
            members.append((name, members[int(rng.integers(len(members)))][1]))
        else:
            members.append((new + ".npy" * int(rng.integers(2)), member))
    return rezip(
        members, int(rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
    )


def meta(content: bytes, rng: Rng) -> bytes:
    """Hostile ids, wrong types and nesting in `meta`."""
    members = unzip(content)
    tree: Any = json.loads(str(loaded(members["meta.npy"])))
    how = int(rng.integers(4))
    if how == 0:
        tree = spoil_tree(tree, rng)
    elif how == 1:
        tree |= {pick(("id", "subject", "species", "source", "note"), rng): pick(NAMES, rng)}
    elif how == 2:
        tree |= {"id": "[" * int(rng.choice([50, 5000])), "deep": 1}
    text = json.dumps(tree)
    if how == 3:
        n = int(rng.choice([900, 100_000]))
        text = '{"a":' * n + "1" + "}" * n
    members["meta.npy"] = saved(np.array(text))
    return rezip(list(members.items()))


SHAPES = ("(1152921504606846976,)", "(4294967296, 4294967296)", "(-1,)", "(-4, -100)", "(400, 4, 0)", "(True,)", "(1e3,)",
          "()", "(400, 1.5)", "4", "(400,)*99", "(9" + "9" * 4000 + ",)", "(" * 90 + ")" * 90, "(1,) + (2,)", "[400, 4]")  # fmt: skip
KINDS = ("'|O'", "'<f8'", "'|V1152921504606846976'", "'<U536870911'", "[('a', '<f8', (1000000, 1000000))]", "'<M8'", "'zz'", "1",
         "'" + "f8," * 3000 + "f8'", "[('a', [('b', '|O')])]", "{'names': ['a'], 'formats': ['f8'], 'offsets': [1099511627776]}",
         "'<i3'", "'>u2'", "None", "__import__('os').system('touch escape')")  # fmt: skip


def header(content: bytes, rng: Rng) -> bytes:
    """Headers that lie: shapes of 2^60, negative, of objects, or no header at all."""
    members = unzip(content)
    name = pick(sorted(members), rng)
    member = members[name]
    start = 10 + struct.unpack("<H", member[8:10])[0]
    shape = pick(SHAPES, rng) if rng.integers(2) else "(400, 4)"
    kind = pick(KINDS, rng) if rng.integers(2) else "'|u1'"
    order = pick(("False", "True", "2", "'x'"), rng)
    text = f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    version = pick((1, 2, 3, 9), rng)
    size = struct.pack("<H" if version == 1 else "<I", len(text) & 0xFFFF)
    new = b"\x93NUMPY" + bytes([version, 0]) + size + text + member[start:]
    members[name] = pick((new, flip(member[:start], rng) + member[start:], member[start:]), rng)
    return rezip(list(members.items()))


class Bomb:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("escape", "w")


def pickles(content: bytes, rng: Rng) -> bytes:
    """Arrays of objects, and bare pickles, that write a file when they are loaded."""
    members = unzip(content)
    name = pick(sorted(members), rng)
    bomb = np.array([Bomb()], dtype=object)
    nested = np.zeros(1, [("a", object)])
    new = pick((saved(bomb), pickle.dumps(Bomb()), saved(nested), pickle.dumps(bomb)), rng)
    members[name] = new
    return rezip(list(members.items()))


def bombs(content: bytes, rng: Rng) -> bytes:
    """Zeros that unpack to up to 700 MB a member, many members, members that lie of their size."""
    members = list(unzip(content).items())
    how = int(rng.integers(5))
    if how == 0:
        n = int(rng.choice([1 << 24, 1 << 26, 1 << 28]))
        zeros = header_of((n // 4, 4)) + bytes(n)
        name = pick(("counts.npy", "signal_x.npy", "trial_x.npy", "unknown.npy"), rng)
        members = [m for m in members if m[0] != name] + [(name, zeros)]
    elif how == 1:
        members += [
            (f"{pick(('x', 'signal_', 'trial_'), rng)}{i}.npy", saved(0))
            for i in range(int(rng.choice([500, 20_000])))
        ]
    out = rezip(members)
    if how == 2:
        out = patched(out, b"PK\x01\x02", 24, 0x7FFFFFFF)
    elif how == 3:
        out = patched(
            out, b"PK\x01\x02", int(rng.choice([8, 10, 20, 42])), int(rng.integers(1 << 31))
        )
    elif how == 4:
        out = patched(
            out, b"PK\x05\x06", int(rng.choice([8, 10, 12, 16])), int(rng.integers(1 << 31))
        )
    return out


def header_of(shape: tuple[int, ...]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        out, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return out.getvalue()


def patched(content: bytes, mark: bytes, offset: int, value: int) -> bytes:
    at = content.rindex(mark) + offset
    return content[:at] + struct.pack("<I", value) + content[at + 4 :]


ARRAYS: dict[str, Callable[[bytes, Rng], bytes]] = {
    **BYTES, "array": array, "names": names, "meta": meta, "npy header": header, "pickle": pickles, "zip bomb": bombs,
}  # fmt: skip
