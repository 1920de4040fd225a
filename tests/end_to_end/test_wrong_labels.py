"""The guide to mislabelled images, followed to the letter: from a folder of JPEGs to a corrected CSV, decided in a real
browser.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import digit_folder
import numpy as np
import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright (pip install playwright)")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium), or its path in CHROMIUM")

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/guides/wrong-labels.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```\n(.*?)```\n", GUIDE, re.DOTALL) for line in block.splitlines()]


def shell(line, home):
    """Run a line of the guide as it is typed, by the `sfa-bench` of this checkout."""
    path = f"{home}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(line, shell=True, cwd=home, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def decide(home, truth):
    """What a person does who knows the true classes. Returns how many were decided."""
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(accept_downloads=True, offline=True).new_page()
        page.goto((home / "sheet.html").as_uri())
        page.wait_for_selector(".card")
        rows = page.evaluate("data.rows.map(row => [row.path, row.given, row.suggested])")
        for path, given, suggested in rows:
            if truth[path] in (given, suggested):
                page.keyboard.press("r" if truth[path] == given else "a")
            else:
                page.keyboard.press("o")
                page.select_option("#others", label=truth[path])
                page.keyboard.press("Tab")
                page.keyboard.press("Enter")
        assert page.inner_text("#count") == f"{len(rows)} of {len(rows)} decided"
        with page.expect_download() as download:
            page.keyboard.press("s")
        download.value.save_as(home / "decisions.csv")
        browser.close()
    return len(rows)


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A home folder in which all commands of the guide were run in their order; the true classes; what was printed."""
    home = tmp_path_factory.mktemp("home")
    (home / "bin").mkdir()
    program = home / "bin" / "sfa-bench"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sfa_bench "$@"\n')
    program.chmod(0o755)
    truth = digit_folder.write(home / "birds")
    said = {}
    for line in COMMANDS:
        if line.startswith("sfa-bench relabel"):
            said["decided"] = decide(home, truth)
        said[line.split()[1]] = shell(line, home)
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (home / "find.py").write_text(code)
    said["cleanlab"] = shell("python find.py", home)
    return home, truth, said


def read(file):
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_folder_is_as_the_guide_says():
    assert [line.split()[1] for line in COMMANDS] == [
        *("run", "suspects", "relabel", "run", "run", "sweep", "suspects", "export")
    ]
    assert "372\ntraining images of ten classes" in GUIDE


def test_suspects_are_mostly_mislabelled_also_in_the_rare_class(followed):
    home, truth, said = followed
    wrong = {path for path, name in truth.items() if path.split("/")[1] != name}
    assert len(truth) == 372
    assert len(wrong) == 74
    rows = read(home / "suspects.csv")
    found = {row["path"] for row in rows}
    assert said["decided"] == len(rows)
    assert len(found & wrong) / len(found) > 0.5  # by chance 0.2
    assert len(found & wrong) / len(wrong) > 0.8
    rare = [row for row in rows if row["given"] == "nine"]
    assert {row["class_size"] for row in rare} <= {"12"}


def test_the_corrected_file_has_what_was_decided_and_trains(followed):
    home, truth, _ = followed
    suspects = {row["path"] for row in read(home / "suspects.csv")}
    labels = {row["path"]: row["label"] for row in read(home / "birds" / "corrected.csv") if row["split"] == "train"}
    assert labels == {path: truth[path] if path in suspects else path.split("/")[1] for path in truth}
    before = sum(path.split("/")[1] != name for path, name in truth.items())
    after = sum(labels[path] != name for path, name in truth.items())
    assert after < before / 2
    keep = {row["path"]: row["keep"] for row in read(home / "keep.csv")}
    assert keep == {path: str(int(labels[path] == path.split("/")[1])) for path in truth}
    assert len([*(home / "runs").glob("birds-corrected/ce/*/run.json")]) == 1
    (kept,) = (home / "runs").glob("birds/ce/*/predictions.npz")
    assert (~np.load(kept)["selected"]).sum() == [*keep.values()].count("0")


def test_cleanlab_takes_what_the_folds_say(followed):
    home, _, said = followed
    labels, probabilities = (np.load(home / "for_cleanlab" / f"{name}.npy") for name in ("labels", "pred_probs"))
    assert probabilities.shape == (372, 10)
    assert np.bincount(labels).min() == 12
    assert "out-of-sample" in said["export"]
    assert len(re.findall(r"\d+", said["cleanlab"])) > 20
    assert len(read(home / "suspects_of_folds.csv")) > 0
