"""The share of a gap that is closed, against closed forms by hand and the tests of which Fieller's interval is made."""

import io
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from analysis.gap import share_closed
from analysis.table import main

FLOOR, CEILING = "method=ce,plugin=none", "method=dividemix,plugin=abc"
GAP = ("--gap", FLOOR, CEILING)


def fill(ledger, floor, row, ceiling, **other):
    """Three rows: the floor, one between, the ceiling; a list has the replicates' accuracies."""
    for keys, accuracies in (({"method": "ce"}, floor), ({"plugin": "sfa"}, row), ({"plugin": "abc"}, ceiling)):
        for replicate, accuracy in enumerate(accuracies):
            ledger.add(accuracy, replicate=replicate, **keys, **other)


def table(capsys, *arguments):
    """(rows as dicts of the Markdown table, text around it)."""
    assert main([str(argument) for argument in arguments]) == 0
    out = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    rows = [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
    return rows, "\n".join(line for line in out.splitlines() if not line.startswith("|"))


def closed(capsys, ledger, *arguments, column="test/acc/final gap closed"):
    rows, _ = table(capsys, ledger.root, *(arguments or GAP))
    return {(row["method"], row["plugin"]): row[column] for row in rows}


def refusal(capsys, ledger, *arguments):
    assert main([str(ledger.root), *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("refused: ").strip()


# ---- the numbers


def test_a_fixed_gap_of_ten_divides_the_t_interval_by_ten(ledger, capsys):
    # Mean 3, deviation 1, n 3, t quantile 4.303: 3 ± 4.303/√3 = [0.516, 5.484] of 10.
    fill(ledger, [50, 60, 55], [52, 63, 59], [60, 70, 65])
    assert list(closed(capsys, ledger).values()) == ["0 %", "100 %", "30 % [5, 55]"]


def test_two_replicates_by_hand():
    # Row − floor 4, 6; ceiling − floor 20, 22. Means 5 and 21; variances and covariance 2, of means 1; t² = 161.448.
    # 279.552 r² − 2·(−56.448) r − 136.448 ≤ 0, hence r = (−56.448 ± √(56.448² + 279.552·136.448)) / 279.552.
    found = share_closed([4, 6], [0, 0], [20, 22])
    assert found.part == pytest.approx(5 / 21)
    assert found.interval == pytest.approx((-0.9291, 0.5253), abs=1e-4)


def test_only_shared_replicates_count_and_they_are_found_by_seed(ledger, capsys):
    for replicate, accuracy in ((2, 30.0), (0, 10.0), (5, 99.0)):
        ledger.add(accuracy, method="ce", replicate=replicate)
    for replicate, accuracy in ((0, 15.0), (2, 33.0), (7, 1.0)):
        ledger.add(accuracy, plugin="sfa", replicate=replicate)
    for replicate, accuracy in ((7, 2.0), (2, 41.0), (0, 20.0)):
        ledger.add(accuracy, plugin="abc", replicate=replicate)
    rows, text = table(capsys, ledger.root, *GAP)
    # Of replicates 0 and 2: row − floor 5, 3; ceiling − floor 10, 11; 4 of 10.5.
    assert rows[2]["test/acc/final gap closed"].startswith("38 % [")
    assert rows[2]["test/acc/final gap closed"].endswith("] (2)")  # beside a mean of three
    assert "gap closed: without 3 runs that share no seed and data_seed with floor and ceiling" in text


def test_a_gap_that_is_not_established_divides_nothing(ledger, capsys):
    fill(ledger, [50, 60, 55], [52, 63, 59], [60, 59, 56])  # differences 10, −1, 1
    assert stats.ttest_1samp([10, -1, 1], 0).pvalue > 0.05
    assert set(closed(capsys, ledger).values()) == {"–"}


@pytest.mark.parametrize("values", [[50], [50, 51]])
def test_no_gap_at_all_is_a_dash_not_a_division_by_zero(ledger, capsys, values):
    fill(ledger, values, [52] * len(values), values)
    assert set(closed(capsys, ledger).values()) == {"–"}


def test_cells_without_data_are_dashes(ledger, capsys):
    fill(ledger, [50, 60], [53, 62], [70, 81], noise_ratio=0.2)
    fill(ledger, [50, 60], [53, 62], [], noise_ratio=0.5)
    fill(ledger, [50, 60], [None, None], [70, 81], noise_ratio=0.6)
    columns = ("--cols", "noise_ratio", *GAP)
    assert (
        "gap closed: without" not in table(capsys, ledger.root, *columns)[1]
    )  # where there is no ceiling, none is left out
    assert set(closed(capsys, ledger, *columns, column="noise_ratio=0.5 gap closed").values()) == {"–"}
    found = closed(capsys, ledger, *columns, column="noise_ratio=0.6 gap closed")
    assert list(found.values()) == ["0 %", "100 %", "–"]


def test_one_shared_replicate_has_a_share_without_interval_outside_of_0_to_100_too(ledger, capsys):
    fill(ledger, [50], [53.66], [60])
    ledger.add(47.5, method="mae")
    ledger.add(65, method="rolt")
    assert list(closed(capsys, ledger).values()) == ["0 %", "100 %", "37 %", "-25 %", "150 %"]


def test_nothing_is_not_less_than_nothing(ledger, capsys):
    fill(ledger, [50, 50], [49.99, 49.99], [60, 60])
    assert closed(capsys, ledger)["dividemix", "sfa"] == "0 % [0, 0]"


FLOATS = st.floats(0, 100).map(lambda number: round(number, 2))


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=2, max_size=9))
def test_the_interval_holds_the_ratios_that_the_paired_t_test_does_not_reject(triples):
    row, floor, ceiling = map(np.array, zip(*triples, strict=True))
    above, gap = row - floor, ceiling - floor
    assume(np.ptp(gap) > 0.1)

    def p(ratios):
        return stats.ttest_1samp(above - np.outer(ratios, gap), 0, axis=1).pvalue

    found, whole = share_closed(row, floor, ceiling), stats.ttest_1samp(gap, 0).pvalue
    assume(abs(whole - 0.05) > 1e-3)
    assert (found is None) == (whole > 0.05)
    if found is None or found.interval[1] - found.interval[0] < 1e-3:
        return
    low, high = found.interval
    assert found.part == pytest.approx(above.mean() / gap.mean())
    assert low <= found.part <= high
    grid = np.linspace(low - (high - low), high + (high - low), 101)  # 100 steps of three widths: no point is an end
    np.testing.assert_array_equal(p(grid) > 0.05, (grid > low) & (grid < high))
    assert p([low, high]) == pytest.approx(0.05, abs=1e-5)


def test_the_interval_covers_the_true_share_19_times_of_20():
    generator, inside, draws = np.random.default_rng(11), 0, 4000
    for _ in range(draws):
        labels = generator.normal(0, 9, 5)  # what replicates have in common
        floor, row, ceiling = (mean + labels + generator.normal(0, 2, 5) for mean in (50, 58, 70))
        low, high = share_closed(row, floor, ceiling).interval
        inside += low <= 0.4 <= high
    assert inside / draws == pytest.approx(0.95, abs=0.011)  # three standard errors


# ---- what is shown


def test_the_columns_stand_beside_their_metrics_and_the_caption_defines_them(ledger, capsys):
    fill(ledger, [50, 60], [53, 62], [70, 81], noise_ratio=0.2)
    fill(ledger, [50, 60], [53, 62], [70, 81], noise_ratio=0.5)
    rows, text = table(capsys, ledger.root, "--cols", "noise_ratio", *GAP)
    names = [f"noise_ratio={ratio}{what}" for ratio in (0.2, 0.5) for what in ("", " gap closed")]
    assert list(rows[0]) == ["method", "plugin", *names]
    assert (
        "Gap closed: 100·(row − floor)/(ceiling − floor) of means [Fieller's 95 % interval], paired over the "
        "replicates (seed, data_seed) that the three share, where floor is method=ce,plugin=none and ceiling "
        "method=dividemix,plugin=abc; – where they share none or the gap is not established (its 95 % t interval "
        "contains 0)." in text.splitlines()[0]
    )
    assert not any("*" in text or "<" in text for row in rows for name, text in row.items() if "gap" in name)


def test_every_metric_has_its_own_gap(ledger, capsys):
    for plugin, final, auc in (("none", 50, 0.5), ("sfa", 60, 0.8), ("abc", 70, 0.9)):
        ledger.add(final, plugin=plugin, metrics={"test/acc/final": final, "test/macro_f1": auc})
    arguments = ("--metric", "final,macro_f1", "--gap", "plugin=none", "plugin=abc")
    found = [closed(capsys, ledger, *arguments, column=f"test/{m} gap closed") for m in ("acc/final", "macro_f1")]
    assert [column["dividemix", "sfa"] for column in found] == ["50 %", "75 %"]


def test_keys_that_are_not_rows_become_rows(ledger, capsys):
    ledger.add(50, method="ce", method__selector__name="none")
    for selector, accuracy in (("loss_gmm", 60), ("oracle", 70)):
        ledger.add(accuracy, method__selector__name=selector)
    rows, _ = table(capsys, ledger.root, "--gap", "method=ce", "method=dividemix,method.selector.name=oracle")
    found = {row["method.selector.name"]: row["test/acc/final gap closed"] for row in rows}
    assert found == {"none": "0 %", "loss_gmm": "50 %", "oracle": "100 %"}


def test_a_ceiling_below_its_floor_is_said_where_more_is_better(ledger, capsys):
    for plugin, accuracy, seconds in (("none", 70, 9.0), ("abc", 50, 3.0)):
        ledger.add(accuracy, plugin=plugin, cost={"seconds": seconds})
    _, text = table(capsys, ledger.root, "--metric", "final,cost/seconds", "--gap", "plugin=none", "plugin=abc")
    assert text.count("the ceiling is below the floor") == 1
    assert "gap closed: the ceiling is below the floor in test/acc/final" in text


def test_published_numbers_close_no_gap(ledger, capsys):
    setting = {"dataset": "cifar10", "noise__name": "joint", "imbalance__name": "exp", "noise_ratio": 0.5}
    fill(ledger, [50], [55], [60], **setting)
    rows, _ = table(capsys, ledger.root, "--cols", "noise_ratio", "--reported", *GAP)
    assert len(rows) > 3
    assert {row["noise_ratio=0.5 gap closed"] for row in rows[3:]} == {"*–*"}


def test_the_gap_that_is_typed_wins_over_the_differences_of_a_preset(ledger, capsys):
    fill(ledger, [50], [55], [60])
    rows, _ = table(capsys, ledger.root, "--preset", "plugin_gain", *GAP)
    assert [row["test/acc/final gap closed"] for row in rows] == ["0 %", "100 %", "50 %"]


@pytest.fixture
def two(ledger):
    for ratio in (0.2, 0.5):
        fill(ledger, [50, 60, 55], [52, 63, 59], [60, 70, 65], noise_ratio=ratio)
    return ledger


def ask(capsys, ledger, format):
    assert main([str(ledger.root), "--cols", "noise_ratio", *GAP, "--format", format]) == 0
    return capsys.readouterr().out


def test_csv_reads_back_with_the_gap(two, capsys):
    frame = pd.read_csv(io.StringIO(ask(capsys, two, "csv")))
    assert list(frame["noise_ratio=0.5 gap closed"]) == ["0 %", "100 %", "30 % [5, 55]"]


def test_html_puts_metric_and_gap_under_their_column(two, capsys):
    page = ask(capsys, two, "html")
    upper, lower = (re.findall(r'<th colspan="(\d)">(.*?)</th>', row) for row in re.findall(r"<tr><th.*</tr>", page))
    assert upper == [("2", ""), ("2", "noise_ratio=0.2"), ("2", "noise_ratio=0.5")]
    assert [text for _, text in lower] == ["method", "plugin", *["test/acc/final", "gap closed"] * 2]
    assert ">30 % [5, 55]</td>" in page


def test_latex_puts_metric_and_gap_under_their_column(two, capsys):
    lines = ask(capsys, two, "latex").splitlines()
    upper = r" &  & \multicolumn{2}{c}{noise\_ratio=0.2} & \multicolumn{2}{c}{noise\_ratio=0.5} \\"
    assert lines[lines.index(r"\toprule") + 1] == upper
    assert r"method & plugin & test/acc/final & gap closed & test/acc/final & gap closed \\" in lines
    assert any(r"30 \% {[}5, 55]" in line for line in lines)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-recommended)")
