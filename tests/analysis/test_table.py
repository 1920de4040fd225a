import itertools
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgers import Ledger
from scipy import stats

import sfa_bench
from analysis.paired import paired_difference
from analysis.runs import load
from analysis.table import main, make_table
from analysis.values import MISSING
from sfa_bench.errors import ConfigError

ROOT = Path(sfa_bench.__file__).parents[1]


def fill(ledger, *, plugins=("none", "sfa", "abc"), ratios=(0.2, 0.5), replicates=range(4), **other):
    generator = np.random.default_rng(5)
    for plugin, ratio, replicate in itertools.product(plugins, ratios, replicates):
        accuracy = 100 * generator.random()
        ledger.add(accuracy, plugin=plugin, noise_ratio=ratio, replicate=replicate, **other)


def table(capsys, *arguments):
    """(exit status, rows as dicts of the Markdown table, text around it)."""
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    out = re.sub(r"\*\*|</?ins>", "", out)  # marks of the best and second best: test_best.py
    lines = [line for line in out.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rows = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]] if cells else []
    return status, rows, err + "\n".join(line for line in out.splitlines() if not line.startswith("|"))


def refusal(capsys, *arguments):
    status, rows, text = table(capsys, *arguments)
    assert (status, rows) == (2, [])
    assert text.startswith("refused: ")
    assert text.count("\n") == 1
    return text.removeprefix("refused: ").strip()


# ---- the numbers


def test_cells_are_mean_and_sample_deviation_over_the_replicates(ledger, capsys):
    fill(ledger)
    frame = pd.json_normalize(ledger.read())
    expected = frame.groupby(["names.plugin", "config.noise_ratio"])["metrics.test/acc/final"].agg(
        ["mean", "std", "count"]
    )
    status, rows, _ = table(capsys, ledger.root, "--rows", "plugin", "--cols", "noise_ratio")
    assert status == 0
    found = {(row["plugin"], ratio): row[f"noise_ratio={ratio}"] for row in rows for ratio in (0.2, 0.5)}
    assert found == {key: f"{mean:.2f} ± {std:.2f} ({n:.0f})" for key, (mean, std, n) in expected.T.items()}


def test_differences_are_paired_with_the_interval_of_scipy(ledger, capsys):
    fill(ledger)
    wide = pd.json_normalize(ledger.read()).pivot_table(
        index=["config.noise_ratio", "config.seed"], columns="names.plugin", values="metrics.test/acc/final"
    )
    _, rows, text = table(capsys, ledger.root, "--rows", "plugin", "--cols", "noise_ratio", "--versus", "plugin=none")
    found = {row["plugin"]: row for row in rows}
    for plugin, ratio in itertools.product(("sfa", "abc"), (0.2, 0.5)):
        test = stats.ttest_rel(wide.loc[ratio][plugin], wide.loc[ratio]["none"])
        mean = (wide.loc[ratio][plugin] - wide.loc[ratio]["none"]).mean()
        low, high = test.confidence_interval(0.95)
        assert found[plugin][f"noise_ratio={ratio}"] == f"{mean:+.2f} [{low:+.2f}, {high:+.2f}] (4)"
    assert found["none"]["noise_ratio=0.2"].endswith("(4)")
    assert "±" in found["none"]["noise_ratio=0.2"]
    assert "paired by seed and data_seed [95 % t interval] (n pairs)" in text


ACCURACIES = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=12)


@given(ACCURACIES.filter(lambda pairs: np.ptp([a - b for a, b in pairs]) > 1e-3))
def test_the_paired_interval_is_that_of_the_paired_t_test(pairs):
    ours, base = zip(*pairs, strict=True)
    found = paired_difference(ours, base)
    expected = stats.ttest_rel(ours, base).confidence_interval(0.95)
    assert found.interval == pytest.approx((expected.low, expected.high), rel=1e-6, abs=1e-6)
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(base), abs=1e-9)
    assert found.pairs == len(pairs)


