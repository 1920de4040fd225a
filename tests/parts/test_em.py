"""The mixtures of single classes are scikit-learn's, to the last bit."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from sfa_bench.parts.em import BLOCK, TwoGaussians

DRAWS = {
    "uniform": lambda draw, n: draw.random(n),
    "two modes": lambda draw, n: np.where(draw.random(n) < 0.7, draw.normal(0, 0.1, n), draw.normal(1, 0.2, n)),
    "ties": lambda draw, n: np.append(np.round(draw.random(n - 2), 1), [0.0, 1.0]),
    "skewed": lambda draw, n: draw.random(n) ** 6,
    "heavy tails": lambda draw, n: draw.standard_t(2, n),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", [{}, {"max_iter": 10, "tol": 1e-2, "reg_covar": 5e-4}, {"max_iter": 0}])
@pytest.mark.parametrize("kind", DRAWS)
def test_a_mixture_is_scikit_learns_to_the_bit(kind, options):
    draw = np.random.default_rng(7)
    for n in (*range(3, 12), 40, 97, BLOCK, BLOCK + 1, 700):
        values = DRAWS[kind](draw, n)
        reference = GaussianMixture(2, random_state=0, **options).fit(values[:, None])
        mixture = TwoGaussians(values, **options)
        assert (mixture.means == reference.means_[:, 0]).all(), n
        assert (mixture.weights == reference.weights_).all(), n
        assert (mixture.posteriors(values) == reference.predict_proba(values[:, None])).all(), n


def test_two_values_are_two_components():
    mixture = TwoGaussians(np.array([0.0, 1.0]))
    assert sorted(mixture.means) == pytest.approx([0, 1])
    assert mixture.weights == pytest.approx([0.5, 0.5])


def test_equal_densities_are_counted_twice():
    """Halfway between two equal components each has one half."""
    mixture = TwoGaussians(np.array([0.0, 0.1, 0.9, 1.0]))
    assert mixture.posteriors(np.array([mixture.means.mean()]))[0] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        TwoGaussians(np.array([0.0, 1.0, bad]))


def test_a_component_without_variance_is_refused_as_by_scikit_learn():
    values = np.array([0.0, 0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="reg_covar"):
        GaussianMixture(2, random_state=0, reg_covar=0).fit(values[:, None])
    with pytest.raises(ValueError, match="reg_covar"):
        TwoGaussians(values, reg_covar=0)


def test_no_warning_leaves_a_large_group(recwarn):
    TwoGaussians(np.random.default_rng(0).random(BLOCK + 1), max_iter=1)
    assert not [warning for warning in recwarn if issubclass(warning.category, ConvergenceWarning)]
