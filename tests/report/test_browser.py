"""The page in a real Chromium: images, chart, no error, no request, no harm from names."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

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
