"""Every python and `neurofm` fence of the README and the numbered pages runs, page by page.

The fences of a page share one namespace and one empty working folder, in the order of the page. A
fence under `<!-- not run: reason -->` is left out; fences of other languages and of other commands
(`make`, `pip`) are not looked at.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- not run: (.*?) -->\s*$")
MOST_LEFT_OUT = 10


@dataclass(frozen=True)
class Fence:
    """A code block of a page; `line` is where its first line of code stands."""

    language: str
    code: str
    line: int
    left_out: str | None


def fences(text: str) -> Iterator[Fence]:
    """The fences that are ours to run, or would be without their mark."""
    end = 0
    for found in FENCE.finditer(text):
        mark = MARK.search(text[end : found.start()])
        end = found.end()
        language, code = found[1], found[2]
        is_command = language in ("bash", "console", "sh") and bool(commands(code))
        if language == "python" or is_command:
            line = text.count("\n", 0, found.start(2)) + 1
            yield Fence(language, code, line, mark and mark[1])


def commands(code: str) -> list[list[str]]:
    """The arguments of each command of a fence whose first command is `neurofm`, else none."""
    whole = code.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in whole]
    words = [line for line in words if line]
    return words if words and words[0][0] == "neurofm" else []


def run_command(words: list[str], patch: pytest.MonkeyPatch) -> None:
    """One `neurofm` command, in this process; it must end well."""
    assert words[0] == "neurofm", f"{shlex.join(words)} stands among neurofm commands"
    patch.setattr(sys, "argv", words)
    code: object = 0
    try:
        import_module("neurofm.cli").main()
    except SystemExit as end:
        code = end.code
    assert not code, f"{shlex.join(words)} ended with {code}"


def run_page(text: str, name: str, patch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, object] = {"__name__": "__main__"}
    for fence in fences(text):
        if fence.left_out:
            continue
        if fence.language == "python":
            code = "\n" * (fence.line - 1) + fence.code  # so that a traceback names the page's line
            exec(compile(code, name, "exec"), namespace)
            continue
        for words in commands(fence.code):
            run_command(words, patch)


def pages_with_code() -> list[Path]:
    return [path for path in PAGES if any(fences(path.read_text(encoding="utf-8")))]


@pytest.mark.parametrize("path", pages_with_code(), ids=lambda path: path.name)
def test_the_page_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(path.read_text(encoding="utf-8"), path.name, monkeypatch)


def test_few_fences_are_left_out_and_each_says_why() -> None:
    left_out = [
        f"{path.name}:{fence.line}: {fence.left_out}"
        for path in PAGES
        for fence in fences(path.read_text(encoding="utf-8"))
        if fence.left_out is not None
    ]
    assert all(len(line.rpartition(":")[2].split()) >= 3 for line in left_out), left_out
    assert len(left_out) <= MOST_LEFT_OUT, left_out


PAGE = """
```python
a = 1
```
<!-- not run: needs files of yours -->
```bash
neurofm ingest mine --out store
```
```bash
make demo
```
```text
neurofm prints this
```
```python
assert a == 2
```
```bash
neurofm inspect \\
  store  # a remark
neurofm report run
```
"""


def test_the_executor_sees_what_it_should() -> None:
    found = list(fences(PAGE))
    assert [fence.language for fence in found] == ["python", "bash", "python", "bash"]
    assert [fence.left_out for fence in found] == [None, "needs files of yours", None, None]
    assert PAGE.splitlines()[found[2].line - 1] == "assert a == 2"
    assert commands(found[3].code) == [
        ["neurofm", "inspect", "store"],
        ["neurofm", "report", "run"],
    ]


def test_a_page_that_is_wrong_fails_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError) as caught:
        run_page(PAGE, "page.md", monkeypatch)
    last = caught.traceback[-1]
    assert (str(last.path), last.lineno) == ("page.md", PAGE.splitlines().index("assert a == 2"))


def test_a_command_that_fails_fails_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="make demo stands among neurofm commands"):
        run_command(["make", "demo"], monkeypatch)
