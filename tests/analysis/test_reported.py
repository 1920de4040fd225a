"""Published numbers beside ours, and the shapes of tables by name."""

import csv
import shutil
from collections import Counter
from importlib import resources

import pytest

from analysis.reported import numbers
from analysis.runs import load
from analysis.table import main, make_table
from sfa_bench.config import compose, hydras

CIFAR = {"dataset": "cifar10", "noise__name": "joint", "imbalance__name": "exp", "model__name": "resnet32"}


def table(ledger, rows=("method",), cols=(), metrics=("final",), **other):
    return make_table(load([ledger.root])[0], list(rows), list(cols), metrics, reported=True, **other)


def test_the_numbers_are_the_files():
    text = (resources.files("analysis.published") / "reported.csv").read_text()
    lines = list(csv.DictReader(text.splitlines()))
    assert len(numbers()) == len(lines) == 343
    assert all(line["source"] and line["note"] for line in lines)
    assert Counter(number.metric for number in numbers())["test_imagenet/acc"] == 9


def test_numbers_of_the_setting_stand_below_ours_in_italics_and_never_bold(ledger):
    for replicate in range(2):
        ledger.add(20.0, method="ce", noise_ratio=0.4, epochs=200, replicate=replicate, **CIFAR)
        ledger.add(10.0, method="mae", noise_ratio=0.4, epochs=200, replicate=replicate, **CIFAR)
    found = table(ledger)
    lines = dict(found.frame.values.tolist())
    assert lines["ce"] == "20.00 ± 0.00 (2)"  # not averaged with anything
    assert lines["ERM [RCAL (ICCV 2023)]"] == "70.13"  # by hand from the paper's table 1, joint 0.4, factor 0.1
    assert found.published == 2
    assert {line for line, _ in found.marks} == {0, 1}
    assert "| *ERM [RCAL (ICCV 2023)]*<sup>" in found.to_markdown()
    assert "<i>70.13</i>" in found.to_html()
    assert r"\textit{70.13}" in found.to_latex()
    (sentence,) = {note for note, _ in found.row_notes}
    assert "arXiv 2211.10955" in sentence
    assert "epochs not given, ours 200" in sentence
    assert "backbone" not in sentence


def test_a_column_takes_the_numbers_of_its_own_setting(ledger):
    for ratio, factor in ((0.1, 0.1), (0.4, 0.01), (0.33, 0.1)):
        ledger.add(20.0, noise_ratio=ratio, imb_factor=factor, **CIFAR)
    found = table(ledger, cols=("noise_ratio", "imb_factor")).frame.set_index("method")
    line = found.loc["ERM [RCAL (ICCV 2023)]"]
    expected = {
        f"noise_ratio={number.where['noise_ratio']} imb_factor={number.where['imb_factor']}": number.text
        for number in numbers()
        if number.line["method"] == "ERM" and number.where["dataset"] == "cifar10"
    }
    assert line["noise_ratio=0.1 imb_factor=0.1"] == expected["noise_ratio=0.1 imb_factor=0.1"] == "80.41"
    assert line["noise_ratio=0.4 imb_factor=0.01"] == expected["noise_ratio=0.4 imb_factor=0.01"]
    assert line["noise_ratio=0.33 imb_factor=0.1"] == "–"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__name": "convnet"}, "backbone PreAct ResNet-18, ours convnet"),
        ({}, "other noise model (symmetric noise that includes the true class)"),
        ({"epochs": 20}, "epochs not given, ours 20"),
    ],
)
def test_a_mismatch_of_protocol_is_a_footnote(ledger, changes, said):
    keys = {"dataset": "cifar10", "noise__name": "symmetric", "noise_ratio": 0.5, "imbalance__name": "none"}
    ledger.add(20.0, **{**keys, "model__name": "preact_resnet18", **changes})
    found = table(ledger)
    sentences = [note for note, _ in found.row_notes if "DivideMix (ICLR 2020)" in note]
    assert sentences
    assert all(said in sentence for sentence in sentences)
    assert any("best epoch" in sentence for sentence in sentences)


def test_the_same_law_has_no_footnote_about_it(ledger):
    keys = {"dataset": "cifar10", "noise__name": "symmetric", "noise_ratio": 0.5, "imbalance__name": "none"}
    ledger.add(20.0, noise__include_self=True, **keys)
    notes = [note for note, _ in table(ledger).row_notes if "published" in note]
    assert notes
    assert not any("noise law" in note for note in notes)


