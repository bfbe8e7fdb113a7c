"""The page as a file: whole, self-contained, and honest about what is missing."""

import dataclasses
import html.parser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neurofm.errors import InputError
from neurofm.report import records
from neurofm.report.page import page, render
from neurofm.run import Run

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

PURE = """
import sys
import neurofm.report.page, neurofm.report.tables
found = {"torch", "matplotlib", "jinja2", "neurofm.data", "neurofm.model"} & set(sys.modules)
assert not found, found
"""


class Elements(html.parser.HTMLParser):
    """(tag, attributes) of every element."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(text)
    return parser.found


@pytest.fixture(scope="module")
def text(run_page: Path) -> str:
    return run_page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def empty_text(empty_run: Run) -> str:
    return page(empty_run).read_text(encoding="utf-8")


def test_every_section_is_there_in_order(text):
    found = re.findall(r"<section id=\"(\w+)\">", text)
    assert found == ["scores", "raster", "units", "embeddings", "training", "quality",
                     "provenance", "splits", "again"]  # fmt: skip
    assert 'class="absent"' not in text.replace("<noscript>" + '<p class="absent">', "")


def test_nothing_is_fetched_and_styles_and_scripts_are_pinned(text):
    for _, attributes in elements(text):
        for name in ("src", "href"):
            address = attributes.get(name) or "data:"
            assert address.startswith(("data:", "#"))
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
    (policy,) = [a["content"] for tag, a in elements(text)
                 if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policy is not None
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_every_image_has_numbers_in_its_alternative_text(text):
    alts = [attributes["alt"] or "" for tag, attributes in elements(text) if tag == "img"]
    assert len(alts) == 3 + 3 + 1 + 1 + 1  # tasks, windows, traces, spread, embeddings
    assert all(len(re.findall(r"\d", alt)) >= 5 for alt in alts)


def test_headline_states_size_and_result(text):
    head = text.split("<main>")[0]
    assert "<b>3</b> sessions" in head
    assert "above the best baseline, ridge" in head
    assert "3 of 3 recordings" in head


def test_a_model_below_the_baseline_is_told_at_the_top(make_run):
    run = make_run(n_sessions=2, gain=-0.09, n=12)
    shutil.rmtree(run.panels)
    head = page(run).read_text(encoding="utf-8").split("<main>")[0]
    assert "does NOT beat the best baseline" in head


def test_the_same_records_give_the_same_page(run_folder):
    whole = records.load(run_folder)
    few = dataclasses.replace(whole, results=whole.results[:20], windows=whole.windows[:1])
    assert render(few, "a") == render(few, "a")


def test_an_empty_run_says_what_is_missing_and_what_makes_it(empty_text):
    for file in ("data_manifest.json", "log.jsonl", "results.jsonl", "panels/window-*.npz"):
        assert file in empty_text
    assert "neurofm pretrain STORE --out RUN" in empty_text
    assert "neurofm evaluate RUN" in empty_text
    assert "<img" not in empty_text


def test_size_stays_fit_for_a_letter(text):
    assert len(text) < 1_500_000


@pytest.mark.parametrize("module", ["jinja2", "matplotlib"])
def test_a_missing_extra_is_named_with_the_remedy(monkeypatch, run_folder, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"{module}.*pip install 'neurofm\[report\]'"):
        page(run_folder)


def test_importing_the_report_loads_neither_torch_nor_matplotlib():
    subprocess.run([sys.executable, "-c", PURE], check=True, timeout=60)


def test_the_vendored_script_comes_with_its_licence():
    vendor = Path(sys.modules["neurofm.report.page"].__file__ or "").parent / "vendor"
    assert "MIT License" in (vendor / "uPlot.LICENSE").read_text()
    assert "</" not in (vendor / "uPlot.iife.min.js").read_text()
