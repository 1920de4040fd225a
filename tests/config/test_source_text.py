"""A text stays what was typed, also where it looks like a number; a range has the decimals that were typed."""

import re
import shlex
from decimal import Decimal

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, RangeSweep
from hydra.errors import HydraException
from hypothesis import given, settings
from hypothesis import strategies as st

from sfa_bench.config.canonical import run_hash
from sfa_bench.config.compose import compose
from sfa_bench.config.overrides import MOST_RUNS, as_axes, split_sweep
from sfa_bench.config.source_text import TypedFloat, bare, parse, values
from sfa_bench.config.sweep_files import jobs
from sfa_bench.errors import ConfigError
from sfa_bench.store.record import command

NUMBERS = ["2026_11_28", "1.10", "1e3", "007", "0x10", "1:30", "-0", "+5", "nan", "inf", "1.", ".5", "1_0.5", "5"]
ARRAYS = ["dataset=arrays", "dataset.name=mine"]


def at(config, path):
    for part in path.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("key", ["runs_dir", "data_dir", "dataset.cache_dir"])
def test_a_text_that_looks_like_a_number_is_kept_typed_in_quotes_in_a_sweep_and_as_hydra_gets_it(key, text):
    folder = ["dataset=folder", "dataset.name=mine"]
    for word in (f"{key}={text}", f"{key}='{text}'"):
        assert at(compose([*folder, word]), key) == text
        for job in split_sweep([*folder, word]):
            assert at(compose(job), key) == text
        (handed,) = [w for w in as_axes([*folder, word]) if w.startswith(key)]
        assert at(compose(split_sweep([*folder, handed])[0]), key) == text
    found = split_sweep([*folder, f"{key}={text},a"])
    assert [at(compose(job), key) for job in found] == [text, "a"]
    again = shlex.split(command(found[0]))[2:]
    assert at(compose(again), key) == text


def test_names_that_are_equal_numbers_are_other_data():
    named = [compose(["dataset=arrays", f"dataset.name={name}"]) for name in ("1.10", "1.1", "1_1", "11")]
    assert [config.dataset.name for config in named] == ["1.10", "1.1", "1_1", "11"]
    assert len({run_hash(config) for config in named}) == 4
    assert run_hash(named[0]) == run_hash(compose(["dataset=arrays", "dataset.name='1.10'"]))


def test_hydras_functions_keep_texts_too():
    (one, two) = split_sweep(["data_dir=choice(1_0,'true')"])
    assert [compose(one).data_dir, compose(two).data_dir] == ["1_0", "true"]
    found = [compose(job).data_dir for job in split_sweep(["data_dir=sort(1.10,1.09)"])]
    assert found == ["1.09", "1.10"]
    assert [compose(job).data_dir for job in split_sweep(["data_dir=range(8,10)"])] == ["8", "9"]
    assert compose(split_sweep(["data_dir=choice('é','a b')"])[0]).data_dir == "é"


@pytest.mark.parametrize("word", ["true", "False", "null"])
def test_what_is_no_text_says_how_to_type_one(word):
    with pytest.raises(ConfigError, match="must be a text; for a text of these letters put it in quotes"):
        compose([f"runs_dir={word}"])
    assert compose([f"runs_dir='{word}'"]).runs_dir == word


@pytest.mark.parametrize("value", ["", "''", "'  '"])
def test_an_empty_text_is_refused(value):
    with pytest.raises(ConfigError, match=r"runs_dir=.*is empty"):
        compose([f"runs_dir={value}"])


def test_null_of_a_groups_option_survives_a_sweep():
    (job,) = split_sweep(as_axes(["method=ce", "noise.assumed_rate=null"]))
    assert job == ["method=ce", "noise.assumed_rate=null"]


def test_numbers_are_the_same_run_however_they_are_typed():
    for texts in (
        ("noise_ratio=0.1", "noise_ratio=0.10", "noise_ratio=1e-1"),
        ("epochs=60", "epochs=6_0", "epochs=6e1"),
    ):
        assert len({run_hash(compose([text])) for text in texts}) == 1
        assert {type(compose([text]).noise_ratio) for text in texts} == {float}


def test_a_choice_of_a_users_own_may_be_called_by_a_number(tmp_path):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "2026.yaml").write_text("# @package _global_\nlr: 0.5\n")
    (job,) = split_sweep(["+preset=2026"], tmp_path)
    assert compose(job, tmp_path).lr == 0.5


@pytest.mark.parametrize(
    "text",
    ["name: 1.10", "name: 007", "name: 2026_11_28"],
)
def test_a_number_where_a_users_yaml_means_a_text_is_refused(tmp_path, text):
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text(f"source: arrays\n{text}\n")
    with pytest.raises(ConfigError, match=r"dataset\.name=.*: must be a text; put it in quotes in its file"):
        compose(["dataset=mine"], tmp_path)
    (tmp_path / "dataset" / "quoted.yaml").write_text("source: arrays\nname: '1.10'\n")
    assert compose(["dataset=quoted"], tmp_path).dataset.name == "1.10"