def test_other_data_and_other_metrics_have_none_and_it_is_said(ledger):
    ledger.add(20.0, noise__name="joint", imbalance__name="exp")
    assert "no published number is of this setting and metric" in table(ledger).notes
    ledger.add(20.0, metrics={"test/acc/final": 1.0, "test/ece": 2.0}, noise_ratio=0.3, **CIFAR)
    assert table(ledger, rows=("dataset", "method", "noise_ratio"), metrics=("ece",)).published is None


# ---- headings, short names, presets


def test_headings_are_nested_where_columns_have_several_keys(ledger):
    for ratio in (0.2, 0.5):
        for factor in (0.1, 0.01):
            ledger.add(50.0, noise_ratio=ratio, imb_factor=factor)
    found = make_table(load([ledger.root])[0], ["method"], ["noise_ratio", "imb_factor"])
    head = found.to_html().split("</thead>")[0]
    assert head.count('<th colspan="2">noise_ratio=0.2</th>') == 1
    assert head.count('<th colspan="1">imb_factor=0.1</th>') == 2
    latex = found.to_latex().splitlines()
    assert r" & \multicolumn{2}{c}{noise\_ratio=0.2} & \multicolumn{2}{c}{noise\_ratio=0.5} \\" in latex
    assert latex[latex.index(r"\toprule") + 2] == r"\cmidrule(lr){2-3}"


def test_best_is_headed_oracle_also_in_a_column(ledger, capsys):
    ledger.add(1.0, metrics={"test/acc/final": 1.0, "test/acc/best": 2.0})
    assert main([str(ledger.root), "--metric", "best", "--cols", "noise_ratio"]) == 0
    assert "| noise_ratio=0.4 test/acc/best (oracle) " in capsys.readouterr().out


def test_a_cell_with_missing_replicates_shows_how_many_there_should_be(ledger):
    for replicate in range(3):
        ledger.add(50.0, method="a", replicate=replicate)
    ledger.add(50.0, method="b")
    assert list(make_table(load([ledger.root])[0], ["method"]).frame.iloc[:, 1]) == ["50.00 ± 0.00 (3)", "50.00 (1/3)"]


def test_costs_are_columns(ledger, capsys):
    cost = {"total_seconds": 12.5, "flops": 4.5e10, "parameters": 1234, "images_per_second": 99.0}
    ledger.add(1.0, cost=cost)
    assert main([str(ledger.root), "--metric", "cost", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "dividemix,none,12.500 (1),4.5e+10 (1),1234.000 (1),99.000 (1)"


def test_runs_of_an_older_revision_are_stale(ledger, monkeypatch):
    from analysis import context

    ledger.add(1.0)
    monkeypatch.setattr(context, "current_revision", lambda group, name: 3 if name == "dividemix" else 1)
    sentence = (
        "stale revision of method=dividemix: runs of 1, and this version has 3; the same command makes them again"
    )
    assert make_table(load([ledger.root])[0], ["method"]).notes == [sentence]


def test_the_revision_is_that_of_the_configuration(tmp_path, monkeypatch):
    from analysis.context import current_revision

    shutil.copytree(hydras.CONF, tmp_path / "conf")
    shared = tmp_path / "conf" / "plugin" / "none.yaml"  # part of every other plug-in
    shared.write_text(shared.read_text().replace("revision: 1", "revision: 2"))
    with monkeypatch.context() as patch:
        patch.setattr(hydras, "CONF", tmp_path / "conf")
        compose._composed.cache_clear()
        current_revision.cache_clear()
        assert current_revision("plugin", "sfa_release") == 2
    compose._composed.cache_clear()
    current_revision.cache_clear()

    assert current_revision("method", "coteaching") == 1  # below `method:` in its file
    assert current_revision("method", "nobody_knows") == 1


def test_a_preset_about_other_data_is_refused(ledger, capsys):
    ledger.add(1.0)
    assert main([str(ledger.root), "--preset", "webvision"]) == 2
    assert capsys.readouterr().err == "refused: no run is of webvision, which this preset is about\n"


def test_what_is_typed_beside_a_preset_wins(ledger, capsys):
    ledger.add(1.0, metrics={"test/acc/final": 1.0, "test/acc/many": 2.0})
    assert main([str(ledger.root), "--preset", "groups", "--rows", "model", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "model,test/acc/final,test/acc/many"
