"""DaCC against worked numbers and a plain re-implementation (algorithms/dacc.md)."""

import math

import numpy as np
import pytest
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

from sfa_bench.selectors.base import Probe, Thresholds
from sfa_bench.selectors.dacc import HIGHEST_GATE, DistributionAwareCentroids, prediction_centroids

LOGITS = np.array([[2.0, 0, 0], [0, 1.5, 0], [0.2, 0, 1]])
UNIT = np.array([[1.0, 0], [0, 1], [math.sqrt(0.5), math.sqrt(0.5)]])


def probe(seed=0, n=120, num_classes=3, dim=6, sureness=2.5, apart=4, head=True):
    rng = np.random.default_rng(seed)
    clean = rng.choice(num_classes, n, p=np.linspace(2, 0.5, num_classes) / np.linspace(2, 0.5, num_classes).sum())
    observed = np.where(rng.random(n) < 0.35, rng.integers(0, num_classes, n), clean)
    main, balanced = (rng.normal(size=(n, num_classes)) + sureness * np.eye(num_classes)[clean] for _ in range(2))
    features = rng.normal(size=(n, dim)) + apart * np.eye(num_classes, dim)[clean]
    return Probe(
        features.astype(np.float32), main.astype(np.float32), balanced.astype(np.float32) if head else None, observed
    )


def soft(logits):
    exponent = np.exp(logits - logits.max())
    return exponent / exponent.sum()


def plain(p, epoch, phi=1.005, temperature=0.1):
    """Posteriors, sample by sample, and who passes the gate."""
    logits, labels = p.logits.astype(np.float64), p.observed_labels
    num_classes = logits.shape[1]
    heads = [logits] if p.abc_logits is None else [logits, p.abc_logits.astype(np.float64)]
    gate = [all(max(soft(head[i])) > phi ** (epoch - 1) / num_classes for head in heads) for i in range(len(labels))]
    features = [row / np.linalg.norm(row) for row in p.features.astype(np.float64)]
    centroids = []
    for k in range(num_classes):
        total = sum(soft(logits[i] / temperature)[k] * features[i] for i in range(len(labels)) if gate[i])
        centroids.append(total / np.linalg.norm(total))
    distance = np.array([-soft(np.array(centroids) @ features[i])[labels[i]] for i in range(len(labels))])
    distance = (distance - distance.min()) / (distance.max() - distance.min())
    clean = np.zeros(len(labels))
    for k in range(num_classes):
        own = labels == k
        model = GaussianMixture(2, random_state=0).fit(distance[own, None])
        clean[own] = model.predict_proba(distance[own, None])[:, model.means_[:, 0].argmin()]
    return clean, np.array(gate)


def select(p, epoch=31, **options):
    thresholds = Thresholds(no_clean_class="none")
    return DistributionAwareCentroids(thresholds, **options).select(p, epoch)


def test_the_worked_centroids_and_assignment():
    centroids = prediction_centroids(UNIT, LOGITS / 0.1, np.ones(3, dtype=bool))
    expected = [[1.000000, 0.000237], [0.000032, 1.000000], [0.707107, 0.707107]]
    assert centroids == pytest.approx(np.array(expected), abs=1e-6)
    # Of the whole selector, by the score: the share of the label. θ = 1/3 lets everybody in.
    for label, share in enumerate((0.473038, 0.174027, 0.352935)):
        p = Probe(UNIT, LOGITS, None, np.array([label, 1, 2]))
        assert select(p, 1).score[0] == pytest.approx(share, abs=1e-6)


def test_the_threshold_grows_from_the_first_epoch_on():
    gate = DistributionAwareCentroids(Thresholds()).gate_threshold
    assert gate(1, 10) == 0.1
    assert [gate(31, 10), gate(31, 100), gate(101, 10)] == pytest.approx([0.11614, 0.011614, 0.16467], abs=1e-5)
    assert gate(10**6, 2) == HIGHEST_GATE < 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("options", [{}, {"phi": 1.02}, {"temperature": 0.5}])
def test_it_selects_what_a_plain_implementation_selects(seed, head, options):
    p = probe(seed, head=head)
    clean, gate = plain(p, 31, **options)
    selection = select(p, **options)
    assert selection.clean_probability == pytest.approx(clean, abs=1e-6)
    assert np.array_equal(selection.mask, clean > 0.5)
    assert "phi" not in options or 0 < gate.mean() < 1  # some pass, some do not


def test_a_sample_passes_where_both_heads_are_sure_of_any_class():
    p = probe(1)
    late = 150  # θ = 0.70
    _, gate = plain(p, late)
    assert 0 < gate.sum() < len(gate)
    flipped = Probe(p.features, p.abc_logits, p.logits, p.observed_labels)
    assert np.array_equal(plain(flipped, late)[1], gate)
    _, main_alone = plain(Probe(p.features, p.logits, None, p.observed_labels), late)
    assert gate.sum() < main_alone.sum()
    assert select(p, late).clean_probability == pytest.approx(plain(p, late)[0], abs=1e-6)


