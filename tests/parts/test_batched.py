"""Mixtures fitted at once against scikit-learn called group by group, and where the two cannot agree."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from sfa_bench.parts.batched import fit_mixtures
from sfa_bench.parts.mixtures import class_posteriors, min_max, posteriors

# Stopping early is a choice here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

LAWS = {
    "two kinds": lambda rng, n: rng.normal(size=n) / 3 + 2 * (rng.random(n) < 0.7),
    "one kind": lambda rng, n: rng.normal(size=n),
    "skewed": lambda rng, n: rng.exponential(size=n) ** 2,
    "no kinds": lambda rng, n: rng.random(n),
    "each value twice": lambda rng, n: np.repeat(rng.normal(size=n), 2),
}
USUAL = {"max_iter": 100, "tol": 1e-3, "reg_covar": 1e-6}


def groups_of(law, seed=0, sizes=(2, 3, 5, 9, 17, 40, 130, 300, 700)):
    rng = np.random.default_rng(seed)
    return [min_max(LAWS[law](rng, n)) for n in sizes for _ in range(5)]


def library(values, **options):
    """Weights, means and variances [3, 2] in the order of the means."""
    model = GaussianMixture(2, random_state=0, **options).fit(values[:, None])
    return np.stack([model.weights_, model.means_[:, 0], model.covariances_[:, 0, 0]])[:, model.means_[:, 0].argsort()]


def in_order(fitted):
    return fitted[:, fitted[1].argsort()]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(
    "options", [{}, {"max_iter": 10, "tol": 1e-2, "reg_covar": 1e-3}, {"max_iter": 1}, {"tol": 0.1}]
)
def test_each_group_is_fitted_as_by_the_library(law, options):
    groups = groups_of(law)
    fitted = fit_mixtures(groups, **options)
    others = 0
    for values, found in zip(groups, fitted, strict=True):
        expected = library(values, **options)
        np.testing.assert_allclose(in_order(found), expected, rtol=1e-6, atol=1e-9)
        others += not np.allclose(expected, library(values, **USUAL), rtol=1e-6)
    assert (others > 0) == (options != {})


@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize("monotone", [True, False])
def test_posteriors_are_the_librarys(larger, monotone):
    for law in LAWS:
        groups = groups_of(law, seed=1)
        expected = posteriors(groups, larger=larger, monotone=monotone)
        found = posteriors(groups, larger=larger, monotone=monotone, fit="batched")
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one.probability, other.probability, atol=1e-6)
            assert one.inverted == other.inverted


def test_a_group_of_nearly_equal_values_is_not_drowned_by_the_wide_ones_before_it():
    rng = np.random.default_rng(2)
    wide, narrow = [1e4 * rng.normal(size=400) for _ in range(9)], 0.3 + 1e-6 * rng.exponential(size=50) ** 2
    found = fit_mixtures([*wide, narrow], reg_covar=1e-16)[-1]
    np.testing.assert_allclose(in_order(found), library(narrow, reg_covar=1e-16), rtol=1e-4)
    np.testing.assert_allclose(found, fit_mixtures([narrow], reg_covar=1e-16)[0], rtol=1e-9)


def test_on_a_grid_it_finds_what_the_library_finds_in_some_order_of_the_values():
    """A value as far from one centre as from the other goes where rounding sends it, and k-means may then end
    elsewhere: a hundredth of such groups is fitted otherwise, each as the library does after a shuffle.
    """
    rng = np.random.default_rng(3)
    groups = [rng.integers(0, 6, n) / 5 for n in rng.integers(40, 300, 400)]
    groups = [values for values in groups if np.ptp(values) > 0]
    unlike = 0
    for values, found in zip(groups, fit_mixtures(groups), strict=True):
        if not np.allclose(in_order(found), library(values), rtol=1e-6, atol=1e-9):
            unlike += 1
            orders = (library(rng.permutation(values)) for _ in range(200))
            assert any(np.allclose(in_order(found), order, rtol=1e-6, atol=1e-9) for order in orders)
    assert 0 < unlike < 0.03 * len(groups)


def test_class_wise_mixtures_have_the_same_guards():
    rng = np.random.default_rng(4)
    labels = np.concatenate([np.full(n, k) for k, n in enumerate((60, 0, 1, 2, 30, 9))])
    scores = rng.normal(size=len(labels)) + 4 * (rng.random(len(labels)) < 0.5)
    scores[labels == 5] = 0.25
    for options in ({}, {"min_samples": 10}, {"monotone": True}):
        expected = class_posteriors(scores, labels, 6, larger=True, rescale=True, **options)
        found = class_posteriors(scores, labels, 6, larger=True, rescale=True, fit="batched", **options)
        np.testing.assert_allclose(found.probability, expected.probability, atol=1e-6)
        assert found.unsplit.tolist() == expected.unsplit.tolist() != []
        assert found.inverted == expected.inverted
    alone = class_posteriors(scores[:1], labels[:1], 6, larger=True, rescale=True, fit="batched")
    assert alone.unsplit.tolist() == [0]


@pytest.mark.parametrize("fit", ["sklearn", "batched"])
def test_values_that_are_not_finite_are_an_error(fit):
    with pytest.raises(ValueError, match=r"NaN|finite"):
        posteriors([np.array([0.0, np.nan, 1.0])], larger=True, fit=fit)
