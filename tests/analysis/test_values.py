"""Values that differ are never one: as keys, as text, as what a user types, in tables, claims, figures and pages."""

import base64
import gzip
import io
import itertools
import json
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import claim, plot, table
from analysis.export import tidy
from analysis.figures.series import Options, apart
from analysis.figures.settings import sensitivity
from analysis.page.read import read as read_ledger
from analysis.report import make_page
from analysis.runs import load, parse_pairs, select
from analysis.table import make_table
from analysis.values import NO_VALUE, Listed, meant, read, show, valued
from sfa_bench.errors import ConfigError

LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False)),
    *(st.text(max_size=12), st.sampled_from(["1", "1.0", "true", "null", "–", "", " a", '"1"', "1_0", "nan", "a,b=c"])),
)
CLOSE = (0.9999999, 0.99999999)


@given(LEAVES)
def test_what_is_shown_reads_back_to_the_value(leaf):
    assert read(show(leaf)) == valued(leaf)


@given(LEAVES, LEAVES)
def test_two_values_are_shown_alike_only_where_they_are_one(one, other):
    numbers = all(isinstance(leaf, (int, float)) and not isinstance(leaf, bool) for leaf in (one, other))
    same = one == other and (numbers or type(one) is type(other))
    assert (valued(one) == valued(other)) == same
    if not same:
        assert show(one) != show(other)


@pytest.mark.parametrize(
    ("leaf", "text"),
    [
        *((0.9999999, "0.9999999"), (0.99999999, "0.99999999"), (0.1, "0.1"), (0.1 + 0.2, "0.30000000000000004")),
        *(
            (200.0, "200"),
            (200, "200"),
            (1e-05, "1e-05"),
            (1234567.0, "1234567"),
            (-0.0, "0"),
            (2**62 + 1, str(2**62 + 1)),
        ),
        *((True, "true"), (None, "null"), ("true", '"true"'), ("1.10", '"1.10"'), ("sfa", "sfa"), ("", '""')),
    ],
)
def test_the_text_of_a_value_is_the_shortest_that_reads_back(leaf, text):
    assert show(leaf) == text


def test_what_a_user_types_is_one_value():
    there = [valued(leaf) for leaf in (0.3, 1, True, "1", "1.10", 2**62, 2**62 + 1)]
    for typed in ("0.3", "0.30", "3e-1"):
        assert meant(there, typed) == valued(0.3)
    assert meant(there, "1") == meant(there, "1.0") == valued(1)
    assert meant(there, '"1"') == valued("1")
    assert meant(there, "true") == valued(True)
    assert meant(there, "1.10") == valued("1.10")  # nothing else is meant by it
    assert meant(there, str(2**62 + 1)) == valued(2**62 + 1)  # a float would be 2**62
    assert meant(there, "0.3000001") is None
    assert meant([NO_VALUE], "–") is None


@pytest.mark.parametrize("leaf", ["a,b", "[1, 2]", '["a"]', "a=b", '"', "[", "x,[", "  ", "[[[", "1,2", 'say "a,b"'])
def test_every_text_can_be_typed_as_it_is_shown(leaf):
    for value in (valued(leaf), valued(Listed(json.dumps([leaf, 1])))):
        assert [read(text) for text in parse_pairs(f"k={value},2")["k"]] == [value, valued(2)]


def test_a_list_is_no_text_and_is_typed_as_it_is_shown(ledger, capsys):
    for accuracy, leaf in ((10.0, [1, "a"]), (20.0, '[1, "a"]'), (30.0, "1")):
        ledger.add(accuracy, plugin__odd=leaf)
    found = {row["plugin.odd"]: row["test/acc/final"] for row in cells(capsys, ledger.root, "--rows", "plugin.odd")}
    assert found == {'"1"': "30.00 (1)", '"[1, \\"a\\"]"': "20.00 (1)", '[1, "a"]': "10.00 (1)"}
    for text, accuracy in found.items():
        [row] = cells(capsys, ledger.root, "--where", f"plugin.odd={text}")
        assert row["test/acc/final"] == accuracy


def test_pairs_keep_commas_and_signs_between_quotes():
    assert parse_pairs('a=1,2,b="x,y=z",c="",d=u=v') == {"a": ["1", "2"], "b": ['"x,y=z"'], "c": ['""'], "d": ["u=v"]}
    for text in ("", "a", "a=", "=1", "a=1,,b=2", "a=1,", ",a=1", '"x"'):
        with pytest.raises(ConfigError, match="KEY=VALUE"):
            parse_pairs(text)


