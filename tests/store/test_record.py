import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.store.record import KEYS, dumps, loads, new_record, plain

# explanation/runs.md §4
CONTRACT = [
    *("schema", "state", "hash", "config", "names", "command", "data"),
    *("metrics", "selection", "knows", "cost", "environment", "error"),
]


def test_the_keys_are_the_contract_and_stand_in_its_order():
    record = new_record(hash="a", config={}, names={}, command="run.py")
    assert list(json.loads(dumps(record))) == CONTRACT == list(KEYS)


@pytest.mark.parametrize("change", [{"extra": 1}, {"state": "finished"}])
def test_what_is_not_in_the_contract_is_not_written(change):
    with pytest.raises(ValueError):
        dumps(new_record(hash="a", config={}, names={}, command="run.py") | change)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def same(value, back):
    if isinstance(value, float) and not math.isfinite(value):
        return back is None
    if isinstance(value, dict):
        return list(value) == list(back) and all(same(value[k], back[k]) for k in value)
    if isinstance(value, (list, tuple)):
        return len(value) == len(back) and all(map(same, value, back))
    return type(value) is type(back) and value == back


@given(VALUES)
def test_every_value_is_json_and_comes_back(value):
    assert same(value, json.loads(json.dumps(plain(value), allow_nan=False)))


@given(VALUES)
def test_a_whole_record_comes_back(value):
    record = new_record(hash="a", config={"x": value}, names={}, command="run.py")
    assert same(value, loads(dumps(record))["config"]["x"])


def test_scalars_of_numpy_become_numbers_of_their_kind():
    back = plain([np.int64(3), np.float32(0.5), np.bool_(True), np.array(2.0), np.float64("nan")])
    assert back == [3, 0.5, True, 2.0, None]
    assert [type(value) for value in back] == [int, float, bool, float, type(None)]


def test_half_a_character_of_a_files_name_is_written_out_and_its_record_read():
    name = b"runs_\xff".decode(errors="surrogateescape")
    record = new_record(hash="a", config={"runs_dir": name, name: 1}, names={}, command=f"run.py runs_dir={name}")
    back = loads(dumps(record).encode())
    assert back["config"] == {"runs_dir": "runs_\\udcff", "runs_\\udcff": 1}
    assert back["command"] == "run.py runs_dir=runs_\\udcff"


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(TypeError, match="set has no place"):
        plain({"a": {1}})
