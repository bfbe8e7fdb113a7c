"""The page in a real Chromium: images, chart, no error, no request, no harm from names."""

import json
import shutil
import subprocess
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neurofm.cli import main
from neurofm.report.page import page

webdriver = pytest.importorskip("selenium.webdriver")
pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
           "--no-first-run", "--disable-background-networking", "--disable-component-update",
           "--disable-sync", "--window-size=1100,900")  # fmt: skip
COUNT = """return {
  images: document.images.length,
  decoded: [...document.images].filter((i) => i.complete && i.naturalWidth > 100).length,
  scripts: document.scripts.length,
  handlers: [...document.querySelectorAll("*")].filter((e) =>
    [...e.attributes].some((a) => a.name.startsWith("on"))).length,
  canvases: document.querySelectorAll("#curve canvas").length,
  ready: document.documentElement.dataset.ready,
  alerts: window.alerts,
}"""
INKED = """const c = document.querySelector("#curve canvas");
const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n"""
INJECT = """const s = document.createElement("script"); s.textContent = "window.injected = 1";
document.body.append(s); return window.injected || 0"""
WIDTHS = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(driver, log_output=subprocess.DEVNULL)
    chrome = webdriver.Chrome(options=options, service=service)
    try:
        spy = {"source": "window.alerts = []; window.alert = (t) => window.alerts.push(t)"}
        chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", spy)
        yield chrome
    finally:
        chrome.quit()


def opened(browser: Any, path: Path) -> dict[str, Any]:
    """What the browser sees of a page, once its script has run."""
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # forget what came before
    browser.get(path.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    found: dict[str, Any] = browser.execute_script(COUNT)
    return found


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for, data addresses apart."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages
            if m["method"] == "Network.requestWillBeSent"]  # fmt: skip
    return [url for url in urls if not url.startswith("data:")]


def test_the_page_opens_whole_and_quiet(browser, run_page):
    found = opened(browser, run_page)
    assert browser.title == "first run · neurofm report"
    assert found["images"] == found["decoded"] == 9
    assert found["canvases"] == 1
    assert browser.execute_script(INKED) > 1000
    assert found["ready"] == "true"
    assert browser.get_log("browser") == []
    assert requests(browser) == [run_page.as_uri()]


def test_hostile_names_add_no_node_and_run_nothing(browser, run_page, make_run, hostile):
    clean = opened(browser, run_page)
    dirty = opened(browser, page(make_run(suffix=hostile, n=24)))
    assert dirty["alerts"] == []
    assert dirty["handlers"] == 0
    assert dirty["scripts"] == clean["scripts"] == 2
    assert dirty["images"] == dirty["decoded"] == clean["images"] + 1  # a hostile task's scores
    assert dirty["canvases"] == 1
    assert dirty["ready"] == "true"
    assert browser.get_log("browser") == []
    assert len(requests(browser)) == 1
    assert "<script>alert(1)" in browser.execute_script("return document.body.innerText")


def test_an_empty_run_opens_quietly(browser, empty_run):
    found = opened(browser, page(empty_run))
    assert (found["images"], found["canvases"], found["ready"]) == (0, 0, "true")
    assert browser.get_log("browser") == []


def test_the_policy_stops_a_script_that_got_in(browser, run_page):
    opened(browser, run_page)
    assert browser.execute_script(INJECT) == 0


def test_a_narrow_window_does_not_scroll_sideways(browser, run_page):
    browser.set_window_size(520, 900)
    opened(browser, run_page)
    scroll, client = browser.execute_script(WIDTHS)
    browser.set_window_size(1100, 900)
    assert scroll <= client


EVIL = ("</script><script>alert(1)</script>", "\"'><img src=x onerror=alert(2)>", "<svg/onload=alert(3)>", "javascript:alert(4)",
        "\x1b[2J\x1b]0;owned\x07", "a\nb\r\nfake  row", "\u202egnp.<iframe src=//evil.example>", "--><style>*{display:none}</style>",
        "{{7*7}}{%raw%}", "$\\frac{1}{0}$", "]]>\u2028\u2029", "' onmouseover='alert(5)")  # fmt: skip
