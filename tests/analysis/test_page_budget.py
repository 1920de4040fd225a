"""The page of many runs: what it has no room for is said, in the order of importance, and the index changes nothing."""

import os
import shutil

import pytest
from page_parts import parts, value

from analysis import report
from analysis.page.read import read
from analysis.report import make_page
from sfa_bench.store import run_table

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")


def kept(index, blobs):
    """Whether each run has details, by position."""
    ends = [*index["chunks"][1:], len(index["hashes"])]
    there = set()
    for number, (first, end) in enumerate(zip(index["chunks"], ends, strict=True)):
        there |= {first + place for place in blobs[f"details-{number}"].get("kept", range(end - first))}
    return [position in there for position in range(len(index["hashes"]))]


def test_details_beyond_the_budget_are_those_of_later_replicates_and_it_is_said(many):
    whole = len(make_page(read([many])))
    content = make_page(read([many]), whole=whole * 2 // 3)
    index, blobs = parts(content)
    there = kept(index, blobs)
    assert 0 < sum(there) < 200
    assert len(content) <= whole * 2 // 3
    assert any(note.startswith(f"details of {200 - sum(there)} of 200 runs are left out") for note in index["notes"])
    replicate = [position for cell in range(67) for position in range(value(index["board"]["numbers"]["runs"], cell))]
    assert max(r for r, has in zip(replicate, there, strict=True) if has) <= 1 + min(
        r for r, has in zip(replicate, there, strict=True) if not has
    )


def test_no_more_runs_have_details_than_may(many):
    index, blobs = parts(make_page(read([many]), detailed=50))
    assert sum(kept(index, blobs)) == 50
    said = "details of 150 of 200 runs are left out: there are those of 50 at most"
    assert any(note.startswith(said) for note in index["notes"])


def test_the_leaderboard_stays_whole_where_no_run_has_room(many):
    index, blobs = parts(make_page(read([many]), whole=0))
    assert not any(kept(index, blobs))
    assert index["board"] == parts(make_page(read([many])))[0]["board"]


def test_a_run_that_is_kept_has_the_details_that_it_has_on_a_page_of_all(many):
    content = make_page(read([many]))
    full_index, full = parts(content)
    index, blobs = parts(make_page(read([many]), whole=len(content) * 2 // 3))
    assert index["hashes"] == full_index["hashes"]
    assert index["chunks"] == full_index["chunks"] == [0]
    assert 0 < len(blobs["details-0"]["kept"]) < 200
    for row, position in enumerate(blobs["details-0"].pop("kept")):
        for section, columns in blobs["details-0"].items():
            for key, column in columns.items():
                assert value(column, row) == value(full["details-0"][section][key], position), key


@pytest.mark.parametrize("state", ["present", "stale", "corrupt"])
def test_pages_are_equal_with_and_without_an_index(many, monkeypatch, state):
    monkeypatch.setattr(run_table, "RECENT_NS", 0)
    shutil.rmtree(many / ".index", ignore_errors=True)
    without = make_page(read([many]))
    assert (many / ".index").is_dir()
    for file in (many / ".index").glob("*.npz"):
        if state == "corrupt":
            file.write_bytes(file.read_bytes()[:-30] + bytes(30))
    if state == "stale":
        for path in many.glob("*/*/*/run.json"):
            os.utime(path)
    assert make_page(read([many])) == without


def test_a_large_index_is_packed_whole(many, monkeypatch):
    whole, _ = parts(make_page(read([many])))
    monkeypatch.setattr(report, "LARGE", 0)
    index, blobs = parts(make_page(read([many])))
    assert not {"board", "tables", "hashes", "others"} & index.keys()
    assert blobs["large"]["hashes"] == whole["hashes"]
    assert blobs["large"]["board"] == whole["board"]
    assert blobs["tables-0"] == whole["tables"]


def test_a_packed_page_opens_and_says_what_is_left_out(many, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "LARGE", 0)
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: chromium), or its path in CHROMIUM")
    whole = len(make_page(read([many])))
    (tmp_path / "page.html").write_bytes(make_page(read([many]), whole=whole * 2 // 3))
    errors = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_selector("#board tbody tr")
        assert page.locator("#board tbody tr").count() == 67
        page.locator("#tables summary").first.click()
        page.wait_for_selector("#tables figure table")
        page.locator("#board tbody a").first.click()
        page.wait_for_selector("#view tr[data-run]")
        rows = page.locator("#view tr[data-run]")
        assert "Details are left out of this file." in rows.last.inner_text()
        rows.last.locator("a").click()
        page.locator("#view p", has_text="The details of this run are left out").wait_for()
        page.go_back()
        page.wait_for_selector("#view tr[data-run]")
        page.locator("#view tr[data-run] a").first.click()
        page.wait_for_selector("#command")
        browser.close()
    assert errors == []
