"""Mixtures against scikit-learn called directly, closed cases, and the guards of algorithms/sfa.md §5."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.mixture import GaussianMixture

from sfa_bench.parts.mixtures import class_posteriors, count_inverted, min_max, posterior


def overlapping(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.3, 0.12, n), rng.normal(0.6, 0.12, n // 2)])


def direct(values, *, larger, **options):
    column = values.reshape(-1, 1)
    model = GaussianMixture(n_components=2, random_state=0, **options).fit(column)
    order = np.argsort(model.means_[:, 0])
    return model.predict_proba(column)[:, order[-1] if larger else order[0]]


@pytest.mark.parametrize("larger", [True, False])
def test_posteriors_are_those_of_the_library_with_its_defaults(larger):
    values = overlapping()
    assert posterior(values, larger=larger) == pytest.approx(direct(values, larger=larger), abs=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_iterations_tolerance_and_regularisation_reach_the_library():
    values = overlapping()
    for options in ({"max_iter": 2}, {"tol": 0.3}, {"reg_covar": 0.05}):
        given_them = posterior(values, larger=False, **options)
        assert given_them == pytest.approx(direct(values, larger=False, **options), abs=1e-9)
        assert np.abs(given_them - posterior(values, larger=False)).max() > 1e-3


def test_the_two_components_share_out_the_probability():
    values = overlapping()
    assert posterior(values, larger=True) + posterior(values, larger=False) == pytest.approx(1)


def test_the_larger_mean_holds_the_larger_values():
    values = np.array([0.0, 0.01, 0.02, 0.9, 0.95, 1.0])
    assert posterior(values, larger=True).round(6).tolist() == [0, 0, 0, 1, 1, 1]
    assert posterior(values, larger=False).round(6).tolist() == [1, 1, 1, 0, 0, 0]


def test_an_early_stop_is_used_without_a_warning(recwarn):
    posterior(overlapping(), larger=True, max_iter=1, tol=1e-12)
    assert not recwarn.list


def test_min_max_spans_zero_to_one_and_leaves_equal_values_at_zero():
    assert min_max(np.array([-3.0, 1.0, 5.0])).tolist() == [0, 0.5, 1]
    assert min_max(np.array([7.0, 7.0])).tolist() == [0, 0]


@given(arrays(np.float64, 12, elements=st.integers(-1000, 1000).map(float)), st.floats(0.5, 100), st.floats(-50, 50))
def test_a_positive_affine_map_of_the_scores_changes_nothing_after_rescaling(values, scale, shift):
    assert min_max(scale * values + shift) == pytest.approx(min_max(values), abs=1e-9)


def three_classes():
    rng = np.random.default_rng(3)
    labels = np.repeat([2, 0, 1], [30, 40, 20])
    scores = rng.normal(size=90) + 3 * (rng.random(90) < 0.5)
    return scores + 100 * labels, labels


@pytest.mark.parametrize("larger", [True, False])
@pytest.mark.parametrize("rescale", [True, False])
def test_every_class_has_a_mixture_of_its_own(larger, rescale):
    scores, labels = three_classes()
    probability, unsplit, _ = class_posteriors(scores, labels, 3, larger=larger, rescale=rescale)
    for k in range(3):
        own = scores[labels == k]
        if rescale:
            own = (own - own.min()) / (own.max() - own.min())
        assert probability[labels == k] == pytest.approx(direct(own, larger=larger), abs=1e-9)
    assert unsplit.tolist() == []


def test_classes_of_no_one_and_two_samples_are_handled():
    labels = np.array([0, 2, 2, 3, 3, 3, 3])  # class 1 does not occur
    scores = np.array([0.3, 0.1, 0.9, 0.0, 0.01, 0.99, 1.0])
    probability, unsplit, _ = class_posteriors(scores, labels, 4, larger=True, rescale=True)
    assert unsplit.tolist() == [0]
    assert probability.round(6).tolist() == [1, 0, 1, 0, 0, 1, 1]


def test_equal_scores_cannot_be_split():
    labels = np.array([0, 0, 0, 1, 1])
    probability, unsplit, _ = class_posteriors(
        np.array([0.2, 0.2, 0.2, 0.0, 1.0]), labels, 2, larger=False, rescale=False
    )
    assert unsplit.tolist() == [0]
    assert probability.round(6).tolist() == [1, 1, 1, 1, 0]


@given(seed=st.integers(0, 999))
def test_two_samples_at_the_same_distance_from_their_mean_are_not_split_by_rounding(seed):
    pair = np.random.default_rng(seed).normal(size=(2, 9))
    pair /= np.linalg.norm(pair, axis=1, keepdims=True)
    scores = -np.square(pair - pair.mean(0)).sum(1)
    probability, unsplit, _ = class_posteriors(scores, np.zeros(2, dtype=int), 1, larger=True, rescale=True)
    assert (unsplit.tolist(), probability.tolist()) == ([0], [1.0, 1.0])


def test_a_class_below_the_wanted_size_gets_no_mixture():
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    scores = np.array([0, 0.5, 1, 0, 0.01, 0.99, 1])
    for min_samples, without in ((2, []), (3, []), (4, [0]), (5, [0, 1])):
        probability, unsplit, _ = class_posteriors(
            scores, labels, 2, larger=True, rescale=True, min_samples=min_samples
        )
        assert unsplit.tolist() == without
        assert (probability[np.isin(labels, without)] == 1).all()


def spread_out(seed=5):
    """A wide and a narrow component: the plain posterior of the narrow one falls again on both of its sides."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.0, 1.0, 80), rng.normal(1.0, 0.1, 40)])


