"""`analysis.report` without a browser: what is in the file equals the records, and bad input is a sentence."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from page_parts import parts, value

from analysis.page.encode import columns, page
from analysis.page.read import read, read_rows
from analysis.report import main, make_page
from sfa_bench.store.folder import RunFolder

HOSTILE = "</script><script>window.hacked = 1</script><!--\u2028"


def test_the_leaderboard_is_mean_and_deviation_over_the_replicates(many):
    index, _ = parts(make_page(read([many])))
    records = [json.loads(path.read_text()) for path in many.glob("*/*/*/run.json")]
    frame = pd.json_normalize(records)
    keys = ["names.dataset", "names.noise", "config.noise_ratio", "config.imb_factor", "names.method", "names.plugin"]
    expected = frame.groupby(keys)["metrics.test/acc/final"].agg(["mean", "std", "count"])
    fields, numbers = index["board"]["fields"], index["board"]["numbers"]
    assert len(index["board"]["names"]) == len(expected) == 67
    for row in range(67):
        place = [key.split(".", 1)[1] for key in keys]
        mean, std, count = expected.loc[tuple(value(fields[key], row) for key in place)]
        assert value(numbers["final"], row) == pytest.approx(mean, abs=5e-4)
        assert value(numbers["runs"], row) == count
        if count > 1:
            assert value(numbers["final_std"], row) == pytest.approx(std, abs=5e-4)


def test_every_run_has_its_configuration_its_command_and_its_curves(many):
    index, blobs = parts(make_page(read([many])))
    first, hash = index["chunks"][0], index["hashes"][5]
    (path,) = many.glob(f"*/*/{hash}")
    record = json.loads((path / "run.json").read_text())
    details, curves = blobs["details-0"], blobs["curves-0"][5 - first]
    assert value(details["config"]["noise_ratio"], 5) == record["config"]["noise_ratio"]
    assert value(details["run"]["command"], 5) == record["command"]
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert curves["accuracy"] == [round(10 * row["test/acc"]) for row in rows]
    selected = [row["selection"] and round(1000 * row["selection"]["auc"]) for row in rows]
    assert curves.get("auc", [None] * len(rows)) == selected


def test_lines_of_metrics_are_read_without_parsing_them_as_with(many, tmp_path):
    path = next(many.glob("*/*+sfa/*"))
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for found, row in zip(read_rows(path), rows, strict=True):
        assert (found["epoch"], found["phase"], found["test/acc"]) == (row["epoch"], row["phase"], row["test/acc"])
        assert found["selection/recall"] == (row["selection"] or {}).get("recall")
    torn = (path / "metrics.jsonl").read_bytes()[:-40]
    (tmp_path / "metrics.jsonl").write_bytes(torn)
    assert [row["epoch"] for row in read_rows(tmp_path)] == [row["epoch"] for row in rows[:-1]]


def test_equal_runs_give_equal_bytes_whatever_the_order(many):
    ledger = read([many])
    once = make_page(ledger)
    ledger.done.reverse()
    assert make_page(ledger) == once


def test_nothing_comes_from_outside_and_nothing_is_run_but_the_programs_own(many):
    text = make_page(read([many])).decode()
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert set(re.findall(r"""(?:src|href)=["'](.)""", markup)) == {"#"}
    assert "default-src 'none'" in text
    assert "unsafe" not in text.split("</head>")[0].split("<style>")[0]


def test_values_stay_text(ledger):
    ledger.add(50.0, method=HOSTILE.replace("/", "\\"), plugin__note=HOSTILE)
    index, blobs = parts(make_page(read([ledger.root])))
    assert value(blobs["details-0"]["config"]["plugin.note"], 0) == HOSTILE
    content = make_page(read([ledger.root])).decode()
    assert "window.hacked" not in re.sub(r'<script type="application/json" id="index">.*?</script>', "", content)
    assert "\u2028" not in content
    assert value(index["board"]["fields"]["method"], 0) == HOSTILE.replace("/", "\\")


