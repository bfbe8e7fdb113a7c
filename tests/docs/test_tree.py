"""The tree in the README against the disk."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "neurofm"


def readme_tree() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    found = [block for block in blocks if re.search(r"^src/neurofm/", block, re.MULTILINE)]
    if not found:
        pytest.skip("the README draws no tree that starts with src/neurofm/")
    [block] = found
    return [line for line in block.splitlines() if line.strip()]


def drawn(lines: list[str]) -> set[str]:
    """Paths that a tree names.

    A line is a folder of the root, or, indented, files of the package (`cli.py  errors.py`) or a
    folder of it and what is in it (`data/  store windows readers/`); `#` starts a remark.
    """
    out = set()
    for line in lines:
        words = line.partition("#")[0].split()
        if not line.startswith(" "):
            out.add(words[0].rstrip("/"))
            continue
        folder = words.pop(0) if words[0].endswith("/") else ""
        out |= {f"src/neurofm/{folder}".rstrip("/")} if folder else set()
        for word in words:
            plain = word.endswith(("/", ".py")) or "." in word
            out.add(f"src/neurofm/{folder}{word.rstrip('/') if plain else word + '.py'}")
    return out


def on_disk() -> set[str]:
    out = {"src/neurofm"}
    for path in [*PACKAGE.glob("*"), *PACKAGE.glob("*/*")]:
        known = path.suffix == ".py" or (path.is_dir() and any(path.glob("*.[py]*")))
        if known and not path.name.startswith("_"):
            out.add(path.relative_to(ROOT).as_posix())
    return out


def test_the_tree_in_the_readme_is_the_tree_on_disk() -> None:
    tree = drawn(readme_tree())
    assert sorted(on_disk() - tree) == [], "on disk, not in the README"
    assert sorted(path for path in tree if not (ROOT / path).exists()) == [], "drawn, not there"


def test_a_drawn_tree_is_read_as_paths() -> None:
    lines = ["src/neurofm/", "  cli.py  files.py  # the command", "  data/  store readers/  # no torch",
             "docs/  # pages"]  # fmt: skip
    package = {"cli.py", "files.py", "data", "data/store.py", "data/readers"}
    assert drawn(lines) == {"src/neurofm", "docs", *(f"src/neurofm/{name}" for name in package)}
