"""Ways to spoil bytes, text and JSON, whatever the format: `(content, rng) -> content`."""

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

Rng = np.random.Generator
Spoil = Callable[[bytes, Rng], bytes]

NUMBERS = (
    0,
    1,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x7FFFFFFFFFFFFFFF,
    0xFFFFFFFFFFFFFFFF,
    1 << 60,
)
NAMES = (
    "../../escape", "/tmp/escape", "..", ".", "", "a/b", "a\\b", "C:\\x", "a\x00b", "a\nb\r\nc", "\x1b[2J\x1b]0;x\x07",
    "x" * 300, "x" * 100_000, "con", "~", "$HOME", "`id`", "; rm -rf .", "\u202egnp.exe", "a\u0301" * 9, "\ufeff",
    "Zürich 東京 🐁", "A\u0130i\u0131", "\u2028\u2029", "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>",
    "</script>", "{{7*7}}", "%s%n", "=1+1", "\ud800", "\udcff", "[x](javascript:alert(1))", "a|b", "-", "--out", "*",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1e308, -1e308, float("nan"), float("inf"), 10**400, -(10**18), 0.1, "", "nan", "1/0", "1e999999999",
    [], {}, [[]], [None], {"a": {}}, [1, "x"], [[1, 2], [3]], [[0, 1e400]], [[5, 1]], "text", "x" * 50_000,
)  # fmt: skip


def truncate(content: bytes, rng: Rng) -> bytes:
    return content[: int(rng.integers(len(content)))]


def flip(content: bytes, rng: Rng) -> bytes:
    out = bytearray(content)
    for at in rng.integers(len(out), size=int(rng.integers(1, 9))):
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def noise(content: bytes, rng: Rng) -> bytes:
    out = bytearray(content)
    at, n = int(rng.integers(len(out))), int(rng.integers(1, 65))
    out[at : at + n] = rng.bytes(min(n, len(out) - at))
    return bytes(out)


def special(content: bytes, rng: Rng) -> bytes:
    """A special integer over bytes, mostly where there was a number of that width."""
    width = int(rng.choice([1, 2, 4, 8]))
    value = int(rng.choice(np.array(NUMBERS, dtype=object))) & ((1 << 8 * width) - 1)
    at = int(rng.integers(max(len(content) // width, 1))) * width
    return content[:at] + value.to_bytes(width, "little") + content[at + width :]


def zero_block(content: bytes, rng: Rng) -> bytes:
    at, n = int(rng.integers(len(content))), int(rng.integers(1, 513))
    return content[:at] + bytes(len(content[at : at + n])) + content[at + n :]


def repeat_block(content: bytes, rng: Rng) -> bytes:
    at, to = (int(rng.integers(len(content))) for _ in range(2))
    block = content[at : at + int(rng.integers(1, 257))]
    return content[:to] + block + content[to + len(block) * int(rng.integers(2)) :]


def cut_out(content: bytes, rng: Rng) -> bytes:
    at = int(rng.integers(len(content)))
    return content[:at] + content[at + int(rng.integers(1, 257)) :]


def header(content: bytes, rng: Rng) -> bytes:
    """Flips in the first kilobyte, where formats keep what they are."""
    return flip(content[:1024], rng) + content[1024:]


BYTES: dict[str, Spoil] = {
    "truncate": truncate, "flip": flip, "noise": noise, "special": special, "zero block": zero_block,
    "repeat block": repeat_block, "cut out": cut_out, "header": header,
}  # fmt: skip


def pick(choices: Any, rng: Rng) -> Any:
    """One of a sequence, as it is."""
    return choices[int(rng.integers(len(choices)))]


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a tree of dicts and lists."""
    inner = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    return [path, *(p for key, value in inner for p in places(value, (*path, key)))]


def spoil_tree(tree: Any, rng: Rng) -> Any:
    """One to three places with another value, another name, doubled or gone."""
    out = copy.deepcopy(tree)
    for _ in range(int(rng.integers(1, 4))):
        path = pick(places(out), rng)
        if not path:
            continue
        node = out
        for key in path[:-1]:
            node = node[key]
        how = int(rng.integers(5))
        if how == 0:
            del node[path[-1]]
        elif how == 1 and isinstance(node, dict):
            node[pick(NAMES, rng)] = node.pop(path[-1])
        elif how == 2:
            node[path[-1]] = pick(NAMES, rng)
        elif how == 3 and isinstance(node[path[-1]], int | float):
            node[path[-1]] = pick(NUMBERS, rng) * int(rng.choice([-1, 1]))
        else:
            node[path[-1]] = copy.deepcopy(pick(VALUES, rng))
    return out


def json_values(content: bytes, rng: Rng) -> bytes:
    """Values and names of a JSON text changed; JSON again, NaN and lone surrogates included."""
    return json.dumps(spoil_tree(json.loads(content), rng)).encode()


def json_deep(content: bytes, rng: Rng) -> bytes:
    """One value nested thousands deep."""
    n = int(rng.choice([500, 5_000, 200_000]))
    left, right = pick((("[", "]"), ('{"a":', "}")), rng)
    text = content.decode()
    at = [i for i, c in enumerate(text) if c == ":"]
    cut = pick(at, rng) + 1
    return (text[:cut] + left * n + "1" + right * n + text[cut:]).encode()


def json_lines(content: bytes, rng: Rng) -> bytes:
    """One line of JSON lines changed, doubled, joined to the next or replaced."""
    lines = content.splitlines()
    at = int(rng.integers(len(lines)))
    how = int(rng.integers(5))
    if how == 0:
        lines[at] = json.dumps(pick(VALUES, rng)).encode()
    elif how == 1:
        lines[at : at + 2] = [b"".join(lines[at : at + 2])]
    elif how == 2:
        lines[at] = json_deep(lines[at], rng)
    else:
        lines[at] = json_values(lines[at], rng)
    return b"\n".join(lines) + b"\n"


JSON: dict[str, Spoil] = {"values": json_values, "deep": json_deep}
