"""Prototypes over more rows than are worked on at a time, against NumPy over all rows at once."""

import numpy as np
import pytest

from sfa_bench.parts.prototypes import BLOCK, centre_and_normalise, instant_centroids, label_scores, nearest_other


def test_blocks_give_the_bits_of_all_rows_at_once():
    rng = np.random.default_rng(0)
    n, d, num_classes = 2 * BLOCK + 77, 130, 7
    features = (rng.normal(size=(n, d)) + np.linspace(0, 5, n)[:, None]).astype(np.float32)
    labels, gate = rng.choice([0, 1, 2, 3, 5, 6], n), rng.random(n) < 0.5  # nobody is of class 4
    given = features.copy()
    unit, mean = centre_and_normalise(features)
    centred = features.astype(np.float64) - features.astype(np.float64).mean(axis=0)
    assert np.array_equal(unit, centred / np.linalg.norm(centred, axis=1, keepdims=True))
    assert np.array_equal(mean, features.astype(np.float64).mean(axis=0))
    assert np.array_equal(features, given)
    centroids, counts = instant_centroids(unit, labels, gate, num_classes)
    for k in range(num_classes):
        own = unit[gate & (labels == k)]
        assert counts[k] == len(own)
        assert np.array_equal(centroids[k], own.mean(axis=0) if len(own) else np.zeros(d))
    assert np.array_equal(label_scores(unit, centroids, labels), -np.square(unit - centroids[labels]).sum(axis=1))


def test_the_nearest_other_prototype_is_that_of_a_plain_search():
    rng = np.random.default_rng(1)
    n, num_classes = 2 * BLOCK + 5, 6
    unit, _ = centre_and_normalise(rng.normal(size=(n, 9)))
    prototypes, labels = 0.3 * rng.normal(size=(num_classes, 9)), rng.integers(num_classes, size=n)
    known = np.array([True, True, False, True, True, True])
    found = nearest_other(unit, prototypes, labels, known)
    for row, label, distance in zip(unit, labels, found, strict=True):
        others = [((row - prototypes[k]) ** 2).sum() for k in range(num_classes) if k != label and known[k]]
        assert distance == pytest.approx(min(others), abs=1e-12)


def test_without_another_prototype_nothing_is_near():
    unit, prototypes = np.eye(3), np.ones((2, 3))
    apart = nearest_other(unit, prototypes, np.array([0, 1, 0]), np.array([True, False]))
    assert apart.tolist() == [0, pytest.approx(2), 0]
