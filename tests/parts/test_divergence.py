"""The divergence of a prediction from a label, against worked numbers, SciPy and its limits."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from sfa_bench.parts.divergence import LARGEST, divergence_from_label


def test_the_worked_numbers():
    found = divergence_from_label(np.array([[0.7, 0.2, 0.1]] * 3), np.arange(3))
    assert found == pytest.approx([0.117277, 0.422810, 0.525597], abs=1e-6)


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1), min_size=2, max_size=20), st.data())
def test_it_is_the_square_of_scipys_distance(weights, data):
    p = np.array(weights) / sum(weights)
    label = data.draw(st.integers(0, len(p) - 1))
    found = divergence_from_label(p[None], np.array([label]))
    assert found[0] == pytest.approx(jensenshannon(p, np.eye(len(p))[label]) ** 2, abs=1e-8)


def test_a_certain_label_is_at_zero_and_one_ruled_out_at_ln_2():
    sure = np.array([[1.0, 0.0], [0.0, 1.0], [1 - 1e-17, 1e-17]])
    found = divergence_from_label(sure, np.array([0, 0, 0]))
    assert found == pytest.approx([0, math.log(2), 0], abs=1e-9)
    assert found.min() >= 0
    assert found.max() <= LARGEST == math.log(2)


def test_the_less_of_the_label_the_farther():
    p = np.linspace(0.01, 0.99, 50)
    found = divergence_from_label(np.stack([p, 1 - p], axis=1), np.zeros(50, dtype=int))
    assert (np.diff(found) < 0).all()
