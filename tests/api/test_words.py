"""Python's values become words that Hydra's grammar reads back as what was given."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sfa_bench.api.words import run_words, sweep_words
from sfa_bench.config.overrides import axes, check_overrides
from sfa_bench.errors import ConfigError

TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1).filter(str.strip)


@settings(max_examples=300, deadline=None)
@given(TEXT.filter(lambda text: "$" not in text))
@example("\\")
@example("a b\\")
@example("a'\\\\")
def test_any_text_reaches_a_key_that_takes_texts(text):
    assert [override.value for override in check_overrides(run_words({"data_dir": text}))] == [text]
    ((first, second),) = axes(sweep_words({"data_dir": [text, "b"]}))
    assert (first.value, second.value) == (text, "b")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("noise_ratio", 0.2, "noise_ratio=0.2"),
        ("noise_ratio", np.float32(0.2), "noise_ratio=0.2"),
        ("noise_ratio", "0.2", "noise_ratio=0.2"),
        ("replicate", np.int64(3), "replicate=3"),
        ("replicate", 2**62, f"replicate={2**62}"),
        ("threads", None, "threads=null"),
        ("deterministic", False, "deterministic=false"),
        ("dataset", "digits", "dataset=digits"),
        ("dataset.name", "1.10", "dataset.name='1.10'"),
        ("data_dir", Path("/a b/c=[d]"), "data_dir='/a b/c=[d]'"),
        ("device", ["cuda:0", "cuda:1"], "device=[cuda:0,cuda:1]"),
        ("preset", "dss", "+preset=dss"),
        ("plugin.own", "a,b", "plugin.own='a,b'"),
    ],
)
def test_a_value_becomes_the_word_of_the_command_line(key, value, words):
    assert run_words({key: value}) == [words]


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ([0, 4], [0, 4]),
        ((0, 4), [0, 4]),
        (range(3), [0, 1, 2]),
        (np.arange(2), [0, 1]),
        ("range(0,5,2)", [0, 2, 4]),
        ("1,2", [1, 2]),
        (7, [7]),
    ],
)
def test_an_axis_has_the_values_of_a_list_or_of_the_grammar(value, values):
    ((*checked,),) = axes(sweep_words({"replicate": value}))
    assert [override.value for override in checked] == values


def test_a_list_inside_of_an_axis_is_one_value():
    assert sweep_words({"device": ["cpu", ["cuda:0", "cuda:1"]]}) == ["device=cpu,[cuda:0,cuda:1]"]


@pytest.mark.parametrize("value", [{"a": 1}, object(), b"x", 1j])
def test_what_no_configuration_holds_is_refused_by_its_type(value):
    with pytest.raises(ConfigError, match=f"this {type(value).__name__} is no value of a configuration"):
        run_words({"lr": value})


def test_an_axis_without_a_value_is_refused():
    with pytest.raises(ConfigError, match="method: this axis has no value"):
        sweep_words({"method": []})