def test_equal_differences_have_an_interval_of_no_width_and_one_pair_has_none():
    assert paired_difference([3.0, 4.0], [1.0, 2.0]).interval == (2.0, 2.0)
    assert paired_difference([3.0], [1.0]).interval is None


def test_pairs_are_made_by_seed_not_by_order_and_the_rest_is_said(ledger, capsys):
    for replicate, accuracy in ((2, 30.0), (0, 10.0), (7, 99.0)):
        ledger.add(accuracy, plugin="sfa", replicate=replicate)
    for replicate, accuracy in ((0, 9.0), (2, 25.0), (5, 1.0)):
        ledger.add(accuracy, plugin="none", replicate=replicate)
    _, rows, text = table(capsys, ledger.root, "--rows", "plugin", "--versus", "plugin=none")
    low, high = stats.ttest_rel([10, 30], [9, 25]).confidence_interval(0.95)
    assert rows[1]["test/acc/final"] == f"+3.00 [{low:+.2f}, {high:+.2f}] (2/3)"
    assert "2 runs without a partner" in text


def test_a_base_of_two_keys_is_one_row_for_all(ledger, capsys):
    for replicate in (0, 1):
        ledger.add(50.0 + replicate, method="ce", replicate=replicate)
        ledger.add(60.0 + 3 * replicate, method="dividemix", plugin="sfa", replicate=replicate)
    _, rows, _ = table(capsys, ledger.root, "--versus", "method=ce,plugin=none")
    assert rows[0]["test/acc/final"] == "50.50 ± 0.71 (2)"
    assert rows[1]["test/acc/final"].startswith("+11.00 [")


def test_a_metric_without_a_value_is_a_missing_cell_and_said(ledger, capsys):
    ledger.add(10.0)
    ledger.add(None, replicate=1)
    _, rows, text = table(capsys, ledger.root, "--metric", "test/acc/final,test/acc/tail")
    assert (rows[0]["test/acc/final"], rows[0]["test/acc/tail"]) == ("10.00 (1/2)", "–")
    assert "1 of 2 runs have no value of test/acc/final" in text


def test_a_setting_that_was_not_run_is_a_missing_cell(ledger, capsys):
    ledger.add(10.0, plugin="sfa", noise_ratio=0.2)
    ledger.add(20.0, plugin="none", noise_ratio=0.5)
    _, rows, _ = table(capsys, ledger.root, "--rows", "plugin", "--cols", "noise_ratio")
    assert [row["noise_ratio=0.2"] for row in rows] == ["–", "10.00 (1)"]
    _, rows, _ = table(capsys, ledger.root, "--rows", "plugin", "--cols", "noise_ratio", "--versus", "plugin=none")
    assert [row["noise_ratio=0.2"] for row in rows] == ["–", "–"]


# ---- what is shown


def test_any_configuration_path_can_be_a_row_and_methods_without_it_show_a_dash(ledger, capsys):
    ledger.add(10.0, plugin="sfa", plugin__beta=0.9)
    ledger.add(20.0, plugin="sfa", plugin__beta=0.99)
    ledger.add(30.0, plugin="none")
    _, rows, _ = table(capsys, ledger.root, "--rows", "plugin.beta,model")
    assert [row["plugin.beta"] for row in rows] == ["0.9", "0.99", "–"]
    assert {row["model"] for row in rows} == {"convnet"}  # typed as auto


