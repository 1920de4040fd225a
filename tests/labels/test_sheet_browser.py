"""The contact sheet in a real browser: decided by keyboard, saved, closed and opened again; nothing is asked for."""

import base64
import csv
import io
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from sfa_bench.errors import ConfigError
from sfa_bench.labels import sheet
from sfa_bench.tables import rows

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium), or its path in CHROMIUM")

HOSTILE = "</script><script>window.hacked = 1</script>"
CLASSES = ["ant", "=bee", HOSTILE]
IMAGES = torch.arange(6, dtype=torch.uint8).mul(40).reshape(6, 1, 1, 1).expand(6, 1, 8, 8)
FRAME = pd.DataFrame(
    {
        "index": [30, 10, 20, 50],
        "path": ['a "b", c.jpg', "=cmd.jpg", f"{HOSTILE}.jpg", "-d.jpg"],
        "given": ["ant", "ant", HOSTILE, "=bee"],
        "suggested": ["=bee", HOSTILE, "ant", "ant"],
        "clean_probability": [0.0, 0.1, 0.2, 0.4],
        "suggested_probability": [0.9, 0.8, 0.7, 0.6],
        "class_size": [3, 3, 2, 1],
    }
)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("sheet") / "sheet.html"
    path.write_bytes(sheet.page(FRAME, IMAGES, np.array([3, 1, 2, 5]), CLASSES, f"mine {HOSTILE}"))
    return path


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        found = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def context(browser, file):
    """A browser's profile without a network; at the end there was no error and nothing was asked for but the file."""
    made, errors, asked = browser.new_context(accept_downloads=True, offline=True), [], []
    made.on("request", lambda request: asked.append(request.url))
    made.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    made.on("weberror", lambda error: errors.append(str(error.error)))
    yield made
    made.close()
    assert errors == []
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {file.as_uri()}


def opened(context, file):
    page = context.new_page()
    page.goto(file.as_uri())
    page.wait_for_selector(".card")
    return page


def saved(page, press="s"):
    with page.expect_download() as download:
        page.keyboard.press(press)
    assert download.value.suggested_filename == "decisions.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as opened_file:
        return list(csv.DictReader(opened_file))


def test_each_suspect_has_its_image_classes_and_path_as_text(context, file):
    page = opened(context, file)
    texts = page.locator(".card").all_inner_texts()
    for text, row in zip(texts, FRAME.to_dict("records"), strict=True):
        for part in (f"{row['given']} → {row['suggested']}", row["path"], f"clean {row['clean_probability']:.3f}"):
            assert part in text
    shades = []
    for address in page.locator(".card img").evaluate_all("all => all.map(one => one.src)"):
        content = base64.b64decode(re.fullmatch(r"data:image/png;base64,(.*)", address)[1])
        shades.append(int(np.asarray(Image.open(io.BytesIO(content)))[0, 0]))
    assert shades == [120, 40, 80, 200]  # of the images that the suspects are
    assert page.locator(".card img").evaluate_all("all => all.every(one => one.naturalWidth === 8)")
    assert page.inner_text("h1") == f"mine {HOSTILE}"
    assert page.evaluate("window.hacked") is None
    for key in ("←", "→", "A", "R", "O", "D", "U", "S"):  # the page says which keys there are
        assert key in page.locator("#keys kbd").all_inner_texts()


def test_the_keyboard_decides_and_the_file_says_so(context, file, tmp_path):
    page = opened(context, file)
    for key in ("a", "ArrowRight", "R", "ArrowLeft", "ArrowLeft", "d", "ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.press("o")
    page.select_option("#others", label=HOSTILE)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.inner_text("#count") == "4 of 4 decided"
    assert page.evaluate("document.activeElement.classList.contains('card')")
    found = saved(page)
    assert list(found[0]) == ["index", "path", "given", "suggested", "decision", "label"]
    assert [(row["index"], row["decision"], row["label"]) for row in found] == [
        ("30", "accept", "'=bee"),
        ("10", "drop", ""),
        ("20", "reject", HOSTILE),
        ("50", "relabel", HOSTILE),
    ]
    assert [row["path"] for row in found] == ['a "b", c.jpg', "'=cmd.jpg", f"{HOSTILE}.jpg", "'-d.jpg"]
    copy = tmp_path / "copy.csv"
    with copy.open("w", newline="", encoding="utf-8") as opened_file:
        writer = csv.DictWriter(opened_file, found[0])
        writer.writeheader()
        writer.writerows(found)
    assert [row["path"] for _, row in rows(copy, ("path",))] == list(FRAME["path"])  # as they were
    page.keyboard.press("u")
    assert [row["index"] for row in saved(page)] == ["30", "10", "20"]


def test_what_was_decided_is_there_again_after_closing(context, file):
    page = opened(context, file)
    page.keyboard.press("a")
    page.keyboard.press("r")
    page.close()
    page = opened(context, file)
    assert page.inner_text("#count") == "2 of 4 decided"
    assert page.locator(".card").nth(0).get_attribute("data-decision") == "accept"
    assert "label stays ant" in page.locator(".card").nth(1).inner_text()
    assert [(row["index"], row["decision"]) for row in saved(page)] == [("30", "accept"), ("10", "reject")]


def test_a_class_can_be_shown_alone_and_only_what_is_undecided(context, file):
    page = opened(context, file)
    page.select_option("#class", label="ant (2)")
    assert page.locator(".card:visible").count() == 2
    page.locator(".card:visible").nth(0).focus()
    for key in ("ArrowRight", "a", "ArrowRight", "a"):  # there is none after the second
        page.keyboard.press(key)
    assert page.inner_text("#count") == "1 of 4 decided"
    page.select_option("#class", label="all")
    page.select_option("#show", "open")
    assert page.locator(".card:visible").count() == 3


def test_data_that_are_no_images_are_refused():
    with pytest.raises(ConfigError, match="--sheet shows images"):
        sheet.page(FRAME, torch.zeros(6, 4), np.array([3, 1, 2, 5]), CLASSES, "mine")
