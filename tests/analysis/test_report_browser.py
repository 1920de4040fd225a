"""The page in a browser, what is easily lost: addresses, focus, parts left out, each image at its place."""

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from analysis.page.read import read
from analysis.report import make_page
from sfa_bench.store.folder import RunFolder

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium), or its path in CHROMIUM")

spec = importlib.util.spec_from_file_location("conf_of_ledger", Path(__file__).parent / "conftest.py")
conftest = importlib.util.module_from_spec(spec)
spec.loader.exec_module(conftest)

ACROSS = 8  # images in a line of a sheet
BUDGETS = {"usual": {}, "no curves": {"curves": 0}}
HOSTILE = '</script><!--<script><img src=x onerror="window.hacked = 1">'


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    """230 settings of one run each; one has a hostile name, one has ten images; a failed run with an error."""
    found = conftest.Ledger(tmp_path_factory.mktemp("addresses") / "runs")
    for number in range(229):
        found.add(number / 3, plugin="sfa", plugin__beta=number / 1000)
    path = found.add(99.0, method=HOSTILE, plugin="abc", knows=["rate"])
    shades = np.arange(10, dtype=np.uint8)[:, None, None, None] * 25 + np.zeros((10, 8, 8, 1), np.uint8)
    labels = {"observed_label": np.arange(10), "clean_label": np.full(10, -1), "index": np.arange(10)}
    RunFolder(path).write_arrays("thumbs.npz", {"image": shades, **labels})
    for epoch in (2, 4, 6):
        RunFolder(path).append_metrics({"epoch": epoch, "phase": "training", "test/acc": 10.0 * epoch})
    found.add(None, state="failed", replicate=5)
    return found


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="module")
def pages(ledger):
    """The page in full, and without room for curves."""
    return {name: make_page(read([ledger.root]), **budget) for name, budget in BUDGETS.items()}


@pytest.fixture
def opened(browser, pages, tmp_path):
    contexts, errors = [], []

    def open_page(fragment="", budget="usual"):
        file = tmp_path / "page.html"
        file.write_bytes(pages[budget])
        contexts.append(browser.new_context())
        page = contexts[-1].new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(file.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


@pytest.mark.parametrize("address", ["run=%3Cb%3E", "cell=0123456789", "run=%"])
def test_an_unknown_address_is_a_sentence_with_a_way_out(opened, address):
    page = opened("#" + address)
    page.wait_for_selector("#view h2")
    assert page.locator("#view h2").inner_text() in ("Not on this page", "Cannot be shown")
    page.click("#view nav a")
    page.wait_for_selector("#list:not([hidden])")
    assert page.locator("#view").inner_html() == ""


def test_many_rows_are_shown_in_parts(opened):
    page = opened()
    assert page.locator("#board tbody tr").count() == 200
    assert page.inner_text("#count") == "230 rows, the first 200 shown"
    page.click("#more")
    assert page.locator("#board tbody tr").count() == 230
    assert page.locator("#more").is_hidden()


def test_the_keyboard_goes_in_and_comes_back_to_where_it_was(opened):
    page = opened()
    link = page.locator("#board tbody a").nth(40)
    link.focus()
    address, before = link.get_attribute("href"), page.evaluate("scrollY")
    page.keyboard.press("Enter")
    page.wait_for_selector("#view tr[data-run]")
    assert page.evaluate("document.activeElement.tagName") == "H2"
    for _ in range(9):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href') || ''").startswith("#run="):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#command")
    page.go_back()
    page.wait_for_selector("#view tr[data-run]")
    page.go_back()
    page.wait_for_selector("#list:not([hidden])")
    assert page.evaluate("document.activeElement.getAttribute('href')") == address
    assert page.evaluate("scrollY") == before


def test_a_hostile_name_is_text_in_every_view(opened):
    page = opened()
    page.wait_for_selector("#board tbody tr")
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    page.fill('#filters input[name="text"]', "onerror")
    page.click("#board tbody a")
    page.click("#view tr[data-run] a")
    page.wait_for_selector("#command")
    assert HOSTILE in page.inner_text("#view h2")
    assert page.locator("img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_each_image_shows_its_own_part_of_the_sheet(opened):
    page = opened()
    page.fill('#filters input[name="text"]', "onerror")
    page.click("#board tbody a")
    page.click("#view tr[data-run] a")
    page.wait_for_selector(".image")
    assert page.locator(".image").nth(9).get_attribute("aria-label") == "image 9, labelled 9, is unknown"
    places = page.locator(".image").evaluate_all("all => all.map((one) => one.style.backgroundPosition)")
    expected = [(100 * (i % ACROSS) / (ACROSS - 1), 100.0 * (i // ACROSS)) for i in range(10)]  # two lines
    found = [tuple(float(part.rstrip("%")) for part in place.split()) for place in places]
    assert np.allclose(found, expected, atol=1e-3)
    shot = page.locator(".image").nth(9).screenshot()
    middle = page.evaluate(
        """async (bytes) => {
          const image = await createImageBitmap(new Blob([new Uint8Array(bytes)]));
          const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
          canvas.drawImage(image, 0, 0);
          return canvas.getImageData(image.width / 2, image.height / 2, 1, 1).data[0];
        }""",
        list(shot),
    )
    assert middle == 9 * 25


def test_epochs_that_were_not_evaluated_are_not_drawn_as_others(opened):
    page = opened()
    page.fill('#filters input[name="text"]', "onerror")
    page.click("#board tbody a")
    page.click("#view tr[data-run] a")
    page.locator("summary", has_text="Curves as numbers").click()
    rows = page.locator('[aria-label="Curves as numbers"] tbody tr').all_inner_texts()
    assert [row.split() for row in rows] == [["2", "20.0"], ["4", "40.0"], ["6", "60.0"]]


def test_curves_that_are_left_out_are_said_where_they_would_be(opened):
    page = opened(budget="no curves")
    assert "curves of 1 of 231 runs are left out" in page.inner_text("#notes")
    page.fill('#filters input[name="text"]', "onerror")
    page.click("#board tbody a")
    page.click("#view tr[data-run] a")
    page.wait_for_selector("#command")
    assert "The curves of this run are left out" in page.inner_text("#view")


def test_the_configuration_is_searched_and_the_command_copied(opened):
    page = opened()
    page.click("#board tbody a")
    page.click("#view tr[data-run] a")
    page.fill('input[name="config"]', "noise_ratio")
    assert page.locator(".config tr:visible").all_inner_texts() == ["noise_ratio\t0.4"]
    page.locator("button", has_text="Copy").click()
    page.locator("#status", has_text="The command is").wait_for(state="attached")


def test_a_failed_run_has_a_page_of_its_own(opened):
    page = opened()
    page.click("#unfinished a")
    page.wait_for_selector("#command")
    assert "failed" in page.inner_text("#view .tiles")
