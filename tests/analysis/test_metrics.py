"""Metrics by name: the ones there are, the old names, the units, and what is said of one that nobody has."""

from pathlib import Path

import pandas as pd
import pytest

from analysis import claim, plot, table
from analysis.export import tidy
from analysis.metrics import current, exists, is_percent, nearest_metric
from analysis.runs import load

RESULTS = Path(__file__).parents[2] / "results"
NOT_NUMBERS = ("test/per_class/", "selection/counts/", "cost/shared/run", "cost/estimate/run", "cost/base")


def refused(capsys, tool, *arguments):
    assert tool([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("refused: ").strip()


@pytest.mark.parametrize("file", sorted(RESULTS.glob("*/runs.csv")), ids=lambda path: path.parent.name)
def test_every_number_that_finished_runs_report_is_a_known_metric(file):
    reported = [
        name for name in pd.read_csv(file, nrows=0) if name.startswith(("test/", "selection/", "cost/", "val/"))
    ]
    assert len(reported) > 50
    assert [name for name in reported if not exists(name) and not name.startswith(NOT_NUMBERS)] == []


def test_the_help_lists_every_metric(capsys):
    with pytest.raises(SystemExit):
        table.main(["--help"])
    words = capsys.readouterr().out.split()
    for name in ("test/acc/final", "test/acc/at_best_val", "val/acc", "selection/auc/few", "cost/seconds/warm-up"):
        assert name in words


# ---- the old name


def test_old_records_are_read_under_both_names(ledger, capsys):
    ledger.add(50.0, metrics={"test/acc/final": 50.0, "test/acc/val": 40.0, "test_imagenet/acc/val": 30.0})
    ledger.add(50.0, replicate=1, metrics={"test/acc/final": 50.0, "test/acc/at_best_val": 42.0})
    for name in ("test/acc/at_best_val", "at_best_val", "test/acc/val"):
        assert table.main([str(ledger.root), "--metric", name, "--format", "csv"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "method,plugin,test/acc/at_best_val",
            "dividemix,none,41.00 ± 1.41 (2)",
        ]
    frame = tidy(load([ledger.root])[0])
    assert sorted(frame["test/acc/at_best_val"]) == [40.0, 42.0]
    assert "test/acc/val" not in frame
    assert frame["test_imagenet/acc/at_best_val"].dropna().tolist() == [30.0]


def test_only_the_test_accuracy_had_another_name():
    assert current("test/acc/val") == "test/acc/at_best_val"
    for name in ("val/acc", "val", "selection/acc/val", "test/acc/final", "test/val"):
        assert current(name) == name


def test_validation_accuracy_is_a_column_in_percent(ledger, capsys):
    for replicate, accuracy in enumerate((61.234, 63.0)):
        metrics = {"test/acc/final": 50.0, "val/acc": accuracy, "val/acc/best": 70.0, "val/epoch": 7}
        ledger.add(50.0, replicate=replicate, metrics=metrics)
    assert table.main([str(ledger.root), "--metric", "val/acc,val/epoch"]) == 0
    out = capsys.readouterr().out
    assert "62.12 ± 1.25 (2)" in out
    assert "7.000 ± 0.000 (2)" in out
    assert "val/acc (accuracy on the validation set, mean over the same epochs as test/acc/final)" in out
    percent = ("val/acc", "val/acc/best", "val/acc/few", "val/macro_f1")
    assert [name for name in (*percent, "val/epoch", "selection/auc") if is_percent(name)] == list(percent)


# ---- what nobody has


@pytest.mark.parametrize(
    ("typed", "near"),
    [
        *(("accuracy", "test/acc/final"), ("Accuracy", "test/acc/final"), ("acc", "test/acc/final")),
        *(("test/acc/finl", "test/acc/final"), ("test_acc_few", "test/acc/few"), ("TAIL", "test/acc/tail")),
        *(("selection/acu", "selection/auc"), ("test/acc/final/x", "test/acc/final"), ("zzz", None)),
    ],
)
def test_the_nearest_metric(typed, near):
    names = ("selection/auc", "selection/precision", "test/acc/few", "test/acc/final", "test/acc/last", "test/acc/tail")
    assert nearest_metric(typed, names) == near


def test_a_name_of_no_metric_is_refused_everywhere_with_the_nearest_and_the_list(ledger, capsys):
    ledger.add(50.0)
    ledger.add(60.0, plugin="sfa")
    sentence = (
        "no run has a metric accuracy; did you mean test/acc/final? (python -m analysis.table --help lists the metrics)"
    )
    for tool, arguments in (
        (table.main, [ledger.root, "--metric", "accuracy"]),
        (table.main, [ledger.root, "--metric", "final,accuracy"]),
        (claim.main, [ledger.root, "plugin=sfa > plugin=none", "--metric", "accuracy"]),
        (plot.main, ["gain", ledger.root, "--metric", "accuracy"]),
        (plot.main, ["cost", ledger.root, "--metric", "accuracy"]),
        (plot.main, ["relation", ledger.root, "--x", "accuracy"]),
        (plot.main, ["sensitivity", ledger.root, "--over", "plugin", "--metric", "accuracy"]),
    ):
        assert refused(capsys, tool, *arguments) == sentence


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("top5", "test/top5: it exists, but these runs do not report it, it is reported for more than 10 classes"),
        ("val/acc", "val/acc: it exists, but these runs do not report it, they have no validation set (dataset.val)"),
        ("test_imagenet/acc/final", "it exists, but these runs do not report it, it is of WebVision's second test set"),
        ("auc", "selection/auc: it exists, but these runs do not report it, they select no samples"),
        ("steps", "cost/steps: it exists, but these runs do not report it"),
    ],
)
def test_a_metric_that_exists_and_that_no_run_has_is_said_to_exist(ledger, capsys, typed, why):
    ledger.add(50.0)
    assert refused(capsys, table.main, ledger.root, "--metric", typed).endswith(why)


@pytest.mark.parametrize("option", ["--rows", "--cols", "--where", "--versus"])
def test_a_key_that_exists_and_one_that_does_not_are_told_apart(ledger, capsys, option):
    ledger.add(50.0)
    value = "=1" if option in ("--where", "--versus") else ""
    there = refused(capsys, table.main, ledger.root, option, f"plugin.phi{value}")
    assert there == "no run has a key plugin.phi: it exists, but the choices of these runs do not have it"
    for key, rest in (("metod", "; did you mean method?"), ("qqq", " (python run.py --help lists the keys)")):
        assert refused(capsys, table.main, ledger.root, option, f"{key}{value}") == f"no run has a key {key}{rest}"