@pytest.fixture
def sweep_file(tmp_path):
    def names(text):
        (tmp_path / "sweep").mkdir(exist_ok=True)
        (tmp_path / "sweep" / "mine.yaml").write_text(text)
        found = jobs(["+sweep=mine"], tmp_path)
        return [compose([one.text for one in job], tmp_path).dataset.name for job in found]

    return names


def test_a_sweep_files_texts_are_kept(sweep_file):
    block = "blocks: [{dataset: arrays, dataset.name: [1.10, 007, '1.1', 2026-11-28, 1_0, 'true', 0x10]}]"
    assert sweep_file(block) == ["1.10", "007", "1.1", "2026-11-28", "1_0", "true", "0x10"]
    with pytest.raises(ConfigError, match=r"dataset\.name: True: .*put it in quotes"):
        sweep_file("blocks: [{dataset: arrays, dataset.name: yes}]")
    assert sweep_file("blocks: [{replicate: 0x10, epochs: 1_0, lr: 1.50}]") == ["digits"]


# ---- Hydra's own parser

WORDS = [
    *(f"k={number}" for number in NUMBERS),
    *("k=", "k=''", "k='a\\'b'", "k=a b", "k= 1 ", "k=a\\,b", "k=${x:1,[2]}", "k=null", "k=True", "k=1:2", "k=1e400"),
    *("k=[1.10,[2],{a:0x1}]", "k={1:2,3.0:4}", "k={}", "k=1,2.0,'3'", "k=[]", "k=[1,]", "k=(", "k={a}", "k=]"),
    *("+k=1", "++a.b=1", "~k", "~k=1", "a/b=1", "a/b@c.d=1", "k@:x=1", "=1", "k", "k==1", "a.0=1", "$k=1"),
    *("k=choice(1,a,1.50)", "k=range(1,2.5,0.25)", "k=sort(3,1.0,2,reverse=true)", "k=glob(*)", "k=range(a)"),
    *("k=tag(a,interval(0,1))", "k=int(3.9)", "k=float([1,2])", "k=bool(yes)", "k=nothing(1)", "k=choice(range(1,2))"),
]


def parsed_by(parse, text):
    try:
        found = parse(text)
    except HydraException as error:
        return str(error)
    return (*(getattr(found, name) for name in ("type", "key_or_group", "value_type", "package")), show(found.value()))


def show(value):
    if isinstance(value, RangeSweep):
        return f"range from {bare(value.start)!r} to {bare(value.stop)!r} by {bare(value.step)!r}"
    return f"{type(value).__name__} of {bare(value.list)!r}" if isinstance(value, ChoiceSweep) else repr(bare(value))


@settings(deadline=None, max_examples=300)
@given(st.text("ab01.,:[]{}()=+~'\\ $_-e@/", max_size=12).map("k={}".format))
def test_every_text_is_read_as_hydras_own_parser_reads_it(text):
    """Only its generated lexer and parser let numbers keep their texts, so they are used as OverridesParser does."""
    assert parsed_by(parse, text) == parsed_by(OverridesParser.create().parse_override, text)


@pytest.mark.parametrize("text", WORDS)
def test_each_form_of_the_grammar_is_read_as_hydras_own_parser_reads_it(text):
    assert parsed_by(parse, text) == parsed_by(OverridesParser.create().parse_override, text)


def test_more_digits_than_python_reads_stay_a_text_where_hydra_fails():
    digits = "7" * 5000
    assert parse(f"k={digits}").value() == digits
    with pytest.raises(ValueError, match="Exceeds the limit"):
        OverridesParser.create().parse_override(f"k={digits}")


# ---- ranges

RANGES = [
    ("range(0.1,0.6,0.1)", [0.1, 0.2, 0.3, 0.4, 0.5]),
    ("range(0,0.9,0.1)", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]),
    ("range(0.5,0.2,-0.1)", [0.5, 0.4, 0.3]),
    ("sort(range(0.5,0.2,-0.1))", [0.3, 0.4, 0.5]),
    ("sort(range(0.1,0.4,0.1),reverse=true)", [0.3, 0.2, 0.1]),
    ("tag(mine,range(0.1,0.31,0.1))", [0.1, 0.2, 0.3]),
    ("range(start=0.1,stop=0.3,step=1e-1)", [0.1, 0.2]),
    ("range(0,0.00000000004,0.00000000001)", [0.0, 1e-11, 2e-11, 3e-11]),
    ("sort(range(0.1,0.5,0.3),reverse=true)", [0.4, 0.1]),
    ("sort(range(0.9,0,-0.4))", [0.1, 0.5, 0.9]),
    ("float(range(0,1))", [0.0]),
]


