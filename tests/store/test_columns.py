"""Columns that grow run by run hold what each run has, however the runs' values change along the way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.store import columns
from sfa_bench.store.columns import ABSENT, LISTED, Column, Growing, identity, joined, smallest

# Equal, and not the same: 0.0 and -0.0, 1, 1.0 and true.
VALUES = st.sampled_from([0.0, -0.0, 1.0, 1, True, False, None, "1", "", 0.1, 1e300, 2**70, [1], [1.0], [], ()])
FLOATS = st.sampled_from([0.0, -0.0, 0.1, 1.0, -1e-320])
RUNS = st.lists(
    st.one_of(
        st.dictionaries(st.sampled_from("abcd"), VALUES),
        st.dictionaries(st.sampled_from("abcd"), FLOATS, min_size=3),
        st.just({"a": 0.5, "b": 0.5, "c": "x", "d": 3}),
    ),
    max_size=24,
)


def told(column, row):
    """What a column says of a run; Ellipsis for nothing, an empty tuple for a list of which it knows nothing more."""
    code = int(column.codes[row])
    return {ABSENT: ..., LISTED: ()}[code] if code < 0 else column.values[code]


@given(RUNS, st.integers(1, 7))
def test_a_column_says_of_each_run_what_it_has(runs, together):
    before, columns.TOGETHER = columns.TOGETHER, together
    try:
        growing = Growing()
        for run in runs:
            growing.add(run)
        made = growing.columns()
    finally:
        columns.TOGETHER = before
    assert made.keys() == {key for run in runs for key in run}
    for key, column in made.items():
        assert len(column.codes) == len(runs)
        assert column.codes.dtype == smallest(len(column.values))
        assert len({identity(value) for value in column.values}) == len(column.values)
        for row, run in enumerate(runs):
            value, expected = told(column, row), run.get(key, ...)
            assert type(value) is type(expected)
            assert value == expected
            if isinstance(expected, float):
                assert math.copysign(1, value) == math.copysign(1, expected)


def test_more_runs_than_are_looked_at_together_keep_their_values():
    growing = Growing()
    runs = [{"x": i / 7, "name": str(i % 3), **({"late": i / 2} if i > 500 else {})} for i in range(1000)]
    for run in runs:
        growing.add(run)
    made = growing.columns()
    for row, run in enumerate(runs):
        assert {key: told(column, row) for key, column in made.items()} == {"late": ..., **run}


@pytest.mark.parametrize("odd", [None, 1, "a"], ids=["numbers", "whole", "text"])
def test_columns_of_several_parts_are_one(odd):
    """As their values say, also where a zero has a sign, and where some runs have a list or nothing."""
    one = Column(np.array([0, 1, LISTED, 2], np.int8), [0.0, 1.5, -2.25])
    other = Column(np.array([2, ABSENT, 1, 0], np.int8), [-2.25, -0.0, 1.0 if odd is None else odd])
    column = joined([(np.array([0, 2, 4, 6]), one), (np.array([1, 3, 5, 8]), other)], 9)
    last = 1.0 if odd is None else odd
    expected = ["0.0", repr(last), "1.5", "ABSENT", "LISTED", "-0.0", "-2.25", "ABSENT", "-2.25"]
    known = {ABSENT: "ABSENT", LISTED: "LISTED"} | {code: repr(value) for code, value in enumerate(column.values)}
    assert [known[code] for code in column.codes.tolist()] == expected
    assert len(column.values) == 5  # -2.25 once, both zeros
