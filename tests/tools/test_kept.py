"""Kept results as runs again: what they answer, and what is refused."""

import csv
import json

import pytest

from analysis import claim, export, table
from tests.helpers.ledger_scale import write_planned
from tools import kept, results

SWEEP = ["method=ce,gce", "plugin=none,sfa", "replicate=0,1,2", "threads=1"]
CONTENTS = f"""
both:
  title: Two methods
  about: With and without.
  sweep: {" ".join(SWEEP)}
  files:
    table.md: table --rows method,plugin
"""

ENVIRONMENT = {"device_name": "a machine", "threads": 1, "commit": "0123456789abcdef", "modified": False}
ENVIRONMENT |= {"versions": {"python": "3.11.7", "torch": "2.14.1", "numpy": "2.4.6"}}


@pytest.fixture
def folders(tmp_path):
    """(runs, what is kept of them)."""
    write_planned([*SWEEP, f"runs_dir={tmp_path}/runs"])
    for path in (tmp_path / "runs").glob("*/*/*/run.json"):
        record = json.loads(path.read_text())
        record["cost"]["shared"] = {"run": "012345678901", "epochs": 3, "seconds": 1.5}  # a hash, not a number
        record["environment"] = ENVIRONMENT
        record["data"]["classes"] = [f"class {number}" for number in range(10)]
        path.write_text(json.dumps(record))
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "contents.yaml").write_text(CONTENTS)
    assert results.main(["both", f"{tmp_path}/runs", "-o", f"{tmp_path}/results"]) == 0
    return tmp_path / "runs", tmp_path / "results" / "both"


def printed(capsys, tool, *words):
    capsys.readouterr()
    assert tool.main([*map(str, words)]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (table, ("--rows", "method,plugin", "--metric", "test/acc/final,many,few,selection/auc,selection/recall/few")),
        (table, ("--rows", "method,plugin", "--metric", "cost/flops,cost/total_seconds,worst")),
        (claim, ("plugin=sfa > plugin=none", "--over", "method")),
        (claim, ("--ranks", "method,plugin")),
    ],
)
def test_they_answer_what_the_runs_answer(folders, tmp_path, capsys, tool, words):
    runs, folder = folders
    assert printed(capsys, kept, folder, "-o", tmp_path / "again") == f"12 runs in {tmp_path}/again\n"
    assert printed(capsys, tool, tmp_path / "again", *words) == printed(capsys, tool, runs, *words)


def test_they_can_be_kept_again(folders, tmp_path, capsys):
    runs, folder = folders
    page = (folder / "README.md").read_text()
    assert "- 12 runs: a machine, 1 thread(s), python 3.11.7, torch 2.14.1, numpy 2.4.6; commit 0123456789ab\n" in page
    printed(capsys, kept, folder, "-o", tmp_path / "again")
    printed(capsys, results, "both", tmp_path / "again", "-o", tmp_path / "results")
    assert (folder / "README.md").read_text() == page
    for name, place in (("before", runs), ("after", tmp_path / "again")):
        printed(capsys, export, place, "-o", tmp_path / f"{name}.csv")
    before, after = (_rows(tmp_path / f"{name}.csv") for name in ("before", "after"))
    assert after == before


def _rows(path):
    """Hash → the values of its row, without its place and what is not kept; empty ones are missing."""
    left_out = {"folder", "command", "runs_dir", "cost/seconds/data"}
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {row["hash"]: {k: v for k, v in row.items() if v and k not in left_out} for row in rows}


def test_only_those_of_a_sweep_and_none_that_is_there(folders, tmp_path, capsys):
    runs, folder = folders
    sweep = ("--sweep", "method=ce plugin=sfa replicate=1,2,3 threads=1")
    assert printed(capsys, kept, folder, "-o", tmp_path / "again", *sweep).startswith("2 runs in")
    assert printed(capsys, kept, folder, "-o", tmp_path / "again").startswith("10 runs in")
    before = {path: path.read_bytes() for path in runs.glob("*/*/*/run.json")}
    assert printed(capsys, kept, folder, "-o", runs).startswith("0 runs in")
    assert {path: path.read_bytes() for path in runs.glob("*/*/*/run.json")} == before


def test_a_row_of_other_code_is_refused(folders, tmp_path, capsys):
    _, folder = folders
    text = (folder / "runs.csv").read_text()
    hash = text.splitlines()[1].partition(",")[0]
    (folder / "runs.csv").write_text(text.replace(hash, "0123456789ab", 1))
    assert kept.main([str(folder), "-o", str(tmp_path / "again")]) == 2
    said = capsys.readouterr().err
    assert f"is run {hash} of this version, not 0123456789ab: its results were made by a version that" in said


def test_what_is_no_table_of_runs_is_refused(tmp_path, capsys):
    assert kept.main([str(tmp_path / "none"), "-o", str(tmp_path / "again")]) == 2
    assert "runs.csv cannot be read: No such file" in capsys.readouterr().err
    (tmp_path / "runs.csv").write_text("a,b\n1,2\n")
    assert kept.main([str(tmp_path), "-o", str(tmp_path / "again")]) == 2
    assert "is no table of runs, it lacks command, hash, observed_labels: give folders of" in capsys.readouterr().err
    (tmp_path / "runs.csv").write_bytes(b"hash,command\n\xff,1\n")
    assert kept.main([str(tmp_path), "-o", str(tmp_path / "again")]) == 2
    assert "runs.csv cannot be read: 'utf-8' codec" in capsys.readouterr().err


def test_a_damaged_row_is_refused(folders, tmp_path, capsys):
    _, folder = folders
    text = (folder / "runs.csv").read_text()
    (folder / "runs.csv").write_text(text.replace('[""class 0""', '[""class 0', 1))
    assert kept.main([str(folder), "-o", str(tmp_path / "again")]) == 2
    assert "is no run: " in (said := capsys.readouterr().err)
    assert "; restore the file" in said


def test_a_value_that_a_list_lacks_moves_no_other(folders, tmp_path, capsys):
    runs, folder = folders
    with (folder / "runs.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    rows[0]["test/per_class/3"] = ""
    with (folder / "runs.csv").open("w", newline="") as lines:
        table = csv.DictWriter(lines, rows[0])
        table.writeheader()
        table.writerows(rows)
    printed(capsys, kept, folder, "-o", tmp_path / "again")
    (before,), (after,) = (place.glob(f"*/*/{rows[0]['hash']}/run.json") for place in (runs, tmp_path / "again"))
    before, after = (json.loads(path.read_text())["metrics"]["test/per_class"] for path in (before, after))
    assert after == [*before[:3], None, *before[4:]]


def test_an_output_that_is_a_file_is_a_sentence(folders, tmp_path, capsys):
    (tmp_path / "again").write_text("")
    assert kept.main([str(folders[1]), "-o", str(tmp_path / "again")]) == 1
    assert f"failed: could not write {tmp_path}/again/" in (said := capsys.readouterr().err)
    assert said.endswith(": Not a directory\n")


def test_a_folder_of_a_killed_command_is_filled(folders, tmp_path, capsys):
    runs, folder = folders
    place = tmp_path / "again" / next(runs.glob("*/ce/*")).relative_to(runs)
    place.mkdir(parents=True)
    assert printed(capsys, kept, folder, "-o", tmp_path / "again").startswith("12 runs in")
    assert (place / "run.json").exists()
