"""Softmax in NumPy has the bits of SciPy's."""

import numpy as np
import pytest
import scipy.special

from sfa_bench.parts import softmax


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_bits_are_scipys(name, kind, axis):
    draw = np.random.default_rng(3)
    for shape in ((1, 1), (5, 1), (1, 7), (359, 10), (64, 100)):
        x = (20 * draw.standard_normal(shape)).astype(kind)
        expected, found = getattr(scipy.special, name)(x, axis=axis), getattr(softmax, name)(x, axis)
        assert found.dtype == expected.dtype
        assert (found == expected).all()


def test_a_class_that_cannot_be_has_no_share():
    assert softmax.softmax(np.array([[0.0, -np.inf, 0.0]]), 1).tolist() == [[0.5, 0, 0.5]]
