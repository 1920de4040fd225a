"""What the page of runs says beside its numbers: who is in competition, what differs, what is not known."""

import json
import re

import numpy as np
import pytest

from analysis.page.leaderboard import make_cells
from analysis.page.read import read, read_rows, thumbs
from analysis.report import main, make_page
from sfa_bench.store.folder import RunFolder


def index_of(content):
    return json.loads(re.search(r'id="index">(.*?)</script>', content.decode(), re.S)[1])


def at(column, row):
    if "all" in column:
        return column["all"]
    return column["each"][row] if "each" in column else column["of"][column["at"][row]]


def test_the_index_has_no_bracket_that_could_end_it(ledger):
    """Neither in the names of the leaderboard nor in a table, a note or an error."""
    hostile = "</script><script>alert(1)</script><!--\u2028"
    for note in (hostile, "other"):
        ledger.add(50.0, method=hostile, plugin__note=note, knows=[hostile])
    ledger.add(None, state="failed", environment={"precision": hostile}, dataset=hostile)
    content = make_page(read([ledger.root])).decode()
    text = re.search(r'<script type="application/json" id="index">(.*?)\n', content)[1].removesuffix("</script>")
    assert not set(text) & {"<", "\u2028"}
    assert at(json.loads(text)["board"]["fields"]["method"], 0) == hostile


def test_one_run_has_a_mean_and_no_spread(ledger):
    ledger.add(61.25)
    numbers = index_of(make_page(read([ledger.root])))["board"]["numbers"]
    assert (at(numbers["final"], 0), at(numbers["final_std"], 0), at(numbers["final_n"], 0)) == (61.25, None, 1)


def test_a_key_that_tells_two_rows_apart_is_named_in_both(ledger):
    for rate in (0.01, 0.1):
        for replicate in range(2):
            ledger.add(50.0 + rate, replicate=replicate, plugin="sfa", plugin__beta=rate)
    board = index_of(make_page(read([ledger.root])))["board"]
    assert [at(board["numbers"]["extra"], row) for row in range(2)] == ["plugin.beta=0.1", "plugin.beta=0.01"]
    assert at(board["numbers"]["runs"], 1) == 2


def test_runs_without_a_value_are_not_in_n(ledger):
    for replicate, accuracy in enumerate((40.0, None, 50.0)):
        ledger.add(accuracy, replicate=replicate)
    index = index_of(make_page(read([ledger.root])))
    numbers = index["board"]["numbers"]
    assert (at(numbers["runs"], 0), at(numbers["final_n"], 0), at(numbers["final"], 0)) == (3, 2, 45.0)
    assert "1 of 3 runs have no value of test/acc/final and are not in n" in index["notes"]


def test_marks_are_for_our_own_methods_that_were_not_shown_the_truth(ledger):
    outside = {"precision": "fp32", "external": {"like": "0", "note": "their release"}}
    for replicate in range(3):
        ledger.add(99.0 + replicate / 10, method="theirs", environment=outside, replicate=replicate)
        ledger.add(95.0 + replicate / 10, method="oracle", knows=["clean_labels"], replicate=replicate)
        ledger.add(90.0 + replicate / 10, method="good", replicate=replicate)
        ledger.add(50.0 + replicate / 7, method="bad", replicate=replicate)
    index = index_of(make_page(read([ledger.root])))
    board = index["board"]
    marks = {at(board["fields"]["method"], row): at(board["numbers"]["mark"], row) for row in range(4)}
    assert marks == {"theirs": "", "oracle": "", "good": "best", "bad": "second"}
    assert at(board["fields"]["method"], 3) == "theirs"  # below ours, though it is the highest
    assert at(board["numbers"]["external"], 3) == "their release"
    assert index["facts"]["external"] == 3
    (table,) = index["tables"]
    assert [row[0] for row in table["rows"]] == ["bad", "good", "oracle"]


def test_a_setting_without_a_table_says_why(ledger):
    for rate in (0.01, 0.1):
        ledger.add(50.0, plugin="sfa", plugin__beta=rate)
    (table,) = index_of(make_page(read([ledger.root])))["tables"]
    assert "plugin.beta" in table["refused"]


def test_a_name_of_a_setting_stays_when_others_come(ledger):
    ledger.add(50.0, method="ce")
    (before,) = [cell.name for cell in make_cells(read([ledger.root]).done)]
    ledger.add(60.0, method="gce")
    assert before in [cell.name for cell in make_cells(read([ledger.root]).done)]


def test_mixed_precision_is_noted(ledger):
    ledger.add(50.0)
    ledger.add(51.0, replicate=1, environment={"precision": "bf16"})
    assert "mixed precision: bf16, fp32" in index_of(make_page(read([ledger.root])))["notes"]


def test_where_chooses_finished_and_unfinished_runs(ledger, tmp_path, capsys):
    ledger.add(50.0, method="ce")
    for method in ("ce", "gce"):
        ledger.add(0.0, method=method, state="failed", replicate=1)
    page = tmp_path / "page.html"
    assert main([str(ledger.root), "-o", str(page), "--where", "method=ce"]) == 0
    assert "1 runs in" in (said := capsys.readouterr().out)
    assert "not finished: 1 failed" in said
    assert [run["method"] for run in index_of(page.read_bytes())["others"]] == ["ce"]


@pytest.mark.parametrize("section", ["config", "metrics", "environment", "knows"])
def test_a_record_whose_section_is_something_else_is_counted_as_unreadable(ledger, section):
    ledger.add(50.0)
    path = ledger.add(50.0, replicate=1) / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {section: "nonsense"}))
    found = read([ledger.root])
    assert (len(found.done), found.unreadable) == (1, 1)


def test_a_folder_that_does_not_exist_is_refused_beside_one_that_does(ledger, tmp_path, capsys):
    ledger.add(50.0)
    assert main([str(ledger.root), str(tmp_path / "nowhere"), "-o", str(tmp_path / "page.html")]) == 2
    assert capsys.readouterr().err == f"refused: there is no folder {tmp_path / 'nowhere'}\n"


@pytest.mark.parametrize("line", ['{"epoch":1,"test/acc":5.5}', '{"test/acc": 5.5, "epoch": 1, "note": "a, b}"}'])
def test_lines_in_another_hand_are_read_too(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(line + "\n")
    (row,) = read_rows(tmp_path)
    assert (row["epoch"], row["phase"], row["test/acc"], row["selection/auc"]) == (1, None, 5.5, None)


def test_a_key_outside_the_selection_is_not_taken_for_its_own(tmp_path):
    row = {"epoch": 1, "phase": "training", "auc": 0.1, "test/acc": 1.0, "selection": {"auc": 0.7}}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    assert read_rows(tmp_path)[0]["selection/auc"] == 0.7


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn"])
def test_broken_images_are_no_images(tmp_path, content):
    (tmp_path / "thumbs.npz").write_bytes(content)
    assert thumbs(tmp_path) is None


def test_images_beyond_the_budget_are_counted_and_said(ledger):
    for replicate in range(3):
        image = np.random.default_rng(replicate).integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
        labels = {"observed_label": np.arange(9), "clean_label": np.arange(9)[::-1]}
        RunFolder(ledger.add(50.0, replicate=replicate)).write_arrays("thumbs.npz", {"image": image, **labels})
    index = index_of(make_page(read([ledger.root]), images=15_000))
    assert len(index["sheets"]) == 1
    (said,) = [note for note in index["notes"] if note.startswith("images of")]
    assert said.startswith("images of 2 of 3 runs are left out")