def test_without_a_balanced_head_the_main_one_serves_for_both():
    p = probe(2, head=False)
    twice = Probe(p.features, p.logits, p.logits, p.observed_labels)
    assert np.array_equal(select(p).clean_probability, select(twice).clean_probability)
    assert not np.array_equal(select(probe(2), 150).score, select(p, 150).score)


def test_labels_have_no_part_in_the_centroids():
    p = probe(3)
    other = Probe(p.features, p.logits, p.abc_logits, (p.observed_labels + 1) % 3)
    again = Probe(p.features, p.logits, p.abc_logits, (p.observed_labels + 2) % 3)
    shares = sum(select(one).score for one in (p, other, again))
    assert shares == pytest.approx(np.ones(len(shares)), abs=1e-12)


def test_the_length_of_a_feature_does_not_matter():
    p = probe(4)
    lengths = np.random.default_rng(0).uniform(0.1, 10, (len(p.features), 1))
    longer = Probe((p.features * lengths).astype(np.float64), p.logits, p.abc_logits, p.observed_labels)
    assert select(longer).score == pytest.approx(select(p).score, abs=1e-6)


def test_a_gate_that_nobody_passes_is_left_open_and_counted():
    p = probe(5)
    shut, free = select(p, 10**6), select(p, 1)
    assert shut.fallbacks["class_without_gated_sample"] == 3
    assert "class_without_gated_sample" not in free.fallbacks
    assert free.score == pytest.approx(shut.score)  # in the first epoch 1/K lets everybody in


def test_a_class_that_the_network_never_predicts_has_a_centroid_all_the_same():
    p = probe(6)
    logits = p.logits.astype(np.float64)
    logits[:, 2] -= 1000  # its weights are far below the smallest number
    everybody = np.ones(len(logits), dtype=bool)
    one, other = (prediction_centroids(p.features, each / 0.1, everybody) for each in (logits, p.logits))
    assert np.linalg.norm(one, axis=1) == pytest.approx(np.ones(3))
    # Next to the others its part of the denominator is nothing, so that its weights are odds; their scale is free.
    log_odds = p.logits[:, 2] / 0.1 - logsumexp(p.logits[:, :2].astype(np.float64) / 0.1, axis=1)
    direction = np.exp(log_odds - log_odds.max()) @ p.features
    assert one[2] == pytest.approx(direction / np.linalg.norm(direction), abs=1e-6)
    assert other[2] != pytest.approx(one[2], abs=1e-3)


def test_the_order_of_the_samples_does_not_matter():
    p = probe(7, sureness=8, apart=30)
    order = np.random.default_rng(0).permutation(len(p.logits))
    shuffled = Probe(p.features[order], p.logits[order], p.abc_logits[order], p.observed_labels[order])
    one, other = select(p), select(shuffled)
    assert np.array_equal(one.mask[order], other.mask)
    assert one.score[order] == pytest.approx(other.score, abs=1e-12)


def test_the_names_of_the_classes_do_not_matter():
    p = probe(8)
    new = np.array([2, 0, 1])
    back = np.argsort(new)
    renamed = Probe(p.features, p.logits[:, back], p.abc_logits[:, back], new[p.observed_labels])
    assert select(renamed).clean_probability == pytest.approx(select(p).clean_probability, abs=1e-9)


@pytest.mark.parametrize("num_classes", [2, 100])
def test_two_and_a_hundred_classes(num_classes):
    p = probe(9, n=12 * num_classes, num_classes=num_classes, dim=num_classes, sureness=6)
    p.observed_labels[: 3 * num_classes] = np.tile(np.arange(num_classes), 3)  # at least three samples of each
    assert select(p).clean_probability == pytest.approx(plain(p, 31)[0], abs=1e-5)


def test_absent_single_and_constant_classes_are_kept_whole_and_counted():
    p = probe(10)
    labels = np.where(p.observed_labels == 2, 1, p.observed_labels)
    labels[0], labels[1:4] = 2, 3
    features, logits = p.features.copy(), np.pad(p.logits, ((0, 0), (0, 2)))
    features[1:4], logits[1:4] = features[1], logits[1]
    wide = Probe(features, logits, None, labels)
    for rule in ("keep_all", "none"):
        selection = DistributionAwareCentroids(Thresholds(no_clean_class=rule)).select(wide, 1)
        assert selection.mask[:4].all()
        assert selection.class_counts[2:].tolist() == [1, 3, 0]
        assert np.isfinite(selection.clean_probability).all()
        assert selection.fallbacks == {"class_without_mixture": 2}


def test_equal_samples_speak_against_nobody():
    p = Probe(np.ones((6, 4), np.float32), np.ones((6, 2), np.float32), None, np.array([0, 0, 0, 0, 1, 1]))
    selection = select(p, 1)
    assert selection.mask.all()
    assert selection.fallbacks["class_without_mixture"] == 2
