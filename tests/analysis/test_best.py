import pytest
from scipy import stats

from analysis.best import ALONE
from analysis.runs import load
from analysis.table import main, make_table
from sfa_bench.errors import ConfigError


def fill(ledger, method, accuracies, **other):
    for replicate, accuracy in enumerate(accuracies):
        ledger.add(accuracy, method=method, replicate=replicate, **other)


def marks(ledger, rows=("method",), **other):
    """What is marked, by the first row key."""
    table = make_table(load([ledger.root])[0], list(rows), **other)
    return {table.frame.iloc[line, 0]: mark for (line, _), mark in table.marks.items()}


def test_ties_with_the_best_are_those_whose_paired_interval_contains_zero(ledger):
    columns = {"a": [80, 85, 90], "b": [79, 86, 88], "c": [78, 83, 88.1], "d": [60, 66, 70]}
    for method, accuracies in columns.items():
        fill(ledger, method, accuracies)
    expected = {"a": "best"}
    for method in "bcd":
        if stats.ttest_rel(columns["a"], columns[method]).pvalue >= 0.05:
            expected[method] = "best"
    assert expected == {"a": "best", "b": "best"}  # c is further from a than its spread of differences, though close
    assert marks(ledger) == expected | {"c": "second"}


def test_one_replicate_has_no_interval_and_ties_only_when_equal(ledger):
    for method, accuracy in {"a": 90, "b": 89.9, "c": 90, "d": 89.9}.items():
        fill(ledger, method, [accuracy])
    assert marks(ledger) == {"a": "best", "c": "best", "b": "second", "d": "second"}


@pytest.mark.parametrize("replicates", [1, 2])
def test_with_fewer_than_three_runs_the_highest_mean_alone_is_bold_and_a_note_says_why(ledger, replicates):
    """Two pairs 1 apart with a spread of 0.2 have the interval 1 ± 12.7 · 0.2/√2: it contains 0 and shows nothing."""
    for method, start in {"a": 90.0, "b": 89.0, "c": 50.0}.items():
        fill(ledger, method, [start, start + 0.2 * (method == "b")][:replicates])
    assert marks(ledger) == {"a": "best", "b": "second"}
    assert ALONE in make_table(load([ledger.root])[0], ["method"]).notes


def test_three_runs_have_an_interval_and_no_note(ledger):
    for method, accuracies in {"a": [90, 91, 95], "b": [89.9, 91.2, 94.8]}.items():
        fill(ledger, method, accuracies)
    assert marks(ledger) == {"a": "best", "b": "best"}
    assert ALONE not in make_table(load([ledger.root])[0], ["method"]).notes


def test_nothing_is_said_of_bold_where_nothing_is_bold(ledger):
    fill(ledger, "a", [90])
    assert ALONE not in make_table(load([ledger.root])[0], ["method"]).notes


def test_recipes_do_not_compete(ledger):
    fill(ledger, "a", [90], recipe="matched")
    fill(ledger, "b", [95], recipe="native")
    fill(ledger, "c", [80], recipe="matched")
    fill(ledger, "d", [85], recipe="native")
    assert marks(ledger, ("method", "recipe")) == {"a": "best", "b": "best", "c": "second", "d": "second"}


def test_rows_on_other_data_do_not_compete(ledger):
    fill(ledger, "a", [90], noise_ratio=0.2)
    fill(ledger, "b", [95], noise_ratio=0.5)
    assert marks(ledger, ("method", "noise_ratio")) == {}


def test_a_method_that_sees_clean_labels_is_out_of_competition(ledger):
    fill(ledger, "oracle", [99, 98], knows=["clean_labels"])
    fill(ledger, "a", [90, 80])
    fill(ledger, "b", [50, 41])
    assert marks(ledger) == {"a": "best", "b": "second"}


@pytest.mark.parametrize("metric", ["test/acc/best", "test/ece", "cost/steps", "selection/auc_bayes"])
def test_oracles_bounds_and_what_has_no_better_are_not_marked(ledger, metric):
    section, _, name = metric.partition("/")
    for method, figure in {"a": 2.0, "b": 1.0}.items():
        sections = {} if section == "test" else {section: {name: figure}}
        ledger.add(50.0, method=method, metrics={"test/acc/final": 50.0, metric: figure}, **sections)
    assert marks(ledger, metrics=[metric]) == {}


def test_differences_to_a_base_are_not_marked(ledger):
    fill(ledger, "a", [90, 91])
    fill(ledger, "b", [80, 82])
    assert marks(ledger, versus={"method": ["a"]}) == {}


@pytest.mark.parametrize(
    ("format", "best", "second"),
    [
        ("md", "**90.00 (1)**", "<ins>80.00 (1)</ins>"),
        ("latex", r"\textbf{90.00 (1)}", r"\underline{80.00 (1)}"),
        ("html", "<b>90.00 (1)</b>", "<u>80.00 (1)</u>"),
    ],
)
def test_marks_are_seen_in_every_format_for_readers_and_explained(ledger, capsys, format, best, second):
    for method, accuracy in {"a": 90, "b": 80, "c": 70}.items():
        fill(ledger, method, [accuracy])
    assert main([str(ledger.root), "--format", format]) == 0
    said = capsys.readouterr().out
    assert said.count(best) == said.count(second) == 1
    assert "paired 95" in said
    assert main([str(ledger.root), "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["a,none,90.00 (1)", "b,none,80.00 (1)", "c,none,70.00 (1)"]


def test_a_replicate_twice_in_a_cell_has_no_pairs_and_the_table_is_shown(ledger):
    fill(ledger, "a", [90, 91])
    fill(ledger, "a", [90, 92], precision="bf16")
    fill(ledger, "b", [89, 93])
    assert marks(ledger) == {"a": "second", "b": "best"}


MATCHED = {"recipe__name": "matched"}


def test_what_changes_a_recipe_does_not_compete_with_it_and_says_so(ledger):
    fill(ledger, "a", [90] * 3, **MATCHED)
    fill(ledger, "b", [90] * 3, **MATCHED)
    fill(ledger, "c", [91] * 3, **MATCHED, recipe__ema=0.99, recipe__clip=None, recipe__optimizer="adamw")
    assert marks(ledger) == {"a": "best", "b": "best"}  # their records were made before there were such keys
    (note,) = make_table(load([ledger.root])[0], ["method"]).row_notes
    assert note == ("another recipe: recipe.optimizer=adamw recipe.ema=0.99", frozenset({2}))


def test_runs_of_a_changed_recipe_are_in_no_cell_with_others(ledger):
    fill(ledger, "a", [90], **MATCHED)
    ledger.add(91, method="a", replicate=1, **MATCHED, recipe__schedule="cosine")
    with pytest.raises(ConfigError, match=r"differ in recipe.schedule \(cosine, .\): add recipe.schedule to"):
        make_table(load([ledger.root])[0], ["method"])


def test_an_originals_own_schedule_is_no_change(ledger):
    fill(ledger, "a", [90], **MATCHED)
    ledger.add(
        91, method="a", replicate=1, **MATCHED, recipe__schedule=None, recipe__optimizer=None, recipe__lr_warmup=0
    )
    assert not make_table(load([ledger.root])[0], ["method"]).row_notes