def test_numbers_sort_as_numbers(ledger, capsys):
    for ratio in (0.1, 0.02, 0.5):
        ledger.add(10.0, imb_factor=ratio)
    _, rows, _ = table(capsys, ledger.root, "--rows", "imb_factor")
    assert [row["imb_factor"] for row in rows] == ["0.02", "0.1", "0.5"]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("plugin=sfa", {("sfa", "0.2"), ("sfa", "0.5")}),
        ("plugin=sfa,abc,noise_ratio=0.20", {("sfa", "0.2"), ("abc", "0.2")}),
        ("noise_ratio=5e-1", {("none", "0.5"), ("sfa", "0.5"), ("abc", "0.5")}),
    ],
)
def test_where_keeps_the_named_runs(ledger, capsys, where, kept):
    fill(ledger)
    _, rows, _ = table(capsys, ledger.root, "--rows", "plugin,noise_ratio", "--where", where)
    assert {(row["plugin"], row["noise_ratio"]) for row in rows} == kept


def test_selection_and_cost_are_metrics_too(ledger, capsys):
    ledger.add(10.0, selection={"auc": 0.91234}, cost={"seconds": {"training": 12.5}})
    _, rows, text = table(capsys, ledger.root, "--metric", "selection/auc,cost/seconds/training")
    assert (rows[0]["selection/auc"], rows[0]["cost/seconds/training"]) == ("0.912 (1)", "12.500 (1)")
    assert "percent" not in text


def test_the_caption_says_metric_spread_labels_and_what_is_constant(ledger, capsys):
    fill(ledger, ratios=(0.2,), replicates=range(2))
    _, _, text = table(capsys, ledger.root)
    for part in (
        "test/acc/final (test accuracy, mean over the last max(1, int(0.05·E)) of E epochs), percent",
        "mean ± sample standard deviation (n runs)",
        "Labels vary between replicates (data_seed)",
        "dataset=digits imb_factor=0.1 noise_ratio=0.2 model=convnet epochs=60 lr=0.02",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ([0, 0], "The same labels in all replicates"),
        ([0], "One run a cell"),
        ([0, 1], "Labels vary between replicates"),
    ],
)
def test_the_caption_says_whether_labels_varied(ledger, capsys, seeds, sentence):
    for seed, data_seed in enumerate(seeds):
        ledger.add(10.0, seed=seed, data_seed=data_seed)
    assert sentence in table(capsys, ledger.root)[2]


def test_best_is_headed_oracle(ledger, capsys):
    ledger.add(10.0, metrics={"test/acc/best": 12.0})
    assert "oracle" in table(capsys, ledger.root, "--metric", "test/acc/best")[2]


def test_a_base_that_has_the_option_comes_before_one_that_lacks_it(ledger, capsys):
    for replicate in range(3):
        ledger.add(50.0 + replicate, plugin="none", replicate=replicate)
        ledger.add(60.0 + replicate, plugin="none", replicate=replicate, plugin__beta=0.5)
        ledger.add(65.0 + replicate, plugin="sfa", replicate=replicate, plugin__beta=0.5)
        ledger.add(57.0 + replicate, plugin="sfa", replicate=replicate, plugin__beta=0.7)  # only a base without it
    _, rows, _ = table(capsys, ledger.root, "--rows", "plugin,plugin.beta", "--versus", "plugin=none")
    cells = {(row["plugin"], row["plugin.beta"]): row["test/acc/final"] for row in rows}
    assert cells["sfa", "0.5"] == "+5.00 [+5.00, +5.00] (3)"
    assert cells["sfa", "0.7"] == "+7.00 [+7.00, +7.00] (3)"


def test_notes_tell_what_is_mixed_and_what_methods_were_told(ledger, capsys):
    ledger.add(10.0, method="ce", knows=["rate"], environment={"precision": "bf16"}, epochs=5)
    ledger.add(11.0, method__loss__transferred=True)
    ledger.add(12.0, replicate=1, method__revision=2)
    ledger.add(0.0, state="failed")
    ledger.add(0.0, state="running")
    _, rows, text = table(capsys, ledger.root)
    assert [row["test/acc/final"] for row in rows] == ["10.00 (1/2)", "11.50 ± 0.71 (2)"]
    for note in (
        "<sup>b</sup> told rate",
        "<sup>a</sup> constants transferred from balanced data, or from another data set",
        "mixed precision: bf16, fp32",
        "mixed revisions of method=dividemix: 1, 2",
        "cells differ in epochs too (5, 60)",
        "not finished and not counted: 1 failed, 1 running",
    ):
        assert f"- {note}" in text