# ---- tables


@pytest.fixture
def close(ledger):
    """Runs at two values that seven digits tell apart, and a base."""
    for beta, replicate in itertools.product(CLOSE, range(2)):
        ledger.add(10.0 if beta == CLOSE[0] else 20.0, method__class_beta=beta, replicate=replicate)
    return ledger


def cells(capsys, *arguments):
    assert table.main([*map(str, arguments), "--format", "csv"]) == 0
    return pd.read_csv(io.StringIO(capsys.readouterr().out), dtype=str, keep_default_na=False).to_dict("records")


def test_columns_of_values_that_are_close_are_two(close, capsys):
    [row] = cells(capsys, close.root, "--cols", "method.class_beta")
    assert row["method.class_beta=0.9999999"] == "10.00 ± 0.00 (2)"
    assert row["method.class_beta=0.99999999"] == "20.00 ± 0.00 (2)"
    rows = cells(capsys, close.root, "--rows", "method.class_beta")
    assert [row["method.class_beta"] for row in rows] == ["0.9999999", "0.99999999"]


def test_a_filter_and_a_base_mean_one_of_two_close_values(close, capsys):
    [row] = cells(capsys, close.root, "--where", "method.class_beta=0.9999999")
    assert row["test/acc/final"] == "10.00 ± 0.00 (2)"
    rows = cells(capsys, close.root, "--rows", "method.class_beta", "--versus", "method.class_beta=0.99999999")
    assert [row["test/acc/final"] for row in rows] == ["-10.00 [-10.00, -10.00] (2)", "20.00 ± 0.00 (2)"]
    assert table.main([str(close.root), "--where", "method.class_beta=1"]) == 2
    assert "there is 0.9999999, 0.99999999" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["0.3", "0.30", "3e-1", ".3"])
def test_all_spellings_of_a_number_select_it(ledger, typed):
    for ratio in (0.3, 0.30000000000000004):
        ledger.add(1.0, noise_ratio=ratio)
    assert [run.fields["noise_ratio"] for run in select(load([ledger.root])[0], {"noise_ratio": [typed]})] == [0.3]


def test_a_number_a_truth_value_and_a_text_are_three_rows(ledger, capsys):
    for accuracy, leaf in ((10.0, 1), (20.0, True), (30.0, "1"), (40.0, "true"), (50.0, None), (60.0, "null")):
        ledger.add(accuracy, plugin__odd=leaf)
    ledger.add(70.0, plugin__odd="–")
    ledger.add(80.0)
    rows = cells(capsys, ledger.root, "--rows", "plugin.odd")
    assert {row["plugin.odd"]: row["test/acc/final"].split()[0] for row in rows} == {
        "1": "10.00",
        "true": "20.00",
        '"1"': "30.00",
        '"true"': "40.00",
        "null": "50.00",
        '"null"': "60.00",
        '"–"': "70.00",
        "–": "80.00",
    }
    for typed, mean in (("1", "10.00"), ('"1"', "30.00"), ("true", "20.00"), ('"true"', "40.00")):
        [row] = cells(capsys, ledger.root, "--where", f"plugin.odd={typed}")
        assert row["test/acc/final"] == f"{mean} (1)"


def test_one_and_one_point_zero_are_one_row(ledger, capsys):
    ledger.add(10.0, plugin__odd=1)
    ledger.add(20.0, plugin__odd=1.0, replicate=1)
    [row] = cells(capsys, ledger.root, "--rows", "plugin.odd")
    assert (row["plugin.odd"], row["test/acc/final"]) == ("1", "15.00 ± 7.07 (2)")


def test_runs_that_differ_only_in_true_and_one_are_not_one_cell(ledger):
    ledger.add(10.0, plugin__odd=1)
    ledger.add(20.0, plugin__odd=True, replicate=1)
    with pytest.raises(ConfigError, match=r"differ in plugin.odd \(1, true\)"):
        make_table(load([ledger.root])[0], ["method"])


