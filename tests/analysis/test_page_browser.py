"""The page in a real browser: sort, filter, click through, go back, by keyboard, on a phone, in the dark."""

import importlib.util
import json
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

HOSTILE = "<script>window.hacked = 1</script>"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """Three methods, two plug-ins, three replicates; a failed run; other people's code; a hostile value."""
    ledger = conftest.Ledger(tmp_path_factory.mktemp("browser") / "runs")
    generator = np.random.default_rng(0)
    for level, method in ((60, "ce"), (70, "dividemix"), (50, "mae")):
        for gain, plugin in ((0, "none"), (10, "sfa")):
            for replicate in range(3):
                path = ledger.add(
                    level + gain + generator.normal(), method=method, plugin=plugin, replicate=replicate, odd=HOSTILE
                )
                folder = RunFolder(path)
                for epoch in range(1, 9):
                    chosen = {"precision": 0.9, "recall": 0.8, "auc": 0.85} if epoch > 2 and plugin == "sfa" else None
                    row = {"epoch": epoch, "phase": "warm-up" if epoch < 3 else "training", "test/acc": 7.0 * epoch}
                    folder.append_metrics(row | {"selection": chosen})
                image = generator.integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
                labels = {"observed_label": np.arange(4), "clean_label": np.arange(4)[::-1]}
                folder.write_arrays("thumbs.npz", {"image": image, "index": np.arange(4), **labels})
    ledger.add(0.0, state="failed", replicate=9)
    ledger.add(99.0, method="their_code", environment={"precision": "fp32", "external": {"like": "0", "note": "x"}})
    file = ledger.root.parent / "page.html"
    file.write_bytes(make_page(read([ledger.root])))
    return file


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def opened(browser, page_file):
    """Opens the page; at the end there was no error and nothing was asked for but the file."""
    errors, asked, contexts = [], [], []

    def open_page(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(page_file.as_uri())
        page.wait_for_selector("#board tbody tr")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []
    assert {url.split("#")[0] for url in asked if not url.startswith("data:")} == {page_file.as_uri()}


def test_it_opens_with_a_row_for_every_setting(opened):
    page = opened()
    assert page.locator("#board tbody tr").count() == 7
    assert page.inner_text("#facts").startswith("19 finished runs of 7 ")
    assert "not finished and not counted: 1 failed" in page.inner_text("#facts")


def test_a_click_on_a_heading_sorts_and_says_so(opened):
    page = opened()
    head = page.locator('#board th[data-column="final"]')
    seen = {}
    for _ in range(2):
        head.locator("button").click()
        cells = page.locator("#board tbody tr").evaluate_all(
            "rows => { const head = document.querySelector('#board th[data-column=final]');"
            " return rows.map(row => row.cells[head.cellIndex].innerText); }"
        )
        seen[head.get_attribute("aria-sort")] = [float(text.split()[0]) for text in cells]
    assert seen["ascending"] == sorted(seen["ascending"])
    assert seen["descending"] == sorted(seen["ascending"], reverse=True)


def test_words_and_choices_filter_the_rows(opened):
    page = opened()
    page.fill('#filters input[name="text"]', "dividemix sfa")
    assert page.locator("#board tbody tr").count() == 1
    page.fill('#filters input[name="text"]', "")
    page.select_option('#filters select[name="plugin"]', "sfa")
    assert page.locator("#board tbody tr").count() == 3
    assert "3 of 7 rows" in page.inner_text("#count")
    page.fill('#filters input[name="text"]', "nothing like this")
    assert page.inner_text("#count") == "No row matches the filters."
    page.click("#filters button")
    assert page.locator("#board tbody tr").count() == 7


def test_other_peoples_code_is_marked_and_never_best(opened):
    page = opened()
    row = page.locator("#board tbody tr", has_text="their_code")
    assert row.locator(".badge").inner_text().startswith("external")
    assert row.locator("b, strong").count() == 0


def test_from_a_setting_to_a_run_and_back(opened, page_file):
    page = opened()
    page.locator("#board tbody tr", has_text="dividemix").locator("a").first.click()
    page.wait_for_selector("#view tr[data-run]")
    assert page.locator("#view tr[data-run]").count() == 3
    page.locator("#view tr[data-run] a").first.click()
    page.wait_for_selector("#command")
    hash = page.evaluate("location.hash").removeprefix("#run=")
    record = json.loads(next(page_file.parent.glob(f"runs/*/*/{hash}/run.json")).read_text())
    view = page.inner_text("#view")
    assert f"{record['metrics']['test/acc/final']:.2f}" in view
    assert page.inner_text("#command").strip() == record["command"]
    assert page.locator("#view svg path.curve").count() >= 1
    assert "warm-up to epoch 2" in page.inner_html("#view")
    assert page.locator("#view .image").count() == 4
    page.go_back()
    page.wait_for_selector("#view tr[data-run]")
    page.go_back()
    page.wait_for_selector("#list:not([hidden])")
    assert page.locator("#board tbody tr").count() == 7


def test_a_link_to_a_run_opens_it_and_an_unknown_one_says_so(opened, page_file):
    page = opened()
    hash = next(page_file.parent.glob("runs/*/ce/*/run.json")).parent.name
    page.goto(f"{page_file.as_uri()}#run={hash}")
    page.wait_for_selector("#command")
    assert hash in page.inner_text("#view h2")


def test_markup_in_a_value_stays_text(opened, page_file):
    page = opened()
    hash = next(page_file.parent.glob("runs/*/ce/*/run.json")).parent.name
    page.goto(f"{page_file.as_uri()}#run={hash}")
    page.wait_for_selector("#command")
    assert HOSTILE in page.inner_text("#view")
    assert page.evaluate("window.hacked") is None


def test_the_keyboard_is_enough(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('th')?.dataset.column") == "final":
            break
    page.keyboard.press("Enter")
    assert page.get_attribute('#board th[data-column="final"]', "aria-sort") in ("ascending", "descending")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('#board tbody') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_selector("#view tr[data-run]")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline is not None


@pytest.mark.parametrize("where", ["", "cell", "run"])
def test_on_a_phone_the_page_itself_does_not_scroll_sideways(opened, page_file, where):
    page = opened(viewport={"width": 390, "height": 844}, is_mobile=True)
    if where == "cell":
        page.locator("#board tbody a").first.click()
        page.wait_for_selector("#view tr[data-run]")
    if where == "run":
        hash = next(page_file.parent.glob("runs/*/ce+sfa/*/run.json")).parent.name
        page.goto(f"{page_file.as_uri()}#run={hash}")
        page.wait_for_selector("#command")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_light_and_dark_follow_the_system_and_the_button(opened):
    backgrounds = {}
    for scheme in ("light", "dark"):
        page = opened(color_scheme=scheme)
        colour = "getComputedStyle(document.body).backgroundColor"
        backgrounds[scheme] = page.evaluate(colour)
        page.click("#theme")
        backgrounds[f"{scheme} clicked"] = page.evaluate(colour)
    assert backgrounds["light"] == backgrounds["dark clicked"] != backgrounds["dark"] == backgrounds["light clicked"]


@pytest.mark.parametrize(("scheme", "other"), [("light", "dark"), ("dark", "light")])
def test_the_button_names_what_a_click_gives_and_a_second_click_follows_the_system_again(opened, scheme, other):
    page = opened(color_scheme=scheme)
    button = page.locator("#theme")
    assert (button.inner_text().lower(), button.get_attribute("aria-label")) == (other, f"Switch to {other}")
    button.click()
    assert button.inner_text().lower() == scheme
    button.click()
    assert button.inner_text().lower() == other
    page.emulate_media(color_scheme=other)
    page.locator("#theme", has_text=scheme.capitalize()).wait_for()