def test_a_table_of_like_runs_has_no_notes(ledger, capsys):
    fill(ledger)
    assert "- " not in table(capsys, ledger.root, "--cols", "noise_ratio")[2].replace("\\-", "")


def test_unfinished_runs_are_those_asked_for_that_are_done_nowhere(ledger, capsys, tmp_path):
    ledger.add(10.0, method="ce")
    ledger.add(12.0, method="ce", plugin="sfa")
    ledger.add(None, method="ce", replicate=1, state="interrupted")
    ledger.add(None, method="rolt", replicate=1, state="failed")
    ledger.add(None, method="ce", replicate=2, own__option=1, state="running")
    other = Ledger(tmp_path / "other")
    other.add(None, method="ce", state="interrupted")  # the same hash as the first
    both = (ledger.root, other.root)
    assert table(capsys, *both)[2].endswith("not counted: 1 failed, 1 interrupted, 1 running")
    assert table(capsys, *both, "--where", "method=ce")[2].endswith("not counted: 1 interrupted, 1 running")
    assert "not counted" not in table(capsys, *both, "--where", "replicate=0")[2]
    assert "not counted" not in table(capsys, *both, "--where", "plugin.beta=0.99")[2]  # which they do not have


def test_a_run_that_lies_there_twice_counts_once(ledger, capsys, tmp_path):
    path = ledger.add(10.0)
    other = ledger.root / "digits" / "renamed" / path.name
    other.mkdir(parents=True)
    (other / "run.json").write_bytes((path / "run.json").read_bytes())
    assert table(capsys, ledger.root)[1][0]["test/acc/final"] == "10.00 (1)"


def test_a_bar_in_a_name_does_not_break_the_table(ledger, capsys):
    ledger.add(10.0, dataset="a|b")
    assert table(capsys, ledger.root, "--rows", "dataset.name")[1][0]["dataset.name"] == "a\\|b"


# ---- what is refused


def test_runs_that_differ_in_more_than_the_seed_are_not_averaged(ledger, capsys):
    ledger.add(10.0)
    ledger.add(11.0, replicate=1, lr=0.1)
    _, rows, text = table(capsys, ledger.root)
    assert [(row["lr"], row["test/acc/final"]) for row in rows] == [("0.02", "10.00 (1)"), ("0.1", "11.00 (1)")]
    assert "- rows are split by lr, in which runs of one cell differ" in text
    assert table(capsys, ledger.root, "--rows", "method,plugin,lr")[1] == rows
    with pytest.raises(ConfigError, match=r"runs of one cell differ in lr \(0.02, 0.1\): add lr to --rows"):
        make_table(load([ledger.root])[0], ["method"])


def test_rows_are_split_as_far_as_the_runs_differ_and_no_further(ledger, capsys):
    for ratio, epochs, plugin in itertools.product((0.2, 0.4), (5, 60), ("none", "sfa")):
        for replicate in (0, 1):
            keys = {"noise_ratio": ratio, "epochs": epochs, "plugin": plugin, "replicate": replicate}
            ledger.add(10 * replicate + epochs + 100 * (plugin == "sfa"), **keys)
    _, rows, text = table(capsys, ledger.root)
    assert list(rows[0]) == ["method", "plugin", "noise_ratio", "epochs", "test/acc/final"]
    assert len(rows) == 8
    assert "rows are split by noise_ratio, epochs, in which" in text
    assert list(table(capsys, ledger.root, "--cols", "noise_ratio")[1][0])[:3] == ["method", "plugin", "epochs"]