def test_a_value_is_never_taken_for_a_place_in_the_template():
    assert b"{{program}}" in page({"value": "{{program}}"}, {})


@pytest.mark.parametrize("rows", [[{"a": 1}, {"a": 1}], [{"a": 1}, {"a": True}, {}], [{"a": i} for i in range(9)]])
def test_columns_give_back_their_rows(rows):
    packed = columns(rows)
    assert [value(packed["a"], i) for i in range(len(rows))] == [row.get("a") for row in rows]
    assert [type(value(packed["a"], i)) for i in range(len(rows))] == [type(row.get("a")) for row in rows]


def test_a_budget_leaves_out_later_replicates_first_and_says_so(many):
    index, blobs = parts(make_page(read([many]), curves=30_000))
    (said,) = [note for note in index["notes"] if note.startswith("curves of")]
    left_out = [curve == 0 for name, curves in sorted(blobs.items()) if name.startswith("curves") for curve in curves]
    assert f"curves of {sum(left_out)} of 200 runs are left out" in said
    # 67 cells of three replicates: whoever lost its curves comes after whoever kept them
    replicate = [
        json.loads(next(many.glob(f"*/*/{h}/run.json")).read_text())["config"]["replicate"] for h in index["hashes"]
    ]
    kept = [r for r, out in zip(replicate, left_out, strict=False) if not out]
    lost = [r for r, out in zip(replicate, left_out, strict=False) if out]
    assert kept
    assert max(kept) <= min(lost) + 1


def test_images_are_one_sheet_and_shared_where_equal(ledger):
    image = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), dtype=np.uint8)
    labels = {"index": np.arange(5), "observed_label": np.arange(5), "clean_label": np.arange(5)[::-1]}
    for replicate in range(2):
        RunFolder(ledger.add(50.0, replicate=replicate)).write_arrays("thumbs.npz", {"image": image, **labels})
    index, blobs = parts(make_page(read([ledger.root])))
    assert len(index["sheets"]) == 1
    assert value(blobs["details-0"]["images"]["clean"], 1) == [4, 3, 2, 1, 0]


# ---- the command


def said(capsys, *arguments):
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_unfinished_and_unreadable_runs_are_counted(ledger, tmp_path, capsys):
    ledger.add(50.0)
    ledger.add(0.0, state="failed", replicate=1)
    broken = ledger.add(0.0, replicate=2)
    (broken / "run.json").write_text('{"schema": 1')
    foreign = ledger.add(0.0, replicate=3)
    (foreign / "run.json").write_text((foreign / "run.json").read_text().replace('"schema": 1', '"schema": 99'))
    status, out, _ = said(capsys, ledger.root, "-o", tmp_path / "page.html")
    assert status == 0
    assert out.startswith("1 runs in ")
    assert "not finished: 1 failed; left out as unreadable: 2" in out
    index, _ = parts((tmp_path / "page.html").read_bytes())
    assert (index["facts"]["unreadable"], index["others"][0]["state"]) == (2, "failed")


@pytest.mark.parametrize("state", [None, "failed", "broken"])
def test_nothing_to_show_is_a_sentence(ledger, tmp_path, capsys, state):
    if state:
        path = ledger.add(0.0, state="failed")
    if state == "broken":
        (path / "run.json").write_text("[]")
    ledger.root.mkdir(exist_ok=True)
    status, out, err = said(capsys, ledger.root, "-o", tmp_path / "page.html")
    assert (status, out) == (2, "")
    assert err.splitlines()[-1].startswith("refused: no finished run in")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-o", "page.pdf"], "-o takes a name that ends in .html, not page.pdf"),
        (["-o", "page.html", "--where", "plugin=sfaa"], "no run has plugin=sfaa; there is none"),
    ],
)
def test_bad_arguments_are_refused(ledger, capsys, arguments, sentence):
    ledger.add(50.0)
    assert said(capsys, ledger.root, *arguments) == (2, "", f"refused: {sentence}\n")