def test_latex_compiles(two, capsys, tmp_path):
    packages = r"\documentclass{article}\usepackage{booktabs}\usepackage[landscape,paperwidth=80cm]{geometry}"
    (tmp_path / "t.tex").write_text(rf"{packages}\begin{{document}}{ask(capsys, two, 'latex')}\end{{document}}")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in done.stdout


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--gap", "method=ce", "method=dividemix"],
            "--gap's ceiling method=dividemix is 2 rows, which differ in plugin (abc, sfa): add plugin=VALUE to it",
        ),
        (
            ["--gap", "noise_ratio=0.2", FLOOR],
            "--gap's floor noise_ratio=0.2 is 3 rows, which differ in method (ce, dividemix), plugin (abc, none, sfa): "
            "add method=VALUE,plugin=VALUE to it",
        ),
        (
            ["--cols", "noise_ratio", "--gap", FLOOR, f"{CEILING},noise_ratio=0.2"],
            "--gap's ceiling is a row, and noise_ratio is in --cols: take it out of there or of --gap",
        ),
        (["--gap", FLOOR, "plugin=abc,sfa"], "--gap's ceiling gives plugin several values (abc, sfa): give it one"),
        (["--gap", FLOOR, "method=ce"], f"--gap's floor and ceiling are one row ({FLOOR}): name two rows"),
        (["--gap", FLOOR, "plugin=sfaa"], "no run has plugin=sfaa; there is abc, none, sfa"),
        (["--gap", "method=ce,plugin=abc", CEILING], "no run has all of method=ce plugin=abc"),
        (["--gap", "metod=ce", CEILING], "no run has a key metod; did you mean method?"),
        (["--gap", "ce", CEILING], "'ce' is not of the form KEY=VALUE[,VALUE…][,KEY=VALUE…]"),
        ([*GAP, "--versus", "plugin=none"], "--gap and --versus are two tables: ask for one of them"),
    ],
)
def test_rows_that_are_not_one_each_are_refused(ledger, capsys, arguments, sentence):
    fill(ledger, [50], [55], [60], noise_ratio=0.2)
    assert refusal(capsys, ledger, *arguments) == sentence


@pytest.mark.parametrize("other", ["row", "floor", "ceiling"])
def test_replicates_that_saw_other_labels_are_refused(ledger, capsys, other):
    for side, keys in {"floor": {"method": "ce"}, "row": {"plugin": "sfa"}, "ceiling": {"plugin": "abc"}}.items():
        ledger.add(50, labels="other" if side == other else "same", **keys)
    assert "saw different labels" in refusal(capsys, ledger, *GAP)


def test_labels_may_differ_where_floor_and_ceiling_are_other_data(ledger, capsys):
    for ratio, accuracy in ((0.5, 50), (0.2, 55), (0.0, 60)):
        ledger.add(accuracy, noise_ratio=ratio, labels=str(ratio))
    rows, _ = table(capsys, ledger.root, "--gap", "noise_ratio=0.5", "noise_ratio=0")
    assert [row["test/acc/final gap closed"] for row in rows] == ["100 %", "50 %", "0 %"]


def test_a_replicate_that_is_there_twice_is_refused(ledger, capsys):
    fill(ledger, [50], [55], [60])
    ledger.add(56, plugin="sfa", plugin__revision=2)
    assert "are the same replicate: pairs are ambiguous" in refusal(capsys, ledger, *GAP)