def test_differences_are_split_too_each_to_the_base_of_the_same_setting(ledger, capsys):
    for ratio, replicate in itertools.product((0.2, 0.4), range(3)):
        ledger.add(50.0 + replicate, noise_ratio=ratio, replicate=replicate)
        for beta, gain in ((0.9, 1), (0.99, 2)):
            accuracy = 50.0 + replicate + gain + 10 * ratio
            ledger.add(accuracy, plugin="sfa", plugin__beta=beta, noise_ratio=ratio, replicate=replicate)
    _, rows, _ = table(capsys, ledger.root, "--versus", "plugin=none")
    gains = {(row["noise_ratio"], row["plugin.beta"]): row["test/acc/final"] for row in rows if row["plugin"] == "sfa"}
    assert {key: text.split()[0] for key, text in gains.items()} == {
        ("0.2", "0.9"): "+3.00",
        ("0.2", "0.99"): "+4.00",
        ("0.4", "0.9"): "+5.00",
        ("0.4", "0.99"): "+6.00",
    }
    assert sorted(row["test/acc/final"] for row in rows if row["plugin"] == "none") == ["51.00 ± 1.00 (3)"] * 2


def test_a_name_is_given_before_the_keys_that_follow_from_it(ledger, capsys):
    fill(ledger, ratios=(0.2,))
    _, rows, text = table(capsys, ledger.root, "--rows", "method")
    assert list(rows[0])[:2] == ["method", "plugin"]
    assert "rows are split by plugin, in which" in text


def test_a_key_that_older_records_lack_does_not_part_them(ledger, capsys):
    ledger.add(10.0)
    ledger.add(11.0, replicate=1, new_key=3)
    assert table(capsys, ledger.root)[1][0]["test/acc/final"] == "10.50 ± 0.71 (2)"


def test_pairs_that_saw_other_labels_are_refused(ledger, capsys):
    ledger.add(10.0, plugin="sfa", labels="a")
    ledger.add(11.0, plugin="none", labels="b")
    assert "saw different labels" in refusal(capsys, ledger.root, "--versus", "plugin=none")


def test_labels_may_differ_where_the_comparison_is_between_data(ledger, capsys):
    ledger.add(10.0, noise_ratio=0.2, labels="a")
    ledger.add(8.0, noise_ratio=0.5, labels="b")
    _, rows, _ = table(capsys, ledger.root, "--rows", "method", "--cols", "noise_ratio", "--versus", "noise_ratio=0.2")
    assert rows[0]["noise_ratio=0.5"] == "-2.00 (1)"


def test_two_runs_of_one_replicate_make_no_pair(ledger, capsys):
    ledger.add(10.0, plugin="sfa")
    ledger.add(10.0, plugin="sfa", plugin__revision=2)
    ledger.add(11.0, plugin="none")
    assert "are the same replicate: pairs are ambiguous" in refusal(capsys, ledger.root, "--versus", "plugin=none")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--rows", "metod"], "no run has a key metod; did you mean method?"),
        (["--cols", "beta"], "no run has a key beta; did you mean plugin.beta?"),
        (["--metric", "test/acc/finl"], "no run has a metric test/acc/finl; did you mean test/acc/final?"),
        (["--metric", "test/per_class"], "test/per_class is not one number a run; a table needs one"),
        (["--where", "plugin=sfaa"], "no run has plugin=sfaa; there is sfa"),
        (["--where", "plugin"], "'plugin' is not of the form KEY=VALUE[,VALUE…][,KEY=VALUE…]"),
        (["--where", "plugin="], "'plugin=' is not of the form KEY=VALUE[,VALUE…][,KEY=VALUE…]"),
        (["--versus", "plugin=none"], "no run has plugin=none; there is sfa"),
        (["--versus", "plugin=sfa,abc"], "--versus compares with one base: KEY=VALUE[,KEY=VALUE…]"),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest_that_does(ledger, capsys, arguments, sentence):
    ledger.add(10.0, plugin="sfa")
    assert refusal(capsys, ledger.root, *arguments) == sentence