def test_seeds_beyond_the_reach_of_a_float_are_their_own_replicates(ledger, capsys):
    for accuracy, seed in ((1.0, 2**62), (2.0, 2**62 + 1)):
        ledger.add(accuracy, replicate=seed)
    ledger.add(3.0, seed=7, data_seed=7)  # a missing replicate makes pandas take the column for floats
    [row] = cells(capsys, ledger.root, "--where", f"seed={2**62 + 1}")
    assert row["test/acc/final"] == "2.00 (1)"
    frame = tidy(load([ledger.root])[0])
    assert {2**62, 2**62 + 1} <= set(frame["seed"])


def test_columns_that_would_be_headed_alike_are_refused(ledger):
    for accuracy, one, other in ((1.0, "x b=y", "z"), (2.0, "x", "y b=z")):
        ledger.add(accuracy, a=one, b=other)
    with pytest.raises(ConfigError, match="two columns would be headed"):
        make_table(load([ledger.root])[0], ["method"], ["a", "b"])


def test_a_key_or_metric_that_is_asked_for_twice_is_shown_once(close, capsys):
    asked = ("--rows", "method,method", "--cols", "method.class_beta,method.class_beta", "--metric", "final,final")
    [row] = cells(capsys, close.root, *asked)
    assert list(row) == ["method", "method.class_beta=0.9999999", "method.class_beta=0.99999999"]


# ---- claims, figures, the page


def test_a_claim_compares_two_close_values(close, capsys):
    text = "method.class_beta=0.99999999 > method.class_beta=0.9999999"
    assert claim.main([str(close.root), text]) == 0
    assert "+10.00 points" in capsys.readouterr().out


def test_a_figure_sets_close_values_apart_and_names_each(close):
    options = Options(over="method.class_beta")
    frame = sensitivity(load([close.root])[0], options)
    assert dict(zip(frame["setting"], frame["mean"], strict=True)) == {CLOSE[0]: 10.0, CLOSE[1]: 20.0}
    figure = plot.KINDS["sensitivity"].draw(frame, options)
    [axes] = figure.axes
    ticks = {label.get_text(): place for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)}
    assert ticks == {"0.9999999": CLOSE[0], "0.99999999": CLOSE[1]}


def test_a_figure_over_true_and_one_has_both(ledger):
    for accuracy, leaf in ((10.0, 1), (20.0, True)):
        ledger.add(accuracy, plugin__odd=leaf)
    frame = sensitivity(load([ledger.root])[0], Options(over="plugin.odd"))
    assert [(valued(s), m) for s, m in zip(frame["setting"], frame["mean"], strict=True)] == [
        (valued(1), 10.0),
        (valued(True), 20.0),
    ]


def test_numbers_are_apart_by_a_share_of_their_axis():
    assert apart([0.0, 1.0, 50.0], 0.02)
    assert not apart([0.0, 0.9, 50.0], 0.02)
    assert apart([1.0, 10.0, 10000.0], 0.25)  # on a logarithmic axis
    assert apart([5.0], 0.02)


def test_numbers_too_close_for_an_axis_stand_side_by_side(ledger):
    for accuracy, beta in enumerate((*CLOSE, 0.5)):
        ledger.add(accuracy, method__class_beta=beta)
    frame = sensitivity(load([ledger.root])[0], Options(over="method.class_beta"))
    [axes] = plot.KINDS["sensitivity"].draw(frame, Options(over="method.class_beta")).axes
    ticks = {label.get_text(): place for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)}
    assert ticks == {"0.5": 0, "0.9999999": 1, "0.99999999": 2}


def test_the_page_keeps_values_apart(ledger):
    odd = (0.9999999, 0.99999999, 1, True, "1", None, 2**62, 2**62 + 1)
    for leaf in odd:
        ledger.add(10.0, plugin__odd=leaf)
    content = make_page(read_ledger([ledger.root])).decode()
    index = json.loads(re.search(r'id="index">(.*?)</script>', content)[1])
    extra = index["board"]["numbers"]["extra"]
    assert sorted(extra.get("each") or extra["of"]) == sorted(f"plugin.odd={show(leaf)}" for leaf in odd)
    blob = re.search(r'id="details-0">(.*?)</script>', content)[1]
    # As a browser reads them: all numbers are floats.
    details = json.loads(gzip.decompress(base64.b64decode(blob)), parse_int=float)
    column = details["config"]["plugin.odd"]
    assert len({repr(leaf) for leaf in column.get("each") or column["of"]}) == len(odd)
