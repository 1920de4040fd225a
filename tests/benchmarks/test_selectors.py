"""The benchmark of selectors measures all of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import selectors
from sfa_bench.choices.selectors import NAMES

ROOT = Path(__file__).parents[2]


def test_every_selector_that_computes_has_a_row(capsys):
    selectors.main(["--samples", "200", "--classes", "4", "--width", "4", "--rounds", "1", "--fit", "batched"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[4:]]
    assert {name for name, *_ in rows} == {*NAMES, "quota, both networks"} - {"none", "oracle", "file"}
    assert [ratio for name, _, ratio, *_ in rows if name == "proto"] == ["1.00"]
    lengths = {name: int(lines) for name, *_, lines in rows}
    assert lengths["base"] == lengths["mda"], "they share a file"
    assert lengths["proto"] < lengths["sfa"]


def test_memory_is_what_a_selection_takes_at_most():
    program = """
import numpy as np
from benchmarks import selectors
from sfa_bench.speed.settings import Setting

def selection(words, probe):
    np.ones(40 * 2**20, np.uint8)  # freed before the larger one
    np.ones(60 * 2**20, np.uint8)

selectors.seconds = selection
print(selectors.megabytes([], Setting(threads=1, seconds=0.0, size=200, imb_factor=1), classes=4, width=4))
"""  # of its own: a process that has trained keeps what was freed
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(60, abs=10)