TOY = ("steps=2", "validate_every=2", "valid_batches=1", "windows=2", "window_bins=20", "model.backbone.width=16",
       "model.backbone.layers=1", "model.backbone.heads=2", "model.backbone.mlp=16", "model.kernel=3", "precision=fp32")  # fmt: skip


def write_evil(path: Path, number: int) -> None:
    """A recording with a hostile text wherever a text can be."""
    rng = np.random.default_rng(number)
    n, evil = len(EVIL), EVIL[number % len(EVIL)]
    names = [f"{number}{text}" for text in EVIL]
    meta = dict.fromkeys(
        ("subject", "species", "lab", "task", "licence", "consent", "cite", "note" + evil), evil
    )
    counts = rng.poisson(np.exp(np.sin(np.arange(1500)[:, None] / 9 + np.arange(n)))).astype(
        np.uint8
    )
    signals = {f"signal_{text.replace('/', '_')}": rng.normal(size=1500) for text in EVIL[:3]}
    trials = {
        "trial_start_s": np.arange(9.0),
        "trial_stop_s": np.arange(9.0) - 1,
        f"trial_{evil.replace('/', '_')}": np.arange(9),
    }
    np.savez(path, counts=counts, bin_s=0.02, channel_id=names, channel_region=[*EVIL[: n // 2]] * 2, **signals, **trials,
             meta=json.dumps(meta | {"id": f"{evil}{number}"}))  # fmt: skip


def steers(text: str) -> list[str]:
    """What of a text would steer a terminal."""
    return [c for c in text if c != "\n" and unicodedata.category(c)[0] == "C"]


def test_hostile_files_from_ingest_to_the_page(browser, tmp_path, capfd):
    """The whole path on recordings whose every name is hostile, and whose files' names are, too."""
    pytest.importorskip("sklearn")
    source = tmp_path / "in \x1b[31m<img src=x onerror=alert(9)>"
    source.mkdir()
    for number in range(2):
        write_evil(source / f"{number}\n<script>alert(8)<\u202ex>.npz", number)
    run = tmp_path / "<img src=x onerror=alert(7)>"
    store = tmp_path / "store"
    settings = [word for setting in TOY for word in ("--set", setting)]
    for command in (
        ["ingest", str(source), "--out", str(store)],
        ["inspect", str(store)],
        ["inspect", str(tmp_path / "no\x1b[2Jstore")],
        ["plan", str(store), *settings],
        ["pretrain", str(store), "--out", str(run), "--device", "cpu", *settings],
        ["evaluate", str(run), "--tasks", "co-smoothing,inter-region", "--baselines", "mean-rate,smoothing"],
        ["share", str(run), "--out", str(tmp_path / "shared")],
        ["report", str(run)],
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(command)
        said = capfd.readouterr()
        assert (stop.value.code, command[0]) == (2 if "no\x1b" in command[1] else 0, command[0]), (
            said.err
        )
        assert steers(said.out + said.err) == [], command
        if command[0] == "inspect" and stop.value.code == 0:
            assert len(said.out.split("2 sessions of")[0].splitlines()) == 4  # no row was forged
    found = opened(browser, run / "report.html")
    assert (found["alerts"], found["handlers"], found["scripts"]) == ([], 0, 2)
    assert found["images"] == found["decoded"]
    assert found["ready"] == "true"
    assert browser.get_log("browser") == []
    assert requests(browser) == [(run / "report.html").as_uri()]
    assert (
        browser.execute_script("return document.querySelectorAll('iframe, svg, style').length") == 1
    )
    shown = browser.execute_script("return document.body.innerText")
    assert "</script><script>alert(1)" in shown
    assert steers(shown.replace("\t", "")) == []
    card = (tmp_path / "shared" / "README.md").read_text()
    assert not any(sign in card for sign in ("<script", "<img", "<svg", "<iframe", "](", "\x1b"))
