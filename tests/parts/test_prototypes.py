"""Prototypes over more rows than are worked on at a time, against NumPy over all rows at once."""

import numpy as np

from sfa_bench.parts.prototypes import BLOCK, centre_and_normalise, instant_centroids, label_scores


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
