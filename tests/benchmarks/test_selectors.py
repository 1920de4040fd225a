"""The benchmark of selectors measures all of them."""

from benchmarks import selectors
from sfa_bench.choices.selectors import NAMES


def test_every_selector_that_computes_has_a_row(capsys):
    selectors.main(["--samples", "200", "--classes", "4", "--width", "4", "--rounds", "1", "--fit", "batched"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[4:]]
    assert {name for name, *_ in rows} == {*NAMES, "quota, both networks"} - {"none", "oracle"}
    assert [ratio for name, _, ratio in rows if name == "proto"] == ["1.00"]
