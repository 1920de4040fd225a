"""The page of a run that is not done says one thing: how far it is, why it stopped, and what goes on with it."""

import os
import shutil

import pytest

from analysis.page.read import read
from analysis.report import make_page
from analysis.runs import reason
from sfa_bench.store.folder import RunFolder

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
STATES = {
    "interrupted": {"type": "Interrupted", "message": "SIGINT"},
    "failed": {"type": "RunError", "message": "the loss\nis not finite"},
    "running": None,
}


@pytest.mark.parametrize(
    ("state", "error", "said"),
    [
        ("interrupted", STATES["interrupted"], "SIGINT"),
        ("failed", STATES["failed"], "RunError: the loss\nis not finite"),
        ("failed", {"type": "KeyError"}, "KeyError"),
        ("failed", "as text", "as text"),
        ("running", None, ""),
        ("done", {}, ""),
    ],
)
def test_why_a_run_is_not_done_is_said_in_words(state, error, said):
    assert reason({"state": state, "error": error}) == said


@pytest.fixture
def opened(ledger, tmp_path):
    """A function from a state to the lines of the run's own page, and the list's."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: chromium), or its path in CHROMIUM")
    ledger.add(90.0, method="mae")
    hashes = {}
    for state, error in STATES.items():
        path = ledger.add(None, state=state, plugin="sfa", metrics={}, knows=[])
        record = RunFolder(path).read_record()
        RunFolder(path).write_record(record | {"error": error})
        hashes[state] = record["hash"]
        for epoch in range(1, 25):
            chosen = {"precision": 0.9, "recall": 0.8, "auc": 0.964} if epoch > 9 else None
            row = {"epoch": epoch, "phase": "training", "test/acc": 3.4 * epoch, "selection": chosen}
            RunFolder(path).append_metrics(row)
    hashes["not begun"] = ledger.add(None, state="running", plugin="abc", metrics={}).name
    (tmp_path / "page.html").write_bytes(make_page(read([ledger.root])))
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def lines(state=None):
            page = browser.new_page()
            page.goto((tmp_path / "page.html").as_uri() + (f"#run={hashes[state]}" if state else ""))
            page.locator("#view h2" if state else "#unfinished table").first.wait_for()
            return page.locator("main").inner_text().splitlines()

        yield lines
        browser.close()


def test_an_interrupted_run_has_one_story(opened):
    lines = opened("interrupted")
    text = "\n".join(lines)
    for line in ("24 of 60", "81.6", "Interrupted by", "SIGINT", "Cost so far"):
        assert line in lines
    assert "Command that goes on with this run" in lines
    assert "So far: precision 0.900, recall 0.800, AUC 0.964." in text
    for wrong in ("selects no samples", "Command that makes this run again", '"type"', "Final accuracy", "All metrics"):
        assert wrong not in text


def test_a_failed_a_running_and_a_run_that_has_not_begun(opened):
    failed = opened("failed")
    assert "Command that tries this run again" in failed
    assert "RunError: the loss" in failed
    assert "Command that this run was started by" in opened("running")
    assert "0 of 60" in opened("not begun")
    listed = "\n".join(opened())
    assert "is not finite" in listed
    assert "{'type'" not in listed
