"""The loss and prototype selectors against plain re-implementations, the oracle, and the rule that makes a mask."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.mixture import GaussianMixture

from sfa_bench.selectors.base import Probe, Thresholds
from sfa_bench.selectors.loss import ClassLossMixture, LossMixture
from sfa_bench.selectors.oracle import Oracle
from sfa_bench.selectors.prototype import Prototype

# Ten iterations are the release's choice, converged or not.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

K = 3


def probe(seed=0, n=90):
    """Noisy labels, and a network that mostly knows the clean ones; the balanced head says nothing."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, K, n)
    observed = np.where(rng.random(n) < 0.35, rng.integers(0, K, n), clean)
    logits = rng.normal(size=(n, K)) + 2.5 * np.eye(K)[clean]
    features = rng.normal(size=(n, 5)) + 4 * np.eye(K, 5)[clean]
    return Probe(features.astype(np.float32), logits.astype(np.float32), np.zeros((n, K), np.float32), observed)


def losses(p):
    values = F.cross_entropy(torch.from_numpy(p.logits).double(), torch.from_numpy(p.observed_labels), reduction="none")
    values = values.numpy()
    return (values - values.min()) / (values.max() - values.min())


def mixture(values, larger, **options):
    model = GaussianMixture(2, random_state=0, **options).fit(values[:, None])
    means = model.means_[:, 0]
    return model.predict_proba(values[:, None])[:, means.argmax() if larger else means.argmin()]


RELEASE = {"max_iter": 10, "tol": 1e-2, "reg_covar": 5e-4}


def test_the_loss_mixture_takes_small_losses_of_the_main_head_for_clean():
    p = probe()
    selection = LossMixture(Thresholds()).select(p, 3)
    assert selection.clean_probability == pytest.approx(mixture(losses(p), False, **RELEASE), abs=1e-6)
    assert np.array_equal(selection.mask, selection.clean_probability > 0.5)
    assert selection.class_counts.tolist() == [int((p.observed_labels[selection.mask] == k).sum()) for k in range(K)]
    assert selection.score[selection.mask].min() > selection.score[~selection.mask].max()


def test_webvisions_loss_mixture_has_a_larger_floor_of_its_variances():
    p = probe()
    probability = LossMixture(Thresholds(), reg_covar=1e-3).select(p, 3).clean_probability
    assert probability == pytest.approx(mixture(losses(p), False, **RELEASE | {"reg_covar": 1e-3}), abs=1e-6)
    assert probability != pytest.approx(LossMixture(Thresholds()).select(p, 3).clean_probability, abs=1e-6)


def test_webvisions_prototypes_are_those_of_all_samples_and_its_mixtures_stop_early():
    p = probe(5)
    unit = p.features.astype(np.float64) - p.features.astype(np.float64).mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores, expected = np.zeros(len(unit)), np.zeros(len(unit))
    for k in range(K):
        of_class = p.observed_labels == k
        scores[of_class] = -((unit[of_class] - unit[of_class].mean(axis=0)) ** 2).sum(axis=1)
        own = scores[of_class] - scores[of_class].min()
        expected[of_class] = mixture(own / own.max(), True, max_iter=10, tol=1e-2, reg_covar=1e-3)
    selection = Prototype(Thresholds(), webvision=True).select(p, 3)
    assert selection.score == pytest.approx(scores, abs=1e-5)
    assert selection.clean_probability == pytest.approx(expected, abs=1e-4)
    assert selection.score != pytest.approx(Prototype(Thresholds()).select(p, 3).score, abs=1e-3)


def test_the_loss_mixture_has_no_rule_for_single_classes():
    p = probe()
    logits = p.logits.copy()
    logits[p.observed_labels == 2, 2] = -20  # every sample of class 2 has a large loss
    hard = Probe(p.features, logits, None, p.observed_labels)
    selection = LossMixture(Thresholds(no_clean_class="keep_all")).select(hard, 1)
    assert selection.class_counts[2] == 0
    assert selection.class_counts[:2].min() > 0
    assert selection.fallbacks == {"class_without_clean_sample": 1}  # said, as every surprise


def test_the_loss_mixture_averages_the_last_five_epochs_where_it_is_told_to():
    averaging, forgetting = LossMixture(Thresholds(), average_losses=True), LossMixture(Thresholds())
    probes = [probe(seed=0)]
    for seed in range(1, 7):  # other outputs of a changing network on the same samples
        probes.append(Probe(probes[0].features, probe(seed).logits, None, probes[0].observed_labels))
    for epoch, p in enumerate(probes):
        selection, last = averaging.select(p, epoch), forgetting.select(p, epoch)
        mean = np.mean([losses(q) for q in probes[max(0, epoch - 4) : epoch + 1]], axis=0)
        assert selection.clean_probability == pytest.approx(mixture(mean, False, **RELEASE), abs=1e-6)
        assert last.clean_probability == pytest.approx(mixture(losses(p), False, **RELEASE), abs=1e-6)


def test_a_stored_history_of_losses_continues_as_if_never_stored():
    straight, resumed = (LossMixture(Thresholds(), average_losses=True) for _ in range(2))
    for seed in range(3):
        straight.select(probe(seed), seed)
    resumed.load_state(straight.state())
    first, second = straight.select(probe(3), 3), resumed.select(probe(3), 3)
    assert np.array_equal(first.clean_probability, second.clean_probability)
    assert not np.array_equal(first.score, LossMixture(Thresholds()).select(probe(3), 3).score)


