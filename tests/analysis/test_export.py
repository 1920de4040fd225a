import csv
import io
import json

import pandas as pd
import pytest

from analysis.export import main, tidy, to_bytes
from analysis.runs import load


def test_three_lines_of_pandas_find_what_the_records_hold(ledger, tmp_path, capsys):
    for replicate, (plain, sfa) in enumerate([(50.0, 61.0), (52.0, 60.0)]):
        ledger.add(plain, replicate=replicate)
        ledger.add(sfa, plugin="sfa", replicate=replicate)
    ledger.add(None, state="failed", replicate=9)
    assert main([str(ledger.root), "-o", str(tmp_path / "all.csv")]) == 0
    assert "4 runs" in (said := capsys.readouterr().out)
    assert "1 failed" in said
    runs = pd.read_csv(tmp_path / "all.csv", dtype={"hash": str})
    means = runs.groupby("plugin", dropna=False)["test/acc/final"].mean()
    assert list(means) == [51.0, 60.5]
    records = {record["hash"]: record for record in ledger.read() if record["state"] == "done"}
    assert set(runs.hash) == set(records)
    for row in runs.to_dict("records"):
        record = records[row["hash"]]
        assert row["method"] == record["names"]["method"]
        assert row["model"] == record["config"]["model"]["name"]  # what `auto` stood for
        assert row["seed"] == record["config"]["seed"]
        assert [row[f"test/per_class/{c}"] for c in range(10)] == record["metrics"]["test/per_class"]
        assert row["observed_labels"] == record["data"]["fingerprints"]["observed_labels"]


def test_names_of_classes_stand_beside_the_figures_by_class(ledger):
    (run,) = load([ledger.add(50.0)])[0]
    assert "classes" not in tidy([run])
    run.record["data"]["classes"] = ["oak", "Ölbaum, wild"]
    assert json.loads(tidy([run])["classes"][0]) == ["oak", "Ölbaum, wild"]


def test_parquet_holds_the_same_as_csv(ledger, tmp_path):
    ledger.add(50.0)
    ledger.add(61.0, plugin="sfa", replicate=1)
    for name in ("all.csv", "all.parquet"):
        assert main([str(ledger.root), "-o", str(tmp_path / name)]) == 0
    parquet = pd.read_parquet(tmp_path / "all.parquet")
    assert list(parquet["test/acc/final"]) == [50.0, 61.0]
    assert list(parquet.columns) == list(pd.read_csv(tmp_path / "all.csv").columns)


def test_a_number_and_its_text_stay_two_values_in_parquet():
    frame = pd.DataFrame({"odd": pd.Series([1, "1", True, "true", 0.9999999, None], dtype=object)})
    again = pd.read_parquet(io.BytesIO(to_bytes(frame, ".parquet")))
    assert list(again["odd"])[:5] == ["1", '"1"', "true", '"true"', "0.9999999"]
    assert pd.isna(again["odd"][5])


def test_an_option_of_two_types_becomes_text_in_parquet():
    frame = pd.DataFrame({"plugin.sample_min": ["auto", 300], "lr": [0.1, 0.2]})
    again = pd.read_parquet(io.BytesIO(to_bytes(frame, ".parquet")))
    assert list(again["plugin.sample_min"]) == ["auto", "300"]
    assert list(again["lr"]) == [0.1, 0.2]


@pytest.mark.parametrize(
    ("name", "sentence"), [("all.xlsx", "ends in .csv or .parquet, not .xlsx"), ("all", "without")]
)
def test_another_format_is_refused_and_nothing_is_written(ledger, tmp_path, capsys, name, sentence):
    ledger.add(50.0)
    assert main([str(ledger.root), "-o", str(tmp_path / name)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_an_empty_folder_is_refused(tmp_path, capsys):
    assert main([str(tmp_path), "-o", str(tmp_path / "all.csv")]) == 2
    assert "no finished run" in capsys.readouterr().err


def test_markup_stays_what_it_is(ledger, tmp_path):
    path = ledger.add(50.0, note='<script>alert("1, 2")</script>')
    assert main([str(ledger.root), "-o", str(tmp_path / "all.csv")]) == 0
    written = json.loads((path / "run.json").read_text())["config"]["note"]
    assert pd.read_csv(tmp_path / "all.csv")["note"][0] == written


def test_other_peoples_results_are_marked(ledger, tmp_path):
    ledger.add(50.0)
    ledger.add(61.0, method="their_code", environment={"external": {"like": "0"}})
    assert main([str(ledger.root), "-o", str(tmp_path / "all.csv")]) == 0
    runs = pd.read_csv(tmp_path / "all.csv")
    assert dict(zip(runs["method"], runs["external"], strict=True)) == {"dividemix": False, "their_code": True}


TEXTS = ["=HYPERLINK(1)", "+1", "-2+3", "@SUM(A1)", "\tx", "\rx", "'quoted", "plain", "a=b", "", "-0.5"]


def test_no_cell_of_a_csv_is_a_formula_and_every_text_can_be_read_back():
    frame = pd.DataFrame({"data_dir": TEXTS, "=evil": 1.0, "test/acc/final": -2.5})
    lines = list(csv.reader(io.StringIO(to_bytes(frame, ".csv").decode(), newline="")))
    assert lines[0] == ["data_dir", "'=evil", "test/acc/final"]
    assert not [row[0] for row in lines[1:] if row[0].startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [row[0].removeprefix("'") for row in lines[1:]] == TEXTS
    assert {row[2] for row in lines[1:]} == {"-2.5"}  # numbers stay numbers


def test_parquet_keeps_texts_as_they_are():
    again = pd.read_parquet(io.BytesIO(to_bytes(pd.DataFrame({"data_dir": TEXTS}), ".parquet")))
    assert list(again["data_dir"]) == TEXTS