def test_conditions_that_no_run_fulfils_together_are_refused(ledger, capsys):
    ledger.add(10.0, plugin="sfa", noise_ratio=0.2)
    ledger.add(10.0, plugin="none", noise_ratio=0.5)
    sentence = refusal(capsys, ledger.root, "--where", "plugin=sfa,noise_ratio=0.5")
    assert sentence == "no run has all of plugin=sfa noise_ratio=0.5"


def test_nothing_to_show_is_a_sentence(ledger, capsys, tmp_path):
    assert refusal(capsys, tmp_path / "nowhere") == f"there is no folder {tmp_path / 'nowhere'}"
    assert "no finished run in" in refusal(capsys, tmp_path)
    path = ledger.add(0.0, state="failed")
    assert "(1 failed)" in refusal(capsys, ledger.root)
    (path / "run.json").write_text('{"schema": 1')
    assert "no finished run in" in refusal(capsys, ledger.root)


def test_the_command_prints_the_table_and_imports_no_training_code(ledger):
    ledger.add(10.0)
    command = [sys.executable, "-X", "importtime", "-m", "analysis.table", str(ledger.root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "| dividemix | none     | 10.00 (1)" in done.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "sfa_bench.store.ledger" in imported
    assert not imported & {"torch", "sfa_bench.engine", "sfa_bench.methods", "sfa_bench.data"}
    status = subprocess.run([sys.executable, "-m", "analysis.table", "nowhere"], cwd=ROOT, capture_output=True)
    assert (status.returncode, status.stdout) == (2, b"")


def test_a_rate_without_noise_and_a_factor_without_imbalance_are_none(ledger, capsys):
    ledger.add(50.0, noise__name="joint", imbalance__name="exp")
    ledger.add(60.0, noise__name="none", imbalance__name="none", noise_ratio=0.3, imb_factor=0.7)
    assert main([str(ledger.root), "--rows", "method", "--cols", "noise,noise_ratio,imb_factor"]) == 0
    out = capsys.readouterr().out
    assert "noise=joint noise_ratio=0.4 imb_factor=0.1" in out
    assert "noise=none noise_ratio=– imb_factor=–" in out


@pytest.mark.parametrize("noise", ["human", "matrix"])
def test_labels_of_people_and_of_a_matrix_have_no_rate_that_was_typed(ledger, capsys, noise):
    ledger.add(50.0, noise__name=noise, imbalance__name="exp")
    assert main([str(ledger.root), "--rows", "method"]) == 0
    assert "noise_ratio" not in capsys.readouterr().out


# ---- a key is a row or a column


def headings(rows):
    return list(rows[0])


def test_a_row_of_ones_own_is_no_column_of_the_preset(ledger, capsys):
    fill(ledger, plugins=("none", "sfa"))
    asked = (ledger.root, "--preset", "plugin_gain", "--rows", "method,plugin,noise_ratio")
    _, rows, _ = table(capsys, *asked)
    assert headings(rows) == ["method", "plugin", "noise_ratio", "test/acc/final"]
    assert MISSING not in {cell for row in rows for cell in row.values()}
    assert len(rows) == 4


def test_a_column_of_ones_own_is_no_row_of_the_preset_or_the_default(ledger, capsys):
    fill(ledger, plugins=("none", "sfa"), ratios=(0.2,))
    for preset in ([], ["--preset", "groups", "--metric", "final"]):
        _, rows, _ = table(capsys, ledger.root, *preset, "--cols", "plugin")
        assert headings(rows) == ["method", "plugin=none", "plugin=sfa"]
        assert MISSING not in rows[0].values()


def test_what_is_typed_as_both_is_shown_as_both(ledger, capsys):
    fill(ledger, plugins=("none", "sfa"), ratios=(0.2,))
    _, rows, _ = table(capsys, ledger.root, "--rows", "plugin", "--cols", "plugin")
    assert [row["plugin=none"] == MISSING for row in rows] == [False, True]