def test_equal_losses_speak_against_nobody():
    p = probe()
    flat = Probe(p.features, np.zeros_like(p.logits), None, p.observed_labels)
    for selector in (LossMixture(Thresholds()), ClassLossMixture(Thresholds())):
        selection = selector.select(flat, 1)
        assert selection.mask.all()
        assert (selection.clean_probability == 1).all()
        assert selection.fallbacks == {"class_without_mixture": K}


def test_the_class_wise_loss_mixture_fits_each_observed_class_with_the_library_defaults():
    p = probe()
    selection = ClassLossMixture(Thresholds()).select(p, 3)
    for k in range(K):
        own = p.observed_labels == k
        assert selection.clean_probability[own] == pytest.approx(mixture(losses(p)[own], False), abs=1e-6)
    assert np.array_equal(selection.mask, selection.clean_probability > 0.5)


def plain_prototypes(p, mask):
    """algorithms/methods.md §8 in NumPy: scores of the samples against the prototypes of the masked ones, and
    posteriors.
    """
    g = p.features.astype(np.float64)
    g = g - g.mean(axis=0)
    g = g / np.sqrt((g**2).sum(axis=1, keepdims=True))
    scores, posteriors = np.zeros(len(g)), np.zeros(len(g))
    for k in range(K):
        own = p.observed_labels == k
        centre = g[own & mask].mean(axis=0)
        scores[own] = -((g[own] - centre) ** 2).sum(axis=1)
        scaled = scores[own] - scores[own].min()
        posteriors[own] = mixture(scaled / scaled.max(), True)
    return scores, posteriors


def test_the_prototype_selector_refines_its_prototypes_once():
    p = probe(seed=4)
    _, rough = plain_prototypes(p, np.ones(len(p.logits), dtype=bool))
    scores, posteriors = plain_prototypes(p, rough > 0.5)
    selection = Prototype(Thresholds()).select(p, 3)
    assert selection.score == pytest.approx(scores, abs=1e-9)
    assert selection.clean_probability == pytest.approx(posteriors, abs=1e-6)
    assert np.array_equal(selection.mask, posteriors > 0.5)
    unrefined, _ = plain_prototypes(p, np.ones(len(p.logits), dtype=bool))
    assert np.abs(unrefined - scores).max() > 1e-3


def test_the_threshold_of_the_user_does_not_act_on_the_refinement():
    p = probe(seed=4)
    usual, strict = (Prototype(Thresholds(threshold)).select(p, 3) for threshold in (0.5, 0.999))
    assert np.array_equal(usual.score, strict.score)
    assert strict.mask.sum() < usual.mask.sum()


def test_the_oracle_selects_exactly_the_right_labels():
    p = probe()
    clean = np.where(np.arange(90) % 3 == 0, (p.observed_labels + 1) % K, p.observed_labels)
    selection = Oracle(clean).select(p, 1)
    right = np.arange(90) % 3 != 0
    assert np.array_equal(selection.mask, right)
    assert np.array_equal(selection.clean_probability, right.astype(float))
    assert selection.class_counts.tolist() == [int((right & (p.observed_labels == k)).sum()) for k in range(K)]


PROBABILITY = np.array([0.5, 0.51, 0.2, 0.4, 0.3, 0.9])
LABELS = np.array([0, 0, 0, 1, 1, 3])


def decide(probability=PROBABILITY, unsplit=None, **options):
    return Thresholds(**options).decide(probability, probability, LABELS, 4, unsplit)


def test_only_what_is_above_the_threshold_is_selected():
    selection = decide(no_clean_class="none")
    assert selection.mask.tolist() == [False, True, False, False, False, True]  # 0.5 is not above 0.5
    assert selection.class_counts.tolist() == [1, 0, 0, 1]
    assert decide(p_threshold=0.25, no_clean_class="none").mask.tolist() == [True, True, False, True, True, True]


def test_a_class_without_a_clean_sample_is_kept_whole_or_left_empty():
    kept, left = decide(no_clean_class="keep_all"), decide(no_clean_class="none")
    assert kept.mask.tolist() == [False, True, False, True, True, True]
    assert kept.class_counts.tolist() == [1, 2, 0, 1]
    assert np.array_equal(kept.clean_probability, PROBABILITY)  # w stays as it was
    assert left.class_counts.tolist() == [1, 0, 0, 1]
    # Both say it; class 2, which nobody has, is no surprise.
    assert kept.fallbacks == left.fallbacks == {"class_without_clean_sample": 1}


def test_a_class_without_a_mixture_is_kept_under_either_rule():
    certain = np.where(LABELS == 1, 1.0, PROBABILITY)  # what class_posteriors gives a class it cannot split
    for rule in ("keep_all", "none"):
        selection = decide(certain, np.array([1]), no_clean_class=rule)
        assert selection.mask[LABELS == 1].all()
        assert selection.fallbacks == {"class_without_mixture": 1}


@pytest.mark.parametrize("make", [LossMixture, ClassLossMixture, Prototype])
def test_absent_and_single_classes_raise_nothing(make):
    p = probe()
    labels = np.where(p.observed_labels == 2, 1, p.observed_labels)
    labels[0] = 2  # alone; class 3 does not occur
    wide = Probe(p.features, np.pad(p.logits, ((0, 0), (0, 1))), None, labels)
    for rule in ("keep_all", "none"):
        selection = make(Thresholds(no_clean_class=rule)).select(wide, 1)
        assert np.isfinite(selection.clean_probability).all()
        assert np.isfinite(selection.score).all()
        assert selection.class_counts.sum() == selection.mask.sum()
        assert selection.class_counts[3] == 0
