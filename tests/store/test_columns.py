"""Columns that grow run by run hold what each run has, however the runs' values change along the way."""

import math

from hypothesis import given
from hypothesis import strategies as st

from sfa_bench.store import columns
from sfa_bench.store.columns import ABSENT, LISTED, Growing, identity, smallest

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
