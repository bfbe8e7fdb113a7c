"""Links between the pages lead somewhere."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)#\s]+)\)")


def targets(path: Path) -> list[str]:
    links = LINK.findall(path.read_text(encoding="utf-8"))
    return [link for link in links if "://" not in link]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files(path: Path) -> None:
    assert [link for link in targets(path) if not (path.parent / link).exists()] == []


def test_the_pages_are_read_in_order() -> None:
    numbered = sorted((ROOT / "docs").glob("[0-9]*.md"))
    assert [path.name[:2] for path in numbered] == [f"{i:02}" for i in range(1, len(numbered) + 1)]
    for page, following in pairwise(numbered):
        assert targets(page)[-1] == following.name
    assert {f"docs/{page.name}" for page in numbered} <= set(targets(ROOT / "README.md"))