@pytest.mark.parametrize(("text", "expected"), RANGES)
def test_a_range_has_the_decimals_that_one_means(text, expected):
    found = [compose(job).noise_ratio for job in split_sweep([f"noise_ratio={text}"])]
    assert found == expected


def test_whole_ranges_are_pythons():
    for ends in [(3,), (2, 7), (0, 10, 3), (5, 0, -2), (10**30, 10**30 + 3)]:
        found = list(values(parse(f"x=range({','.join(map(str, ends))})").value()))
        assert found == list(range(*ends))
        assert {type(one) for one in found} == {int}


@settings(deadline=None, max_examples=200)
@given(st.integers(-30, 30), st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_every_value_of_a_range_is_the_nearest_number_to_its_decimal(first, count, step, places):
    unit = Decimal(1).scaleb(-places)
    start, stop = first * unit, (first + count * step) * unit
    found = list(values(parse(f"x=range({start:f},{stop:f},{step * unit:f})").value()))
    assert found == [float(start + i * step * unit) for i in range(count)]
    assert found == pytest.approx(list(np.arange(count) * step * 10.0**-places + float(start)))


def test_a_shuffled_range_has_the_same_values():
    found = [compose(job).noise_ratio for job in split_sweep(["noise_ratio=shuffle(range(0.1,0.6,0.1))"])]
    assert sorted(found) == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_range_in_a_sweep_file_and_in_two_sweeps_is_the_same_runs(tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text('blocks: [{noise_ratio: "range(0.1,0.6,0.1)"}]')
    of_file = [compose([one.text for one in job]) for job in jobs(["+sweep=mine"], tmp_path)]
    listed = [compose([f"noise_ratio={k / 10}"]) for k in range(1, 6)]
    assert [run_hash(one) for one in of_file] == [run_hash(one) for one in listed]


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        (["seed=range(0,0)"], "there is no value in this range, which excludes its end; range(0,1) is 0"),
        (["seed=range(0,5,-1)"], "there is no value in this range"),
        (["lr=range(0,1,0)"], "a step of 0"),
        (["lr=range(0,1,1e-400)"], "a step of 0"),
        (["lr=range(0,inf)"], "a range has a finite start"),
        (["seed=range(0,1e9)"], "a sweep of 1,000,000,000 combinations: at most 2,000,000"),
        (["lr=range(0,1e300,1e-300)"], "more than 10"),
        (["seed=range(0,2000)", "data_seed=range(0,2000)"], "4,000,000 combinations"),
        (["lr=range(a,b)"], "start: str is incompatible"),
        (["lr=interval(0,1)"], "or use range"),
    ],
)
def test_a_range_without_a_value_or_an_end_is_refused_before_it_is_listed(typed, sentence, monkeypatch):
    monkeypatch.setattr("sfa_bench.config.overrides.values", None)  # which lists them
    for read in (split_sweep, lambda words: next(jobs(words, None))):
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            read(typed)


def test_a_sweep_of_two_million_combinations_is_the_largest(tmp_path, monkeypatch):
    half = [f"seed=range(0,{MOST_RUNS // 2000})", "data_seed=range(0,2000)"]
    assert next(jobs(half, None))[0].value == 0
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text("blocks: [{lr: [0.1, 0.2]}, {lr: 0.3}]")
    monkeypatch.setattr("sfa_bench.config.overrides.values", None)
    with pytest.raises(ConfigError, match="3,000,000 combinations"):
        next(jobs(["+sweep=mine", "seed=range(0,1_000_000)"], tmp_path))


def test_numbers_lose_their_text_in_pythons_own_types():
    found = bare([TypedFloat(0.1, "0.10"), parse("x={a: 1_0}").value()])
    assert found == [0.1, {"a": 10}]
    assert [type(found[0]), type(found[1]["a"])] == [float, int]


@settings(deadline=None, max_examples=300)
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-4, 4).filter(bool), st.integers(0, 2), st.booleans())
def test_sorting_a_range_changes_the_order_of_its_values_alone(start, stop, step, places, reverse):
    """Hydra 1.3 alone would make 7, 4, 1, -2 of 0, 3, 6, 9."""
    unit = Decimal(1).scaleb(-places)
    typed = f"range({start * unit:f},{stop * unit:f},{step * unit:f})"
    expected = sorted(values(parse(f"x={typed}").value()), reverse=reverse)
    for inner in (typed, f"shuffle({typed})", f"sort({typed})"):
        for named in ("", "sweep="):
            found = list(values(parse(f"x=sort({named}{inner},reverse={reverse})").value()))
            assert (found, [type(one) for one in found]) == (expected, [type(one) for one in expected])