@pytest.mark.parametrize("larger", [True, False])
@given(seed=st.integers(0, 10_000))
def test_a_monotone_posterior_never_falls_as_the_score_rises(larger, seed):
    values = spread_out(seed)
    order = np.argsort(values if larger else -values)
    monotone = posterior(values, larger=larger, monotone=True)
    assert (np.diff(monotone[order]) >= 0).all()
    assert count_inverted(values if larger else -values, monotone) == 0


def test_a_monotone_posterior_leaves_what_lies_between_the_means_alone():
    values = spread_out()
    plain, monotone = posterior(values, larger=True), posterior(values, larger=True, monotone=True)
    model = GaussianMixture(n_components=2, random_state=0).fit(values.reshape(-1, 1))
    low, high = sorted(model.means_[:, 0])
    between = (low < values) & (values < high)
    assert between.sum() > 10
    assert np.array_equal(plain[between], monotone[between])
    beyond = values > high
    assert (monotone[beyond] >= plain[beyond]).all()
    assert (monotone[beyond] > plain[beyond] + 0.1).any()


@given(
    arrays(np.float64, 12, elements=st.integers(0, 5).map(float)),
    arrays(np.float64, 12, elements=st.integers(0, 4).map(lambda n: n / 4)),
)
def test_inverted_samples_are_counted_as_by_brute_force(scores, probability):
    pairs = list(zip(scores, probability, strict=True))
    expected = sum(any(lower < score and higher > p for lower, higher in pairs) for score, p in pairs)
    assert count_inverted(scores, probability) == expected


def test_classes_add_up_their_inverted_samples_whether_corrected_or_not():
    values, labels = np.concatenate([spread_out(1), spread_out(2)]), np.repeat([0, 1], 120)
    one = [count_inverted(values[labels == k], posterior(values[labels == k], larger=True)) for k in (0, 1)]
    assert min(one) > 0
    for monotone in (False, True):
        found = class_posteriors(values, labels, 2, larger=True, rescale=False, monotone=monotone)
        assert found.inverted == sum(one)
        assert (count_inverted(values[:120], found.probability[:120]) == 0) == monotone
